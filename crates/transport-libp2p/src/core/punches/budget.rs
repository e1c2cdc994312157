//! What punches may use, as a pure state machine: time is a parameter.
//!
//! A punch sends packets to addresses that a peer names and that have not
//! answered yet. So it is bounded in two ways.
//!
//! *Slots* bound what is under way at once: exchanges, and dials, which are at most
//! half of the room that connection limits have for punches. However many
//! circuits and candidates a peer has, relays and remotes can be dialled.
//!
//! *Bytes* bound what unanswered addresses are sent over time: per IP address and
//! per prefix whoever asks, per peer, per relay that the peers come through, and
//! for all peers that called us. An exchange moves some 200 bytes and one QUIC
//! Initial is 1,200 (RFC 9000, section 14.1), so "no more than the peer has sent"
//! would forbid every punch over QUIC. Instead each has a fixed allowance that
//! lets one pair fail five times in a row at once, and then once in about 50 s.

use std::{hash::Hash, net::IpAddr, time::Duration};

use kaspath_domain::{IpPrefix, Moment, PeerIdentity, Rates, Slot, Slots, TokenBucket, Transport};

/// Punches of one peer, begun by either side: four at once, since there may be
/// several circuits with it, then one every other second.
const PUNCHES: Rate = Rate { burst: 4, every: Duration::from_secs(2) };
/// Exchanges under way at once: of one peer, with peers that called us through one relay
/// and in all, and in all.
const EXCHANGES: Shares = Shares { per_peer: 4, per_relay: 64, called_us: 96, all: 128 };
/// Dials under way at once. One attempt of one side takes about four.
const DIALS: Shares = Shares { per_peer: 8, per_relay: 16, called_us: 24, all: 32 };

/// Bytes of one IP address (a /64 of IPv6), whoever names it.
const PER_HOST: Rate = Rate::bytes(64 * 1024, 256);
/// Bytes of one prefix, a /24 or /48.
const PER_PREFIX: Rate = Rate::bytes(192 * 1024, 1024);
/// Bytes of one peer, which may have an address of IPv4 and one of IPv6.
const PER_PEER: Rate = Rate::bytes(112 * 1024, 512);
/// Bytes of all peers of one relay that called us.
const PER_RELAY: Rate = Rate::bytes(384 * 1024, 3 * 1024);
/// Bytes of all peers that called us; peers that we called are not among them.
const CALLED_US: Rate = Rate::bytes(512 * 1024, 4 * 1024);

/// Peers, hosts, prefixes and relays remembered, each. A table that is full forgets
/// the one asked for longest ago, whose bucket is the fullest.
const MAX_REMEMBERED: usize = 4096;

/// What one dial may send to one address that does not answer, headers included.
/// TCP: five SYNs within the connection timeout of 10 s.
const TCP_DIAL: u32 = 5 * 60;
/// QUIC: within the handshake timeout of 5 s the first Initial and four probe timeouts
/// with two more each (RFC 9002, section 6.2; 0.3, 0.9, 2.1 and 4.5 s), 1,200 bytes each.
const QUIC_DIAL: u32 = 9 * 1248;
/// The random packets that open our NAT for QUIC: at most 40 of 20 bytes.
const QUIC_OPENING: u32 = 40 * 68;

struct Rate {
    burst: u32,
    every: Duration,
}

impl Rate {
    const fn bytes(burst: u32, per_second: u64) -> Self {
        Self { burst, every: Duration::from_nanos(1_000_000_000 / per_second) }
    }

    fn bucket(&self) -> TokenBucket {
        TokenBucket::new(self.burst, self.every)
    }

    fn each<K: Clone + Eq + Hash>(&self) -> Rates<K> {
        Rates::new(self.burst, self.every, MAX_REMEMBERED)
    }
}

/// Slots in all, and how many of them each has.
#[derive(Clone, Copy, Debug)]
struct Shares {
    per_peer: usize,
    per_relay: usize,
    called_us: usize,
    all: usize,
}

impl Shares {
    /// At most half of `pending`, the room for dials of punches.
    fn within(self, pending: usize) -> Self {
        let all = self.all.min(pending / 2).max(1);
        let most = (all * 3 / 4).max(1);
        Self { per_peer: self.per_peer.min(most), per_relay: self.per_relay.min(most), called_us: self.called_us.min(most), all }
    }
}

/// The other side of a punch.
#[derive(Clone, Debug)]
pub(super) struct Party {
    pub(super) peer: PeerIdentity,
    /// The relay that the circuit goes through.
    pub(super) relay: Option<PeerIdentity>,
    /// The peer dialled the circuit, which a stranger may do at will.
    pub(super) called_us: bool,
}

/// What a dial sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A handshake over that transport.
    Handshake(Transport),
    /// Random packets from QUIC's listening socket.
    Opening,
}

impl Kind {
    fn cost(self) -> u32 {
        match self {
            Kind::Handshake(Transport::Tcp) => TCP_DIAL,
            Kind::Handshake(Transport::Quic) => QUIC_DIAL,
            Kind::Opening => QUIC_OPENING,
        }
    }
}

/// Who has a share of the slots.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Peer(PeerIdentity),
    /// All peers that called us, and those of one relay. Peers that we called ourselves do
    /// not wait for strangers of the same relay.
    CalledUs,
    CalledThrough(Option<PeerIdentity>),
}

struct Pool {
    shares: Shares,
    slots: Slots<Key>,
}

impl Pool {
    fn new(shares: Shares) -> Self {
        Self { shares, slots: Slots::new(shares.all) }
    }

    fn take(&self, party: &Party) -> Option<Slot<Key>> {
        let Shares { per_peer, per_relay, called_us, .. } = self.shares;
        let strangers = [(Key::CalledUs, called_us), (Key::CalledThrough(party.relay.clone()), per_relay)];
        let strangers = party.called_us.then_some(strangers).into_iter().flatten();
        self.slots.take(std::iter::once((Key::Peer(party.peer.clone()), per_peer)).chain(strangers))
    }
}

/// All that punches use.
pub(super) struct Budget {
    exchanges: Pool,
    dials: Pool,
    punches: Rates<PeerIdentity>,
    hosts: Rates<IpPrefix>,
    prefixes: Rates<IpPrefix>,
    peers: Rates<PeerIdentity>,
    relays: Rates<Option<PeerIdentity>>,
    called_us: TokenBucket,
}

impl Budget {
    /// `pending` is the room for outbound dials of every kind.
    pub(super) fn new(pending: usize) -> Self {
        Self {
            exchanges: Pool::new(EXCHANGES),
            dials: Pool::new(DIALS.within(pending)),
            punches: PUNCHES.each(),
            hosts: PER_HOST.each(),
            prefixes: PER_PREFIX.each(),
            peers: PER_PEER.each(),
            relays: PER_RELAY.each(),
            called_us: CALLED_US.bucket(),
        }
    }

    /// A slot for one exchange of candidates, begun by either side.
    pub(super) fn exchange(&mut self, party: &Party, now: Moment) -> Option<Slot<Key>> {
        let slot = self.exchanges.take(party)?;
        self.punches.take(&party.peer, now).ok().map(|()| slot)
    }

    /// A slot for one dial, and those of the addresses that it may go to. Without
    /// any the slot is not taken.
    pub(super) fn dial<A>(
        &mut self,
        party: &Party,
        kind: Kind,
        addresses: Vec<A>,
        ip: impl Fn(&A) -> Option<IpAddr>,
        now: Moment,
    ) -> Option<(Slot<Key>, Vec<A>)> {
        let slot = self.dials.take(party)?;
        let allowed: Vec<A> =
            addresses.into_iter().filter(|address| ip(address).is_some_and(|ip| self.pay(party, kind, ip, now))).collect();
        (!allowed.is_empty()).then_some((slot, allowed))
    }

    /// The address answered: what it is sent is no longer unasked for.
    pub(super) fn answered(&mut self, ip: IpAddr) {
        self.hosts.forget(&IpPrefix::host(ip));
    }

    /// Slots in use, for tests.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.exchanges.slots.taken() + self.dials.slots.taken()
    }

    fn pay(&mut self, party: &Party, kind: Kind, ip: IpAddr, now: Moment) -> bool {
        let (cost, host, prefix) = (kind.cost(), IpPrefix::host(ip), IpPrefix::network(ip));
        let affordable = self.hosts.has(&host, cost, now)
            && self.prefixes.has(&prefix, cost, now)
            && self.peers.has(&party.peer, cost, now)
            && (!party.called_us || (self.relays.has(&party.relay, cost, now) && self.called_us.has(cost, now)));
        affordable
            && self.hosts.take_many(&host, cost, now).is_ok()
            && self.prefixes.take_many(&prefix, cost, now).is_ok()
            && self.peers.take_many(&party.peer, cost, now).is_ok()
            && (!party.called_us
                || (self.relays.take_many(&party.relay, cost, now).is_ok() && self.called_us.take_many(cost, now).is_ok()))
    }
}

#[cfg(test)]
mod tests;
