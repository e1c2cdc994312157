//! Memory that all sessions share.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

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
            let more = wanted - self.bytes;
            let before = free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| Some(free - free.min(more)));
            self.bytes += before.unwrap_or_default().min(more);
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
        let budget = Budget::new(100);
        let (mut a, mut b) = (budget.share(), budget.share());
        assert_eq!((a.resize(70), b.resize(70)), (70, 30));
        assert_eq!((a.resize(10), b.resize(70)), (10, 70));
        drop(b);
        assert_eq!(a.resize(200), 100);
        drop(a);
        assert_eq!(budget.share().resize(100), 100);
    }
}
