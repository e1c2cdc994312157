use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use kaspath_domain::{
    NatMapping, PeerAddress, PeerIdentity, PeerLocator, RecordDraft, RecordKind, RelayAddress, TransportAddress, is_public,
};

use super::{
    config::DiscoverConfig,
    relays::{HeldRelays, KnownRelay},
};
use crate::lock;

/// For how long an entry is asked for, and a record is valid.
pub(super) const TTL: Duration = Duration::from_secs(600);
/// Relays and addresses that a record names.
const RELAYS: usize = 3;
const ADDRESSES: usize = 4;
/// A node that needs no relay is listed at so many.
const LISTED_AT: usize = 2;

/// A node that strangers can reach, as others have verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicNode {
    /// Where it is reached.
    pub addresses: Vec<TransportAddress>,
    /// Where its kaspad is, if that is reachable as well.
    pub kaspad: Option<SocketAddr>,
    /// Whether it serves as a relay.
    pub is_relay: bool,
}

type Announced = dyn Fn() -> Vec<PeerLocator> + Send + Sync;
type Mapping = dyn Fn() -> NatMapping + Send + Sync;

/// What this node says of itself.
pub(super) struct Own {
    network: String,
    shows_addresses: bool,
    mapping: Arc<Mapping>,
    announced: Box<Announced>,
    held: HeldRelays,
    public: Mutex<Option<PublicNode>>,
}

impl Own {
    pub(super) fn new(
        config: &DiscoverConfig,
        mapping: Arc<Mapping>,
        announced: impl Fn() -> Vec<PeerLocator> + Send + Sync + 'static,
        held: HeldRelays,
    ) -> Self {
        Self {
            network: config.network.clone(),
            shows_addresses: config.shows_addresses,
            mapping,
            announced: Box::new(announced),
            held,
            public: Mutex::default(),
        }
    }

    /// How this node's NAT maps, as far as it is known.
    pub(super) fn mapping(&self) -> NatMapping {
        (self.mapping)()
    }

    /// Whether that is new.
    pub(super) fn set_public(&self, public: Option<PublicNode>) -> bool {
        std::mem::replace(&mut *lock(&self.public), public.clone()) != public
    }

    /// Where to be listed: at the relays that hold a reservation, and without any, at some
    /// others if this node needs none.
    pub(super) fn lists_at<'a>(&self, known: &'a [KnownRelay], held: &BTreeSet<PeerIdentity>) -> Vec<&'a RelayAddress> {
        let at: Vec<_> = known.iter().map(|known| &known.relay).filter(|relay| held.contains(&relay.relay)).collect();
        if at.is_empty() && lock(&self.public).is_some() {
            return known.iter().map(|known| &known.relay).take(LISTED_AT).collect();
        }
        at
    }

    pub(super) fn draft(&self, known: &[KnownRelay], held: &BTreeSet<PeerIdentity>) -> RecordDraft {
        let relays = known.iter().map(|known| &known.relay).filter(|relay| held.contains(&relay.relay));
        // A name would have strangers ask a resolver.
        let relays = relays.filter_map(|relay| self.held.literal(relay)).take(RELAYS).collect();
        let public = lock(&self.public).clone();
        let is_relay = public.as_ref().is_some_and(|public| public.is_relay);
        let (mut candidates, reachable, kaspad) = match public {
            Some(public) => (public.addresses, true, public.kaspad),
            None if self.shows_addresses => (self.own_addresses(), false, None),
            None => (Vec::new(), false, None),
        };
        candidates.retain(|address| address.socket_addr().is_some_and(|socket| is_public(socket.ip())));
        candidates.truncate(ADDRESSES);
        RecordDraft {
            kind: if is_relay { RecordKind::Both } else { RecordKind::Node },
            network: self.network.clone(),
            gossip: true,
            mapping: self.mapping(),
            reachable,
            ttl: TTL,
            relays,
            candidates,
            kaspad,
            load: None,
        }
    }

    fn own_addresses(&self) -> Vec<TransportAddress> {
        let direct = (self.announced)().into_iter().filter_map(|locator| match locator.address {
            PeerAddress::Direct(address) => Some(address),
            PeerAddress::Relayed(_) => None,
        });
        direct.collect()
    }
}
