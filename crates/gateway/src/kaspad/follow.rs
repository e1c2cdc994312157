//! Polls kaspad, and carries out what follows.

use std::{collections::HashSet, net::IpAddr, sync::Arc, time::Duration};

use kaspath_domain::PeerIdentity;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    Kaspad, KaspadSnapshot,
    watch::{Finding, Watch},
};
use crate::{CloseReason, GatewayEvent, shared::Shared};

/// Between two polls. kaspad itself acts on a ban at once; here it only must not
/// be forgotten.
const INTERVAL: Duration = Duration::from_secs(2);

/// A session that kaspad does not list as a peer after so long has no handshake to
/// show: kaspad gives one 16 s, but only from the peer's request on, and the kaspad behind a
/// gateway of an earlier version may take 15 s to make that.
const UNLISTED: Duration = Duration::from_secs(45);

/// Follows kaspad. Runs until it is dropped.
pub(crate) async fn follow(shared: Arc<Shared>, rpc: Arc<dyn Kaspad>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = Watch::new(shared.parts.network.clone());
    let mut has_our_peers = false;
    loop {
        ticks.tick().await;
        let asked = shared.parts.clock.now();
        let node = match rpc.snapshot().await {
            Ok(node) => node,
            Err(error) => {
                is_on(&shared, None);
                if watch.lost() {
                    shared.report(GatewayEvent::KaspadDown { cause: error.to_string() });
                }
                continue;
            }
        };
        let tunnelled = |ip: IpAddr| shared.table.peer_at(ip).is_some();
        let findings = watch.poll(shared.parts.clock.now(), &node, tunnelled);
        is_on(&shared, (node.network != shared.parts.network).then(|| node.network.clone()));
        for finding in findings {
            act(&shared, finding, &node);
        }
        let listed = listed(&shared, &node);
        // An RPC that never listed one of ours may be another kaspad's.
        has_our_peers |= !listed.is_empty();
        if has_our_peers {
            shared.sessions.end_all(CloseReason::NotKaspadsPeer, |peer, activity| {
                asked.since(activity.since()) >= UNLISTED && !listed.contains(peer)
            });
        }
    }
}

/// kaspad is on that network, which is not ours, or on no other as far as is known.
fn is_on(shared: &Shared, other_network: Option<String>) {
    shared.kaspad.send_if_modified(|old| {
        let changed = *old != other_network;
        *old = other_network;
        changed
    });
}

/// The sessions whose peers kaspad has; their round trips are noted.
fn listed(shared: &Shared, node: &KaspadSnapshot) -> HashSet<PeerIdentity> {
    let ours = node.peers.iter().filter_map(|listed| {
        let peer = shared.table.peer_at(listed.address.ip())?;
        shared.sessions.measured(&peer, listed.round_trip).then_some(peer)
    });
    ours.collect()
}

fn act(shared: &Shared, finding: Finding, node: &KaspadSnapshot) {
    match finding {
        Finding::Up => {
            shared.table.lists(&node.banned, (shared.parts.wall_clock)());
            shared.report(GatewayEvent::KaspadUp { version: node.version.clone(), network: node.network.clone() });
        }
        Finding::OtherNetwork => {
            let (network, expected) = (node.network.clone(), shared.parts.network.clone());
            shared.report(GatewayEvent::KaspadOnOtherNetwork { network, expected });
        }
        Finding::Banned(address) => {
            if let Some(peer) = shared.table.ban(address, (shared.parts.wall_clock)()) {
                shared.sessions.end(&peer, CloseReason::Banned);
                shared.report(GatewayEvent::PeerBanned { peer, address });
            }
        }
        Finding::Unbanned(address) => {
            if let Some(peer) = shared.table.unban(address, (shared.parts.wall_clock)()) {
                shared.report(GatewayEvent::PeerUnbanned { peer, address });
            }
        }
        Finding::SeenTwice { id, addresses } => shared.report(GatewayEvent::SeenTwice { id, addresses }),
        Finding::Status => {
            let tunnelled = node.peers.iter().filter(|peer| shared.table.peer_at(peer.address.ip()).is_some()).count();
            let (synced, blocks, peers) = (node.synced, node.blocks, node.peers.len());
            shared.report(GatewayEvent::KaspadStatus { synced, blocks, peers, tunnelled });
        }
    }
}
