//! What is printed: events on standard output, logs on standard error.

mod limit;
mod redact;
mod text;

use std::{
    io::Write,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use kaspath_kaspa_adaptor::KaspaEvent;
use kaspath_transport_libp2p::{Network, NetworkEvent};
use serde::Serialize;
use serde_json::json;
use tokio::sync::broadcast::{self, error::RecvError};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::cli::LogFormat;
use limit::LineLimit;
pub(crate) use redact::redact;

/// Event lines a second, on the average, before lines are left out.
const LINES_PER_SECOND: u32 = 200;

/// How to print.
#[derive(Clone, Debug)]
pub(crate) struct OutputSettings {
    pub(crate) format: LogFormat,
    pub(crate) redact: bool,
    pub(crate) verbose: u8,
}

/// Prints events, bounded and redacted. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Printer {
    settings: OutputSettings,
    limit: Arc<Mutex<LineLimit>>,
    begin: Instant,
}

impl Printer {
    pub(crate) fn new(settings: OutputSettings) -> Self {
        let begin = Instant::now();
        Self { settings, limit: Arc::new(Mutex::new(LineLimit::new(LINES_PER_SECOND, begin))), begin }
    }

    /// The first lines: who and where.
    pub(crate) fn started(&self, role: &str, network: &Network) {
        let addresses: Vec<String> = network.listening().iter().map(ToString::to_string).collect();
        let announced: Vec<String> = network.announced().iter().map(ToString::to_string).collect();
        let event = json!({
            "event": "started", "role": role, "peer": network.local_peer(), "listening": addresses, "announced": announced,
        });
        let mut text = format!("{role} {} listens on", network.local_peer());
        for address in &addresses {
            text.push_str("\n    ");
            text.push_str(address);
        }
        for address in &announced {
            text.push_str("\nreachable at ");
            text.push_str(address);
        }
        self.print(&event, Some(text));
    }

    /// An event with its sentence.
    pub(crate) fn event(&self, event: &impl Serialize, text: String) {
        self.print(event, Some(text));
    }

    /// A line for the reader.
    pub(crate) fn line(&self, text: &str) {
        self.print(&json!({ "event": "note", "text": text }), Some(text.to_owned()));
    }

    /// A line that asks for attention.
    pub(crate) fn warning(&self, text: &str) {
        self.print(&json!({ "event": "warning", "text": text }), Some(format!("warning: {text}")));
    }

    /// Prints what happens in the network until it ends.
    pub(crate) async fn follow_network(self, events: broadcast::Receiver<NetworkEvent>) {
        self.follow(events, text::network).await;
    }

    /// Prints what happens in sessions until the node ends.
    pub(crate) async fn follow_kaspa(self, events: broadcast::Receiver<KaspaEvent>) {
        self.follow(events, text::kaspa).await;
    }

    async fn follow<E: Serialize + Clone>(&self, mut events: broadcast::Receiver<E>, describe: impl Fn(&E) -> Option<String>) {
        loop {
            match events.recv().await {
                Ok(event) => self.print(&event, describe(&event)),
                Err(RecvError::Lagged(lost)) => self.warning(&format!("{lost} events came too fast to be printed")),
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn print(&self, event: &impl Serialize, text: Option<String>) {
        let line = match self.settings.format {
            LogFormat::Text => match text {
                Some(text) => format!("{:9.3}  {text}", self.begin.elapsed().as_secs_f64()),
                None => return,
            },
            LogFormat::Json => {
                let mut value = json!(event);
                if let Some(object) = value.as_object_mut() {
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
                    object.insert("time".into(), json!(now.as_secs_f64()));
                }
                value.to_string()
            }
        };
        let allowed = self.limit.lock().unwrap_or_else(PoisonError::into_inner).allow(Instant::now());
        let Some(left_out) = allowed else { return };
        let line = if self.settings.redact { redact(&line) } else { line };
        let mut out = std::io::stdout().lock();
        if left_out > 0 {
            let _ = match self.settings.format {
                LogFormat::Text => writeln!(out, "           ({left_out} lines left out)"),
                LogFormat::Json => writeln!(out, "{}", json!({ "event": "lines-left-out", "count": left_out })),
            };
        }
        // A reader that has gone, like `head`, is no reason to fail.
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

/// Logs go to standard error; RUST_LOG rules if it is set.
pub(crate) fn start_logs(settings: &OutputSettings) {
    let ours = match settings.verbose {
        // yamux warns of every connection that is closed by the other side first.
        0 => "warn,yamux=error",
        1 => "warn,yamux=error,kaspath=debug,kaspath_transport_libp2p=debug,kaspath_kaspa_adaptor=debug,kaspath_policy=debug",
        _ => "debug,kaspath=trace,kaspath_transport_libp2p=trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(ours));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Stderr { redact: settings.redact }).with_ansi(false);
    match settings.format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
}

#[derive(Clone)]
struct Stderr {
    redact: bool,
}

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Stderr;

    fn make_writer(&'a self) -> Stderr {
        self.clone()
    }
}

impl Write for Stderr {
    // The subscriber writes whole lines.
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        if self.redact {
            std::io::stderr().write_all(redact(&String::from_utf8_lossy(line)).as_bytes())?;
        } else {
            std::io::stderr().write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}
