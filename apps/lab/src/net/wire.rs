//! Wires with delay, jitter, loss and a rate, in user space: netem is a kernel module
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
/// The queue before a wire with a rate, where its delay is short.
const LEAST_QUEUE: Duration = Duration::from_millis(50);

/// What a wire does to frames.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct WireSpec {
    /// One-way delay.
    pub(crate) delay: Duration,
    /// Random extra, up to this; frames keep their order.
    pub(crate) jitter: Duration,
    /// Share of frames lost, 0 to 1.
    pub(crate) loss: f64,
    /// Bits a second each way; `None` is as fast as the machine is.
    pub(crate) rate: Option<u64>,
}

impl WireSpec {
    /// Whether it is a plain wire, for which the kernel's own will do.
    pub(crate) fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    fn bottleneck(&self) -> Option<Bottleneck> {
        // What is under way for a round trip over both wires, as routers are often built.
        let queue = LEAST_QUEUE.max(self.delay * 4);
        self.rate.map(|rate| Bottleneck { rate: rate as f64, queue, free: None })
    }
}

/// Where frames leave one after another at a rate, with a queue before it that drops what
/// it has no room for (drop-tail).
#[derive(Debug)]
struct Bottleneck {
    rate: f64,
    /// How long a frame may wait.
    queue: Duration,
    /// When the last frame will have left.
    free: Option<Instant>,
}

impl Bottleneck {
    /// When a frame that comes now has left, or `None` if it is dropped.
    fn pass(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let begin = self.free.map_or(now, |free| free.max(now));
        if begin - now > self.queue {
            return None;
        }
        let left = begin + Duration::from_secs_f64((bytes * 8) as f64 / self.rate);
        self.free = Some(left);
        Some(left)
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
    let mut bottleneck = spec.bottleneck();
    let mut frame = vec![0; MAX_FRAME];
    while let Ok(length) = from.read(&mut frame) {
        if spec.loss > 0.0 && random.gen_bool(spec.loss.clamp(0.0, 1.0)) {
            continue;
        }
        let now = Instant::now();
        let sent = match &mut bottleneck {
            None => now,
            Some(bottleneck) => match bottleneck.pass(now, length) {
                Some(sent) => sent,
                None => continue,
            },
        };
        let due = sent + spec.delay + spec.jitter.mul_f64(random.gen_range(0.0..1.0));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_leave_at_the_rate_and_those_that_would_wait_too_long_are_dropped() {
        let spec = WireSpec { delay: Duration::from_millis(5), rate: Some(8_000_000), ..WireSpec::default() };
        assert!(!spec.is_plain());
        let mut bottleneck = spec.bottleneck().expect("a rate was given");
        let start = Instant::now();
        let ms = |millis| start + Duration::from_millis(millis);
        // A thousand bytes take a millisecond.
        let sent: Vec<Instant> = (0..100).map_while(|_| bottleneck.pass(start, 1000)).collect();
        assert_eq!(sent, (1..=51).map(ms).collect::<Vec<_>>(), "one on the wire and 50 ms of them in the queue");
        // A frame has left, and there is room for one.
        assert_eq!(bottleneck.pass(ms(1), 1000), Some(ms(52)));
        assert_eq!(bottleneck.pass(ms(1), 1000), None);
        // An idle wire saves nothing up.
        assert_eq!(bottleneck.pass(ms(500), 2000), Some(ms(502)));
        assert_eq!(bottleneck.pass(ms(500), 1000), Some(ms(503)));
    }

    #[test]
    fn a_long_wire_has_a_round_trip_of_queue_and_one_without_a_rate_none() {
        let long = WireSpec { delay: Duration::from_millis(50), rate: Some(1), ..WireSpec::default() };
        assert_eq!(long.bottleneck().map(|bottleneck| bottleneck.queue), Some(Duration::from_millis(200)));
        assert!(WireSpec::default().bottleneck().is_none() && WireSpec::default().is_plain());
    }
}
