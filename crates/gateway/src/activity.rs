//! What a session's own bytes show of it.

use std::sync::Arc;

use kaspath_domain::{Activity, Candidate, MonotonicClock, PeerClass, PeerIdentity};

/// Less than any Kaspa handshake: HTTP/2's preface, its settings, the request's
/// headers and a Version message are several times as many bytes.
const HANDSHAKE_BYTES: u64 = 64;

/// Whether both sides have sent as much as a handshake takes.
pub(crate) fn has_begun(activity: &Activity) -> bool {
    let (received, sent) = activity.bytes();
    received >= HANDSHAKE_BYTES && sent > 0
}

/// Notes when the peer has sent something.
pub(crate) struct Noting {
    activity: Arc<Activity>,
    clock: MonotonicClock,
    received: u64,
}

impl Noting {
    pub(crate) fn new(activity: Arc<Activity>, clock: MonotonicClock) -> Self {
        Self { activity, clock, received: 0 }
    }

    /// To be called when bytes may have come.
    pub(crate) fn note(&mut self) {
        let (received, _) = self.activity.bytes();
        if self.received != received {
            self.received = received;
            self.activity.note(self.clock.now());
        }
    }
}

/// An inbound session as one of those that may be evicted.
pub(crate) fn candidate(
    peer: PeerIdentity,
    class: PeerClass,
    activity: &Activity,
    pinned: bool,
) -> Candidate<PeerIdentity, PeerClass> {
    let last_activity = has_begun(activity).then(|| activity.last().unwrap_or(activity.since()));
    Candidate { last_activity, pinned, ..activity.candidate(peer, class) }
}

#[cfg(test)]
mod tests;
