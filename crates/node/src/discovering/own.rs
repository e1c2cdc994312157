use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use kaspath_domain::{NatMapping, PeerIdentity, RecordDraft, RecordKind, RelayAddress, TransportAddress, is_public};

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
struct PublicNode {
    addresses: Vec<TransportAddress>,
    is_relay: bool,
}

type Addresses = dyn Fn() -> Vec<TransportAddress> + Send + Sync;
type Mapping = dyn Fn() -> NatMapping + Send + Sync;

/// What this node says of itself.
pub(super) struct Own {
    network: String,
    shows_addresses: bool,
    mapping: Arc<Mapping>,
    /// Public addresses, and those of them at which strangers have come in.
    announced: Box<Addresses>,
    reachable: Box<Addresses>,
    held: HeldRelays,
    public: Mutex<Option<PublicNode>>,
}

impl Own {
    pub(super) fn new(
        config: &DiscoverConfig,
        mapping: Arc<Mapping>,
        announced: impl Fn() -> Vec<TransportAddress> + Send + Sync + 'static,
        reachable: impl Fn() -> Vec<TransportAddress> + Send + Sync + 'static,
        held: HeldRelays,
    ) -> Self {
        Self {
            network: config.network.clone(),
            shows_addresses: config.shows_addresses,
            mapping,
            announced: Box::new(announced),
            reachable: Box::new(reachable),
            held,
            public: Mutex::default(),
        }
    }

    /// How this node's NAT maps, as far as it is known.
    pub(super) fn mapping(&self) -> NatMapping {
        (self.mapping)()
    }

    /// Looks whether strangers can reach this node now; whether that has changed.
    pub(super) fn look(&self) -> bool {
        let addresses = (self.reachable)();
        let public = (!addresses.is_empty()).then(|| PublicNode { addresses, is_relay: self.held.serves() });
        std::mem::replace(&mut *lock(&self.public), public.clone()) != public
    }

    /// Where to be listed as a relay, if it is one.
    pub(super) fn lists_relay_at<'a>(&self, known: &'a [KnownRelay]) -> Vec<&'a RelayAddress> {
        let is_relay = lock(&self.public).as_ref().is_some_and(|public| public.is_relay);
        known.iter().map(|known| &known.relay).filter(|_| is_relay).take(LISTED_AT).collect()
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

    /// Where `us` is to be asked, if it serves as a relay: who does so is told of it as well.
    pub(super) fn here(&self, us: PeerIdentity) -> Option<RelayAddress> {
        let public = lock(&self.public).clone().filter(|public| public.is_relay)?;
        Some(RelayAddress { relay: us, via: public.addresses.first()?.clone() })
    }

    pub(super) fn draft(&self, known: &[KnownRelay], held: &BTreeSet<PeerIdentity>) -> RecordDraft {
        let relays = known.iter().map(|known| &known.relay).filter(|relay| held.contains(&relay.relay));
        // A name would have strangers ask a resolver.
        let relays = relays.filter_map(|relay| self.held.literal(relay)).take(RELAYS).collect();
        let public = lock(&self.public).clone();
        let is_relay = public.as_ref().is_some_and(|public| public.is_relay);
        let (mut candidates, reachable) = match public {
            Some(public) => (public.addresses, true),
            None if self.shows_addresses => ((self.announced)(), false),
            None => (Vec::new(), false),
        };
        candidates.retain(|address| address.ip().is_some_and(is_public));
        candidates.truncate(ADDRESSES);
        RecordDraft {
            kind: if is_relay { RecordKind::Both } else { RecordKind::Node },
            network: self.network.clone(),
            // Who names no relay is told of by itself alone.
            gossip: !known.is_empty(),
            mapping: self.mapping(),
            reachable,
            ttl: TTL,
            relays,
            candidates,
            load: None,
            tag: None,
        }
    }
}
