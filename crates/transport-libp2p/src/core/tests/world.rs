//! Virtual time, and hosts whose cores get what they ask for, or not.

use std::collections::{BTreeMap, BTreeSet};

use kaspath_domain::{
    Direction, Path, PeerAddress, PeerIdentity, PeerLocator, RelayAddress, RelayReason, TransportAddress, TransportSet,
};

use super::{at, config, network::*, sites::*};
use crate::{
    NetworkEvent,
    core::{CheckAnswer, ConnId, Connection, Core, CoreConfig, Input, OperationId, Output, ReachInput, WaiterId},
};

type Event = Box<dyn FnOnce(&mut World)>;

/// Chance enough for a test, and the same at every run.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum End {
    Relay(usize),
    Host(usize, ConnId),
}

pub(super) struct Live {
    pub(super) end: End,
    /// The relay of a circuit.
    pub(super) through: Option<usize>,
}

/// What a caller does with its answer.
pub(super) enum Then {
    Nothing,
    OpenCircuit { relay: usize, peer: usize, punch: TransportSet },
}

pub(super) struct Host {
    pub(super) core: Core,
    pub(super) id: PeerIdentity,
    pub(super) nat: Nat,
    pub(super) site: Site,
    /// Speaks DCUtR.
    pub(super) punches: bool,
    last: u64,
    pub(super) live: BTreeMap<ConnId, Live>,
    /// Those that died in silence, which the core does not know.
    silent: BTreeMap<ConnId, End>,
    /// Those that the core knows of; it hears of an end later.
    told: BTreeSet<ConnId>,
    pub(super) dials: BTreeMap<OperationId, Dialling>,
    pub(super) requests: BTreeMap<OperationId, usize>,
    /// With the host at the other end and its own id for it, once it has one.
    pub(super) exchanges: BTreeMap<OperationId, (usize, Option<OperationId>)>,
    /// What we offer in each of ours.
    pub(super) offers: BTreeMap<OperationId, Vec<TransportAddress>>,
    /// Its stream of the relay protocol at each relay.
    pub(super) controls: BTreeMap<usize, OperationId>,
    pub(super) lookups: BTreeSet<OperationId>,
    pub(super) waiting: BTreeMap<WaiterId, Then>,
    pub(super) answers: BTreeMap<WaiterId, Result<ConnId, String>>,
    pub(super) held: BTreeSet<PeerIdentity>,
    pub(super) opened: BTreeSet<Opened>,
    pub(super) events: Vec<(u64, NetworkEvent)>,
    /// Last words on attempts that are over.
    pub(super) stale: Vec<Input>,
}

pub(super) struct World {
    pub(super) now: u64,
    sequence: u64,
    queue: BTreeMap<(u64, u64), Event>,
    pub(super) hosts: Vec<Host>,
    pub(super) relays: Vec<Relay>,
    pub(super) chance: Chance,
    /// One way between a host and a relay, and between two hosts.
    pub(super) latency: u64,
    /// Packets of direct dials and requests that are lost, of 1,000.
    pub(super) loss: u64,
    waiters: u64,
}

impl World {
    pub(super) fn new(seed: u64, relays: usize) -> Self {
        Self {
            now: 0,
            sequence: 0,
            queue: BTreeMap::new(),
            hosts: Vec::new(),
            relays: (0..relays).map(Relay::new).collect(),
            chance: Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            latency: 20,
            loss: 0,
            waiters: 0,
        }
    }

    /// A host behind such a NAT that reserves at these relays.
    pub(super) fn add(&mut self, nat: Nat, reserves: &[usize], change: impl FnOnce(&mut CoreConfig)) -> usize {
        let host = self.hosts.len();
        let via = |relay: &usize| RelayAddress { relay: self.relays[*relay].id.clone(), via: self.relays[*relay].tcp() };
        let relays = reserves.iter().map(via).collect();
        let mut config = CoreConfig { relays, ..config(host as u64 + 1) };
        change(&mut config);
        let (id, mut chance) = (config.local.clone(), Chance(host as u64 + 7));
        self.hosts.push(Host {
            core: Core::new(config, move || chance.below(1000) as f64 / 1000.0, at(self.now)),
            id,
            nat,
            site: Site::default(),
            controls: BTreeMap::new(),
            punches: true,
            last: 0,
            live: BTreeMap::new(),
            silent: BTreeMap::new(),
            told: BTreeSet::new(),
            dials: BTreeMap::new(),
            requests: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            offers: BTreeMap::new(),
            lookups: BTreeSet::new(),
            waiting: BTreeMap::new(),
            answers: BTreeMap::new(),
            held: BTreeSet::new(),
            opened: BTreeSet::new(),
            events: Vec::new(),
            stale: Vec::new(),
        });
        host
    }

    /// A host with other addresses than one of IPv4.
    pub(super) fn add_at(&mut self, site: Site, nat: Nat, reserves: &[usize]) -> usize {
        let host = self.add(nat, &[], |config| config.lan = !site.no_lan);
        self.hosts[host].site = site;
        let interfaces = self.interfaces_of(host);
        self.deliver(host, Input::Interfaces(interfaces));
        for relay in reserves {
            let via = if site.no_ipv4 { self.relays[*relay].tcp6() } else { self.relays[*relay].tcp() };
            let (id, now) = (self.relays[*relay].id.clone(), at(self.now));
            self.hosts[host].core.add_relay(&id, vec![via], now).unwrap();
            self.deliver(host, Input::Elapsed);
        }
        host
    }

    pub(super) fn after(&mut self, delay: u64, event: impl FnOnce(&mut World) + 'static) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), Box::new(event));
    }

    pub(super) fn is_lost(&mut self) -> bool {
        self.loss > 0 && self.chance.below(1000) < self.loss
    }

    /// Runs for so long.
    pub(super) fn run(&mut self, millis: u64) {
        let end = self.now + millis;
        let mut idle = 0;
        loop {
            let due = self.hosts.iter().enumerate().filter_map(|(host, it)| Some((it.core.deadline()?, host))).min();
            let due =
                due.map(|(deadline, host)| (u64::try_from(deadline.since_start().as_micros().div_ceil(1000)).unwrap(), host));
            let event = self.queue.first_key_value().map(|(key, _)| key.0);
            let Some(next) = due.map(|(time, _)| time).into_iter().chain(event).min().filter(|next| *next <= end) else { break };
            idle = if next > self.now { 0 } else { idle + 1 };
            assert!(idle < 10_000, "time stands still at {}", self.now);
            self.now = self.now.max(next);
            if event.is_some_and(|event| event <= self.now) {
                let (_, event) = self.queue.pop_first().unwrap();
                event(self);
            } else if let Some((_, host)) = due {
                self.deliver(host, Input::Elapsed);
            }
        }
        self.now = end;
    }

    pub(super) fn deliver(&mut self, host: usize, input: Input) {
        let now = at(self.now);
        self.hosts[host].core.handle(input, now);
        while let Some(output) = self.hosts[host].core.poll() {
            self.act(host, output);
        }
    }

    /// The last word on an attempt: it may come once more, too late.
    pub(super) fn last_word(&mut self, host: usize, input: Input) {
        self.hosts[host].stale.push(input.clone());
        self.deliver(host, input);
    }

    /// A caller's wish.
    pub(super) fn ask(&mut self, host: usize, then: Then, wish: impl FnOnce(WaiterId) -> Input) -> WaiterId {
        self.waiters += 1;
        let waiter = WaiterId(self.waiters);
        self.hosts[host].waiting.insert(waiter, then);
        self.deliver(host, wish(waiter));
        waiter
    }

    /// What `Libp2pDialer` asks for to punch.
    pub(super) fn punch(&mut self, host: usize, relay: usize, peer: usize, transports: TransportSet) -> WaiterId {
        let to = self.hosts[peer].id.clone();
        let waiter = self.ask(host, Then::Nothing, |waiter| Input::AwaitDirect { waiter, peer: to, transports });
        self.circuit(host, relay, peer, transports);
        waiter
    }

    pub(super) fn circuit(&mut self, host: usize, relay: usize, peer: usize, punch: TransportSet) -> WaiterId {
        let via = if self.hosts[host].site.no_ipv4 { self.relays[relay].tcp6() } else { self.relays[relay].tcp() };
        let address = RelayAddress { relay: self.relays[relay].id.clone(), via };
        let then = Then::OpenCircuit { relay, peer, punch };
        self.ask(host, then, |waiter| Input::ConnectRelay { waiter, relay: address, transports: punch })
    }

    pub(super) fn give_up(&mut self, host: usize, waiter: WaiterId) {
        if self.hosts[host].waiting.remove(&waiter).is_some() {
            self.deliver(host, Input::GaveUp { waiter });
        }
    }

    fn act(&mut self, host: usize, output: Output) {
        let it = &mut self.hosts[host];
        match output {
            Output::Answer { waiter, result } => {
                let then = it.waiting.remove(&waiter).expect("each waiter is answered once, and none that gave up");
                if let Ok(connection) = &result {
                    assert!(it.told.contains(connection), "an answer names a connection that stands");
                }
                it.answers.insert(waiter, result.clone().map_err(|error| error.to_string()));
                if let (Ok(_), Then::OpenCircuit { relay, peer, punch }) = (result, then) {
                    let (relay, peer) = (self.relays[relay].id.clone(), self.hosts[peer].id.clone());
                    self.after(0, move |world| {
                        world.ask(host, Then::Nothing, |waiter| Input::OpenCircuit { waiter, relay, peer, punch });
                    });
                }
            }
            Output::Dial { dial, peer, addresses, kind } => self.dial(host, dial, &peer, addresses, kind),
            Output::DialCircuit { dial, relay, peer } => self.dial_circuit(host, dial, &relay.relay, &peer),
            Output::Resolve { lookup, names } => self.look_up(host, lookup, names),
            Output::Probe { probe, id } => {
                let is_alive = it.live.contains_key(&id);
                let answered = if is_alive { 2 * self.latency } else { 700 };
                self.after(answered, move |world| world.last_word(host, Input::Probed { probe, is_alive }));
            }
            Output::Lease(peer) => assert!(it.held.insert(peer), "held once"),
            Output::Release(peer) => {
                assert!(it.held.remove(&peer), "released once");
                self.after(60_000, move |world| world.close_idle_links(host, &peer));
            }
            Output::Close(id) | Output::CloseIfUnused(id) => self.close(host, id),
            Output::Reserve { request, relay } => self.reserve(host, request, &relay.relay),
            Output::Control { control, id } => self.control(host, control, id),
            Output::Unreserve { request } => drop(it.requests.remove(&request)),
            Output::Exchange { exchange, id, offer } => self.exchange(host, exchange, id, offer),
            Output::Respond { exchange, offer } => self.respond(host, exchange, offer),
            Output::Synchronize { exchange } => self.synchronize(host, exchange),
            Output::EndExchange { exchange } => self.end_exchange(host, exchange),
            Output::Reason { .. } | Output::Reachability { .. } | Output::Serve(_) => {}
            // Nobody checks here, and nobody asks for it.
            Output::AskReach { operation, .. } => {
                let asked = ReachInput::Asked { operation, answer: CheckAnswer::Nothing };
                self.after(0, move |world| world.deliver(host, Input::Reach(asked)));
            }
            Output::DialBack { .. } | Output::DialBackDone { .. } => panic!("nobody asked for a check"),
            Output::Report(event) => it.events.push((self.now, event)),
        }
    }

    fn new_connection(&mut self, host: usize) -> ConnId {
        self.hosts[host].last += 1;
        ConnId(self.hosts[host].last)
    }

    /// Two hosts are connected, at `delay` each.
    pub(super) fn join(
        &mut self,
        (a, dial_a, delay_a): (usize, Option<OperationId>, u64),
        (b, dial_b, delay_b): (usize, Option<OperationId>, u64),
        address: PeerAddress,
        through: Option<usize>,
    ) {
        let (id_a, id_b) = (self.new_connection(a), self.new_connection(b));
        let address_b = match &address {
            PeerAddress::Direct(direct) => PeerAddress::Direct(self.address_of(a, direct.transport)),
            relayed @ PeerAddress::Relayed(_) => relayed.clone(),
        };
        self.connected(a, id_a, dial_a, Direction::Outbound, End::Host(b, id_b), through, address, delay_a);
        let direction = if dial_b.is_some() { Direction::Outbound } else { Direction::Inbound };
        self.connected(b, id_b, dial_b, direction, End::Host(a, id_a), through, address_b, delay_b);
    }

    #[expect(clippy::too_many_arguments, reason = "a connection has so many properties")]
    pub(super) fn connected(
        &mut self,
        host: usize,
        id: ConnId,
        dial: Option<OperationId>,
        direction: Direction,
        end: End,
        through: Option<usize>,
        address: PeerAddress,
        delay: u64,
    ) {
        let peer = match &end {
            End::Relay(relay) => self.relays[*relay].id.clone(),
            End::Host(other, _) => self.hosts[*other].id.clone(),
        };
        let path = match &address {
            PeerAddress::Direct(direct) => Path::Direct { transport: direct.transport },
            PeerAddress::Relayed(relay) => Path::Relayed { relay: relay.relay.clone(), reason: RelayReason::PunchPending },
        };
        let remote = PeerLocator { peer: Some(peer.clone()), address };
        self.hosts[host].live.insert(id, Live { end, through });
        self.after(delay, move |world| {
            // It may have been closed already: libp2p reports both.
            world.hosts[host].told.insert(id);
            world.deliver(
                host,
                Input::Connected { id, dial, connection: Connection { peer, direction, path, remote, local: None } },
            );
            if let Some(dial) = dial {
                world.hosts[host].stale.push(Input::DialFailed { dial, error: timed_out() });
            }
        });
    }

    pub(super) fn next_id(&mut self, host: usize) -> ConnId {
        self.new_connection(host)
    }

    /// Closes a connection at both ends.
    pub(super) fn close(&mut self, host: usize, id: ConnId) {
        // Later than the report that it is there.
        let noticed = 5 * self.latency + 1;
        if self.hosts[host].silent.contains_key(&id) {
            return self.after(noticed, move |world| world.notice(host, id));
        }
        self.die(host, id, noticed);
    }

    /// A path dies in silence: the cores hear of it when pings have found it.
    pub(super) fn cut(&mut self, host: usize, id: ConnId) {
        self.die(host, id, 40_000);
    }

    fn die(&mut self, host: usize, id: ConnId, noticed: u64) {
        let Some(live) = self.hosts[host].live.remove(&id) else { return };
        self.hosts[host].silent.insert(id, live.end);
        self.after(noticed, move |world| world.notice(host, id));
        if let End::Host(other, id) = live.end {
            self.after(self.latency, move |world| world.die(other, id, noticed));
        }
    }

    fn notice(&mut self, host: usize, id: ConnId) {
        let Some(end) = self.hosts[host].silent.remove(&id) else { return };
        self.hosts[host].told.remove(&id);
        self.deliver(host, Input::Disconnected { id, cause: None });
        self.link_closed(host, &end);
    }

    pub(super) fn direct(&self, host: usize, peer: usize) -> bool {
        let is_direct = |live: &&Live| live.through.is_none() && matches!(live.end, End::Host(other, _) if other == peer);
        self.hosts[host].live.values().any(|live| is_direct(&live))
    }

    pub(super) fn relayed(&self, host: usize, peer: usize) -> bool {
        let is_circuit = |live: &Live| live.through.is_some() && matches!(live.end, End::Host(other, _) if other == peer);
        self.hosts[host].live.values().any(is_circuit)
    }

    pub(super) fn seen(&self, host: usize, wanted: impl Fn(&NetworkEvent) -> bool) -> Option<u64> {
        self.hosts[host].events.iter().find(|(_, event)| wanted(event)).map(|(time, _)| *time)
    }
}
