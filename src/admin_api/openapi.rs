//! The description of the API in the form of `OpenAPI` 3.1, made from the schemas that resources are checked with.

use serde_json::{Map, Value, json};

use super::api::SECRET_MANAGERS;
use crate::resource::{self, Kind};

/// The document of everything that is served under `/apisix/admin` where resources are written one by one.
pub(super) fn document() -> Value {
    let mut paths = Map::new();
    for kind in Kind::ALL {
        let (all, one) = paths_of(kind);
        paths.insert(all, collection(kind));
        paths.insert(one, member(kind));
        if is_patched(kind) {
            paths.insert(format!("{}/{{subPath}}", path(kind, true)), sub_path(kind));
        }
    }
    paths.extend(others());
    let schemas: Map<_, _> =
        Kind::ALL.into_iter().map(|kind| (kind.singular().to_owned(), resource::schema(kind).clone())).collect();
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Admin API", "version": env!("CARGO_PKG_VERSION") },
        "servers": [{ "url": "http://127.0.0.1:9180" }],
        "security": [{ "key": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "key": { "type": "apiKey", "in": "header", "name": "X-API-KEY" } },
        },
    })
}

fn paths_of(kind: Kind) -> (String, String) {
    (path(kind, false), path(kind, true))
}

fn path(kind: Kind, with_id: bool) -> String {
    let all = match kind {
        Kind::Credential => "/apisix/admin/consumers/{username}/credentials".to_owned(),
        Kind::Secret => "/apisix/admin/secrets/{manager}".to_owned(),
        kind => format!("/apisix/admin/{}", kind.plural()),
    };
    if with_id { all + "/{id}" } else { all }
}

/// Kinds that have POST and PATCH are those whose ids may be made here.
fn is_posted(kind: Kind) -> bool {
    matches!(kind, Kind::Route | Kind::Service | Kind::Upstream | Kind::Ssl | Kind::StreamRoute | Kind::Proto)
}

fn is_patched(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::Consumer | Kind::Credential | Kind::PluginMetadata | Kind::Proto | Kind::StreamRoute | Kind::Secret
    )
}

fn parameter(name: &str, place: &str, schema: &Value) -> Value {
    json!({ "name": name, "in": place, "required": place == "path", "schema": schema })
}

fn owner(kind: Kind) -> Vec<Value> {
    let name = json!({ "type": "string", "pattern": "^[a-zA-Z0-9_-]+$" });
    let manager = json!({ "enum": SECRET_MANAGERS });
    match kind {
        Kind::Credential => vec![parameter("username", "path", &name)],
        Kind::Secret => vec![parameter("manager", "path", &manager)],
        _ => Vec::new(),
    }
}

fn with_id(kind: Kind) -> Vec<Value> {
    let id = json!({ "type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[a-zA-Z0-9_.-]+$" });
    let mut parameters = owner(kind);
    parameters.push(parameter("id", "path", &id));
    parameters
}

fn ttl() -> Value {
    parameter("ttl", "query", &json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 3_200_000_000_u64 }))
}

fn sent(schema: &Value) -> Value {
    json!({ "required": true, "content": { "application/json": { "schema": schema } } })
}

fn of(kind: Kind) -> Value {
    json!({ "$ref": format!("#/components/schemas/{}", kind.singular()) })
}

fn answer(description: &str, schema: &Value) -> Value {
    json!({ "description": description, "content": { "application/json": { "schema": schema } } })
}

/// The answers of a call: those of success, and those of every call.
fn answers(success: &[(&str, Value)]) -> Value {
    let error = json!({
        "type": "object", "properties": { "error_msg": { "type": "string" } }, "required": ["error_msg"]
    });
    let missing = json!({ "type": "object", "properties": {
        "message": { "type": "string" }, "error_msg": { "type": "string" }
    } });
    let mut bad = answer("what is sent is not valid", &error);
    bad["content"]["text/plain"] = json!({ "schema": { "type": "string" } });
    let mut answers = Map::from_iter([
        ("400".to_owned(), bad),
        ("401".to_owned(), answer("the key is missing, wrong, or for reading only", &error)),
        ("404".to_owned(), answer("there is nothing", &missing)),
        ("413".to_owned(), answer("the body is longer than 1.5 MiB", &error)),
        ("503".to_owned(), answer("the store does not answer", &error)),
    ]);
    answers.extend(success.iter().map(|(status, answer)| ((*status).to_owned(), answer.clone())));
    Value::Object(answers)
}

fn item() -> Value {
    json!({
        "type": "object",
        "properties": {
            "key": { "type": "string" },
            "value": { "type": "object" },
            "createdIndex": { "type": "integer" },
            "modifiedIndex": { "type": "integer" },
        },
        "required": ["key", "value"],
    })
}

fn collection(kind: Kind) -> Value {
    let text = json!({ "type": "string" });
    let mut list = owner(kind);
    list.extend([
        // As in APISIX two numbers make pages; any other text makes none.
        parameter("page", "query", &text),
        parameter("page_size", "query", &text),
        parameter("name", "query", &text),
        parameter("label", "query", &text),
        parameter("uri", "query", &text),
        parameter("filter", "query", &text),
    ]);
    let many = json!({
        "type": "object",
        "properties": { "total": { "type": "integer" }, "list": { "type": "array", "items": item() } },
        "required": ["total", "list"],
    });
    let mut calls = json!({
        "get": { "parameters": list, "responses": answers(&[("200", answer("the resources", &many))]) },
    });
    if is_posted(kind) {
        let mut parameters = owner(kind);
        parameters.push(ttl());
        calls["post"] = json!({
            "parameters": parameters,
            "requestBody": sent(&of(kind)),
            "responses": answers(&[("201", answer("made", &item()))]),
        });
    }
    if kind == Kind::Consumer {
        calls["put"] = write(owner(kind), kind);
    }
    calls
}

fn write(mut parameters: Vec<Value>, kind: Kind) -> Value {
    parameters.push(ttl());
    let success = [("200", answer("replaced", &item())), ("201", answer("made", &item()))];
    json!({ "parameters": parameters, "requestBody": sent(&of(kind)), "responses": answers(&success) })
}

fn member(kind: Kind) -> Value {
    let deleted = json!({
        "type": "object",
        "properties": { "deleted": { "const": "1" }, "key": { "type": "string" } },
        "required": ["deleted", "key"],
    });
    let mut remove = with_id(kind);
    remove.push(parameter("force", "query", &json!({ "enum": ["true", "false"] })));
    let mut calls = json!({
        "get": { "parameters": with_id(kind), "responses": answers(&[("200", answer("the resource", &item()))]) },
        "put": write(with_id(kind), kind),
        "delete": { "parameters": remove, "responses": answers(&[("200", answer("removed", &deleted))]) },
    });
    if is_patched(kind) {
        calls["patch"] = change(with_id(kind), &json!({ "type": "object" }));
    }
    calls
}

fn change(mut parameters: Vec<Value>, schema: &Value) -> Value {
    parameters.push(ttl());
    json!({
        "parameters": parameters,
        "requestBody": sent(schema),
        "responses": answers(&[("200", answer("changed", &item()))]),
    })
}

fn sub_path(kind: Kind) -> Value {
    let mut parameters = with_id(kind);
    parameters.push(parameter("subPath", "path", &json!({ "type": "string", "pattern": "^[a-z_]+$" })));
    json!({ "patch": change(parameters, &json!({})) })
}

/// What is no resource.
fn others() -> Map<String, Value> {
    let object = json!({ "type": "object" });
    let shown = |description: &str, schema: &Value| json!({ "get": { "responses": answers(&[("200", answer(description, schema))]) } });
    let named = |description: &str| {
        let name = parameter("name", "path", &json!({ "type": "string", "pattern": "^[a-z_-]+$" }));
        json!({ "get": { "parameters": [name], "responses": answers(&[("200", answer(description, &object))]) } })
    };
    let validated = json!({ "post": {
        "requestBody": sent(&object), "responses": answers(&[("200", answer("all of it is valid", &object))])
    } });
    let checked = json!({ "post": {
        "parameters": [parameter("name", "path", &json!({ "enum": Kind::ALL.map(Kind::plural) }))],
        "requestBody": sent(&json!({})),
        "responses": answers(&[("200", json!({ "description": "it has the shape" }))]),
    } });
    Map::from_iter([
        ("/apisix/admin/configs/validate".to_owned(), validated),
        ("/apisix/admin/openapi.json".to_owned(), shown("this document", &object)),
        ("/apisix/admin/plugins/list".to_owned(), shown("the plugins that are built", &json!({ "type": "array" }))),
        ("/apisix/admin/plugins/{name}".to_owned(), named("the schema of a plugin")),
        ("/apisix/admin/schema/{name}".to_owned(), named("the schema of a resource")),
        ("/apisix/admin/schema/validate/{name}".to_owned(), checked),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin_api::target::Target;

    #[test]
    fn every_described_path_leads_somewhere() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        assert!(paths.len() > 30);
        for path in paths.keys() {
            let path = path.replace(['{', '}'], "");
            assert!(!matches!(Target::parse(&path), Target::Outside | Target::Unknown(_)), "{path}");
        }
    }

    #[test]
    fn every_reference_is_to_a_schema() {
        let document = document();
        let text = document.to_string();
        for (at, _) in text.match_indices("\"#/") {
            let pointer: String = text[at + 2..].chars().take_while(|letter| *letter != '"').collect();
            assert!(document.pointer(&pointer).is_some(), "{pointer}");
        }
    }
}
