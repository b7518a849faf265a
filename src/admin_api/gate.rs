//! Who is let in: by address, then by key.

use std::net::{IpAddr, SocketAddr};

use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::json;

use super::answer::Failure;
use super::keys::Keys;
use super::settings::{Role, Settings};

/// Whether clients of this address are let in.
pub(super) fn admits(settings: &Settings, peer: SocketAddr) -> bool {
    let address = peer.ip().to_canonical();
    settings.allow.is_empty() || settings.allow.iter().any(|network| network.to_canonical().contains(address))
}

/// What the log calls the caller.
///
/// # Errors
/// When it has no key, a wrong one, or one that does not allow the method.
pub(super) fn caller(settings: &Settings, keys: &Keys, request: &Parts) -> Result<String, Failure> {
    let refused = |description: &str| Failure {
        body: json!({ "error_msg": "failed to check token", "description": description }),
        status: StatusCode::UNAUTHORIZED,
    };
    let headers = &request.headers;
    let may_be_a_page = is_from_page(headers) || (settings.tls.is_none() && !is_named_by_address(headers));
    if !settings.key_required {
        // Any page that somebody opens on an admitted machine could call.
        return if is_from_page(headers) { Err(refused("a page in a browser needs a key")) } else { Ok(String::new()) };
    }
    let token = token(request).ok_or_else(|| refused("missing apikey"))?;
    let key = keys.find(&token, may_be_a_page).ok_or_else(|| refused("wrong apikey"))?;
    if key.role == Role::Viewer && request.method != Method::GET && request.method != Method::HEAD {
        return Err(refused("invalid method for role viewer"));
    }
    Ok(key.name.clone())
}

/// The key that a request brings: as the argument `api_key`, in the header `X-API-KEY`, or in the cookie `x_api_key`.
fn token(request: &Parts) -> Option<Vec<u8>> {
    let query = request.uri.query().unwrap_or_default();
    let argument = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "api_key");
    let argument = argument.map(|(_, value)| value.into_owned().into_bytes());
    argument
        .or_else(|| Some(request.headers.get("x-api-key")?.as_bytes().to_vec()))
        .or_else(|| cookie(&request.headers))
}

fn cookie(headers: &HeaderMap) -> Option<Vec<u8>> {
    let cookies = headers.get_all(header::COOKIE).iter().flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    let mut values = cookies.filter_map(|cookie| cookie.trim_ascii().strip_prefix(b"x_api_key="));
    values.next().map(<[u8]>::to_vec)
}

/// Whether a page in a browser sends the request (Fetch Metadata, RFC 6454).
fn is_from_page(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site")
}

/// Whether the request is for an address or `localhost`. A page whose own name was made to mean this machine (DNS rebinding) may look
/// like no page, but it names its host.
fn is_named_by_address(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else { return true };
    let Ok(host) = host.to_str() else { return false };
    let name = host.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(host, |(name, _)| name);
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.parse::<IpAddr>().is_ok() || bare.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::admin_api::{ApiKey, PUBLIC_KEY};
    use crate::model::Network;

    fn ask(settings: &Settings, request: http::request::Builder) -> Result<String, String> {
        let keys = Keys::new(settings).unwrap();
        let (parts, ()) = request.body(()).unwrap().into_parts();
        caller(settings, &keys, &parts).map_err(|failure| failure.body["description"].as_str().unwrap().to_owned())
    }

    #[test]
    fn a_key_is_found_in_its_three_places() {
        let key = |key: &str, role| ApiKey { key: key.to_owned(), name: key.to_owned(), role };
        let keys = vec![key("boss", Role::Admin), key("guest", Role::Viewer)];
        let settings = Settings { keys, ..Settings::default() };
        assert_eq!(ask(&settings, Request::get("/")), Err("missing apikey".to_owned()));
        assert_eq!(ask(&settings, Request::put("/?api_key=boss")), Ok("boss".to_owned()));
        assert_eq!(ask(&settings, Request::put("/").header("X-API-KEY", "boss")), Ok("boss".to_owned()));
        assert_eq!(ask(&settings, Request::put("/").header("Cookie", "a=b; x_api_key=boss")), Ok("boss".to_owned()));
        assert_eq!(ask(&settings, Request::get("/").header("X-API-KEY", "bos")), Err("wrong apikey".to_owned()));
        assert_eq!(ask(&settings, Request::get("/?api_key=guest")), Ok("guest".to_owned()));
        let viewer = Err("invalid method for role viewer".to_owned());
        for method in ["PUT", "POST", "PATCH", "DELETE"] {
            assert_eq!(ask(&settings, Request::builder().method(method).uri("/?api_key=guest")), viewer, "{method}");
        }
    }

    #[test]
    fn the_public_key_is_no_key_for_a_page_in_a_browser() {
        let settings = Settings::default();
        let request = || Request::get("/").header("X-API-KEY", PUBLIC_KEY);
        assert!(ask(&settings, request()).is_ok());
        assert!(ask(&settings, request().header("Origin", "http://evil.example")).is_err());
        assert!(ask(&settings, request().header("Sec-Fetch-Site", "same-origin")).is_err());
        for (host, allowed) in [
            ("127.0.0.1:9180", true),
            ("[::1]:9180", true),
            ("[::1]", true),
            ("LocalHost:9180", true),
            ("localhost", true),
            ("evil.example:9180", false),
            ("127.0.0.1.evil.example", false),
        ] {
            assert_eq!(ask(&settings, request().header("Host", host)).is_ok(), allowed, "{host}");
        }
        let files =
            crate::admin_api::TlsFiles { certificate: "c".into(), client_ca: Some("a".into()), key: "k".into() };
        let with_tls = Settings { tls: Some(files), ..Settings::default() };
        assert!(ask(&with_tls, request().header("Host", "admin")).is_ok(), "the certificate has the name");
    }

    #[test]
    fn without_a_key_no_page_may_call() {
        let settings = Settings { key_required: false, ..Settings::default() };
        assert!(ask(&settings, Request::put("/")).is_ok());
        assert!(ask(&settings, Request::put("/").header("Origin", "http://evil.example")).is_err());
        assert!(ask(&settings, Request::put("/").header("Sec-Fetch-Site", "cross-site")).is_err());
    }

    #[test]
    fn addresses_are_compared_whatever_the_socket_calls_them() {
        let allow = |text: &str| Settings { allow: vec![Network::parse(text).unwrap()], ..Settings::default() };
        let peer = |text: &str| SocketAddr::new(text.parse().unwrap(), 1);
        assert!(admits(&allow("127.0.0.0/24"), peer("127.0.0.1")));
        assert!(admits(&allow("127.0.0.0/24"), peer("::ffff:127.0.0.1")));
        assert!(!admits(&allow("127.0.0.0/24"), peer("127.0.1.1")));
        assert!(!admits(&allow("127.0.0.0/24"), peer("::1")));
        assert!(admits(&allow("0.0.0.0/0"), peer("192.0.2.1")));
        assert!(admits(&Settings { allow: Vec::new(), ..Settings::default() }, peer("2001:db8::1")));
    }
}
