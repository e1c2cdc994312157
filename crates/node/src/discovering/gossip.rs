//! Which of the peers with a session is asked next whom it knows.

use std::{collections::BTreeMap, time::Duration};

use kaspath_domain::{Moment, PeerGroup, PeerIdentity, below};

use super::topic::Topic;

/// Between two questions, whomever they are for.
const EVERY: Duration = Duration::from_secs(60);
/// Between two questions of one kind for one peer, which answers fewer than that.
const OF_ONE: Duration = Duration::from_secs(600);

/// A question for a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PeerQuestion {
    pub(super) topic: Topic,
    pub(super) peer: PeerIdentity,
    /// Whoever told of that peer: what it tells counts for the same teller, so that peers which
    /// tell of each other gain nothing.
    pub(super) source: PeerGroup,
}

/// When whom was asked.
#[derive(Debug, Default)]
pub(super) struct Gossip {
    last: Option<Moment>,
    asked: BTreeMap<(PeerIdentity, Topic), Moment>,
}

impl Gossip {
    /// The next question for one of these peers, if there is one now.
    pub(super) fn next(
        &mut self,
        peers: &[(PeerIdentity, PeerGroup)],
        topics: &[Topic],
        now: Moment,
        random: &mut dyn FnMut() -> f64,
    ) -> Option<PeerQuestion> {
        // One that has just come knows little more than who told of it.
        if peers.is_empty() || now.since(*self.last.get_or_insert(now)) < EVERY {
            return None;
        }
        self.asked.retain(|_, asked| now.since(*asked) < OF_ONE);
        let all = peers.iter().flat_map(|(peer, source)| topics.iter().map(move |topic| (peer, source, *topic)));
        let due: Vec<_> = all.filter(|(peer, _, topic)| !self.asked.contains_key(&((*peer).clone(), *topic))).collect();
        if due.is_empty() {
            return None;
        }
        let (peer, source, topic) = due[below(due.len(), random())];
        self.last = Some(now);
        self.asked.insert((peer.clone(), topic), now);
        Some(PeerQuestion { topic, peer: peer.clone(), source: source.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> (PeerIdentity, PeerGroup) {
        let peer = PeerIdentity::from_bytes(&[0, 1, n]).unwrap();
        (peer.clone(), PeerGroup::Relay(peer))
    }

    #[test]
    fn one_peer_a_minute_is_asked_and_each_every_ten() {
        let (mut gossip, peers) = (Gossip::default(), [peer(1), peer(2)]);
        let mut asked = BTreeMap::new();
        for second in 0..3600 {
            let now = Moment::after_start(Duration::from_secs(second));
            if let Some(question) = gossip.next(&peers, &[Topic::Peers, Topic::Relays], now, &mut || 0.9) {
                asked.entry((question.peer, question.topic)).or_insert_with(Vec::new).push(second);
            }
        }
        assert_eq!(asked.len(), 4);
        assert!(
            asked.values().all(|times| times.len() == 6 && times.windows(2).all(|pair| pair[1] - pair[0] >= 600)),
            "{asked:?}"
        );
        let mut all: Vec<u64> = asked.into_values().flatten().collect();
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[1] - pair[0] >= 60));
        assert_eq!(gossip.next(&[], &[Topic::Peers], Moment::after_start(Duration::from_secs(9999)), &mut || 0.0), None);
    }
}
