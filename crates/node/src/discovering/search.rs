//! What has come of asking for peers, for people.

use std::collections::{BTreeMap, HashSet};

use kaspath_domain::{NotTold, PeerIdentity};

use super::relays::KnownRelay;

/// The relays that were asked for peers, by the last answer of each, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Relays that are known, asked or not.
    pub known: usize,
    /// Those that tell of others than this node.
    pub told: usize,
    /// Those that know nobody else.
    pub nobody: usize,
    /// Those that do not speak the protocol.
    pub not_spoken: usize,
    /// Those that refuse, or whose answers are invalid.
    pub refused: usize,
    /// Those that cannot be reached, or do not answer.
    pub unreachable: usize,
    /// Sessions with peers that this node has chosen by itself.
    pub reached: usize,
}

impl Search {
    /// Relays that have answered, or were given up.
    pub fn asked(&self) -> usize {
        self.told + self.nobody + self.not_spoken + self.refused + self.unreachable
    }
}

/// The last answer of each relay: whether it told of anybody.
#[derive(Debug, Default)]
pub(super) struct Answers(BTreeMap<PeerIdentity, Result<bool, NotTold>>);

impl Answers {
    pub(super) fn note(&mut self, relay: PeerIdentity, answer: Result<bool, NotTold>) {
        // Who is asked again too soon has said before what it knows.
        if answer != Err(NotTold::TooOften) {
            self.0.insert(relay, answer);
        }
    }

    /// Forgets relays that are not known any more.
    pub(super) fn keep(&mut self, known: &[KnownRelay]) {
        let known: HashSet<&PeerIdentity> = known.iter().map(|known| &known.relay.relay).collect();
        self.0.retain(|relay, _| known.contains(relay));
    }

    /// What has come of it, with so many relays known and so many sessions.
    pub(super) fn search(&self, known: usize, reached: usize) -> Search {
        let count = |of: Result<bool, NotTold>| self.0.values().filter(|answer| **answer == of).count();
        Search {
            known,
            told: count(Ok(true)),
            nobody: count(Ok(false)),
            not_spoken: count(Err(NotTold::NotSpoken)),
            refused: count(Err(NotTold::Refused)) + count(Err(NotTold::Invalid)),
            unreachable: count(Err(NotTold::Unreachable)),
            reached,
        }
    }
}
