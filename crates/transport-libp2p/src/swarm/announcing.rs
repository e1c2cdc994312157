//! Which of our addresses are announced, as addresses of our interfaces are added and removed.
//!
//! An address is announced if it was configured, if others have reached it, if it is public
//! and nothing says that they cannot, or, for a relay, if somebody chose it as the address to
//! listen on. What a wildcard listener finds
//! besides is private and of no use to peers: loopback, private networks.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use kaspath_domain::{PeerLocator, is_public};
use libp2p::{Multiaddr, PeerId, core::transport::ListenerId};
use tokio::sync::watch;

use crate::{Reachability, convert};

/// The listeners on our own interfaces, and what is announced of their addresses.
#[derive(Debug)]
pub(crate) struct Announcing {
    local: PeerId,
    /// A relay also announces the addresses that it was given to listen on.
    serves: bool,
    configured: Vec<Multiaddr>,
    /// Each direct listener, and whether its address was chosen (not a wildcard).
    listeners: HashMap<ListenerId, bool>,
    /// What listeners gave; the same address may come from two of them.
    found: HashSet<(ListenerId, Multiaddr)>,
    /// Addresses that others can reach, or cannot.
    verdicts: HashMap<Multiaddr, Reachability>,
    current: watch::Sender<Vec<PeerLocator>>,
    reachability: watch::Sender<Vec<(PeerLocator, Reachability)>>,
}

/// What became of the announcements.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Change {
    pub(crate) added: Vec<Multiaddr>,
    pub(crate) removed: Vec<Multiaddr>,
}

impl Announcing {
    pub(crate) fn new(local: PeerId, serves: bool, configured: Vec<Multiaddr>) -> Self {
        Self {
            local,
            serves,
            configured,
            listeners: HashMap::new(),
            found: HashSet::new(),
            verdicts: HashMap::new(),
            current: watch::Sender::new(Vec::new()),
            reachability: watch::Sender::new(Vec::new()),
        }
    }

    /// What is announced, now and later.
    pub(crate) fn watch(&self) -> watch::Receiver<Vec<PeerLocator>> {
        self.current.subscribe()
    }

    /// What is known of addresses, now and later.
    pub(crate) fn watch_reachability(&self) -> watch::Receiver<Vec<(PeerLocator, Reachability)>> {
        self.reachability.subscribe()
    }

    /// A listener on `address`, which may be a wildcard.
    pub(crate) fn listens(&mut self, listener: ListenerId, address: &Multiaddr) {
        let wildcard = convert::ip(address).is_some_and(|ip| ip.is_unspecified());
        self.listeners.insert(listener, !wildcard);
    }

    pub(crate) fn is_listener(&self, listener: ListenerId) -> bool {
        self.listeners.contains_key(&listener)
    }

    pub(crate) fn appeared(&mut self, listener: ListenerId, address: Multiaddr) -> Change {
        self.changed(|this| this.found.insert((listener, address)))
    }

    pub(crate) fn disappeared(&mut self, listener: ListenerId, address: Multiaddr) -> Change {
        self.changed(|this| this.found.remove(&(listener, address)))
    }

    /// What is known of an address has changed.
    pub(crate) fn reached(&mut self, address: &Multiaddr, state: Reachability) -> Change {
        let change = self.changed(|this| {
            let before = match state {
                Reachability::Unknown => this.verdicts.remove(address),
                state => this.verdicts.insert(address.clone(), state),
            };
            before != Some(state)
        });
        let known = self.verdicts.iter().filter_map(|(address, state)| Some((convert::locator(address, &self.local)?, *state)));
        let mut known: Vec<_> = known.collect();
        known.sort_by_key(|(address, _)| address.to_string());
        self.reachability.send_replace(known);
        change
    }

    /// Everything that is announced: configured addresses first, then TCP before QUIC.
    pub(crate) fn announced(&self) -> Vec<Multiaddr> {
        let found = self.found.iter().filter(|(listener, address)| self.is_announced(*listener, address));
        // A router's address is none of ours, but leads to us.
        let proven = self.verdicts.iter().filter(|(_, state)| **state == Reachability::Reachable);
        let mut found: Vec<_> = found.map(|(_, address)| address).chain(proven.map(|(address, _)| address)).collect();
        found.sort_by_key(|address| (convert::transport(address), address.to_string()));
        let mut all = self.configured.clone();
        for address in found {
            if !all.contains(address) {
                all.push(address.clone());
            }
        }
        all
    }

    fn is_announced(&self, listener: ListenerId, address: &Multiaddr) -> bool {
        let chosen = self.serves && self.listeners.get(&listener).copied().unwrap_or(false);
        let is_public = |ip| is_public(ip) && (self.serves || !self.is_doubtful(ip, address));
        chosen || convert::ip(address).is_some_and(is_public)
    }

    /// A node cannot be reached there, or most likely cannot: before an address of IPv6 there
    /// is most often a firewall, before a public one of IPv4 seldom.
    fn is_doubtful(&self, ip: IpAddr, address: &Multiaddr) -> bool {
        match self.verdicts.get(address) {
            Some(state) => *state != Reachability::Reachable,
            None => ip.is_ipv6(),
        }
    }

    fn changed(&mut self, change: impl FnOnce(&mut Self) -> bool) -> Change {
        let before = self.announced();
        if !change(self) {
            return Change::default();
        }
        let after = self.announced();
        let missing = |from: &[Multiaddr], of: &[Multiaddr]| of.iter().filter(|a| !from.contains(a)).cloned().collect();
        self.publish(&after);
        Change { added: missing(&before, &after), removed: missing(&after, &before) }
    }

    /// Makes the state visible to those who watch.
    pub(crate) fn publish(&self, announced: &[Multiaddr]) {
        let locators = announced.iter().filter_map(|address| convert::locator(address, &self.local)).collect();
        self.current.send_replace(locators);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn announcing(serves: bool, configured: &[&str]) -> Announcing {
        Announcing::new(PeerId::random(), serves, configured.iter().map(|text| address(text)).collect())
    }

    fn texts(announcing: &Announcing) -> Vec<String> {
        announcing.announced().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn of_a_wildcard_listener_only_public_addresses_are_announced() {
        let mut relay = announcing(true, &[]);
        let (tcp, quic) = (ListenerId::next(), ListenerId::next());
        relay.listens(tcp, &address("/ip4/0.0.0.0/tcp/4001"));
        relay.listens(quic, &address("/ip4/0.0.0.0/udp/4001/quic-v1"));
        for ip in ["127.0.0.1", "10.1.0.2", "192.168.1.2", "203.0.113.1"] {
            relay.appeared(quic, address(&format!("/ip4/{ip}/udp/4001/quic-v1")));
            relay.appeared(tcp, address(&format!("/ip4/{ip}/tcp/4001")));
        }
        assert_eq!(texts(&relay), ["/ip4/203.0.113.1/tcp/4001", "/ip4/203.0.113.1/udp/4001/quic-v1"]);
    }

    #[test]
    fn announcements_follow_the_interfaces() {
        let mut relay = announcing(true, &["/ip4/198.51.100.9/tcp/4001"]);
        let tcp = ListenerId::next();
        relay.listens(tcp, &address("/ip4/0.0.0.0/tcp/4001"));
        let public = address("/ip4/203.0.113.1/tcp/4001");
        let change = relay.appeared(tcp, public.clone());
        assert_eq!(change, Change { added: vec![public.clone()], removed: vec![] });
        assert_eq!(relay.watch().borrow().len(), 2);
        assert_eq!(relay.appeared(tcp, public.clone()), Change::default());
        assert_eq!(relay.disappeared(tcp, public.clone()), Change { added: vec![], removed: vec![public] });
        assert_eq!(texts(&relay), ["/ip4/198.51.100.9/tcp/4001"], "what is configured stays");
    }

    #[test]
    fn a_relay_announces_the_address_that_it_was_told_to_listen_on() {
        let mut relay = announcing(true, &[]);
        let mut node = announcing(false, &[]);
        for announcing in [&mut relay, &mut node] {
            let tcp = ListenerId::next();
            announcing.listens(tcp, &address("/ip4/192.168.1.2/tcp/4001"));
            announcing.appeared(tcp, address("/ip4/192.168.1.2/tcp/4001"));
        }
        assert_eq!(texts(&relay), ["/ip4/192.168.1.2/tcp/4001"]);
        assert!(texts(&node).is_empty(), "a node's private addresses are nobody's business");
    }

    #[test]
    fn a_node_announces_what_others_have_reached_and_not_what_they_cannot() {
        let mut node = announcing(false, &[]);
        let tcp = ListenerId::next();
        node.listens(tcp, &address("/ip4/0.0.0.0/tcp/4011"));
        let [v4, v6] = ["/ip4/203.0.113.1/tcp/4011", "/ip6/2001:db8::1/tcp/4011"].map(address);
        [&v4, &v6].into_iter().for_each(|address| drop(node.appeared(tcp, address.clone())));
        assert_eq!(texts(&node), ["/ip4/203.0.113.1/tcp/4011"], "most hosts of IPv6 are behind a firewall");
        assert_eq!(node.reached(&v6, Reachability::Reachable).added, vec![v6.clone()]);
        assert_eq!(node.reached(&v4, Reachability::Unreachable).removed, vec![v4.clone()]);
        let watched = node.watch_reachability();
        assert_eq!(watched.borrow().len(), 2);
        // One that a router maps is not among those of our interfaces.
        let mapped = address("/ip4/198.51.100.1/tcp/777");
        assert_eq!(node.reached(&mapped, Reachability::Reachable).added, vec![mapped.clone()]);
        assert_eq!(node.reached(&mapped, Reachability::Unknown).removed, [mapped]);
        assert_eq!(node.reached(&v6, Reachability::Unknown).removed, [v6]);
        // What a relay listens on was chosen.
        let mut relay = announcing(true, &[]);
        relay.listens(tcp, &address("/ip4/0.0.0.0/tcp/4001"));
        relay.appeared(tcp, v4.clone());
        assert_eq!(relay.reached(&v4, Reachability::Unreachable), Change::default());
    }

    #[test]
    fn an_address_of_two_listeners_stays_while_one_of_them_has_it() {
        let mut relay = announcing(true, &[]);
        let (first, second) = (ListenerId::next(), ListenerId::next());
        let public = address("/ip4/203.0.113.1/tcp/4001");
        for listener in [first, second] {
            relay.listens(listener, &address("/ip4/0.0.0.0/tcp/4001"));
            relay.appeared(listener, public.clone());
        }
        assert_eq!(relay.disappeared(first, public.clone()), Change::default());
        assert_eq!(relay.disappeared(second, public.clone()).removed, [public]);
    }
}
