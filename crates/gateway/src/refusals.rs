//! Which refusals are reported.

use std::time::Duration;

use kaspath_domain::{Moment, PeerIdentity, Rates, TokenBucket};

/// Refusals of one peer reported at once, and the time for one more.
const PEER_BURST: u32 = 3;
const PEER_REFILL: Duration = Duration::from_secs(10);
/// The same for all peers.
const TOTAL_BURST: u32 = 30;
const TOTAL_REFILL: Duration = Duration::from_secs(1);
/// Peers remembered; beyond them the one that was refused longest ago is forgotten.
const MAX_PEERS: usize = 1024;

/// Limits the reports of refusals, which a stranger causes at no cost.
pub(crate) struct Refusals {
    peers: Rates<PeerIdentity>,
    total: TokenBucket,
    omitted: u64,
}

impl Refusals {
    pub(crate) fn new() -> Self {
        let peers = Rates::new(PEER_BURST, PEER_REFILL, MAX_PEERS);
        Self { peers, total: TokenBucket::new(TOTAL_BURST, TOTAL_REFILL), omitted: 0 }
    }

    /// Whether one more refusal of the peer is reported: if so, how many were left
    /// out before it.
    pub(crate) fn report(&mut self, peer: &PeerIdentity, now: Moment) -> Option<u64> {
        if self.peers.take(peer, now).is_ok() && self.total.take(now).is_ok() {
            return Some(std::mem::take(&mut self.omitted));
        }
        self.omitted += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    fn peer(n: u16) -> PeerIdentity {
        let [a, b] = n.to_be_bytes();
        PeerIdentity::from_bytes(&[0, 2, a, b]).unwrap()
    }

    #[test]
    fn one_peer_is_reported_now_and_then_and_the_rest_is_counted() {
        let mut refusals = Refusals::new();
        let reported: Vec<_> = (0..100).filter_map(|_| refusals.report(&peer(1), at(0))).collect();
        assert_eq!(reported, [0, 0, 0]);
        assert_eq!(refusals.report(&peer(2), at(0)), Some(97), "another peer's refusal is still reported");
        assert_eq!((refusals.report(&peer(1), at(9)), refusals.report(&peer(1), at(10))), (None, Some(1)));
    }

    #[test]
    fn peers_made_up_for_it_are_reported_at_the_total_rate() {
        let mut refusals = Refusals::new();
        let reported = (0..10_000).filter(|n| refusals.report(&peer(*n), at(u64::from(n / 1000))).is_some()).count();
        assert_eq!(reported, 30 + 9, "10,000 in ten seconds");
        assert!(refusals.peers.len() <= MAX_PEERS);
    }
}
