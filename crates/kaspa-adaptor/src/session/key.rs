use std::{fmt, net::IpAddr};

use uuid::Uuid;

/// What Kaspa calls one peer: the id of its run, and its IP address. Over
/// libp2p the address is the synthetic one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey {
    /// Made anew at each start of the peer.
    pub id: Uuid,
    /// Without the port.
    pub ip: IpAddr,
}

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}", self.id, self.ip)
    }
}
