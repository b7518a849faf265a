//! IngressClass to [`IngressClass`].

use super::Observe;
use crate::api;
use crate::model::{IngressClass, Invalid, Kind};
use crate::world::{Object, Observed};

impl Observe for api::IngressClass {
    const KIND: Kind = Kind::IngressClass;

    type Model = IngressClass;

    fn parse(self) -> Result<IngressClass, Invalid> {
        let controller = self.spec.unwrap_or_default().controller.filter(|controller| !controller.is_empty());
        let controller = controller.ok_or_else(|| Invalid::spec("spec.controller", "must not be empty"))?;
        Ok(IngressClass { controller: controller.into() })
    }

    fn wrap(observed: Observed<IngressClass>) -> Object {
        Object::IngressClass(observed)
    }
}
