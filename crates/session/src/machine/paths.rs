//! Which path carries the session: attached, moved to, left, lost.

use kaspath_domain::Moment;

use super::{
    MAX_PATHS, Machine, PathId, SessionEnd,
    path::{PathState, Stage},
};
use crate::wire::{Frame, Hello, Refusal};

impl Machine {
    /// Begins to carry the session, unless it has ended, on a stream that this side opened.
    pub(crate) fn attach(&mut self, now: Moment) -> Option<PathId> {
        if self.end.is_some() {
            return None;
        }
        // The opener's epochs are even and the other side's odd: two never are the same.
        let least = self.epoch.max(self.proposed).checked_add(1)?;
        let epoch = least.checked_add(u32::from((least % 2 == 0) != self.is_opener))?;
        self.make_room(now);
        self.proposed = epoch;
        let (received, limit) = self.tell();
        let hello = Frame::Hello(Hello {
            session: self.id,
            boot: self.boot,
            epoch,
            received,
            limit,
            is_opener: self.is_opener,
            begins: self.is_opener && !self.is_confirmed(),
        });
        let id = self.add(epoch, Stage::Attaching, hello, now);
        // Nothing can be lost by sending at once: the peer drops what it has.
        if self.stalled_since.is_some() {
            self.send_on(id, now);
        }
        Some(id)
    }

    /// The peer's hello has come on a stream that it opened.
    pub(crate) fn attached(&mut self, hello: &Hello, now: Moment) -> Result<PathId, Refusal> {
        if self.end.is_some() || hello.is_opener == self.is_opener {
            return Err(Refusal::Unknown);
        }
        if self.has_restarted(hello.boot) {
            self.finish(SessionEnd::Restarted);
        }
        if self.is_of_another_start(hello.boot) {
            return Err(Refusal::Unknown);
        }
        if hello.epoch <= self.epoch {
            return Err(Refusal::Superseded);
        }
        self.make_room(now);
        match self.out.acknowledge(hello.received, hello.limit) {
            Ok(true) => self.progress = now,
            Ok(false) => {}
            Err(violation) => {
                self.finish(violation.into());
                return Err(Refusal::Unknown);
            }
        }
        self.peer_boot = Some(hello.boot);
        let (received, limit) = self.tell();
        let accept = Frame::Accept { boot: self.boot, epoch: hello.epoch, received, limit };
        let id = self.add(hello.epoch, Stage::Attached, accept, now);
        (self.epoch, self.heard) = (hello.epoch, now);
        self.move_to(id, now);
        Ok(id)
    }

    /// Drops the path that waits longest, for its answer or its end, if there are too many:
    /// a newer one is more likely to work.
    pub(super) fn make_room(&mut self, now: Moment) {
        if self.paths.len() >= MAX_PATHS {
            let waiting = self.paths.iter().filter(|path| path.stage != Stage::Attached);
            let longest = waiting.min_by_key(|path| path.since).map(|path| path.id);
            longest.into_iter().for_each(|id| self.lost(id, now));
        }
    }

    /// What the peer is told of the bytes that came; that counts as an acknowledgement.
    pub(super) fn tell(&mut self) -> (u64, u64) {
        let received = self.incoming.received();
        (self.ack_told, self.ack_at) = (received, None);
        (received, self.incoming.limit())
    }

    pub(super) fn add(&mut self, epoch: u32, stage: Stage, first: Frame, now: Moment) -> PathId {
        let id = PathId(self.next_path);
        self.next_path += 1;
        let mut path = PathState::new(id, epoch, stage, self.out.acked(), now);
        path.push(first);
        self.paths.push(path);
        id
    }

    /// The session is on that path from now on; the others are left.
    pub(super) fn move_to(&mut self, id: PathId, now: Moment) {
        self.stats.moves += u64::from(self.has_begun);
        self.send_on(id, now);
        self.paths.retain_mut(|path| {
            if path.id == id {
                path.suspect = false;
            } else if path.stage == Stage::Attached {
                path.enter(Stage::Leaving, now);
                return !path.suspect;
            }
            true
        });
        self.usable(now);
    }

    /// The path in use works.
    pub(super) fn usable(&mut self, now: Moment) {
        if let Some(since) = self.stalled_since.take()
            && std::mem::replace(&mut self.has_begun, true)
        {
            self.stats.longest_stall = self.stats.longest_stall.max(now.since(since));
        }
    }

    pub(super) fn send_on(&mut self, id: PathId, now: Moment) {
        if self.current == Some(id) {
            return;
        }
        self.current = Some(id);
        self.liveness.restart();
        if self.sending().is_some_and(|path| path.stage == Stage::Attaching) {
            self.liveness.asked(now);
        }
    }

    /// A stream has ended or failed.
    pub(crate) fn lost(&mut self, id: PathId, now: Moment) {
        self.paths.retain(|path| path.id != id);
        if self.current == Some(id) {
            self.stall(now);
            self.leave(now);
        }
    }

    /// The path in use is of no more use.
    pub(super) fn leave(&mut self, now: Moment) {
        self.current = None;
        self.liveness.restart();
        // One that the peer has not accepted yet is better than none.
        match self.paths.iter().rev().find(|path| path.stage == Stage::Attaching).map(|path| path.id) {
            Some(newest) => self.send_on(newest, now),
            None => self.stall(now),
        }
    }

    pub(super) fn stall(&mut self, now: Moment) {
        self.stalled_since.get_or_insert(now);
    }
}
