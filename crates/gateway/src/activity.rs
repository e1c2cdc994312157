//! What a session's own bytes show of it.

use kaspath_domain::{Activity, Candidate, PeerClass, PeerIdentity};

/// Less than any Kaspa handshake: HTTP/2's preface, its settings, the request's
/// headers and a Version message are several times as many bytes.
const HANDSHAKE_BYTES: u64 = 64;

/// Whether both sides have sent as much as a handshake takes.
pub(crate) fn has_begun(activity: &Activity) -> bool {
    let (received, sent) = activity.bytes();
    received >= HANDSHAKE_BYTES && sent > 0
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
