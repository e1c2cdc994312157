//! Prints events: bounded, cleaned and redacted.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kaspath_domain::{DiscoveryEvent, MappingEvent, Observer, PeerAddress, PeerLocator, TransportAddress};
use kaspath_gateway::GatewayEvent;
use kaspath_kaspa_adaptor::KaspaEvent;
use kaspath_node::PoolEvent;
use kaspath_session::SessionEvent;
use kaspath_transport_libp2p::{Network, NetworkConfig, NetworkEvent};
use serde::Serialize;

use super::{
    console::{Stream, console},
    discovery, gateway,
    limit::Class,
    line, mapping,
    own::{ProgramEvent, WarningCode},
    pool,
    reach::{self, Reach, rank},
    safe,
    settings::OutputSettings,
    text::{self, LastCauses},
};
use crate::{
    cli::LogFormat,
    level::{Level, Subsystem},
};

/// A warning that repeats is given once in this time.
const REPEATED_AFTER: Duration = Duration::from_secs(10);

/// Prints events. It never waits for the reader.
#[derive(Clone, Copy)]
pub(crate) struct Printer {
    pub(super) settings: OutputSettings,
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
        let warning = reach::unannounced(role, &listening, &announced).filter(|_| role == "relay" || !external.is_empty());
        let (role, peer) = (role.to_owned(), peer.clone());
        let is_relay = role == "relay";
        self.own(&ProgramEvent::Started { role, version: env!("CARGO_PKG_VERSION"), peer, listening, announced, external });
        if let Some(warning) = warning {
            self.warn(WarningCode::NotAnnounced, &warning);
        }
        if is_relay {
            self.own(&ProgramEvent::Ready { after: console().elapsed() });
        }
    }

    /// An event of the program.
    pub(crate) fn own(&self, event: &ProgramEvent) {
        let level = event.level();
        let class = match event {
            // Nothing of these comes from a remote.
            ProgramEvent::Started { .. } | ProgramEvent::Stopped { .. } | ProgramEvent::Stopping { .. } => Class::Warning,
            _ if level <= Level::Warn => Class::Warning,
            _ => Class::Event,
        };
        // Of these the lines are our own.
        let has_lines =
            matches!(event, ProgramEvent::Started { .. } | ProgramEvent::Warning { code: WarningCode::SettingsInvalid, .. });
        let as_text = if has_lines { line::texts } else { line::text };
        self.print(class, Subsystem::Program, level, event, || Some(event.sentence()), as_text);
    }

    /// A line for the reader that has no event of its own.
    pub(crate) fn line(&self, text: &str) {
        self.own(&ProgramEvent::Note { text: text.to_owned() });
    }

    /// A line that asks for attention.
    pub(crate) fn warning(&self, text: &str) {
        self.warn(WarningCode::Other, text);
    }

    /// The same, with what it is about.
    pub(crate) fn warn(&self, code: WarningCode, text: &str) {
        if !console().is_repeated(Class::Warning, text, REPEATED_AFTER) {
            self.own(&ProgramEvent::warning(code, safe::tidy(text)));
        }
    }

    /// The same for a text of several lines, of which nothing comes from a remote.
    pub(crate) fn own_warning(&self, text: &str) {
        let text = match self.settings.format {
            LogFormat::Text => text.to_owned(),
            LogFormat::Json => text.lines().collect::<Vec<_>>().join(" "),
        };
        self.own(&ProgramEvent::warning(WarningCode::SettingsInvalid, text));
    }

    /// Prints events of the network: to be added after the first lines are printed.
    pub(crate) fn of_network(self, config: &NetworkConfig) -> Arc<dyn Observer<NetworkEvent>> {
        let reach = Reach::new(config);
        let last = Mutex::new(LastCauses::default());
        Arc::new(move |event: &NetworkEvent| {
            let shorter = last.lock().unwrap_or_else(PoisonError::into_inner).shorter(event);
            let sentence = || shorter.or_else(|| text::network(event, &reach));
            self.event(Subsystem::Transport, text::network_level(event), event, sentence);
        })
    }

    /// Prints what becomes of ports that the router is asked to forward.
    pub(crate) fn of_mapping(self) -> Arc<dyn Observer<MappingEvent>> {
        Arc::new(move |event: &MappingEvent| {
            self.event(Subsystem::Transport, mapping::level(event), event, || Some(mapping::sentence(event)));
        })
    }

    /// Prints what happens in sessions.
    pub(crate) fn of_kaspa(self) -> Arc<dyn Observer<KaspaEvent>> {
        Arc::new(move |event: &KaspaEvent| self.event(Subsystem::Kaspa, Level::Info, event, || text::kaspa(event)))
    }

    /// Prints how sessions get on with their paths.
    pub(crate) fn of_sessions(self) -> Arc<dyn Observer<SessionEvent>> {
        Arc::new(move |event: &SessionEvent| self.event(Subsystem::Session, Level::Info, event, || text::session(event)))
    }

    /// Prints what comes of looking for peers.
    pub(crate) fn of_discovery(self) -> Arc<dyn Observer<DiscoveryEvent>> {
        Arc::new(move |event: &DiscoveryEvent| {
            self.event(Subsystem::Discovery, discovery::level(event), event, || Some(discovery::describe(event)));
        })
    }

    /// Prints what happens to the relay pool and its list.
    pub(crate) fn of_pool(self) -> Arc<dyn Observer<PoolEvent>> {
        Arc::new(move |event: &PoolEvent| self.event(Subsystem::Transport, pool::level(event), event, || pool::describe(event)))
    }

    /// Prints what happens at the gateway.
    pub(crate) fn of_gateway(self) -> Arc<dyn Observer<GatewayEvent>> {
        Arc::new(move |event: &GatewayEvent| {
            self.event(Subsystem::Gateway, gateway::level(event), event, || Some(gateway::describe(event)));
        })
    }

    fn event(&self, of: Subsystem, level: Level, event: &impl Serialize, text: impl FnOnce() -> Option<String>) {
        self.print(Class::Event, of, level, event, text, line::text);
    }

    fn print(
        &self,
        class: Class,
        of: Subsystem,
        level: Level,
        event: &impl Serialize,
        text: impl FnOnce() -> Option<String>,
        as_text: fn(Level, &str, bool, bool) -> String,
    ) {
        let OutputSettings { format, redact, filter } = self.settings;
        if !filter.allows(of, level) {
            return;
        }
        match format {
            LogFormat::Text => {
                let Some(text) = text() else { return };
                let is_journal = console().is_journal(Stream::Out);
                console().limited(class, Stream::Out, || as_text(level, &text, redact, is_journal));
            }
            LogFormat::Json => {
                // The fields of the first lines say it all, as do those of events that are not the program's.
                let own = (of == Subsystem::Program).then(text).flatten().filter(|text| !text.contains('\n'));
                console().limited(class, Stream::Out, || line::json(level, of, event, own.as_deref(), redact));
            }
        }
    }
}
