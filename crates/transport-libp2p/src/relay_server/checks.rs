//! What checks of others' addresses may cost. Pure.

use std::time::Duration;

use kaspath_domain::{IpPrefix, Moment, Slot, Slots};
use libp2p::PeerId;

use super::origin::Origin;
use crate::gates::{Gates, Shares};

/// Checks under way at once: of one host, of one network and in all.
const PER_HOST: usize = 4;
const PER_NETWORK: usize = 8;
const MAX_CHECKS: usize = 32;

/// Checks under way, and the rates of new ones.
pub(super) struct Checks {
    under_way: Slots<IpPrefix>,
    rates: Gates<PeerId>,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            under_way: Slots::new(MAX_CHECKS),
            rates: Gates::new(&Shares {
                peer: (12, Duration::from_secs(10)),
                host: (12, Duration::from_secs(5)),
                network: (12, Duration::from_millis(2500)),
                all: (24, Duration::from_millis(250)),
            }),
        }
    }
}

impl Checks {
    /// Room for one more check of that peer, until it is dropped.
    pub(super) fn admit(&mut self, peer: &PeerId, origin: Origin, now: Moment) -> Option<Slot<IpPrefix>> {
        let slot = self.under_way.take([(origin.host, PER_HOST), (origin.prefix, PER_NETWORK)])?;
        self.rates.pass(peer, origin.ip, now).then_some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::after_start(Duration::from_millis(millis))
    }

    #[test]
    fn identities_of_one_host_get_no_more_checks_than_the_host_and_leave_room_for_others() {
        let mut checks = Checks::default();
        let hostile = Origin::of([198, 51, 100, 1].into());
        let held: Vec<_> = (0..1000).filter_map(|_| checks.admit(&PeerId::random(), hostile, at(0))).collect();
        assert_eq!(held.len(), PER_HOST);
        assert!(checks.admit(&PeerId::random(), Origin::of([203, 0, 113, 1].into()), at(0)).is_some());
        drop(held);
        // In the end it is the rate that counts.
        let admitted = (1..60_000).filter(|millis| checks.admit(&PeerId::random(), hostile, at(*millis)).is_some()).count();
        assert!((16..=24).contains(&admitted), "{admitted} in a minute");
    }

    #[test]
    fn all_hosts_together_have_four_a_second() {
        let mut checks = Checks::default();
        let from = |n: u32| Origin::of(std::net::Ipv4Addr::from(0x0100_0000 + n * 256).into());
        let admitted = (0..10_000).filter(|n| checks.admit(&PeerId::random(), from(*n), at(u64::from(*n))).is_some()).count();
        assert!((58..=65).contains(&admitted), "{admitted} in ten seconds");
    }
}
