use serde_json::json;

use super::*;
use crate::model::{Protocol, Reason, ServiceAddress};

fn secret(json: Value) -> Result<crate::model::Data, Invalid> {
    match from_json(Kind::Secret, json).unwrap().1 {
        Object::Secret(observed) => observed.value,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_document_without_a_name_has_no_key() {
    for metadata in [json!(null), json!({}), json!({"name": ""}), json!({"name": 5}), json!([])] {
        let invalid = from_json(Kind::Secret, json!({"metadata": metadata})).unwrap_err();
        assert_eq!(invalid.field, "metadata.name", "{metadata}");
    }
    assert!(from_json(Kind::Secret, json!("text")).is_err());
    let invalid = from_json(Kind::Secret, json!({"metadata": {"name": "a", "namespace": "/apisix"}})).unwrap_err();
    assert_eq!(invalid.field, "metadata.namespace", "resources of the Admin API are there");
}

#[test]
fn a_document_without_a_namespace_is_in_the_default_one() {
    let key = |kind, json| from_json(kind, json).unwrap().0;
    assert_eq!(key(Kind::Secret, json!({"metadata": {"name": "a"}})), ObjectKey::new("default", "a"));
    assert_eq!(
        key(Kind::ApisixTls, json!({"metadata": {"name": "a", "namespace": "b"}, "spec": 5})),
        ObjectKey::new("b", "a")
    );
    assert_eq!(key(Kind::IngressClass, json!({"metadata": {"name": "a"}})), ObjectKey::new("", "a"));
}

#[test]
fn a_wrong_type_is_named_by_its_field() {
    let json = json!({"metadata": {"name": "a"}, "spec": {"ports": [{"port": "x"}]}});
    let Object::Service(service) = from_json(Kind::Service, json).unwrap().1 else { panic!() };
    let invalid = service.value.unwrap_err();
    assert_eq!((invalid.field.as_str(), invalid.reason), ("spec.ports[0].port", Reason::InvalidSpec));
}

#[test]
fn no_kind_panics_on_any_json() {
    let odd = [json!(null), json!(true), json!(-1), json!("x"), json!([null]), json!({"x": null})];
    for kind in Kind::ALL {
        for value in &odd {
            for field in ["metadata", "spec", "data", "status", "endpoints", "ports"] {
                let mut json = json!({"metadata": {"name": "a"}, "spec": {}});
                json[field] = value.clone();
                if json["metadata"].is_object() {
                    json["metadata"]["name"] = "a".into();
                }
                let _ = from_json(kind, json);
            }
            for field in ["http", "hosts", "client", "secret", "ports", "clusterIP", "controller", "tcp"] {
                let _ = from_json(kind, json!({"metadata": {"name": "a"}, "spec": {field: value}}));
            }
        }
    }
}

#[test]
fn a_secret_reads_data_and_text() {
    let json = json!({"metadata": {"name": "a"}, "data": {"cert": "QUJD", "key": "QUJD"}, "stringData": {"key": "k"}});
    let secret = secret(json).unwrap();
    assert_eq!(secret.get("cert").unwrap().as_ref(), b"ABC");
    assert_eq!(secret.get("key").unwrap().as_ref(), b"k");
    let shown = format!("{secret:?}");
    assert!(shown.contains("cert") && !shown.contains("ABC"), "{shown}");
}

#[test]
fn a_config_map_reads_text_and_bytes() {
    let json = json!({"metadata": {"name": "a"}, "data": {"ca.crt": "pem"}, "binaryData": {"ca.crl": "QUJD"}});
    let Object::ConfigMap(Observed { value: Ok(data), .. }) = from_json(Kind::ConfigMap, json).unwrap().1 else {
        panic!("no ConfigMap")
    };
    assert_eq!(
        (data.get("ca.crt").unwrap().as_ref(), data.get("ca.crl").unwrap().as_ref()),
        (&b"pem"[..], &b"ABC"[..])
    );
}

#[test]
fn a_broken_secret_names_the_field_and_shows_no_value() {
    let invalid = secret(json!({"metadata": {"name": "a"}, "data": {"tls.key": "hush!"}})).unwrap_err();
    assert_eq!(invalid.field, "data.tls.key");
    let invalid2 = secret(json!({"metadata": {"name": "a"}, "data": "hush"})).unwrap_err();
    assert!(!invalid.message.contains("hush") && !invalid2.message.contains("hush"));
}

#[test]
fn the_age_of_an_object_is_read() {
    let json = json!({"metadata": {"name": "a", "generation": 3, "creationTimestamp": "2024-01-01T00:00:00Z"},
        "spec": {"controller": "x"}});
    let Object::IngressClass(class) = from_json(Kind::IngressClass, json).unwrap().1 else { panic!() };
    assert_eq!(class.meta, Meta { created: 1_704_067_200, generation: 3 });
}

#[test]
fn a_service_has_the_address_of_its_type() {
    for (spec, address) in [
        (json!({"clusterIP": "10.0.0.1"}), ServiceAddress::Cluster([10, 0, 0, 1].into())),
        (json!({"clusterIP": "None"}), ServiceAddress::Headless),
        (json!({}), ServiceAddress::Headless),
        (json!({"type": "ExternalName", "externalName": "A.example."}), ServiceAddress::External("a.example.".into())),
    ] {
        let json = json!({"metadata": {"name": "a"}, "spec": spec});
        let Object::Service(service) = from_json(Kind::Service, json).unwrap().1 else { panic!() };
        assert_eq!(service.value.unwrap().address, address);
    }
}

#[test]
fn ports_have_a_protocol_and_those_of_sctp_are_left_out() {
    let json = json!({"metadata": {"name": "a"},
        "spec": {"ports": [{"name": "dns", "port": 53, "protocol": "UDP"}, {"port": 80}, {"port": 7, "protocol": "SCTP"}]}});
    let Object::Service(service) = from_json(Kind::Service, json).unwrap().1 else { panic!() };
    let ports: Vec<_> = service.value.unwrap().ports.iter().map(|port| (port.port, port.protocol)).collect();
    assert_eq!(ports, [(53, Protocol::Udp), (80, Protocol::Tcp)]);
}

#[test]
fn an_endpoint_counts_unless_it_says_that_it_is_not_ready() {
    let json = json!({"metadata": {"name": "a", "labels": {SERVICE: "web"}}, "addressType": "IPv4", "endpoints": [
        {"addresses": ["10.0.0.3"]},
        {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
        {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
        {"addresses": ["10.0.0.3"], "conditions": {}},
    ], "ports": [{"name": "http", "port": 8080}, {"name": "all"}]});
    let Object::EndpointSlice(slice) = from_json(Kind::EndpointSlice, json).unwrap().1 else { panic!() };
    let slice = slice.value.unwrap();
    let addresses: Vec<_> = slice.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.1", "10.0.0.3"]);
    assert_eq!((&*slice.service, slice.ports.len(), slice.ports[0].port), ("web", 1, 8080));
}

const SERVICE: &str = endpoint_slice::SERVICE_LABEL;

#[test]
fn the_versions_of_our_kinds_are_known() {
    for version in ["v2beta1", "v2beta2", "v2beta3", "v2"] {
        assert_eq!(kind(&format!("apisix.apache.org/{version}"), "ApisixRoute"), Some(Kind::ApisixRoute));
    }
    assert_eq!(kind("apisix.apache.org/v1", "ApisixTls"), Some(Kind::ApisixTls));
    assert_eq!(kind("apisix.apache.org/v1", "ApisixRoute"), None);
    assert_eq!(kind("apps/v1", "Deployment"), None);
}
