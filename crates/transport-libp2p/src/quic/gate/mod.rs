//! Decides which strangers get a handshake.
//!
//! A handshake holds memory, a place among the swarm's pending connections and five
//! seconds, and the source address of an Initial may be forged. So:
//!
//! - Few handshakes run with addresses that are not validated. When there are that
//!   many, the answer is a Retry: one small packet, and nothing is held. An idle
//!   node thus never costs an honest peer the additional round trip.
//! - A forged address cannot take the places of the address's owner: validated
//!   addresses have places of their own, counted per address and per prefix.
//! - Handshakes cost signatures, and one that fails at once gives its place back at
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

use kaspath_domain::{IpPrefix, Moment, Rates, TokenBucket};

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Expected,
    Validated,
    Unvalidated,
}

/// A place at the gate; given back to [`Gate::release`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

/// What to do with an Initial.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Start the handshake.
    Accept(Ticket),
    /// Make the client prove its address first.
    Retry,
    /// Tell the client that there is no room.
    Refuse,
    /// Send nothing; the client repeats its Initial.
    Ignore,
}

/// How often each verdict was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) accepted: u64,
    pub(super) retried: u64,
    pub(super) refused: u64,
    pub(super) ignored: u64,
}

struct Expectation {
    until: Moment,
    left: u8,
}

/// See the module.
pub(super) struct Gate {
    limits: Limits,
    next: u64,
    /// Handshakes under way. There are at most `unvalidated + validated` and two
    /// for each expected remote.
    pending: HashMap<u64, (Kind, IpAddr)>,
    established: usize,
    expected: HashMap<(IpAddr, u16), Expectation>,
    unvalidated: TokenBucket,
    validated: TokenBucket,
    prefixes: Rates<IpPrefix>,
    counts: Counts,
}

fn bucket((burst, every): (u32, Duration)) -> TokenBucket {
    TokenBucket::new(burst, every)
}

impl Gate {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            next: 0,
            pending: HashMap::new(),
            established: 0,
            expected: HashMap::new(),
            unvalidated: bucket(UNVALIDATED_RATE),
            validated: bucket(VALIDATED_RATE),
            prefixes: Rates::new(PREFIX_RATE.0, PREFIX_RATE.1, MAX_PREFIXES),
            counts: Counts::default(),
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

    /// Judges an Initial. A ticket must be released once the handshake or the
    /// connection has ended.
    pub(super) fn judge(&mut self, initial: Initial, now: Moment) -> Verdict {
        let verdict = self.verdict(initial, now);
        let counter = match &verdict {
            Verdict::Accept(_) => &mut self.counts.accepted,
            Verdict::Retry => &mut self.counts.retried,
            Verdict::Refuse => &mut self.counts.refused,
            Verdict::Ignore => &mut self.counts.ignored,
        };
        *counter += 1;
        verdict
    }

    fn verdict(&mut self, initial: Initial, now: Moment) -> Verdict {
        if self.pending.len() + self.established >= self.limits.connections {
            return Verdict::Refuse;
        }
        if let Some(expectation) = self.expected.get_mut(&key(initial.remote))
            && now < expectation.until
            && expectation.left > 0
        {
            expectation.left -= 1;
            return self.accept(Kind::Expected, initial);
        }
        let (kind, limit) = match initial.validated {
            true => (Kind::Validated, self.limits.validated),
            false => (Kind::Unvalidated, self.limits.unvalidated),
        };
        let ip = initial.remote.ip();
        if self.has_room(kind, limit, ip) && self.in_pace(kind, ip, now) {
            self.accept(kind, initial)
        } else if initial.validated {
            Verdict::Ignore
        } else {
            Verdict::Retry
        }
    }

    fn has_room(&self, kind: Kind, limit: usize, ip: IpAddr) -> bool {
        let (mut all, mut same_ip, mut same_prefix) = (0, 0, 0);
        for (_, other) in self.pending.values().filter(|(of, _)| *of == kind) {
            all += 1;
            same_ip += usize::from(IpPrefix::host(*other) == IpPrefix::host(ip));
            same_prefix += usize::from(IpPrefix::network(*other) == IpPrefix::network(ip));
        }
        all < limit && same_ip < self.limits.per_ip && same_prefix < self.limits.per_prefix
    }

    fn in_pace(&mut self, kind: Kind, ip: IpAddr, now: Moment) -> bool {
        if kind == Kind::Unvalidated {
            return self.unvalidated.take(now).is_ok();
        }
        let prefix = IpPrefix::network(ip);
        self.prefixes.take(&prefix, now).is_ok() && self.validated.take(now).is_ok()
    }

    fn accept(&mut self, kind: Kind, initial: Initial) -> Verdict {
        let id = self.next;
        self.next += 1;
        self.pending.insert(id, (kind, initial.remote.ip()));
        Verdict::Accept(Ticket(id))
    }

    /// The handshake has succeeded: it holds no place among the pending ones any more.
    pub(super) fn establish(&mut self, ticket: &Ticket) {
        if self.pending.remove(&ticket.0).is_some() {
            self.established += 1;
        }
    }

    /// The handshake has failed, or the connection has ended.
    pub(super) fn release(&mut self, ticket: Ticket) {
        if self.pending.remove(&ticket.0).is_none() {
            self.established = self.established.saturating_sub(1);
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }
}

/// An IPv6 socket address compares by scope and flow as well, which do not matter here.
pub(super) fn key(remote: SocketAddr) -> (IpAddr, u16) {
    (remote.ip().to_canonical(), remote.port())
}

#[cfg(test)]
mod tests;
