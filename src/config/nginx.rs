//! `nginx_config`: the values that have a counterpart.

use serde_json::Value;

use super::reader::{Section, bytes};
use super::{Config, Error, Timeouts};

pub(super) fn read(nginx: &Section<'_>, config: &mut Config) -> Result<(), Error> {
    config.workers = match nginx.get("worker_processes") {
        None => None,
        Some(item) => match item.value {
            Value::String(text) if text == "auto" => None,
            value => {
                let number = value.as_u64().or_else(|| value.as_str()?.parse().ok()).filter(|number| *number > 0);
                let number = number.and_then(|number| usize::try_from(number).ok());
                Some(number.ok_or_else(|| item.error("must be `auto` or a number"))?)
            }
        },
    };
    config.worker_shutdown_timeout = nginx.duration("worker_shutdown_timeout")?;
    config.log_level = match nginx.text("error_log_level")? {
        None => None,
        Some(level) => Some(match level {
            "debug" => "debug",
            "info" | "notice" => "info",
            "warn" => "warn",
            "error" | "crit" | "alert" | "emerg" => "error",
            _ => return Err(Error::new("nginx_config.error_log_level", format!("`{level}` is no level of nginx"))),
        }),
    };
    let http = nginx.section("http");
    config.max_body_size = match http.get("client_max_body_size") {
        None => None,
        Some(item) => Some(bytes(item.value).ok_or_else(|| item.error("must be a size such as `10m`, or 0 for any"))?),
    };
    config.timeouts = Timeouts {
        client_body: http.duration("client_body_timeout")?,
        keepalive: http.duration("keepalive_timeout")?,
        send: http.duration("send_timeout")?,
    };
    Ok(())
}
