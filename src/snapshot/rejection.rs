//! Why a handshake was refused: from the verifier, whose errors are an alert and cannot carry it, to whoever drives the
//! handshake and tells of it.

use std::cell::RefCell;

use rustls_pki_types::CertificateDer;

use crate::trust::Refusal;

/// A client that was refused in its handshake.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// What the client sent, its own certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Why it is refused.
    pub refusal: Refusal,
}

thread_local! {
    /// A handshake fails within the call that its verifier was called in, and so on the same thread.
    static LAST: RefCell<Option<Rejection>> = const { RefCell::new(None) };
}

impl Rejection {
    /// Leaves the rejection for [`Rejection::take`].
    pub fn leave(self) {
        LAST.set(Some(self));
    }

    /// The rejection by the verifier of the handshake that has failed on this thread just now; `None` where it failed for
    /// another reason.
    pub fn take() -> Option<Self> {
        LAST.take()
    }
}
