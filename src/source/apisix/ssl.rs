//! Ssls: certificates that hosts show and whom they let in (type `server`), and certificates that we show to upstreams (type `client`).

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::resource::{Resource, part, plain, read};
use crate::model::{
    ClientAuthRef, ClientSettings, Data, DataRef, HostPattern, Invalid, Kind, ObjectKey, ObjectRef, Protocols, TlsHost,
    TlsVersions,
};
use crate::source::parse::tls::at_most;
use crate::source::parse::tls::client::{depth, skip};
use crate::world::Object;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    cert: Option<String>,
    certs: Option<Vec<String>>,
    client: Option<Value>,
    key: Option<String>,
    keys: Option<Vec<String>>,
    #[serde(rename = "sni")]
    _sni: Option<Value>,
    #[serde(rename = "snis")]
    _snis: Option<Value>,
    ssl_protocols: Option<Vec<String>>,
    status: Option<u8>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Client {
    ca: Option<String>,
    depth: Option<i64>,
    skip_mtls_uri_regex: Option<Vec<String>>,
}

/// The entry of the Secret that the client authorities are in.
const CA: &str = "client.ca";

/// Certificates beside the first.
const MAX_ADDITIONAL: usize = 8;

/// The objects that the ssl `value` stands for. Each part fails by itself: a host that was claimed must be refused, not served
/// without its policy, when another part cannot be honoured.
pub(super) fn objects(resource: &Resource<'_>, value: Value) -> Vec<(ObjectKey, Object)> {
    let hosts = hosts(&value);
    let (ssl, kind) = match read::<Fields>(value, "").and_then(|ssl| kind(&ssl).map(|kind| (ssl, kind))) {
        Ok(read) => read,
        Err(why) => return vec![refused(resource, hosts, why)],
    };
    match kind {
        Type::Client => client_objects(resource, &ssl),
        Type::Server if ssl.status == Some(0) => Vec::new(), // switched off
        Type::Server => server_objects(resource, hosts, &ssl),
    }
}

#[derive(Clone, Copy)]
enum Type {
    Client,
    Server,
}

fn kind(ssl: &Fields) -> Result<Type, Invalid> {
    if let Some(status @ 2..) = ssl.status {
        return Err(Invalid::spec("status", format!("{status} is neither 0 nor 1")));
    }
    match ssl.kind.as_deref() {
        None | Some("server") => Ok(Type::Server),
        Some("client") => Ok(Type::Client),
        Some(other) => Err(Invalid::spec("type", format!("`{other}` is neither `server` nor `client`"))),
    }
}

/// The hosts that can be read, and what is wrong with the others.
type Hosts = (Vec<HostPattern>, Vec<Invalid>);

/// Reads `sni` and `snis`. Hosts in a value of the wrong type are found too: an ssl that is wrong must not leave its hosts to others.
fn hosts(value: &Value) -> Hosts {
    let (mut hosts, mut unreadable) = (Vec::new(), Vec::new());
    for (field, said) in [("sni", &value["sni"]), ("snis", &value["snis"])] {
        let texts: Vec<(&Value, String)> = match said {
            Value::Null => continue,
            Value::Array(items) => {
                items.iter().enumerate().map(|(at, item)| (item, format!("{field}[{at}]"))).collect()
            }
            Value::Object(members) => members.values().map(|item| (item, field.to_owned())).collect(),
            one => vec![(one, field.to_owned())],
        };
        if said.is_array() != (field == "snis") || said.is_object() {
            let wanted = if field == "sni" { "must be a text" } else { "must be a list" };
            unreadable.push(Invalid::spec(field, wanted));
        }
        for (sni, field) in texts {
            let host = sni.as_str().ok_or_else(|| "must be a text".to_owned());
            match host.and_then(|sni| HostPattern::parse(sni.trim())) {
                Ok(host) if hosts.contains(&host) => {}
                Ok(host) => hosts.push(host),
                Err(message) => unreadable.push(Invalid::spec(field, message)),
            }
        }
    }
    (hosts, unreadable)
}

/// The hosts in a text that is no ssl at all any more: what stands in quotes after `"sni":` and `"snis":`.
fn hosts_of_text(text: &str) -> Vec<HostPattern> {
    let mut hosts = Vec::new();
    for (at, name) in text.match_indices("\"sni\"").chain(text.match_indices("\"snis\"")) {
        let rest = text[at + name.len()..].trim_start().trim_start_matches(':').trim_start();
        let said = match rest.as_bytes().first() {
            Some(b'"') => rest[1..].split('"').next(),
            Some(b'[') => rest[1..].split(']').next(),
            Some(b'{') => rest[1..].split('}').next(),
            _ => None,
        };
        let texts = said.into_iter().flat_map(|said| said.split('"'));
        hosts.extend(texts.filter_map(|text| HostPattern::parse(text.trim()).ok()).filter(is_named));
    }
    hosts
}

/// Not every host: that would close all of them because of one.
fn is_named(host: &HostPattern) -> bool {
    !matches!(host, HostPattern::Any)
}

/// An ssl whose text cannot be read. The hosts that can be found in it refuse everyone.
pub(super) fn unreadable(resource: &Resource<'_>, text: &str, why: Invalid) -> (ObjectKey, Object) {
    refused(resource, (hosts_of_text(text), Vec::new()), why)
}

/// An ssl that cannot be honoured at all: its hosts refuse everyone.
fn refused(resource: &Resource<'_>, hosts: Hosts, why: Invalid) -> (ObjectKey, Object) {
    let (hosts, unreadable_hosts) = hosts;
    let tls = if hosts.is_empty() {
        Err(why)
    } else {
        let whole = Box::new(why.clone());
        Ok(TlsHost {
            certificates: Err(whole.clone()),
            class: None,
            client_auth: Err(why),
            hosts,
            protocols: Err(whole),
            unreadable_hosts,
        })
    };
    (resource.name(), Object::ApisixTls(resource.observed(tls)))
}

/// A Secret with our certificate for upstreams, under the name that `client_cert_id` has for it. Where there is none it is reported as
/// an ApisixTls is, without hosts.
fn client_objects(resource: &Resource<'_>, ssl: &Fields) -> Vec<(ObjectKey, Object)> {
    let data = pair(resource, (ssl.cert.as_ref(), "cert"), (ssl.key.as_ref(), "key")).map(Data::new);
    let report = data.as_ref().err().map(|why| Object::ApisixTls(resource.observed(Err(why.clone()))));
    let secret = Object::Secret(resource.observed(data));
    report.into_iter().chain([secret]).map(|object| (resource.name(), object)).collect()
}

fn server_objects(resource: &Resource<'_>, hosts: Hosts, ssl: &Fields) -> Vec<(ObjectKey, Object)> {
    let (hosts, unreadable_hosts) = hosts;
    if hosts.is_empty() && unreadable_hosts.is_empty() {
        let why = Invalid::spec("snis", "must hold at least one host, or `sni` must be set");
        return vec![(resource.name(), Object::ApisixTls(resource.observed(Err(why))))];
    }
    let mut secrets = Vec::new();
    let mut entries = Vec::new();
    let client_auth = match &ssl.client {
        None => Ok(None),
        Some(client) => client_auth(resource, client, &mut entries).map(|client| Some(Box::new(client))),
    };
    let certificates = certificates(resource, ssl, &mut entries, &mut secrets).map_err(Box::new);
    secrets.push((resource.name(), Data::new(entries)));
    let tls = TlsHost {
        certificates,
        class: None,
        client_auth,
        hosts,
        protocols: protocols(ssl.ssl_protocols.as_deref()).map_err(Box::new),
        unreadable_hosts,
    };
    let secrets = secrets.into_iter().map(|(key, data)| (key, Object::Secret(resource.observed(Ok(data)))));
    secrets.chain([(resource.name(), Object::ApisixTls(resource.observed(Ok(tls))))]).collect()
}

/// An entry of a Secret.
type Entry = (&'static str, Bytes);

/// A certificate and its key.
fn pair(
    resource: &Resource<'_>,
    certificate: (Option<&String>, &str),
    key: (Option<&String>, &str),
) -> Result<[Entry; 2], Invalid> {
    fn set<'t>((text, field): (Option<&'t String>, &'t str)) -> Result<(&'t str, &'t str), Invalid> {
        text.map(|text| (text.as_str(), field)).ok_or_else(|| Invalid::spec(field, "must be set"))
    }
    let (certificate, field) = set(certificate)?;
    plain(certificate, field)?;
    let (key, field) = set(key)?;
    let key = resource.open(key, field)?;
    Ok([("cert", certificate.to_owned().into()), ("key", key.into())])
}

/// The certificates: the first goes to `entries` of the ssl's own Secret, each other one to a Secret by itself.
fn certificates(
    resource: &Resource<'_>,
    ssl: &Fields,
    entries: &mut Vec<Entry>,
    secrets: &mut Vec<(ObjectKey, Data)>,
) -> Result<Vec<ObjectKey>, Invalid> {
    let mut keys = vec![resource.name()];
    let (more, more_keys) = (ssl.certs.as_deref().unwrap_or_default(), ssl.keys.as_deref().unwrap_or_default());
    if more.len() != more_keys.len() {
        let message = format!("mismatched number of certs and keys: {} and {}", more.len(), more_keys.len());
        return Err(Invalid::spec("certs", message));
    }
    at_most(more.len(), MAX_ADDITIONAL, "certs")?;
    entries.extend(pair(resource, (ssl.cert.as_ref(), "cert"), (ssl.key.as_ref(), "key"))?);
    for (index, (certificate, private)) in more.iter().zip(more_keys).enumerate() {
        let field = |name: &str| format!("{name}[{index}]");
        let pair = pair(resource, (Some(certificate), &field("certs")), (Some(private), &field("keys")))?;
        let key = resource.part(&format!("/certs/{index}"));
        secrets.push((key.clone(), Data::new(pair)));
        keys.push(key);
    }
    Ok(keys)
}

/// Whom the hosts let in; the authorities go to `entries`.
fn client_auth(resource: &Resource<'_>, client: &Value, entries: &mut Vec<Entry>) -> Result<ClientAuthRef, Invalid> {
    let client: Client = part(client.clone(), "client")?;
    let ca = client.ca.ok_or_else(|| Invalid::spec(CA, "must be set"))?;
    plain(&ca, CA)?;
    entries.push((CA, ca.into()));
    let object = ObjectRef { kind: Kind::Secret, key: resource.name() };
    Ok(ClientAuthRef {
        authorities: vec![DataRef { entry: Some(CA.into()), field: CA.into(), object }],
        revocation: None,
        settings: ClientSettings {
            depth: depth(client.depth, "client.depth")?,
            skip: skip(client.skip_mtls_uri_regex.unwrap_or_default(), "client.skip_mtls_uri_regex")?,
            ..ClientSettings::default()
        },
    })
}

fn protocols(names: Option<&[String]>) -> Result<Protocols, Invalid> {
    let Some(names) = names else { return Ok(Protocols::default()) };
    let mut offered = (false, false);
    for (index, name) in names.iter().enumerate() {
        match name.as_str() {
            "TLSv1.2" => offered.0 = true,
            "TLSv1.3" => offered.1 = true,
            _ => {
                let message = format!("`{name}` is not served; write TLSv1.2, TLSv1.3 or both");
                return Err(Invalid::unsupported(format!("ssl_protocols[{index}]"), message));
            }
        }
    }
    let versions = match offered {
        (true, true) => TlsVersions::Both,
        (true, false) => TlsVersions::Tls12,
        (false, true) => TlsVersions::Tls13,
        (false, false) => return Err(Invalid::spec("ssl_protocols", "must hold TLSv1.2, TLSv1.3 or both")),
    };
    Ok(Protocols { versions, ..Protocols::default() })
}
