//! What was measured of a fault, and whether it is good enough. No clock, no I/O.

use std::{net::SocketAddr, time::Duration};

use tokio::time::Instant;

/// How far two readings of the time since which a connection stands may differ.
const SAME_TIME: Duration = Duration::from_secs(1);
/// Time for the session to be direct once the network allows it.
pub(super) const DIRECT_AGAIN: Duration = Duration::from_secs(30);

/// kaspad's connection with the other one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Connection {
    /// The other kaspad's id, of its present start.
    pub(super) id: String,
    pub(super) address: SocketAddr,
    /// When it began. Id and address may be the same of the next one.
    pub(super) since: Instant,
}

impl Connection {
    fn is(&self, other: &Self) -> bool {
        let (earlier, later) = (self.since.min(other.since), self.since.max(other.since));
        self.id == other.id && self.address == other.address && later - earlier < SAME_TIME
    }
}

/// The longest time without an arrival from `from` until `until`. The arrivals are in order.
pub(super) fn longest_stall(arrivals: &[Instant], from: Instant, until: Instant) -> Duration {
    let within = arrivals.iter().copied().filter(|at| (from..=until).contains(at));
    let mut last = from;
    let mut longest = Duration::ZERO;
    for at in within.chain([until]) {
        longest = longest.max(at.saturating_duration_since(last));
        last = last.max(at);
    }
    longest
}

/// Whether at least `count` have arrived since `from`, and the last no longer than `fresh` ago.
pub(super) fn flows(arrivals: &[Instant], from: Instant, count: usize, now: Instant, fresh: Duration) -> bool {
    let is_fresh = arrivals.last().is_some_and(|last| now.saturating_duration_since(*last) <= fresh);
    is_fresh && arrivals.iter().rev().take_while(|at| **at > from).count() >= count
}

/// Whether each side has the one connection that it had before.
pub(super) fn is_kept(before: &[Vec<Connection>; 2], after: &[Vec<Connection>; 2]) -> bool {
    before.iter().zip(after).all(|(before, after)| match (before.as_slice(), after.as_slice()) {
        ([before], [after]) => before.is(after),
        _ => false,
    })
}

/// What came of a fault.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    /// The longest stall at each side.
    pub(super) stalls: [Duration; 2],
    /// Blocks arrive at both sides, by the path that the network allows.
    pub(super) recovered: bool,
    /// Each side's connections before and after.
    pub(super) before: [Vec<Connection>; 2],
    pub(super) after: [Vec<Connection>; 2],
    /// Both kaspads have the same blocks and the same sink; asked for once recovered.
    pub(super) same_blocks: bool,
    /// When the session was direct after the network allowed it; `None` where it does not.
    pub(super) direct: Option<Direct>,
}

/// Whether and when a session became direct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direct {
    After(Duration),
    Never,
}

impl Figures {
    pub(super) fn stall(&self) -> Duration {
        self.stalls[0].max(self.stalls[1])
    }

    /// Whether each side has the one connection that it had.
    pub(super) fn is_kept(&self) -> bool {
        is_kept(&self.before, &self.after)
    }

    /// What is not as it must be.
    pub(super) fn failures(&self, limit: Duration) -> Vec<String> {
        let mut failures = Vec::new();
        if !self.recovered {
            failures.push("not recovered in time".to_owned());
        } else if !self.same_blocks {
            failures.push("blocks missing".to_owned());
        }
        if !self.is_kept() {
            failures.push("connection lost".to_owned());
        }
        if self.stall() > limit {
            failures.push(format!("stall over {} s", limit.as_secs()));
        }
        match self.direct {
            Some(Direct::Never) => failures.push("not direct".to_owned()),
            Some(Direct::After(time)) if time > DIRECT_AGAIN => {
                failures.push(format!("direct after more than {} s", DIRECT_AGAIN.as_secs()));
            }
            _ => {}
        }
        failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn connection(since: Instant) -> Connection {
        Connection { id: "a".into(), address: "127.1.2.3:16511".parse().unwrap(), since }
    }

    fn good() -> Figures {
        let there = [vec![connection(Instant::now())], vec![connection(Instant::now())]];
        let direct = Some(Direct::After(ms(30_000)));
        let stalls = [ms(900), ms(1000)];
        Figures { stalls, recovered: true, before: there.clone(), after: there, same_blocks: true, direct }
    }

    #[test]
    fn a_stall_is_the_longest_gap_within_the_window_its_ends_included() {
        let from = Instant::now();
        let at = |millis: &[u64]| millis.iter().map(|millis| from + ms(*millis)).collect::<Vec<_>>();
        assert_eq!(longest_stall(&[], from, from + ms(700)), ms(700));
        assert_eq!(longest_stall(&at(&[100, 400, 500]), from, from + ms(600)), ms(300));
        assert_eq!(longest_stall(&at(&[250, 300]), from, from + ms(400)), ms(250));
        assert_eq!(longest_stall(&at(&[100, 200]), from, from + ms(900)), ms(700));
        // What is outside the window does not count.
        assert_eq!(longest_stall(&at(&[100, 1100, 1200]), from + ms(1000), from + ms(1300)), ms(100));
        assert_eq!(longest_stall(&at(&[100, 5000]), from, from + ms(300)), ms(200));
    }

    #[test]
    fn blocks_flow_when_enough_came_and_the_last_is_fresh() {
        let from = Instant::now();
        let arrivals = [from, from + ms(100), from + ms(200)];
        assert!(flows(&arrivals, from, 2, from + ms(600), ms(400)));
        assert!(!flows(&arrivals, from, 3, from + ms(600), ms(400)), "one that came at the beginning does not count");
        assert!(!flows(&arrivals, from, 2, from + ms(601), ms(400)));
        assert!(!flows(&[], from, 0, from, ms(400)));
    }

    #[test]
    fn figures_at_their_limits_pass() {
        assert_eq!(good().failures(ms(1000)), Vec::<String>::new());
        assert_eq!(Figures { direct: None, ..good() }.failures(ms(1000)), Vec::<String>::new());
    }

    #[test]
    fn each_figure_beyond_its_limit_is_a_failure_of_its_own() {
        let failures = |figures: Figures| figures.failures(ms(1000));
        assert_eq!(failures(Figures { stalls: [ms(1001), ms(0)], ..good() }), ["stall over 1 s"]);
        assert_eq!(failures(Figures { recovered: false, same_blocks: false, ..good() }), ["not recovered in time"]);
        assert_eq!(failures(Figures { same_blocks: false, ..good() }), ["blocks missing"]);
        assert_eq!(failures(Figures { direct: Some(Direct::Never), ..good() }), ["not direct"]);
        assert_eq!(failures(Figures { direct: Some(Direct::After(ms(30_001))), ..good() }), ["direct after more than 30 s"]);
    }

    #[test]
    fn a_connection_is_kept_only_if_it_is_the_same_one_on_both_sides() {
        let lost = |change: fn(&mut Figures)| {
            let mut figures = good();
            change(&mut figures);
            figures.failures(ms(1000)) == ["connection lost"]
        };
        assert!(lost(|figures| figures.after[1].clear()));
        assert!(lost(|figures| figures.after[0][0].id.push('b')));
        assert!(lost(|figures| figures.after[0][0].address.set_port(1)));
        // The next connection between the same kaspads may have the same id and address.
        assert!(lost(|figures| figures.after[1][0].since += ms(1000)));
        assert!(lost(|figures| figures.after[0].extend(figures.before[0].clone())), "a second one beside it");
        assert!(!lost(|figures| figures.after[1][0].since += ms(900)));
    }
}
