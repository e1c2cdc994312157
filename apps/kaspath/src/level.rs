//! How much is printed of what: levels, and the parts of the program that have their own.

use std::{fmt, str::FromStr};

use serde::Serialize;

/// Parts of a specification.
const MAX_PARTS: usize = 32;

/// How much a line asks for attention. A lower one is more important.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Only in a filter: nothing is printed.
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    const ALL: [Self; 6] = [Self::Off, Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// The priority of syslog, which journald reads too.
    pub(crate) fn priority(self) -> u8 {
        match self {
            Self::Off | Self::Error => 3,
            Self::Warn => 4,
            Self::Info => 6,
            Self::Debug | Self::Trace => 7,
        }
    }
}

impl From<tracing::Level> for Level {
    fn from(level: tracing::Level) -> Self {
        match level {
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::INFO => Self::Info,
            tracing::Level::DEBUG => Self::Debug,
            _ => Self::Trace,
        }
    }
}

/// A part of the program with a level of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Subsystem {
    /// libp2p, plain TCP, relays, punches.
    Transport,
    /// Sessions that move between paths.
    Session,
    /// Which ways to a peer are tried.
    Policy,
    /// The gateway, and kaspad's RPC.
    Gateway,
    /// Kaspa's P2P protocol of server and client.
    Kaspa,
    /// Peers that relays tell of.
    Discovery,
    /// The book of peers.
    Book,
    /// The control socket.
    Control,
    /// All else of this program.
    Program,
    /// What this program is built from.
    Libraries,
}

impl Subsystem {
    pub(crate) const ALL: [Self; 10] = [
        Self::Transport,
        Self::Session,
        Self::Policy,
        Self::Gateway,
        Self::Kaspa,
        Self::Discovery,
        Self::Book,
        Self::Control,
        Self::Program,
        Self::Libraries,
    ];

    /// By how the target of a log begins. The first that fits counts.
    const TARGETS: [(&'static str, Self); 9] = [
        ("kaspath_transport", Self::Transport),
        ("kaspath_session", Self::Session),
        ("kaspath_policy", Self::Policy),
        ("kaspath_gateway", Self::Gateway),
        ("kaspath_kaspad_rpc", Self::Gateway),
        ("kaspath_kaspa_adaptor", Self::Kaspa),
        ("kaspath_peer_store", Self::Book),
        ("kaspath_control", Self::Control),
        ("kaspath", Self::Program),
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Transport => "transport",
            Self::Session => "session",
            Self::Policy => "policy",
            Self::Gateway => "gateway",
            Self::Kaspa => "kaspa",
            Self::Discovery => "discovery",
            Self::Book => "book",
            Self::Control => "control",
            Self::Program => "program",
            Self::Libraries => "libraries",
        }
    }

    /// Whose log it is.
    pub(crate) fn of_target(target: &str) -> Self {
        Self::TARGETS.into_iter().find(|(prefix, _)| target.starts_with(prefix)).map_or(Self::Libraries, |(_, of)| of)
    }
}

/// What `--log-level` says: `LEVEL` for this program, `SUBSYSTEM=LEVEL` for a part of it,
/// joined by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LevelSpec(Vec<(Option<Subsystem>, Level)>);

impl FromStr for LevelSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).take(MAX_PARTS + 1).collect();
        if parts.is_empty() || parts.len() > MAX_PARTS {
            return Err(format!("give 1 to {MAX_PARTS} levels, such as \"info,session=debug\""));
        }
        let level = |name: &str| {
            let names = || Level::ALL.map(Level::name).join(", ");
            let found = Level::ALL.into_iter().find(|level| level.name().eq_ignore_ascii_case(name));
            found.ok_or_else(|| format!("there is no level {name:?}: {}", names()))
        };
        let subsystem = |name: &str| {
            let names = || Subsystem::ALL.map(Subsystem::name).join(", ");
            let found = Subsystem::ALL.into_iter().find(|of| of.name().eq_ignore_ascii_case(name));
            found.ok_or_else(|| format!("there is no subsystem {name:?}: {}", names()))
        };
        let parse = |part: &str| match part.split_once('=') {
            Some((of, name)) => Ok((Some(subsystem(of.trim())?), level(name.trim())?)),
            None => Ok((None, level(part)?)),
        };
        parts.into_iter().map(parse).collect::<Result<_, _>>().map(Self)
    }
}

/// The level of each subsystem: what is less important is not printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Filter([Level; Subsystem::ALL.len()]);

impl Default for Filter {
    fn default() -> Self {
        Self::new(0, None)
    }
}

impl Filter {
    /// `verbose` counts `-v`; what `spec` says comes after it.
    pub(crate) fn new(verbose: u8, spec: Option<&LevelSpec>) -> Self {
        let (ours, libraries) = match verbose {
            0 => (Level::Info, Level::Warn),
            1 => (Level::Debug, Level::Warn),
            _ => (Level::Trace, Level::Debug),
        };
        let mut filter = Self([ours; Subsystem::ALL.len()]);
        filter.0[Subsystem::Libraries as usize] = libraries;
        let parts = spec.map(|spec| spec.0.as_slice()).unwrap_or_default();
        // What names no subsystem is for all of ours, wherever it stands.
        for (_, level) in parts.iter().filter(|(of, _)| of.is_none()) {
            filter.0[..Subsystem::Libraries as usize].fill(*level);
        }
        for (of, level) in parts.iter().filter_map(|(of, level)| Some((of.as_ref()?, level))) {
            filter.0[*of as usize] = *level;
        }
        filter
    }

    pub(crate) fn level(&self, of: Subsystem) -> Level {
        self.0[of as usize]
    }

    /// Whether a line of that level is printed.
    pub(crate) fn allows(&self, of: Subsystem, level: Level) -> bool {
        level <= self.level(of)
    }

    /// Whether debug logs of any part are asked for.
    pub(crate) fn is_verbose(&self) -> bool {
        self.0.iter().any(|level| *level >= Level::Debug)
    }
}

/// As directives of `tracing`.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let libraries = self.level(Subsystem::Libraries);
        f.write_str(libraries.name())?;
        if libraries == Level::Warn {
            // yamux warns of every connection that is closed by the other side first.
            f.write_str(",yamux=error")?;
        }
        Subsystem::TARGETS.iter().try_for_each(|(target, of)| write!(f, ",{target}={}", self.level(*of).name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(verbose: u8, spec: &str) -> Filter {
        Filter::new(verbose, Some(&spec.parse().unwrap()))
    }

    #[test]
    fn a_subsystem_has_its_own_level_and_the_rest_the_one_without_a_name() {
        let filter = filter(0, "session=debug, warn,libraries=off");
        assert!(filter.allows(Subsystem::Session, Level::Debug) && !filter.allows(Subsystem::Session, Level::Trace));
        assert!(filter.allows(Subsystem::Gateway, Level::Warn) && !filter.allows(Subsystem::Gateway, Level::Info));
        assert!(!filter.allows(Subsystem::Libraries, Level::Error) && filter.is_verbose());
        assert!(!Filter::default().is_verbose() && Filter::default().allows(Subsystem::Policy, Level::Info));
        let verbose = Filter::new(1, Some(&"book=warn".parse().unwrap()));
        assert_eq!((verbose.level(Subsystem::Book), verbose.level(Subsystem::Kaspa)), (Level::Warn, Level::Debug));
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_right_ones() {
        let error = |text: &str| text.parse::<LevelSpec>().unwrap_err();
        assert!(error("sessoin=debug").contains("transport, session, policy, gateway, kaspa, discovery, book, control"));
        assert!(error("session=loud").contains("off, error, warn, info, debug, trace"));
        assert!(error("").contains("info,session=debug") && error(&"info,".repeat(1000)).contains("32"));
    }

    #[test]
    fn the_target_of_a_log_names_its_subsystem() {
        for (target, of) in [
            ("kaspath_transport_libp2p::swarm", Subsystem::Transport),
            ("kaspath_kaspad_rpc", Subsystem::Gateway),
            ("kaspath_peer_store::file", Subsystem::Book),
            ("kaspath::gateway", Subsystem::Program),
            ("libp2p_identify::behaviour", Subsystem::Libraries),
        ] {
            assert_eq!(Subsystem::of_target(target), of);
        }
        let directives = filter(0, "info,transport=trace").to_string();
        assert!(directives.starts_with("warn,yamux=error,kaspath_transport=trace,") && directives.ends_with(",kaspath=info"));
        assert!(directives.parse::<tracing_subscriber::EnvFilter>().is_ok());
    }
}
