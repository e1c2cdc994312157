mod abuse;
mod alerts;
mod common;
mod discovery;
mod page;
mod rates;
mod survive;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::net::NatKind;
pub(crate) use abuse::{AbuseArgs, AttackArgs, AttackKind, HonestArgs, TargetKind, Victim, WitnessArgs};
pub(crate) use alerts::AlertsArgs;
pub(crate) use common::CommonArgs;
pub(crate) use discovery::{DiscoveryArgs, DiscoveryPart};
pub(crate) use page::{BrowseArgs, PageArgs};
pub(crate) use rates::{FlowsArgs, RatesArgs};
pub(crate) use survive::{Fault, SurviveArgs};

/// Two private hosts behind real NATs, a relay, and what comes of it.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The main job, live: a port-restricted pair punched, then a symmetric pair on the relay.
    Demo(CommonArgs),
    /// Every pair of NAT kinds over TCP and QUIC; fails if one ends otherwise than it must.
    Matrix(MatrixArgs),
    /// Time to direct and to the first answer beside a stock swarm; throughput of plain streams and sessions beside iperf3.
    Bench(BenchArgs),
    /// A session moves from the relay to a direct path when the NATs begin to allow one, and back when it dies.
    Paths(CommonArgs),
    /// The status page of a node in a browser: it shows that move within two seconds, as `kaspath status` does.
    Page(PageArgs),
    /// A running client is told another policy by its file and SIGHUP, and leaves the relay for a direct path.
    Reload(CommonArgs),
    /// A program with a policy of its own reaches a stock server, as docs/policies.md shows.
    OwnPolicy(OwnPolicyArgs),
    /// A real kaspad, both ways round, over plain TCP.
    Kaspad(KaspadArgs),
    /// Two unmodified kaspads behind NATs, synced through gateways over the punched path.
    Gateway(GatewayArgs),
    /// The same pair with each part restarted in turn: it must find itself again, with the same addresses.
    Restarts(KaspadsArgs),
    /// The same pair through every fault of its path: kaspad's connection must live on.
    Survive(SurviveArgs),
    /// Ten gateways around one kaspad: stable addresses, and a ban that hits just one.
    Crowd(KaspadsArgs),
    /// What an idle peer costs a gateway, in memory, over TCP and over QUIC.
    Memory(MemoryArgs),
    /// Floods from four hosts against a relay, a server and a gateway, with honest peers beside them.
    Abuse(AbuseArgs),
    /// Every alert of monitoring/rules fires from its cause and clears after it, in a real Prometheus.
    Alerts(AlertsArgs),
    /// A relay on the wildcard announces its public addresses and no others, also when they change.
    Addresses(CommonArgs),
    /// A relay behind a cloud's one-to-one NAT: its servers are reachable at its public address.
    OneToOne(CommonArgs),
    /// A server that starts before its relay's name resolves gets its reservation when it does.
    LateDns(CommonArgs),
    /// Peers of both families, and peers in one LAN, each pair over one relay: who connects directly and
    /// where, and what keeps others on the relay. One host has IPv6 turned off.
    Families(CommonArgs),
    /// Nodes of all kinds that know one relay find each other and more relays, also one on their LAN.
    Discovery(DiscoveryArgs),
    /// Two kaspads behind NATs sync with nothing but the DNS name of a list of relays on their command lines.
    Dnsaddr(KaspadsArgs),
    /// A public node with a kaspad and without any settings serves others as a relay and tells them of its
    /// kaspad, until strangers cannot reach it.
    PublicNode(PublicNodeArgs),
    /// A router that maps ports at its host's request: the real miniupnpd, by PCP, NAT-PMP and UPnP IGD.
    Mapping(CommonArgs),
    /// Circuits that send as fast as they can, through a relay whose owner set rates.
    Rates(RatesArgs),
    /// A part of the abuse scenario: one attacking host.
    #[command(hide = true)]
    Attack(AttackArgs),
    /// A part of the abuse scenario: honest peers on one host.
    #[command(hide = true)]
    Honest(HonestArgs),
    /// A part of the page scenario: a browser that prints what a status page shows.
    #[command(hide = true)]
    Browse(BrowseArgs),
    /// A part of the addresses scenario: reserves at a relay and prints what it is told.
    #[command(hide = true)]
    Witness(WitnessArgs),
    /// A part of the memory scenario: many peers of one gateway, all idle.
    #[command(hide = true)]
    Idle(IdleArgs),
    /// A part of the scenarios with kaspads: drives a kaspad's RPC, then prints its state.
    #[command(hide = true)]
    Rpc(RpcArgs),
    /// A part of the bench: a swarm of stock libp2p behaviours.
    #[command(hide = true)]
    Stock(StockArgs),
    /// A part of the rates scenario: many nodes that send or receive over the relay.
    #[command(hide = true)]
    Flows(FlowsArgs),
    /// A part of the bench: sends or receives bytes over one stream.
    #[command(hide = true)]
    Pump(PumpArgs),
}

#[derive(Debug, Args)]
pub(crate) struct MatrixArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// Only pairs whose name contains this, like "symmetric x full-cone" or "quic".
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// Punches, and first answers, per swarm and transport.
    #[arg(long, default_value_t = 20)]
    pub(crate) runs: usize,
    /// The client's NAT.
    #[arg(long, value_enum, default_value_t = NatKind::PortRestricted)]
    pub(crate) client_nat: NatKind,
    /// The server's NAT.
    #[arg(long, value_enum, default_value_t = NatKind::PortRestricted)]
    pub(crate) server_nat: NatKind,
    /// Only this part; may be given several times.
    #[arg(long, value_enum, value_name = "PART")]
    pub(crate) only: Vec<BenchPart>,
    /// Seconds per throughput measurement, at most 250.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=250))]
    pub(crate) seconds: u8,
    /// Pairs of throughput measurements, a plain stream and then a session, per transport.
    #[arg(long, default_value_t = 5)]
    pub(crate) pairs: usize,
    /// Measure throughput on wires with the delay, and of so many megabits a second.  [default: without delay, as fast as the machine can]
    #[arg(long, value_name = "MBIT", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) rate: Option<u64>,
}

/// What the bench measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchPart {
    TimeToDirect,
    FirstAnswer,
    Throughput,
}

#[derive(Debug, Args)]
pub(crate) struct KaspadArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// The kaspad program.
    #[arg(long, value_name = "FILE", env = "KASPAD")]
    pub(crate) kaspad: PathBuf,
    /// How long both sessions must stand.
    #[arg(long, default_value_t = 300)]
    pub(crate) seconds: u64,
}

#[derive(Debug, Args)]
pub(crate) struct MemoryArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// Peers.
    #[arg(long, default_value_t = 500)]
    pub(crate) peers: usize,
    /// The most that one may cost.
    #[arg(long, value_name = "KIB", default_value_t = 64)]
    pub(crate) max_kib: u64,
    /// Bytes that each sends and gets back before it is idle.
    #[arg(long, value_name = "BYTES", default_value_t = 4096)]
    pub(crate) warm_up: usize,
}

#[derive(Debug, Args)]
pub(crate) struct IdleArgs {
    /// The gateway.
    #[arg(long)]
    pub(crate) remote: String,
    #[arg(long)]
    pub(crate) peers: usize,
    #[arg(long)]
    pub(crate) warm_up: usize,
    /// Open plain streams, and not sessions.
    #[arg(long)]
    pub(crate) plain: bool,
}

#[derive(Debug, Args)]
pub(crate) struct OwnPolicyArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// The program, which takes `client ADDRESS`.
    #[arg(long, value_name = "FILE", default_value = "target/release/examples/own_policy")]
    pub(crate) program: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct KaspadsArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// The kaspad program.
    #[arg(long, value_name = "FILE", env = "KASPAD")]
    pub(crate) kaspad: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct PublicNodeArgs {
    #[command(flatten)]
    pub(crate) kaspads: KaspadsArgs,
    /// Checks whether it can be reached each 10 minutes, as nodes do, and not each 10 s: takes up to
    /// half an hour.
    #[arg(long)]
    pub(crate) default_checks: bool,
}

#[derive(Debug, Args)]
pub(crate) struct GatewayArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// The kaspad program.
    #[arg(long, value_name = "FILE", env = "KASPAD")]
    pub(crate) kaspad: PathBuf,
    /// Blocks that the one has and the other has not.
    #[arg(long, default_value_t = 1000)]
    pub(crate) blocks: u64,
    /// The NAT of the kaspad that syncs.
    #[arg(long, value_enum, default_value_t = NatKind::PortRestricted)]
    pub(crate) client_nat: NatKind,
    /// The NAT of the kaspad that has the blocks.
    #[arg(long, value_enum, default_value_t = NatKind::PortRestricted)]
    pub(crate) server_nat: NatKind,
    /// Also sync so often over the gateway and over plain TCP (through a forwarded port), and compare.
    #[arg(long, default_value_t = 0)]
    pub(crate) rounds: usize,
    /// The least ratio of the medians of their blocks per second.
    #[arg(long, default_value_t = 0.95)]
    pub(crate) min_ratio: f64,
}

#[derive(Debug, Args)]
pub(crate) struct RpcArgs {
    /// kaspad's JSON RPC.
    #[arg(long)]
    pub(crate) url: String,
    /// Blocks to mine first.
    #[arg(long, default_value_t = 0)]
    pub(crate) mine: u64,
    /// An address to ban first.
    #[arg(long, value_name = "IP")]
    pub(crate) ban: Option<String>,
    /// Milliseconds between two states.
    #[arg(long, default_value_t = 200)]
    pub(crate) every: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StockRole {
    Relay,
    Listener,
    Dialer,
}

#[derive(Debug, Args)]
pub(crate) struct StockArgs {
    #[arg(value_enum)]
    pub(crate) role: StockRole,
    #[arg(long)]
    pub(crate) listen: Vec<String>,
    #[arg(long)]
    pub(crate) relay: Option<String>,
    #[arg(long)]
    pub(crate) remote: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PumpArgs {
    /// Open sessions, and not plain streams.
    #[arg(long)]
    pub(crate) session: bool,
    /// Send to the remote; receive without it.
    #[arg(long)]
    pub(crate) remote: Option<String>,
    #[arg(long)]
    pub(crate) relay: Option<String>,
    /// Seconds to send before the clock starts, and to measure.
    #[arg(long, default_value_t = 0)]
    pub(crate) warm_up: u8,
    #[arg(long, default_value_t = 0)]
    pub(crate) seconds: u8,
    /// tcp or quic.
    #[arg(long, default_value = "tcp")]
    pub(crate) transport: String,
}
