//! What this node, as a rendezvous point, tells of itself.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use kaspath_domain::{Namespace, SignedRecord};

/// One of this node's own records, and for stock software what it says there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) record: SignedRecord,
    pub(crate) peer_record: Option<Vec<u8>>,
}

/// This node's own entries. They take no place in the table of those who come to be listed, and
/// none of them can displace them.
#[derive(Debug, Default)]
pub(crate) struct Here(Mutex<BTreeMap<Namespace, (Own, Instant)>>);

impl Here {
    /// Who asks for that name is told of this until then.
    pub(crate) fn list(&self, namespace: &Namespace, own: Own, until: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(namespace.clone(), (own, until));
    }

    /// Nobody is told of it any more.
    pub(crate) fn unlist(&self, namespace: &Namespace) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(namespace);
    }

    /// What to tell who asks for that name, and for how long it holds.
    pub(crate) fn get(&self, namespace: &Namespace, now: Instant) -> Option<(Own, Duration)> {
        let listed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (own, until) = listed.get(namespace).filter(|(_, until)| *until > now)?;
        Some((own.clone(), *until - now))
    }
}
