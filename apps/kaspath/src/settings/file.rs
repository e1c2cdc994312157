use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use kaspath_domain::PeerLocator;
use kaspath_kaspa_adaptor::KaspaNetwork;
use kaspath_policy::StrategyName;
use serde::Deserialize;

/// Larger than any sensible file.
const MAX_FILE: u64 = 1 << 20;

/// The configuration file: TOML, the long flags' names as keys.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ConfigFile {
    pub(super) appdir: Option<PathBuf>,
    pub(super) identity: Option<PathBuf>,
    pub(super) redact: bool,
    pub(super) listen: Vec<PeerLocator>,
    pub(super) external_address: Vec<PeerLocator>,
    pub(super) no_autonat: bool,
    pub(super) relay: Vec<PeerLocator>,
    pub(super) remote: Vec<PeerLocator>,
    pub(super) network: Option<KaspaNetwork>,
    pub(super) policy: Option<StrategyName>,
    pub(super) kaspa_listen: Option<SocketAddr>,
    pub(super) kaspad: Option<SocketAddr>,
    pub(super) kaspad_rpc: Option<String>,
    pub(super) inbound: Inbound,
    pub(super) relay_server: RelayServer,
}

/// How many inbound peers a node takes.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Inbound {
    pub(super) total: Option<usize>,
    pub(super) per_address: Option<usize>,
    pub(super) per_prefix: Option<usize>,
    pub(super) per_relay: Option<usize>,
    pub(super) newcomers: Option<usize>,
}

/// The relay's limits.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RelayServer {
    pub(super) max_reservations: Option<usize>,
    pub(super) max_circuits: Option<usize>,
    pub(super) max_circuits_per_peer: Option<usize>,
    /// Seconds.
    pub(super) max_circuit_duration: Option<u64>,
    pub(super) max_circuit_bytes: Option<u64>,
}

impl ConfigFile {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let reading = || format!("cannot read the configuration file {}", path.display());
        if fs::metadata(path).with_context(reading)?.len() > MAX_FILE {
            bail!("the configuration file {} is larger than 1 MiB", path.display());
        }
        let text = fs::read_to_string(path).with_context(reading)?;
        toml::from_str(&text).with_context(|| format!("in the configuration file {}", path.display()))
    }
}
