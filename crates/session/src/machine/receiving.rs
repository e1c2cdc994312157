//! What comes from the peer.

use kaspath_domain::Moment;

use super::{ACK_BYTES, ACK_DELAY, Machine, PathId, SessionEnd, Violation, path::Stage};
use crate::wire::{Decoder, Frame, Piece, Refusal};

/// Bytes of frames that wait on a path: a peer that asks without reading the answers gets no
/// more of them.
const MAX_PENDING_FRAMES: usize = 64 * 1024;

impl Machine {
    /// Bytes have come on a path. A peer that breaks the protocol ends the session.
    pub(crate) fn received(&mut self, id: PathId, mut bytes: &[u8], now: Moment) {
        let Some(path) = self.paths.iter_mut().find(|path| path.id == id) else { return };
        // Taken out for as long as pieces borrow from it.
        let mut decoder = std::mem::take(&mut path.decoder);
        while self.end.is_none() {
            let step = match decoder.next(&mut bytes) {
                Ok(None) => break,
                Ok(Some(Piece::Frame(frame))) => self.frame(id, frame, now),
                Ok(Some(Piece::Data { offset, bytes })) => self.data(id, offset, bytes, now),
                Err(error) => {
                    tracing::debug!(%error, "not a frame of a session");
                    Err(Violation("it sends what is not a frame"))
                }
            };
            if let Err(violation) = step {
                self.finish(SessionEnd::Violation(violation));
            }
            if !self.has_path(id) {
                return;
            }
        }
        self.restore(id, decoder);
    }

    fn restore(&mut self, id: PathId, decoder: Decoder) {
        if let Some(path) = self.paths.iter_mut().find(|path| path.id == id) {
            path.decoder = decoder;
        }
    }

    /// The peer has closed its side of a path, or the path has broken.
    pub(crate) fn ended(&mut self, id: PathId, now: Moment) {
        if self.end.is_some() {
            self.paths.retain(|path| path.id != id);
        } else {
            self.lost(id, now);
            self.close_if_done();
        }
    }

    fn stage(&self, id: PathId) -> Option<Stage> {
        self.paths.iter().find(|path| path.id == id).map(|path| path.stage)
    }

    /// An answer has come on a path. Only that clears it of suspicion: what else comes
    /// does not show that what we send arrives.
    fn answered(&mut self, id: PathId, now: Moment) {
        let Some(path) = self.paths.iter_mut().find(|path| path.id == id) else { return };
        if std::mem::take(&mut path.suspect) && self.current == Some(id) {
            self.usable(now);
        }
    }

    fn data(&mut self, id: PathId, offset: u64, bytes: &[u8], now: Moment) -> Result<(), Violation> {
        self.must_be_attached(id)?;
        self.heard = now;
        self.active = now;
        self.incoming.receive(offset, bytes)?;
        // Doubles are acknowledged too: the peer may not know that they came.
        self.owe_ack(now);
        Ok(())
    }

    fn owe_ack(&mut self, now: Moment) {
        let at = if self.incoming.received() - self.ack_told >= ACK_BYTES { now } else { now + ACK_DELAY };
        self.ack_at = Some(self.ack_at.map_or(at, |before| before.min(at)));
    }

    fn must_be_attached(&self, id: PathId) -> Result<(), Violation> {
        match self.stage(id) {
            Some(Stage::Attaching) => Err(Violation("it does not answer the hello first")),
            _ => Ok(()),
        }
    }

    fn frame(&mut self, id: PathId, frame: Frame, now: Moment) -> Result<(), Violation> {
        match frame {
            Frame::Accept { boot, epoch, received, limit } => {
                let proposed = self.paths.iter().find(|path| path.id == id).map(|path| (path.stage, path.epoch));
                if proposed != Some((Stage::Attaching, epoch)) {
                    return Err(Violation("it accepts what was not proposed"));
                }
                if self.is_of_another_start(boot) {
                    self.finish(SessionEnd::Restarted);
                    return Ok(());
                }
                self.peer_boot = Some(boot);
                self.acknowledge(id, received, limit, now)?;
                self.confirmed(id, epoch, now);
                return Ok(());
            }
            Frame::Refuse(refusal) => {
                if self.stage(id) != Some(Stage::Attaching) {
                    return Err(Violation("it refuses what it has accepted"));
                }
                match refusal {
                    Refusal::Unknown => self.finish(SessionEnd::Unknown),
                    Refusal::Limited if !self.is_confirmed() => self.finish(SessionEnd::Limited),
                    Refusal::Limited | Refusal::Superseded => self.lost(id, now),
                }
                return Ok(());
            }
            Frame::Reset => {
                self.finish(SessionEnd::Reset);
                return Ok(());
            }
            _ => self.must_be_attached(id)?,
        }
        self.heard = now;
        match frame {
            Frame::Ack { received, limit } => self.acknowledge(id, received, limit, now)?,
            Frame::Ping(number) => {
                if let Some(path) = self.paths.iter_mut().find(|path| path.id == id && path.pending().len() < MAX_PENDING_FRAMES)
                {
                    path.push(Frame::Pong(number));
                }
            }
            Frame::Pong(number) => self.pong(id, number, now),
            Frame::End { offset } => {
                self.incoming.end(offset)?;
                self.ack_at = Some(now);
            }
            Frame::Moved => {
                // The peer is on another path, of which we may not have heard yet.
                if let Some(path) = self.paths.iter_mut().find(|path| path.id == id) {
                    path.enter(Stage::Leaving, now);
                }
                if self.current == Some(id) {
                    self.leave(now);
                }
            }
            _ => return Err(Violation("it says hello twice")),
        }
        self.close_if_done();
        Ok(())
    }

    fn acknowledge(&mut self, id: PathId, received: u64, limit: u64, now: Moment) -> Result<(), Violation> {
        let progress = self.out.acknowledge(received, limit)?;
        if progress {
            self.progress = now;
        }
        let is_more_due = self.sending().is_some_and(|path| path.sent() > self.out.acked());
        if self.current == Some(id) && progress {
            self.liveness.acknowledged(received, is_more_due, now);
            self.answered(id, now);
        } else if !is_more_due {
            // It came on another path, and says nothing of this one but that nothing is due.
            self.liveness.settled();
        }
        Ok(())
    }

    fn pong(&mut self, id: PathId, number: u32, now: Moment) {
        let Some(path) = self.paths.iter_mut().find(|path| path.id == id) else { return };
        if let Some((_, at)) = path.ping.take_if(|(asked, _)| *asked == number) {
            let sent = path.sent();
            if self.current == Some(id) {
                self.liveness.measured(now.since(at));
                self.liveness.acknowledged(self.out.acked(), sent > self.out.acked(), now);
                self.answered(id, now);
            }
        }
    }

    /// The peer has accepted a path of ours.
    fn confirmed(&mut self, id: PathId, epoch: u32, now: Moment) {
        self.heard = now;
        let is_newest = epoch > self.epoch;
        let Some(path) = self.paths.iter_mut().find(|path| path.id == id) else { return };
        if is_newest {
            path.enter(Stage::Attached, now);
            self.epoch = epoch;
            self.move_to(id, now);
        } else {
            path.enter(Stage::Leaving, now);
            path.suspect = false;
            if self.current == Some(id) {
                self.leave(now);
            }
        }
    }

    pub(super) fn close_if_done(&mut self) {
        if self.out.is_finished() && self.incoming.is_ended() && self.ack_at.is_none() {
            self.finish(SessionEnd::Closed);
        }
    }
}
