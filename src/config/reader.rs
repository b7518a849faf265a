//! Typed reading of values that know where they stand.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::Value;

use super::Error;

static NULL: Value = Value::Null;

/// A map of the file, or the lack of one.
#[derive(Clone, Debug)]
pub(super) struct Section<'a> {
    path: String,
    value: &'a Value,
}

/// A value of the file that is there.
#[derive(Clone, Debug)]
pub(super) struct Item<'a> {
    pub(super) path: String,
    pub(super) value: &'a Value,
}

impl Item<'_> {
    pub(super) fn error(&self, message: impl Into<String>) -> Error {
        Error::new(&self.path, message)
    }

    /// A port, alone or after an address: `9100`, `"127.0.0.1:9101"`, `"[::1]:9101"`.
    pub(super) fn listener(&self) -> Result<SocketAddr, Error> {
        let wrong = || self.error("must be a port, or an address and a port as `127.0.0.1:9100`");
        match self.value {
            Value::Number(number) => {
                let port = number.as_u64().and_then(|port| u16::try_from(port).ok()).ok_or_else(wrong)?;
                Ok(any(port))
            }
            Value::String(text) => text.parse().or_else(|_| text.parse().map(any)).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }
}

/// Every address of IPv4: where APISIX listens when only a port is given.
pub(super) fn any(port: u16) -> SocketAddr {
    SocketAddr::new([0, 0, 0, 0].into(), port)
}

impl<'a> Section<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Self { path: String::new(), value }
    }

    /// The map at `path` of an item.
    pub(super) fn of(item: &Item<'a>) -> Self {
        Self { path: item.path.clone(), value: item.value }
    }

    fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub(super) fn section(&self, key: &str) -> Self {
        Self { path: self.path(key), value: self.value.get(key).unwrap_or(&NULL) }
    }

    pub(super) fn is_there(&self) -> bool {
        !self.value.is_null()
    }

    pub(super) fn get(&self, key: &str) -> Option<Item<'a>> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        Some(Item { path: self.path(key), value })
    }

    fn read<T>(&self, key: &str, what: &str, read: impl FnOnce(&'a Value) -> Option<T>) -> Result<Option<T>, Error> {
        let Some(item) = self.get(key) else { return Ok(None) };
        read(item.value).map(Some).ok_or_else(|| item.error(format!("must be {what}")))
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, Error> {
        self.read(key, "a text", Value::as_str)
    }

    pub(super) fn truth(&self, key: &str) -> Result<Option<bool>, Error> {
        self.read(key, "true or false", Value::as_bool)
    }

    pub(super) fn port(&self, key: &str) -> Result<Option<u16>, Error> {
        self.read(key, "a port", |value| u16::try_from(value.as_u64()?).ok())
    }

    pub(super) fn ip(&self, key: &str) -> Result<Option<IpAddr>, Error> {
        self.read(key, "an IP address", |value| value.as_str()?.trim_matches(['[', ']']).parse().ok())
    }

    /// A duration as nginx writes it (`60s`, `500ms`, `1m30s`) or a number of seconds.
    pub(super) fn duration(&self, key: &str) -> Result<Option<Duration>, Error> {
        self.read(key, "a duration such as `60s`", |value| match value {
            Value::Number(seconds) => Duration::try_from_secs_f64(seconds.as_f64()?).ok(),
            Value::String(text) => nginx_duration(text),
            _ => None,
        })
    }

    /// The items of a list, or the one item that stands for a list of one.
    pub(super) fn list(&self, key: &str) -> Vec<Item<'a>> {
        match self.get(key) {
            None => Vec::new(),
            Some(Item { path, value: Value::Array(items) }) => {
                let item = |(index, value)| Item { path: format!("{path}[{index}]"), value };
                items.iter().enumerate().map(item).collect()
            }
            Some(item) => vec![item],
        }
    }

    /// Complains about keys other than `known`.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Error> {
        let unknown = self.value.as_object().into_iter().flatten().find(|(key, _)| !known.contains(&key.as_str()));
        match unknown {
            None => Ok(()),
            Some((key, _)) => Err(Error::new(self.path(key), format!("is unknown; there are {}", known.join(", ")))),
        }
    }
}

fn nginx_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let milliseconds: u64 = match after[..unit].trim() {
            "ms" => 1,
            "" | "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_millis(number.checked_mul(milliseconds)?))?;
        rest = after[unit..].trim_start();
    }
    (!text.is_empty()).then_some(total)
}

/// Bytes as nginx writes them: `8k`, `10m`, `1g`, or a number.
pub(super) fn bytes(value: &Value) -> Option<u64> {
    let text = match value {
        Value::Number(number) => return number.as_u64(),
        Value::String(text) => text.trim().to_ascii_lowercase(),
        _ => return None,
    };
    let units = [("k", 10), ("m", 20), ("g", 30)];
    let with_unit = units.iter().find_map(|(unit, bits)| Some((text.strip_suffix(unit)?, *bits)));
    let (number, bits) = with_unit.unwrap_or((&text, 0));
    number.parse::<u64>().ok()?.checked_mul(1 << bits)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_and_sizes_are_nginx_s() {
        for (text, milliseconds) in
            [("60s", 60_000), ("60", 60_000), ("500ms", 500), ("1m30s", 90_000), ("1h 2m", 3_720_000)]
        {
            assert_eq!(nginx_duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        assert!(["", "s", "-1s", "1x", "1.5s"].iter().all(|text| nginx_duration(text).is_none()));
        assert_eq!(
            [json!(0), json!("8k"), json!("10m"), json!("7")].map(|value| bytes(&value)),
            [Some(0), Some(8192), Some(10 << 20), Some(7)]
        );
        assert!([json!("x"), json!("1.5m"), json!(-1), json!([])].iter().all(|value| bytes(value).is_none()));
    }

    #[test]
    fn listeners_are_ports_or_addresses_with_ports() {
        let read = |value: &Value| Item { path: "a".into(), value }.listener();
        assert_eq!(read(&json!(9100)), Ok("0.0.0.0:9100".parse().unwrap()));
        assert_eq!(read(&json!("9100")), Ok("0.0.0.0:9100".parse().unwrap()));
        assert_eq!(read(&json!("[::1]:9100")), Ok("[::1]:9100".parse().unwrap()));
        for wrong in [json!(70000), json!("x:1"), json!({}), json!(-1)] {
            assert!(read(&wrong).unwrap_err().to_string().starts_with("a: must be a port"), "{wrong}");
        }
    }
}
