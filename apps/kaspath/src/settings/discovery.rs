//! Settings of peers that relays tell of.

use std::path::Path;

use anyhow::{Context, Result};
use kaspath_node::Group;

use super::{file::ConfigFile, text_file};
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
    /// The private group whose members alone it finds.
    pub(crate) group: Option<Group>,
}

/// Bytes of a file with a group's secret.
const MAX_FILE: u64 = 1024;

pub(super) fn resolve(args: &PeerArgs, file: &ConfigFile) -> DiscoverySettings {
    DiscoverySettings {
        outbound: args.discover.or(file.discovery.outbound).unwrap_or(OUTBOUND).into(),
        unlisted: args.unlisted || file.discovery.unlisted,
        candidates: file.discovery.candidates,
        group: None,
    }
}

/// The group whose secret the file has.
pub(super) fn group(path: &Path) -> Result<Group> {
    let secret = text_file::read_private("group file", path, MAX_FILE)?;
    let cure =
        || format!("{}: put the same random text into it at each member, such as `openssl rand -hex 32` prints", path.display());
    Group::new(secret.trim().as_bytes()).with_context(cure)
}
