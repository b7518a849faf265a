//! Secret and ConfigMap to [`Data`].

use std::collections::BTreeMap;

use bytes::Bytes;
use k8s_openapi::ByteString;

use super::Observe;
use crate::api;
use crate::model::{Data, Invalid, Kind};
use crate::world::{Object, Observed};

impl Observe for api::ConfigMap {
    const KIND: Kind = Kind::ConfigMap;

    type Model = Data;

    fn parse(self) -> Result<Data, Invalid> {
        let Self { binary_data, data, metadata: _ } = self;
        Ok(joined(binary_data, data))
    }

    fn wrap(observed: Observed<Data>) -> Object {
        Object::ConfigMap(observed)
    }
}

impl Observe for api::Secret {
    const KIND: Kind = Kind::Secret;

    type Model = Data;

    fn parse(self) -> Result<Data, Invalid> {
        let Self { data, metadata: _, string_data } = self;
        // The API server's order: `stringData` wins.
        Ok(joined(data, string_data))
    }

    fn wrap(observed: Observed<Data>) -> Object {
        Object::Secret(observed)
    }
}

/// Both together; a text wins over bytes under the same key.
fn joined(bytes: Option<BTreeMap<String, Option<ByteString>>>, texts: Option<BTreeMap<String, String>>) -> Data {
    let bytes = bytes.unwrap_or_default().into_iter();
    let bytes = bytes.map(|(key, value)| (key, value.map_or_else(Bytes::new, |value| value.0.into())));
    let texts = texts.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into()));
    Data::new(bytes.chain(texts))
}
