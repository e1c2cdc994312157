//! Punches: by go-libp2p's names for hole punches, and what those lack.

use std::{
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kaspath_domain::{AttemptOutcome, DialError, Host, PeerAddress, PeerIdentity, PeerLocator, RelayReason, Route, Transport};
use kaspath_transport_libp2p::NetworkEvent;
use prometheus_client::{
    metrics::{counter::Counter, histogram::Histogram},
    registry::Registry,
};

use crate::{
    buckets,
    families::{Family, Label, label, single},
    paths::{ReasonLabel, TransportLabel},
    recent::Recent,
};

/// Punches under way that are remembered. The transport has 128 exchanges and 32 dials at once.
const MAX_UNDER_WAY: usize = 512;

label!(Dialled = "outcome" { Success = "success", Failed = "failed" });
label!(Side = "side" { Initiator = "initiator", Receiver = "receiver" });
label!(Attempts = "num_attempts" { One = "1", Two = "2", Three = "3", Four = "4", Five = "5", More = "> 5" });
label!(IpVersion = "ipv" { Ip4 = "ip4", Ip6 = "ip6" });
label!(
    /// A transport, by go-libp2p's name for it.
    GoTransport = "transport" { Tcp = "tcp", Quic = "quic-v1" }
);
label!(Outcome = "outcome" { Success = "success", Failed = "failed", Unsuitable = "no_suitable_address" });
label!(AddressOutcome = "outcome" {
    Success = "success",
    Cancelled = "cancelled",
    Failed = "failed",
    Unsuitable = "no_suitable_address",
});

/// Ends of a punch beside the failures.
const OTHER_ENDS: [&str; 2] = ["success", "not-needed"];

/// How a punch ended; that it failed by why the path stays on the relay.
#[derive(Clone, Copy)]
enum End {
    Success,
    NotNeeded,
    Failed(ReasonLabel),
}

impl Label for End {
    const KEY: &'static str = "outcome";
    const VALUES: &'static [&'static str] = &{
        let mut values = [""; OTHER_ENDS.len() + ReasonLabel::VALUES.len()];
        let (others, failures) = values.split_at_mut(OTHER_ENDS.len());
        others.copy_from_slice(&OTHER_ENDS);
        failures.copy_from_slice(ReasonLabel::VALUES);
        values
    };

    fn index(self) -> usize {
        match self {
            Self::Success => 0,
            Self::NotNeeded => 1,
            Self::Failed(reason) => OTHER_ENDS.len() + reason.index(),
        }
    }
}

/// What an address is, as far as a punch is concerned.
type Kind = (IpVersion, GoTransport);

/// A punch under way.
struct UnderWay {
    side: Side,
    /// Candidates are exchanged.
    is_dialling: bool,
    ours: Vec<Kind>,
    theirs: Vec<Kind>,
    rtt: Option<Duration>,
    /// The direct connection that came up last.
    direct: Option<Kind>,
}

impl UnderWay {
    fn begun(side: Side) -> Self {
        Self { side, is_dialling: false, ours: Vec::new(), theirs: Vec::new(), rtt: None, direct: None }
    }
}

/// The metrics of punches and direct dials.
pub(crate) struct Punches {
    under_way: Mutex<Recent<PeerIdentity, UnderWay>>,
    dials: Family<(Dialled,), Counter>,
    outcomes: Family<(Side, Attempts, Outcome), Counter>,
    address_outcomes: Family<(Side, Attempts, IpVersion, GoTransport, AddressOutcome), Counter>,
    started: Counter,
    ended: Family<(End,), Counter>,
    seconds: Family<(TransportLabel,), Histogram>,
    round_trips: Family<(TransportLabel,), Histogram>,
}

impl Punches {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let go = registry.sub_registry_with_prefix("libp2p_holepunch");
        let dials = Family::new(go, "direct_dials", "Direct dials to peers, without a punch");
        let outcomes = Family::new(go, "outcomes", "Punches by their end");
        let address_outcomes = Family::new(go, "address_outcomes", "Punches by their end, for each candidate of ours");
        let own = registry.sub_registry_with_prefix("kaspath");
        Self {
            under_way: Mutex::new(Recent::new(MAX_UNDER_WAY)),
            dials,
            outcomes,
            address_outcomes,
            started: single(own, "punches_started", "Punches that this side began", Counter::default()),
            ended: Family::new(own, "punches", "Punches by their end"),
            seconds: Family::histograms(
                own,
                "time_to_direct_seconds",
                "From the relayed connection with a peer until a punch made a direct one",
                buckets::waits,
            ),
            round_trips: Family::histograms(
                own,
                "time_to_direct_rtts",
                "The same in round trips over the relay, on the side that measured one",
                buckets::round_trips,
            ),
        }
    }

    fn under_way(&self) -> MutexGuard<'_, Recent<PeerIdentity, UnderWay>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt to reach a peer has ended.
    pub(crate) fn attempt(&self, outcome: &AttemptOutcome) {
        match (&outcome.route, &outcome.result) {
            (Route::Direct(_), Ok(_)) => {
                self.dials.at((Dialled::Success,)).inc();
            }
            (Route::Direct(_), Err(DialError::Overtaken)) => {}
            (Route::Direct(_), Err(_)) => {
                self.dials.at((Dialled::Failed,)).inc();
            }
            (Route::Relayed(_) | Route::Punched { .. }, _) => {}
        }
    }

    pub(crate) fn observe(&self, event: &NetworkEvent) {
        match event {
            NetworkEvent::Connected { peer, path, remote, .. } if !path.is_relayed() => {
                if let Some(punch) = self.under_way().get_mut(peer) {
                    punch.direct = kind(remote);
                }
            }
            NetworkEvent::PunchStarted { peer, .. } => {
                self.started.inc();
                self.under_way().insert(peer.clone(), UnderWay::begun(Side::Initiator));
            }
            NetworkEvent::PunchDialing { peer, rtt, ours, theirs } => {
                // Only the side that begins an exchange measures its round trip.
                let side = if rtt.is_some() { Side::Initiator } else { Side::Receiver };
                let kinds = |addresses: &[PeerLocator]| addresses.iter().filter_map(kind).collect();
                let (ours, theirs) = (kinds(ours), kinds(theirs));
                let punch = UnderWay { is_dialling: true, ours, theirs, rtt: *rtt, ..UnderWay::begun(side) };
                self.under_way().insert(peer.clone(), punch);
            }
            NetworkEvent::PunchSucceeded { peer, transport, elapsed, attempts } => {
                let punch = self.under_way().remove(peer).filter(|punch| punch.is_dialling);
                let end = if punch.is_some() { End::Success } else { End::NotNeeded };
                self.ended.at((end,)).inc();
                let Some(punch) = punch else { return };
                let label = (TransportLabel::from(*transport),);
                self.seconds.at(label).observe(elapsed.as_secs_f64());
                if let Some(rtt) = punch.rtt.filter(|rtt| !rtt.is_zero()) {
                    self.round_trips.at(label).observe(elapsed.as_secs_f64() / rtt.as_secs_f64());
                }
                self.count(&punch, *attempts, true);
            }
            NetworkEvent::PunchFailed { peer, attempts, reason, .. } => {
                self.ended.at((End::Failed(ReasonLabel::of(reason)),)).inc();
                match (self.under_way().remove(peer), reason) {
                    (Some(punch), _) => self.count(&punch, *attempts, false),
                    // The peer began an exchange that broke.
                    (None, RelayReason::ExchangeFailed { .. }) => {
                        self.count(&UnderWay::begun(Side::Receiver), *attempts, false);
                    }
                    // Nothing was exchanged: for go-libp2p there was no punch.
                    (None, _) => {}
                }
            }
            _ => {}
        }
    }

    /// Counts the end of a punch as go-libp2p does.
    fn count(&self, punch: &UnderWay, attempts: u32, is_direct: bool) {
        let (side, attempts) = (punch.side, Attempts::of(attempts));
        let mut matches = 0;
        for kind in &punch.ours {
            let outcome = if !punch.theirs.contains(kind) {
                AddressOutcome::Unsuitable
            } else {
                matches += 1;
                match is_direct {
                    true if punch.direct == Some(*kind) => AddressOutcome::Success,
                    true => AddressOutcome::Cancelled,
                    false => AddressOutcome::Failed,
                }
            };
            self.address_outcomes.at((side, attempts, kind.0, kind.1, outcome)).inc();
        }
        let outcome = match is_direct {
            true => Outcome::Success,
            false if punch.is_dialling && matches == 0 => Outcome::Unsuitable,
            false => Outcome::Failed,
        };
        self.outcomes.at((side, attempts, outcome)).inc();
    }
}

/// What a direct address is; `None` for a name, which no candidate is.
fn kind(locator: &PeerLocator) -> Option<Kind> {
    let PeerAddress::Direct(address) = &locator.address else { return None };
    let version = match address.host {
        Host::Ip(IpAddr::V4(_)) => IpVersion::Ip4,
        Host::Ip(IpAddr::V6(_)) => IpVersion::Ip6,
        Host::Dns(_) => return None,
    };
    let transport = match address.transport {
        Transport::Tcp => GoTransport::Tcp,
        Transport::Quic => GoTransport::Quic,
    };
    Some((version, transport))
}

impl Attempts {
    fn of(attempts: u32) -> Self {
        match attempts {
            0 | 1 => Self::One,
            2 => Self::Two,
            3 => Self::Three,
            4 => Self::Four,
            5 => Self::Five,
            _ => Self::More,
        }
    }
}
