//! The faults, in the order in which they come.

use std::{fmt, time::Duration};

use super::carrier::Carrier;
use crate::{cli::Fault, net::Cut};

/// A session that moves before its path ends.
const PLANNED: Duration = Duration::from_secs(1);
/// Another path is up.
const OTHER_PATH: Duration = Duration::from_secs(3);
/// A path has to be made.
const NEW_PATH: Duration = Duration::from_secs(5);

/// What must carry the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Direct,
    DirectTcp,
    DirectUdp,
    Relayed,
    /// That relay.
    Relay(usize),
}

impl Way {
    pub(super) fn is(self, carrier: Carrier) -> bool {
        match (self, carrier) {
            (Self::Direct, Carrier::Tcp | Carrier::Udp)
            | (Self::DirectTcp, Carrier::Tcp)
            | (Self::DirectUdp, Carrier::Udp)
            | (Self::Relayed, Carrier::Relay(_)) => true,
            (Self::Relay(wanted), Carrier::Relay(relay)) => wanted == relay,
            _ => false,
        }
    }

    /// Whether no relay carries the session.
    pub(super) fn is_direct(self) -> bool {
        matches!(self, Self::Direct | Self::DirectTcp | Self::DirectUdp)
    }
}

impl Fault {
    /// The order of a whole run. Those on a relay follow one another, for all of them
    /// need the direct way cut.
    pub(super) const ALL: [Self; 12] = [
        Self::None,
        Self::NatRebooted,
        Self::WanChanged,
        Self::DirectCut,
        Self::RelayKilled,
        Self::RelaySilent,
        Self::RelayDrained,
        Self::DirectBack,
        Self::UdpBlocked,
        Self::InterfaceReplaced,
        Self::NetworkGone,
        Self::RebootedInSync,
    ];

    /// The longest stall that it may cause.
    pub(super) fn limit(self) -> Duration {
        match self {
            Self::None | Self::RelayDrained | Self::DirectBack => PLANNED,
            Self::DirectCut | Self::RelayKilled | Self::RelaySilent | Self::UdpBlocked => OTHER_PATH,
            Self::NatRebooted | Self::WanChanged | Self::InterfaceReplaced | Self::NetworkGone | Self::RebootedInSync => NEW_PATH,
        }
    }

    /// What is cut before it, and what carries the session then.
    pub(super) fn start(self) -> (Cut, Way) {
        match self {
            Self::RelayKilled | Self::RelaySilent | Self::RelayDrained | Self::DirectBack => (Cut::Direct, Way::Relayed),
            Self::UdpBlocked => (Cut::DirectTcp, Way::DirectUdp),
            _ => (Cut::Nothing, Way::Direct),
        }
    }

    /// What must carry the session afterwards, `before` being what did.
    pub(super) fn end(self, before: Carrier) -> Way {
        match (self, before) {
            (Self::RelayKilled | Self::RelaySilent | Self::RelayDrained, Carrier::Relay(relay)) => Way::Relay(1 - relay),
            (Self::DirectCut, _) => Way::Relayed,
            (Self::UdpBlocked, _) => Way::DirectTcp,
            _ => Way::Direct,
        }
    }

    pub(super) fn about(self) -> &'static str {
        match self {
            Self::None => "nothing happens: what the lab itself measures",
            Self::NatRebooted => "a NAT forgets its mappings and gives others",
            Self::WanChanged => "a site gets another public address",
            Self::DirectCut => "the direct path drops packets in silence",
            Self::RelayKilled => "the relay that carries the session is killed, a second one is there",
            Self::RelaySilent => "the packets of the relay that carries the session vanish, a second one is there",
            Self::RelayDrained => "the relay that carries the session ends in order, a second one is there",
            Self::DirectBack => "the direct path is open again: a move from the relay",
            Self::UdpBlocked => "a firewall blocks UDP, which carries the session",
            Self::InterfaceReplaced => "a host's interface and private address are replaced by others",
            Self::NetworkGone => "nothing passes for 30 s; the stall counts from their end",
            Self::RebootedInSync => "a NAT is rebooted while an empty kaspad syncs 3,000 blocks",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::NatRebooted => "nat-rebooted",
            Self::WanChanged => "wan-changed",
            Self::DirectCut => "direct-cut",
            Self::RelayKilled => "relay-killed",
            Self::RelaySilent => "relay-silent",
            Self::RelayDrained => "relay-drained",
            Self::DirectBack => "direct-back",
            Self::UdpBlocked => "udp-blocked",
            Self::InterfaceReplaced => "interface-replaced",
            Self::NetworkGone => "network-gone",
            Self::RebootedInSync => "rebooted-in-sync",
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn a_whole_run_has_every_fault_once_by_the_name_that_only_takes() {
        for fault in Fault::value_variants() {
            assert_eq!(Fault::ALL.iter().filter(|listed| *listed == fault).count(), 1, "{fault}");
            assert_eq!(fault.to_possible_value().unwrap().get_name(), fault.to_string());
        }
    }

    #[test]
    fn a_session_leaves_the_relay_that_failed_for_the_other() {
        let end = Fault::RelaySilent.end(Carrier::Relay(1));
        assert!(end.is(Carrier::Relay(0)) && !end.is(Carrier::Relay(1)) && !end.is(Carrier::Tcp) && !end.is_direct());
        assert!(Fault::UdpBlocked.end(Carrier::Udp).is(Carrier::Tcp) && !Fault::UdpBlocked.end(Carrier::Udp).is(Carrier::Udp));
    }
}
