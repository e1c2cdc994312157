use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kaspath_domain::{Counts, IpPrefix};

/// Streams that negotiate at once, over all connections. Over TCP each can make the
/// muxer keep 256 KiB, so that all of them come to 64 MiB.
const MAX_STREAMS: usize = 256;
/// Those of one remote host. An honest burst of streams fits; four hosts
/// together leave room for others.
const MAX_PER_HOST: usize = 56;
/// Those of one network (a /24 or /48), whose hosts may have one owner.
const MAX_PER_NETWORK: usize = 112;

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_prefix: Counts<IpPrefix>,
}

/// How many inbound streams may be without an agreed protocol. Cheap to clone; all
/// clones share one budget.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamBudget(Arc<Mutex<Taken>>);

impl StreamBudget {
    /// A place for one more stream, given back when the permit is dropped. `remote` is
    /// whose shares count; without one, only the whole does.
    pub(super) fn enter(&self, remote: Option<IpAddr>) -> Option<Permit> {
        let shares = remote.map(|ip| [(IpPrefix::host(ip), MAX_PER_HOST), (IpPrefix::network(ip), MAX_PER_NETWORK)]);
        let mut counts = self.lock();
        let full = |(prefix, limit): &(IpPrefix, usize)| counts.by_prefix.of(prefix) >= *limit;
        if counts.all >= MAX_STREAMS || shares.iter().flatten().any(full) {
            return None;
        }
        counts.all += 1;
        let shares = shares.map(|shares| shares.map(|(prefix, _)| prefix));
        for prefix in shares.iter().flatten() {
            counts.by_prefix.add(*prefix);
        }
        Some(Permit { budget: self.clone(), shares })
    }

    // Nothing panics while it is held.
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One stream's place.
#[derive(Debug)]
pub(super) struct Permit {
    budget: StreamBudget,
    shares: Option<[IpPrefix; 2]>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.budget.lock();
        counts.all -= 1;
        for prefix in self.shares.iter().flatten() {
            counts.by_prefix.remove(prefix);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(network: u8) -> Option<IpAddr> {
        Some([198, 18, network, 1].into())
    }

    #[test]
    fn one_address_leaves_room_for_others_and_all_of_it_comes_back() {
        let budget = StreamBudget::default();
        let greedy: Vec<Permit> = std::iter::from_fn(|| budget.enter(address(1))).collect();
        assert_eq!(greedy.len(), MAX_PER_HOST);
        let other = budget.enter(address(2)).expect("another address has its own share");
        drop((greedy, other));
        assert!(budget.lock().by_prefix.is_empty(), "what is given back takes no room");
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
    fn hosts_of_one_network_and_addresses_of_one_host_share() {
        let budget = StreamBudget::default();
        let network: Vec<Permit> = (1..=5)
            .flat_map(|host| std::iter::from_fn(|| budget.enter(Some([198, 18, 0, host].into()))).collect::<Vec<_>>())
            .collect();
        assert_eq!(network.len(), MAX_PER_NETWORK);
        let of_host = |n: u16| Some(IpAddr::from([0x2001, 0xdb8, 1, 2, 0, 0, 0, n]));
        let host: Vec<Permit> = (0..100).filter_map(|n| budget.enter(of_host(n))).collect();
        assert_eq!(host.len(), MAX_PER_HOST);
    }

    #[test]
    fn the_whole_is_bounded() {
        let budget = StreamBudget::default();
        let taken: Vec<Permit> =
            (0..=255).filter_map(|last| budget.enter(address(last))).chain(std::iter::from_fn(|| budget.enter(None))).collect();
        assert_eq!(taken.len(), MAX_STREAMS);
    }
}
