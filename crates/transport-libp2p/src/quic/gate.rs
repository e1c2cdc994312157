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
//! - A remote that we dial or punch at this moment is expected and passes at once.
//!
//! What does not fit is ignored rather than refused, because a QUIC client repeats
//! its Initial by itself: an honest burst waits, an attacker gains no packet.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use kaspath_domain::Timestamp;

/// Remotes that may be expected at once.
const MAX_EXPECTED: usize = 128;
/// Handshakes that one expected remote gets before it counts like any other.
const PER_EXPECTED: u8 = 2;

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
pub(super) struct Knock {
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
    /// Shake hands.
    Accept(Ticket),
    /// Have the client prove its address first.
    Retry,
    /// Say that there is no room.
    Refuse,
    /// Say nothing; the client will knock again.
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
    until: Timestamp,
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
    counts: Counts,
}

impl Gate {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, next: 0, pending: HashMap::new(), established: 0, expected: HashMap::new(), counts: Counts::default() }
    }

    /// The remote is dialled or punched now: what comes from it within `time` passes.
    pub(super) fn expect(&mut self, remote: SocketAddr, time: Duration, now: Timestamp) {
        self.expected.retain(|_, expectation| now < expectation.until);
        let key = key(remote);
        if self.expected.len() < MAX_EXPECTED || self.expected.contains_key(&key) {
            self.expected.insert(key, Expectation { until: now + time, left: PER_EXPECTED });
        }
    }

    /// Judges an Initial. A ticket must be released once the handshake or the
    /// connection has ended.
    pub(super) fn judge(&mut self, knock: Knock, now: Timestamp) -> Verdict {
        let verdict = self.verdict(knock, now);
        let counter = match &verdict {
            Verdict::Accept(_) => &mut self.counts.accepted,
            Verdict::Retry => &mut self.counts.retried,
            Verdict::Refuse => &mut self.counts.refused,
            Verdict::Ignore => &mut self.counts.ignored,
        };
        *counter += 1;
        verdict
    }

    fn verdict(&mut self, knock: Knock, now: Timestamp) -> Verdict {
        if self.pending.len() + self.established >= self.limits.connections {
            return Verdict::Refuse;
        }
        if let Some(expectation) = self.expected.get_mut(&key(knock.remote))
            && now < expectation.until
            && expectation.left > 0
        {
            expectation.left -= 1;
            return self.accept(Kind::Expected, knock);
        }
        let (kind, limit) = match knock.validated {
            true => (Kind::Validated, self.limits.validated),
            false => (Kind::Unvalidated, self.limits.unvalidated),
        };
        if self.has_room(kind, limit, knock.remote.ip()) {
            self.accept(kind, knock)
        } else if knock.validated {
            Verdict::Ignore
        } else {
            Verdict::Retry
        }
    }

    fn has_room(&self, kind: Kind, limit: usize, ip: IpAddr) -> bool {
        let (mut all, mut same_ip, mut same_prefix) = (0, 0, 0);
        for (_, other) in self.pending.values().filter(|(of, _)| *of == kind) {
            all += 1;
            same_ip += usize::from(other.to_canonical() == ip.to_canonical());
            same_prefix += usize::from(prefix(*other) == prefix(ip));
        }
        all < limit && same_ip < self.limits.per_ip && same_prefix < self.limits.per_prefix
    }

    fn accept(&mut self, kind: Kind, knock: Knock) -> Verdict {
        let id = self.next;
        self.next += 1;
        self.pending.insert(id, (kind, knock.remote.ip()));
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

/// /24 of IPv4, /48 of IPv6.
fn prefix(ip: IpAddr) -> (bool, u128) {
    match ip.to_canonical() {
        IpAddr::V4(ip) => (true, u128::from(u32::from(ip) >> 8)),
        IpAddr::V6(ip) => (false, u128::from(ip) >> 80),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { unvalidated: 3, validated: 4, per_ip: 2, per_prefix: 3, connections: 100 };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_epoch(Duration::from_secs(seconds))
    }

    fn knock(remote: &str, validated: bool) -> Knock {
        Knock { remote: remote.parse().unwrap(), validated }
    }

    fn accept(verdict: Verdict) -> Ticket {
        let Verdict::Accept(ticket) = verdict else { panic!("{verdict:?}") };
        ticket
    }

    #[test]
    fn a_retry_is_asked_for_only_when_unvalidated_handshakes_are_many() {
        let mut gate = Gate::new(LIMITS);
        let mut tickets: Vec<_> =
            ["192.0.2.1:1", "198.51.100.1:1", "203.0.113.1:1"].map(|ip| accept(gate.judge(knock(ip, false), at(0)))).into();
        let late = knock("233.252.0.1:1", false);
        assert_eq!(gate.judge(late, at(0)), Verdict::Retry);
        // The same client after its Retry.
        let _validated = accept(gate.judge(Knock { validated: true, ..late }, at(0)));
        gate.release(tickets.remove(0));
        accept(gate.judge(late, at(0)));
    }

    #[test]
    fn a_forged_address_takes_no_place_of_its_owner() {
        let mut gate = Gate::new(Limits { unvalidated: 100, per_ip: 2, ..LIMITS });
        let _held: Vec<_> = (0..10).map(|_| gate.judge(knock("192.0.2.1:1", false), at(0))).collect();
        accept(gate.judge(knock("192.0.2.1:1", true), at(0)));
    }

    #[test]
    fn one_address_or_prefix_does_not_take_all_places() {
        let mut gate = Gate::new(LIMITS);
        let mut held =
            vec![accept(gate.judge(knock("192.0.2.1:1", true), at(0))), accept(gate.judge(knock("192.0.2.1:2", true), at(0)))];
        assert_eq!(gate.judge(knock("192.0.2.1:3", true), at(0)), Verdict::Ignore);
        held.push(accept(gate.judge(knock("192.0.2.2:1", true), at(0))));
        assert_eq!(gate.judge(knock("192.0.2.3:1", true), at(0)), Verdict::Ignore);
        held.push(accept(gate.judge(knock("192.0.3.1:1", true), at(0))));
        // All four are taken.
        assert_eq!(gate.judge(knock("198.51.100.1:1", true), at(0)), Verdict::Ignore);
        // An address is the same written as IPv6, and a prefix of IPv6 is a /48.
        gate.release(held.remove(0));
        gate.release(held.remove(0));
        held.push(accept(gate.judge(knock("[2001:db8:1:2::3]:1", true), at(0))));
        assert_eq!(prefix("2001:db8:1:ff::1".parse().unwrap()), prefix("2001:db8:1::".parse().unwrap()));
        assert_ne!(prefix("2001:db8:1::".parse().unwrap()), prefix("2001:db8:2::".parse().unwrap()));
        assert_eq!(prefix("::ffff:192.0.2.1".parse().unwrap()), prefix("192.0.2.9".parse().unwrap()));
    }

    #[test]
    fn who_is_punched_passes_a_closed_gate_twice_and_not_for_ever() {
        let mut gate = Gate::new(Limits { unvalidated: 0, ..LIMITS });
        let peer = knock("192.0.2.1:7", false);
        assert_eq!(gate.judge(peer, at(0)), Verdict::Retry);
        gate.expect(peer.remote, Duration::from_secs(5), at(0));
        // Another port of the address is another remote.
        assert_eq!(gate.judge(knock("192.0.2.1:8", false), at(1)), Verdict::Retry);
        let _first = accept(gate.judge(peer, at(1)));
        let _second = accept(gate.judge(peer, at(1)));
        assert_eq!(gate.judge(peer, at(1)), Verdict::Retry);
        gate.expect(peer.remote, Duration::from_secs(5), at(2));
        assert_eq!(gate.judge(peer, at(7)), Verdict::Retry);
    }

    #[test]
    fn an_established_connection_holds_no_handshake_but_counts_in_all() {
        let mut gate = Gate::new(Limits { connections: 3, ..LIMITS });
        let tickets: Vec<_> = (1..4)
            .map(|port| {
                let ticket = accept(gate.judge(Knock { remote: ([192, 0, 2, 1], port).into(), validated: true }, at(0)));
                gate.establish(&ticket);
                ticket
            })
            .collect();
        assert_eq!(gate.judge(knock("198.51.100.1:1", true), at(0)), Verdict::Refuse);
        tickets.into_iter().for_each(|ticket| gate.release(ticket));
        accept(gate.judge(knock("198.51.100.1:1", true), at(0)));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Knock { ip: u8, net: u8, port: u16, validated: bool },
        Expect { ip: u8, net: u8, port: u16 },
        Establish(usize),
        Release(usize),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..4u8, 0..4u8, 1..4u16, any::<bool>())
                .prop_map(|(ip, net, port, validated)| Step::Knock { ip, net, port, validated }),
            1 => (0..4u8, 0..4u8, 1..4u16).prop_map(|(ip, net, port)| Step::Expect { ip, net, port }),
            1 => any::<usize>().prop_map(Step::Establish),
            2 => any::<usize>().prop_map(Step::Release),
            1 => (0..10u64).prop_map(Step::Wait),
        ]
    }

    proptest! {
        #[test]
        fn whatever_strangers_do_the_bounds_hold_and_an_honest_address_gets_in(steps in proptest::collection::vec(step(), 1..300)) {
            let mut gate = Gate::new(LIMITS);
            let (mut tickets, mut now, mut expected) = (Vec::new(), 0, 0);
            for step in steps {
                match step {
                    Step::Knock { ip, net, port, validated } => {
                        let remote = ([10, 0, net, ip], port).into();
                        match gate.judge(Knock { remote, validated }, at(now)) {
                            Verdict::Accept(ticket) => tickets.push(ticket),
                            Verdict::Retry => prop_assert!(!validated),
                            Verdict::Ignore => prop_assert!(validated),
                            Verdict::Refuse => prop_assert!(tickets.len() >= LIMITS.connections),
                        }
                    }
                    Step::Expect { ip, net, port } => {
                        expected += usize::from(PER_EXPECTED);
                        gate.expect(([10, 0, net, ip], port).into(), Duration::from_secs(5), at(now));
                    }
                    Step::Establish(n) if !tickets.is_empty() => gate.establish(&tickets[n % tickets.len()]),
                    Step::Release(n) if !tickets.is_empty() => {
                        let ticket = tickets.swap_remove(n % tickets.len());
                        gate.release(ticket);
                    }
                    Step::Wait(seconds) => now += seconds,
                    Step::Establish(_) | Step::Release(_) => {}
                }
                prop_assert_eq!(gate.pending.len() + gate.established, tickets.len());
                prop_assert!(tickets.len() <= LIMITS.connections);
                prop_assert!(gate.pending.len() <= LIMITS.unvalidated + LIMITS.validated + expected);
                for ip in gate.pending.values().map(|(_, ip)| *ip) {
                    let of = |kind| gate.pending.values().filter(|other| **other == (kind, ip)).count();
                    prop_assert!(of(Kind::Validated) <= LIMITS.per_ip && of(Kind::Unvalidated) <= LIMITS.per_ip);
                }
                // Whatever addresses are forged, a client elsewhere that answers a Retry is
                // kept out by validated handshakes alone.
                let validated = gate.pending.values().filter(|(kind, _)| *kind == Kind::Validated).count();
                if validated < LIMITS.validated && tickets.len() < LIMITS.connections {
                    let honest = gate.judge(knock("198.51.100.1:1", true), at(now));
                    gate.release(accept(honest));
                }
            }
        }
    }
}
