use std::{collections::HashMap, time::Duration};

use kaspath_domain::{Moment, PeerIdentity, make_room};

/// How often a peer's session moves from the relay to a direct path: a path that is added
/// and removed often must not take the session with it each time. Pure and bounded: beyond the
/// limit no other peer's session moves until a move is old enough to be forgotten.
#[derive(Clone, Debug)]
pub struct MovePace {
    between: Duration,
    limit: usize,
    moved: HashMap<PeerIdentity, Moment>,
}

impl Default for MovePace {
    fn default() -> Self {
        Self::new(Duration::from_secs(300), 4096)
    }
}

impl MovePace {
    /// At least `between` lies between two moves of a peer's session; at most `limit`
    /// peers are remembered.
    pub fn new(between: Duration, limit: usize) -> Self {
        Self { between, limit: limit.max(1), moved: HashMap::new() }
    }

    /// Counts a move of the peer's session if it may move now; else says after which
    /// time to ask again.
    pub fn take(&mut self, peer: &PeerIdentity, now: Moment) -> Result<(), Duration> {
        if let Some(at) = self.moved.get(peer)
            && now.since(*at) < self.between
        {
            return Err(self.between - now.since(*at));
        }
        if self.moved.len() >= self.limit && !self.moved.contains_key(peer) {
            // A peer that is forgotten earlier could move again at once.
            let oldest = self.moved.values().min().map_or(Duration::ZERO, |at| now.since(*at));
            if oldest < self.between {
                return Err(self.between - oldest);
            }
            make_room(&mut self.moved, peer, self.limit, |at| *at);
        }
        self.moved.insert(peer.clone(), now);
        Ok(())
    }

    /// How many peers are remembered.
    pub fn len(&self) -> usize {
        self.moved.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.moved.is_empty()
    }
}
