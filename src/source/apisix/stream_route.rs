//! Stream routes.

use crate::model::{Invalid, Route};

/// Refuses every stream route.
pub(super) fn read() -> Result<Route, Invalid> {
    Err(Invalid::unsupported("stream_routes", "stream routes are not served"))
}
