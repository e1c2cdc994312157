//! Wires with delay, jitter and loss, in user space: netem is a kernel module
//! that not every kernel has, and TAP is one that nearly every one has.

use std::{
    fs::File,
    io::{Read, Write},
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use rand::Rng;

/// Longest Ethernet frame here, without offloads.
const MAX_FRAME: usize = 2048;
/// Frames under way each way; a wire that is fed faster loses the rest, as a real one would.
const MAX_IN_FLIGHT: usize = 20_000;

/// What a wire does to frames.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct WireSpec {
    /// One-way delay.
    pub(crate) delay: Duration,
    /// Random extra, up to this; frames keep their order.
    pub(crate) jitter: Duration,
    /// Share of frames lost, 0 to 1.
    pub(crate) loss: f64,
}

impl WireSpec {
    /// Whether it is a plain wire, for which the kernel's own will do.
    pub(crate) fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// Joins two TAP interfaces. The threads end with the process.
pub(super) fn connect(left: File, right: File, spec: WireSpec) -> Result<()> {
    one_way(left.try_clone()?, right.try_clone()?, spec);
    one_way(right, left, spec);
    Ok(())
}

fn one_way(from: File, to: File, spec: WireSpec) {
    let (sender, receiver) = sync_channel(MAX_IN_FLIGHT);
    thread::spawn(move || read_frames(from, &sender, spec));
    thread::spawn(move || write_frames(to, &receiver));
}

fn read_frames(mut from: File, under_way: &SyncSender<(Instant, Vec<u8>)>, spec: WireSpec) {
    let mut random = rand::thread_rng();
    let mut last = Instant::now();
    let mut frame = vec![0; MAX_FRAME];
    while let Ok(length) = from.read(&mut frame) {
        if spec.loss > 0.0 && random.gen_bool(spec.loss.clamp(0.0, 1.0)) {
            continue;
        }
        let due = Instant::now() + spec.delay + spec.jitter.mul_f64(random.gen_range(0.0..1.0));
        last = last.max(due);
        if let Err(TrySendError::Disconnected(_)) = under_way.try_send((last, frame[..length].to_vec())) {
            return;
        }
    }
}

fn write_frames(mut to: File, under_way: &Receiver<(Instant, Vec<u8>)>) {
    while let Ok((due, frame)) = under_way.recv() {
        let wait = due.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            thread::sleep(wait);
        }
        // An interface that is down refuses frames; the wire does not care.
        let _ = to.write(&frame);
    }
}
