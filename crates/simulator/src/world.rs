//! How one attempt ends, and when.

use std::time::Duration;

use kaspath_domain::{DialError, Path, PeerIdentity, RelayReason, Route, TCP_GRACE, Transport, TransportSet};
use rand::Rng;

use crate::population::{Host, Population};

/// Round trips to a circuit: CONNECT and Noise.
const CIRCUIT: f64 = 2.0;
/// Round trips from a path to the peer's first answer on it. A plain stream is negotiated
/// before; a session's first bytes travel with the proposal.
const SESSION_ANSWER: f64 = 1.0;
const PLAIN_ANSWER: f64 = 2.0;
/// Round trips from the circuit to the direct connection, as `kaspath-lab bench`
/// measures them for this implementation.
const TCP_PUNCH: f64 = 4.5;
const QUIC_PUNCH: f64 = 3.0;
/// Time until a relay that is down is known to be.
const RELAY_TIMEOUT: Duration = Duration::from_secs(5);

/// Two peers and the relay between them.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) ours: Host,
    pub(crate) theirs: Host,
    pub(crate) round_trip: Duration,
    pub(crate) relay_down: bool,
    pub(crate) relay_full: bool,
    /// The peer speaks no sessions.
    pub(crate) plain: bool,
    pub(crate) peer: PeerIdentity,
}

/// An attempt's end, if nothing cancels it before.
pub(crate) type End = (Duration, Result<Path, DialError>);

impl Pair {
    /// What can be punched, and by which transports.
    pub(crate) fn punchable(&self, allowed: TransportSet) -> TransportSet {
        if !self.ours.nat.can_punch(self.theirs.nat) {
            return TransportSet::NONE;
        }
        TransportSet {
            tcp: allowed.tcp && self.ours.tcp && self.theirs.tcp,
            quic: allowed.quic && self.ours.udp && self.theirs.udp,
        }
    }

    /// One punch over an open circuit: how long it takes and over what, if it works.
    pub(crate) fn punch(
        &self,
        allowed: TransportSet,
        world: &Population,
        random: &mut impl Rng,
    ) -> Option<(Duration, Transport)> {
        let can = self.punchable(allowed);
        let mut works = |can: bool| can && random.gen_range(0.0..1.0) < world.first_attempt;
        let (tcp, quic) = (works(can.tcp), works(can.quic));
        let (tcp_time, quic_time) = (self.round_trip.mul_f64(TCP_PUNCH), self.round_trip.mul_f64(QUIC_PUNCH));
        match (tcp, quic) {
            (true, true) if tcp_time <= quic_time + TCP_GRACE => Some((tcp_time, Transport::Tcp)),
            (true, true) => Some((quic_time + TCP_GRACE, Transport::Quic)),
            (true, false) => Some((tcp_time, Transport::Tcp)),
            (false, true) => Some((quic_time, Transport::Quic)),
            (false, false) => None,
        }
    }

    /// From a path to the peer's first answer on it.
    pub(crate) fn answer(&self) -> Duration {
        self.round_trip.mul_f64(if self.plain { PLAIN_ANSWER } else { SESSION_ANSWER })
    }

    /// How an attempt by that route ends. A session takes the circuit that it punches from,
    /// as the dialer for sessions does; the punch goes on behind it.
    pub(crate) fn attempt(&self, route: &Route, timeout: Duration, world: &Population, random: &mut impl Rng) -> End {
        let relay = match route {
            // Private peers are not there for a dial.
            Route::Direct(address) => {
                let cause = "no answer".to_owned();
                return (timeout, Err(DialError::Unreachable { address: address.to_string(), cause }));
            }
            Route::Relayed(relay) | Route::Punched { relay, .. } => relay,
        };
        if self.relay_down {
            let error = DialError::RelayUnreachable { relay: relay.relay.clone(), cause: "no answer".into() };
            return (RELAY_TIMEOUT.min(timeout), Err(error));
        }
        let circuit = self.round_trip.mul_f64(CIRCUIT);
        if self.relay_full {
            return (circuit, Err(DialError::RelayRefused { relay: relay.relay.clone(), cause: "full".into() }));
        }
        match route {
            Route::Punched { transports, .. } if self.plain => match self.punch(*transports, world, random) {
                Some((time, transport)) if circuit + time <= timeout => (circuit + time, Ok(Path::Direct { transport })),
                _ => {
                    let reason = RelayReason::PunchFailed { attempts: 1 };
                    (timeout, Err(DialError::NoDirectPath { peer: self.peer.clone(), reason }))
                }
            },
            _ => (circuit, Ok(Path::Relayed { relay: relay.relay.clone(), reason: RelayReason::PunchPending })),
        }
    }
}
