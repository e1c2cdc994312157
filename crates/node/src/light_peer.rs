use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kaspath_domain::{ConnectorError, Observer, Path, PeerTarget, StreamListener};
use kaspath_kaspa_adaptor::{ConnectError, KaspaNode, NodeConfig, Peer};
use kaspath_policy::{KeeperEvent, KeptSession};
use thiserror::Error;
use tokio::sync::watch;

use crate::{Node, lock};

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

    /// Reaches a peer and shakes hands; the session then lives on by itself, on the path
    /// that it has.
    ///
    /// # Errors
    /// Why there is no session.
    pub async fn connect(&self, target: &PeerTarget) -> Result<Arc<Peer>, ReachError> {
        Ok(self.kaspa.connect(self.node.connector().connect(target).await?).await?)
    }

    /// Keeps a session with a peer, and reports its failures to `observer`: begins it again
    /// when it has ended, and moves it when a direct path comes up. Runs until it is
    /// dropped.
    pub async fn keep(&self, target: PeerTarget, observer: &dyn Observer<KeeperEvent>) {
        let best = self.best_path(&target);
        let session = Session { light: self, target: &target, observer, current: Mutex::default() };
        self.node.0.keeper.keep(&session, target.peer.as_ref(), best).await;
    }

    /// The same once: returns when the session has ended.
    ///
    /// # Errors
    /// Why there is no session.
    pub async fn once(&self, target: PeerTarget, observer: &dyn Observer<KeeperEvent>) -> Result<(), ReachError> {
        let best = self.best_path(&target);
        let current = Mutex::new(Some(self.connect(&target).await?));
        let session = Session { light: self, target: &target, observer, current };
        self.node.0.keeper.stay(&session, target.peer.as_ref(), best).await;
        Ok(())
    }

    /// Watched from before the dial, so that no punch is missed.
    fn best_path(&self, target: &PeerTarget) -> watch::Receiver<Option<Path>> {
        target.peer.as_ref().map_or_else(|| watch::channel(None).1, |peer| self.node.best_path(peer))
    }
}

/// Our own session with a peer.
struct Session<'a> {
    light: &'a LightPeer,
    target: &'a PeerTarget,
    observer: &'a dyn Observer<KeeperEvent>,
    current: Mutex<Option<Arc<Peer>>>,
}

impl Session<'_> {
    fn current(&self) -> Option<Arc<Peer>> {
        lock(&self.current).clone()
    }
}

#[async_trait]
impl KeptSession for Session<'_> {
    async fn begin(&self) -> Result<(), String> {
        let peer = self.light.connect(self.target).await.map_err(|error| error.to_string())?;
        *lock(&self.current) = Some(peer);
        Ok(())
    }

    async fn ended(&self) {
        if let Some(peer) = self.current() {
            peer.router().closed().await;
        }
    }

    async fn relayed(&self) {
        if !self.current().is_some_and(|peer| peer.router().path().is_relayed()) {
            std::future::pending().await
        }
    }

    /// A second session begins over the direct path. Both ends close the first one when
    /// the second is ready.
    async fn move_to_direct(&self) -> Result<(), String> {
        let stream =
            self.light.node.0.exact_connector.connect(&self.target.through_relays()).await.map_err(|error| error.to_string())?;
        if stream.path().is_relayed() {
            return Err("the direct path is gone again".to_owned());
        }
        let peer = self.light.kaspa.connect(stream).await.map_err(|error| error.to_string())?;
        *lock(&self.current) = Some(peer);
        Ok(())
    }

    fn report(&self, event: KeeperEvent) {
        self.observer.observe(&event);
    }
}
