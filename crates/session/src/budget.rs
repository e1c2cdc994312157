//! Memory that all sessions share.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A share is never larger than this part of what it and nobody hold: however many are
/// as large as they can be, one more gets something.
const PART: usize = 8;

/// Buffers of this size are released as soon as they are empty; larger ones are kept while
/// the session is busy.
pub(crate) const SMALL: usize = 16 * 1024;

/// Bytes that sessions may hold beside what each may hold in any case. Cheap to clone;
/// clones are one budget.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<AtomicUsize>);

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// A share of it, which is empty.
    pub(crate) fn share(&self) -> Share {
        Share { budget: self.clone(), bytes: 0 }
    }
}

/// What one buffer has taken from a [`Budget`]; returned on drop.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    bytes: usize,
}

impl Share {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes the share as large as `wanted`, or as close to it as the budget allows.
    pub(crate) fn resize(&mut self, wanted: usize) -> usize {
        let free = &self.budget.0;
        if wanted > self.bytes {
            let held = self.bytes;
            let more = |free: usize| wanted.min((free + held) / PART).saturating_sub(held);
            let before = free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| Some(free - more(free)));
            self.bytes += more(before.unwrap_or_default());
        } else {
            free.fetch_add(self.bytes - wanted, Ordering::Relaxed);
            self.bytes = wanted;
        }
        self.bytes
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_exceed_the_budget_and_come_back() {
        let budget = Budget::new(800);
        let (mut a, mut b) = (budget.share(), budget.share());
        assert_eq!((a.resize(70), b.resize(200)), (70, 91));
        assert_eq!((a.resize(10), b.resize(200)), (10, 98));
        assert_eq!(b.resize(200), 98, "asking again gives no more");
        drop(b);
        assert_eq!(a.resize(200), 100);
        drop(a);
        assert_eq!(budget.0.load(Ordering::Relaxed), 800);
    }

    #[test]
    fn however_many_take_all_they_can_one_more_gets_nearly_as_much() {
        let budget = Budget::new(128 << 20);
        let mut shares: Vec<Share> = (0..40).map(|_| budget.share()).collect();
        for _ in 0..16 {
            for share in &mut shares {
                share.resize(4 << 20);
            }
        }
        let (mut last, mut newcomer) = (budget.share(), budget.share());
        last.resize(4 << 20);
        assert!(newcomer.resize(4 << 20) > 0 && newcomer.bytes() * 2 >= last.bytes(), "{}", newcomer.bytes());
    }
}
