//! Secret to [`Secret`].

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Observe;
use crate::api;
use crate::model::{Invalid, Kind, Secret};
use crate::world::{Object, Observed};

impl Observe for api::Secret {
    const KIND: Kind = Kind::Secret;

    type Model = Secret;

    fn parse(self) -> Result<Secret, Invalid> {
        let Self { data, metadata: _, string_data } = self;
        let data = data.unwrap_or_default().into_iter();
        let mut all: BTreeMap<String, Bytes> =
            data.map(|(key, value)| (key, value.map_or_else(Bytes::new, |value| value.0.into()))).collect();
        // The API server's order: `stringData` wins.
        all.extend(string_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into())));
        Ok(Secret::new(all))
    }

    fn wrap(observed: Observed<Secret>) -> Object {
        Object::Secret(observed)
    }
}
