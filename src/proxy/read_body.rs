//! Reads a request's body before the request is routed, where a route has a condition on it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::error::ProxyError;

/// The longest body that conditions look into, in bytes.
pub(super) const MAX_READ: u64 = 64 << 10;

/// All of `body`, without its trailers.
///
/// # Errors
/// A body of more than `most` bytes, or one that breaks off, or that pauses for longer than `pause`.
pub(super) async fn read(mut body: Incoming, most: u64, pause: Duration) -> Result<Bytes, ProxyError> {
    let mut read = BytesMut::new();
    while let Some(frame) = tokio::time::timeout(pause, body.frame()).await.map_err(|_| ProxyError::BodyTimeout)? {
        let frame = frame.map_err(|_| ProxyError::Malformed("its body breaks off or is no body"))?;
        let Ok(data) = frame.into_data() else { continue };
        if (read.len() + data.len()) as u64 > most {
            return Err(ProxyError::BodyTooLarge);
        }
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}
