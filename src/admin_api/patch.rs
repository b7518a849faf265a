//! Changing a part of a resource.

use serde_json::{Map, Value};

/// The longest way into a resource: far more than any field's, and short enough for whoever walks through it again.
const DEEPEST: usize = 32;

/// Merges `patch` into `value`: `null` removes a member, objects are merged, everything else is put in the place of what there was
/// (RFC 7396).
pub(super) fn merge(value: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *value = patch;
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    let Value::Object(members) = value else { return };
    for (name, new) in patch {
        if new.is_null() {
            members.remove(&name);
        } else {
            merge(members.entry(name).or_insert(Value::Null), new);
        }
    }
}

/// Puts `new` at the end of `path`; `null` removes what is there. Objects on the way are made.
///
/// # Errors
/// When the way is too long, or something else than an object is on it; the text names the place.
pub(super) fn put_at(value: &mut Value, path: &[String], new: Value) -> Result<(), String> {
    let Some((last, way)) = path.split_last() else {
        *value = new;
        return Ok(());
    };
    if path.len() > DEEPEST {
        return Err(invalid(&path[..DEEPEST]));
    }
    let mut at = value;
    for (depth, name) in way.iter().enumerate() {
        let object = at.as_object_mut().ok_or_else(|| invalid(&path[..depth]))?;
        at = object.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
    }
    let object = at.as_object_mut().ok_or_else(|| invalid(way))?;
    if new.is_null() {
        object.remove(last);
    } else {
        object.insert(last.clone(), new);
    }
    Ok(())
}

fn invalid(path: &[String]) -> String {
    format!("invalid sub-path: /{}", path.join("/"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_is_merged_member_by_member() {
        let mut value = json!({ "nodes": { "a": 1, "b": 2 }, "uris": ["/a", "/b"], "desc": "d" });
        merge(
            &mut value,
            json!({ "nodes": { "a": null, "c": 3 }, "uris": ["/c"], "desc": null, "tls": { "x": null, "y": 1 } }),
        );
        assert_eq!(value, json!({ "nodes": { "b": 2, "c": 3 }, "uris": ["/c"], "tls": { "y": 1 } }));
        merge(&mut value, json!({ "uris": { "a": 1 }, "nodes": [] }));
        assert_eq!(value, json!({ "nodes": [], "uris": { "a": 1 }, "tls": { "y": 1 } }));
    }

    #[test]
    fn a_value_is_put_at_the_end_of_a_path() {
        let path = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
        let mut value = json!({ "upstream": { "nodes": {} }, "uris": ["/"] });
        put_at(&mut value, &path("upstream/nodes"), json!({ "a": 1 })).unwrap();
        put_at(&mut value, &path("labels/env"), json!("x")).unwrap();
        put_at(&mut value, &path("uris"), Value::Null).unwrap();
        assert_eq!(value, json!({ "upstream": { "nodes": { "a": 1 } }, "labels": { "env": "x" } }));
        let error = put_at(&mut value, &path("labels/env/a/b"), json!(1)).unwrap_err();
        assert_eq!(error, "invalid sub-path: /labels/env");
        assert!(put_at(&mut json!({}), &path(&"a/".repeat(10_000)), json!(1)).is_err());
        let error = put_at(&mut value, &path("labels/env/a"), json!(1)).unwrap_err();
        assert_eq!(error, "invalid sub-path: /labels/env");
    }
}
