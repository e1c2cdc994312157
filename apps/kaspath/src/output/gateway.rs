//! The gateway's events as sentences.

use kaspath_gateway::{CloseReason, GatewayEvent};

use super::safe;
use crate::level::Level;

/// What its owner may have to do something about is a warning.
pub(super) fn level(event: &GatewayEvent) -> Level {
    match event {
        GatewayEvent::KaspadDown { .. } | GatewayEvent::KaspadOnOtherNetwork { .. } | GatewayEvent::SeenTwice { .. } => {
            Level::Warn
        }
        _ => Level::Info,
    }
}

pub(super) fn describe(event: &GatewayEvent) -> String {
    match event {
        GatewayEvent::GatewayOpened { peer, address, direction, path } => {
            format!("{direction} session: peer {} is {address} to kaspad, {path}", peer.short())
        }
        GatewayEvent::GatewayClosed { peer, address, reason, cause, after, to_kaspad, to_peer } => {
            let after = after.as_secs_f64();
            let why = match cause {
                Some(cause) => safe::cause(cause),
                None => closed(*reason, *to_kaspad, *to_peer).into(),
            };
            format!(
                "session of {} ({address}) ended after {after:.1} s: {why}; {to_kaspad} bytes to kaspad, {to_peer} to the peer",
                peer.short(),
            )
        }
        GatewayEvent::GatewayRefused { peer, cause, omitted, .. } => {
            let omitted =
                if *omitted > 0 { format!(" ({omitted} refusals before this one are not shown)") } else { String::new() };
            format!("no session with {}: {cause}{omitted}", peer.short())
        }
        GatewayEvent::KaspadUp { version, network } => format!("kaspad {version} on {network}: its RPC answers"),
        GatewayEvent::KaspadDown { cause } => {
            format!("{cause}. Until it answers, bans are not followed")
        }
        GatewayEvent::KaspadOnOtherNetwork { network, expected } => {
            format!("kaspad is on {network}, this gateway on {expected}: no peer is let in; start it with --network {network}")
        }
        GatewayEvent::KaspadStatus { synced, blocks, peers, tunnelled } => {
            let synced = if *synced { "in sync" } else { "syncing" };
            format!("kaspad: {synced}, {blocks} blocks, {peers} peers, {tunnelled} of them through this gateway")
        }
        GatewayEvent::PeerBanned { peer, address } => {
            format!("kaspad has banned {address}: peer {} is kept out for 24 hours, or until kaspad's unban", peer.short())
        }
        GatewayEvent::PeerUnbanned { peer, address } => format!("kaspad has lifted its ban of {address}, peer {}", peer.short()),
        GatewayEvent::SeenTwice { id, addresses } => {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            format!("kaspad has one node twice, by {}: it takes two of its slots (node id {id})", addresses.join(" and "))
        }
    }
}

fn closed(reason: CloseReason, to_kaspad: u64, to_peer: u64) -> &'static str {
    match (reason, to_kaspad, to_peer) {
        (CloseReason::Closed, 0, 1..) => "the peer sent nothing: its kaspad may be down, or it may be full, or ban this node",
        (CloseReason::Closed, 1.., 0) => "kaspad sent nothing: is --kaspad its P2P port, and not its RPC?",
        (CloseReason::Closed, ..) => "one end closed it",
        (CloseReason::Replaced, ..) => "another session with the peer replaced it",
        (CloseReason::Banned, ..) => "the peer is banned",
        (CloseReason::Evicted, ..) => "all slots were taken, and it was the least useful session",
        (CloseReason::NoHandshake, 0, _) => "the peer sent nothing, its slot is free",
        (CloseReason::NoHandshake, ..) => "there was no handshake, its slot is free",
        (CloseReason::Idle, ..) => "the peer sent nothing for minutes",
        (CloseReason::NotKaspadsPeer, ..) => "the peer never finished its handshake with kaspad",
        (CloseReason::ShuttingDown, ..) => "this program ends",
    }
}
