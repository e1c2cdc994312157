//! Events as sentences. What has no sentence only shows in JSON.

use std::time::Duration;

use kaspath_domain::{PeerAddress, PeerIdentity, PeerLocator};
use kaspath_kaspa_adaptor::{HandshakeStep, KaspaEvent};
use kaspath_transport_libp2p::{NetworkEvent, ReservationState};

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

pub(super) fn network(event: &NetworkEvent) -> Option<String> {
    Some(match event {
        NetworkEvent::Listening { address } if matches!(address.address, PeerAddress::Direct(_)) => return None,
        NetworkEvent::Listening { address } | NetworkEvent::Announced { address } => format!("reachable at {address}"),
        NetworkEvent::AnnouncementEnded { address } => format!("not reachable at {address} any more: the address is gone"),
        NetworkEvent::Reservation { relay, state } => {
            let relay = relay.short();
            match state {
                ReservationState::Requested => format!("reservation at relay {relay}: requested"),
                ReservationState::Confirmed => format!("reservation at relay {relay}: confirmed"),
                ReservationState::Renewed => return None,
                ReservationState::Lost { cause, retry_in } => {
                    format!("reservation at relay {relay}: none ({cause}); {}", again(*retry_in))
                }
            }
        }
        NetworkEvent::CandidateObserved { address, by } => format!("relay {} sees us at {}", by.short(), address.address),
        NetworkEvent::Connected { peer, direction, path, .. } => format!("{direction} connection with {}: {path}", peer.short()),
        NetworkEvent::Disconnected { peer, path, cause } => {
            let how = if path.is_relayed() { "relayed" } else { "direct" };
            let cause = cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
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
            format!("punch {attempts} with {} failed: {reason}; {next}", peer.short())
        }
        NetworkEvent::StreamsRefused { total } => format!("warning: {total} inbound streams refused so far, the queue is full"),
        NetworkEvent::ConnectionsRefused { refused } => format!("warning: {refused}"),
        NetworkEvent::RelayReservationAccepted { peer, renewed: false } => format!("{} has a reservation here", peer.short()),
        NetworkEvent::RelayReservationAccepted { .. } => return None,
        NetworkEvent::RelayReservationDenied { peer, status } => format!("reservation for {} denied: {status}", peer.short()),
        NetworkEvent::RelayReservationEnded { peer } => format!("the reservation of {} ended", peer.short()),
        NetworkEvent::RelayCircuitOpened { source, destination } => {
            format!("circuit from {} to {} opened", source.short(), destination.short())
        }
        NetworkEvent::RelayCircuitDenied { source, destination, status } => {
            format!("circuit from {} to {} denied: {status}", source.short(), destination.short())
        }
        NetworkEvent::RelayCircuitClosed { source, destination } => {
            format!("circuit from {} to {} closed", source.short(), destination.short())
        }
    })
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
        KaspaEvent::HandshakeFailed { peer, address, cause } => format!("handshake with {} failed: {cause}", name(peer, address)),
        KaspaEvent::PeerReady { peer, address, direction, path, user_agent, protocol_version, .. } => {
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
