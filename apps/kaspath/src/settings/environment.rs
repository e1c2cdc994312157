use std::str::FromStr;

use anyhow::{Context, Result};
use kaspath_domain::{AddressError, PeerIdentity, PeerLocator};

use super::Target;
use crate::{cli::CommonArgs, level::Filter};

/// What is printed, by the flags or else by the environment.
pub(super) fn filter(flags: &CommonArgs, lookup: &impl Fn(&str) -> Option<String>) -> Result<Filter> {
    let named = || lookup("KASPATH_LOG").filter(|text| !text.is_empty());
    let spec = match &flags.log_level {
        Some(spec) => Some(spec.clone()),
        None => {
            let parsed = named().map(|text| text.parse()).transpose();
            parsed.map_err(anyhow::Error::msg).context("environment variable KASPATH_LOG")?
        }
    };
    Ok(Filter::new(flags.verbose, spec.as_ref()))
}

/// What the environment says.
#[derive(Debug, Default)]
pub(super) struct Environment {
    pub(super) listen: Vec<PeerLocator>,
    pub(super) relays: Vec<PeerLocator>,
    pub(super) remotes: Vec<Target>,
    pub(super) remote_peer_id: Option<PeerIdentity>,
}

impl Environment {
    /// All of it. An address list may be given by either of two names.
    pub(super) fn read(lookup: &impl Fn(&str) -> Option<String>) -> Result<Self> {
        let remote_peer_id = lookup("LIBP2P_REMOTE_PEER_ID")
            .filter(|text| !text.is_empty())
            .map(|text| text.parse().context("environment variable LIBP2P_REMOTE_PEER_ID"))
            .transpose()?;
        Ok(Self {
            relays: list(lookup, ["LIBP2P_RELAY_MULTIADDRS", "LIBP2P_RELAY_MULTIADDR"])?,
            remotes: list(lookup, ["LIBP2P_REMOTE_MULTIADDRS", "LIBP2P_REMOTE_MULTIADDR"])?,
            remote_peer_id,
            ..Self::listening(lookup)?
        })
    }

    /// Only where to listen, which is all that a relay needs.
    pub(super) fn listening(lookup: &impl Fn(&str) -> Option<String>) -> Result<Self> {
        let listen = list(lookup, ["LIBP2P_LISTEN_MULTIADDRS", "LIBP2P_LISTEN_MULTIADDR"])?;
        Ok(Self { listen, ..Self::default() })
    }
}

/// Splits both variables at commas, semicolons and white space, and parses each part.
fn list<T: FromStr<Err = AddressError>>(lookup: &impl Fn(&str) -> Option<String>, names: [&str; 2]) -> Result<Vec<T>> {
    let mut all = Vec::new();
    for name in names {
        let text = lookup(name).unwrap_or_default();
        for part in text.split(|c: char| matches!(c, ',' | ';') || c.is_whitespace()).filter(|part| !part.is_empty()) {
            all.push(part.parse().with_context(|| format!("environment variable {name}"))?);
        }
    }
    Ok(all)
}
