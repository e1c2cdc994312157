//! How often anybody may ask. Who asks for one address is bounded before all are, so that
//! one host cannot use up what is for all.

use std::{hash::Hash, time::Duration};

use kaspath_domain::{IpPrefix, Moment, Rates, TokenBucket};

/// Peers and hosts whose rate is remembered, of each kind.
const MAX_REMEMBERED: usize = 4096;

struct Gates<P> {
    peers: Rates<P>,
    hosts: Rates<IpPrefix>,
    all: TokenBucket,
}

impl<P: Clone + Eq + Hash> Gates<P> {
    fn new(peers: (u32, Duration), hosts: (u32, Duration), a_second: u32) -> Self {
        Self {
            peers: Rates::new(peers.0, peers.1, MAX_REMEMBERED),
            hosts: Rates::new(hosts.0, hosts.1, MAX_REMEMBERED),
            all: TokenBucket::new(a_second, Duration::from_secs(1) / a_second),
        }
    }

    fn pass(&mut self, peer: &P, host: &IpPrefix, now: Moment) -> bool {
        self.peers.take(peer, now).is_ok() && self.hosts.take(host, now).is_ok() && self.all.take(now).is_ok()
    }
}

/// Of requests to be listed, each of which costs two signatures, and of questions.
pub(super) struct Gate<P> {
    registering: Gates<P>,
    asking: Gates<P>,
}

impl<P: Clone + Eq + Hash> Default for Gate<P> {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            registering: Gates::new((4, seconds(20)), (16, seconds(2)), 100),
            asking: Gates::new((6, seconds(3)), (24, seconds(1)), 200),
        }
    }
}

impl<P: Clone + Eq + Hash> Gate<P> {
    pub(super) fn may_register(&mut self, peer: &P, host: &IpPrefix, now: Moment) -> bool {
        self.registering.pass(peer, host, now)
    }

    pub(super) fn may_ask(&mut self, peer: &P, host: &IpPrefix, now: Moment) -> bool {
        self.asking.pass(peer, host, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: u8) -> IpPrefix {
        IpPrefix::host([192, 0, 2, n].into())
    }

    #[test]
    fn one_peer_one_host_and_all_together_have_their_rates() {
        let mut gate = Gate::default();
        let now = Moment::default();
        let asked = |gate: &mut Gate<u32>, peers: &mut dyn Iterator<Item = u32>, host_of: &dyn Fn(u32) -> IpPrefix| {
            peers.filter(|peer| gate.may_ask(peer, &host_of(*peer), now)).count()
        };
        assert_eq!(asked(&mut gate, &mut std::iter::repeat_n(1, 100), &|_| host(1)), 6);
        assert_eq!(asked(&mut gate, &mut (100..10_000), &|_| host(1)), 24 - 6);
        assert_eq!(asked(&mut gate, &mut (100..10_000), &|n| host((n % 200) as u8 + 2)), 200 - 24);
        assert!((0..100).filter(|_| gate.may_register(&1, &host(1), now)).count() == 4, "another matter");
        assert!(gate.may_ask(&1, &host(1), now + Duration::from_secs(3)));
    }

    #[test]
    fn however_many_identities_ask_little_is_remembered() {
        let mut gate = Gate::default();
        for n in 0..20_000_u32 {
            let _ = gate.may_ask(&n, &host((n % 250) as u8), Moment::after_start(Duration::from_millis(n.into())));
        }
        assert!(gate.asking.peers.len() <= MAX_REMEMBERED);
    }
}
