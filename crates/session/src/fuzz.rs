//! What a peer sends after its hello, for fuzzing.

use std::time::Duration;

use kaspath_domain::Moment;

use crate::{
    budget::Budget,
    machine::{Machine, Transmit},
    wire::{BootId, Hello, SessionId},
};

/// More than a machine may want to write at once: one frame, and answers to pings.
const MAX_PENDING: usize = 128 * 1024;

/// Gives a session these bytes on one path, in pieces of the first byte's length, and does
/// what the machine wants meanwhile.
pub fn session(bytes: &[u8]) {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let (mut now, budget) = (Moment::default(), Budget::new(1 << 20));
    let (session, boot) = (SessionId([7; 16]), BootId(1));
    let hello = Hello { session, boot, epoch: 2, received: 0, limit: 1 << 20, is_opener: true, begins: true };
    let mut machine = Machine::accept(&hello, BootId(2), &budget, now);
    let path = machine.attached(&hello, now).expect("the first path of a session");
    machine.write(&[first.to_owned(); 5_000]);
    for piece in bytes.chunks(usize::from(*first).max(1)) {
        now = now + Duration::from_millis(u64::from(*first));
        machine.received(path, piece, now);
        machine.tick(now);
        let mut written = 0;
        while let Transmit::Bytes(pending) = machine.transmit(path, now) {
            let count = pending.len();
            assert!(count <= MAX_PENDING, "{count} bytes wait");
            machine.wrote(path, count);
            written += count;
            assert!(written <= 2 * MAX_PENDING, "it never rests");
        }
        let mut read = 0;
        machine.read(usize::from(piece[0]), |bytes| read += bytes.len());
        assert!(machine.readable().0 <= bytes.len());
    }
}
