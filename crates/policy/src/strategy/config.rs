//! What strategies are made from.

use std::{fmt, str::FromStr, time::Duration};

use kaspath_domain::{Punching, RetryCadence, TransportSet};
use serde::{Deserialize, Serialize};

/// Time given to the ways of reaching a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A direct dial.
    pub direct: Duration,
    /// Between direct dials that race (RFC 8305 asks for 100 ms to 2 s).
    pub stagger: Duration,
    /// A punch, from the relay's being dialled to a direct stream.
    pub punch: Duration,
    /// A stream over the relay.
    pub relayed: Duration,
    /// How long a punch goes on before a relayed plain stream is opened beside it. Sessions do
    /// not wait.
    pub relay_after: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            direct: Duration::from_secs(5),
            stagger: Duration::from_millis(250),
            punch: Duration::from_secs(15),
            relayed: Duration::from_secs(15),
            relay_after: Duration::from_secs(6),
        }
    }
}

/// A strategy's name, as flags and files give it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StrategyName {
    /// Direct where possible, the relay where nothing else works.
    #[default]
    Balanced,
    /// Direct and punched paths over TCP, and the relay.
    TcpOnly,
    /// Direct and punched paths over QUIC, and the relay.
    QuicOnly,
    /// Only the relay; never punch.
    RelayOnly,
    /// Direct and punched paths; never stay on the relay.
    DirectOnly,
    /// Direct and punched paths; the relay once all of them have failed.
    DirectFirst,
    /// As balanced, with QUIC before TCP.
    QuicFirst,
    /// As balanced, learning where a punch pays.
    Adaptive,
}

impl StrategyName {
    /// Every name, for help texts.
    pub const ALL: [(&'static str, StrategyName); 8] = [
        ("balanced", StrategyName::Balanced),
        ("tcp-only", StrategyName::TcpOnly),
        ("quic-only", StrategyName::QuicOnly),
        ("relay-only", StrategyName::RelayOnly),
        ("direct-only", StrategyName::DirectOnly),
        ("direct-first", StrategyName::DirectFirst),
        ("quic-first", StrategyName::QuicFirst),
        ("adaptive", StrategyName::Adaptive),
    ];

    pub(super) fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, strategy)| *strategy == self).map_or("?", |(name, _)| *name)
    }
}

impl fmt::Display for StrategyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for StrategyName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, strategy)| *strategy).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|(name, _)| *name).collect();
            format!("{text:?} is not a policy; choose one of {}", names.join(", "))
        })
    }
}

/// What a strategy is made from.
#[derive(Clone, Debug)]
pub struct StrategyConfig {
    /// Which one.
    pub name: StrategyName,
    /// Its times.
    pub timing: Timing,
    /// When punches are repeated.
    pub cadence: RetryCadence,
}

impl StrategyConfig {
    /// The named strategy with the default times.
    pub fn new(name: StrategyName) -> Self {
        Self { name, timing: Timing::default(), cadence: RetryCadence::punch() }
    }

    pub(super) fn punching(&self, transports: TransportSet) -> Punching {
        Punching { transports, cadence: self.cadence.clone() }
    }
}
