//! Who gives its place to an inbound peer when there is none left: pure.

use kaspath_domain::{Admission, AdmissionRequest, Candidate, Moment, PeerClass, PeerIdentity, RefuseReason};

use crate::sessions::Standing;

/// The peers whose sessions must end so that `newcomer` may stay beside the rest of
/// `standing`, or why it may not: [`kaspath_domain::make_place`].
pub(crate) fn make_place(
    newcomer: (&PeerIdentity, &PeerClass),
    standing: Vec<Standing>,
    now: Moment,
    admit: impl Fn(&AdmissionRequest) -> Admission,
) -> Result<Vec<PeerIdentity>, RefuseReason> {
    let (peer, class) = newcomer;
    kaspath_domain::make_place((Some(peer), class), standing.into_iter().map(candidate).collect(), now, admit)
}

fn candidate(session: Standing) -> Candidate<PeerIdentity, PeerClass> {
    let activity = &session.activity;
    Candidate {
        since: activity.since(),
        round_trip: activity.round_trip(),
        useful_bytes: activity.useful_bytes(),
        last_activity: activity.has_begun().then(|| activity.last()),
        id: session.peer,
        group: session.class,
        pinned: session.pinned,
    }
}

#[cfg(test)]
mod tests;
