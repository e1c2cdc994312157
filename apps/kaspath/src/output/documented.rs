//! docs/events.md names every event with its level and its fields, and nothing else.

use std::{collections::BTreeMap, fs, path::Path as FilePath, time::Duration};

use kaspath_domain::{
    Direction, DiscoveredChange, DiscoveryEvent, MapMethod, MapProtocol, MapPurpose, MapRequest, Mapped, MappingEvent, NotTold,
    Path, PeerGroup, PeerIdentity, PeerLocator, RelayReason, Transport,
};
use kaspath_gateway::{CloseReason, GatewayEvent, RefusalReason};
use kaspath_kaspa_adaptor::{HandshakeOutcome, HandshakeStep, KaspaEvent};
use kaspath_node::{PoolChange, PoolEvent};
use kaspath_policy::PoolCause;
use kaspath_session::{MoveKind, SessionEnd, SessionEvent, SessionStats};
use kaspath_transport_libp2p::{CircuitEnd, NetworkEvent, Reachability, RefusedConnections, RelayService, ReservationState};
use serde::Serialize;
use serde_json::{Value, json};
use syn::Item;

use super::{
    discovery, gateway, logs,
    own::{Missing, Part, ProgramEvent, WarningCode},
    pool, text,
};
use crate::level::{Level, Subsystem};

const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
const SPAN: Duration = Duration::from_millis(1500);

/// An event as JSON, with its level.
type Sample = (Value, Level);

fn peer() -> PeerIdentity {
    PEER.parse().unwrap()
}

fn address() -> PeerLocator {
    "/ip4/203.0.113.7/tcp/4001".parse().unwrap()
}

fn path() -> Path {
    Path::Direct { transport: Transport::Tcp }
}

fn with_level<E: Serialize>(events: Vec<E>, level: impl Fn(&E) -> Level) -> Vec<Sample> {
    events.iter().map(|event| (json!(event), level(event))).collect()
}

fn network() -> Vec<Sample> {
    let (peer, address, path) = (peer, address, path);
    let lost = ReservationState::lost("x", Some(SPAN));
    let text = || "x".to_owned();
    let events = vec![
        NetworkEvent::Listening { address: address() },
        NetworkEvent::Announced { address: address() },
        NetworkEvent::AnnouncementEnded { address: address() },
        NetworkEvent::Reservation { relay: peer(), state: lost },
        NetworkEvent::CircuitLimits { relay: peer(), duration: Some(SPAN), bytes: Some(1) },
        NetworkEvent::RelayDraining { relay: peer(), left: SPAN },
        NetworkEvent::CandidateObserved { address: address(), by: peer() },
        NetworkEvent::Connected { peer: peer(), direction: Direction::Inbound, path: path(), remote: address() },
        NetworkEvent::Disconnected { peer: peer(), path: path(), cause: Some(text()) },
        NetworkEvent::PunchStarted { peer: peer(), attempt: 1 },
        NetworkEvent::PunchDialing { peer: peer(), rtt: Some(SPAN), ours: vec![], theirs: vec![] },
        NetworkEvent::PunchSucceeded { peer: peer(), transport: Transport::Quic, elapsed: SPAN, attempts: 1 },
        NetworkEvent::PunchFailed { peer: peer(), attempts: 1, reason: RelayReason::Policy, retry_in: Some(SPAN) },
        NetworkEvent::StreamsRefused { total: 1 },
        NetworkEvent::ConnectionsRefused { refused: RefusedConnections::default() },
        NetworkEvent::ReachabilityChanged { address: address(), state: Reachability::Unreachable },
        NetworkEvent::Serving { state: RelayService::Draining },
        NetworkEvent::RelayReservationAccepted { peer: peer(), renewed: true },
        NetworkEvent::RelayReservationDenied { peer: peer(), status: text(), cause: text() },
        NetworkEvent::RelayReservationEnded { peer: peer() },
        NetworkEvent::RelayCircuitOpened { source: peer(), destination: peer() },
        NetworkEvent::RelayCircuitDenied { source: peer(), destination: peer(), status: text(), cause: text() },
        NetworkEvent::RelayCircuitClosed {
            source: peer(),
            destination: peer(),
            from_source: 1,
            from_destination: 1,
            duration: SPAN,
            reason: CircuitEnd::Idle,
        },
    ];
    with_level(events, text::network_level)
}

fn mapping() -> Vec<Sample> {
    let request = MapRequest { protocol: MapProtocol::Tcp, port: 1, purpose: MapPurpose::Peers };
    let mapped = Mapped { request, external: ([203, 0, 113, 7], 1).into(), by: MapMethod::Pcp, lifetime: SPAN };
    let cause = || "x".to_owned();
    let events = vec![
        MappingEvent::Mapped(mapped.clone()),
        MappingEvent::Lost { mapped, cause: cause() },
        MappingEvent::Unavailable { cause: cause() },
    ];
    with_level(events, super::mapping::level)
}

fn of_pool() -> Vec<Sample> {
    let text = || "x".to_owned();
    let events = vec![
        PoolEvent::RelayPool { relay: peer(), change: PoolChange::Used, cause: PoolCause::Free },
        PoolEvent::RelayListRead { source: text(), relays: 1 },
        PoolEvent::RelayListFailed { source: text(), cause: text(), retry_in: SPAN },
    ];
    with_level(events, pool::level)
}

fn session() -> Vec<Sample> {
    let stats = SessionStats { moves: 1, replayed: 1, longest_stall: SPAN };
    let events = vec![
        SessionEvent::Began { peer: peer(), path: path(), after: SPAN, rtt: Some(SPAN) },
        SessionEvent::Moved { peer: peer(), kind: MoveKind::Planned, from: path(), to: path(), stall: SPAN, replayed: 1 },
        SessionEvent::Recovered { peer: peer(), stall: SPAN },
        SessionEvent::Stalled { peer: peer() },
        SessionEvent::Ended { peer: peer(), end: SessionEnd::Closed, path: Some(path()), stats },
    ];
    with_level(events, |_| Level::Info)
}

fn kaspa() -> Vec<Sample> {
    let (peer, address) = (|| Some(peer()), "203.0.113.7:16111".parse().unwrap());
    let events = vec![
        KaspaEvent::Handshake { peer: peer(), address, step: HandshakeStep::Ready, elapsed: SPAN },
        KaspaEvent::HandshakeFailed { peer: peer(), address, outcome: HandshakeOutcome::Timeout, cause: "x".to_owned() },
        KaspaEvent::PeerReady {
            peer: peer(),
            address,
            direction: Direction::Outbound,
            path: path(),
            user_agent: "x".to_owned(),
            kaspa_id: "x".to_owned(),
            protocol_version: 10,
        },
        KaspaEvent::PathChanged { peer: peer(), path: path() },
        KaspaEvent::PeerLeft {
            peer: peer(),
            address,
            reason: kaspath_kaspa_adaptor::CloseReason::Rejected("x".to_owned()),
            after: SPAN,
            received: 1,
            sent: 1,
        },
        KaspaEvent::PingAnswered { peer: peer(), address, rtt: SPAN },
        KaspaEvent::PongSent { peer: peer(), address },
        KaspaEvent::TransactionReceived { id: "x".to_owned(), peer: peer() },
        KaspaEvent::BlockReceived { hash: "x".to_owned(), peer: peer() },
        KaspaEvent::AddressesReceived { count: 1, peer: peer() },
    ];
    with_level(events, |_| Level::Info)
}

fn of_gateway() -> Vec<Sample> {
    let text = || "x".to_owned();
    let loopback = "127.1.2.3".parse().unwrap();
    let events = vec![
        GatewayEvent::GatewayOpened {
            peer: peer(),
            address: "127.1.2.3".parse().unwrap(),
            direction: Direction::Inbound,
            path: path(),
        },
        GatewayEvent::GatewayClosed {
            peer: peer(),
            address: "127.1.2.3".parse().unwrap(),
            reason: CloseReason::Closed,
            cause: Some(text()),
            after: SPAN,
            to_kaspad: 1,
            to_peer: 1,
        },
        GatewayEvent::GatewayRefused { peer: peer(), reason: RefusalReason::Banned, cause: text(), omitted: 1 },
        GatewayEvent::KaspadUp { version: text(), network: text() },
        GatewayEvent::KaspadDown { cause: text() },
        GatewayEvent::KaspadOnOtherNetwork { network: text(), expected: text() },
        GatewayEvent::KaspadStatus { synced: true, blocks: 1, peers: 1, tunnelled: 1 },
        GatewayEvent::PeerBanned { peer: peer(), address: loopback },
        GatewayEvent::PeerUnbanned { peer: peer(), address: loopback },
        GatewayEvent::SeenTwice { id: text(), addresses: vec![loopback] },
    ];
    with_level(events, gateway::level)
}

fn program() -> Vec<Sample> {
    let text = || "x".to_owned();
    let address = "127.0.0.1:16111".parse().unwrap();
    let events = vec![
        ProgramEvent::Started {
            role: text(),
            version: "0",
            peer: peer(),
            listening: vec![],
            announced: vec![],
            external: vec![],
        },
        ProgramEvent::Ready { after: SPAN },
        ProgramEvent::NotReady { after: SPAN, missing: vec![Missing { part: Part::Kaspad, cause: Some(text()) }] },
        ProgramEvent::SettingsChanged { changes: vec![text()] },
        ProgramEvent::SettingsUnchanged,
        ProgramEvent::WebListening { address },
        ProgramEvent::DrainStarted { reservations: 1, circuits: 1, allowed: SPAN },
        ProgramEvent::DrainEnded { circuits: 1 },
        ProgramEvent::KaspaListening { address },
        ProgramEvent::PeerUnreachable { target: text(), cause: text() },
        ProgramEvent::Retrying { target: text(), retry_in: SPAN },
        ProgramEvent::KaspadUnreachable { address, cause: text(), is_ours: true },
        ProgramEvent::KaspadReachable { address },
        ProgramEvent::KaspadFlag { flag: text(), reason: text() },
        ProgramEvent::KaspadStarted { pid: Some(1), program: text(), args: vec![] },
        ProgramEvent::KaspadStopping,
        ProgramEvent::KaspadEnded { status: text(), code: Some(1), after: SPAN, retry_in: None },
        ProgramEvent::warning(WarningCode::Lonely, "x"),
        ProgramEvent::Note { text: text() },
        ProgramEvent::LinesLeftOut { count: 1 },
        ProgramEvent::Stopping { signal: text() },
        ProgramEvent::Stopped { after: SPAN },
        ProgramEvent::Failed { code: 1, cause: text(), causes: vec![text()] },
    ];
    with_level(events, ProgramEvent::level)
}

/// How many variants an enum of a source file has.
fn variants(file: &str, name: &str) -> usize {
    let file = FilePath::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let source = syn::parse_file(&fs::read_to_string(&file).unwrap()).unwrap();
    let found = source.items.iter().find_map(|item| match item {
        Item::Enum(item) if item.ident == name => Some(item.variants.len()),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no {name} in {}", file.display()))
}

/// The first cell of each row that is a name, and the row.
fn documented() -> BTreeMap<String, String> {
    let text = include_str!("../../../../docs/events.md");
    let rows = text.lines().filter_map(|line| Some((line.strip_prefix("| `")?.split_once('`')?.0.to_owned(), line.to_owned())));
    rows.collect()
}

#[test]
fn every_event_is_documented_with_its_level_and_all_its_fields() {
    let samples = [
        (network(), variants("../../crates/transport-libp2p/src/events.rs", "NetworkEvent")),
        (mapping(), variants("../../crates/domain/src/ports/port_mapper.rs", "MappingEvent")),
        (session(), variants("../../crates/session/src/events.rs", "SessionEvent")),
        (of_pool(), variants("../../crates/node/src/pooling.rs", "PoolEvent")),
        (kaspa(), variants("../../crates/kaspa-adaptor/src/events.rs", "KaspaEvent")),
        (of_gateway(), variants("../../crates/gateway/src/events.rs", "GatewayEvent")),
        (of_discovery(), variants("../../crates/domain/src/discovery_event.rs", "DiscoveryEvent")),
        (program(), variants("src/output/own.rs", "ProgramEvent")),
    ];
    let rows = documented();
    let mut names = vec!["log".to_owned()];
    for (samples, variants) in samples {
        let mut own: Vec<&str> = samples.iter().map(|(event, _)| event["event"].as_str().unwrap()).collect();
        own.sort_unstable();
        own.dedup();
        assert_eq!(own.len(), variants, "give a sample of each: {own:?}");
        for (event, level) in &samples {
            let name = event["event"].as_str().unwrap();
            let row = rows.get(name).unwrap_or_else(|| panic!("docs/events.md does not have `{name}`"));
            assert!(row.contains(&format!("| {} |", level.name())), "`{name}` is of level {}: {row}", level.name());
            for field in event.as_object().unwrap().keys().filter(|field| *field != "event") {
                assert!(row.contains(&format!("`{field}`")), "docs/events.md does not have `{field}` of `{name}`");
            }
            names.push(name.to_owned());
        }
    }
    let unknown: Vec<&String> = rows.keys().filter(|name| !names.contains(name)).collect();
    let others: Vec<String> = Subsystem::ALL.into_iter().map(|of| of.name().to_owned()).chain(codes()).collect();
    let unknown: Vec<_> = unknown.into_iter().filter(|name| !others.contains(name)).collect();
    assert!(unknown.is_empty(), "docs/events.md has what there is not: {unknown:?}");
}

fn of_discovery() -> Vec<Sample> {
    let groups = || [PeerGroup::Relay(peer())].into_iter().collect();
    let text = || "x".to_owned();
    let events = vec![
        DiscoveryEvent::PeersTold { teller: peer(), count: 1, new: 1 },
        DiscoveryEvent::PeersNotTold { teller: peer(), reason: NotTold::Refused, cause: text() },
        DiscoveryEvent::Listed { relay: peer(), granted: SPAN },
        DiscoveryEvent::ListRefused { relay: peer(), cause: text(), retry_in: SPAN },
        DiscoveryEvent::DiscoveredPeer {
            peer: peer(),
            change: DiscoveredChange::Reached,
            proven: false,
            groups: groups(),
            cause: Some(text()),
        },
    ];
    with_level(events, discovery::level)
}

fn codes() -> Vec<String> {
    use WarningCode as C;
    [
        C::Lonely,
        C::NotAnnounced,
        C::SettingsInvalid,
        C::RestartNeeded,
        C::Book,
        C::Descriptors,
        C::KaspadFlags,
        C::PartFailed,
        C::Other,
    ]
    .map(|code| json!(code).as_str().unwrap().to_owned())
    .to_vec()
}

#[test]
fn every_subsystem_and_every_code_of_a_warning_is_documented() {
    let rows = documented();
    assert_eq!(codes().len(), variants("src/output/own.rs", "WarningCode"));
    for name in Subsystem::ALL.into_iter().map(|of| of.name().to_owned()).chain(codes()) {
        assert!(rows.contains_key(&name), "docs/events.md does not have `{name}`");
    }
    for field in ["time", "level", "subsystem", "text"] {
        assert!(include_str!("../../../../docs/events.md").contains(&format!("- `{field}`:")), "{field}");
    }
    assert!(logs::FIELDS.iter().all(|field| rows["log"].contains(&format!("`{field}`"))));
}
