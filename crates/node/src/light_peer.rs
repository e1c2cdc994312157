use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use kaspath_domain::{ConnectorError, Observer, PeerTarget, StreamListener};
use kaspath_kaspa_adaptor::{CloseReason, ConnectError, KaspaNode, NodeConfig, Peer};
use kaspath_policy::KeeperEvent;
use thiserror::Error;
use tokio::time::sleep;

use crate::{Node, ReachPeer};

/// Why a light peer has no session with a peer.
#[derive(Debug, Error)]
pub enum ReachError {
    /// There is no stream.
    #[error(transparent)]
    NoStream(#[from] ConnectorError),
    /// The peer does not shake hands.
    #[error(transparent)]
    NoSession(#[from] ConnectError),
}

/// A Kaspa peer of our own on a [`Node`]. Cheap to clone.
#[derive(Clone)]
pub struct LightPeer {
    node: Node,
    kaspa: KaspaNode,
}

impl Node {
    /// A light peer on this node, which neither reaches nor serves anybody yet.
    pub fn light_peer(&self, mut config: NodeConfig) -> LightPeer {
        config.observers = config.observers.after(self.0.recorder.clone());
        LightPeer { node: self.clone(), kaspa: KaspaNode::new(config) }
    }
}

impl LightPeer {
    /// The Kaspa side: peers, gossip, events.
    pub fn kaspa(&self) -> &KaspaNode {
        &self.kaspa
    }

    /// Serves peers that open streams to `listener`, as far as the node admits them.
    /// Returns when the listener ends or the Kaspa side shuts down.
    pub async fn serve(&self, listener: Arc<dyn StreamListener>) {
        self.kaspa.serve(listener, self.node.admission()).await;
    }

    /// Reaches a peer and shakes hands; the session then lives on by itself.
    ///
    /// # Errors
    /// Why there is no session.
    pub async fn connect(&self, target: &PeerTarget) -> Result<Arc<Peer>, ReachError> {
        Ok(self.kaspa.connect(self.node.connector().connect(target).await?).await?)
    }

    /// Keeps a session with a peer, and reports its failures to `observer`: begins it again
    /// when it has ended. Runs until it is dropped.
    pub async fn keep(&self, target: PeerTarget, observer: &dyn Observer<KeeperEvent>) {
        let session = || async { self.once(&target).await.map_err(|error| error.to_string()) };
        self.node.0.keeper.keep(session, |event| observer.observe(&event)).await;
    }

    /// The same once: returns when the session has ended.
    ///
    /// # Errors
    /// Why there is no session.
    pub async fn once(&self, target: &PeerTarget) -> Result<(), ReachError> {
        self.connect(target).await?.router().closed().await;
        Ok(())
    }
}

/// Attempts to shake hands with a peer that was told of, and the longest time between two.
const ATTEMPTS: u32 = 3;
const AGAIN: Duration = Duration::from_secs(1);

/// Ends a session that this node has begun and wants no more.
struct Closing(Option<Arc<Peer>>);

impl Drop for Closing {
    fn drop(&mut self) {
        if let Some(peer) = &self.0 {
            peer.router().close(CloseReason::Local);
        }
    }
}

#[async_trait]
impl ReachPeer for LightPeer {
    async fn reach(&self, target: PeerTarget, up: Box<dyn FnOnce() + Send>) -> Result<(), String> {
        let session = || self.kaspa.hub().by_identity(target.peer.as_ref()?).filter(|peer| !peer.router().is_closed());
        let mut closing = Closing(None);
        for attempt in 1.. {
            if session().is_some() {
                break;
            }
            match self.connect(&target).await {
                Ok(peer) => {
                    closing.0 = Some(peer);
                    break;
                }
                // Of two sessions that begin at once the other may be the one that is kept.
                Err(ReachError::NoSession(_)) if session().is_some() => {}
                Err(ReachError::NoSession(_)) if attempt < ATTEMPTS => sleep(AGAIN.mul_f64(rand::random())).await,
                Err(error) => return Err(error.to_string()),
            }
        }
        up();
        while let Some(peer) = session() {
            peer.router().closed().await;
        }
        Ok(())
    }
}
