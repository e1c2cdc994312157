use std::{
    net::SocketAddr,
    num::{NonZeroU32, NonZeroUsize},
    path::{Path, PathBuf},
};

use anyhow::{Result, anyhow};
use kaspath_domain::{MapMethod, PeerLocator};
use kaspath_kaspa_adaptor::KaspaNetwork;
use kaspath_policy::StrategyName;
use serde::Deserialize;

use super::{Target, reachability::Reachability, relay_limits::RelayLimits, text_file, units::Span};

/// Larger than any sensible file.
const MAX_FILE: u64 = 1 << 20;

/// The configuration file: TOML. What stands in no section has the long flags' names; sections have
/// names of their own, and the example names the flags beside them.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ConfigFile {
    pub(super) appdir: Option<PathBuf>,
    pub(super) identity: Option<PathBuf>,
    pub(super) control_socket: Option<PathBuf>,
    pub(super) control_group: Option<String>,
    pub(super) redact: bool,
    pub(super) listen: Vec<PeerLocator>,
    pub(super) external_address: Vec<PeerLocator>,
    pub(super) relay: Vec<PeerLocator>,
    pub(super) relay_list: Option<String>,
    pub(super) relay_token_file: Option<PathBuf>,
    pub(super) no_lan: bool,
    pub(super) remote: Vec<Target>,
    pub(super) network: Option<KaspaNetwork>,
    pub(super) policy: Option<StrategyName>,
    pub(super) kaspa_listen: Option<SocketAddr>,
    pub(super) kaspad: Option<SocketAddr>,
    pub(super) kaspad_rpc: Option<String>,
    pub(super) accept_kaspad_transport: bool,
    pub(super) inbound: Inbound,
    pub(super) connections: Connections,
    pub(super) timing: Times,
    pub(super) port_mapping: PortMapping,
    pub(super) reachability: Reachability,
    pub(super) relay_server: RelayLimits,
    pub(super) relay_pool: RelayPool,
    pub(super) web: Web,
    pub(super) discovery: Discovery,
}

/// Peers that relays tell of.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Discovery {
    pub(super) outbound: Option<u8>,
    pub(super) unlisted: bool,
    pub(super) candidates: bool,
    pub(super) group: Option<PathBuf>,
}

/// Ports that the router is asked to forward.
#[derive(Debug, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct PortMapping {
    pub(super) enabled: bool,
    pub(super) methods: Vec<MapMethod>,
}

impl Default for PortMapping {
    fn default() -> Self {
        Self { enabled: true, methods: MapMethod::ALL.to_vec() }
    }
}

/// At how many relays a node reserves.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct RelayPool {
    pub(super) reservations: Option<NonZeroUsize>,
    pub(super) minimum_hold: Option<Span>,
    pub(super) strangers: Option<bool>,
}

/// The status page.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Web {
    pub(super) listen: Option<SocketAddr>,
    pub(super) token_file: Option<PathBuf>,
}

/// How many inbound peers a node takes.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Inbound {
    pub(super) total: Option<NonZeroUsize>,
    pub(super) per_address: Option<NonZeroUsize>,
    pub(super) per_prefix: Option<NonZeroUsize>,
    pub(super) per_relay: Option<NonZeroUsize>,
    pub(super) newcomers: Option<usize>,
}

/// How many connections there may be.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Connections {
    pub(super) inbound: Option<NonZeroU32>,
    pub(super) inbound_per_address: Option<NonZeroU32>,
    pub(super) inbound_per_prefix: Option<NonZeroU32>,
    pub(super) pending_inbound: Option<NonZeroU32>,
    pub(super) pending_inbound_per_address: Option<NonZeroU32>,
    pub(super) pending_inbound_per_prefix: Option<NonZeroU32>,
    pub(super) burst_per_address: Option<NonZeroU32>,
    pub(super) burst_per_prefix: Option<NonZeroU32>,
    pub(super) outbound: Option<NonZeroU32>,
}

/// Time given to the ways of reaching a peer.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Times {
    pub(super) direct: Option<Span>,
    pub(super) stagger: Option<Span>,
    pub(super) punch: Option<Span>,
    pub(super) relayed: Option<Span>,
    pub(super) relay_after: Option<Span>,
}

impl ConfigFile {
    /// Reads the file, or takes an empty one.
    pub(super) fn read_if_any(path: Option<&Path>) -> Result<Self> {
        path.map_or_else(|| Ok(Self::default()), Self::read)
    }

    fn read(path: &Path) -> Result<Self> {
        Self::parse(path, &read_text(path)?)
    }

    fn parse(path: &Path, text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error| {
            let hint = nearest_key(error.message()).map(|key| format!("did you mean `{key}`?")).unwrap_or_default();
            if !asks_to_redact(text) {
                return anyhow!("in the configuration file {}: {error}{hint}", path.display());
            }
            // Not the line itself, which may hold an address.
            let before = error.span().map_or(0, |span| text.get(..span.start).unwrap_or_default().matches('\n').count());
            anyhow!("in the configuration file {}, line {}: {} {hint}", path.display(), before + 1, error.message())
        })
    }

    /// Whether the file asks for addresses to be hidden, even if it is wrong.
    pub(super) fn redacts(path: &Path) -> bool {
        read_text(path).is_ok_and(|text| asks_to_redact(&text))
    }
}

fn asks_to_redact(text: &str) -> bool {
    let compact = |line: &str| line.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    let is_set = |table: toml::Table| table.get("redact").and_then(toml::Value::as_bool) == Some(true);
    text.lines().any(|line| compact(line).starts_with("redact=true")) || text.parse().is_ok_and(is_set)
}

fn read_text(path: &Path) -> Result<String> {
    text_file::read("configuration file", path, MAX_FILE)
}

/// The known key that an unknown one is nearest to, from serde's message, which
/// names them all.
fn nearest_key(message: &str) -> Option<&str> {
    let (unknown, expected) = message.strip_prefix("unknown field `")?.split_once('`')?;
    let known = expected.split('`').skip(1).step_by(2);
    let (key, distance) =
        known.map(|key| (key, strsim::damerau_levenshtein(key, unknown))).min_by_key(|(_, distance)| *distance)?;
    (distance <= 3 && distance < unknown.len()).then_some(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = include_str!("../../../../docs/kaspath.example.toml");

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// The example with every key set, cut and with other characters in it.
        #[test]
        fn no_text_of_a_file_ends_the_program(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<char>()), 0..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut text: Vec<char> = EXAMPLE.lines().map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line).to_owned() + "\n").collect::<String>().chars().collect();
            for (at, with) in changes {
                let at = at.index(text.len());
                text[at] = with;
            }
            text.truncate(cut.index(text.len()) + 1);
            let text: String = text.into_iter().collect();
            if let Err(error) = ConfigFile::parse(Path::new("kaspath.toml"), &text) {
                prop_assert!(error.to_string().contains("kaspath.toml"));
            }
        }
    }
}
