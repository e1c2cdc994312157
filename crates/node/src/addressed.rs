use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kaspath_domain::{ConnectorError, DuplexStream, MonotonicClock, PeerBook, PeerConnector, PeerTarget};
use kaspath_policy::Directory;

use crate::{Relays, discovering::may_dial, lock, recording::known_addresses};

/// A connector that also dials at the addresses that a peer's own record names, and at
/// those that a book knows.
pub(crate) struct Addressed {
    inner: Arc<dyn PeerConnector>,
    book: Arc<dyn PeerBook>,
    directory: Arc<Mutex<Directory>>,
    relays: Relays,
    clock: MonotonicClock,
}

impl Addressed {
    pub(crate) fn new(
        inner: Arc<dyn PeerConnector>,
        book: Arc<dyn PeerBook>,
        directory: Arc<Mutex<Directory>>,
        relays: Relays,
        clock: MonotonicClock,
    ) -> Self {
        Self { inner, book, directory, relays, clock }
    }
}

#[async_trait]
impl PeerConnector for Addressed {
    async fn connect(&self, target: &PeerTarget) -> Result<DuplexStream, ConnectorError> {
        let now = self.clock.now();
        let record = target.peer.as_ref().and_then(|peer| lock(&self.directory).get(peer, now).cloned());
        let own = record.as_ref().map(|record| record.record());
        let addresses = known_addresses(self.book.as_ref(), own, target, |at| may_dial(&self.relays, at));
        let target = PeerTarget { peer: target.peer.clone(), addresses };
        self.inner.connect(&target).await
    }
}
