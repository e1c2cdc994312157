//! Who gives its place to an inbound peer when there is none left: pure.

use std::time::Duration;

use kaspath_domain::{
    Admission, AdmissionRequest, Candidate, Eviction, IpPrefix, Moment, PeerClass, PeerGroup, PeerIdentity, RefuseReason,
};

use crate::sessions::Standing;

/// Longer than kaspad's pings are apart, 120 s: a Kaspa peer answers each of them.
const SILENT_AFTER: Duration = Duration::from_secs(150);
/// A session without a handshake after so long gives its place up to whoever asks. A
/// peer on the other side of the world, over a relay, needs less if its kaspad comes
/// at once; else it tries again.
const HANDSHAKE_GRACE: Duration = Duration::from_secs(3);

/// Sessions that end for one newcomer at most: one of its own address, prefix or relay,
/// and one of all. More would be needed after the limits were lowered, and then nobody
/// comes in until enough have gone by themselves.
const MAX_EVICTED: usize = 2;

/// The peers whose sessions must end so that `newcomer` may stay beside the rest of
/// `standing`, or why it may not. `admit` is the policy's word on a request.
///
/// All places taken: whoever [`Eviction`] chooses goes. Only the places of one
/// address, prefix or relay taken: somebody who says nothing goes, or nobody, for
/// that somebody came later is no merit among peers that may have one owner.
pub(crate) fn make_place(
    newcomer: (&PeerIdentity, &PeerClass),
    mut standing: Vec<Standing>,
    now: Moment,
    admit: impl Fn(&AdmissionRequest) -> Admission,
) -> Result<Vec<PeerIdentity>, RefuseReason> {
    let (peer, class) = newcomer;
    let mut evicted = Vec::new();
    loop {
        let classes = standing.iter().map(|session| &session.class);
        let request = AdmissionRequest::beside(Some(peer.clone()), class.clone(), classes);
        let Admission::Refuse(reason) = admit(&request) else { return Ok(evicted) };
        let chosen = choose(&reason, class, &standing, now).filter(|_| evicted.len() < MAX_EVICTED);
        let Some(chosen) = chosen else { return Err(reason) };
        standing.retain(|session| session.peer != chosen);
        evicted.push(chosen);
    }
}

fn choose(reason: &RefuseReason, newcomer: &PeerClass, standing: &[Standing], now: Moment) -> Option<PeerIdentity> {
    let in_the_way = |session: &&Standing| match (reason, &session.class, newcomer) {
        (RefuseReason::TooManyInbound { .. }, _, _) => true,
        (RefuseReason::TooManyFromAddress { .. } | RefuseReason::TooManyThroughRelay { .. }, theirs, ours) => theirs == ours,
        (RefuseReason::TooManyFromPrefix { .. }, PeerClass::Direct { from: theirs }, PeerClass::Direct { from: ours }) => {
            IpPrefix::of(*theirs) == IpPrefix::of(*ours)
        }
        (RefuseReason::TooManyFromPrefix { .. } | RefuseReason::Banned, _, _) => false,
    };
    let in_the_way: Vec<&Standing> = standing.iter().filter(in_the_way).collect();
    let silent: Vec<&Standing> = in_the_way.iter().copied().filter(|session| is_silent(session, now)).collect();
    let from = match reason {
        RefuseReason::TooManyInbound { .. } if silent.is_empty() => in_the_way,
        _ => silent,
    };
    let candidates: Vec<_> = from.into_iter().map(candidate).collect();
    let eviction = Eviction { silent_after: SILENT_AFTER, ..Eviction::default() };
    eviction.choose(&candidates, &PeerGroup::of(newcomer), now)
}

fn is_silent(session: &Standing, now: Moment) -> bool {
    let activity = &session.activity;
    let limit = if activity.has_begun() { SILENT_AFTER } else { HANDSHAKE_GRACE };
    let last = if activity.has_begun() { activity.last() } else { activity.since() };
    now.since(last) >= limit
}

fn candidate(session: &Standing) -> Candidate<PeerIdentity, PeerGroup> {
    let activity = &session.activity;
    Candidate {
        id: session.peer.clone(),
        group: PeerGroup::of(&session.class),
        since: activity.since(),
        round_trip: activity.round_trip(),
        useful_bytes: activity.useful_bytes(),
        last_activity: activity.has_begun().then(|| activity.last()),
        pinned: session.pinned,
    }
}

#[cfg(test)]
mod tests;
