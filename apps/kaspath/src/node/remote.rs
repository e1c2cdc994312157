//! One peer to be reached, and kept.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use kaspath_domain::{
    DialRequest, MonotonicClock, PeerAddress, PeerIdentity, PeerLocator, PlanRequest, RetryCadence, Route, StreamDialer,
    TransportPolicy,
};
use kaspath_kaspa_adaptor::{KaspaNode, Peer};
use kaspath_policy::Executor;
use kaspath_transport_libp2p::{Network, NetworkEvent};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::sleep,
};

use super::OwnNat;
use crate::output::Printer;

/// Time to open a stream on a direct connection that stands already.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// A peer and all its known addresses.
pub(crate) struct Remote {
    pub(crate) request: PlanRequest,
}

/// What reaches a remote.
pub(super) struct Means {
    pub(super) executor: Arc<Executor>,
    pub(super) network: Arc<Network>,
    pub(super) kaspa: KaspaNode,
    pub(super) printer: Printer,
    pub(super) policy: Arc<dyn TransportPolicy>,
    /// The one that the executor goes by.
    pub(super) clock: MonotonicClock,
    pub(super) own_nat: OwnNat,
}

/// A remote with what reaches it.
pub(super) struct ReachableRemote {
    request: PlanRequest,
    means: Means,
}

impl Remote {
    /// Addresses of one peer are one remote; each plain address is its own.
    pub(crate) fn group(locators: &[PeerLocator]) -> Vec<Self> {
        let mut remotes: Vec<Self> = Vec::new();
        for locator in locators {
            let known = remotes.iter_mut().find(|remote| locator.peer.is_some() && remote.request.peer == locator.peer);
            match known {
                Some(remote) => remote.request.addresses.push(locator.clone()),
                None => remotes.push(Self {
                    request: PlanRequest {
                        peer: locator.peer.clone(),
                        addresses: vec![locator.clone()],
                        ..PlanRequest::default()
                    },
                }),
            }
        }
        remotes
    }

    pub(super) fn with(self, means: Means) -> ReachableRemote {
        ReachableRemote { request: self.request, means }
    }
}

impl ReachableRemote {
    fn name(&self) -> String {
        match &self.request.peer {
            Some(peer) => format!("peer {}", peer.short()),
            None => self.request.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        }
    }

    /// Reaches the peer once; returns when the session has ended.
    pub(super) async fn once(self) -> Result<()> {
        let mut events = self.means.network.events();
        let peer = self.connect().await.with_context(|| format!("{} cannot be reached", self.name()))?;
        self.stay(peer, &mut events).await;
        Ok(())
    }

    /// Reaches the peer again and again.
    pub(super) async fn keep(self) -> Result<()> {
        let cadence = RetryCadence::persistent();
        let mut failures = 0;
        loop {
            // From before the dial, so that a punch during the handshake is not missed.
            let mut events = self.means.network.events();
            match self.connect().await {
                Ok(peer) => {
                    failures = 0;
                    self.stay(peer, &mut events).await;
                }
                Err(error) => self.means.printer.warning(&format!("{} cannot be reached: {error:#}", self.name())),
            }
            failures += 1;
            let delay = cadence.delay(failures, rand::random()).unwrap_or(Duration::from_secs(60));
            self.means.printer.line(&format!("trying {} again in {:.1} s", self.name(), delay.as_secs_f32()));
            sleep(delay).await;
        }
    }

    async fn connect(&self) -> Result<Arc<Peer>> {
        let (stream, _outcomes) = self.means.executor.reach(&self.means.own_nat.fill(&self.request)).await?;
        Ok(self.means.kaspa.connect(stream).await?)
    }

    /// Stays until the session ends; moves it to a direct path when one comes up.
    async fn stay(&self, mut peer: Arc<Peer>, events: &mut broadcast::Receiver<NetworkEvent>) {
        loop {
            let relayed = peer.router().path().is_relayed();
            tokio::select! {
                _ = peer.router().closed() => return,
                () = punched(&self.request.peer, events), if relayed => {
                    let may_move = self.request.peer.as_ref().is_none_or(|peer| self.means.policy.may_move(peer, self.means.clock.now()));
                    if may_move && let Some(better) = self.upgrade().await {
                        peer = better;
                    }
                }
            }
        }
    }

    /// A session over the direct path that stands now. Both ends close the old
    /// one when the new one is ready.
    async fn upgrade(&self) -> Option<Arc<Peer>> {
        let relay = self.request.addresses.iter().find_map(|locator| match &locator.address {
            PeerAddress::Relayed(relay) => Some(relay.clone()),
            PeerAddress::Direct(_) => None,
        })?;
        let route = Route::Punched { relay, transports: self.means.policy.punch_transports() };
        let request = DialRequest { peer: self.request.peer.clone(), route, deadline: UPGRADE_TIMEOUT };
        let moved = match self.means.network.dialer().dial(request).await {
            Ok(stream) => self.means.kaspa.connect(stream).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        moved.inspect_err(|error| self.means.printer.warning(&format!("the session stays on the relay: {error}"))).ok()
    }
}

/// Returns when a punch with the peer has succeeded.
async fn punched(with: &Option<PeerIdentity>, events: &mut broadcast::Receiver<NetworkEvent>) {
    loop {
        match events.recv().await {
            Ok(NetworkEvent::PunchSucceeded { peer, .. }) if Some(&peer) == with.as_ref() => return,
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
