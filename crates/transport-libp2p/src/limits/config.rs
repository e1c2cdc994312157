use std::time::Duration;

/// How many addresses of one dial are tried at once: libp2p's default.
const ADDRESSES_AT_ONCE: u64 = 8;

/// How many connections there may be, of each kind. Kinds do not share room: what
/// strangers do to one leaves the others alone.
///
/// "Address" is one address of IPv4 or a /64 of IPv6, "prefix" a /24 or a /48.
///
/// How the defaults were chosen: a TCP connection that says nothing keeps its pending
/// place for 10 s. One address has 1/16 of a node's pending places (1/32 of a
/// relay's) and 1/16 (1/32) of the established ones, so four hosts in four prefixes
/// keep a quarter (an eighth) of either, however fast they connect; a whole prefix
/// has a quarter of the pending places and three sixteenths (an eighth) of the
/// established ones. Still 8 (32) nodes behind one carrier NAT can be connected over
/// both transports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Established, dialled by peers, without circuits. When they are all taken, the
    /// least useful of the most crowded prefix is closed for the next one.
    pub inbound: u32,
    /// Of these, from one address. Only a silent one is closed for the next one.
    pub inbound_per_address: u32,
    /// Of these, from one prefix. Only a silent one is closed for the next one.
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
    /// Established circuits that peers dialled, over all relays; pending ones have a
    /// quarter of it.
    pub inbound_circuits: u32,
    /// Of these, through one relay; pending ones have a quarter of it.
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
    /// Established with one peer: a circuit and both transports, twice over.
    pub per_peer: u32,
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
            outbound: 64,
            pending_outbound: 16,
            punched: 64,
            pending_punches: 16,
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

    /// The same limits in proportion, so that they need no more than `descriptors`;
    /// `None` if that leaves too little to work with.
    pub fn within(&self, descriptors: u64) -> Option<Self> {
        let need = self.descriptors();
        if need <= descriptors {
            return Some(self.clone());
        }
        let mut less = self.clone();
        for limit in [
            &mut less.inbound,
            &mut less.pending_inbound,
            &mut less.outbound,
            &mut less.pending_outbound,
            &mut less.relays,
            &mut less.pending_relays,
            &mut less.punched,
            &mut less.pending_punches,
        ] {
            // Less than one in eight are 8 at least, for which the others pay.
            let share = u64::from(*limit) * (descriptors * 7 / 8) / need;
            *limit = u32::try_from(share).unwrap_or(u32::MAX);
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
        let works = less.inbound >= 8 && less.pending_inbound >= 8 && less.pending_outbound >= 1 && less.pending_relays >= 1;
        (works && less.descriptors() <= descriptors).then_some(less)
    }
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
            assert_eq!(limits.within(1 << 20), Some(limits.clone()));
            for descriptors in 0..limits.descriptors() {
                let Some(less) = limits.within(descriptors) else { continue };
                assert!(less.descriptors() <= descriptors, "{less:?}");
                assert!(less.inbound >= 8 && less.inbound < limits.inbound);
            }
            assert!(limits.within(1000).is_some() && limits.within(20).is_none());
        }
    }
}
