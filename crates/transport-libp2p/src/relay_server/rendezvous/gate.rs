//! How often anybody may ask, and how much is answered.

use std::{hash::Hash, time::Duration};

use kaspath_domain::{IpPrefix, Moment, Rates, TokenBucket};

use crate::{
    RelayServerConfig,
    discovery::MAX_ANSWER,
    gates::{Gates, Shares},
    relay_server::origin::Origin,
};

/// Of what circuits may take a second, answers may take one part in so many besides; and of
/// that, those to one network.
const PART_OF_CIRCUITS: u64 = 4;
const PART_OF_NETWORK: u64 = 8;
/// Networks whose answers are remembered.
const MAX_REMEMBERED: usize = 1024;
/// Bytes are counted in these.
const UNIT: u64 = 1024;
/// The longest answer.
const LONGEST: u32 = (MAX_ANSWER as u64).div_ceil(UNIT) as u32;

/// What a relay whose bytes are limited may send as answers.
struct Answers {
    bytes_per_second: u64,
    networks: Rates<IpPrefix>,
    all: TokenBucket,
}

impl Answers {
    fn new(bytes_per_second: u64) -> Self {
        let every = |bytes: u64| Duration::from_secs(1).mul_f64(UNIT as f64 / bytes.max(1) as f64);
        let all = bytes_per_second / PART_OF_CIRCUITS;
        Self {
            bytes_per_second,
            networks: Rates::new(LONGEST, every(all / PART_OF_NETWORK), MAX_REMEMBERED),
            all: TokenBucket::new(LONGEST * 4, every(all)),
        }
    }
}

/// Of requests to be listed, each of which costs two signatures, and of questions.
pub(super) struct Gate<P> {
    registering: Gates<P>,
    asking: Gates<P>,
    /// `None`: as many bytes as the questions want.
    answers: Option<Answers>,
}

impl<P: Clone + Eq + Hash> Default for Gate<P> {
    fn default() -> Self {
        let (seconds, millis) = (Duration::from_secs, Duration::from_millis);
        Self {
            registering: Gates::new(&Shares {
                peer: (4, seconds(20)),
                host: (16, seconds(2)),
                network: (32, millis(500)),
                all: (100, millis(10)),
            }),
            asking: Gates::new(&Shares {
                peer: (6, seconds(3)),
                host: (24, seconds(1)),
                network: (48, millis(250)),
                all: (200, millis(5)),
            }),
            answers: None,
        }
    }
}

impl<P: Clone + Eq + Hash> Gate<P> {
    /// The relay has these limits from now on.
    pub(super) fn set(&mut self, config: &RelayServerConfig) {
        let limit = Some(config.bytes_per_second).filter(|limit| *limit > 0);
        if limit != self.answers.as_ref().map(|answers| answers.bytes_per_second) {
            self.answers = limit.map(Answers::new);
        }
    }

    pub(super) fn may_register(&mut self, peer: &P, origin: &Origin, now: Moment) -> bool {
        self.registering.pass(peer, origin.ip, now)
    }

    pub(super) fn may_ask(&mut self, peer: &P, origin: &Origin, now: Moment) -> bool {
        self.asking.pass(peer, origin.ip, now)
    }

    /// Whether an answer of so many bytes may be sent there.
    pub(super) fn may_answer(&mut self, origin: &Origin, bytes: usize, now: Moment) -> bool {
        let Some(Answers { networks, all, .. }) = &mut self.answers else { return true };
        let units = u32::try_from((bytes as u64).div_ceil(UNIT)).unwrap_or(u32::MAX);
        all.has(units, now) && networks.take_many(&origin.prefix, units, now).is_ok() && all.take_many(units, now).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_serves_by_itself_answers_with_a_part_of_its_bytes_and_no_network_takes_all_of_it() {
        let (crowd, lone) = (Origin::of([198, 51, 100, 1].into()), Origin::of([203, 0, 113, 1].into()));
        let mut gate = Gate::<u32>::default();
        gate.set(&RelayServerConfig::of_node());
        let at = |millis| Moment::after_start(Duration::from_millis(millis));
        let mut sent = 0;
        for millis in 0..60_000 {
            sent += if gate.may_answer(&crowd, MAX_ANSWER, at(millis)) { MAX_ANSWER } else { 0 };
            if millis % 10_000 == 9_999 {
                assert!(gate.may_answer(&lone, 20_000, at(millis)));
            }
        }
        assert!((1_000_000..2_000_000).contains(&sent), "{sent} in a minute");
        // Many networks have the quarter.
        let (mut gate, mut sent) = (Gate::<u32>::default(), 0);
        gate.set(&RelayServerConfig::of_node());
        for millis in 0..60_000_u64 {
            let from = Origin::of([20, (millis / 250) as u8, (millis % 250) as u8, 1].into());
            sent += if gate.may_answer(&from, MAX_ANSWER, at(millis)) { MAX_ANSWER } else { 0 };
        }
        assert!((10_000_000..=15_500_000).contains(&sent), "{sent} in a minute");
        // Without a limit there is none.
        gate.set(&RelayServerConfig::default());
        assert!((0..10_000).all(|_| gate.may_answer(&crowd, MAX_ANSWER, at(60_000))));
    }
}
