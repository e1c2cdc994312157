//! Events as sentences. What has no sentence only shows in JSON.

use std::{collections::HashMap, time::Duration};

use kaspath_domain::{PeerAddress, PeerIdentity, PeerLocator, clean, make_room};
use kaspath_kaspa_adaptor::{HandshakeStep, KaspaEvent};
use kaspath_session::SessionEvent;
use kaspath_transport_libp2p::{NetworkEvent, Reachability, RelayService, ReservationState};

use super::{reach::Reach, safe::cause as tidy};
use crate::level::Level;

/// Bytes of a name that a remote gives itself.
const MAX_NAME: usize = 128;
/// Relays whose last cause is remembered.
const MAX_RELAYS: usize = 64;

/// Why there is no reservation, with the cure where one is known.
fn reservation_cause(cause: &str) -> String {
    // As the domain's error for another peer says it.
    let found = cause.split_once(" but ").and_then(|(_, rest)| rest.split_once(" answered"));
    match found.map(|(found, _)| found.parse::<PeerIdentity>()) {
        Some(Ok(found)) => format!(
            "another relay answered there, {found}: write /p2p/{found} in --relay if you trust it, or correct the address; a \
             relay prints both when it starts, and `kaspath id` its peer id"
        ),
        _ => tidy(cause),
    }
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

fn again(retry_in: Option<Duration>) -> String {
    retry_in.map_or_else(|| "not tried again".to_owned(), |delay| format!("tried again in {:.1} s", delay.as_secs_f64()))
}

fn list(addresses: &[PeerLocator]) -> String {
    let bare = |locator: &PeerLocator| locator.address.to_string();
    if addresses.is_empty() { "nothing".to_owned() } else { addresses.iter().map(bare).collect::<Vec<_>>().join(", ") }
}

/// What its owner may have to do something about is a warning.
pub(super) fn network_level(event: &NetworkEvent) -> Level {
    match event {
        NetworkEvent::Reservation { state: ReservationState::Lost { .. }, .. }
        | NetworkEvent::AnnouncementEnded { .. }
        | NetworkEvent::ReachabilityChanged { state: Reachability::Unreachable, .. }
        | NetworkEvent::StreamsRefused { .. }
        | NetworkEvent::ConnectionsRefused { .. } => Level::Warn,
        _ => Level::Info,
    }
}

/// Why each relay gave no reservation, as it was printed last.
#[derive(Default)]
pub(super) struct LastCauses(HashMap<PeerIdentity, String>);

impl LastCauses {
    /// A shorter sentence for a cause that was printed already, since a relay is tried
    /// again for as long as the program runs.
    pub(super) fn shorter(&mut self, event: &NetworkEvent) -> Option<String> {
        let NetworkEvent::Reservation { relay, state } = event else { return None };
        match state {
            ReservationState::Lost { cause, retry_in, .. } => {
                if self.0.get(relay) == Some(cause) {
                    let relay = relay.short();
                    return Some(format!("reservation at relay {relay}: still none, for the same cause; {}", again(*retry_in)));
                }
                make_room(&mut self.0, relay, MAX_RELAYS, |_| ());
                self.0.insert(relay.clone(), cause.clone());
            }
            ReservationState::Requested => {}
            ReservationState::Confirmed | ReservationState::Renewed => drop(self.0.remove(relay)),
        }
        None
    }
}

pub(super) fn network(event: &NetworkEvent, reach: &Reach) -> Option<String> {
    Some(match event {
        NetworkEvent::Listening { address } if matches!(address.address, PeerAddress::Direct(_)) => return None,
        NetworkEvent::Listening { address } if !reach.is_reachable(address) => {
            format!("also at {address}, through a private address: of no use outside its network")
        }
        NetworkEvent::Listening { address } | NetworkEvent::Announced { address } => format!("reachable at {address}"),
        NetworkEvent::AnnouncementEnded { address } => format!("not reachable at {address} any more: the address is gone"),
        NetworkEvent::Reservation { relay, state } => {
            let relay = relay.short();
            match state {
                ReservationState::Requested => format!("reservation at relay {relay}: requested"),
                ReservationState::Confirmed => format!("reservation at relay {relay}: confirmed"),
                ReservationState::Renewed => return None,
                ReservationState::Lost { cause, retry_in, .. } => {
                    format!("reservation at relay {relay}: none ({}); {}", reservation_cause(cause), again(*retry_in))
                }
            }
        }
        NetworkEvent::ReachabilityChanged { address, state } => {
            let at = &address.address;
            match state {
                Reachability::Reachable => format!("others can reach this program at {at}"),
                Reachability::Unreachable => {
                    format!("nobody could reach this program at {at}: open that port in the firewall or router")
                }
                Reachability::Unknown => format!("not known any more whether others can reach {at}"),
            }
        }
        NetworkEvent::Serving { state } => match state {
            RelayService::Open => {
                let given = reach.given_by_node.filter(|rate| *rate > 0).map(|rate| rate as f64 / 1e6);
                let given = given.map(|rate| format!(" (at most {rate} MB/s; --serve never turns it off)")).unwrap_or_default();
                format!("serves others as a relay now{given}")
            }
            RelayService::Draining => "serves others no longer: they have time to move to another relay".to_owned(),
            RelayService::Shut => "serves nobody as a relay now".to_owned(),
        },
        NetworkEvent::CircuitLimits { .. } => return None,
        NetworkEvent::CandidateObserved { address, by } => format!("relay {} sees us at {}", by.short(), address.address),
        NetworkEvent::Connected { peer, direction, path, .. } => format!("{direction} connection with {}: {path}", peer.short()),
        NetworkEvent::Disconnected { peer, path, cause } => {
            let how = if path.is_relayed() { "relayed" } else { "direct" };
            let cause = cause.as_ref().map(|cause| format!(": {}", tidy(cause))).unwrap_or_default();
            format!("{how} connection with {} closed{cause}", peer.short())
        }
        NetworkEvent::PunchStarted { peer, attempt } => format!("punch {attempt} with {}: exchanging candidates", peer.short()),
        NetworkEvent::PunchDialing { peer, ours, theirs, rtt } => {
            let rtt = rtt.map(|rtt| format!(" (round trip over the relay {})", ms(rtt))).unwrap_or_default();
            format!("punch with {}: we offer {}; dialling {}{rtt}", peer.short(), list(ours), list(theirs))
        }
        NetworkEvent::PunchSucceeded { peer, transport, elapsed, .. } => {
            format!("punched: direct over {transport} with {}, {} after the relayed connection", peer.short(), ms(*elapsed))
        }
        NetworkEvent::PunchFailed { peer, attempts, reason, retry_in } => {
            // The side that dialled the circuit only answers punches: the peer may well start another.
            let next = retry_in.map_or_else(|| "no other is started from here".to_owned(), |_| again(*retry_in));
            // It begins with the number of punches, which stands there already.
            let reason = reason.to_string();
            let reason = reason.split_once(" failed: ").map_or(reason.as_str(), |(_, why)| why);
            format!("punch {attempts} with {} failed: {reason}; {next}", peer.short())
        }
        NetworkEvent::RelayDraining { relay, left } => {
            format!("relay {} shuts down in {}: sessions through it move", relay.short(), ms(*left))
        }
        NetworkEvent::StreamsRefused { total } => format!("{total} inbound streams refused so far, the queue is full"),
        NetworkEvent::ConnectionsRefused { refused } => refused.to_string(),
        NetworkEvent::RelayReservationAccepted { peer, renewed: false } => format!("{} has a reservation here", peer.short()),
        NetworkEvent::RelayReservationAccepted { .. } => return None,
        NetworkEvent::RelayReservationDenied { peer, status, cause } => {
            format!("reservation for {} denied: {status}: {cause}", peer.short())
        }
        NetworkEvent::RelayReservationEnded { peer } => format!("the reservation of {} ended", peer.short()),
        NetworkEvent::RelayCircuitOpened { source, destination } => {
            format!("circuit from {} to {} opened", source.short(), destination.short())
        }
        NetworkEvent::RelayCircuitDenied { source, destination, status, cause } => {
            format!("circuit from {} to {} denied: {status}: {cause}", source.short(), destination.short())
        }
        NetworkEvent::RelayCircuitClosed { source, destination, from_source, from_destination, duration, reason } => format!(
            "circuit from {} to {} closed after {:.1} s: {reason}; {from_source} bytes forth, {from_destination} back",
            source.short(),
            destination.short(),
            duration.as_secs_f64()
        ),
    })
}

pub(super) fn session(event: &SessionEvent) -> Option<String> {
    match event {
        SessionEvent::Moved { peer, to, stall, .. } => {
            let stall =
                if stall.is_zero() { String::new() } else { format!(", after {:.1} s without a path", stall.as_secs_f64()) };
            Some(format!("the session with {} has moved: {to}{stall}", peer.short()))
        }
        SessionEvent::Stalled { peer } => {
            Some(format!("the session with {} has lost its path: looking for another", peer.short()))
        }
        // Whoever uses the session says more of these.
        SessionEvent::Began { .. } | SessionEvent::Recovered { .. } | SessionEvent::Ended { .. } => None,
    }
}

pub(super) fn kaspa(event: &KaspaEvent) -> Option<String> {
    let name = |peer: &Option<PeerIdentity>, address: &std::net::SocketAddr| {
        peer.as_ref().map_or_else(|| address.to_string(), PeerIdentity::short)
    };
    Some(match event {
        KaspaEvent::Handshake { peer, address, step, elapsed } => {
            let step = match step {
                HandshakeStep::Version => "Version",
                HandshakeStep::Verack => "Verack",
                HandshakeStep::Ready => "Ready",
            };
            format!("{step} from {} after {}", name(peer, address), ms(*elapsed))
        }
        KaspaEvent::HandshakeFailed { peer, address, cause, .. } => {
            format!("handshake with {} failed: {}", name(peer, address), tidy(cause))
        }
        KaspaEvent::PeerReady { peer, address, direction, path, user_agent, protocol_version, .. } => {
            let user_agent = clean(user_agent, MAX_NAME);
            format!("{direction} Kaspa peer {} {user_agent} (protocol {protocol_version}): {path}", name(peer, address))
        }
        KaspaEvent::PathChanged { peer, path } => {
            format!("{}: {path}", peer.as_ref().map_or_else(|| "session".to_owned(), PeerIdentity::short))
        }
        KaspaEvent::PeerLeft { peer, address, reason, after, received, sent } => {
            let after = after.as_secs_f64();
            format!(
                "session with {} ended after {after:.1} s: {reason}; {received} bytes received, {sent} sent",
                name(peer, address)
            )
        }
        KaspaEvent::AddressesReceived { count, peer } => {
            format!("{count} new addresses from {}", peer.as_ref().map_or_else(|| "a plain peer".to_owned(), PeerIdentity::short))
        }
        KaspaEvent::PingAnswered { peer, address, rtt } => format!("{} answered a ping after {}", name(peer, address), ms(*rtt)),
        KaspaEvent::PongSent { .. } | KaspaEvent::TransactionReceived { .. } => return None,
        KaspaEvent::BlockReceived { hash, .. } => format!("block {hash} received"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    const OTHER: &str = "12D3KooWHFfStEwBxyHPPRBDT1dU1qazCbf1cvfqeaUKJKexXpu3";

    fn lost(cause: &str) -> String {
        let state = ReservationState::lost(cause, None);
        network(&NetworkEvent::Reservation { relay: PEER.parse().unwrap(), state }, &Reach::default()).unwrap()
    }

    #[test]
    fn a_wrong_relay_id_is_named_with_its_cure() {
        let peer = |text: &str| text.parse::<PeerIdentity>().unwrap();
        let wrong = kaspath_domain::DialError::WrongPeer { expected: peer(OTHER), found: peer(PEER) };
        let text = lost(&wrong.to_string());
        assert!(text.contains(&format!("/p2p/{PEER} in --relay")) && text.contains("kaspath id"), "{text}");
        assert!(!text.contains(OTHER), "{text}");
    }

    #[test]
    fn a_node_says_what_it_gives_as_a_relay_and_how_that_is_turned_off() {
        use crate::settings::tests::settings;
        let text = |args: &[&str]| {
            let reach = Reach::new(&settings(args, &[]).unwrap().network_config);
            network(&NetworkEvent::Serving { state: RelayService::Open }, &reach).unwrap()
        };
        let given = "serves others as a relay now (at most 1 MB/s; --serve never turns it off)";
        assert_eq!([text(&["server"]), text(&["gateway"])], [given, given]);
        assert_eq!(text(&["relay"]), "serves others as a relay now");
    }

    #[test]
    fn a_cause_is_printed_once_until_the_relay_gives_a_reservation() {
        let event = |state| NetworkEvent::Reservation { relay: PEER.parse().unwrap(), state };
        let lost = |cause: &str| event(ReservationState::lost(cause, Some(Duration::from_secs(2))));
        let mut last = LastCauses::default();
        assert_eq!(last.shorter(&lost("refused")), None);
        assert_eq!(last.shorter(&event(ReservationState::Requested)), None);
        assert!(last.shorter(&lost("refused")).is_some_and(|text| text.contains("same cause; tried again in 2.0 s")));
        assert_eq!(last.shorter(&lost("timed out")), None);
        last.shorter(&event(ReservationState::Confirmed));
        assert_eq!(last.shorter(&lost("timed out")), None);
    }

    #[test]
    fn a_move_is_told_with_its_path_and_the_time_without_one() {
        let to = kaspath_domain::Path::Direct { transport: kaspath_domain::Transport::Tcp };
        let from = kaspath_domain::Path::Direct { transport: kaspath_domain::Transport::Quic };
        let kind = kaspath_session::MoveKind::Failover;
        let moved = |stall| {
            let (peer, from, to) = (PEER.parse().unwrap(), from.clone(), to.clone());
            SessionEvent::Moved { peer, kind, from, to, stall, replayed: 7 }
        };
        assert!(session(&moved(Duration::ZERO)).unwrap().ends_with(&format!("has moved: {to}")));
        let late = moved(Duration::from_millis(1500));
        assert!(session(&late).unwrap().ends_with("after 1.5 s without a path"));
        let json = serde_json::json!({
            "event": "session-moved", "peer": PEER, "kind": "failover", "from": from, "path": to, "stall": 1.5, "replayed": 7,
        });
        assert_eq!(serde_json::json!(late), json);
        let ended = SessionEvent::Ended {
            peer: PEER.parse().unwrap(),
            end: kaspath_session::SessionEnd::NoPath,
            path: Some(to.clone()),
            stats: kaspath_session::SessionStats { moves: 2, replayed: 3, longest_stall: Duration::from_secs(90) },
        };
        let json = serde_json::json!({
            "event": "session-ended", "peer": PEER, "cause": "no path to the peer came up in time",
            "path": to, "moves": 2, "replayed": 3, "longest_stall": 90.0,
        });
        assert_eq!(serde_json::json!(ended), json);
    }

    #[test]
    fn a_cause_has_no_stray_colon_and_no_repetition() {
        assert!(lost(": Connection refused").contains("none (Connection refused)"));
        let refused = "Handshake failed: input error: input error";
        assert!(lost(&[refused; 9].join("; ")).contains("none (Handshake failed: input error)"));
    }

    #[test]
    fn a_remotes_words_stay_on_their_line() {
        let hostile = "bye\n    0.000  reachable at /ip4/192.0.2.1/tcp/1\x1b[2K";
        let event = NetworkEvent::Disconnected {
            peer: PEER.parse().unwrap(),
            path: kaspath_domain::Path::Direct { transport: kaspath_domain::Transport::Quic },
            cause: Some(hostile.to_owned()),
        };
        assert!(!network(&event, &Reach::default()).unwrap().chars().any(char::is_control));
    }
}
