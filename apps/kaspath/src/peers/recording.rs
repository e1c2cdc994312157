//! What a node writes into its book, and the bans that it reads there.

use std::sync::Arc;

use kaspath_domain::{
    AddressSource, Admission, AdmissionRequest, AttemptOutcome, DialPlan, Direction, Moment, ObservedAddress, Path, PeerIdentity,
    PeerLocator, PlanRequest, PolicyError, RefuseReason, RetryCadence, TransportPolicy, TransportSet,
};
use kaspath_gateway::{GatewayEvent, KASPAD_BAN};
use kaspath_kaspa_adaptor::KaspaEvent;
use kaspath_peer_store::PeerStore;
use kaspath_transport_libp2p::NetworkEvent;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::node::now;

/// A policy that knows the book: outcomes are counted there, and who is banned
/// there is neither dialled nor let in.
pub(crate) struct Recording<P> {
    policy: P,
    store: Option<Arc<PeerStore>>,
}

impl<P> Recording<P> {
    pub(crate) fn new(policy: P, store: Option<Arc<PeerStore>>) -> Self {
        Self { policy, store }
    }

    fn is_banned(&self, peer: Option<&PeerIdentity>) -> bool {
        self.store.as_ref().zip(peer).is_some_and(|(store, peer)| store.is_banned(peer, now()))
    }
}

impl<P: std::ops::Deref<Target: TransportPolicy> + Send + Sync> TransportPolicy for Recording<P> {
    fn name(&self) -> &'static str {
        self.policy.name()
    }

    fn plan(&self, request: &PlanRequest, moment: Moment) -> Result<DialPlan, PolicyError> {
        if self.is_banned(request.peer.as_ref()) {
            return Err(PolicyError::Banned);
        }
        self.policy.plan(request, moment)
    }

    fn admit(&self, request: &AdmissionRequest, moment: Moment) -> Admission {
        if self.is_banned(request.peer.as_ref()) {
            return Admission::Refuse(RefuseReason::Banned);
        }
        self.policy.admit(request, moment)
    }

    fn observe(&self, outcome: &AttemptOutcome, moment: Moment) {
        self.policy.observe(outcome, moment);
        if let (Some(store), Some(peer)) = (&self.store, &outcome.peer) {
            let at = now();
            // A full book forgets somebody else, or nobody: either is no reason to fail.
            let _ = store.update(peer, at, |record| record.count(outcome, at));
            if let Some(relay) = outcome.route.relay() {
                let _ = store.update(relay, at, |record| record.relayed.count(outcome));
            }
        }
    }

    fn may_move(&self, peer: &PeerIdentity, moment: Moment) -> bool {
        self.policy.may_move(peer, moment)
    }

    fn punch_cadence(&self) -> RetryCadence {
        self.policy.punch_cadence()
    }

    fn punch_transports(&self) -> TransportSet {
        self.policy.punch_transports()
    }
}

fn observe(store: &PeerStore, peer: &PeerIdentity, locator: PeerLocator, source: AddressSource) {
    let address = ObservedAddress { locator, source, last_seen: now() };
    let _ = store.update(peer, now(), |record| record.observe(address));
}

/// Enters what the user has told.
pub(crate) fn remember_remotes(store: Option<&Arc<PeerStore>>, remotes: &[PeerLocator]) {
    let Some(store) = store else { return };
    for remote in remotes {
        if let Some(peer) = &remote.peer {
            observe(store, peer, remote.clone(), AddressSource::Manual);
        }
    }
}

/// Enters where connections come from and go to, until the network ends.
pub(crate) async fn remember_network(store: Option<Arc<PeerStore>>, mut events: broadcast::Receiver<NetworkEvent>) {
    let Some(store) = store else { return };
    loop {
        match events.recv().await {
            Ok(NetworkEvent::Connected { peer, direction, path, remote }) => {
                let source = match (direction, path) {
                    (Direction::Inbound, _) => AddressSource::Inbound,
                    (Direction::Outbound, Path::Relayed { relay, .. }) => AddressSource::Identify { relay: Some(relay) },
                    (Direction::Outbound, Path::Direct { .. }) => AddressSource::Identify { relay: None },
                };
                observe(&store, &peer, remote, source);
            }
            Ok(NetworkEvent::PunchDialing { peer, rtt: Some(rtt), .. }) => {
                let _ = store.update(&peer, now(), |record| record.rtt = Some(rtt));
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Enters by which id Kaspa knows a peer, until the node ends.
pub(crate) async fn remember_kaspa(store: Option<Arc<PeerStore>>, mut events: broadcast::Receiver<KaspaEvent>) {
    let Some(store) = store else { return };
    loop {
        match events.recv().await {
            Ok(KaspaEvent::PeerReady { peer: Some(peer), kaspa_id, .. }) => {
                let _ = store.update(&peer, now(), |record| record.note_kaspa_id(&kaspa_id, now()));
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Enters what happens at a gateway: who has which address, and whom kaspad bans.
pub(crate) fn remember_gateway(store: Option<&Arc<PeerStore>>, event: &GatewayEvent) {
    let Some(store) = store else { return };
    let _ = match event {
        GatewayEvent::GatewayOpened { peer, address, .. } => {
            store.update(peer, now(), |record| record.synthetic = Some(*address))
        }
        GatewayEvent::PeerBanned { peer, .. } => {
            store.update(peer, now(), |record| record.banned_until = Some(now() + KASPAD_BAN))
        }
        GatewayEvent::PeerUnbanned { peer, .. } => store.update(peer, now(), |record| record.banned_until = None),
        _ => return,
    };
}
