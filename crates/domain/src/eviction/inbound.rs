//! A slot for an inbound Kaspa peer under a policy's limits.

use std::time::Duration;

use super::{Candidate, Eviction};
use crate::{AdmissionRequest, Moment, PeerClass, PeerGroup, PeerIdentity, RefuseReason};

/// Longer than kaspad's pings are apart, 120 s: a Kaspa peer answers each of them.
const SILENT_AFTER: Duration = Duration::from_secs(150);
/// A session without a handshake after so long gives its slot up to whoever asks. A
/// peer on the other side of the world, over a relay, needs less if its node comes at
/// once; else it tries again.
const HANDSHAKE_GRACE: Duration = Duration::from_secs(3);
/// Sessions that end for one newcomer at most: one of its own address, prefix or relay,
/// and one of all. More would be needed after the limits were lowered, and then nobody
/// comes in until enough have gone by themselves.
const MAX_EVICTED: usize = 2;

/// The inbound sessions that must end so that `newcomer` may stay beside the rest of
/// `sessions`, or why it may not. `admit` is the policy's decision on a request. A
/// candidate without activity has not finished its handshake.
///
/// If all slots are taken, the one that [`Eviction`] chooses is evicted. If only the slots
/// of one address, prefix or relay are taken, a silent one is evicted, or none: to have
/// come later is not a merit among peers that may have one owner.
pub fn make_slot<Id: Clone + Ord>(
    newcomer: (Option<&PeerIdentity>, &PeerClass),
    mut sessions: Vec<Candidate<Id, PeerClass>>,
    now: Moment,
    admit: impl Fn(&AdmissionRequest) -> Result<(), RefuseReason>,
) -> Result<Vec<Id>, RefuseReason> {
    let (peer, class) = newcomer;
    let mut evicted = Vec::new();
    loop {
        let classes = sessions.iter().map(|session| &session.group);
        let request = AdmissionRequest::beside(peer.cloned(), class.clone(), classes);
        let Err(reason) = admit(&request) else { return Ok(evicted) };
        let chosen = choose(&reason, class, &sessions, now).filter(|_| evicted.len() < MAX_EVICTED);
        let Some(chosen) = chosen else { return Err(reason) };
        sessions.retain(|session| session.id != chosen);
        evicted.push(chosen);
    }
}

fn choose<Id: Clone + Ord>(
    reason: &RefuseReason,
    newcomer: &PeerClass,
    sessions: &[Candidate<Id, PeerClass>],
    now: Moment,
) -> Option<Id> {
    let in_the_way = |session: &&Candidate<Id, PeerClass>| match reason {
        RefuseReason::TooManyInbound { .. } => true,
        RefuseReason::TooManyFromAddress { .. } | RefuseReason::TooManyThroughRelay { .. } => session.group == *newcomer,
        RefuseReason::TooManyFromPrefix { .. } => PeerGroup::of(&session.group) == PeerGroup::of(newcomer),
        RefuseReason::Banned => false,
    };
    let in_the_way: Vec<_> = sessions.iter().filter(in_the_way).collect();
    let silent: Vec<_> = in_the_way.iter().copied().filter(|session| is_silent(session, now)).collect();
    let from = match reason {
        RefuseReason::TooManyInbound { .. } if silent.is_empty() => in_the_way,
        _ => silent,
    };
    let candidates: Vec<_> = from.into_iter().map(by_group).collect();
    let eviction = Eviction { silent_after: SILENT_AFTER, ..Eviction::default() };
    eviction.choose(&candidates, &PeerGroup::of(newcomer), now)
}

fn is_silent<Id, Group>(session: &Candidate<Id, Group>, now: Moment) -> bool {
    session.silence(now) >= if session.last_activity.is_some() { SILENT_AFTER } else { HANDSHAKE_GRACE }
}

fn by_group<Id: Clone>(session: &Candidate<Id, PeerClass>) -> Candidate<Id, PeerGroup> {
    Candidate {
        id: session.id.clone(),
        group: PeerGroup::of(&session.group),
        since: session.since,
        round_trip: session.round_trip,
        useful_bytes: session.useful_bytes,
        last_activity: session.last_activity,
        pinned: session.pinned,
    }
}
