//! What carries the session, by the bytes that arrive.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::net::Received;

/// Bytes are compared over so long.
const WINDOW: Duration = Duration::from_secs(1);
/// Fewer in a window are keepalives: ten blocks a second are many times as many.
const LEAST: u64 = 2_000;

/// What carries the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    Tcp,
    Udp,
    Relay(usize),
}

/// The counters' last readings.
#[derive(Debug, Default)]
pub(super) struct Readings(VecDeque<(Instant, Received)>);

impl Readings {
    /// Adds a reading; what carried most in the last window, once that is full.
    pub(super) fn add(&mut self, now: Instant, received: Received) -> Option<Carrier> {
        self.0.push_back((now, received));
        // The first one that is old enough begins the window.
        while self.0.get(1).is_some_and(|(at, _)| now - *at >= WINDOW) {
            self.0.pop_front();
        }
        let (begin, first) = *self.0.front()?;
        let [one, other] = received.relays;
        let moved = [
            (received.tcp - first.tcp, Carrier::Tcp),
            (received.udp - first.udp, Carrier::Udp),
            (one - first.relays[0], Carrier::Relay(0)),
            (other - first.relays[1], Carrier::Relay(1)),
        ];
        let (bytes, carrier) = moved.into_iter().max_by_key(|(bytes, _)| *bytes)?;
        (now - begin >= WINDOW && bytes >= LEAST).then_some(carrier)
    }

    /// Forgets what was before, such as a fault.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(relays: [u64; 2], tcp: u64, udp: u64) -> Received {
        Received { relays, tcp, udp }
    }

    #[test]
    fn the_carrier_is_what_moved_most_in_the_last_second() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let mut readings = Readings::default();
        assert_eq!(readings.add(at(0), received([9_000, 0], 0, 0)), None);
        assert_eq!(readings.add(at(500), received([99_000, 0], 5_000, 0)), None, "half a window");
        assert_eq!(readings.add(at(1000), received([99_000, 0], 10_000, 0)), Some(Carrier::Relay(0)));
        assert_eq!(readings.add(at(1500), received([99_000, 0], 15_000, 3_000)), Some(Carrier::Tcp));
        assert_eq!(readings.add(at(2500), received([99_000, 100], 15_000, 9_000)), Some(Carrier::Udp));
        readings.clear();
        assert_eq!(readings.add(at(3000), received([99_000, 200], 15_000, 9_000)), None);
        assert_eq!(readings.add(at(4000), received([99_000, 2_199], 15_000, 9_000)), None, "keepalives alone");
        assert_eq!(readings.add(at(5000), received([99_000, 9_000], 15_000, 9_000)), Some(Carrier::Relay(1)));
    }
}
