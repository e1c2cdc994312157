//! Whether others can reach a node, and whether it serves them then.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use kaspath_transport_libp2p::{NetworkConfig, RelayServerConfig, ServeWhen};
use serde::Deserialize;

use super::units::Span;

/// The shortest time between two checks: others dial for each.
const SHORTEST: Duration = Duration::from_secs(10);

/// When a node serves others as a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Serve {
    /// As long as others can reach it.
    WhenReachable,
    /// Never.
    Never,
    /// Without waiting for a proof.
    Always,
}

/// The section of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Reachability {
    pub(super) serve: Option<Serve>,
    pub(super) ask: Option<bool>,
    pub(super) help: Option<bool>,
    pub(super) check_interval: Option<Span>,
}

/// A node serves as the flag says, else the file, else `default`; without `asks` it asks no
/// relay whether it can be reached.
pub(super) fn apply(
    config: &mut NetworkConfig,
    flag: Option<Serve>,
    given: &Reachability,
    default: Serve,
    asks: bool,
) -> Result<()> {
    let serve = flag.or(given.serve).unwrap_or(default);
    config.relay_server = (serve != Serve::Never).then(RelayServerConfig::of_node);
    config.serve = if serve == Serve::Always { ServeWhen::Always } else { ServeWhen::Reachable };
    checks(config, given, asks)
}

/// How it is checked whether others can reach this program; of a relay too.
pub(super) fn checks(config: &mut NetworkConfig, given: &Reachability, asks: bool) -> Result<()> {
    let reach = &mut config.reach;
    reach.ask = given.ask.unwrap_or(reach.ask) && asks;
    reach.help = given.help.unwrap_or(reach.help);
    if let Some(Span(interval)) = given.check_interval {
        ensure!(
            interval >= SHORTEST,
            "reachability.check-interval is {interval:?}: others dial for each check, so it is 10s at least"
        );
        reach.check_interval = interval;
    }
    Ok(())
}
