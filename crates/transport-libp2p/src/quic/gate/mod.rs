//! Decides which strangers get a handshake.
//!
//! A handshake holds memory, a slot among the swarm's pending connections and five
//! seconds, and the source address of an Initial may be forged. So:
//!
//! - Few handshakes run with addresses that are not validated. When there are that
//!   many, the answer is a Retry: one small packet, and nothing is held. An idle
//!   node thus never costs an honest peer the additional round trip.
//! - A forged address cannot take the slots of the address's owner: validated
//!   addresses have separate slots, counted per address and per prefix.
//! - Handshakes cost signatures, and one that fails at once frees its slot at
//!   once. So their rate is bounded too, per prefix and overall.
//! - A remote that we dial or punch at this moment is expected and passes at once.
//!
//! What does not fit is ignored rather than refused, because a QUIC client repeats
//! its Initial by itself: an honest burst waits, an attacker gains no packet.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use kaspath_domain::{IpPrefix, Moment, Rates, Slot, Slots, TokenBucket};

/// Remotes that may be expected at once.
const MAX_EXPECTED: usize = 128;
/// Handshakes that one expected remote gets before it counts like any other.
const PER_EXPECTED: u8 = 2;

/// Handshakes at once and the time until one more is allowed: with addresses that are
/// not validated, with one validated prefix, and with all validated ones. A handshake
/// takes less than half a millisecond of work.
const UNVALIDATED_RATE: (u32, Duration) = (100, Duration::from_millis(10));
const PREFIX_RATE: (u32, Duration) = (50, Duration::from_millis(20));
const VALIDATED_RATE: (u32, Duration) = (400, Duration::from_micros(2500));
/// Prefixes whose rate is remembered.
const MAX_PREFIXES: usize = 1024;

/// Handshakes under way, and connections made by others, at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Handshakes with addresses that are not validated; beyond, they get a Retry.
    pub(crate) unvalidated: usize,
    /// Handshakes with validated addresses.
    pub(crate) validated: usize,
    /// Of either kind, handshakes with one IP address.
    pub(crate) per_ip: usize,
    /// Of either kind, handshakes with one prefix (/24 or /48).
    pub(crate) per_prefix: usize,
    /// Inbound connections in all, established or not.
    pub(crate) connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { unvalidated: 16, validated: 32, per_ip: 4, per_prefix: 8, connections: 512 }
    }
}

/// An Initial that does not belong to a connection yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Initial {
    pub(super) remote: SocketAddr,
    /// It bears the token of a Retry of ours.
    pub(super) validated: bool,
}

/// A slot at the gate, for as long as an inbound connection lives.
#[derive(Debug)]
pub(super) struct Permit {
    /// Until the handshake has succeeded; `None` for an expected remote.
    handshake: Option<Slot<IpPrefix>>,
    _connection: Slot<IpPrefix>,
}

impl Permit {
    /// The handshake has succeeded.
    pub(super) fn establish(&mut self) {
        self.handshake = None;
    }
}

/// What to do with an Initial.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Start the handshake.
    Accept(Permit),
    /// Make the client prove its address first.
    Retry,
    /// Tell the client that there is no room.
    Refuse,
    /// Send nothing; the client repeats its Initial.
    Ignore,
}

struct Expectation {
    until: Moment,
    left: u8,
}

/// See the module.
pub(super) struct Gate {
    limits: Limits,
    connections: Slots<IpPrefix>,
    /// Handshakes under way with addresses that are validated and that are not. Expected
    /// remotes have two more each.
    validated: Slots<IpPrefix>,
    unvalidated: Slots<IpPrefix>,
    expected: HashMap<(IpAddr, u16), Expectation>,
    validated_rate: TokenBucket,
    unvalidated_rate: TokenBucket,
    prefixes: Rates<IpPrefix>,
}

fn bucket((burst, every): (u32, Duration)) -> TokenBucket {
    TokenBucket::new(burst, every)
}

impl Gate {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            connections: Slots::new(limits.connections),
            validated: Slots::new(limits.validated),
            unvalidated: Slots::new(limits.unvalidated),
            expected: HashMap::new(),
            validated_rate: bucket(VALIDATED_RATE),
            unvalidated_rate: bucket(UNVALIDATED_RATE),
            prefixes: Rates::new(PREFIX_RATE.0, PREFIX_RATE.1, MAX_PREFIXES),
        }
    }

    /// The remote is dialled or punched now: what comes from it within `time` passes.
    pub(super) fn expect(&mut self, remote: SocketAddr, time: Duration, now: Moment) {
        self.expected.retain(|_, expectation| now < expectation.until);
        let key = key(remote);
        if self.expected.len() < MAX_EXPECTED || self.expected.contains_key(&key) {
            self.expected.insert(key, Expectation { until: now + time, left: PER_EXPECTED });
        }
    }

    /// Judges an Initial. A permit is kept until the connection has ended.
    pub(super) fn judge(&mut self, initial: Initial, now: Moment) -> Verdict {
        let Some(connection) = self.connections.take([]) else { return Verdict::Refuse };
        if let Some(expectation) = self.expected.get_mut(&key(initial.remote))
            && now < expectation.until
            && expectation.left > 0
        {
            expectation.left -= 1;
            return Verdict::Accept(Permit { handshake: None, _connection: connection });
        }
        let (host, network) = (IpPrefix::host(initial.remote.ip()), IpPrefix::network(initial.remote.ip()));
        let slots = if initial.validated { &self.validated } else { &self.unvalidated };
        let handshake = slots.take([(host, self.limits.per_ip), (network, self.limits.per_prefix)]);
        if handshake.is_some() && self.is_in_pace(initial.validated, network, now) {
            Verdict::Accept(Permit { handshake, _connection: connection })
        } else if initial.validated {
            Verdict::Ignore
        } else {
            Verdict::Retry
        }
    }

    fn is_in_pace(&mut self, validated: bool, network: IpPrefix, now: Moment) -> bool {
        if validated {
            self.prefixes.take(&network, now).is_ok() && self.validated_rate.take(now).is_ok()
        } else {
            self.unvalidated_rate.take(now).is_ok()
        }
    }
}

/// An IPv6 socket address compares by scope and flow as well, which do not matter here.
pub(super) fn key(remote: SocketAddr) -> (IpAddr, u16) {
    (remote.ip().to_canonical(), remote.port())
}

#[cfg(test)]
mod tests;
