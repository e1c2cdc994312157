use std::sync::{Arc, Mutex};

use kaspath_domain::{
    AdmissionPolicy, AttemptOutcome, MonotonicClock, NatMapping, Observer, Observers, PeerBook, PeerConnector, Punching,
    StreamListener, TransportPolicy,
};
use kaspath_policy::{Directory, Executor, Keeper};
use kaspath_session::{SessionEvent, Sessions};
use kaspath_transport_libp2p::{Network, NetworkEvent, PunchConfig};

use tokio::task::JoinSet;

use crate::{Relays, admitting::Admitting, discovering::HeldRelays, lock, recording::Recorder};

pub(crate) struct Parts {
    pub(crate) network: Arc<Network>,
    pub(crate) relays: Relays,
    /// What runs as long as the node does.
    pub(crate) background: Mutex<JoinSet<()>>,
    pub(crate) executor: Arc<Executor>,
    pub(crate) connector: Arc<dyn PeerConnector>,
    pub(crate) listener: Arc<dyn StreamListener>,
    pub(crate) admission: Arc<Admitting>,
    pub(crate) book: Arc<dyn PeerBook>,
    /// Records events in the book.
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) observers: Observers<NetworkEvent>,
    pub(crate) sessions: Option<Sessions>,
    pub(crate) session_observers: Observers<SessionEvent>,
    pub(crate) attempts: Observers<AttemptOutcome>,
    pub(crate) keeper: Keeper,
    pub(crate) clock: MonotonicClock,
    pub(crate) local_candidates: bool,
    pub(crate) mapping: Arc<dyn Fn() -> NatMapping + Send + Sync>,
    pub(crate) held: HeldRelays,
    pub(crate) directory: Arc<Mutex<Directory>>,
}

/// A running node. Cheap to clone; all clones are one node, which ends when the last is
/// dropped. [`Node::shutdown`] also waits for that.
#[derive(Clone)]
pub struct Node(pub(crate) Arc<Parts>);

impl Node {
    /// The network beneath.
    pub fn network(&self) -> &Network {
        &self.0.network
    }

    /// The relays that it knows, and those at which it reserves.
    pub fn relays(&self) -> &Relays {
        &self.0.relays
    }

    /// Opens streams to peers: by the policy's plan, never to a banned peer, and not too
    /// often. A stream is a session, if the settings name a session protocol and the peer
    /// speaks it.
    pub fn connector(&self) -> Arc<dyn PeerConnector> {
        self.0.connector.clone()
    }

    /// The streams that peers open: sessions, which outlive their paths, or plain streams.
    pub fn listener(&self) -> Arc<dyn StreamListener> {
        self.0.listener.clone()
    }

    /// Whom the node lets in: by the policy that was given, and by the book's bans.
    pub fn admission(&self) -> Arc<dyn AdmissionPolicy> {
        self.0.admission.clone()
    }

    /// Lets peers in by that policy from now on.
    pub fn set_admission(&self, policy: Arc<dyn AdmissionPolicy>) {
        self.0.admission.set(policy);
    }

    /// What is known of peers.
    pub fn book(&self) -> Arc<dyn PeerBook> {
        self.0.book.clone()
    }

    /// How this node's own NAT maps, as far as relays have shown it by now.
    pub fn nat_mapping(&self) -> NatMapping {
        (self.0.mapping)()
    }

    /// What keeps sessions.
    pub fn keeper(&self) -> &Keeper {
        &self.0.keeper
    }

    /// Tells `observer` of what happens in the network from now on.
    pub fn observe_network(&self, observer: Arc<dyn Observer<NetworkEvent>>) {
        self.0.observers.add(observer);
    }

    /// Tells `observer` of what happens to sessions from now on.
    pub fn observe_sessions(&self, observer: Arc<dyn Observer<SessionEvent>>) {
        self.0.session_observers.add(observer);
    }

    /// Tells `observer` how each attempt to reach a peer ends from now on.
    pub fn observe_attempts(&self, observer: Arc<dyn Observer<AttemptOutcome>>) {
        self.0.attempts.add(observer);
    }

    /// Reaches and punches peers by that policy from now on. What the old one has learnt
    /// goes with it. If it punches over other transports, circuits with peers are
    /// closed, and begin again by the new rule.
    pub async fn set_policy(&self, policy: Arc<dyn TransportPolicy>) {
        let punch = punch(policy.as_ref(), self.0.local_candidates);
        self.0.executor.set_policy(policy);
        self.0.network.set_punch(punch).await;
    }

    /// Ends every session, closes every connection and returns when the network has ended,
    /// within two seconds.
    pub async fn shutdown(&self) {
        if let Some(sessions) = &self.0.sessions {
            sessions.shutdown().await;
        }
        lock(&self.0.background).abort_all();
        self.0.network.shutdown().await;
    }
}

/// What the policy says of punches, as the transport takes it.
pub(crate) fn punch(policy: &dyn TransportPolicy, allow_local_candidates: bool) -> PunchConfig {
    let Punching { transports, cadence } = policy.punching();
    PunchConfig { transports, cadence, allow_local_candidates }
}

#[cfg(test)]
mod tests {
    use kaspath_policy::{StrategyConfig, StrategyName};

    use super::*;

    #[test]
    fn the_policy_decides_what_is_punched() {
        let punched = |name| punch(StrategyConfig::new(name).build().as_ref(), false).transports;
        assert!(punched(StrategyName::RelayOnly).is_empty());
        assert!(punched(StrategyName::QuicOnly).quic && !punched(StrategyName::QuicOnly).tcp);
        assert!(punched(StrategyName::Balanced).tcp && punched(StrategyName::Balanced).quic);
    }
}
