use std::time::Duration;

/// How many addresses of one dial are tried at once: libp2p's default.
const ADDRESSES_AT_ONCE: u64 = 8;

/// How many connections there may be, of each kind. Kinds do not share room: what
/// strangers do to one does not affect the others.
///
/// "Address" is one address of IPv4 or a /64 of IPv6, "prefix" a /24 or a /48.
///
/// How the defaults were chosen: a TCP connection that says nothing keeps its pending
/// slot for 10 s. One address has 1/16 of a node's pending slots (1/32 of a
/// relay's) and 1/16 (1/32) of the established ones, so four hosts in four prefixes
/// keep a quarter (an eighth) of either, however fast they connect; a whole prefix
/// has a quarter of the pending slots and three sixteenths (an eighth) of the
/// established ones. Still 8 (32) nodes behind one carrier NAT can be connected over
/// both transports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Established, dialled by peers, without circuits. When they are all taken, the
    /// least useful of the most crowded prefix is closed for the next one.
    pub inbound: u32,
    /// Of these, from one address. Only one that nothing uses is closed for the next one.
    pub inbound_per_address: u32,
    /// Of these, from one prefix. Only one that nothing uses is closed for the next one.
    pub inbound_per_prefix: u32,
    /// Inbound, not yet through their handshake; TCP and QUIC have so many each.
    pub pending_inbound: u32,
    /// Of these, over one transport from one address.
    pub pending_inbound_per_address: u32,
    /// Of these, over one transport from one prefix.
    pub pending_inbound_per_prefix: u32,
    /// New connections that one address may begin at once.
    pub burst_per_address: u32,
    /// New connections that one prefix may begin at once.
    pub burst_per_prefix: u32,
    /// Time until an address may begin one more; a prefix may in a quarter of it.
    pub refill: Duration,
    /// Established circuits that peers dialled, over all relays; pending ones have
    /// half of it.
    pub inbound_circuits: u32,
    /// Of these, through one relay; pending ones have half of it, twice what our relay lets
    /// four hosts have to one destination. Only one that
    /// nothing uses is closed for the next one.
    pub inbound_circuits_per_relay: u32,
    /// Established, dialled by us, without those below.
    pub outbound: u32,
    /// The same, not yet through their handshake.
    pub pending_outbound: u32,
    /// Connections to relays that we dialled.
    pub relays: u32,
    /// The same, not yet through their handshake.
    pub pending_relays: u32,
    /// Circuits that we dialled.
    pub outbound_circuits: u32,
    /// The same, not yet through their handshake.
    pub pending_outbound_circuits: u32,
    /// Direct connections that punches of ours made.
    pub punched: u32,
    /// Dials of punches under way.
    pub pending_punches: u32,
    /// Direct ones established with one peer: both transports, each dialled from both sides,
    /// and new ones beside those that die.
    pub per_peer: u32,
    /// Circuits with one peer: over three relays, dialled from both sides, twice over.
    pub circuits_per_peer: u32,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            inbound: 256,
            inbound_per_address: 16,
            inbound_per_prefix: 48,
            pending_inbound: 256,
            pending_inbound_per_address: 16,
            pending_inbound_per_prefix: 64,
            burst_per_address: 64,
            burst_per_prefix: 256,
            refill: Duration::from_millis(125),
            inbound_circuits: 256,
            inbound_circuits_per_relay: 128,
            outbound: 256,
            pending_outbound: 64,
            relays: 128,
            pending_relays: 32,
            outbound_circuits: 256,
            pending_outbound_circuits: 64,
            punched: 256,
            pending_punches: 64,
            per_peer: 6,
            circuits_per_peer: 12,
        }
    }
}

impl ConnectionLimits {
    /// For a relay: everybody connects to it, and it dials hardly anybody.
    pub fn of_relay() -> Self {
        Self {
            inbound: 2048,
            inbound_per_address: 64,
            inbound_per_prefix: 256,
            pending_inbound: 1024,
            pending_inbound_per_address: 32,
            pending_inbound_per_prefix: 256,
            outbound: 32,
            pending_outbound: 8,
            relays: 16,
            pending_relays: 8,
            punched: 32,
            pending_punches: 8,
            ..Self::default()
        }
    }

    /// Connections that are being closed to make room; each still has its socket.
    pub(crate) fn closing(&self) -> u32 {
        (self.inbound / 8).max(8)
    }

    /// File descriptors that these connections need at most: all could be TCP.
    pub fn descriptors(&self) -> u64 {
        let one = [self.inbound, self.closing(), self.pending_inbound, self.outbound, self.relays, self.punched];
        let dialling = [self.pending_outbound, self.pending_relays, self.pending_punches];
        let sum = |counts: &[u32]| counts.iter().map(|count| u64::from(*count)).sum::<u64>();
        sum(&one) + sum(&dialling) * ADDRESSES_AT_ONCE
    }

    /// The same limits in proportion, so that they need no more than `descriptors`, but
    /// none below its floor; `None` if that leaves too little to work with.
    pub fn within(&self, descriptors: u64, floor: &LimitFloor) -> Option<Self> {
        if self.descriptors() <= descriptors {
            return Some(self.clone());
        }
        // Floors and roundings take more than their part, for which the others pay.
        let parts = (1..=16u64).rev().map(|part| self.scaled(descriptors * part / 16, floor));
        parts.into_iter().find(|less| less.works() && less.descriptors() <= descriptors)
    }

    fn scaled(&self, descriptors: u64, floor: &LimitFloor) -> Self {
        let need = self.descriptors().max(1);
        let mut less = self.clone();
        for (limit, floor) in [
            (&mut less.inbound, floor.inbound),
            (&mut less.pending_inbound, floor.pending_inbound),
            (&mut less.outbound, floor.outbound),
            (&mut less.pending_outbound, 0),
            (&mut less.relays, 0),
            (&mut less.pending_relays, 0),
            (&mut less.punched, 0),
            (&mut less.pending_punches, 0),
        ] {
            let share = u64::from(*limit) * descriptors / need;
            *limit = u32::try_from(share).unwrap_or(u32::MAX).max(floor);
        }
        // An address and a prefix keep their parts of the whole.
        for (part, whole, before) in [
            (&mut less.inbound_per_address, less.inbound, self.inbound),
            (&mut less.inbound_per_prefix, less.inbound, self.inbound),
            (&mut less.pending_inbound_per_address, less.pending_inbound, self.pending_inbound),
            (&mut less.pending_inbound_per_prefix, less.pending_inbound, self.pending_inbound),
        ] {
            let share = u64::from(*part) * u64::from(whole) / u64::from(before.max(1));
            *part = u32::try_from(share).unwrap_or(u32::MAX).max(2);
        }
        less
    }

    fn works(&self) -> bool {
        let dialling = [self.pending_outbound, self.pending_relays, self.pending_punches];
        self.inbound >= 8 && self.pending_inbound >= 8 && dialling.iter().all(|count| *count >= 1)
    }
}

/// Limits that were asked for, and are not to be lowered below that; 0 for those
/// that were not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LimitFloor {
    /// Of [`ConnectionLimits::inbound`].
    pub inbound: u32,
    /// Of [`ConnectionLimits::pending_inbound`].
    pub pending_inbound: u32,
    /// Of [`ConnectionLimits::outbound`].
    pub outbound: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_hosts_never_have_more_than_a_quarter() {
        for limits in [ConnectionLimits::default(), ConnectionLimits::of_relay()] {
            assert!(limits.inbound_per_address * 16 <= limits.inbound);
            assert!(limits.pending_inbound_per_address * 16 <= limits.pending_inbound);
            assert!(limits.inbound_per_prefix * 4 < limits.inbound);
            assert!(limits.pending_inbound_per_prefix * 4 <= limits.pending_inbound);
        }
    }

    #[test]
    fn lowered_limits_need_no_more_than_there_is_or_are_none_at_all() {
        for limits in [ConnectionLimits::default(), ConnectionLimits::of_relay()] {
            let none = LimitFloor::default();
            assert_eq!(limits.within(1 << 20, &none), Some(limits.clone()));
            for descriptors in 0..limits.descriptors() {
                for floor in [none.clone(), LimitFloor { inbound: 200, ..LimitFloor::default() }] {
                    let Some(less) = limits.within(descriptors, &floor) else { continue };
                    assert!(less.descriptors() <= descriptors, "{less:?}");
                    assert!(less.inbound >= 8.max(floor.inbound) && less.inbound < limits.inbound);
                }
            }
            assert!(limits.within(900, &none).is_some() && limits.within(20, &none).is_none());
            let all = LimitFloor { inbound: limits.inbound, ..none };
            assert!(limits.within(200, &all).is_none());
        }
    }
}
