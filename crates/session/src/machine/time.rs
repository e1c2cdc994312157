//! What is due, and when.

use kaspath_domain::Moment;

use super::{
    ANSWER, HEARTBEAT, Machine, PARKED, REST, SessionEnd, UNACKNOWLEDGED,
    liveness::FIRST_PATIENCE,
    path::{PathState, Stage},
};
use crate::wire::Frame;

impl Machine {
    /// When [`Machine::tick`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        if self.end.is_some() {
            return None;
        }
        let mut earliest = [self.linger, self.rest_at()].into_iter().flatten().min();
        let mut consider = |at: Option<Moment>| earliest = [earliest, at].into_iter().flatten().min();
        consider(self.gives_up_at());
        for path in &self.paths {
            consider((path.stage != Stage::Attached).then(|| path.since + ANSWER));
            consider((path.stage == Stage::Attaching && !path.suspect).then(|| path.since + FIRST_PATIENCE));
        }
        if let Some(path) = self.sending() {
            // What is due while the stream takes nothing is due when it does again.
            consider(self.ack_at.filter(|_| path.pending().is_empty()));
            if !path.suspect {
                consider(self.liveness.late_at());
            }
            if path.ping.is_none() && path.stage == Stage::Attached {
                consider(Some(self.heard + HEARTBEAT));
            }
        }
        earliest
    }

    /// When the session ends for want of a path, or of a peer that acknowledges anything.
    fn gives_up_at(&self) -> Option<Moment> {
        let parked = self.stalled_since.map(|since| since + PARKED);
        let stuck = (self.highest_sent > self.out.acked()).then(|| self.progress + UNACKNOWLEDGED);
        parked.into_iter().chain(stuck).min()
    }

    /// When memory is released that a busy session keeps for its next bytes.
    pub(super) fn rest_at(&self) -> Option<Moment> {
        let is_restless = self.paths.iter().any(PathState::is_restless);
        (is_restless || self.out.is_restless() || self.incoming.is_restless()).then(|| self.active + REST)
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Moment) {
        if self.end.is_some() {
            return;
        }
        if self.rest_at().is_some_and(|at| at <= now) {
            self.out.rest();
            self.incoming.rest();
            self.paths.iter_mut().for_each(PathState::rest);
        }
        if self.linger.is_some_and(|until| until <= now) {
            return self.finish(SessionEnd::Dropped);
        }
        if self.gives_up_at().is_some_and(|at| at <= now) {
            return self.finish(SessionEnd::NoPath);
        }
        let overdue = |path: &&PathState| path.stage != Stage::Attached && path.since + ANSWER <= now;
        while let Some(id) = self.paths.iter().find(overdue).map(|path| path.id) {
            self.lost(id, now);
        }
        // Each is judged by itself: a newer one may be in use already.
        for path in self.paths.iter_mut().filter(|path| path.stage == Stage::Attaching) {
            path.suspect |= path.since + FIRST_PATIENCE <= now;
        }
        let late = self.liveness.late_at().is_some_and(|late| late <= now);
        let silent = self.heard + HEARTBEAT <= now;
        let number = self.next_ping;
        let Some(path) = self.sending_mut() else { return };
        path.suspect |= late;
        let is_suspect = path.suspect;
        // A suspect path is asked too: what was due on it may be acknowledged on another.
        if (silent || path.suspect) && path.ping.is_none() && path.stage == Stage::Attached {
            path.ping = Some((number, now));
            path.push(Frame::Ping(number));
            self.next_ping = number.wrapping_add(1);
            self.liveness.asked(now);
        }
        if is_suspect {
            self.stall(now);
        }
    }

    pub(super) fn sending(&self) -> Option<&PathState> {
        self.paths.iter().find(|path| Some(path.id) == self.current)
    }

    pub(super) fn sending_mut(&mut self) -> Option<&mut PathState> {
        self.paths.iter_mut().find(|path| Some(path.id) == self.current)
    }
}
