//! What messages of peers may hold in memory.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Semaphore;

use super::WireError;

/// Bytes that the messages received from one peer may always hold. Several
/// blocks of Kaspa's greatest size fit, so that others cannot starve a peer.
const SHARE: usize = 384 << 10;
/// Bytes that the messages received from all peers may hold beyond their shares:
/// one message of the greatest size, inflated and decoded, and a little more.
const POOL: usize = 14 << 20;
/// Bytes of messages that may wait to be sent to one peer.
pub(super) const OUTGOING_SHARE: usize = 128 << 10;
/// Bytes of messages that may wait to be sent to all peers beyond that.
pub(super) const OUTGOING_POOL: usize = 8 << 20;

/// The memory that all sessions of a node share. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    left: AtomicUsize,
    outgoing: Arc<Semaphore>,
}

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(Pool { left: AtomicUsize::new(POOL), outgoing: Arc::new(Semaphore::new(OUTGOING_POOL)) }))
    }
}

impl Budget {
    /// The share of one session.
    pub(super) fn peer(&self) -> Arc<PeerBudget> {
        Arc::new(PeerBudget { pool: self.0.clone(), used: Mutex::default() })
    }

    pub(super) fn outgoing(&self) -> Arc<Semaphore> {
        self.0.outgoing.clone()
    }
}

/// The share of one session.
#[derive(Debug)]
pub(super) struct PeerBudget {
    pool: Arc<Pool>,
    used: Mutex<usize>,
}

impl PeerBudget {
    fn used(&self) -> MutexGuard<'_, usize> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A charge of nothing yet.
    pub(super) fn charge(self: &Arc<Self>) -> Charge {
        Charge { budget: self.clone(), bytes: 0 }
    }
}

/// Bytes that something holds; released on drop.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<PeerBudget>,
    bytes: usize,
}

impl Charge {
    /// Changes it to `bytes`. Without room for more it stays as it is.
    pub(super) fn resize(&mut self, bytes: usize) -> Result<(), WireError> {
        let mut used = self.budget.used();
        let wanted = *used - self.bytes + bytes;
        let (before, after) = (used.saturating_sub(SHARE), wanted.saturating_sub(SHARE));
        let left = &self.budget.pool.left;
        if after > before {
            let take = |left: usize| left.checked_sub(after - before);
            left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).map_err(|_| WireError::NoRoom)?;
        } else {
            left.fetch_add(before - after, Ordering::Relaxed);
        }
        *used = wanted;
        self.bytes = bytes;
        Ok(())
    }

    /// Takes all of it, leaving a charge of nothing.
    pub(super) fn take(&mut self) -> Self {
        Self { budget: self.budget.clone(), bytes: std::mem::take(&mut self.bytes) }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        // Less always fits.
        let _ = self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(budget: &Budget) -> usize {
        budget.0.left.load(Ordering::Relaxed)
    }

    #[test]
    fn a_peer_has_its_share_when_others_have_taken_the_pool() {
        let budget = Budget::default();
        let mut greedy = budget.peer().charge();
        greedy.resize(SHARE + POOL).unwrap();
        assert_eq!(greedy.resize(SHARE + POOL + 1), Err(WireError::NoRoom));
        assert_eq!(left(&budget), 0);
        let mut modest = budget.peer().charge();
        modest.resize(SHARE).unwrap();
        assert_eq!(modest.resize(SHARE + 1), Err(WireError::NoRoom));
        drop(greedy);
        modest.resize(SHARE + 1).unwrap();
    }

    #[test]
    fn all_comes_back_however_charges_of_a_peer_end() {
        let budget = Budget::default();
        let peer = budget.peer();
        let (mut first, mut second) = (peer.charge(), peer.charge());
        first.resize(SHARE).unwrap();
        second.resize(1000).unwrap();
        assert_eq!(left(&budget), POOL - 1000);
        let moved = first.take();
        drop(first);
        assert_eq!(left(&budget), POOL - 1000);
        second.resize(10).unwrap();
        drop(moved);
        assert_eq!((left(&budget), *peer.used()), (POOL, 10));
        drop(second);
        assert_eq!((left(&budget), *peer.used()), (POOL, 0));
    }
}
