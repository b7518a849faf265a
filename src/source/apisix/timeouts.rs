//! Times in seconds, with fractions.

use std::time::Duration;

use serde::Deserialize;

use crate::model::{Invalid, Timeouts};

/// Longer than any deadline that is meant, short enough that no clock overflows.
const LONGEST: f64 = 365.0 * 24.0 * 60.0 * 60.0;

/// `timeout`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Timeout {
    connect: Option<f64>,
    read: Option<f64>,
    send: Option<f64>,
}

/// A time of more than nothing.
pub(super) fn seconds(seconds: f64, field: &str) -> Result<Duration, Invalid> {
    let valid = (seconds > 0.0 && seconds <= LONGEST).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten();
    let valid = valid.filter(|duration| !duration.is_zero());
    valid.ok_or_else(|| Invalid::spec(field, format!("{seconds} is no number of seconds above 0, a year at most")))
}

/// Reads the deadlines of `timeout`, which stands at `field`; `None` where there are none.
pub(super) fn read(timeout: Option<Timeout>, field: &str) -> Result<Option<Timeouts>, Invalid> {
    let Some(Timeout { connect, read, send }) = timeout else { return Ok(None) };
    let mut timeouts = Timeouts::default();
    for (name, said, value) in [
        ("connect", connect, &mut timeouts.connect),
        ("read", read, &mut timeouts.read),
        ("send", send, &mut timeouts.send),
    ] {
        if let Some(said) = said {
            *value = seconds(said, &format!("{field}.{name}"))?;
        }
    }
    Ok(Some(timeouts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_have_fractions() {
        let timeout = Timeout { connect: Some(0.5), read: None, send: Some(2.0) };
        let read = read(Some(timeout), "timeout").unwrap().unwrap();
        assert_eq!((read.connect, read.send), (Duration::from_millis(500), Duration::from_secs(2)));
        assert_eq!(read.read, Duration::from_secs(60));
        for wrong in [0.0, -1.0, 1e-12, 1e300, f64::NAN, f64::INFINITY] {
            let timeout = Timeout { connect: Some(wrong), read: None, send: None };
            let error = super::read(Some(timeout), "upstream.timeout").unwrap_err();
            assert_eq!(error.field, "upstream.timeout.connect", "{wrong}");
        }
    }
}
