use std::sync::Arc;

use async_trait::async_trait;
use kaspath_domain::{ConnectorError, DuplexStream, PeerConnector, PeerLocator, PeerTarget};

/// Where to dial a peer, best known first.
pub(crate) type Addresses = Box<dyn Fn(&PeerTarget) -> Vec<PeerLocator> + Send + Sync>;

/// A connector that dials at other addresses than a target's own, such as those that a
/// peer book knows beside them.
pub(crate) struct Addressed {
    inner: Arc<dyn PeerConnector>,
    addresses: Addresses,
}

impl Addressed {
    pub(crate) fn new(inner: Arc<dyn PeerConnector>, addresses: Addresses) -> Self {
        Self { inner, addresses }
    }
}

#[async_trait]
impl PeerConnector for Addressed {
    async fn connect(&self, target: &PeerTarget) -> Result<DuplexStream, ConnectorError> {
        let target = PeerTarget { peer: target.peer.clone(), addresses: (self.addresses)(target) };
        self.inner.connect(&target).await
    }
}
