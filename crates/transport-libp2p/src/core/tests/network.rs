//! What lies between the hosts: NATs by RFC 4787, dials, relays, exchanges on circuits.

use std::{collections::BTreeSet, net::IpAddr};

use kaspath_domain::{
    DialError, Direction, Host as AddressHost, PeerAddress, PeerIdentity, RelayAddress, Transport, TransportAddress,
};

use super::{
    address, identity,
    world::{End, World},
};
use crate::core::{ConnId, DialKind, Input, OperationId, RelaySays};

const TIMEOUT: u64 = 10_000;
/// When the packets of a dial leave.
const TRIES: [u64; 5] = [0, 300, 1000, 3000, 7000];

/// How the NAT of a host maps and filters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Nat {
    FullCone,
    /// Lets in what comes from where something was sent to.
    PortRestricted,
    /// The same, and each destination sees another port.
    Symmetric,
}

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
    number: usize,
    pub(super) reserved: BTreeSet<usize>,
}

impl Relay {
    pub(super) fn new(number: usize) -> Self {
        let id = identity(1000 + number as u64);
        Self { id, up: true, grants: true, mute: false, number, reserved: BTreeSet::new() }
    }

    pub(super) fn tcp(&self) -> TransportAddress {
        address(&format!("/ip4/203.0.113.{}/tcp/4001", self.number + 1))
    }

    fn quic(&self) -> TransportAddress {
        TransportAddress { transport: Transport::Quic, ..self.tcp() }
    }
}

pub(super) fn timed_out() -> DialError {
    DialError::Unreachable { address: "there".to_owned(), cause: "timeout".to_owned() }
}

fn parts(address: &TransportAddress) -> (IpAddr, u16) {
    let socket = address.socket_addr().expect("a literal");
    (socket.ip(), socket.port())
}

impl World {
    fn ip(host: usize) -> IpAddr {
        IpAddr::from([198, 51, 100, host as u8 + 1])
    }

    /// The port at which `to` sees packets of a host, from its listening port or a new one.
    fn mapped(&self, host: usize, is_new: bool, to: (IpAddr, u16)) -> u16 {
        let IpAddr::V4(ip) = to.0 else { unreachable!("all are") };
        match (self.hosts[host].nat, is_new) {
            (Nat::Symmetric, _) => {
                10_000
                    + ((u16::from(ip.octets()[0]) + u16::from(ip.octets()[3])) * 97 + to.1 % 1000 * 7) % 20_000
                    + u16::from(is_new)
            }
            (_, true) => 40_000 + u16::from(ip.octets()[3]),
            (_, false) => 4001,
        }
    }

    pub(super) fn address_of(&self, host: usize, transport: Transport) -> TransportAddress {
        TransportAddress { transport, host: AddressHost::Ip(Self::ip(host)), port: 4001 }
    }

    fn passes(&self, host: usize, over: Transport, port: u16, from: (IpAddr, u16)) -> bool {
        let asked = self.hosts[host].opened.contains(&(over, port, from.0, from.1));
        match self.hosts[host].nat {
            Nat::FullCone => port == 4001 || asked,
            Nat::PortRestricted | Nat::Symmetric => asked,
        }
    }

    fn host_at(&self, ip: IpAddr) -> Option<usize> {
        (0..self.hosts.len()).find(|host| Self::ip(*host) == ip)
    }

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
        let Some(at) = self.host_at(ip) else { return };
        let over = to.transport;
        if !self.hosts[from].dials.contains_key(&dial) || !self.passes(at, over, port, (Self::ip(from), source)) {
            return;
        }
        // The other side's own packets, on the same two sockets.
        let mirrored = self.hosts[at].dials.iter().find(|(_, other)| {
            let towards = |address: &TransportAddress| {
                let new_port = other.kind == DialKind::PunchAsDialer { new_port: true };
                parts(address) == (Self::ip(from), source) && self.mapped(at, new_port, parts(address)) == port
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
        let known = [self.relays[relay].tcp(), self.relays[relay].quic()];
        let Some(to) = addresses.iter().find(|address| known.contains(address)).cloned() else { return };
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
            let observed =
                TransportAddress { port: world.mapped(host, false, parts(&to)), ..world.address_of(host, to.transport) };
            let (address, at) = (PeerAddress::Direct(to), End::Relay(relay));
            world.connected(host, id, Some(dial), Direction::Outbound, at, None, address, world.latency);
            if !world.relays[relay].mute {
                let listens = vec![world.relays[relay].tcp(), world.relays[relay].quic()];
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
                world.join((host, Some(dial), first), (to, None, second), PeerAddress::Relayed(via), Some(relay));
            }
        });
    }

    pub(super) fn look_up(&mut self, host: usize, lookup: OperationId, names: Vec<TransportAddress>) {
        self.hosts[host].lookups.insert(lookup);
        self.after(self.latency, move |world| {
            world.hosts[host].lookups.remove(&lookup);
            let results = names.into_iter().map(|name| (name, Err("no such name".to_owned()))).collect();
            world.last_word(host, Input::Resolved { lookup, results });
        });
    }

    fn exchange_failed(&mut self, host: usize, exchange: OperationId, unsupported: bool) {
        if self.hosts[host].exchanges.remove(&exchange).is_some() {
            self.last_word(host, Input::ExchangeFailed { exchange, unsupported, cause: "the stream broke".to_owned() });
        }
    }

    pub(super) fn exchange(&mut self, host: usize, exchange: OperationId, id: ConnId, offer: Vec<TransportAddress>) {
        let other = self.hosts[host].live.get(&id).map(|live| live.end);
        let Some(End::Host(other, id)) = other else {
            self.hosts[host].exchanges.insert(exchange, (host, None));
            return self.after(1, move |world| world.exchange_failed(host, exchange, false));
        };
        self.hosts[host].exchanges.insert(exchange, (other, None));
        self.hosts[host].offers.insert(exchange, offer);
        self.after(TIMEOUT, move |world| world.exchange_failed(host, exchange, false));
        self.after(2 * self.latency, move |world| {
            if !world.hosts[other].punches {
                return world.after(2 * world.latency, move |world| world.exchange_failed(host, exchange, true));
            }
            if world.hosts[other].live.contains_key(&id) && world.hosts[host].exchanges.contains_key(&exchange) {
                let theirs = world.hosts[other].core.operation();
                world.hosts[other].exchanges.insert(theirs, (host, Some(exchange)));
                world.hosts[host].exchanges.insert(exchange, (other, Some(theirs)));
                world.deliver(other, Input::ExchangeRequested { exchange: theirs, id });
            }
        });
    }

    pub(super) fn respond(&mut self, host: usize, exchange: OperationId, offer: Vec<TransportAddress>) {
        let Some((other, Some(theirs))) = self.hosts[host].exchanges.get(&exchange).copied() else { return };
        self.after(2 * TIMEOUT, move |world| world.exchange_failed(host, exchange, false));
        let rtt = std::time::Duration::from_millis(4 * self.latency);
        self.after(2 * self.latency, move |world| {
            if world.hosts[other].exchanges.contains_key(&theirs) {
                let offered = Input::Offered { exchange: theirs, theirs: offer, rtt };
                world.hosts[other].stale.push(offered.clone());
                world.deliver(other, offered);
            }
        });
    }

    pub(super) fn synchronize(&mut self, host: usize, exchange: OperationId) {
        self.after(0, move |world| {
            let Some((other, Some(theirs))) = world.hosts[host].exchanges.remove(&exchange) else { return };
            let offer = world.hosts[host].offers.remove(&exchange).unwrap_or_default();
            world.last_word(host, Input::SyncSent { exchange });
            world.after(2 * world.latency, move |world| {
                if world.hosts[other].exchanges.remove(&theirs).is_some() {
                    world.last_word(other, Input::SyncReceived { exchange: theirs, theirs: offer });
                }
            });
        });
    }

    pub(super) fn end_exchange(&mut self, host: usize, exchange: OperationId) {
        if let Some((other, Some(theirs))) = self.hosts[host].exchanges.remove(&exchange) {
            self.after(2 * self.latency, move |world| world.exchange_failed(other, theirs, false));
        }
    }
}
