//! The gateway and its three jobs.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use kaspath_domain::{ListenError, PeerConnector, PeerIdentity, PeerTarget, StreamListener};
use tokio::{sync::watch, time::timeout};

use crate::{
    CloseReason, GatewayParts, KeptPeer, inbound, kaspad, outbound,
    rates::SessionRates,
    refusals::Refusals,
    sessions::{SessionInfo, Sessions},
    shared::Shared,
    table::PeerTable,
};

/// Time for all sessions to end regularly.
const SHUTDOWN: Duration = Duration::from_secs(3);

/// Stands between private peers and one kaspad. Cheap to clone.
#[derive(Clone)]
pub struct Gateway(pub(crate) Arc<Shared>);

impl Gateway {
    /// Joins the parts; nothing runs yet.
    pub fn new(parts: GatewayParts) -> Self {
        Self(Arc::new(Shared {
            table: PeerTable::new(parts.book.clone()),
            sessions: Sessions::new(parts.local.clone()),
            kaspad: watch::channel(None).0,
            rates: Mutex::new(SessionRates::new(parts.newcomers)),
            refusals: [Refusals::new(), Refusals::new()].map(Mutex::new),
            parts,
        }))
    }

    /// Joins every stream that a peer opens to kaspad, coming from the peer's own
    /// loopback address. Returns when the listener fails, and why; dropping the future
    /// ends the sessions as well. Panics if a session does.
    pub async fn serve(&self, listener: Arc<dyn StreamListener>) -> ListenError {
        inbound::serve(self.0.clone(), listener).await
    }

    /// Keeps a session with a peer: opens a stream to it, joins the kaspad behind it to
    /// ours, and does so again whenever the session has ended, by the keeper's cadence. A
    /// session that the peer begins is as good. Needs no RPC. Runs until it is dropped;
    /// the session ends with it.
    pub async fn keep(&self, kept: KeptPeer) {
        outbound::keep(self.0.clone(), kept).await;
    }

    /// Begins one session with a peer that others have told of, unless there is one, calls
    /// `up` once there is one, and returns when it has ended. Dropping the future ends a
    /// session that this gateway has begun.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn reach(
        &self,
        target: PeerTarget,
        connector: Arc<dyn PeerConnector>,
        up: impl FnOnce() + Send,
    ) -> Result<(), String> {
        outbound::reach(self.0.clone(), target, connector, up).await
    }

    /// Follows kaspad's RPC: its bans, its network, how it is doing. Runs until it
    /// is dropped, also if there is no RPC to follow.
    pub async fn follow(&self) {
        match self.0.parts.rpc.clone() {
            Some(rpc) => kaspad::follow(self.0.clone(), rpc).await,
            None => std::future::pending().await,
        }
    }

    /// Ends every session regularly, and waits for that, a few seconds at most. Call it
    /// before [`Gateway::serve`] and [`Gateway::keep`] are dropped.
    pub async fn end_sessions(&self) {
        let mut changes = self.0.sessions.changes();
        let ended = async {
            loop {
                changes.borrow_and_update();
                self.0.sessions.end_all(CloseReason::ShuttingDown, |_, _| true);
                if self.0.sessions.is_empty() || changes.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = timeout(SHUTDOWN, ended).await;
    }

    /// The sessions now.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.0.sessions.all(self.0.parts.clock.now())
    }

    /// Ends the session with a peer that was banned, if there is one. Whether it is let in
    /// again is up to the policy.
    pub fn end_banned(&self, peer: &PeerIdentity) -> bool {
        self.0.sessions.end(peer, CloseReason::Banned)
    }
}
