//! Durations as Go writes them.

use std::time::Duration;

use crate::api::Timeout;
use crate::model::{Invalid, Timeouts};

/// Longer than any deadline that is meant, short enough that no clock overflows.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Reads a duration such as `60s`, `1m30s`, `1.5h` or `500ms`.
///
/// # Errors
/// A sentence about what is wrong. Zero and negative durations are refused: as a deadline they would fail every request.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration such as `60s`, `1m30s` or `500ms`");
    let mut rest = text;
    let mut seconds = 0.0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() && text != "0" {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (amount, after) = rest.split_at(number);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        seconds += amount.parse::<f64>().map_err(|_| wrong())? * unit;
        rest = after;
    }
    match Duration::try_from_secs_f64(seconds) {
        Ok(Duration::ZERO) => Err(format!("`{text}` must be more than zero")),
        Ok(duration) if duration <= LONGEST => Ok(duration),
        _ => Err(format!("`{text}` is longer than a year")),
    }
}

/// Reads the deadlines of `timeout`; `None` where there are none. Those left out beside others have their defaults.
///
/// # Errors
/// When one is no duration; `field` is the path of `timeout`.
pub(super) fn timeouts(timeout: Option<Timeout>, field: &str) -> Result<Option<Timeouts>, Invalid> {
    let Some(Timeout { connect, read, send }) = timeout else { return Ok(None) };
    let mut timeouts = Timeouts::default();
    for (name, text, value) in [
        ("connect", connect, &mut timeouts.connect),
        ("read", read, &mut timeouts.read),
        ("send", send, &mut timeouts.send),
    ] {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            *value = duration(&text).map_err(|message| Invalid::spec(format!("{field}.{name}"), message))?;
        }
    }
    Ok(Some(timeouts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, millis) in
            [("60s", 60_000), ("1m30s", 90_000), ("500ms", 500), ("1.5h", 5_400_000), ("2us500000ns", 0)]
        {
            assert_eq!(duration(text).unwrap().as_millis(), millis, "{text}");
        }
    }

    #[test]
    fn what_is_no_deadline_is_refused() {
        for text in ["", "0", "0s", "-1s", "60", "s", "1x", "1.2.3s", "1s ", "9999999h", "1e3s", "."] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }
}
