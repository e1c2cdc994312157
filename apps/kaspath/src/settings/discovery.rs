//! Settings of peers that relays tell of.

use super::file::ConfigFile;
use crate::cli::PeerArgs;

/// Sessions with discovered peers.
const OUTBOUND: u8 = 4;

/// How a node finds peers and is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DiscoverySettings {
    /// Sessions with peers that relays tell of.
    pub(crate) outbound: usize,
    /// It is not listed.
    pub(crate) unlisted: bool,
    /// Its entry has its own addresses.
    pub(crate) candidates: bool,
}

pub(super) fn resolve(args: &PeerArgs, file: &ConfigFile) -> DiscoverySettings {
    DiscoverySettings {
        outbound: args.discover.or(file.discovery.outbound).unwrap_or(OUTBOUND).into(),
        unlisted: args.unlisted || file.discovery.unlisted,
        candidates: file.discovery.candidates,
    }
}
