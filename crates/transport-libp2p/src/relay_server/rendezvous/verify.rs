//! Whether those who are listed without a reservation can be reached: they are dialled,
//! at the address from which they come. So nobody else can be dialled through a relay.

use std::{collections::HashMap, hash::Hash, time::Duration};

use kaspath_domain::{IpPrefix, Moment, NodeRecord, TransportAddress, make_room};

use crate::{
    gates::{Gates, Shares},
    relay_server::origin::Origin,
};

/// Dials under way, and of them to one /24 or /48.
const MAX_DIALS: usize = 8;
const OF_NETWORK: usize = 2;
/// Dials to one host and its peers, to its network and to all: so many at once, then one at
/// every interval.
const HOST: (u32, Duration) = (2, Duration::from_secs(300));
const NETWORK: (u32, Duration) = (4, Duration::from_secs(15));
const ALL: (u32, Duration) = (8, Duration::from_millis(250));
/// Peers that are remembered as reached.
const MAX_REACHED: usize = 1024;
/// Who was reached is dialled again after that time.
const REACHED_FOR: Duration = Duration::from_secs(20 * 60);

/// Where to dial a peer that comes from there: the first address of its record, which must be
/// its own.
pub(super) fn address_of<'a>(record: &'a NodeRecord, origin: &Origin) -> Option<&'a TransportAddress> {
    record.candidates.first().filter(|_| !names_others(record, origin))
}

/// Whether the record names another's address. Those of the origin's family must be its own, and
/// come first, for most dial the first. Nothing shows here whose those of the other family are, but
/// hosts of that family alone have no other way: who dials them asks for its owner's identity.
pub(super) fn names_others(record: &NodeRecord, origin: &Origin) -> bool {
    let is_of_family =
        |address: &&TransportAddress| address.canonical_ip().is_some_and(|ip| ip.is_ipv4() == origin.ip.to_canonical().is_ipv4());
    let is_first_other = record.candidates.first().is_some_and(|first| !origin.is_of(first));
    is_first_other || record.candidates.iter().filter(is_of_family).any(|address| !origin.is_of(address))
}

/// The dials that are made for it; `D` is a dial, `T` what waits for its end.
pub(super) struct Verifier<P, D, T> {
    dials: HashMap<D, (IpPrefix, T)>,
    reached: HashMap<P, (TransportAddress, Moment)>,
    rates: Gates<P>,
}

impl<P, D, T> Default for Verifier<P, D, T>
where
    P: Clone + Eq + Hash,
{
    fn default() -> Self {
        Self {
            dials: HashMap::new(),
            reached: HashMap::new(),
            rates: Gates::new(&Shares { peer: HOST, host: HOST, network: NETWORK, all: ALL }),
        }
    }
}

impl<P: Clone + Eq + Hash, D: Eq + Hash, T> Verifier<P, D, T> {
    /// Whether the peer was reached there lately.
    pub(super) fn was_reached(&self, peer: &P, at: &TransportAddress, now: Moment) -> bool {
        self.reached.get(peer).is_some_and(|(address, when)| address == at && now.since(*when) < REACHED_FOR)
    }

    /// Whether one more may be dialled.
    pub(super) fn may_dial(&mut self, peer: &P, origin: &Origin, now: Moment) -> bool {
        let of_network = self.dials.values().filter(|(network, _)| *network == origin.prefix).count();
        self.dials.len() < MAX_DIALS && of_network < OF_NETWORK && self.rates.pass(peer, origin.ip, now)
    }

    /// A dial has begun.
    pub(super) fn begun(&mut self, dial: D, origin: &Origin, waits: T) {
        self.dials.insert(dial, (origin.prefix, waits));
    }

    /// It is over; what waited for it, if it was one of these.
    pub(super) fn ended(&mut self, dial: &D) -> Option<T> {
        self.dials.remove(dial).map(|(_, waits)| waits)
    }

    /// The peer was reached there.
    pub(super) fn reached(&mut self, peer: P, at: TransportAddress, now: Moment) {
        make_room(&mut self.reached, &peer, MAX_REACHED, |(_, when)| *when);
        self.reached.insert(peer, (at, now));
    }

    /// It was not.
    pub(super) fn unreached(&mut self, peer: &P) {
        self.reached.remove(peer);
    }
}

#[cfg(test)]
mod tests {
    use kaspath_domain::{NatMapping, PeerIdentity, RecordKind, Timestamp};

    use super::*;

    fn tcp(text: &str) -> TransportAddress {
        TransportAddress::tcp(text.parse().unwrap())
    }

    fn record(candidates: &[&str]) -> NodeRecord {
        NodeRecord {
            peer: PeerIdentity::from_bytes(&[0, 1, 9]).unwrap(),
            kind: RecordKind::Relay,
            network: String::new(),
            gossip: true,
            mapping: NatMapping::Unknown,
            reachable: true,
            issued: Timestamp::default(),
            ttl: Duration::from_secs(600),
            relays: Vec::new(),
            candidates: candidates.iter().map(|text| tcp(text)).collect(),
            load: None,
            tag: None,
        }
    }

    #[test]
    fn only_the_address_that_somebody_comes_from_is_dialled() {
        let dialled = |candidates: &[&str], from: &str| {
            address_of(&record(candidates), &Origin::of(from.parse().unwrap())).map(ToString::to_string)
        };
        let own = Some("/ip4/203.0.113.1/tcp/4001".to_owned());
        assert_eq!(dialled(&["203.0.113.1:4001"], "203.0.113.1"), own);
        assert_eq!(dialled(&["203.0.113.1:4001", "203.0.113.1:4002"], "::ffff:203.0.113.1"), own);
        assert_eq!(dialled(&["[2001:db8::1]:4001", "203.0.113.1:4001"], "203.0.113.1"), None, "a victim of the other family");
        // It may be named after what was verified, and is not dialled from here.
        assert_eq!(dialled(&["203.0.113.1:4001", "[2001:db8::1]:4001"], "203.0.113.1"), own);
        assert_eq!(dialled(&["203.0.113.1:4001"], "203.0.113.2"), None);
        assert_eq!(dialled(&["203.0.113.1:4001", "192.0.2.1:1"], "203.0.113.1"), None, "the other one is somebody else's");
        assert_eq!(dialled(&["203.0.113.1:4001"], "2001:db8::1"), None);
        assert_eq!(dialled(&[], "203.0.113.1"), None);
    }

    #[test]
    fn a_host_a_network_and_all_are_dialled_only_so_often() {
        let origin = |a: u8, b: u8| Origin::of([203, 0, a, b].into());
        let mut verifier = Verifier::<u32, u32, ()>::default();
        let mut peers = 0..;
        let mut may_dial = |verifier: &mut Verifier<u32, u32, ()>, from: Origin, now: Moment| {
            verifier.may_dial(&peers.next().unwrap(), &from, now)
        };
        let start = Moment::default();
        assert!((0..2).all(|_| may_dial(&mut verifier, origin(1, 1), start)));
        assert!(!may_dial(&mut verifier, origin(1, 1), start), "of one host");
        let later = start + HOST.1;
        assert!(may_dial(&mut verifier, origin(1, 1), later) && !may_dial(&mut verifier, origin(1, 1), later));
        let mut now = later;
        for dial in 0..2 {
            now = now + ALL.1;
            assert!(may_dial(&mut verifier, origin(1, 10 + dial), now));
            verifier.begun(dial.into(), &origin(1, 10), ());
        }
        assert!(!may_dial(&mut verifier, origin(1, 20), now + ALL.1), "of one network");
        for dial in 2..8 {
            now = now + ALL.1;
            assert!(may_dial(&mut verifier, origin(dial, 1), now));
            verifier.begun(dial.into(), &origin(dial, 1), ());
        }
        assert!(!may_dial(&mut verifier, origin(99, 1), now + ALL.1), "under way");
        assert!(verifier.ended(&3).is_some() && verifier.ended(&3).is_none());
        assert!(may_dial(&mut verifier, origin(99, 1), now + ALL.1));
    }

    #[test]
    fn ten_thousand_hosts_of_one_network_keep_no_other_from_being_dialled() {
        let mut verifier = Verifier::<u32, u32, ()>::default();
        for n in 0..60_000 {
            let now = Moment::after_start(Duration::from_millis(n.into()));
            let hostile = Origin::of(std::net::Ipv6Addr::new(0x2001, 0xdb8, 1, (n % 10_000) as u16, 0, 0, 0, 1).into());
            verifier.may_dial(&n, &hostile, now);
            if n % 1000 == 999 {
                assert!(verifier.may_dial(&(100_000 + n), &Origin::of([203, 0, (n / 1000) as u8, 1].into()), now), "{n}");
            }
        }
    }

    #[test]
    fn who_was_reached_is_not_dialled_again_for_a_while_at_that_address() {
        let mut verifier = Verifier::<u32, u32, ()>::default();
        let (at, now) = (tcp("203.0.113.1:4001"), Moment::default());
        verifier.reached(1, at.clone(), now);
        assert!(verifier.was_reached(&1, &at, now + REACHED_FOR - Duration::from_secs(1)));
        assert!(!verifier.was_reached(&1, &at, now + REACHED_FOR));
        assert!(!verifier.was_reached(&1, &tcp("203.0.113.1:4002"), now) && !verifier.was_reached(&2, &at, now));
        for peer in 0..10_000 {
            verifier.reached(peer, at.clone(), now + Duration::from_millis(peer.into()));
        }
        assert!(verifier.reached.len() <= MAX_REACHED);
        verifier.unreached(&9_999);
        assert!(!verifier.was_reached(&9_999, &at, now));
    }
}
