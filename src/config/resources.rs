//! `apisix.yaml`: the resources of a gateway without etcd and without a database (`config_provider: yaml`).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Error, variables};

/// The line that says that the file is whole: whoever writes it in steps writes this last (APISIX).
const END: &str = "#END";

/// The lists that may be in the file, and the member that is an item's id.
const LISTS: &[(&str, &str)] = &[
    ("consumer_groups", "id"),
    ("consumers", "username"),
    ("global_rules", "id"),
    ("plugin_configs", "id"),
    ("plugin_metadata", "id"),
    ("protos", "id"),
    ("routes", "id"),
    ("secrets", "id"),
    ("services", "id"),
    ("ssls", "id"),
    ("stream_routes", "id"),
    ("upstreams", "id"),
];

/// Reads an `apisix.yaml`: the resources by their keys, such as `routes/1`. An item without an id has one made of its place:
/// `routes/routes-1`.
///
/// # Errors
/// When the file is not whole, is no YAML, or holds what is no resource.
pub fn resources(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<BTreeMap<String, Value>, Error> {
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    if last != Some(END) {
        return Err(Error::new("", format!("is not whole: its last line is not `{END}`")));
    }
    let lists = match variables::read(text, &variable)? {
        Value::Null => Map::new(),
        Value::Object(lists) => lists,
        _ => return Err(Error::new("", "must be a map of lists, such as `routes`")),
    };
    let mut resources = BTreeMap::new();
    for (list, items) in lists {
        // `plugins` says which are loaded; none is.
        if list == "plugins" || items.is_null() {
            continue;
        }
        let Some((_, id_of)) = LISTS.iter().find(|(known, _)| *known == list) else {
            let known: Vec<_> = LISTS.iter().map(|(known, _)| *known).collect();
            return Err(Error::new(list, format!("is unknown; there are {}", known.join(", "))));
        };
        let Value::Array(items) = items else { return Err(Error::new(list, "must be a list")) };
        for (index, item) in items.into_iter().enumerate() {
            let at = format!("{list}[{index}]");
            let Value::Object(mut item) = item else { return Err(Error::new(at, "must be a map")) };
            let id = match item.get(*id_of) {
                None => format!("{list}-{}", index + 1),
                Some(Value::Number(number)) => number.to_string(),
                Some(Value::String(id)) if !id.is_empty() && !id.contains('/') => id.clone(),
                Some(_) => return Err(Error::new(format!("{at}.{id_of}"), "must be a number, or a text without `/`")),
            };
            if *id_of == "id" {
                item.insert("id".to_owned(), id.clone().into());
            }
            if resources.insert(format!("{list}/{id}"), Value::Object(item)).is_some() {
                return Err(Error::new(format!("{at}.{id_of}"), format!("`{id}` is there twice")));
            }
        }
    }
    Ok(resources)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<BTreeMap<String, Value>, String> {
        resources(text, |name| (name == "NODE").then(|| "127.0.0.1:1980".to_owned())).map_err(|error| error.to_string())
    }

    #[test]
    fn items_have_keys() {
        let text = "
routes:
  - {id: 1, uri: /a}
  - uri: /b
    upstream: {nodes: {'${{NODE}}': 1}, desc: '${{NODE}}'}
ssls: [{id: a, sni: a.test}]
consumers: [{username: jack}]
upstreams:
plugins: [{name: cors}]
#END

";
        let resources = read(text).unwrap();
        let keys: Vec<_> = resources.keys().map(String::as_str).collect();
        assert_eq!(keys, ["consumers/jack", "routes/1", "routes/routes-2", "ssls/a"]);
        assert_eq!(resources["routes/1"], json!({"id": "1", "uri": "/a"}));
        assert_eq!(resources["routes/routes-2"]["upstream"]["desc"], "127.0.0.1:1980");
        assert_eq!(read("#END"), Ok(BTreeMap::new()));
    }

    #[test]
    fn what_is_no_resource_is_named() {
        for (text, expected) in [
            ("routes: []", "is not whole: its last line is not `#END`"),
            ("route: []\n#END", "route: is unknown; there are consumer_groups, "),
            ("routes: {}\n#END", "routes: must be a list"),
            ("routes: [1]\n#END", "routes[0]: must be a map"),
            ("routes: [{id: a/b}]\n#END", "routes[0].id: must be a number, or a text without `/`"),
            ("routes: [{id: 1}, {id: '1'}]\n#END", "routes[1].id: `1` is there twice"),
            ("routes: [{desc: '${{NONE}}'}]\n#END", "routes[0].desc: the environment variable NONE is not set"),
            ("routes: [\n#END", "line "),
            ("- a\n#END", "must be a map of lists"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
