//! The table on disk: JSON, so that its owner can read it.

use std::{
    collections::HashMap,
    fs,
    io::{self, Write},
    net::Ipv4Addr,
    path::Path,
};

use kaspath_domain::{PeerIdentity, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::TableError;

/// Larger than any table.
const MAX_FILE: u64 = 32 << 20;
/// Version 0, without a number, held addresses alone.
const VERSION: u64 = 1;

/// What is known of one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Entry {
    pub(super) address: Ipv4Addr,
    #[serde(default)]
    pub(super) last_used: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) banned_since: Option<Timestamp>,
}

#[derive(Serialize)]
struct File<'a> {
    version: u64,
    peers: &'a HashMap<PeerIdentity, Entry>,
}

pub(super) fn read(path: &Path) -> Result<HashMap<PeerIdentity, Entry>, TableError> {
    let io = |cause| TableError::Io { path: path.into(), cause };
    let corrupt = |cause: String| TableError::Corrupt { path: path.into(), cause };
    match fs::metadata(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(cause) => return Err(io(cause)),
        Ok(metadata) if metadata.len() > MAX_FILE => return Err(corrupt("it is too large".into())),
        Ok(_) => {}
    }
    parse(path, &fs::read(path).map_err(io)?)
}

/// What the file at `path` holds.
pub(super) fn parse(path: &Path, text: &[u8]) -> Result<HashMap<PeerIdentity, Entry>, TableError> {
    let corrupt = |cause: String| TableError::Corrupt { path: path.into(), cause };
    let mut value: Value = serde_json::from_slice(text).map_err(|error| corrupt(error.to_string()))?;
    let version = value.get("version").map_or(0, |version| version.as_u64().unwrap_or(u64::MAX));
    let peers: HashMap<PeerIdentity, Entry> = match version {
        0 => {
            let addresses: HashMap<PeerIdentity, Ipv4Addr> =
                serde_json::from_value(value).map_err(|error| corrupt(error.to_string()))?;
            let entry = |address| Entry { address, last_used: Timestamp::default(), banned_since: None };
            addresses.into_iter().map(|(peer, address)| (peer, entry(address))).collect()
        }
        VERSION => serde_json::from_value(value.get_mut("peers").map(Value::take).unwrap_or_default())
            .map_err(|error| corrupt(error.to_string()))?,
        found => return Err(TableError::Newer { path: path.into(), found, known: VERSION }),
    };
    let distinct: std::collections::HashSet<_> = peers.values().map(|entry| entry.address).collect();
    if distinct.len() < peers.len() {
        return Err(corrupt("two peers have one address".into()));
    }
    Ok(peers)
}

/// Whole or not at all: written beside, synced and renamed.
pub(super) fn write(path: &Path, peers: &HashMap<PeerIdentity, Entry>) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut folder = fs::DirBuilder::new();
    folder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
    folder.create(parent)?;
    let temporary = path.with_extension("new");
    // One that a crash left behind keeps its mode otherwise.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = write_new(&temporary, peers).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written?;
    fs::File::open(parent)?.sync_all()
}

/// A new file for its owner alone: it says whom this node knows.
fn write_new(path: &Path, peers: &HashMap<PeerIdentity, Entry>) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(&serde_json::to_vec_pretty(&File { version: VERSION, peers })?)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_file_and_its_folder_are_their_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/gateway-addresses.json");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        write(&path, &HashMap::new()).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        // Earlier versions left it, and what a crash leaves behind, open to others.
        fs::write(path.with_extension("new"), "cut sho").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write(&path, &HashMap::new()).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(read(&path).unwrap().is_empty());
    }
}
