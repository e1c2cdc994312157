//! The buckets of histograms: how exact is useful, where.

use prometheus_client::metrics::histogram::Histogram;

/// Times until something is there, of which a person waits: 25 ms to two minutes.
pub(crate) fn waits() -> Histogram {
    Histogram::new([0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 45.0, 120.0])
}

/// Times in round trips.
pub(crate) fn round_trips() -> Histogram {
    Histogram::new([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 25.0, 50.0, 100.0])
}

/// Times without a path: a session ends after 90 s.
pub(crate) fn stalls() -> Histogram {
    Histogram::new([0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 90.0])
}

/// How long circuits are open: a second to a day.
pub(crate) fn lifetimes() -> Histogram {
    Histogram::new([1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0])
}

/// Round trips of pings.
pub(crate) fn pings() -> Histogram {
    Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0, 2.5, 5.0, 10.0])
}
