//! What lies between the hosts: NATs by RFC 4787, dials, relays.

use std::{collections::BTreeSet, net::IpAddr};

use kaspath_domain::{
    DialError, Direction, Host as AddressHost, PeerAddress, PeerIdentity, RelayAddress, Transport, TransportAddress, is_public,
};

use super::{
    address, identity,
    sites::parts,
    world::{End, World},
};
use crate::core::{ConnId, DialKind, Input, OperationId, RelaySays};

pub(super) const TIMEOUT: u64 = 10_000;
/// When the packets of a dial leave.
const TRIES: [u64; 5] = [0, 300, 1000, 3000, 7000];

/// A NAT lets packets in: over that, at that port, from there.
pub(super) type Opened = (Transport, u16, IpAddr, u16);

/// A direct dial under way.
#[derive(Clone, Debug)]
pub(super) struct Dialling {
    kind: DialKind,
    addresses: Vec<TransportAddress>,
}

pub(super) struct Relay {
    pub(super) id: PeerIdentity,
    pub(super) up: bool,
    /// Grants reservations.
    pub(super) grants: bool,
    /// Tells nobody its addresses nor where it sees them.
    pub(super) mute: bool,
    /// Says of everybody that they come from one address, or of nobody, whatever is true.
    pub(super) attests: Option<bool>,
    /// Has an address of IPv6 too.
    pub(super) has_ipv6: bool,
    number: usize,
    pub(super) reserved: BTreeSet<usize>,
}

impl Relay {
    pub(super) fn new(number: usize) -> Self {
        let id = identity(1000 + number as u64);
        Self { id, up: true, grants: true, mute: false, attests: None, has_ipv6: false, number, reserved: BTreeSet::new() }
    }

    pub(super) fn tcp(&self) -> TransportAddress {
        address(&format!("/ip4/203.0.113.{}/tcp/4001", self.number + 1))
    }

    pub(super) fn tcp6(&self) -> TransportAddress {
        address(&format!("/ip6/2001:db8:ffff::{}/tcp/4001", self.number + 1))
    }

    /// Where it is.
    fn listens(&self) -> Vec<TransportAddress> {
        let tcp = std::iter::once(self.tcp()).chain(self.has_ipv6.then(|| self.tcp6()));
        tcp.flat_map(|tcp| [TransportAddress { transport: Transport::Quic, ..tcp.clone() }, tcp]).collect()
    }
}

pub(super) fn timed_out() -> DialError {
    DialError::Unreachable { address: "there".to_owned(), cause: "timeout".to_owned() }
}

impl World {
    pub(super) fn dial(
        &mut self,
        host: usize,
        dial: OperationId,
        peer: &PeerIdentity,
        addresses: Vec<TransportAddress>,
        kind: DialKind,
    ) {
        let is_quic = addresses.iter().all(|address| address.transport == Transport::Quic);
        self.hosts[host].dials.insert(dial, Dialling { kind, addresses: addresses.clone() });
        if let Some(relay) = self.relays.iter().position(|relay| relay.id == *peer) {
            self.dial_relay(host, dial, relay, &addresses);
        } else {
            for delay in TRIES {
                self.after(delay, move |world| world.send_all(host, dial));
            }
        }
        self.after(if is_quic { TIMEOUT / 2 } else { TIMEOUT }, move |world| world.dial_failed(host, dial));
    }

    fn dial_failed(&mut self, host: usize, dial: OperationId) {
        if self.hosts[host].dials.remove(&dial).is_some() {
            self.last_word(host, Input::DialFailed { dial, error: timed_out() });
        }
    }

    /// One packet to each address of a dial that is still under way.
    fn send_all(&mut self, host: usize, dial: OperationId) {
        let Some(Dialling { kind, addresses }) = self.hosts[host].dials.get(&dial).cloned() else { return };
        for to in addresses {
            let destination = parts(&to);
            let source = self.mapped(host, kind == DialKind::PunchAsDialer { new_port: true }, destination);
            self.hosts[host].opened.insert((to.transport, source, destination.0, destination.1));
            if !self.is_lost() {
                self.after(self.latency, move |world| world.arrive(host, dial, kind, source, to));
            }
        }
    }

    fn arrive(&mut self, from: usize, dial: OperationId, kind: DialKind, source: u16, to: TransportAddress) {
        let (ip, port) = parts(&to);
        let Some(at) = self.host_at(from, (ip, port)) else { return };
        let (over, from_ip) = (to.transport, self.seen_at(from, ip));
        let is_let_in = !is_public(ip) || self.passes(at, over, port, (from_ip, source));
        if !self.hosts[from].dials.contains_key(&dial) || !is_let_in {
            return;
        }
        // The other side's own packets, on the same two sockets.
        let mirrored = self.hosts[at].dials.iter().find(|(_, other)| {
            let towards = |address: &TransportAddress| {
                let new_port = other.kind == DialKind::PunchAsDialer { new_port: true };
                parts(address) == (from_ip, source) && self.mapped(at, new_port, parts(address)) == port
            };
            over == Transport::Tcp && other.addresses.iter().any(towards)
        });
        let mirrored = mirrored.map(|(id, other)| (*id, other.kind));
        let listens = |kind| matches!(kind, DialKind::PunchAsListener(_));
        let ((a, dial_a), (b, dial_b)) = match (listens(kind), mirrored) {
            // Nobody speaks first, and both wait until they give up.
            (true, None) => return,
            (true, Some((_, other))) if listens(other) => return,
            (true, Some((other, _))) => ((at, other), (from, Some(dial))),
            (false, mirrored) => ((from, dial), (at, mirrored.filter(|(_, other)| listens(*other)).map(|(id, _)| id))),
        };
        self.hosts[a].dials.remove(&dial_a);
        if let Some(dial) = dial_b {
            self.hosts[b].dials.remove(&dial);
        }
        // The handshakes: QUIC's takes a round trip, those over TCP two more.
        let first = self.latency * if over == Transport::Quic { 1 } else { 3 };
        self.join((a, Some(dial_a), first), (b, dial_b, first + self.latency), PeerAddress::Direct(to), None);
    }

    fn dial_relay(&mut self, host: usize, dial: OperationId, relay: usize, addresses: &[TransportAddress]) {
        let known = self.relays[relay].listens();
        let is_there = |to: &&TransportAddress| known.contains(to) && self.hosts[host].site.has(parts(to).0.is_ipv6());
        let Some(to) = addresses.iter().find(is_there).cloned() else { return };
        if self.is_lost() {
            return;
        }
        self.after(2 * self.latency, move |world| {
            if !world.relays[relay].up {
                return world.dial_failed(host, dial);
            }
            if world.hosts[host].dials.remove(&dial).is_none() {
                return;
            }
            let id = world.next_id(host);
            let ip = AddressHost::Ip(world.ip(host, parts(&to).0.is_ipv6()));
            let observed = TransportAddress { transport: to.transport, host: ip, port: world.mapped(host, false, parts(&to)) };
            let (address, at) = (PeerAddress::Direct(to), End::Relay(relay));
            world.connected(host, id, Some(dial), Direction::Outbound, at, None, address, world.latency);
            if !world.relays[relay].mute {
                let listens = world.relays[relay].listens();
                world.after(3 * world.latency, move |world| {
                    if world.hosts[host].live.contains_key(&id) {
                        world.deliver(host, Input::Identified { id, listens, observed: Some(observed) });
                    }
                });
            }
        });
    }

    fn links(&self, host: usize, relay: usize) -> Vec<ConnId> {
        self.hosts[host].live.iter().filter(|(_, live)| live.end == End::Relay(relay)).map(|(id, _)| *id).collect()
    }

    pub(super) fn close_idle_links(&mut self, host: usize, peer: &PeerIdentity) {
        let Some(relay) = self.relays.iter().position(|relay| relay.id == *peer) else { return };
        if !self.hosts[host].held.contains(peer) {
            self.links(host, relay).into_iter().for_each(|id| self.close(host, id));
        }
    }

    /// What ends with the last link to a relay.
    pub(super) fn link_closed(&mut self, host: usize, end: &End) {
        let End::Relay(relay) = *end else { return };
        if !self.links(host, relay).is_empty() {
            return;
        }
        self.relays[relay].reserved.remove(&host);
        let requests: Vec<OperationId> =
            self.hosts[host].requests.iter().filter(|(_, at)| **at == relay).map(|(request, _)| *request).collect();
        for request in requests {
            self.end_request(host, request, "the connection closed");
        }
        let circuits: Vec<ConnId> =
            self.hosts[host].live.iter().filter(|(_, live)| live.through == Some(relay)).map(|(id, _)| *id).collect();
        circuits.into_iter().for_each(|id| self.close(host, id));
    }

    /// The relay goes away, and all that it carries.
    pub(super) fn stop_relay(&mut self, relay: usize) {
        self.relays[relay].up = false;
        for host in 0..self.hosts.len() {
            self.links(host, relay).into_iter().for_each(|id| self.close(host, id));
        }
    }

    fn end_request(&mut self, host: usize, request: OperationId, cause: &str) {
        if self.hosts[host].requests.remove(&request).is_some() {
            self.last_word(host, Input::ReservationEnded { request, cause: cause.to_owned() });
        }
    }

    pub(super) fn reserve(&mut self, host: usize, request: OperationId, relay: &PeerIdentity) {
        let relay = self.relays.iter().position(|known| known.id == *relay).expect("a relay");
        self.hosts[host].requests.insert(request, relay);
        if self.is_lost() {
            return self.after(TIMEOUT, move |world| world.end_request(host, request, "timeout"));
        }
        self.after(2 * self.latency, move |world| {
            if world.links(host, relay).is_empty() || !world.relays[relay].grants {
                return world.end_request(host, request, "refused");
            }
            if world.hosts[host].requests.contains_key(&request) {
                world.relays[relay].reserved.insert(host);
                world.hosts[host].stale.push(Input::ReservationGranted { request });
                world.deliver(host, Input::ReservationGranted { request });
            }
        });
    }

    /// A stream of the relay protocol: some relays speak it, some do not, and some answers
    /// are lost.
    pub(super) fn control(&mut self, host: usize, control: OperationId, id: ConnId) {
        let End::Relay(relay) = self.hosts[host].live.get(&id).map_or(End::Relay(0), |live| live.end) else {
            panic!("only relays are asked")
        };
        let delay = if self.is_lost() { TIMEOUT } else { 2 * self.latency };
        self.after(delay, move |world| {
            let is_there = world.hosts[host].live.contains_key(&id) && world.relays[relay].up;
            world.hosts[host].controls.insert(relay, control);
            world.last_word(
                host,
                match relay % 2 == 0 && is_there && delay < TIMEOUT {
                    true => Input::RelayHeard { control, says: RelaySays::Welcome },
                    false => Input::ControlEnded { control },
                },
            );
        });
    }

    pub(super) fn dial_circuit(&mut self, host: usize, dial: OperationId, relay: &PeerIdentity, peer: &PeerIdentity) {
        let relay = self.relays.iter().position(|known| known.id == *relay).expect("a relay");
        let to = self.hosts.iter().position(|host| host.id == *peer).expect("a host");
        self.hosts[host].dials.insert(dial, Dialling { kind: DialKind::Peer, addresses: Vec::new() });
        self.after(TIMEOUT, move |world| world.dial_failed(host, dial));
        if self.is_lost() {
            return;
        }
        self.after(2 * self.latency, move |world| {
            let is_open = world.relays[relay].reserved.contains(&to) && !world.links(host, relay).is_empty();
            if !is_open || host == to {
                return world.dial_failed(host, dial);
            }
            if world.hosts[host].dials.remove(&dial).is_some() {
                let via = RelayAddress { relay: world.relays[relay].id.clone(), via: world.relays[relay].tcp() };
                let (first, second) = (4 * world.latency, 4 * world.latency);
                world.attest(relay, host, to);
                world.join((host, Some(dial), first), (to, None, second), PeerAddress::Relayed(via), Some(relay));
            }
        });
    }

    /// The relay tells two hosts that it has joined whether they come from one address.
    fn attest(&mut self, relay: usize, source: usize, destination: usize) {
        let lan = |host: usize| self.hosts[host].site.lan;
        let is_true = lan(source).is_some() && lan(source) == lan(destination);
        if !self.relays[relay].attests.unwrap_or(is_true) {
            return;
        }
        for (host, other) in [(source, destination), (destination, source)] {
            let Some(control) = self.hosts[host].controls.get(&relay).copied() else { continue };
            let says = RelaySays::Neighbour(self.hosts[other].id.clone());
            self.after(self.latency, move |world| world.deliver(host, Input::RelayHeard { control, says }));
        }
    }

    pub(super) fn look_up(&mut self, host: usize, lookup: OperationId, names: Vec<TransportAddress>) {
        self.hosts[host].lookups.insert(lookup);
        self.after(self.latency, move |world| {
            world.hosts[host].lookups.remove(&lookup);
            let results = names.into_iter().map(|name| (name, Err("no such name".to_owned()))).collect();
            world.last_word(host, Input::Resolved { lookup, results });
        });
    }
}
