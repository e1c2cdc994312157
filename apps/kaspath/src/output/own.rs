//! What happens to the program itself: its events, and their sentences.

use std::{net::SocketAddr, time::Duration};

use kaspath_domain::{
    PeerIdentity, PeerLocator,
    time::{optional_seconds, seconds},
};
use serde::Serialize;

use super::safe;
use crate::level::Level;

/// What asks for its owner's attention, for programs that read warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WarningCode {
    /// There is nobody to reach, and no relay to be found through.
    Lonely,
    /// A transport that is listened on is not announced.
    NotAnnounced,
    /// Settings that were read again are wrong, and not applied.
    SettingsInvalid,
    /// Settings that were read again need a restart.
    RestartNeeded,
    /// The book of peers cannot be used, or was set aside.
    Book,
    /// Limits were lowered for want of file descriptors.
    Descriptors,
    /// kaspad's flags keep the gateway from something.
    KaspadFlags,
    /// A part of the program has failed, so the program ends.
    PartFailed,
    /// All others.
    Other,
}

/// Something without which the program is not of use yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Missing {
    /// What it is.
    pub(crate) part: Part,
    /// Why, as far as it is known.
    pub(crate) cause: Option<String>,
}

/// What a program waits for at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Part {
    /// A reservation at a relay, or a direct address that is announced.
    Address,
    /// A kaspad that accepts connections.
    Kaspad,
}

/// An event of the program. The serialized form is stable, and gets the sentence as `text`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum ProgramEvent {
    /// It listens.
    Started {
        role: String,
        version: &'static str,
        peer: PeerIdentity,
        listening: Vec<PeerLocator>,
        announced: Vec<PeerLocator>,
        external: Vec<PeerLocator>,
    },
    /// Nothing is missing any more. At most once.
    Ready {
        #[serde(serialize_with = "seconds")]
        after: Duration,
    },
    /// Something is missing for longer than usual. At most once.
    NotReady {
        #[serde(serialize_with = "seconds")]
        after: Duration,
        missing: Vec<Missing>,
    },
    /// Settings were read again, and these are in effect.
    SettingsChanged { changes: Vec<String> },
    /// Settings were read again, without effect.
    SettingsUnchanged,
    /// The status page and metrics are served there.
    WebListening { address: SocketAddr },
    /// A relay takes nothing new, and gives its circuits so long to move.
    DrainStarted {
        reservations: usize,
        circuits: usize,
        #[serde(serialize_with = "seconds")]
        allowed: Duration,
    },
    /// So many circuits are left and are cut.
    DrainEnded { circuits: usize },
    /// Plain Kaspa peers are served there.
    KaspaListening { address: SocketAddr },
    /// A peer that is to be kept reached could not be.
    PeerUnreachable { target: String, cause: String },
    /// It is tried again.
    Retrying {
        target: String,
        #[serde(serialize_with = "seconds")]
        retry_in: Duration,
    },
    /// kaspad's P2P port does not accept connections.
    KaspadUnreachable { address: SocketAddr, cause: String, is_ours: bool },
    /// It does, after it did not.
    KaspadReachable { address: SocketAddr },
    /// kaspad gets this flag beside its owner's.
    KaspadFlag { flag: String, reason: String },
    /// kaspad was started.
    KaspadStarted { pid: Option<u32>, program: String, args: Vec<String> },
    /// kaspad was asked to end.
    KaspadStopping,
    /// kaspad has ended, with this exit code unless a signal ended it.
    KaspadEnded {
        status: String,
        code: Option<i32>,
        #[serde(serialize_with = "seconds")]
        after: Duration,
        #[serde(serialize_with = "optional_seconds")]
        retry_in: Option<Duration>,
    },
    /// Something asks for attention.
    Warning { code: WarningCode, text: String },
    /// Something worth knowing that has no event of its own.
    Note { text: String },
    /// So many lines were not printed, for a limit or a reader that does not read.
    LinesLeftOut { count: u64 },
    /// A signal, or a defect, stops the program.
    Stopping { signal: String },
    /// It has stopped in order.
    Stopped {
        #[serde(serialize_with = "seconds")]
        after: Duration,
    },
    /// It ends, or has not begun, for this reason.
    Failed { code: u8, cause: String, causes: Vec<String> },
}

impl ProgramEvent {
    pub(crate) fn warning(code: WarningCode, text: impl Into<String>) -> Self {
        Self::Warning { code, text: text.into() }
    }

    pub(super) fn level(&self) -> Level {
        match self {
            Self::Failed { .. } => Level::Error,
            Self::KaspadEnded { retry_in: Some(_), .. }
            | Self::NotReady { .. }
            | Self::PeerUnreachable { .. }
            | Self::KaspadUnreachable { .. }
            | Self::LinesLeftOut { .. }
            | Self::Warning { .. } => Level::Warn,
            _ => Level::Info,
        }
    }

    pub(super) fn sentence(&self) -> String {
        match self {
            Self::Started { role, peer, listening, announced, .. } => started(role, peer, listening, announced),
            Self::Ready { after } => format!("ready after {}", span(*after)),
            Self::NotReady { after, missing } => {
                let parts: Vec<String> = missing.iter().map(lack).collect();
                format!("not ready after {}: {}", span(*after), parts.join("; "))
            }
            Self::SettingsChanged { changes } => format!("settings read again: {}", changes.join("; ")),
            Self::SettingsUnchanged => "settings read again: nothing to apply".to_owned(),
            Self::WebListening { address } => format!("status page at http://{address}/"),
            Self::DrainStarted { reservations, circuits, allowed } => format!(
                "draining {reservations} reservations and {circuits} circuits, for {} at most: nothing new is taken; a second \
                 SIGTERM or SIGINT ends at once",
                humantime::format_duration(*allowed)
            ),
            Self::DrainEnded { circuits: 0 } => "drained: no circuit is left".to_owned(),
            Self::DrainEnded { circuits } => format!("drained: {circuits} circuits are cut"),
            Self::KaspaListening { address } => format!("serving plain Kaspa peers on {address}"),
            Self::PeerUnreachable { target, cause } => format!("{target} cannot be reached: {}", safe::tidy(cause)),
            Self::Retrying { target, retry_in } => format!("trying {target} again in {}", span(*retry_in)),
            Self::KaspadUnreachable { address, cause, is_ours } => {
                let cure = match is_ours {
                    true => "What it prints says what it waits for",
                    false => "Start kaspad, or name its P2P address with --kaspad",
                };
                format!(
                    "kaspad cannot be reached at {address} ({}): this node can be found, but every peer is refused until kaspad \
                     answers. {cure}",
                    safe::cause(cause)
                )
            }
            Self::KaspadReachable { address } => format!("kaspad answers at {address}: peers can reach it from now on"),
            Self::KaspadFlag { flag, reason } => format!("kaspad also gets {flag}: {reason}"),
            Self::KaspadStarted { program, args, .. } => format!("kaspad started: {program} {}", args.join(" ")),
            Self::KaspadStopping => "kaspad is being stopped".to_owned(),
            Self::KaspadEnded { status, after, retry_in, .. } => {
                let next = retry_in.map(|delay| format!("; it is started again in {}", span(delay))).unwrap_or_default();
                format!("kaspad has ended ({status}) after {}{next}", span(*after))
            }
            Self::Warning { text, .. } | Self::Note { text } => text.clone(),
            Self::LinesLeftOut { count } => format!("{count} lines left out"),
            Self::Stopping { signal } => format!("stopping, by {signal}"),
            Self::Stopped { after } => format!("stopped in order, after {}", span(*after)),
            Self::Failed { cause, .. } => cause.clone(),
        }
    }
}

/// The first lines of a program: who it is and where.
fn started(role: &str, peer: &PeerIdentity, listening: &[PeerLocator], announced: &[PeerLocator]) -> String {
    let list =
        |what: &str, addresses: &[PeerLocator]| addresses.iter().map(|address| format!("\n{what}{address}")).collect::<String>();
    format!("{role} {peer} listens on{}{}", list("    ", listening), list("reachable at ", announced))
}

fn lack(missing: &Missing) -> String {
    let what = match missing.part {
        Part::Address => "no relay has given a reservation, and no direct address is announced",
        Part::Kaspad => "kaspad does not answer",
    };
    let cause = missing.cause.as_deref().map(|cause| format!(" ({})", safe::cause(cause)));
    format!("{what}{}", cause.unwrap_or_default())
}

fn span(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    #[test]
    fn the_first_lines_give_configured_addresses_back() {
        let peer: PeerIdentity = PEER.parse().unwrap();
        let at = |text: &str| vec![text.parse::<PeerLocator>().unwrap()];
        let text = started("relay", &peer, &at("/ip4/10.1.0.2/tcp/4001"), &at("/ip4/203.0.113.7/tcp/4001"));
        assert!(
            text.contains("\n    /ip4/10.1.0.2/tcp/4001\n") && text.ends_with("\nreachable at /ip4/203.0.113.7/tcp/4001"),
            "{text}"
        );
    }

    #[test]
    fn what_is_missing_is_said_with_its_cause() {
        let missing = vec![
            Missing { part: Part::Address, cause: Some(": refused: refused".to_owned()) },
            Missing { part: Part::Kaspad, cause: None },
        ];
        let text = ProgramEvent::NotReady { after: Duration::from_secs(10), missing }.sentence();
        assert!(text.starts_with("not ready after 10.0 s: no relay") && text.contains("(refused); kaspad does not"), "{text}");
    }
}
