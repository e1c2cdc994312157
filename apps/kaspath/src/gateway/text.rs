//! The gateway's events as sentences.

use kaspath_gateway::GatewayEvent;

pub(super) fn describe(event: &GatewayEvent) -> String {
    match event {
        GatewayEvent::GatewayOpened { peer, address, direction, path } => {
            format!("{direction} session: peer {} is {address} to kaspad, {path}", peer.short())
        }
        GatewayEvent::GatewayClosed { peer, address, after, to_kaspad, to_peer } => {
            let after = after.as_secs_f64();
            let hint = match (to_kaspad, to_peer) {
                (0, 1..) => "; the peer said nothing: its kaspad may be down, or it may be full, or ban this node",
                (1.., 0) => "; kaspad said nothing: is --kaspad its P2P port, and not its RPC?",
                _ => "",
            };
            format!(
                "session of {} ({address}) ended after {after:.1} s: {to_kaspad} bytes to kaspad, {to_peer} to the peer{hint}",
                peer.short()
            )
        }
        GatewayEvent::GatewayRefused { peer, cause } => format!("no session with {}: {cause}", peer.short()),
        GatewayEvent::GatewayMoving { peer } => {
            format!("a direct path to {} has come up: its session leaves the relay and begins again there", peer.short())
        }
        GatewayEvent::KaspadUp { version, network } => format!("kaspad {version} on {network}: its RPC answers"),
        GatewayEvent::KaspadDown { cause } => {
            format!("{cause}. Until it answers, bans are not followed and no peers are added")
        }
        GatewayEvent::KaspadOnOtherNetwork { network, expected } => {
            format!(
                "warning: kaspad is on {network}, this gateway on {expected}: no peer is let in; start it with --network {network}"
            )
        }
        GatewayEvent::PeersNotAdded { cause } => format!(
            "kaspad lets no peers be added by RPC ({cause}): it reaches peers by its own --addpeer, or is only reached by them"
        ),
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
            format!("warning: kaspad has one node twice, by {}: it takes two places (node id {id})", addresses.join(" and "))
        }
    }
}
