//! Limits of connections, and which of them were asked for.

use std::num::NonZeroU32;

use kaspath_transport_libp2p::{ConnectionLimits, LimitFloor};

use super::{file::ConfigFile, node::NodeSettings};

/// Limits that were asked for: these are not lowered to what the system allows.
#[derive(Clone, Debug, Default)]
pub(crate) struct AskedLimits {
    pub(crate) floor: LimitFloor,
    /// The keys and flags that asked for them.
    pub(crate) keys: Vec<&'static str>,
    /// The file's section, to see whether it changes.
    pub(super) section: String,
}

impl AskedLimits {
    fn inbound(&mut self, key: &'static str, limit: u32) {
        self.floor.inbound = self.floor.inbound.max(limit);
        self.keys.push(key);
    }
}

/// What the file says of connections, over the defaults of whatever this is.
pub(super) fn apply(limits: &mut ConnectionLimits, asked: &mut AskedLimits, file: &ConfigFile) {
    let given = &file.connections;
    for (limit, given) in [
        (&mut limits.inbound, given.inbound),
        (&mut limits.inbound_per_address, given.inbound_per_address),
        (&mut limits.inbound_per_prefix, given.inbound_per_prefix),
        (&mut limits.pending_inbound, given.pending_inbound),
        (&mut limits.pending_inbound_per_address, given.pending_inbound_per_address),
        (&mut limits.pending_inbound_per_prefix, given.pending_inbound_per_prefix),
        (&mut limits.burst_per_address, given.burst_per_address),
        (&mut limits.burst_per_prefix, given.burst_per_prefix),
        (&mut limits.outbound, given.outbound),
    ] {
        *limit = given.map_or(*limit, NonZeroU32::get);
    }
    asked.section = format!("{given:?}");
    if let Some(limit) = given.inbound {
        asked.floor = LimitFloor::default();
        asked.keys.clear();
        asked.inbound("[connections] inbound", limit.get());
    }
    if let Some(limit) = given.pending_inbound {
        asked.floor.pending_inbound = limit.get();
        asked.keys.push("[connections] pending-inbound");
    }
    if let Some(limit) = given.outbound {
        asked.floor.outbound = limit.get();
        asked.keys.push("[connections] outbound");
    }
}

/// Room for the inbound peers that a gateway is to take; `named` if their number was
/// asked for.
pub(super) fn for_inbound_peers(limits: &mut ConnectionLimits, asked: &mut AskedLimits, node: &NodeSettings, named: bool) {
    // A connection over each transport, and as many again that are being replaced.
    let taken = &node.inbound;
    let connections = |peers: usize, each: u32| u32::try_from(peers).unwrap_or(u32::MAX).saturating_mul(each);
    let default = limits.inbound;
    limits.inbound = limits.inbound.max(connections(taken.total, 2));
    if named && limits.inbound > default {
        asked.inbound("[inbound] total or --max-inbound", limits.inbound);
    }
    limits.inbound_per_address = limits.inbound_per_address.max(connections(taken.per_address, 4));
    limits.inbound_per_prefix = limits.inbound_per_prefix.max(connections(taken.per_prefix, 4));
    limits.inbound_circuits = limits.inbound_circuits.max(connections(taken.total, 2));
    limits.inbound_circuits_per_relay = limits.inbound_circuits_per_relay.max(connections(taken.per_relay, 2));
    // All may come at once.
    limits.burst_per_address = limits.burst_per_address.max(connections(taken.per_address, 4));
    limits.burst_per_prefix = limits.burst_per_prefix.max(connections(taken.per_prefix, 4));
}
