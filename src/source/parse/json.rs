//! JSON to Rust types, with the path of the field that does not fit.

use std::fmt::Write;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use crate::model::Invalid;

/// Reads `json`, which is found at `field` of its object.
pub(in crate::source) fn read<T: DeserializeOwned>(json: Value, field: &str) -> Result<T, Invalid> {
    serde_path_to_error::deserialize(json).map_err(|error| {
        let mut path = field.to_owned();
        for segment in error.path() {
            match segment {
                Segment::Seq { index } => {
                    let _ = write!(path, "[{index}]");
                }
                Segment::Map { key: name } | Segment::Enum { variant: name } => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(name);
                }
                Segment::Unknown => {}
            }
        }
        Invalid::spec(path, error.inner().to_string())
    })
}
