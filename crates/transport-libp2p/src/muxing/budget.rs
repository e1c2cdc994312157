use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Streams that negotiate at once, over all connections. Over TCP each can make the
/// muxer keep 256 KiB, so that all of them come to 64 MiB.
const MAX_STREAMS: usize = 256;
/// Those of one remote address. An honest burst of streams fits; four addresses
/// together leave room for others.
const MAX_PER_ADDRESS: usize = 56;

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// How many inbound streams may be without an agreed protocol. Cheap to clone; all
/// clones share one budget.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamBudget(Arc<Mutex<Counts>>);

impl StreamBudget {
    /// A place for one more stream, given back when the permit is dropped.
    pub(super) fn enter(&self, remote: Option<IpAddr>) -> Option<Permit> {
        let mut counts = self.lock();
        if counts.all >= MAX_STREAMS {
            return None;
        }
        if let Some(remote) = remote {
            let of_remote = counts.by_address.entry(remote).or_default();
            if *of_remote >= MAX_PER_ADDRESS {
                return None;
            }
            *of_remote += 1;
        }
        counts.all += 1;
        Some(Permit { budget: self.clone(), remote })
    }

    // Nothing panics while it is held.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One stream's place.
#[derive(Debug)]
pub(super) struct Permit {
    budget: StreamBudget,
    remote: Option<IpAddr>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.budget.lock();
        counts.all -= 1;
        if let Some(remote) = self.remote
            && let Some(of_remote) = counts.by_address.get_mut(&remote)
        {
            *of_remote -= 1;
            if *of_remote == 0 {
                counts.by_address.remove(&remote);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([198, 51, 100, last]))
    }

    #[test]
    fn one_address_leaves_room_for_others_and_all_of_it_comes_back() {
        let budget = StreamBudget::default();
        let greedy: Vec<Permit> = std::iter::from_fn(|| budget.enter(address(1))).collect();
        assert_eq!(greedy.len(), MAX_PER_ADDRESS);
        let other = budget.enter(address(2)).expect("another address has its own share");
        drop((greedy, other));
        assert!(budget.lock().by_address.is_empty(), "what is given back takes no room");
        assert_eq!(budget.lock().all, 0);
    }

    #[test]
    fn four_addresses_do_not_take_everything() {
        let budget = StreamBudget::default();
        let taken: Vec<Permit> =
            (1..=4).flat_map(|last| std::iter::from_fn(|| budget.enter(address(last))).collect::<Vec<_>>()).collect();
        assert!(budget.enter(address(5)).is_some());
        drop(taken);
    }

    #[test]
    fn the_whole_is_bounded() {
        let budget = StreamBudget::default();
        let taken: Vec<Permit> =
            (0..=255).filter_map(|last| budget.enter(address(last))).chain(std::iter::from_fn(|| budget.enter(None))).collect();
        assert_eq!(taken.len(), MAX_STREAMS);
    }
}
