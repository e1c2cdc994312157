//! What each path writes.

use kaspath_domain::Moment;

use super::{FRAME_DATA, Machine, PathId, Transmit, path::Stage};
use crate::wire::Frame;

impl Machine {
    /// What the path is to write next. To be asked again until it is idle.
    pub(crate) fn transmit(&mut self, id: PathId, now: Moment) -> Transmit<'_> {
        let Some(index) = self.paths.iter().position(|path| path.id == id) else { return Transmit::Close };
        if self.paths[index].pending().is_empty() && self.end.is_none() {
            self.next_frame(index, now);
        }
        let path = &mut self.paths[index];
        if path.pending().is_empty() {
            return if path.closing { Transmit::Close } else { Transmit::Idle };
        }
        Transmit::Bytes(self.paths[index].pending())
    }

    pub(super) fn next_frame(&mut self, index: usize, now: Moment) {
        let is_current = self.current == Some(self.paths[index].id);
        let path = &mut self.paths[index];
        if path.stage == Stage::Leaving && !std::mem::replace(&mut path.closing, true) {
            path.push(Frame::Moved);
        }
        if !is_current || path.closing {
            return;
        }
        if self.ack_at.is_some_and(|at| at <= now) || self.incoming.is_limit_due() {
            let (received, limit) = self.tell();
            self.paths[index].push(Frame::Ack { received, limit });
            self.close_if_done();
        }
        let path = &mut self.paths[index];
        if path.suspect || path.closing {
            return;
        }
        // What was acknowledged on another path need not be sent on this one.
        path.cursor = path.cursor.max(self.out.acked().min(self.out.written()));
        let length = self.out.sendable(path.cursor).min(FRAME_DATA);
        if length > 0 {
            path.push(Frame::Data { offset: path.cursor, length: length as u32 });
            let end = path.cursor + length as u64;
            let replayed = self.highest_sent.min(end).saturating_sub(path.cursor);
            path.replayed += replayed;
            self.stats.replayed += replayed;
            if self.highest_sent <= self.out.acked() {
                self.progress = now;
            }
            self.highest_sent = self.highest_sent.max(end);
            while path.cursor < end {
                let bytes = self.out.bytes(path.cursor, (end - path.cursor) as usize);
                path.push_data(bytes);
                path.cursor += bytes.len() as u64;
            }
            self.liveness.sent(end, now);
            self.active = now;
        } else if self.out.is_ended() && !path.end_sent && path.cursor == self.out.written() {
            path.push(Frame::End { offset: path.cursor });
            path.end_sent = true;
            self.liveness.sent(self.out.target(), now);
        }
    }

    /// The path has written that many of the bytes that it was given.
    pub(crate) fn wrote(&mut self, id: PathId, count: usize) {
        if let Some(path) = self.paths.iter_mut().find(|path| path.id == id) {
            path.wrote(count);
        }
    }
}
