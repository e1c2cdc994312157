//! Flags of programs that run.

use std::{
    net::SocketAddr,
    num::{NonZeroU64, NonZeroUsize},
    path::PathBuf,
};

use clap::Args;
use kaspath_domain::{PeerIdentity, PeerLocator};
use kaspath_kaspa_adaptor::KaspaNetwork;
use kaspath_policy::StrategyName;

use super::common::CommonArgs;
use crate::settings::{RelayLimits, Serve, Target};

#[derive(Debug, Args)]
pub(crate) struct RelayArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// A relay that tells nodes of this one, once it has dialled it; may be given several times.
    #[arg(short, long, value_name = "MULTIADDR")]
    pub(crate) relay: Vec<PeerLocator>,

    #[command(
        flatten,
        next_help_heading = "Limits and access; each is a key of [relay-server] in the file too (`kaspath config example` has the defaults)"
    )]
    pub(crate) limits: RelayLimits,
}

/// Which peers to reach, where and how.
#[derive(Debug, Args)]
pub(crate) struct PeerArgs {
    /// A relay to be found through; may be given several times, also to name several addresses of one.
    #[arg(short, long, value_name = "MULTIADDR")]
    pub(crate) relay: Vec<PeerLocator>,

    /// A list of relays, besides: a file with an address a line, or a DNS name whose TXT records list them
    /// (_dnsaddr.NAME, as libp2p's /dnsaddr/NAME). It is read again when its time is over, and at SIGHUP.
    #[arg(long, value_name = "FILE|NAME")]
    pub(crate) relay_list: Option<String>,

    /// Use the relays alone that --relay and --relay-list give. Otherwise this node also asks, and reserves
    /// at, relays that others tell of, and reaches peers through theirs.
    #[arg(long)]
    pub(crate) only_given_relays: bool,

    /// Do not connect within the local network. Otherwise a peer that a relay says comes from the same
    /// public address is given this node's private addresses, and dialled at its own.
    #[arg(long)]
    pub(crate) no_lan: bool,

    /// A file with the tokens of private relays, which only its owner may be able to read: a line
    /// `RELAY_ID TOKEN` for each, or the token alone for the only relay.
    #[arg(long, value_name = "FILE")]
    pub(crate) relay_token_file: Option<PathBuf>,

    /// A peer to reach: a multiaddr, a circuit through a relay, or host:port of a plain Kaspa node. Only
    /// the peer id is needed for one that this node has reached before.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) remote: Vec<Target>,

    /// The peer id expected at remotes whose address names none.
    #[arg(long, value_name = "PEER_ID")]
    pub(crate) remote_peer_id: Option<PeerIdentity>,

    /// Kaspa network: mainnet, testnet-10, simnet or devnet.  [default: mainnet]
    #[arg(short, long)]
    pub(crate) network: Option<KaspaNetwork>,

    /// Keep sessions with so many peers that relays tell of, beside those of --remote; 0 asks for none. Every
    /// relay that this node knows is asked, and thus sees its address.  [default: 4]
    #[arg(long, value_name = "N")]
    pub(crate) discover: Option<u8>,

    /// Do not list this node. Otherwise its relays tell anybody who asks its identity, its Kaspa network,
    /// its kind of NAT and the relays that it is reached through, and a public node's address; others
    /// reach it by that.
    #[arg(long)]
    pub(crate) unlisted: bool,

    /// Find the members of a private group, and nobody else: a file with the group's secret, the same at
    /// each member, which only its owner may be able to read. Relays learn the group's name, not its
    /// secret; who has the secret is a member.
    #[arg(long, value_name = "FILE")]
    pub(crate) group: Option<PathBuf>,

    /// Do not ask the router to forward the ports that this node listens on (PCP, NAT-PMP, UPnP), nor
    /// kaspad's under `run`.
    #[arg(long)]
    pub(crate) no_port_mapping: bool,

    /// Serve others as a relay, with 32 reservations, 16 circuits and 1 MB/s at most.
    /// [default: when-reachable; never for a client]
    #[arg(long, value_name = "WHEN")]
    pub(crate) serve: Option<Serve>,

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
    pub(crate) peers: PeerArgs,

    /// Where kaspad listens for peers; must be IPv4 loopback.  [default: 127.0.0.1 and the network's port]
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) kaspad: Option<SocketAddr>,

    /// kaspad's JSON RPC, by which its bans and its state are followed; "off" does not use it.
    /// [default: ws://127.0.0.1 and the network's port]
    #[arg(long, value_name = "URL")]
    pub(crate) kaspad_rpc: Option<String>,

    /// Also accept peers that speak /kaspad/transport/1.0.0, whatever their Kaspa network: kaspad checks that.
    #[arg(long)]
    pub(crate) accept_kaspad_transport: bool,

    /// Inbound peers in all; per address, prefix and relay see the configuration file.  [default: 8]
    #[arg(long, value_name = "N")]
    pub(crate) max_inbound: Option<NonZeroUsize>,
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
    pub(crate) peers: PeerArgs,

    /// Also serve plain Kaspa peers over TCP there.
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) kaspa_listen: Option<SocketAddr>,

    /// Try each remote once; exit with an error if one cannot be reached, and when the sessions end.
    #[arg(long)]
    pub(crate) once: bool,

    /// Announce a made-up transaction at this interval, to see gossip flow; never sent to a kaspad.
    #[arg(long, value_name = "MILLISECONDS")]
    pub(crate) test_traffic: Option<NonZeroU64>,
}
