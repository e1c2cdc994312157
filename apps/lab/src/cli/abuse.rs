//! Flags of the abuse scenario and of its parts.

use std::{fmt, net::Ipv4Addr, path::PathBuf, str::FromStr};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use libp2p::PeerId;

use super::CommonArgs;

/// What is attacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
pub(crate) enum TargetKind {
    Relay,
    Server,
    Gateway,
}

impl TargetKind {
    pub(crate) const ALL: [Self; 3] = [Self::Relay, Self::Server, Self::Gateway];
}

impl fmt::Display for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Relay => "relay",
            Self::Server => "server",
            Self::Gateway => "gateway",
        })
    }
}

/// How it is attacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AttackKind {
    /// Connections that say nothing.
    Silent,
    /// Noise handshakes that stop half way, or go on a byte at a time.
    Handshaking,
    /// A reservation for each of many identities.
    Reserving,
    /// Circuits that carry nothing.
    CircuitOpening,
    /// Requests whose answers are never read.
    SlowReading,
    /// Random bytes, before and after the handshakes.
    Garbage,
    /// A few kilobytes of gzip that become very many, before Version.
    GzipBombs,
    /// Circuits to ids that libp2p takes and nobody can have.
    ForgedIds,
    /// Connections and streams that are opened and closed without end.
    OpenClose,
    /// Streams on which no protocol is agreed, or that nobody accepts.
    Unnegotiated,
    /// QUIC Initials from addresses that are not the sender's.
    SpoofedInitials,
    /// Identify pushes made to be logged.
    IdentifyPushes,
}

impl AttackKind {
    /// Whether this makes sense against that.
    pub(crate) fn applies_to(self, target: TargetKind) -> bool {
        match self {
            Self::Reserving | Self::ForgedIds => target == TargetKind::Relay,
            Self::GzipBombs => target != TargetKind::Relay,
            _ => true,
        }
    }
}

impl fmt::Display for AttackKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

#[derive(Debug, Args)]
pub(crate) struct AbuseArgs {
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// How long each flood lasts; 50 seconds are 10,000 connections.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(5..=300))]
    pub(crate) seconds: u64,
    /// Ten seconds a kind, against all targets at once: less than 4 minutes.
    #[arg(long, conflicts_with = "seconds")]
    pub(crate) short: bool,
    /// Only this kind; may be given several times.
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) only: Vec<AttackKind>,
    /// Attack only this; may be given several times.
    #[arg(long, value_enum)]
    pub(crate) target: Vec<TargetKind>,
    /// Connections a second, from all attackers together.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(4..=400))]
    pub(crate) rate: u64,
}

/// A program under attack: where it listens, and who it is.
#[derive(Clone, Debug)]
pub(crate) struct Victim {
    pub(crate) kind: TargetKind,
    pub(crate) ip: Ipv4Addr,
    pub(crate) peer: PeerId,
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{}", self.kind, self.ip, self.peer)
    }
}

impl FromStr for Victim {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split(',');
        let mut part = || parts.next().with_context(|| format!("{text:?} is no victim, like relay,203.0.113.1,12D3Koo..."));
        let kind = TargetKind::from_str(part()?, true).map_err(anyhow::Error::msg)?;
        let ip: Ipv4Addr = part()?.parse()?;
        // Only ranges in which nobody lives: outside the lab this attacks nothing.
        if !(ip.is_documentation() || ip.octets()[0] == 198 && matches!(ip.octets()[1], 18 | 19)) {
            bail!("{ip} is not an address of the lab");
        }
        Ok(Self { kind, ip, peer: part()?.parse()? })
    }
}

#[derive(Debug, Args)]
pub(crate) struct AttackArgs {
    #[arg(value_enum)]
    pub(crate) kind: AttackKind,
    /// Whom to attack, in turn.
    #[arg(long, required = true)]
    pub(crate) target: Vec<Victim>,
    /// The relay, by which servers and gateways are reached as well.
    #[arg(long)]
    pub(crate) relay: Victim,
    /// Connections a second.
    #[arg(long)]
    pub(crate) rate: u64,
    /// Connections in all.
    #[arg(long)]
    pub(crate) count: u64,
    /// The first of 16,384 addresses that may be forged.
    #[arg(long)]
    pub(crate) forged: Ipv4Addr,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct HonestArgs {
    /// Folder of the identities.
    #[arg(long)]
    pub(crate) keys: PathBuf,
    /// Which of the two hosts this is, or a third with new peers that come afterwards.
    #[arg(long)]
    pub(crate) side: String,
    #[arg(long)]
    pub(crate) relay: Victim,
    #[arg(long)]
    pub(crate) server: Victim,
    #[arg(long)]
    pub(crate) gateway: Victim,
    /// Reserve, connect and exchange once, then end.
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WitnessArgs {
    /// The relay's address with its peer id.
    #[arg(long)]
    pub(crate) relay: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_the_lab_is_attacked() {
        let victim = |ip: &str| format!("relay,{ip},12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN").parse::<Victim>();
        assert!(victim("203.0.113.1").is_ok() && victim("198.19.13.2").is_ok());
        for ip in ["192.0.3.1", "198.20.0.1", "127.0.0.1", "10.0.0.1", "8.8.8.8"] {
            assert!(victim(ip).is_err(), "{ip}");
        }
    }
}
