use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use kaspath_domain::{DiscoveryEvent, Groups, Namespace, Observers, PeerIdentity, PeerTarget};
use kaspath_policy::SlotKind;

use super::{group::Group, relays::KnownRelays};

/// Begins sessions with peers that were told of.
#[async_trait]
pub trait ReachPeer: Send + Sync {
    /// Begins a session with the peer unless there is one, calls `up` once there is one, and
    /// returns when it has ended. Dropping the future ends a session that this node has
    /// begun.
    ///
    /// # Errors
    /// Why there is none.
    async fn reach(&self, target: PeerTarget, up: Box<dyn FnOnce() + Send>) -> Result<(), String>;
}

/// How a node finds peers.
pub struct DiscoverConfig {
    /// The Kaspa network, such as `mainnet`.
    pub network: String,
    /// Where peers of that kind are listed.
    pub namespace: Namespace,
    /// The private group to which it belongs: nobody is reached who is no member.
    pub group: Option<Group>,
    /// How many of the peers that it is told of it keeps a session with; with 0 it asks for none.
    pub outbound: usize,
    /// Whether it is listed itself.
    pub is_listed: bool,
    /// Whether its entry has its public addresses. A node that is reachable by strangers
    /// has them in any case.
    pub shows_addresses: bool,
    /// Peers that its user has named, which are somebody else's matter.
    pub configured: Vec<PeerIdentity>,
    /// The relays to ask.
    pub relays: Arc<dyn KnownRelays>,
    /// Told of what happens.
    pub observers: Observers<DiscoveryEvent>,
}

/// A peer that is reached because somebody has told of it, or because it has served well.
#[derive(Clone, Debug)]
pub struct DiscoveredPeer {
    /// Who.
    pub peer: PeerIdentity,
    /// What for.
    pub kind: SlotKind,
    /// For whom it counts.
    pub groups: Groups,
    /// How long there has been a session; `None` if it is being reached.
    pub age: Option<Duration>,
}
