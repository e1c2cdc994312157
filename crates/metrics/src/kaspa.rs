//! What a node's Kaspa side reports.

use kaspath_domain::Observer;
use kaspath_kaspa_adaptor::{CloseReason, HandshakeOutcome, HandshakeStep, KaspaEvent};
use prometheus_client::{
    metrics::{counter::Counter, histogram::Histogram},
    registry::Registry,
};

use crate::{
    buckets,
    families::{Family, label, single},
};

label!(Outcome = "outcome" {
    Ready = "ready",
    Timeout = "timeout",
    Duplicate = "duplicate",
    Loopback = "loopback",
    WrongNetwork = "wrong-network",
    OldVersion = "old-version",
    BadVersion = "bad-version",
    NotAdmitted = "not-admitted",
    Rejected = "rejected",
    Ended = "ended",
});
label!(End = "reason" {
    PeerClosed = "peer-closed",
    Rejected = "rejected",
    Protocol = "protocol",
    MessageTooLarge = "message-too-large",
    NoRoom = "no-room",
    SlowReader = "slow-reader",
    Unanswered = "unanswered",
    Transport = "transport",
    Superseded = "superseded",
    Evicted = "evicted",
    Local = "local",
});

/// The metrics of the Kaspa side.
pub(crate) struct Kaspa {
    handshakes: Family<(Outcome,), Counter>,
    handshake_seconds: Histogram,
    ended: Family<(End,), Counter>,
    pings: Histogram,
}

impl Kaspa {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let own = registry.sub_registry_with_prefix("kaspath_kaspa");
        Self {
            handshakes: Family::new(own, "handshakes", "Handshakes by their end"),
            handshake_seconds: single(
                own,
                "handshake_seconds",
                "From the begin of a session until the peer is ready",
                buckets::waits(),
            ),
            ended: Family::new(own, "sessions_ended", "Sessions that were ready, by why they ended"),
            pings: single(own, "ping_seconds", "Round trips of Kaspa's pings", buckets::pings()),
        }
    }
}

impl Observer<KaspaEvent> for Kaspa {
    fn observe(&self, event: &KaspaEvent) {
        match event {
            KaspaEvent::Handshake { step: HandshakeStep::Ready, elapsed, .. } => {
                self.handshake_seconds.observe(elapsed.as_secs_f64());
            }
            KaspaEvent::HandshakeFailed { outcome, .. } => {
                self.handshakes.at((Outcome::failed(*outcome),)).inc();
            }
            KaspaEvent::PeerReady { .. } => {
                self.handshakes.at((Outcome::Ready,)).inc();
            }
            KaspaEvent::PeerLeft { reason, .. } => {
                self.ended.at((End::of(reason),)).inc();
            }
            KaspaEvent::PingAnswered { rtt, .. } => self.pings.observe(rtt.as_secs_f64()),
            KaspaEvent::Handshake { .. }
            | KaspaEvent::PathChanged { .. }
            | KaspaEvent::PongSent { .. }
            | KaspaEvent::TransactionReceived { .. }
            | KaspaEvent::BlockReceived { .. }
            | KaspaEvent::AddressesReceived { .. } => {}
        }
    }
}

impl Outcome {
    fn failed(outcome: HandshakeOutcome) -> Self {
        match outcome {
            HandshakeOutcome::Timeout => Self::Timeout,
            HandshakeOutcome::Duplicate => Self::Duplicate,
            HandshakeOutcome::Loopback => Self::Loopback,
            HandshakeOutcome::WrongNetwork => Self::WrongNetwork,
            HandshakeOutcome::OldVersion => Self::OldVersion,
            HandshakeOutcome::BadVersion => Self::BadVersion,
            HandshakeOutcome::NotAdmitted => Self::NotAdmitted,
            HandshakeOutcome::Rejected => Self::Rejected,
            HandshakeOutcome::Ended => Self::Ended,
        }
    }
}

impl End {
    fn of(reason: &CloseReason) -> Self {
        match reason {
            CloseReason::PeerClosed => Self::PeerClosed,
            CloseReason::Rejected(_) => Self::Rejected,
            CloseReason::Protocol(_) => Self::Protocol,
            CloseReason::MessageTooLarge { .. } => Self::MessageTooLarge,
            CloseReason::NoRoom => Self::NoRoom,
            CloseReason::SlowReader(_) => Self::SlowReader,
            CloseReason::Unanswered { .. } => Self::Unanswered,
            CloseReason::Transport(_) => Self::Transport,
            CloseReason::Superseded => Self::Superseded,
            CloseReason::Evicted => Self::Evicted,
            CloseReason::Local => Self::Local,
        }
    }
}
