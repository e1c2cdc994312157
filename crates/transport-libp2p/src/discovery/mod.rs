//! Asks relays and peers whom they know, and lists this node at relays: the domain's
//! `Discovery` over libp2p. docs/discovery-protocol.md has what is on the wire.

mod answers;
mod client;
mod elsewhere;
mod gossip;
mod here;
mod messages;

use kaspath_domain::Namespace;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use answers::fuzz;
pub use client::Libp2pDiscovery;
pub use gossip::KnownRecords;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use gossip::fuzz as fuzz_gossip;
pub(crate) use gossip::{Answering, PROTOCOL as GOSSIP};
pub(crate) use here::{Here, Own};
pub(crate) use messages::{Discover, DiscoverResponse, Kind, MAX_ANSWER, MAX_REQUEST, Message, PROTOCOL, Register, Status};

/// The text of a refusal for being asked too often.
pub(crate) const TOO_OFTEN: &str = "asked too often";
/// Entries of an answer, and of one about relays: of these all that a relay knows are
/// wanted, so that one honest relay tells of every other.
const MAX_PEERS: usize = 32;
const MAX_RELAYS: usize = 128;

/// The most entries of an answer about that name.
pub(crate) fn limit_of(namespace: &Namespace) -> usize {
    if *namespace == Namespace::relays() { MAX_RELAYS } else { MAX_PEERS }
}
