//! Sessions: what happens to them, and how those that there are travel.

use std::time::Duration;

use kaspath_domain::{Observer, Path};
use kaspath_session::{MoveKind, SessionEnd, SessionEvent};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{
    buckets,
    families::{Family, Label, LabelSet, label, series, single},
    paths::{PathLabel, ReasonLabel, ToLabel},
};

label!(End = "reason" {
    Closed = "closed",
    Dropped = "dropped",
    Reset = "reset",
    Unknown = "unknown",
    Restarted = "restarted",
    NoPath = "no-path",
    Limited = "limited",
    Violation = "violation",
});
label!(Kind = "kind" { Planned = "planned", Failover = "failover" });
label!(StallEnd = "end" { Moved = "moved", Recovered = "recovered" });

/// The metrics of sessions.
pub(crate) struct Sessions {
    seconds: Family<(PathLabel,), Histogram>,
    round_trips: Family<(PathLabel,), Histogram>,
    began: Family<(PathLabel,), Counter>,
    ended: Family<(End,), Counter>,
    moves: Family<(Kind, ToLabel), Counter>,
    stalls: Counter,
    stall_seconds: Family<(StallEnd,), Histogram>,
    replayed: Counter,
    pub(crate) live: Live,
}

impl Sessions {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let own = registry.sub_registry_with_prefix("kaspath");
        Self {
            seconds: Family::histograms(
                own,
                "session_time_to_usable_seconds",
                "From the request for a session until it carries bytes",
                buckets::waits,
            ),
            round_trips: Family::histograms(
                own,
                "session_time_to_usable_rtts",
                "The same in round trips of its path, where one was measured by then",
                buckets::round_trips,
            ),
            began: Family::new(own, "sessions_began", "Sessions that a path has carried for the first time"),
            ended: Family::new(own, "sessions_ended", "Sessions that have ended"),
            moves: Family::new(own, "session_moves", "Moves of sessions to another path"),
            stalls: single(own, "session_stalls", "How often a session had no usable path", Counter::default()),
            stall_seconds: Family::histograms(own, "session_stall_seconds", "How long a session had none", buckets::stalls),
            replayed: single(own, "session_replayed_bytes", "Bytes that were sent again on another path", Counter::default()),
            live: Live::new(own),
        }
    }

    fn stalled(&self, end: StallEnd, stall: Duration) {
        self.stall_seconds.at((end,)).observe(stall.as_secs_f64());
    }
}

impl Observer<SessionEvent> for Sessions {
    fn observe(&self, event: &SessionEvent) {
        match event {
            SessionEvent::Began { path, after, rtt, .. } => {
                let path = (PathLabel::of(path),);
                self.began.at(path).inc();
                self.seconds.at(path).observe(after.as_secs_f64());
                if let Some(rtt) = rtt.filter(|rtt| !rtt.is_zero()) {
                    self.round_trips.at(path).observe(after.as_secs_f64() / rtt.as_secs_f64());
                }
            }
            SessionEvent::Stalled { .. } => {
                self.stalls.inc();
            }
            SessionEvent::Moved { kind, to, stall, replayed, .. } => {
                let kind = match kind {
                    MoveKind::Planned => Kind::Planned,
                    MoveKind::Failover => Kind::Failover,
                };
                self.moves.at((kind, ToLabel(PathLabel::of(to)))).inc();
                self.replayed.inc_by(*replayed);
                if kind == Kind::Failover {
                    self.stalled(StallEnd::Moved, *stall);
                }
            }
            SessionEvent::Recovered { stall, .. } => self.stalled(StallEnd::Recovered, *stall),
            SessionEvent::Ended { end, .. } => {
                self.ended.at((End::of(end),)).inc();
            }
        }
    }
}

impl End {
    fn of(end: &SessionEnd) -> Self {
        match end {
            SessionEnd::Closed => Self::Closed,
            SessionEnd::Dropped => Self::Dropped,
            SessionEnd::Reset => Self::Reset,
            SessionEnd::Unknown => Self::Unknown,
            SessionEnd::Restarted => Self::Restarted,
            SessionEnd::NoPath => Self::NoPath,
            SessionEnd::Limited => Self::Limited,
            SessionEnd::Violation(_) => Self::Violation,
        }
    }
}

/// How the sessions that there are travel: set anew at each scrape.
pub(crate) struct Live(Vec<Gauge>);

/// The paths of sessions, counted.
#[derive(Default)]
pub(crate) struct Counts([i64; SERIES]);

/// Two direct paths, and a series for each reason to be on a relay.
const SERIES: usize = 2 + ReasonLabel::VALUES.len();

impl Live {
    fn new(registry: &mut Registry) -> Self {
        let labels = |path: PathLabel, reason: &'static str| -> LabelSet {
            vec![(PathLabel::KEY, PathLabel::VALUES[path.index()].into()), (ReasonLabel::KEY, reason.into())]
        };
        let direct = [PathLabel::DirectTcp, PathLabel::DirectQuic].map(|path| labels(path, "none"));
        let relayed = ReasonLabel::VALUES.iter().map(|reason| labels(PathLabel::Relay, reason));
        let all = direct.into_iter().chain(relayed).collect();
        Self(series(registry, "sessions", "Kaspa sessions by how they travel, and why", all, Gauge::default))
    }

    pub(crate) fn set(&self, counts: &Counts) {
        for (gauge, count) in self.0.iter().zip(counts.0) {
            gauge.set(count);
        }
    }
}

impl Counts {
    pub(crate) fn add(&mut self, path: &Path) {
        let index = match path {
            Path::Direct { .. } => PathLabel::of(path).index(),
            Path::Relayed { reason, .. } => 2 + ReasonLabel::of(reason).index(),
        };
        self.0[index] += 1;
    }
}
