//! A relay as a source tells of it.

use std::fmt;

use kaspath_domain::{PeerIdentity, TransportAddress};

/// Who tells of a relay, the best first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RelaySource {
    /// The settings.
    Configured,
    /// A list that the settings name.
    List,
    /// The peer book: it has carried a dial before.
    Book,
    /// A rendezvous point.
    Rendezvous(PeerIdentity),
    /// A peer.
    Gossip(PeerIdentity),
}

impl RelaySource {
    /// Whether the user gave it. Such relays are never forgotten for others.
    pub fn is_given(&self) -> bool {
        matches!(self, Self::Configured | Self::List)
    }

    /// The stranger who told of it, if one did.
    pub fn teller(&self) -> Option<&PeerIdentity> {
        match self {
            Self::Rendezvous(teller) | Self::Gossip(teller) => Some(teller),
            Self::Configured | Self::List | Self::Book => None,
        }
    }

    /// Its kind in one word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::List => "list",
            Self::Book => "book",
            Self::Rendezvous(_) => "rendezvous",
            Self::Gossip(_) => "gossip",
        }
    }
}

impl fmt::Display for RelaySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        self.teller().map_or(Ok(()), |teller| write!(f, " by {}", teller.short()))
    }
}

/// A relay that a source tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayCandidate {
    /// Who it is.
    pub relay: PeerIdentity,
    /// Where it is; one without an address is ignored, and only the first eight are used.
    pub addresses: Vec<TransportAddress>,
    /// Who tells of it.
    pub source: RelaySource,
    /// How full it says it is, in sixteenths, if it does.
    pub load: Option<u8>,
}
