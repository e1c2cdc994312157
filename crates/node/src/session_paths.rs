use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use kaspath_domain::{
    AdmissionPolicy, ConnectorError, DuplexStream, Moment, Path, PeerConnector, PeerIdentity, PeerTarget, Rates,
};
use kaspath_session::SessionPaths;
use kaspath_transport_libp2p::Libp2pDialer;
use tokio::sync::watch;

use crate::{best_paths::BestPaths, lock};

/// A direct connection that is up has a stream within so much time, or is not worth it.
const DIRECT: Duration = Duration::from_secs(3);

/// Where a node's sessions get their paths from.
pub(crate) struct NodePaths {
    pub(crate) dialer: Libp2pDialer,
    /// Streams for sessions, within the limits on dials.
    pub(crate) first: Arc<dyn PeerConnector>,
    /// The same without these limits: a session asks once a second.
    pub(crate) again: Arc<dyn PeerConnector>,
    pub(crate) plain: Arc<dyn PeerConnector>,
    pub(crate) admission: Arc<dyn AdmissionPolicy>,
    pub(crate) best: BestPaths,
    /// Planned moves. Only who opened a session plans them, so strangers add no peer.
    pub(crate) moves: Mutex<Rates<PeerIdentity>>,
}

#[async_trait]
impl SessionPaths for NodePaths {
    async fn first(&self, target: &PeerTarget) -> Result<DuplexStream, ConnectorError> {
        self.first.connect(target).await
    }

    async fn again(&self, target: &PeerTarget) -> Result<DuplexStream, ConnectorError> {
        if target.peer.as_ref().is_some_and(|peer| self.admission.is_banned(peer)) {
            return Err(ConnectorError::Banned);
        }
        self.again.connect(target).await
    }

    async fn direct(&self, target: &PeerTarget) -> Option<DuplexStream> {
        self.dialer.over_direct(target.peer.as_ref()?, DIRECT).await.ok()
    }

    async fn plain(&self, target: &PeerTarget) -> Result<DuplexStream, ConnectorError> {
        self.plain.connect(target).await
    }

    fn best(&self, peer: &PeerIdentity) -> watch::Receiver<Option<Path>> {
        self.best.watch(peer)
    }

    fn may_move(&self, peer: &PeerIdentity, now: Moment) -> Result<(), Duration> {
        lock(&self.moves).take(peer, now)
    }
}
