//! What comes of looking for peers.

use kaspath_domain::{DiscoveredChange, DiscoveryEvent, NotTold, Observer};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

use crate::families::{Family, fall, label};

label!(Answer = "result" {
    Told = "told",
    Unreachable = "unreachable",
    NotSpoken = "not-spoken",
    Refused = "refused",
    TooOften = "too-often",
    Invalid = "invalid",
});
label!(Record = "record" { New = "new", Known = "known" });
label!(ListedLabel = "result" { Listed = "listed", Refused = "refused" });
label!(Kind = "kind" { Discovered = "discovered", Proven = "proven" });
label!(Change = "change" { Reached = "reached", Failed = "failed", Ended = "ended", Left = "left" });

/// The metrics of discovery.
pub(crate) struct Discovery {
    questions: Family<(Answer,), Counter>,
    told: Family<(Record,), Counter>,
    listings: Family<(ListedLabel,), Counter>,
    peers: Family<(Kind, Change), Counter>,
    sessions: Family<(Kind,), Gauge>,
}

impl Discovery {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let own = registry.sub_registry_with_prefix("kaspath_discovery");
        Self {
            questions: Family::new(own, "questions", "Questions to relays for peers and relays"),
            told: Family::new(own, "told", "Records of peers and relays that were told"),
            listings: Family::new(own, "listings", "Requests to relays to list this node"),
            peers: Family::new(own, "peers", "What became of peers that were chosen"),
            sessions: Family::new(own, "outbound_sessions", "Sessions with discovered and proven peers"),
        }
    }
}

impl Observer<DiscoveryEvent> for Discovery {
    fn observe(&self, event: &DiscoveryEvent) {
        match event {
            DiscoveryEvent::PeersTold { count, new, .. } => {
                self.questions.at((Answer::Told,)).inc();
                self.told.at((Record::New,)).inc_by(*new as u64);
                self.told.at((Record::Known,)).inc_by(count.saturating_sub(*new) as u64);
            }
            DiscoveryEvent::PeersNotTold { reason, .. } => {
                let answer = match reason {
                    NotTold::Unreachable => Answer::Unreachable,
                    NotTold::NotSpoken => Answer::NotSpoken,
                    NotTold::Refused => Answer::Refused,
                    NotTold::TooOften => Answer::TooOften,
                    NotTold::Invalid => Answer::Invalid,
                };
                self.questions.at((answer,)).inc();
            }
            DiscoveryEvent::Listed { .. } => {
                self.listings.at((ListedLabel::Listed,)).inc();
            }
            DiscoveryEvent::ListRefused { .. } => {
                self.listings.at((ListedLabel::Refused,)).inc();
            }
            DiscoveryEvent::DiscoveredPeer { change, proven, .. } => {
                let kind = if *proven { Kind::Proven } else { Kind::Discovered };
                let label = match change {
                    DiscoveredChange::Reached => Change::Reached,
                    DiscoveredChange::Failed => Change::Failed,
                    DiscoveredChange::Ended => Change::Ended,
                    DiscoveredChange::Left => Change::Left,
                };
                self.peers.at((kind, label)).inc();
                match change {
                    DiscoveredChange::Reached => {
                        self.sessions.at((kind,)).inc();
                    }
                    DiscoveredChange::Ended | DiscoveredChange::Left => fall(self.sessions.at((kind,))),
                    DiscoveredChange::Failed => {}
                }
            }
        }
    }
}
