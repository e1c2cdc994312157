//! Who may use a relay: the list in flags and file, and the file that it may name.

use std::{path::Path, str::FromStr};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use kaspath_domain::{IpPrefix, PeerIdentity};
use kaspath_transport_libp2p::{RelayAccess, RelayPeers};
use serde::{Deserialize, Deserializer};

use super::text_file;

/// Bytes of a file with a list.
const MAX_FILE: u64 = 1 << 20;
/// Entries of a list: each request is compared with each prefix.
const MAX_ENTRIES: usize = 4096;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AccessMode {
    #[default]
    Everyone,
    Allow,
    Deny,
}

/// A peer, or where peers come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AccessEntry {
    Peer(PeerIdentity),
    Prefix(IpPrefix),
}

impl FromStr for AccessEntry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let peer = text.parse().map(Self::Peer).ok();
        peer.or_else(|| text.parse().map(Self::Prefix).ok()).ok_or_else(|| {
            format!("{text:?} is neither a peer id nor an IP address or prefix, like 192.0.2.7, 192.0.2.0/24 or 2001:db8::/48")
        })
    }
}

impl<'de> Deserialize<'de> for AccessEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Joins the mode, the list and the file's list.
pub(super) fn resolve(mode: AccessMode, list: &[AccessEntry], file: Option<&Path>) -> Result<RelayAccess> {
    let mut entries = list.to_vec();
    if let Some(path) = file {
        entries.extend(read(path)?);
    }
    let is_listed = !list.is_empty() || file.is_some();
    if mode == AccessMode::Everyone {
        if is_listed {
            bail!("access-list and access-file say who may use the relay, but access is everyone: set access to allow or deny");
        }
        return Ok(RelayAccess::Everyone);
    }
    if entries.is_empty() {
        let (mode, effect) = if mode == AccessMode::Allow { ("allow", "nobody") } else { ("deny", "everybody") };
        bail!("access is {mode} with an empty list, which allows {effect}: name peers in access-list or access-file");
    }
    if entries.len() > MAX_ENTRIES {
        bail!("access-list and access-file have {} entries, more than {MAX_ENTRIES}: use prefixes, or a token", entries.len());
    }
    let mut listed = RelayPeers::default();
    for entry in entries {
        match entry {
            AccessEntry::Peer(peer) => drop(listed.peers.insert(peer)),
            AccessEntry::Prefix(prefix) => listed.prefixes.push(prefix),
        }
    }
    Ok(if mode == AccessMode::Allow { RelayAccess::Allow(listed) } else { RelayAccess::Deny(listed) })
}

fn read(path: &Path) -> Result<Vec<AccessEntry>> {
    let text = text_file::read("access-file", path, MAX_FILE)?;
    let mut entries = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let entry = line.split('#').next().unwrap_or_default().trim();
        if !entry.is_empty() {
            let parsed = entry.parse::<AccessEntry>().map_err(anyhow::Error::msg);
            entries.push(parsed.with_context(|| format!("line {} of the access-file {}", number + 1, path.display()))?);
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    #[test]
    fn a_list_and_its_file_are_joined() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("access");
        fs::write(&file, format!("# friends\n{PEER}  # the first\n\n2001:db8::/48\n")).unwrap();
        let list = ["192.0.2.0/24".parse().unwrap()];
        let RelayAccess::Allow(listed) = resolve(AccessMode::Allow, &list, Some(&file)).unwrap() else { panic!("allowed") };
        assert!(listed.peers.contains(&PEER.parse().unwrap()) && listed.prefixes.len() == 2, "{listed:?}");
        assert!(matches!(resolve(AccessMode::Deny, &list, None).unwrap(), RelayAccess::Deny(_)));
        assert_eq!(resolve(AccessMode::Everyone, &[], None).unwrap(), RelayAccess::Everyone);
    }

    #[test]
    fn a_list_that_cannot_be_meant_names_the_cure() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("access");
        let error = |mode, list: &[AccessEntry], file| format!("{:#}", resolve(mode, list, file).unwrap_err());
        let list = ["192.0.2.7".parse().unwrap()];
        assert!(error(AccessMode::Everyone, &list, None).contains("allow or deny"));
        assert!(error(AccessMode::Allow, &[], None).contains("allows nobody"));
        assert!(error(AccessMode::Deny, &list, Some(&file)).contains("access-file"), "it is not there");
        fs::write(&file, "# none\n").unwrap();
        assert!(error(AccessMode::Allow, &[], Some(&file)).contains("empty list"));
        fs::write(&file, "\n192.0.2.0/33\n").unwrap();
        let wrong = error(AccessMode::Allow, &[], Some(&file));
        assert!(wrong.contains("line 2") && wrong.contains("192.0.2.0/24"), "{wrong}");
        fs::write(&file, "192.0.2.7\n".repeat(MAX_ENTRIES + 1)).unwrap();
        assert!(error(AccessMode::Deny, &[], Some(&file)).contains("4096"));
    }
}
