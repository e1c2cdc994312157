//! How often something may be asked for: by one peer, by one host, by one network, and by all.
//! Pure.

use std::{hash::Hash, net::IpAddr, time::Duration};

use kaspath_domain::{IpPrefix, Moment, Rates, TokenBucket};

/// Peers, hosts and networks whose rate is remembered, of each kind.
const MAX_REMEMBERED: usize = 4096;

/// So many at once, then one more at every interval.
pub(crate) type Rate = (u32, Duration);

/// What each of them may have.
pub(crate) struct Shares {
    pub(crate) peer: Rate,
    pub(crate) host: Rate,
    pub(crate) network: Rate,
    pub(crate) all: Rate,
}

/// Whose share of places something takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Share<P> {
    Peer(P),
    /// Of a host or a network.
    Prefix(IpPrefix),
}

/// Whoever asks is bounded with its host and its network before all are, so that nobody uses
/// up what is for all: identities are free, and so are the hosts of one /48. A network is to
/// have less at once than all have.
pub(crate) struct Gates<P> {
    peers: Rates<P>,
    hosts: Rates<IpPrefix>,
    networks: Rates<IpPrefix>,
    all: TokenBucket,
}

impl<P: Clone + Eq + Hash> Gates<P> {
    pub(crate) fn new(shares: &Shares) -> Self {
        let by_prefix = |(burst, every)| Rates::new(burst, every, MAX_REMEMBERED);
        Self {
            peers: Rates::new(shares.peer.0, shares.peer.1, MAX_REMEMBERED),
            hosts: by_prefix(shares.host),
            networks: by_prefix(shares.network),
            all: TokenBucket::new(shares.all.0, shares.all.1),
        }
    }

    /// Whether one more of a peer that comes from there may pass.
    pub(crate) fn pass(&mut self, peer: &P, from: IpAddr, now: Moment) -> bool {
        let (host, network) = (IpPrefix::host(from), IpPrefix::network(from));
        // First what takes and remembers nothing: a crowd is refused before it fills the tables.
        self.all.has(1, now)
            && self.networks.has(&network, 1, now)
            && self.peers.take(peer, now).is_ok()
            && self.hosts.take(&host, now).is_ok()
            && self.networks.take(&network, now).is_ok()
            && self.all.take(now).is_ok()
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.peers.len() + self.hosts.len() + self.networks.len()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn gates() -> Gates<u32> {
        let millis = Duration::from_millis;
        Gates::new(&Shares {
            peer: (6, millis(3000)),
            host: (24, millis(1000)),
            network: (48, millis(500)),
            all: (200, millis(5)),
        })
    }

    fn lone(n: u32) -> IpAddr {
        Ipv4Addr::from(0x0100_0000 + n * 256).into()
    }

    #[test]
    fn one_peer_one_host_one_network_and_all_together_have_their_rates() {
        let (mut gates, now) = (gates(), Moment::default());
        let host = |n: u32| IpAddr::from([192, 0, 2, n as u8]);
        let mut passed = |peers: &mut dyn Iterator<Item = u32>, from: &dyn Fn(u32) -> IpAddr| {
            peers.filter(|peer| gates.pass(peer, from(*peer), now)).count()
        };
        assert_eq!(passed(&mut std::iter::repeat_n(1, 100), &|_| host(1)), 6);
        assert_eq!(passed(&mut (100..10_000), &|_| host(1)), 24 - 6);
        assert_eq!(passed(&mut (100..10_000), &|n| host(n % 200 + 2)), 48 - 24);
        assert_eq!(passed(&mut (20_000..30_000), &lone), 200 - 48);
    }

    #[test]
    fn ten_thousand_hosts_of_one_network_leave_what_is_for_all() {
        let mut gates = gates();
        let mut crowd = 0;
        for n in 0..60_000 {
            // Ten thousand /64 of one /48, each with identities without end.
            let hostile = Ipv6Addr::new(0x2001, 0xdb8, 1, (n % 10_000) as u16, 0, 0, 0, 1).into();
            let now = Moment::after_start(Duration::from_millis(n.into()));
            crowd += usize::from(gates.pass(&(n + 1_000_000), hostile, now));
            if n % 1000 == 999 {
                assert!(gates.pass(&n, lone(n), now), "{n}");
            }
        }
        assert!((100..=48 + 120).contains(&crowd), "{crowd} in a minute");
        assert!(gates.remembered() < 1_000, "{}", gates.remembered());
    }

    #[test]
    fn however_many_ask_little_is_remembered() {
        let mut gates = gates();
        for n in 0..20_000 {
            gates.pass(&n, lone(n), Moment::after_start(Duration::from_millis(u64::from(n) * 10)));
        }
        assert!(gates.remembered() <= 3 * MAX_REMEMBERED);
    }
}
