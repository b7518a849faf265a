//! A store of sessions that offers a session to whatever host is connected to: what an attacker would do.

use std::sync::{Arc, Mutex};

use rustls::NamedGroup;
use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls12Resumption, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;

#[derive(Debug, Default)]
pub(crate) struct Stolen {
    tls12: Mutex<Option<Tls12ClientSessionValue>>,
    tls13: Mutex<Option<Tls13ClientSessionValue>>,
}

impl Stolen {
    /// Resumption from this store: by ticket, in TLS 1.2 by session id as well.
    pub(crate) fn resumption(self: &Arc<Self>) -> Resumption {
        Resumption::store(self.clone()).tls12_resumption(Tls12Resumption::SessionIdOrTickets)
    }

    /// Whether there is something to resume.
    pub(crate) fn is_empty(&self) -> bool {
        self.tls12.lock().unwrap().is_none() && self.tls13.lock().unwrap().is_none()
    }
}

/// The first session is kept: later handshakes must not replace the one that is to be tried elsewhere.
fn keep_first<T>(slot: &Mutex<Option<T>>, value: T) {
    slot.lock().unwrap().get_or_insert(value);
}

impl ClientSessionStore for Stolen {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        keep_first(&self.tls12, value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.tls12.lock().unwrap().clone()
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        keep_first(&self.tls13, value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.tls13.lock().unwrap().take()
    }
}
