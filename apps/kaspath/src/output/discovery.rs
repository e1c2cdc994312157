//! What comes of looking for peers, as sentences.

use kaspath_domain::{DiscoveredChange, DiscoveryEvent};

use super::safe;
use crate::level::Level;

/// What repeats and changes nothing is for those who look for a cause.
pub(super) fn level(event: &DiscoveryEvent) -> Level {
    match event {
        DiscoveryEvent::PeersNotTold { .. } | DiscoveryEvent::PeersTold { new: 0, .. } => Level::Debug,
        _ => Level::Info,
    }
}

pub(super) fn describe(event: &DiscoveryEvent) -> String {
    match event {
        DiscoveryEvent::PeersTold { teller, count, new } => {
            format!("relay {} tells of {count} peers or relays, {new} of them new", teller.short())
        }
        DiscoveryEvent::PeersNotTold { teller, cause, .. } => {
            format!("relay {} tells of nobody: {}", teller.short(), safe::tidy(cause))
        }
        DiscoveryEvent::Listed { relay, granted } => {
            format!("relay {} lists this node for {} s", relay.short(), granted.as_secs())
        }
        DiscoveryEvent::ListRefused { relay, cause, retry_in } => {
            let (relay, retry_in) = (relay.short(), retry_in.as_secs());
            format!("relay {relay} does not list this node: {}; tried again in {retry_in} s", safe::tidy(cause))
        }
        DiscoveryEvent::DiscoveredPeer { peer, change, proven, groups, cause } => {
            let kind = if *proven { "proven" } else { "discovered" };
            let of: Vec<String> = groups.iter().map(ToString::to_string).collect();
            let cause = cause.as_deref().map(|cause| format!(": {}", safe::tidy(cause))).unwrap_or_default();
            let change = match change {
                DiscoveredChange::Reached => "is reached",
                DiscoveredChange::Failed => "cannot be reached",
                DiscoveredChange::Ended => "has ended its session",
                DiscoveredChange::Left => "makes room for another",
            };
            format!("{kind} peer {} of {} {change}{cause}", peer.short(), of.join(" and "))
        }
    }
}
