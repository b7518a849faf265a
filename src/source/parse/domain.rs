//! Names that DNS is asked about.

use std::net::IpAddr;
use std::sync::Arc;

use crate::model::HostName;

/// A domain name in lower case, or an IP address. A final dot is kept: without one the search list applies.
pub(in crate::source) fn domain(text: &str) -> Result<Arc<str>, String> {
    if text.parse::<IpAddr>().is_ok() {
        return Ok(text.into());
    }
    let dot = if text.ends_with('.') { "." } else { "" };
    let name = if text.contains([':', '[']) { None } else { HostName::parse(text) };
    let name = name.ok_or_else(|| format!("`{text}` is neither a domain name nor an IP address"))?;
    Ok(format!("{name}{dot}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_in_lower_case_with_its_final_dot() {
        for (text, name) in [
            ("A.example", "a.example"),
            ("a.example.", "a.example."),
            ("web", "web"),
            ("web_1", "web_1"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(domain(text).as_deref(), Ok(name));
        }
        for text in ["", ".", "a..b", "a.example:80", "[2001:db8::1]", "http://a.example", "a b", "*.example"] {
            assert!(domain(text).unwrap_err().contains("neither"), "{text}");
        }
    }
}
