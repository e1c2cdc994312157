//! Peers that come from where we do, as a relay says, and what that lets us dial.
//!
//! A peer cannot say so itself, but a relay may lie, and then learns from a peer of its own how
//! long our dials take. So only addresses in networks of our own are dialled, few of them, and
//! none of a port that systems use.

use std::{collections::VecDeque, net::IpAddr, time::Duration};

use kaspath_domain::{Moment, PeerIdentity, TransportAddress, TransportSet, is_public, same_link};

use super::budget::Party;
use crate::core::{
    FIRST_PORT,
    interfaces::{Interfaces, is_local},
};

/// What relays have said that is remembered, in all and of one relay.
const MAX_ATTESTED: usize = 64;
const MAX_OF_RELAY: usize = 8;
/// Addresses of one peer that are dialled, and of how many hosts.
const MAX_OF_PEER: usize = 4;
const MAX_HOSTS: usize = 2;
/// Addresses of all peers that are dialled within [`WINDOW`].
const MAX_DIALLED: usize = 8;
const WINDOW: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(super) struct Neighbours {
    /// Otherwise nobody is a neighbour.
    enabled: bool,
    /// Our addresses.
    ours: Vec<IpAddr>,
    /// A relay, and a peer that it says comes from where we do; the oldest first.
    attested: VecDeque<(PeerIdentity, PeerIdentity)>,
    /// What was dialled for whom; the oldest first.
    dialled: VecDeque<(Moment, PeerIdentity, TransportAddress)>,
}

impl Neighbours {
    pub(super) fn new(enabled: bool) -> Self {
        Self { enabled, ours: Vec::new(), attested: VecDeque::new(), dialled: VecDeque::new() }
    }

    /// The relay says so of that peer.
    pub(super) fn attest(&mut self, relay: PeerIdentity, peer: PeerIdentity) {
        if !self.enabled {
            return;
        }
        let entry = (relay, peer);
        self.attested.retain(|other| *other != entry);
        if self.attested.iter().filter(|(relay, _)| *relay == entry.0).count() >= MAX_OF_RELAY {
            let oldest = self.attested.iter().position(|(relay, _)| *relay == entry.0);
            oldest.map(|oldest| self.attested.remove(oldest));
        }
        if self.attested.len() >= MAX_ATTESTED {
            self.attested.pop_front();
        }
        self.attested.push_back(entry);
    }

    /// The relay does not see us any more.
    pub(super) fn forget(&mut self, relay: &PeerIdentity) {
        self.attested.retain(|(by, _)| by != relay);
    }

    /// These are our addresses now. If they have changed, we may be elsewhere.
    pub(super) fn we_are_at(&mut self, ours: &[IpAddr]) {
        if self.ours != ours {
            self.ours = ours.to_vec();
            self.attested.clear();
        }
    }

    /// Whether the relay that carries the circuit says so.
    pub(super) fn has(&self, party: &Party) -> bool {
        let said = |(relay, peer): &(PeerIdentity, PeerIdentity)| Some(relay) == party.relay.as_ref() && *peer == party.peer;
        self.attested.iter().any(said)
    }

    /// Of these addresses those that may be dialled. One that was dialled for the peer already
    /// tells nothing new.
    pub(super) fn afford(
        &mut self,
        peer: &PeerIdentity,
        mut addresses: Vec<TransportAddress>,
        now: Moment,
    ) -> Vec<TransportAddress> {
        self.dialled.retain(|(at, ..)| now.since(*at) < WINDOW);
        addresses.retain(|address| {
            let of_peer = self.dialled.iter().filter(|(_, of, _)| of == peer);
            if of_peer.clone().any(|(.., known)| known == address) {
                return true;
            }
            let has_room = of_peer.count() < MAX_OF_PEER && self.dialled.len() < MAX_DIALLED;
            if has_room {
                self.dialled.push_back((now, peer.clone(), address.clone()));
            }
            has_room
        });
        addresses
    }
}

/// Of what a neighbour offers, its addresses in networks of our own. None unless it also offers
/// the public address at which `ours` has us seen.
pub(super) fn on_link(
    offered: &[TransportAddress],
    transports: TransportSet,
    ours: &[TransportAddress],
    host: &Interfaces,
) -> Vec<TransportAddress> {
    let shares =
        |theirs: IpAddr| is_public(theirs) && ours.iter().filter_map(TransportAddress::ip).any(|ours| same_link(ours, theirs));
    if !offered.iter().filter_map(TransportAddress::ip).any(shares) {
        return Vec::new();
    }
    let mut hosts: Vec<IpAddr> = Vec::with_capacity(MAX_HOSTS);
    let mut found: Vec<TransportAddress> = Vec::new();
    for address in offered {
        let Some(there) = address.ip() else { continue };
        let is_near = (is_local(there) || (there.is_ipv6() && is_public(there))) && host.is_neighbour(there);
        let may_dial = is_near && address.port >= FIRST_PORT && transports.contains(address.transport);
        let has_room = found.len() < MAX_OF_PEER && (hosts.contains(&there) || hosts.len() < MAX_HOSTS);
        if may_dial && has_room && !found.contains(address) {
            if !hosts.contains(&there) {
                hosts.push(there);
            }
            found.push(address.clone());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        interfaces::Network,
        tests::{address, at, identity},
    };

    fn party(relay: u64, peer: u64) -> Party {
        Party { peer: identity(peer), relay: Some(identity(relay)), called_us: true }
    }

    #[test]
    fn what_a_relay_says_counts_for_its_own_circuits_and_pushes_out_no_other_relays() {
        let mut neighbours = Neighbours::new(true);
        neighbours.attest(identity(1), identity(100));
        for peer in 0..1000 {
            neighbours.attest(identity(2), identity(peer));
        }
        assert_eq!(neighbours.attested.len(), 1 + MAX_OF_RELAY);
        assert!(neighbours.has(&party(1, 100)) && !neighbours.has(&party(1, 999)));
        assert!(neighbours.has(&party(2, 999)) && !neighbours.has(&party(2, 0)));
        neighbours.forget(&identity(2));
        assert!(neighbours.has(&party(1, 100)) && !neighbours.has(&party(2, 999)));
        for relay in 0..1000 {
            neighbours.attest(identity(relay), identity(relay));
        }
        assert_eq!(neighbours.attested.len(), MAX_ATTESTED);
        neighbours.we_are_at(&[]);
        assert!(neighbours.has(&party(999, 999)));
        neighbours.we_are_at(&["192.168.1.2".parse().unwrap()]);
        assert!(!neighbours.has(&party(999, 999)));
    }

    #[test]
    fn few_addresses_are_dialled_in_ten_minutes_whoever_names_them() {
        let mut neighbours = Neighbours::new(true);
        let all = |from: u16| (0..20).map(|n| address(&format!("/ip4/192.168.1.7/tcp/{}", from + n))).collect::<Vec<_>>();
        assert_eq!(neighbours.afford(&identity(1), all(2000), at(0)), all(2000)[..4]);
        assert_eq!(neighbours.afford(&identity(1), all(2000), at(1000)), all(2000)[..4], "the same ones again");
        assert_eq!(neighbours.afford(&identity(1), all(3000), at(1000)), []);
        assert_eq!(neighbours.afford(&identity(2), all(2000), at(2000)).len(), 4);
        assert_eq!(neighbours.afford(&identity(3), all(2000), at(3000)), []);
        assert_eq!(neighbours.afford(&identity(3), all(2000), at(600_000)).len(), 4, "those of the first peer are over");
    }

    #[test]
    fn only_addresses_in_networks_of_ours_are_dialled_and_none_without_the_public_one() {
        let network = |ip: &str, length| Network { ip: ip.parse().unwrap(), length };
        let host = Interfaces {
            networks: vec![network("192.168.1.2", 24), network("2001:db8:1:2::3", 128)],
            gateways: vec!["192.168.1.1".parse().unwrap()],
            ..Interfaces::default()
        };
        let ours = [address("/ip4/198.51.100.1/tcp/4000")];
        let hostile = [
            "/ip4/198.51.100.1/tcp/5000",
            "/ip4/192.168.1.1/tcp/8080",
            "/ip4/192.168.1.2/tcp/8080",
            "/ip4/192.168.1.7/tcp/631",
            "/ip4/192.168.2.7/tcp/8080",
            "/ip4/127.0.0.1/tcp/8080",
            "/ip4/169.254.1.1/tcp/8080",
            "/ip4/100.64.1.1/tcp/8080",
            "/ip6/fe80::1/tcp/8080",
            "/ip6/fd00::1/tcp/8080",
            "/dns/printer.local/tcp/8080",
        ]
        .map(address);
        assert_eq!(on_link(&hostile, TransportSet::ALL, &ours, &host), []);

        let good = ["/ip4/192.168.1.7/tcp/8080", "/ip6/2001:db8:1:2::9/udp/8080/quic-v1"].map(address);
        let offered = [&hostile[..1], &good].concat();
        assert_eq!(on_link(&offered, TransportSet::ALL, &ours, &host), good);
        assert_eq!(on_link(&offered, TransportSet::TCP, &ours, &host), good[..1]);
        assert_eq!(on_link(&good[..1], TransportSet::ALL, &ours, &host), [], "it comes from elsewhere");
        assert_eq!(on_link(&offered, TransportSet::ALL, &ours, &Interfaces::default()), []);

        let scan: Vec<_> = (1..200).map(|n| address(&format!("/ip4/192.168.1.{n}/tcp/8080"))).collect();
        assert_eq!(on_link(&[&hostile[..1], &scan].concat(), TransportSet::ALL, &ours, &host).len(), MAX_HOSTS);
    }
}
