//! How often peers may begin a session.

use std::{collections::HashMap, hash::Hash, time::Duration};

use kaspath_domain::{Moment, PeerIdentity, TokenBucket, make_room};

use crate::group::Group;

/// Sessions of one peer at once, and the time for one more: it begins one to come
/// back, to move from a relay to a direct path, and after a restart.
const PEER_BURST: u32 = 16;
const PEER_REFILL: Duration = Duration::from_secs(2);
/// The same for all peers of one group.
const GROUP_BURST: u32 = 64;
const GROUP_REFILL: Duration = Duration::from_millis(250);
/// The same for all peers. kaspad answers many times as many, but each leaves a
/// socket in TIME-WAIT for a minute and prints two lines.
const TOTAL_BURST: u32 = 256;
const TOTAL_REFILL: Duration = Duration::from_millis(50);
/// Peers and groups remembered. Beyond them the one that asked longest ago is
/// forgotten, which gives it a full bucket again; what it may do with that is
/// bounded by its group's bucket and by the total.
const MAX_PEERS: usize = 4096;
const MAX_GROUPS: usize = 1024;

/// Token buckets for the beginning of sessions. A peer above its own rate costs its
/// group nothing, and a group above its rate costs the others nothing.
pub(crate) struct SessionRates {
    group_burst: u32,
    peers: HashMap<PeerIdentity, TokenBucket>,
    groups: HashMap<Group, TokenBucket>,
    total: TokenBucket,
}

impl SessionRates {
    /// `expected` is how many peers the owner expects from one group at once.
    pub(crate) fn new(expected: usize) -> Self {
        let expected = u32::try_from(expected).unwrap_or(u32::MAX).saturating_mul(2);
        let total = TokenBucket::new(TOTAL_BURST.max(expected), TOTAL_REFILL);
        Self { group_burst: GROUP_BURST.max(expected), peers: HashMap::new(), groups: HashMap::new(), total }
    }

    /// Whether the peer may begin a session now, as far as it alone is concerned.
    pub(crate) fn allow_peer(&mut self, peer: &PeerIdentity, now: Moment) -> bool {
        take(&mut self.peers, peer, MAX_PEERS, now, || TokenBucket::new(PEER_BURST, PEER_REFILL))
    }

    /// Whether one more session may begin from there now.
    pub(crate) fn allow_group(&mut self, group: &Group, now: Moment) -> bool {
        let burst = self.group_burst;
        take(&mut self.groups, group, MAX_GROUPS, now, || TokenBucket::new(burst, GROUP_REFILL)) && self.total.take(now).is_ok()
    }
}

fn take<K: Clone + Eq + Hash>(
    buckets: &mut HashMap<K, TokenBucket>,
    key: &K,
    limit: usize,
    now: Moment,
    new: impl FnOnce() -> TokenBucket,
) -> bool {
    make_room(buckets, key, limit, TokenBucket::last_asked);
    buckets.entry(key.clone()).or_insert_with(new).take(now).is_ok()
}

#[cfg(test)]
mod tests {
    use kaspath_domain::PeerClass;

    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::after_start(Duration::from_millis(millis))
    }

    fn peer(n: u32) -> PeerIdentity {
        let [a, b, c, d] = n.to_be_bytes();
        PeerIdentity::from_bytes(&[0, 4, a, b, c, d]).unwrap()
    }

    fn group(n: u32) -> Group {
        let [_, _, a, b] = n.to_be_bytes();
        Group::of(&PeerClass::Direct { from: [a, b, 2, 1].into() })
    }

    #[test]
    fn a_peer_that_comes_without_end_is_slowed_down_alone() {
        let mut rates = SessionRates::new(16);
        let allowed = (0..25_000).filter(|n| rates.allow_peer(&peer(1), at(n * 10_000 / 25_000))).count();
        assert_eq!(allowed, 16 + 4, "25,000 in ten seconds");
        assert!(rates.allow_peer(&peer(2), at(10_000)));
    }

    #[test]
    fn a_group_above_its_rate_leaves_the_total_to_the_others() {
        let mut rates = SessionRates::new(16);
        let allowed = (0..10_000).filter(|n| rates.allow_group(&group(1), at(*n))).count();
        assert_eq!(allowed, 64 + 39, "10,000 in ten seconds");
        let others = (2..200).filter(|n| rates.allow_group(&group(*n), at(10_000))).count();
        assert_eq!(others, 198, "as many others, at once");
    }

    #[test]
    fn all_groups_together_are_limited_and_the_tables_stay_small() {
        let mut rates = SessionRates::new(16);
        let allowed = (0..20_000).filter(|n| rates.allow_peer(&peer(*n), at(0)) && rates.allow_group(&group(*n), at(0))).count();
        assert_eq!(allowed, 256);
        assert!(rates.peers.len() <= MAX_PEERS && rates.groups.len() <= MAX_GROUPS);
    }
}
