use kaspath_domain::TransportAddress;
use libp2p::{PeerId, Stream};
use tokio::sync::OwnedSemaphorePermit;

use super::table::Wanted;

/// A request that waits for a dial back.
pub(super) struct Pending {
    pub(super) wanted: Wanted<PeerId>,
    /// Where it is dialled.
    pub(super) address: TransportAddress,
    pub(super) stream: Stream,
    /// One of the connection's slots for requests.
    pub(super) slot: OwnedSemaphorePermit,
}
