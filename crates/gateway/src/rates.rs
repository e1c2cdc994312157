//! How often peers may begin a session.

use std::time::Duration;

use kaspath_domain::{Moment, PeerGroup, PeerIdentity, Rates, TokenBucket};

/// Sessions that one peer asks for at once, and the time for one more: it begins one to
/// come back, to move from a relay to a direct path, and after a restart. That is an
/// eighth of what its group has, so that no single identity uses that up.
const PEER_BURST: u32 = GROUP_BURST / 8;
const PEER_REFILL: Duration = Duration::from_secs(2);
/// Sessions that the peers of one group begin at once, and the time for one more.
const GROUP_BURST: u32 = 64;
const GROUP_REFILL: Duration = Duration::from_millis(250);
/// The same for all peers. kaspad answers many times as many, but each leaves a
/// socket in TIME-WAIT for a minute and prints two lines.
const TOTAL_BURST: u32 = 256;
const TOTAL_REFILL: Duration = Duration::from_millis(50);
/// The time for one more peer of a group that was never seen before.
const NEWCOMER_REFILL: Duration = Duration::from_secs(60);
/// Peers and groups remembered. What a peer that is forgotten may do with its full
/// bucket is bounded by its group's bucket and by the total.
const MAX_PEERS: usize = 4096;
const MAX_GROUPS: usize = 1024;

/// Token buckets for the beginning of sessions. Asking costs a peer only tokens of its
/// own; those that it shares with others it takes when it is given a slot. So peers
/// that are refused, however many there are, cost their group nothing, and a group above
/// its rate costs the others nothing.
pub(crate) struct SessionRates {
    peers: Rates<PeerIdentity>,
    newcomers: Rates<PeerGroup>,
    groups: Rates<PeerGroup>,
    total: TokenBucket,
}

impl SessionRates {
    /// `expected` is how many peers that were never seen before the owner expects from
    /// one group at once; the group's rate is at least twice that, so that they leave
    /// half of it to those who come back.
    pub(crate) fn new(expected: usize) -> Self {
        let expected = u32::try_from(expected).unwrap_or(u32::MAX);
        let both = expected.saturating_mul(2);
        Self {
            peers: Rates::new(PEER_BURST, PEER_REFILL, MAX_PEERS),
            newcomers: Rates::new(expected, NEWCOMER_REFILL, MAX_GROUPS),
            groups: Rates::new(GROUP_BURST.max(both), GROUP_REFILL, MAX_GROUPS),
            total: TokenBucket::new(TOTAL_BURST.max(both), TOTAL_REFILL),
        }
    }

    /// Whether the peer may ask for a session now, as far as only it is concerned.
    pub(crate) fn ask(&mut self, peer: &PeerIdentity, now: Moment) -> Result<(), &'static str> {
        self.peers.take(peer, now).map_err(|_| "it begins sessions too often")
    }

    /// Whether one more session may begin from there now. Takes nothing. A peer that
    /// `is_new` was never seen before, and will be remembered: identities cost nothing,
    /// so one group must not fill the memory with them.
    pub(crate) fn check(&self, group: &PeerGroup, is_new: bool, now: Moment) -> Result<(), &'static str> {
        if is_new && !self.newcomers.has(group, 1, now) {
            return Err("too many peers that were never seen before come from there");
        }
        if !self.groups.has(group, 1, now) || !self.total.has(1, now) {
            return Err("too many sessions begin from there, or in all");
        }
        Ok(())
    }

    /// A session begins that was checked at the same moment.
    pub(crate) fn begin(&mut self, group: &PeerGroup, is_new: bool, now: Moment) {
        if is_new {
            let _ = self.newcomers.take(group, now);
        }
        let _ = (self.groups.take(group, now), self.total.take(now));
    }
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

    fn group(n: u32) -> PeerGroup {
        let [_, _, a, b] = n.to_be_bytes();
        PeerGroup::of(&PeerClass::Direct { from: [a, b, 2, 1].into() })
    }

    /// Peer `n` asks, and is given a slot if the rates allow it.
    fn come(rates: &mut SessionRates, n: u32, group: &PeerGroup, is_new: bool, now: Moment) -> bool {
        let may = rates.ask(&peer(n), now).and_then(|()| rates.check(group, is_new, now)).is_ok();
        if may {
            rates.begin(group, is_new, now);
        }
        may
    }

    #[test]
    fn a_peer_that_comes_without_end_is_slowed_down_alone() {
        let mut rates = SessionRates::new(16);
        let allowed = (0..25_000).filter(|n| come(&mut rates, 1, &group(1), false, at(n * 10_000 / 25_000))).count();
        assert_eq!(allowed, 8 + 4, "25,000 in ten seconds");
        assert!(come(&mut rates, 2, &group(1), false, at(10_000)));
    }

    #[test]
    fn peers_that_are_given_no_place_take_nothing_from_their_group() {
        let mut rates = SessionRates::new(16);
        for n in 0..10_000 {
            rates.ask(&peer(n), at(0)).unwrap();
            assert_eq!(rates.check(&group(1), true, at(0)), Ok(()));
        }
        let given = (0..1_000).filter(|n| come(&mut rates, 10_000 + n, &group(1), true, at(0))).count();
        assert_eq!(given, 16);
    }

    #[test]
    fn a_group_that_mints_identities_is_slowed_down_and_leaves_half_to_peers_that_come_back() {
        let mut rates = SessionRates::new(40);
        let newcomers = (0..1_000).filter(|n| come(&mut rates, *n, &group(1), true, at(0))).count();
        let known = (1_000..2_000).filter(|n| come(&mut rates, *n, &group(1), false, at(0))).count();
        assert_eq!((newcomers, known), (40, 40));
        assert!(come(&mut rates, 2_000, &group(2), true, at(0)), "others are not");
        let later = (2_001..2_100).filter(|n| come(&mut rates, *n, &group(1), true, at(60_000))).count();
        assert_eq!(later, 1);
    }

    #[test]
    fn a_group_above_its_rate_leaves_the_total_to_the_others() {
        let mut rates = SessionRates::new(16);
        let allowed = (0..10_000).filter(|n| come(&mut rates, *n, &group(1), false, at((*n).into()))).count();
        assert_eq!(allowed, 64 + 39, "10,000 in ten seconds");
        let others = (2..200).filter(|n| come(&mut rates, 10_000 + n, &group(*n), false, at(10_000))).count();
        assert_eq!(others, 198, "as many others, at once");
    }

    #[test]
    fn all_groups_together_are_limited_and_the_tables_stay_small() {
        let mut rates = SessionRates::new(16);
        let allowed = (0..20_000).filter(|n| come(&mut rates, *n, &group(*n), true, at(0))).count();
        assert_eq!(allowed, 256);
        assert!(rates.peers.len() <= MAX_PEERS && rates.groups.len() <= MAX_GROUPS && rates.newcomers.len() <= MAX_GROUPS);
    }
}
