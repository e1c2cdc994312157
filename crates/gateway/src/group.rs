use kaspath_domain::{IpPrefix, PeerClass, PeerIdentity};

/// Where peers come from, as far as one owner can make any number of them there:
/// identities are free, address prefixes and relays are not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Group {
    /// Peers whose own address lies in a prefix.
    Prefix(IpPrefix),
    /// Peers that came through a relay.
    Relay(PeerIdentity),
}

impl Group {
    pub(crate) fn of(class: &PeerClass) -> Self {
        match class {
            PeerClass::Direct { from } => Self::Prefix(IpPrefix::of(*from)),
            PeerClass::Relayed { relay } => Self::Relay(relay.clone()),
        }
    }
}
