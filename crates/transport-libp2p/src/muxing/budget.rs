use std::net::IpAddr;

use kaspath_domain::{IpPrefix, Slot, Slots};

/// Streams that negotiate at once, over all connections. Over TCP each can make the
/// muxer keep 256 KiB, so that all of them come to 64 MiB.
const MAX_STREAMS: usize = 256;
/// Those of one remote host. An honest burst of streams fits; four hosts
/// together leave room for others.
const MAX_PER_HOST: usize = 56;
/// Those of one network (a /24 or /48), whose hosts may have one owner.
const MAX_PER_NETWORK: usize = 112;

/// How many inbound streams may be without an agreed protocol; a key without a prefix
/// counts all of them. Cheap to clone; all clones share one budget.
#[derive(Clone, Debug, Default)]
pub(crate) struct StreamBudget(Slots<Option<IpPrefix>>);

/// One stream's slot, until it is dropped.
pub(super) type Permit = Slot<Option<IpPrefix>>;

impl StreamBudget {
    /// A slot for one more stream. `remote` is whose shares count; without one, only the
    /// whole does.
    pub(super) fn take(&self, remote: Option<IpAddr>) -> Option<Permit> {
        let shares = remote.map(|ip| [(IpPrefix::host(ip), MAX_PER_HOST), (IpPrefix::network(ip), MAX_PER_NETWORK)]);
        let shares = shares.into_iter().flatten().map(|(prefix, limit)| (Some(prefix), limit));
        self.0.take([(None, MAX_STREAMS)].into_iter().chain(shares))
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
        let greedy: Vec<Permit> = std::iter::from_fn(|| budget.take(address(1))).collect();
        assert_eq!(greedy.len(), MAX_PER_HOST);
        let other = budget.take(address(2)).expect("another address has its own share");
        drop((greedy, other));
        let again: Vec<Permit> = std::iter::from_fn(|| budget.take(address(1))).collect();
        assert_eq!(again.len(), MAX_PER_HOST);
    }

    #[test]
    fn four_addresses_do_not_take_everything() {
        let budget = StreamBudget::default();
        let taken: Vec<Permit> =
            (1..=4).flat_map(|last| std::iter::from_fn(|| budget.take(address(last))).collect::<Vec<_>>()).collect();
        assert!(budget.take(address(5)).is_some());
        drop(taken);
    }

    #[test]
    fn hosts_of_one_network_and_addresses_of_one_host_share() {
        let budget = StreamBudget::default();
        let network: Vec<Permit> = (1..=5)
            .flat_map(|host| std::iter::from_fn(|| budget.take(Some([198, 18, 0, host].into()))).collect::<Vec<_>>())
            .collect();
        assert_eq!(network.len(), MAX_PER_NETWORK);
        let of_host = |n: u16| Some(IpAddr::from([0x2001, 0xdb8, 1, 2, 0, 0, 0, n]));
        let host: Vec<Permit> = (0..100).filter_map(|n| budget.take(of_host(n))).collect();
        assert_eq!(host.len(), MAX_PER_HOST);
    }

    #[test]
    fn the_whole_is_bounded() {
        let budget = StreamBudget::default();
        let taken: Vec<Permit> =
            (0..=255).filter_map(|last| budget.take(address(last))).chain(std::iter::from_fn(|| budget.take(None))).collect();
        assert_eq!(taken.len(), MAX_STREAMS);
    }
}
