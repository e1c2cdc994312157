//! Signed records: what a node says of itself, so that others can pass it on.
//! docs/discovery-protocol.md has their form.
//!
//! `payload` reads and writes what is said, `envelope` signs and verifies it. A record that
//! breaks any rule is rejected as a whole, and never repaired.

mod envelope;
mod payload;
mod peer_record;

use std::time::Duration;

use kaspath_domain::{Namespace, NodeRecord, Timestamp, TransportAddress, is_public};
use thiserror::Error;

use crate::core::FIRST_PORT;

#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use envelope::fuzz;
pub(crate) use envelope::{MAX_ENVELOPE, Signer, verify};
pub(crate) use peer_record::{names_only, of_foreign, peer_record, verify_peer_record};

/// Wall clocks may be wrong by so much.
const CLOCK_ERROR: Duration = Duration::from_secs(3600);
/// For how long a record may be valid.
const TTL: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(900));

/// Why a record is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum RecordError {
    #[error("it is too long")]
    TooLong,
    #[error("it is no signed envelope of a record")]
    Envelope,
    #[error("its signature is wrong, or was not made for a record")]
    Signature,
    #[error("its key is not Ed25519")]
    Key,
    #[error("its version is not known")]
    Version,
    #[error("it is too short")]
    TooShort,
    #[error("a field of it is invalid: {0}")]
    Field(&'static str),
}

/// Which addresses a record may name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    /// Loopback and private ones too, for tests on one host.
    pub(crate) local: bool,
}

impl Addresses {
    /// A record names IP addresses alone: a stranger must not have us ask a resolver, nor
    /// dial hosts in our own network, nor services that are none of ours anywhere.
    fn allow(self, address: &TransportAddress) -> bool {
        address.socket_addr().is_some_and(|socket| socket.port() >= FIRST_PORT && (self.local || is_public(socket.ip())))
    }
}

/// Whether its owner may be listed there.
pub(crate) fn fits(record: &NodeRecord, namespace: &Namespace) -> bool {
    if *namespace == Namespace::relays() {
        return record.relay().is_some();
    }
    record.kind.is_node() && namespace.network().is_none_or(|network| network == record.network)
}

/// For how long a record is valid from `now` on; `None` if it is too old or from the future.
pub(crate) fn left(record: &NodeRecord, now: Timestamp) -> Option<Duration> {
    let end = record.issued + record.ttl + CLOCK_ERROR;
    (record.issued < now + CLOCK_ERROR && now < end).then(|| end.since(now).min(record.ttl))
}
