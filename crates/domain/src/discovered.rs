//! What nodes tell of each other: signed records, and the names under which they are
//! listed.

use std::{collections::BTreeSet, fmt, net::IpAddr, str::FromStr, sync::Arc, time::Duration};

use thiserror::Error;

use crate::{
    NatMapping, PeerAddress, PeerGroup, PeerIdentity, PeerLocator, PeerTarget, RelayAddress, Timestamp, TransportAddress,
};

/// What a record's owner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// A node that looks for Kaspa peers.
    Node,
    /// A relay.
    Relay,
    /// A node that serves as a relay as well.
    Both,
}

impl RecordKind {
    /// Whether it looks for Kaspa peers.
    pub const fn is_node(self) -> bool {
        matches!(self, Self::Node | Self::Both)
    }

    /// Whether it relays.
    pub const fn is_relay(self) -> bool {
        matches!(self, Self::Relay | Self::Both)
    }
}

/// What a node says of itself. Whoever holds one got it signed ([`SignedRecord`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// Whose it is.
    pub peer: PeerIdentity,
    /// What that is.
    pub kind: RecordKind,
    /// The Kaspa network, such as `mainnet`; empty for a relay alone.
    pub network: String,
    /// Others may pass it on.
    pub gossip: bool,
    /// How its NAT maps.
    pub mapping: NatMapping,
    /// No NAT and no firewall is in the way of its candidates, as others have verified.
    pub reachable: bool,
    /// When it was made, by its owner's wall clock. Of one owner the latest counts.
    pub issued: Timestamp,
    /// For how long it is valid from then on.
    pub ttl: Duration,
    /// The relays that it can be reached through.
    pub relays: Vec<RelayAddress>,
    /// Its own addresses: a relay's, or where a node can be dialled or punched.
    pub candidates: Vec<TransportAddress>,
    /// How full a relay is, in sixteenths of its reservations.
    pub load: Option<u8>,
    /// Proves to the members of a private group that its owner is one of them.
    pub tag: Option<[u8; 16]>,
}

impl NodeRecord {
    /// Where it can be reached: straight if strangers can reach it, and through its relays.
    pub fn target(&self) -> PeerTarget {
        let direct = self.candidates.iter().filter(|_| self.reachable).cloned().map(PeerAddress::Direct);
        let relayed = self.relays.iter().cloned().map(PeerAddress::Relayed);
        let locate = |address| PeerLocator { peer: Some(self.peer.clone()), address };
        PeerTarget { peer: Some(self.peer.clone()), addresses: direct.chain(relayed).map(locate).collect() }
    }

    /// The relay that its owner is: one address of each transport and family is enough,
    /// and the first is given here.
    pub fn relay(&self) -> Option<RelayAddress> {
        let via = self.candidates.first().filter(|_| self.kind.is_relay())?;
        Some(RelayAddress { relay: self.peer.clone(), via: via.clone() })
    }
}

/// What a node wants to say of itself. The adapter adds who it is and when, and signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordDraft {
    /// As in [`NodeRecord`], and so are all others.
    pub kind: RecordKind,
    /// The Kaspa network.
    pub network: String,
    /// Others may pass it on.
    pub gossip: bool,
    /// How the node's NAT maps.
    pub mapping: NatMapping,
    /// Strangers can dial the candidates.
    pub reachable: bool,
    /// For how long it is to be valid.
    pub ttl: Duration,
    /// Relays that hold a reservation.
    pub relays: Vec<RelayAddress>,
    /// Own addresses that may be known to everybody.
    pub candidates: Vec<TransportAddress>,
    /// How full it is.
    pub load: Option<u8>,
    /// Proves that it belongs to a private group.
    pub tag: Option<[u8; 16]>,
}

/// A record whose signature was verified, with the bytes to pass on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRecord {
    record: Arc<NodeRecord>,
    envelope: Arc<[u8]>,
    is_foreign: bool,
}

impl SignedRecord {
    /// For the adapter that has just verified the envelope's signature, and for tests.
    pub fn verified(record: NodeRecord, envelope: &[u8]) -> Self {
        Self { record: Arc::new(record), envelope: envelope.into(), is_foreign: false }
    }

    /// One that was made of what other software signs, which says less.
    pub fn foreign(record: NodeRecord, envelope: &[u8]) -> Self {
        Self { is_foreign: true, ..Self::verified(record, envelope) }
    }

    /// What it says.
    pub fn record(&self) -> &NodeRecord {
        &self.record
    }

    /// What tells which of a peer's records counts: one of its own form before any foreign one,
    /// and of two of one form the one that was issued last.
    pub fn rank(&self) -> (bool, Timestamp) {
        (!self.is_foreign, self.record.issued)
    }

    /// The signed bytes.
    pub fn envelope(&self) -> &[u8] {
        &self.envelope
    }
}

/// A name under which peers are listed: lower-case letters, digits, `-` and `/`, at most
/// [`Namespace::LONGEST`] of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace(String);

/// A text that is no [`Namespace`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a namespace has 1 to 64 characters: a to z, 0 to 9, - and /")]
pub struct NamespaceError;

impl Namespace {
    /// The most bytes of a name.
    pub const LONGEST: usize = 64;

    /// Where relays list themselves.
    pub fn relays() -> Self {
        Self("/kaspath/1/relays".to_owned())
    }

    /// Where the peers of a public Kaspa network list themselves.
    ///
    /// # Errors
    /// The network's name has other characters, or too many.
    pub fn of_network(network: &str) -> Result<Self, NamespaceError> {
        format!("/kaspath/1/n/{network}").parse()
    }

    /// The Kaspa network whose peers list themselves there, if it is one's.
    pub fn network(&self) -> Option<&str> {
        self.0.strip_prefix("/kaspath/1/n/")
    }

    /// The name on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Namespace {
    type Err = NamespaceError;

    fn from_str(text: &str) -> Result<Self, NamespaceError> {
        let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'/';
        let fits = (1..=Self::LONGEST).contains(&text.len()) && text.bytes().all(valid);
        if fits { Ok(Self(text.to_owned())) } else { Err(NamespaceError) }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who tells of others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Teller {
    /// A relay, at its rendezvous point.
    Relay(RelayAddress),
    /// A peer with which there is a session.
    Peer(PeerIdentity),
}

impl Teller {
    /// Its identity.
    pub fn identity(&self) -> &PeerIdentity {
        match self {
            Self::Relay(relay) => &relay.relay,
            Self::Peer(peer) => peer,
        }
    }
}

/// A record that was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The record.
    pub record: SignedRecord,
    /// For how long it is valid from now on, by the shorter of what it says itself and
    /// what its teller says.
    pub left: Duration,
}

/// What a teller has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveryAnswer {
    /// Whom it knows.
    pub told: Vec<Told>,
    /// Where the connection leads to, or comes from, on which it answered; `None` through a
    /// relay. What a teller is said to be at proves nothing.
    pub from: Option<IpAddr>,
}

/// Who answers for a discovered peer: whoever told of it, and the relays or the prefix
/// that carry it. One owner can make any number of peers within a group, so all of them
/// count as one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Groups(BTreeSet<PeerGroup>);

impl Groups {
    /// The group of a relay: its provider's block, so that many relays of one owner are
    /// one, or its identity where it is known by a name alone.
    pub fn of_relay(relay: &RelayAddress) -> PeerGroup {
        relay.via.provider_block().map_or_else(|| PeerGroup::Relay(relay.relay.clone()), PeerGroup::Prefix)
    }

    /// Whether both have a group in common.
    pub fn overlap(&self, other: &Self) -> bool {
        !self.0.is_disjoint(&other.0)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &PeerGroup> {
        self.0.iter()
    }
}

impl FromIterator<PeerGroup> for Groups {
    fn from_iter<I: IntoIterator<Item = PeerGroup>>(groups: I) -> Self {
        Self(groups.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(n: u8, via: &str) -> RelayAddress {
        let PeerAddress::Direct(via) = via.parse::<PeerLocator>().unwrap().address else { panic!("{via} is a circuit") };
        RelayAddress { relay: PeerIdentity::from_bytes(&[0, 1, n]).unwrap(), via }
    }

    #[test]
    fn a_namespace_is_short_and_plain() {
        assert_eq!(Namespace::of_network("testnet-10").unwrap().as_str(), "/kaspath/1/n/testnet-10");
        assert_eq!(Namespace::of_network("testnet-10").unwrap().network(), Some("testnet-10"));
        assert_eq!(Namespace::relays().network(), None);
        for bad in ["", "Mainnet", "a b", "a\n", &"a".repeat(65)] {
            assert_eq!(bad.parse::<Namespace>(), Err(NamespaceError), "{bad:?}");
        }
        assert!("a".repeat(64).parse::<Namespace>().is_ok());
    }

    #[test]
    fn relays_of_one_block_are_one_group_and_a_name_stands_alone() {
        let one = Groups::of_relay(&relay(1, "/ip4/203.0.113.1/tcp/4001"));
        let other = Groups::of_relay(&relay(2, "/ip4/203.0.250.9/udp/4001/quic-v1"));
        assert_eq!(one, other);
        let named = Groups::of_relay(&relay(3, "/dns/relay.example/tcp/4001"));
        let groups: Groups = [one, named.clone()].into_iter().collect();
        assert!(groups.overlap(&[other].into_iter().collect()));
        assert!(groups.overlap(&[named].into_iter().collect()));
        assert!(!groups.overlap(&[Groups::of_relay(&relay(4, "/ip4/192.0.2.1/tcp/1"))].into_iter().collect()));
        assert_eq!(groups.iter().count(), 2);
    }

    #[test]
    fn a_target_is_direct_only_where_strangers_get_in() {
        let peer = PeerIdentity::from_bytes(&[0, 1, 9]).unwrap();
        let mut record = NodeRecord {
            peer,
            kind: RecordKind::Both,
            network: "simnet".to_owned(),
            gossip: true,
            mapping: NatMapping::Unknown,
            reachable: false,
            issued: Timestamp::default(),
            ttl: Duration::from_secs(600),
            relays: vec![relay(1, "/ip4/203.0.113.1/tcp/4001")],
            candidates: vec![TransportAddress::tcp("198.51.100.7:4011".parse().unwrap())],
            load: None,
            tag: None,
        };
        assert_eq!(record.target().addresses.len(), 1);
        record.reachable = true;
        assert_eq!(record.target().addresses.len(), 2);
        assert!(matches!(record.target().addresses[0].address, PeerAddress::Direct(_)));
        assert_eq!(record.relay().unwrap().via, record.candidates[0]);
        record.kind = RecordKind::Node;
        assert_eq!(record.relay(), None);
    }
}
