//! What a gateway reports, of its sessions and of kaspad.

use kaspath_domain::{Direction, Observer};
use kaspath_gateway::{CloseReason, GatewayEvent, RefusalReason};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

use crate::families::{Family, label, single, whole};

label!(DirectionLabel = "direction" { Inbound = "inbound", Outbound = "outbound" });
label!(End = "reason" {
    Closed = "closed",
    Replaced = "replaced",
    Banned = "banned",
    Evicted = "evicted",
    NoHandshake = "no-handshake",
    Idle = "idle",
    NotKaspadsPeer = "not-kaspads-peer",
    ShuttingDown = "shutting-down",
});
label!(To = "to" { Kaspad = "kaspad", Peer = "peer" });
label!(Refused = "reason" {
    TooOften = "too-often",
    Banned = "banned",
    NoSlot = "no-slot",
    OtherNetwork = "other-network",
    NoAddress = "no-address",
    KaspadUnreachable = "kaspad-unreachable",
    PeerUnreachable = "peer-unreachable",
    Unreported = "unreported",
});
label!(Through = "through" { Gateway = "gateway", Other = "other" });
label!(Change = "change" { Banned = "banned", Lifted = "lifted" });

/// The metrics of a gateway.
pub(crate) struct Gateway {
    opened: Family<(DirectionLabel,), Counter>,
    closed: Family<(End,), Counter>,
    bytes: Family<(To,), Counter>,
    refusals: Family<(Refused,), Counter>,
    up: Gauge,
    on_other_network: Gauge,
    synced: Gauge,
    blocks: Gauge,
    peers: Family<(Through,), Gauge>,
    bans: Family<(Change,), Counter>,
}

impl Gateway {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        let own = registry.sub_registry_with_prefix("kaspath");
        Self {
            opened: Family::new(own, "gateway_sessions_opened", "Streams of peers joined to kaspad"),
            closed: Family::new(own, "gateway_sessions_closed", "Streams of peers parted from kaspad, by why"),
            bytes: Family::new(own, "gateway_bytes", "Bytes passed on by sessions that have ended"),
            refusals: Family::new(own, "gateway_refusals", "Peers not let in or not reached"),
            up: single(own, "kaspad_up", "1 if kaspad's RPC answers", Gauge::default()),
            on_other_network: single(
                own,
                "kaspad_on_other_network",
                "1 if kaspad is on another network than the gateway",
                Gauge::default(),
            ),
            synced: single(own, "kaspad_synced", "1 if kaspad holds itself to be in sync", Gauge::default()),
            blocks: single(own, "kaspad_blocks", "Blocks that kaspad has", Gauge::default()),
            peers: Family::new(own, "kaspad_peers", "Peers of kaspad"),
            bans: Family::new(own, "gateway_bans", "Bans of kaspad that the gateway followed"),
        }
    }
}

impl Observer<GatewayEvent> for Gateway {
    fn observe(&self, event: &GatewayEvent) {
        match event {
            GatewayEvent::GatewayOpened { direction, .. } => {
                let direction = match direction {
                    Direction::Inbound => DirectionLabel::Inbound,
                    Direction::Outbound => DirectionLabel::Outbound,
                };
                self.opened.at((direction,)).inc();
            }
            GatewayEvent::GatewayClosed { reason, to_kaspad, to_peer, .. } => {
                self.closed.at((End::of(*reason),)).inc();
                self.bytes.at((To::Kaspad,)).inc_by(*to_kaspad);
                self.bytes.at((To::Peer,)).inc_by(*to_peer);
            }
            GatewayEvent::GatewayRefused { reason, omitted, .. } => {
                self.refusals.at((Refused::of(*reason),)).inc();
                self.refusals.at((Refused::Unreported,)).inc_by(*omitted);
            }
            GatewayEvent::KaspadUp { .. } => {
                self.up.set(1);
                self.on_other_network.set(0);
            }
            GatewayEvent::KaspadDown { .. } => {
                for gauge in [&self.up, &self.synced] {
                    gauge.set(0);
                }
            }
            GatewayEvent::KaspadOnOtherNetwork { .. } => {
                self.on_other_network.set(1);
            }
            GatewayEvent::KaspadStatus { synced, blocks, peers, tunnelled } => {
                self.synced.set((*synced).into());
                self.blocks.set(whole(*blocks));
                self.peers.at((Through::Gateway,)).set(whole(*tunnelled as u64));
                self.peers.at((Through::Other,)).set(whole(peers.saturating_sub(*tunnelled) as u64));
            }
            GatewayEvent::PeerBanned { .. } => {
                self.bans.at((Change::Banned,)).inc();
            }
            GatewayEvent::PeerUnbanned { .. } => {
                self.bans.at((Change::Lifted,)).inc();
            }
            GatewayEvent::SeenTwice { .. } => {}
        }
    }
}

impl End {
    fn of(reason: CloseReason) -> Self {
        match reason {
            CloseReason::Closed => Self::Closed,
            CloseReason::Replaced => Self::Replaced,
            CloseReason::Banned => Self::Banned,
            CloseReason::Evicted => Self::Evicted,
            CloseReason::NoHandshake => Self::NoHandshake,
            CloseReason::Idle => Self::Idle,
            CloseReason::NotKaspadsPeer => Self::NotKaspadsPeer,
            CloseReason::ShuttingDown => Self::ShuttingDown,
        }
    }
}

impl Refused {
    fn of(reason: RefusalReason) -> Self {
        match reason {
            RefusalReason::TooOften => Self::TooOften,
            RefusalReason::Banned => Self::Banned,
            RefusalReason::NoSlot => Self::NoSlot,
            RefusalReason::OtherNetwork => Self::OtherNetwork,
            RefusalReason::NoAddress => Self::NoAddress,
            RefusalReason::KaspadUnreachable => Self::KaspadUnreachable,
            RefusalReason::PeerUnreachable => Self::PeerUnreachable,
        }
    }
}
