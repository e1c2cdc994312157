//! What is printed: events on standard output, logs on standard error.
//!
//! | file | what it does |
//! |---|---|
//! | `console` | the process's two streams and the one limit over all lines |
//! | `limit` | how many lines of which class are printed: pure |
//! | `pipe` | a stream that never makes its writer wait |
//! | `safe` | makes a text safe to print |
//! | `reach` | which of our addresses others can reach |
//! | `redact` | hiding addresses |
//! | `text` | events as sentences |
//! | `logs` | logs of ours and of dependencies |
//! | `child` | lines of a kaspad that we run |

mod child;
mod console;
mod limit;
mod logs;
mod pipe;
mod reach;
mod redact;
mod safe;
mod text;

use std::{io::Write, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use kaspath_domain::{Observer, PeerAddress, PeerLocator, TransportAddress, wall_clock};
use kaspath_kaspa_adaptor::KaspaEvent;
use kaspath_session::SessionEvent;
use kaspath_transport_libp2p::{Network, NetworkConfig, NetworkEvent};
use serde::Serialize;
use serde_json::json;

use crate::cli::LogFormat;
use console::{Stream, console};
use limit::Class;
pub(crate) use logs::start_logs;
use reach::{Reach, rank};
pub(crate) use redact::{hide_names, redact};

/// A warning that repeats is given once in this time.
const REPEATED_AFTER: Duration = Duration::from_secs(10);

/// How to print.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutputSettings {
    pub(crate) format: LogFormat,
    pub(crate) redact: bool,
    pub(crate) verbose: u8,
}

/// Prints events: bounded, cleaned and redacted. It never waits for the reader.
#[derive(Clone, Copy)]
pub(crate) struct Printer {
    settings: OutputSettings,
}

impl Printer {
    pub(crate) fn new(settings: OutputSettings) -> Self {
        Self { settings }
    }

    /// The first lines: who and where.
    pub(crate) fn started(&self, role: &str, network: &Network, config: &NetworkConfig) {
        let peer = network.local_peer();
        let with_id =
            |address: &TransportAddress| PeerLocator { peer: Some(peer.clone()), address: PeerAddress::Direct(address.clone()) };
        let external: Vec<PeerLocator> = config.external.iter().map(with_id).collect();
        let (mut listening, mut announced) = (network.listening().to_vec(), network.announced());
        // A name is printed as it was given.
        announced.extend(external.iter().filter(|address| !announced.contains(address)).cloned().collect::<Vec<_>>());
        listening.sort_by_key(rank);
        announced.sort_by_key(rank);
        let event = json!({
            "event": "started", "role": role, "peer": peer,
            "listening": listening, "announced": announced, "external": external,
        });
        self.print_lines(&event, &text::started(role, peer, &listening, &announced));
        if let Some(warning) = reach::unannounced(role, &listening, &announced)
            && (role == "relay" || !external.is_empty())
        {
            self.warning(&warning);
        }
    }

    /// An event with its sentence.
    pub(crate) fn event(&self, event: &impl Serialize, text: String) {
        self.print(Class::Event, event, Some(text));
    }

    /// A line for the reader.
    pub(crate) fn line(&self, text: &str) {
        self.print(Class::Event, &json!({ "event": "note", "text": text }), Some(text.to_owned()));
    }

    /// A line that asks for attention.
    pub(crate) fn warning(&self, text: &str) {
        if !console().is_repeated(Class::Warning, text, REPEATED_AFTER) {
            let text = safe::tidy(text);
            self.print(Class::Warning, &json!({ "event": "warning", "text": text }), Some(format!("warning: {text}")));
        }
    }

    /// The same for a text of several lines, of which nothing comes from a remote.
    pub(crate) fn own_warning(&self, text: &str) {
        let event = json!({ "event": "warning", "text": text.lines().collect::<Vec<_>>().join(" ") });
        self.print_lines(&event, &format!("warning: {text}"));
    }

    /// Prints events of the network: to be added after the first lines are printed.
    pub(crate) fn of_network(self, config: &NetworkConfig) -> Arc<dyn Observer<NetworkEvent>> {
        let reach = Reach::new(config);
        Arc::new(move |event: &NetworkEvent| self.print(Class::Event, event, text::network(event, &reach)))
    }

    /// Prints what happens in sessions.
    pub(crate) fn of_kaspa(self) -> Arc<dyn Observer<KaspaEvent>> {
        Arc::new(move |event: &KaspaEvent| self.print(Class::Event, event, text::kaspa(event)))
    }

    /// Prints how sessions get on with their paths.
    pub(crate) fn of_sessions(self) -> Arc<dyn Observer<SessionEvent>> {
        Arc::new(move |event: &SessionEvent| self.print(Class::Event, event, text::session(event)))
    }

    fn print(&self, class: Class, event: &impl Serialize, text: Option<String>) {
        self.print_as(class, event, text, safe::line);
    }

    fn print_lines(&self, event: &impl Serialize, text: &str) {
        self.print_as(Class::Warning, event, Some(text.to_owned()), safe::lines);
    }

    fn print_as(&self, class: Class, event: &impl Serialize, text: Option<String>, safe_text: impl Fn(&str, bool) -> String) {
        let OutputSettings { format, redact, .. } = self.settings;
        match (format, text) {
            (LogFormat::Text, None) => {}
            (LogFormat::Text, Some(text)) => {
                console().limited(class, Stream::Out, || format!("{:9.3}  {}", console().elapsed(), safe_text(&text, redact)))
            }
            (LogFormat::Json, _) => console().limited(class, Stream::Out, || {
                let mut value = json!(event);
                if let Some(object) = value.as_object_mut() {
                    object.insert("time".into(), json!(wall_clock().since_epoch().as_secs_f64()));
                }
                safe::json(value, redact)
            }),
        }
    }
}

/// Prints the error that ends the program. Its lines may hold a remote's words.
pub(crate) fn fatal(error: &anyhow::Error, redacted: bool) {
    console().always(Stream::Err, &safe::line(&format!("error: {}", safe::tidy(&format!("{error:#}"))), redacted));
}

/// The same for an error that is all our own, in several lines.
pub(crate) fn fatal_lines(text: &str, redacted: bool) {
    console().always(Stream::Err, &safe::lines(text, redacted));
}

/// A remark beside the answer of a command that ends with it.
pub(crate) fn remark(text: &str) {
    console().always(Stream::Err, &safe::lines(text, false));
}

/// Says that this program itself is at fault. Redacted or not: a file and a line name
/// no address.
pub(crate) fn internal_error(message: &str, location: &str) {
    let message = redact::redact(message);
    console().always(Stream::Err, &format!("internal error: {message}, at {location}; this is a bug, the program ends"));
}

/// Writes what is queued, but does not wait long for a reader that does not read.
pub(crate) fn flush() {
    console().flush();
}

/// Writes the answer of a command that ends with it; this waits for the reader.
pub(crate) fn answer(text: &str, redacted: bool) -> Result<()> {
    let text = if redacted { redact::redact(text) } else { text.to_owned() };
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to standard output")
}
