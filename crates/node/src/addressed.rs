use std::sync::Arc;

use async_trait::async_trait;
use kaspath_domain::{ConnectorError, DuplexStream, PeerBook, PeerConnector, PeerTarget};

use crate::recording::known_addresses;

/// A connector that also dials at the addresses that a book knows.
pub(crate) struct Addressed {
    inner: Arc<dyn PeerConnector>,
    book: Arc<dyn PeerBook>,
}

impl Addressed {
    pub(crate) fn new(inner: Arc<dyn PeerConnector>, book: Arc<dyn PeerBook>) -> Self {
        Self { inner, book }
    }
}

#[async_trait]
impl PeerConnector for Addressed {
    async fn connect(&self, target: &PeerTarget) -> Result<DuplexStream, ConnectorError> {
        let target = PeerTarget { peer: target.peer.clone(), addresses: known_addresses(self.book.as_ref(), target) };
        self.inner.connect(&target).await
    }
}
