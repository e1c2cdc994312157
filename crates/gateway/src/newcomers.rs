//! How many peers nobody has seen before may come from one place.

use std::{collections::HashMap, time::Duration};

use kaspath_domain::{Moment, TokenBucket, make_room};

use crate::group::Group;

/// Time for one more.
const REFILL: Duration = Duration::from_secs(60);
/// Groups remembered; beyond them the one that was used longest ago is forgotten,
/// which gives it a full bucket again.
const MAX_GROUPS: usize = 1024;

/// Identities cost nothing, and each one that comes in is remembered: this keeps
/// one place from filling the memory with them. Peers known already do not count.
pub(crate) struct Newcomers {
    /// From one place at once.
    burst: u32,
    buckets: HashMap<Group, TokenBucket>,
}

impl Newcomers {
    pub(crate) fn new(burst: usize) -> Self {
        Self { burst: u32::try_from(burst).unwrap_or(u32::MAX), buckets: HashMap::new() }
    }

    /// Whether a peer that is not known yet may come in from there now.
    pub(crate) fn allow(&mut self, group: &Group, now: Moment) -> bool {
        make_room(&mut self.buckets, group, MAX_GROUPS, TokenBucket::last_asked);
        let bucket = self.buckets.entry(group.clone()).or_insert_with(|| TokenBucket::new(self.burst, REFILL));
        bucket.take(now).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use kaspath_domain::PeerClass;

    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    fn direct(ip: [u8; 4]) -> Group {
        Group::of(&PeerClass::Direct { from: ip.into() })
    }

    #[test]
    fn a_place_that_mints_identities_is_slowed_down_and_others_are_not() {
        let mut newcomers = Newcomers::new(16);
        let allowed = (0..100).filter(|n| newcomers.allow(&direct([192, 0, 2, *n]), at(0))).count();
        assert_eq!(allowed, 16);
        assert!(newcomers.allow(&direct([198, 51, 100, 1]), at(0)));
        assert!(newcomers.allow(&direct([192, 0, 2, 1]), at(60)) && !newcomers.allow(&direct([192, 0, 2, 1]), at(60)));
    }

    #[test]
    fn the_places_are_bounded() {
        let mut newcomers = Newcomers::new(16);
        for n in 0..2000u16 {
            let [a, b] = n.to_be_bytes();
            newcomers.allow(&direct([a, b, 0, 1]), at(n.into()));
        }
        assert_eq!(newcomers.buckets.len(), MAX_GROUPS);
    }
}
