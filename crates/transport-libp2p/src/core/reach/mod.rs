//! At which of our addresses others can reach us.
//!
//! Who comes in at an address from a host that we never had to do with proves that it can
//! be reached: no packet of ours has opened a way through a NAT or firewall. To learn more
//! than strangers tell by themselves, we ask the relays at which we hold reservations, and none
//! that we were merely told of. Such a relay has two of its other nodes dial the address. That a
//! relay says "reached" proves nothing; that the dial came in, with the nonce that we gave, does.
//!
//! `check` says what is asked and answered, `track` makes states of verdicts, `contacts` knows who is no stranger, and `helping`
//! makes such dials for others.

mod check;
mod contacts;
mod helping;
#[cfg(test)]
mod tests;
mod track;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use kaspath_domain::{
    DialError, Direction, IpPrefix, Moment, PeerAddress, PeerIdentity, PeerLocator, TransportAddress, is_public,
};

pub(crate) use self::check::{CheckAnswer, DialBackOutcome, DialBackWanted, FIRST_PORT};
use self::{
    contacts::Contacts,
    helping::Helping,
    track::{Networks, Source, Track, Verdict},
};
use super::{
    connections::{ConnId, Connection},
    io::{OperationId, Output, ReachInput},
    shared::Shared,
};
use crate::{NetworkEvent, ReachConfig, Reachability};

/// Addresses of ours that are watched.
const MAX_TRACKS: usize = 16;

struct Question {
    address: TransportAddress,
    nonce: u64,
    /// The network of the relay that was asked; our own if we ask our own nodes.
    group: IpPrefix,
    was_reached: bool,
}

pub(super) struct Reach {
    config: ReachConfig,
    tracks: BTreeMap<TransportAddress, Track>,
    contacts: Contacts,
    /// Inbound connections of hosts that were strangers when they came.
    strangers: BTreeSet<ConnId>,
    /// Links to relays that we have dialled: whom we ask, and for whom we check, where we hold a
    /// reservation.
    links: BTreeMap<ConnId, (PeerIdentity, IpAddr)>,
    questions: BTreeMap<OperationId, Question>,
    helping: Helping,
    is_reachable: bool,
}

impl Reach {
    pub(super) fn new(config: ReachConfig, configured: &[TransportAddress], now: Moment) -> Self {
        let mut reach = Self {
            config,
            tracks: BTreeMap::new(),
            contacts: Contacts::default(),
            strangers: BTreeSet::new(),
            links: BTreeMap::new(),
            questions: BTreeMap::new(),
            helping: Helping::default(),
            is_reachable: false,
        };
        configured.iter().for_each(|address| reach.watch(address, Source::Configured, now));
        reach
    }

    pub(super) fn heard(&mut self, shared: &mut Shared, input: ReachInput) {
        match input {
            ReachInput::Asked { operation, answer } => self.answered(shared, operation, answer),
            ReachInput::DialedBack { id, nonce } => self.dialed_back(shared, id, nonce),
            ReachInput::DialBackWanted { exchange, id, wanted } => {
                let relay = self.links.get(&id).filter(|(relay, _)| self.config.help && shared.reserved.contains(relay));
                match relay.cloned() {
                    Some(relay) => self.helping.wanted(shared, exchange, relay, wanted, self.config.allow_local),
                    None => shared.put(Output::DialBackDone { exchange, outcome: DialBackOutcome::Refused }),
                }
            }
            ReachInput::DialBackShown { operation, outcome } => self.helping.done(shared, operation, outcome),
        }
    }

    /// We listen at these addresses of our interfaces, and at no others.
    pub(super) fn listening(&mut self, shared: &mut Shared, addresses: &[TransportAddress]) {
        self.replace(shared, Source::Interface, addresses);
    }

    /// Routers map these addresses to us, and no others.
    pub(super) fn mapped(&mut self, shared: &mut Shared, addresses: &[TransportAddress]) {
        self.replace(shared, Source::Mapped, addresses);
    }

    /// A packet is about to go to these.
    pub(super) fn dialing(&mut self, addresses: &[TransportAddress], now: Moment) {
        addresses.iter().filter_map(TransportAddress::canonical_ip).for_each(|ip| self.contacts.add(ip, now));
    }

    pub(super) fn connected(&mut self, shared: &mut Shared, id: ConnId, dial: Option<OperationId>) {
        self.helping.connected(shared, id, dial);
        let Some(connection) = shared.connections.get(id) else { return };
        let (Some(from), local) = (connection.remote_ip(), connection.local.clone()) else { return };
        let is_inbound = connection.direction == Direction::Inbound;
        let is_new = self.contacts.is_stranger(from, shared.now);
        self.contacts.add(from, shared.now);
        // A neighbour need not come through what stands between us and the others.
        let is_elsewhere = |local: &TransportAddress| {
            let local = local.canonical_ip().map(IpPrefix::network);
            self.config.allow_local || (is_public(from) && local != Some(IpPrefix::network(from)))
        };
        let Some(local) = local.filter(|local| is_inbound && is_new && is_elsewhere(local)) else { return };
        self.strangers.insert(id);
        if self.tracks.contains_key(&local) {
            self.judge(shared, &local, Verdict::Stranger, IpPrefix::network(from));
        }
    }

    pub(super) fn disconnected(&mut self, id: ConnId) {
        self.strangers.remove(&id);
        self.links.remove(&id);
    }

    /// A relay can be asked, and may ask, while we hold a reservation there. Who came in by
    /// itself chose us, and not we it.
    pub(super) fn linked(&mut self, shared: &Shared, relay: &PeerIdentity, link: ConnId) {
        let connection = shared.connections.get(link).filter(|connection| connection.direction == Direction::Outbound);
        if let Some(ip) = connection.and_then(Connection::remote_ip) {
            self.links.insert(link, (relay.clone(), ip));
        }
    }

    /// When to call [`Reach::step`] next.
    pub(super) fn deadline(&self, shared: &Shared) -> Option<Moment> {
        let reviews = self.tracks.values().filter_map(|track| track.review);
        self.askable(shared).map(|(_, track)| track.due).chain(reviews).min()
    }

    /// The addresses that can be asked about, and are not being asked about.
    fn askable(&self, shared: &Shared) -> impl Iterator<Item = (&TransportAddress, &Track)> {
        let asking = |address: &TransportAddress| self.questions.values().any(|question| question.address == *address);
        self.tracks.iter().filter(move |(address, track)| self.can_ask(shared, address, track) && !asking(address))
    }

    /// Asks about what is due, and lets strangers count that came during a hold.
    pub(super) fn step(&mut self, shared: &mut Shared) {
        let reviewed = |track: &Track| track.review.is_some_and(|review| review <= shared.now);
        let reviewed: Vec<TransportAddress> =
            self.tracks.iter().filter(|(_, track)| reviewed(track)).map(|(address, _)| address.clone()).collect();
        reviewed.iter().for_each(|address| self.settle(shared, address, Track::settle));
        let due = self.askable(shared).filter(|(_, track)| track.due <= shared.now);
        let due: Vec<TransportAddress> = due.map(|(address, _)| address.clone()).collect();
        due.iter().for_each(|address| self.ask(shared, address));
    }

    /// Whether anybody can be asked. Our own nodes are, when there is no relay, whether we
    /// still can be reached.
    fn can_ask(&self, shared: &Shared, address: &TransportAddress, track: &Track) -> bool {
        self.config.ask && (self.observers_of(shared, address).next().is_some() || track.state == Reachability::Reachable)
    }

    /// A relay sees only the address of the family by which it is linked.
    fn observers_of(&self, shared: &Shared, address: &TransportAddress) -> impl Iterator<Item = (ConnId, IpAddr)> {
        let is_ipv4 = address.canonical_ip().is_some_and(|ip| ip.is_ipv4());
        let observing = move |(relay, ip): &(PeerIdentity, IpAddr)| ip.is_ipv4() == is_ipv4 && shared.reserved.contains(relay);
        self.links.iter().filter(move |(_, link)| observing(link)).map(|(link, (_, ip))| (*link, *ip))
    }

    /// The networks of those, or our own if our own nodes are asked.
    fn networks(&self, shared: &Shared, address: &TransportAddress) -> Networks {
        let networks: Networks = self.observers_of(shared, address).map(|(_, ip)| IpPrefix::network(ip)).collect();
        if networks.is_empty() { address.canonical_ip().map(IpPrefix::network).into_iter().collect() } else { networks }
    }

    fn ask(&mut self, shared: &mut Shared, address: &TransportAddress) {
        let observers: Vec<(ConnId, IpAddr)> = self.observers_of(shared, address).collect();
        let networks = self.networks(shared, address);
        let (Some(ip), Some(track)) = (address.canonical_ip(), self.tracks.get_mut(address)) else { return };
        track.line_up(&networks);
        // Networks take turns, so that one cannot speak for all, and of those that are equal one
        // that is not being asked about another address.
        let is_busy = |network: IpPrefix| self.questions.values().any(|question| question.group == network);
        let turn = |(link, ip): &&(ConnId, IpAddr)| {
            let network = IpPrefix::network(*ip);
            (track.turn(&network), is_busy(network), *link)
        };
        let observer = observers.iter().min_by_key(turn).copied();
        let group = IpPrefix::network(observer.map_or(ip, |(_, ip)| ip));
        let (operation, nonce, chance) = (shared.operation(), nonce(shared), shared.random());
        track.checked(group, &networks, self.config.check_interval, chance, shared.now);
        self.questions.insert(operation, Question { address: address.clone(), nonce, group, was_reached: false });
        shared.put(Output::AskReach { operation, on: observer.map(|(link, _)| link), address: address.clone(), nonce });
    }

    fn answered(&mut self, shared: &mut Shared, operation: OperationId, answer: CheckAnswer) {
        let Some(Question { address, group, was_reached, .. }) = self.questions.remove(&operation) else { return };
        // Who came in outweighs what is said of it.
        if answer == CheckAnswer::NotReached && !was_reached {
            self.judge(shared, &address, Verdict::No, group);
        } else {
            self.settle(shared, &address, |track, networks, interval, now| track.answered(group, networks, interval, now));
        }
    }

    fn dialed_back(&mut self, shared: &mut Shared, id: ConnId, nonce: u64) {
        let Some(connection) = shared.connections.get(id) else { return };
        let (Some(from), Some(local)) = (connection.remote_ip(), &connection.local) else { return };
        let is_asked = |question: &&mut Question| {
            // It must have come the way that it was asked to: else it proves another address.
            question.nonce == nonce
                && question.address.transport == local.transport
                && question.address.canonical_ip().map(|ip| ip.is_ipv4()) == local.canonical_ip().map(|ip| ip.is_ipv4())
        };
        let Some(question) = self.questions.values_mut().find(is_asked).filter(|_| connection.direction == Direction::Inbound)
        else {
            return;
        };
        question.was_reached = true;
        let address = question.address.clone();
        // Who may have been let in by a packet of ours speaks for the network alone that had it come.
        let is_stranger = self.strangers.contains(&id);
        let (verdict, group) =
            if is_stranger { (Verdict::Stranger, IpPrefix::network(from)) } else { (Verdict::Known, question.group) };
        self.judge(shared, &address, verdict, group);
    }

    fn judge(&mut self, shared: &mut Shared, address: &TransportAddress, verdict: Verdict, group: IpPrefix) {
        self.settle(shared, address, |track, networks, interval, now| track.judge(verdict, group, networks, interval, now));
    }

    /// Reports the state of an address if `settle` changes it.
    fn settle(
        &mut self,
        shared: &mut Shared,
        address: &TransportAddress,
        settle: impl FnOnce(&mut Track, &Networks, Duration, Moment) -> bool,
    ) {
        let networks = self.networks(shared, address);
        let Some(track) = self.tracks.get_mut(address) else { return };
        if settle(track, &networks, self.config.check_interval, shared.now) {
            let state = track.state;
            self.report(shared, address, state);
        }
    }

    /// These are all of that source.
    fn replace(&mut self, shared: &mut Shared, source: Source, addresses: &[TransportAddress]) {
        let gone = |(address, track): &(&TransportAddress, &Track)| track.source == source && !addresses.contains(address);
        let gone: Vec<TransportAddress> = self.tracks.iter().filter(gone).map(|(address, _)| address.clone()).collect();
        for address in gone {
            let was = self.tracks.remove(&address).map(|track| track.state);
            if was.is_some_and(|was| was != Reachability::Unknown) {
                self.report(shared, &address, Reachability::Unknown);
            }
        }
        addresses.iter().for_each(|address| self.watch(address, source, shared.now));
    }

    fn watch(&mut self, address: &TransportAddress, source: Source, now: Moment) {
        let can_be = address.canonical_ip().is_some_and(|ip| is_public(ip) || self.config.allow_local) && address.port != 0;
        if can_be && !self.tracks.contains_key(address) && self.tracks.len() < MAX_TRACKS {
            self.tracks.insert(address.clone(), Track::new(source, now));
        }
    }

    fn report(&mut self, shared: &mut Shared, address: &TransportAddress, state: Reachability) {
        let locator = PeerLocator { peer: Some(shared.local.clone()), address: PeerAddress::Direct(address.clone()) };
        shared.report(NetworkEvent::ReachabilityChanged { address: locator, state });
        shared.put(Output::Reachability { address: address.clone(), state });
        let is_reachable = self.tracks.values().any(|track| track.state == Reachability::Reachable);
        if is_reachable != self.is_reachable {
            self.is_reachable = is_reachable;
            shared.put(Output::Serve(is_reachable));
        }
    }

    pub(super) fn failed(&mut self, shared: &mut Shared, dial: OperationId, error: &DialError) {
        self.helping.failed(shared, dial, error);
    }

    /// What is held, for tests.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.questions.len() + self.helping.held()
    }
}

/// Nobody guesses it in the seconds that it counts.
fn nonce(shared: &mut Shared) -> u64 {
    let half = f64::from(1 << 16) * f64::from(1 << 16);
    let mut draw = || (shared.random() * half) as u64;
    draw() << 32 | draw()
}
