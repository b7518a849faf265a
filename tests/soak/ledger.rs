//! What was in force when, and who had to be served under it.

use std::sync::RwLock;

use rustls::pki_types::CertificateDer;

/// A client by its certificate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Client {
    /// It sends none.
    Anonymous,
    /// Of an authority that is trusted throughout.
    Good,
    /// As [`Client::Good`], but its certificate is revoked at times.
    Revocable,
    /// Of an authority that is trusted at times.
    Rotated,
    /// Of an authority that is never trusted.
    Stranger,
}

impl Client {
    pub(crate) const ALL: [Self; 5] = [Self::Anonymous, Self::Good, Self::Revocable, Self::Rotated, Self::Stranger];
}

/// A host by what it asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Host {
    /// A certificate of an authority that is trusted now and not on a list; else the handshake fails.
    Alert,
    /// A certificate of an authority that is trusted now.
    Authorities,
    /// A certificate of the good authority that is not on its list.
    Lists,
    /// Nothing.
    Open,
}

impl Host {
    pub(crate) const ALL: [Self; 4] = [Self::Alert, Self::Authorities, Self::Lists, Self::Open];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Alert => "alert.test",
            Self::Authorities => "authorities.test",
            Self::Lists => "lists.test",
            Self::Open => "open.test",
        }
    }
}

/// What the manifests say at one time.
pub(crate) struct Truth {
    pub(crate) revoked: bool,
    pub(crate) server: CertificateDer<'static>,
    pub(crate) trusted: bool,
}

impl Truth {
    /// Whether the client must be served by the host. If not, it must be refused.
    fn serves(&self, client: Client, host: Host) -> bool {
        match (host, client) {
            (Host::Open, _) | (_, Client::Good) | (Host::Authorities, Client::Revocable) => true,
            (_, Client::Anonymous | Client::Stranger) | (Host::Lists, Client::Rotated) => false,
            (Host::Alert | Host::Authorities, Client::Rotated) => self.trusted,
            (Host::Alert | Host::Lists, Client::Revocable) => !self.revoked,
        }
    }
}

/// What becomes of a client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Expected {
    /// What decides about it was being changed.
    Either,
    Refused,
    Served,
}

/// Every [`Truth`] there was, in order. From the moment before one is written until the program says that it is in force, the
/// one before may be in force too: neither answer is wrong meanwhile for those about whom they differ.
pub(crate) struct Ledger(RwLock<Pages>);

struct Pages {
    /// The oldest that may be in force. The newest is the last.
    oldest: usize,
    truths: Vec<Truth>,
}

impl Ledger {
    pub(crate) fn new(first: Truth) -> Self {
        Self(RwLock::new(Pages { oldest: 0, truths: vec![first] }))
    }

    /// To be called before the truth is written.
    pub(crate) fn begin(&self, truth: Truth) {
        self.0.write().unwrap().truths.push(truth);
    }

    /// To be called once the last one is in force.
    pub(crate) fn settle(&self) {
        let mut pages = self.0.write().unwrap();
        pages.oldest = pages.truths.len() - 1;
    }

    /// The oldest truth that may be in force now.
    pub(crate) fn now(&self) -> usize {
        self.0.read().unwrap().oldest
    }

    /// What had to become of the client between `since`, a former [`Self::now`], and now.
    pub(crate) fn expected(&self, since: usize, client: Client, host: Host) -> Expected {
        let pages = self.0.read().unwrap();
        let mut served = pages.truths[since..].iter().map(|truth| truth.serves(client, host));
        let first = served.next().unwrap();
        match (first, served.all(|served| served == first)) {
            (_, false) => Expected::Either,
            (true, true) => Expected::Served,
            (false, true) => Expected::Refused,
        }
    }

    /// Whether `certificate` was the server's at some time since `since`.
    pub(crate) fn showed(&self, since: usize, certificate: &CertificateDer<'_>) -> bool {
        self.0.read().unwrap().truths[since..].iter().any(|truth| truth.server == *certificate)
    }
}

#[test]
fn only_those_who_are_concerned_may_be_answered_either_way() {
    use Expected::{Either, Refused, Served};
    let truth = |trusted, revoked| Truth { revoked, server: CertificateDer::from(vec![]), trusted };
    let ledger = Ledger::new(truth(true, false));
    let since = ledger.now();
    ledger.begin(truth(false, false));
    let expected = |since, client| ledger.expected(since, client, Host::Alert);
    let all = |since| Client::ALL.map(|client| expected(since, client));
    assert_eq!(all(since), [Refused, Served, Served, Either, Refused]);
    ledger.settle();
    assert_eq!(all(ledger.now()), [Refused, Served, Served, Refused, Refused]);
    assert_eq!(expected(since, Client::Rotated), Either, "it began before");
}
