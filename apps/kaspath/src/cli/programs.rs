//! Flags of programs that run.

use std::{net::SocketAddr, time::Duration};

use clap::Args;
use kaspath_domain::{AddressError, PeerAddress, PeerIdentity, PeerLocator, TransportAddress};
use kaspath_kaspa_adaptor::KaspaNetwork;
use kaspath_policy::StrategyName;

use super::common::CommonArgs;
use crate::settings::{RelayLimits, Target};

#[derive(Debug, Args)]
pub(crate) struct ListenArgs {
    /// Listen there; may be given several times. A circuit address is a relay to reserve at.
    /// [default: TCP and UDP port 4001 for a relay, any free ports else; IPv4 alone, so for IPv6 give
    /// /ip6/::/tcp/4001 and /ip6/::/udp/4001/quic-v1 beside those of /ip4/0.0.0.0]
    #[arg(short, long, value_name = "MULTIADDR")]
    pub(crate) listen: Vec<PeerLocator>,

    /// An address at which this node is known to be reachable, such as a forwarded port. Give one for
    /// TCP and one for UDP (/udp/PORT/quic-v1), if both are.
    #[arg(long, value_name = "MULTIADDR", value_parser = transport_address)]
    pub(crate) external_address: Vec<TransportAddress>,

    /// Has no effect: AutoNAT is not used any more. Accepted for existing set-ups.
    #[arg(long, hide = true)]
    pub(crate) no_autonat: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RelayArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    #[command(flatten)]
    pub(crate) limits: RelayLimits,
}

/// Whom to meet, where and how.
#[derive(Debug, Args)]
pub(crate) struct PeerArgs {
    /// A relay to be found through; may be given several times, also to name several addresses of one.
    #[arg(short, long, value_name = "MULTIADDR")]
    pub(crate) relay: Vec<PeerLocator>,

    /// A peer to reach: a multiaddr, a circuit through a relay, or host:port of a plain Kaspa node. The
    /// peer id alone is enough of one that this node has reached before.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) remote: Vec<Target>,

    /// The peer id expected at remotes whose address names none.
    #[arg(long, value_name = "PEER_ID")]
    pub(crate) remote_peer_id: Option<PeerIdentity>,

    /// Kaspa network: mainnet, testnet-10, simnet or devnet.  [default: mainnet]
    #[arg(short, long)]
    pub(crate) network: Option<KaspaNetwork>,

    /// How peers are reached: balanced, direct-first, quic-first, adaptive, tcp-only, quic-only, relay-only
    /// or direct-only.  [default: balanced]
    #[arg(long)]
    pub(crate) policy: Option<StrategyName>,
}

#[derive(Debug, Args)]
pub(crate) struct GatewayArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(flatten)]
    pub(crate) listen: ListenArgs,
    #[command(flatten)]
    pub(crate) peers: PeerArgs,

    /// Where kaspad listens for peers; must be IPv4 loopback.  [default: 127.0.0.1 and the network's port]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) kaspad: Option<SocketAddr>,

    /// kaspad's JSON RPC, by which its bans are followed and peers are added; "off" leaves it alone.
    /// [default: ws://127.0.0.1 and the network's port]
    #[arg(long, value_name = "URL")]
    pub(crate) kaspad_rpc: Option<String>,

    /// Inbound peers in all; per address, prefix and relay see the configuration file.  [default: 8]
    #[arg(long, value_name = "N")]
    pub(crate) max_inbound: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) gateway: GatewayArgs,

    /// kaspad and its flags, after `--`.
    #[arg(last = true, required = true, value_name = "KASPAD FLAGS")]
    pub(crate) kaspad_command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    #[command(flatten)]
    pub(crate) listen: ListenArgs,

    #[command(flatten)]
    pub(crate) peers: PeerArgs,

    /// Also serve plain Kaspa peers over TCP there.
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) kaspa_listen: Option<SocketAddr>,

    /// Try each remote once; exit with an error if one cannot be reached, and when the sessions end.
    #[arg(long)]
    pub(crate) once: bool,

    /// Announce a made-up transaction at this interval, to see gossip flow; never sent to a kaspad.
    #[arg(long, value_name = "MILLISECONDS", value_parser = milliseconds)]
    pub(crate) test_traffic: Option<Duration>,
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err(format!("{text:?} is no number of milliseconds, 1 or more")),
        Ok(millis) => Ok(Duration::from_millis(millis)),
    }
}

fn transport_address(text: &str) -> Result<TransportAddress, String> {
    let locator: PeerLocator = text.parse().map_err(|error: AddressError| error.to_string())?;
    match locator.address {
        PeerAddress::Direct(address) => Ok(address),
        PeerAddress::Relayed(_) => Err(format!("{text:?} goes through a relay; give a direct address")),
    }
}
