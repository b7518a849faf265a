//! `healthCheck`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{Authority, PathAndQuery};
use http::{HeaderName, HeaderValue, header};

use super::super::duration::duration;
use super::super::service::number;
use crate::api;
use crate::model::{ActiveCheck, CheckKind, Criteria, HeaderField, HealthCheck, Invalid};

/// The shortest time between two checks (APISIX).
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// The shortest answer that is waited for: whoever writes less takes `timeout` for another unit than nanoseconds.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(1);

/// The longest answer that is waited for.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(3600);

/// Fields of the request that are ours to set.
const OURS: [HeaderName; 4] = [header::CONNECTION, header::CONTENT_LENGTH, header::HOST, header::TRANSFER_ENCODING];

/// Reads `healthCheck`; `field` is its path.
///
/// # Errors
/// When something in it cannot be done.
pub(in crate::source) fn read(check: api::HealthCheck, field: &str) -> Result<HealthCheck, Invalid> {
    let api::HealthCheck { active, passive } = check;
    let Some(active) = active else {
        return Err(Invalid::spec(
            format!("{field}.active"),
            "is missing: passive checks need active ones beside them",
        ));
    };
    let passive = passive.map(|passive| self::passive(passive, &format!("{field}.passive"))).transpose()?;
    Ok(HealthCheck { active: self::active(active, &format!("{field}.active"))?, passive })
}

fn active(check: api::ActiveCheck, field: &str) -> Result<ActiveCheck, Invalid> {
    let api::ActiveCheck {
        concurrency,
        healthy,
        host,
        http_path,
        port,
        request_headers,
        strict_tls,
        timeout,
        kind,
        unhealthy,
    } = check;
    let default = ActiveCheck::default();
    let api::ActiveHealthy { healthy, interval: healthy_interval } = healthy.unwrap_or_default();
    let api::ActiveUnhealthy { unhealthy, interval: unhealthy_interval } = unhealthy.unwrap_or_default();
    let criteria = criteria(default.criteria, healthy, unhealthy, field)?;
    if criteria.thresholds.successes == 0 {
        return Err(Invalid::spec(format!("{field}.healthy.successes"), "0 would leave what is unhealthy so for ever"));
    }
    let kind = match kind.as_deref().unwrap_or_default() {
        "" | "http" => CheckKind::Http,
        "https" => CheckKind::Https { verify: strict_tls.unwrap_or(true) },
        "tcp" => CheckKind::Tcp,
        other => return Err(Invalid::spec(format!("{field}.type"), format!("`{other}` is none of http, https, tcp"))),
    };
    Ok(ActiveCheck {
        concurrency: match concurrency {
            None | Some(0) => default.concurrency, // APISIX's controller does not pass a 0 on
            Some(number) => {
                usize::try_from(count(number, 10_000, &format!("{field}.concurrency"))?).unwrap_or(usize::MAX)
            }
        },
        criteria,
        headers: headers(request_headers.unwrap_or_default(), &format!("{field}.requestHeaders"))?,
        healthy_interval: interval(healthy_interval, default.healthy_interval, &format!("{field}.healthy.interval"))?,
        host: self::host(host, &format!("{field}.host"))?,
        kind,
        path: path(http_path, default.path, &format!("{field}.httpPath"))?,
        port: match port {
            None | Some(0) => None,
            port => Some(number(port, format!("{field}.port"))?),
        },
        timeout: self::timeout(timeout, default.timeout, &format!("{field}.timeout"))?,
        unhealthy_interval: interval(
            unhealthy_interval,
            default.unhealthy_interval,
            &format!("{field}.unhealthy.interval"),
        )?,
    })
}

fn passive(check: api::PassiveCheck, field: &str) -> Result<Criteria, Invalid> {
    let api::PassiveCheck { healthy, kind, unhealthy } = check;
    if let Some(kind) = kind.filter(|kind| !matches!(kind.as_str(), "" | "http" | "https" | "tcp")) {
        return Err(Invalid::spec(format!("{field}.type"), format!("`{kind}` is none of http, https, tcp")));
    }
    criteria(Criteria::passive(), healthy.unwrap_or_default(), unhealthy.unwrap_or_default(), field)
}

/// `default` with what the object says instead.
fn criteria(
    default: Criteria,
    healthy: api::Healthy,
    unhealthy: api::Unhealthy,
    field: &str,
) -> Result<Criteria, Invalid> {
    let api::Unhealthy { http_codes, http_failures, tcp_failures, timeout, timeouts } = unhealthy;
    if let (Some(one), Some(other)) = (timeout, timeouts)
        && one != other
    {
        let message = format!("{one} is not `timeouts`, {other}: they are one setting under two names");
        return Err(Invalid::spec(format!("{field}.unhealthy.timeout"), message));
    }
    let mut criteria = default;
    let thresholds = &mut criteria.thresholds;
    for (name, said, threshold) in [
        ("healthy.successes", healthy.successes, &mut thresholds.successes),
        ("unhealthy.httpFailures", http_failures, &mut thresholds.http_failures),
        ("unhealthy.tcpFailures", tcp_failures, &mut thresholds.tcp_failures),
        ("unhealthy.timeout", timeout.or(timeouts), &mut thresholds.timeouts),
    ] {
        if let Some(said) = said {
            *threshold = count(said, 254, &format!("{field}.{name}"))?;
        }
    }
    for (name, said, codes) in [
        ("healthy.httpCodes", healthy.http_codes, &mut criteria.healthy),
        ("unhealthy.httpCodes", http_codes, &mut criteria.unhealthy),
    ] {
        if let Some(said) = said {
            *codes = statuses(&said, &format!("{field}.{name}"))?;
        }
    }
    Ok(criteria)
}

fn count(number: i64, most: u32, field: &str) -> Result<u32, Invalid> {
    let valid = u32::try_from(number).ok().filter(|number| *number <= most);
    valid.ok_or_else(|| Invalid::spec(field, format!("{number} is not from 0 to {most}")))
}

fn statuses(codes: &[i64], field: &str) -> Result<BTreeSet<u16>, Invalid> {
    if codes.is_empty() {
        return Err(Invalid::spec(field, "must hold a status; leave the field out for the default"));
    }
    let status = |code: &i64| {
        let valid = u16::try_from(*code).ok().filter(|code| (200..=599).contains(code));
        valid.ok_or_else(|| Invalid::spec(field, format!("{code} is no status from 200 to 599")))
    };
    codes.iter().map(status).collect()
}

fn interval(text: Option<String>, default: Duration, field: &str) -> Result<Duration, Invalid> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(default) };
    let interval = duration(&text).map_err(|message| Invalid::spec(field, message))?;
    if interval < SHORTEST_INTERVAL {
        return Err(Invalid::spec(field, format!("`{text}` is less than a second")));
    }
    Ok(interval)
}

fn timeout(nanoseconds: Option<i64>, default: Duration, field: &str) -> Result<Duration, Invalid> {
    let Some(number) = nanoseconds.filter(|number| *number != 0) else { return Ok(default) };
    let timeout = u64::try_from(number).ok().map(Duration::from_nanos);
    timeout.filter(|timeout| (SHORTEST_TIMEOUT..=LONGEST_TIMEOUT).contains(timeout)).ok_or_else(|| {
        let message = format!("{number} ns is not from a millisecond to an hour; five seconds are 5000000000");
        Invalid::spec(field, message)
    })
}

fn host(host: Option<String>, field: &str) -> Result<Option<Arc<str>>, Invalid> {
    let Some(host) = host.filter(|host| !host.is_empty()) else { return Ok(None) };
    let valid = host.parse::<Authority>().is_ok_and(|host| !host.as_str().contains('@'));
    if !valid || HeaderValue::from_str(&host).is_err() {
        return Err(Invalid::spec(field, format!("`{host}` is no host")));
    }
    Ok(Some(host.into()))
}

fn path(path: Option<String>, default: Arc<str>, field: &str) -> Result<Arc<str>, Invalid> {
    let Some(path) = path.filter(|path| !path.is_empty()) else { return Ok(default) };
    if !path.starts_with('/') || path.contains('#') || path.parse::<PathAndQuery>().is_err() {
        return Err(Invalid::spec(field, format!("`{path}` is no path such as `/healthz`")));
    }
    Ok(path.into())
}

fn headers(lines: Vec<String>, field: &str) -> Result<Vec<HeaderField>, Invalid> {
    let mut headers = Vec::new();
    for (index, line) in lines.into_iter().enumerate() {
        let wrong = |what: &str| Invalid::spec(format!("{field}[{index}]"), format!("`{line}` {what}"));
        let (name, value) = line.split_once(':').ok_or_else(|| wrong("is no field such as `Accept: text/plain`"))?;
        let (name, value) = match (name.parse::<HeaderName>(), HeaderValue::from_str(value.trim())) {
            (Ok(name), Ok(_)) => (name, value.trim()),
            _ => return Err(wrong("is no field that HTTP allows")),
        };
        if OURS.contains(&name) {
            return Err(wrong("cannot be set; for the host there is `host`"));
        }
        headers.push((name.as_str().into(), value.into()));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::{Reason, Thresholds};

    fn parse(check: Value) -> Result<HealthCheck, Invalid> {
        read(serde_json::from_value(check).unwrap(), "spec.healthCheck")
    }

    #[test]
    fn what_is_left_out_has_apisix_defaults() {
        for active in [json!({}), json!({"type": "http", "concurrency": 0, "port": 0, "timeout": 0, "healthy": {}})] {
            let check = parse(json!({"active": active})).unwrap();
            assert_eq!(check, HealthCheck { active: ActiveCheck::default(), passive: None });
        }
        let check = parse(json!({"active": {}, "passive": {"type": "http"}})).unwrap();
        assert_eq!(check.passive, Some(Criteria::passive()));
    }

    #[test]
    fn certificates_are_verified_unless_that_is_switched_off() {
        for (active, verify) in [
            (json!({"type": "https"}), true),
            (json!({"type": "https", "strictTLS": true}), true),
            (json!({"type": "https", "strictTLS": false}), false),
        ] {
            let check = parse(json!({"active": active})).unwrap();
            assert_eq!(check.active.kind, CheckKind::Https { verify });
        }
    }

    #[test]
    fn every_field_is_read() {
        let check = parse(json!({
            "active": {
                "type": "tcp", "timeout": 2_500_000_000_i64, "concurrency": 2, "host": "a.example", "port": 81,
                "httpPath": "/healthz?x", "requestHeaders": ["Accept: text/plain", "X-A:b"], "strictTLS": false,
                "healthy": {"interval": "2s", "httpCodes": [200, 204], "successes": 3},
                "unhealthy": {
                    "interval": "1m", "httpCodes": [500], "httpFailures": 4, "tcpFailures": 0, "timeout": 6,
                },
            },
            "passive": {"unhealthy": {"httpCodes": [502], "timeouts": 1}},
        }));
        let check = check.unwrap();
        let thresholds = Thresholds { http_failures: 4, successes: 3, tcp_failures: 0, timeouts: 6 };
        let active = ActiveCheck {
            concurrency: 2,
            criteria: Criteria { healthy: [200, 204].into(), thresholds, unhealthy: [500].into() },
            headers: vec![("accept".into(), "text/plain".into()), ("x-a".into(), "b".into())],
            healthy_interval: Duration::from_secs(2),
            host: Some("a.example".into()),
            kind: CheckKind::Tcp,
            path: "/healthz?x".into(),
            port: Some(81),
            timeout: Duration::from_millis(2500),
            unhealthy_interval: Duration::from_secs(60),
        };
        assert_eq!(check.active, active);
        let default = Criteria::passive();
        let thresholds = Thresholds { timeouts: 1, ..default.thresholds };
        assert_eq!(check.passive, Some(Criteria { thresholds, unhealthy: [502].into(), ..default }));
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        for (check, field) in [
            (json!({}), "active"),
            (json!({"passive": {}}), "active"),
            (json!({"active": {"type": "udp"}}), "active.type"),
            (json!({"active": {"timeout": 5}}), "active.timeout"),
            (json!({"active": {"timeout": -1}}), "active.timeout"),
            (json!({"active": {"concurrency": -1}}), "active.concurrency"),
            (json!({"active": {"port": 65536}}), "active.port"),
            (json!({"active": {"host": "a/b"}}), "active.host"),
            (json!({"active": {"httpPath": "healthz"}}), "active.httpPath"),
            (json!({"active": {"httpPath": "/a b"}}), "active.httpPath"),
            (json!({"active": {"requestHeaders": ["a: b", "c"]}}), "active.requestHeaders[1]"),
            (json!({"active": {"requestHeaders": ["Host: a"]}}), "active.requestHeaders[0]"),
            (json!({"active": {"requestHeaders": ["a b: c"]}}), "active.requestHeaders[0]"),
            (json!({"active": {"healthy": {"interval": "500ms"}}}), "active.healthy.interval"),
            (json!({"active": {"unhealthy": {"interval": "soon"}}}), "active.unhealthy.interval"),
            (json!({"active": {"healthy": {"successes": 0}}}), "active.healthy.successes"),
            (json!({"active": {"healthy": {"successes": 255}}}), "active.healthy.successes"),
            (json!({"active": {"healthy": {"httpCodes": []}}}), "active.healthy.httpCodes"),
            (json!({"active": {"unhealthy": {"httpCodes": [600]}}}), "active.unhealthy.httpCodes"),
            (json!({"active": {"unhealthy": {"timeout": 1, "timeouts": 2}}}), "active.unhealthy.timeout"),
            (json!({"active": {}, "passive": {"type": "icmp"}}), "passive.type"),
            (json!({"active": {}, "passive": {"unhealthy": {"tcpFailures": -1}}}), "passive.unhealthy.tcpFailures"),
        ] {
            let invalid = parse(check.clone()).unwrap_err();
            let expected = (format!("spec.healthCheck.{field}"), Reason::InvalidSpec);
            assert_eq!((invalid.field, invalid.reason), expected, "{check}");
        }
    }
}
