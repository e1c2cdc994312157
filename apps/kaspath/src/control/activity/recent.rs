//! The latest hole punches, and the latest moves of sessions.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use kaspath_control::{MAX_RECENT, MoveStatus, PunchStatus};
use kaspath_domain::{Path, PeerIdentity, Transport, clean, make_room};
use kaspath_session::SessionEvent;
use kaspath_transport_libp2p::NetworkEvent;

/// Punches under way whose beginning is remembered.
const MAX_PUNCHES: usize = 256;
/// Bytes of a reason.
const MAX_REASON: usize = 400;

/// The newest entries of one kind, and how many there were.
struct Ring<T> {
    entries: VecDeque<(u64, Duration, T)>,
    count: u64,
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), count: 0 }
    }
}

impl<T> Ring<T> {
    fn push(&mut self, entry: T, now: Duration) {
        self.entries.truncate(MAX_RECENT - 1);
        self.count += 1;
        self.entries.push_front((self.count, now, entry));
    }
}

struct Punch {
    peer: PeerIdentity,
    outcome: Result<Transport, String>,
    duration: Option<Duration>,
    attempt: u32,
    retry_in: Option<Duration>,
}

struct Move {
    peer: PeerIdentity,
    from: Path,
    to: Path,
    stall: Duration,
}

/// Times are since the program's start.
#[derive(Default)]
pub(super) struct Recent {
    punches: Ring<Punch>,
    moves: Ring<Move>,
    /// When the punch with each peer began.
    begun: HashMap<PeerIdentity, Duration>,
}

impl Recent {
    pub(super) fn network(&mut self, event: &NetworkEvent, now: Duration) {
        let (peer, outcome, attempt, retry_in) = match event {
            NetworkEvent::PunchStarted { peer, .. } => {
                return self.begin(peer, now);
            }
            // The side that is called knows only of this.
            NetworkEvent::PunchDialing { peer, .. } if !self.begun.contains_key(peer) => return self.begin(peer, now),
            NetworkEvent::PunchSucceeded { peer, transport, attempts, .. } => (peer, Ok(*transport), *attempts, None),
            NetworkEvent::PunchFailed { peer, attempts, reason, retry_in } => {
                (peer, Err(clean(&reason.to_string(), MAX_REASON)), *attempts, *retry_in)
            }
            _ => return,
        };
        let duration = self.begun.remove(peer).map(|since| now.saturating_sub(since));
        self.punches.push(Punch { peer: peer.clone(), outcome, duration, attempt, retry_in }, now);
    }

    fn begin(&mut self, peer: &PeerIdentity, now: Duration) {
        make_room(&mut self.begun, peer, MAX_PUNCHES, |since| *since);
        self.begun.insert(peer.clone(), now);
    }

    pub(super) fn session(&mut self, event: &SessionEvent, now: Duration) {
        if let SessionEvent::Moved { peer, from, to, stall, .. } = event {
            let (peer, from, to) = (peer.clone(), from.clone(), to.clone());
            self.moves.push(Move { peer, from, to, stall: *stall }, now);
        }
    }

    pub(super) fn punches(&self, now: Duration) -> Vec<PunchStatus> {
        let status = |(number, since, punch): &(u64, Duration, Punch)| PunchStatus {
            number: *number,
            peer: punch.peer.clone(),
            age: now.saturating_sub(*since).as_secs_f64(),
            transport: punch.outcome.as_ref().ok().copied(),
            reason: punch.outcome.as_ref().err().cloned(),
            duration: punch.duration.map(|duration| duration.as_secs_f64()),
            attempt: punch.attempt,
            retry_in: punch.retry_in.map(|delay| (*since + delay).saturating_sub(now).as_secs_f64()),
        };
        self.punches.entries.iter().map(status).collect()
    }

    pub(super) fn moves(&self, now: Duration) -> Vec<MoveStatus> {
        let status = |(number, since, moved): &(u64, Duration, Move)| MoveStatus {
            number: *number,
            peer: moved.peer.clone(),
            age: now.saturating_sub(*since).as_secs_f64(),
            from: moved.from.clone(),
            to: moved.to.clone(),
            reason: relay_reason(&moved.to).or_else(|| relay_reason(&moved.from)),
            stall: moved.stall.as_secs_f64(),
        };
        self.moves.entries.iter().map(status).collect()
    }
}

/// Why a path is through a relay, as a sentence that is fit to be shown.
pub(crate) fn relay_reason(path: &Path) -> Option<String> {
    match path {
        Path::Direct { .. } => None,
        Path::Relayed { reason, .. } => Some(clean(&reason.to_string(), MAX_REASON)),
    }
}

#[cfg(test)]
mod tests {
    use kaspath_domain::RelayReason;

    use super::*;

    fn peer(n: u8) -> PeerIdentity {
        PeerIdentity::from_bytes(&[0, 1, n]).unwrap()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_punch_has_its_outcome_its_duration_and_its_reason() {
        let mut recent = Recent::default();
        let dialing = || NetworkEvent::PunchDialing { peer: peer(1), rtt: None, ours: Vec::new(), theirs: Vec::new() };
        recent.network(&NetworkEvent::PunchStarted { peer: peer(1), attempt: 1 }, at(1));
        recent.network(&dialing(), at(2));
        let cause = "reset\x1b[2J by peer".repeat(100);
        let reason = RelayReason::ExchangeFailed { attempts: 1, cause };
        recent.network(&NetworkEvent::PunchFailed { peer: peer(1), attempts: 1, reason, retry_in: Some(at(10)) }, at(3));
        recent.network(&dialing(), at(13));
        let success = NetworkEvent::PunchSucceeded { peer: peer(1), transport: Transport::Quic, elapsed: at(13), attempts: 2 };
        recent.network(&success, at(14));
        let [second, first] = &recent.punches(at(15))[..] else { panic!("two") };
        assert_eq!((first.number, first.duration, first.retry_in, first.age), (1, Some(2.0), Some(0.0), 12.0));
        let reason = first.reason.as_ref().unwrap();
        assert!(reason.len() <= MAX_REASON && !reason.chars().any(char::is_control), "{reason}");
        assert_eq!((second.number, second.transport, second.attempt), (2, Some(Transport::Quic), 2));
        assert_eq!((second.duration, &second.reason, second.retry_in), (Some(1.0), &None, None));
    }

    #[test]
    fn a_move_has_both_paths_and_why_one_was_through_a_relay() {
        let mut recent = Recent::default();
        let relayed = Path::Relayed { relay: peer(9), reason: RelayReason::PunchFailed { attempts: 2 } };
        let direct = Path::Direct { transport: Transport::Tcp };
        let moved = |from: &Path, to: &Path| SessionEvent::Moved {
            peer: peer(1),
            kind: kaspath_session::MoveKind::Failover,
            from: from.clone(),
            to: to.clone(),
            stall: at(2),
            replayed: 0,
        };
        recent.session(&moved(&relayed, &direct), at(5));
        recent.session(&moved(&direct, &Path::Direct { transport: Transport::Quic }), at(6));
        let [second, first] = &recent.moves(at(7))[..] else { panic!("two") };
        assert_eq!((&first.from, &first.to, first.stall, first.age), (&relayed, &direct, 2.0, 2.0));
        assert!(first.reason.as_ref().unwrap().starts_with("2 punches failed"));
        assert_eq!((second.number, &second.reason), (2, &None));
    }

    #[test]
    fn only_the_latest_are_kept_and_numbers_go_on() {
        let mut recent = Recent::default();
        for n in 0..1000_u16 {
            let [high, low] = n.to_be_bytes();
            let peer = PeerIdentity::from_bytes(&[0, 2, high, low]).unwrap();
            recent.network(&NetworkEvent::PunchStarted { peer: peer.clone(), attempt: 1 }, at(n.into()));
            let success =
                NetworkEvent::PunchSucceeded { peer: self::peer(0), transport: Transport::Tcp, elapsed: at(1), attempts: 1 };
            recent.network(&success, at(n.into()));
        }
        let punches = recent.punches(at(1000));
        assert_eq!(
            (punches.len(), punches[0].number, punches[MAX_RECENT - 1].number),
            (MAX_RECENT, 1000, 1000 - MAX_RECENT as u64 + 1)
        );
        assert!(recent.begun.len() <= MAX_PUNCHES);
    }
}
