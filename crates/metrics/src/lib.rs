//! What happens in a Kaspath program, as OpenMetrics: observers that count, and a text.
//!
//! docs/metrics.md has every name, label and label value. Label sets are closed: no peer id,
//! address or text of a remote is ever a label, so the number of series is constant.
//!
//! An observer adds to atomics. Events of punches and reservations also take a lock that
//! nobody holds for longer than a change of one entry. Live state is read when the text is
//! written, from whoever owns it.

mod buckets;
mod discovery;
mod families;
mod gateway;
mod kaspa;
mod mapping;
mod network;
mod paths;
mod pool;
mod process;
mod punches;
mod reachability;
mod recent;
mod relays;
mod service;
mod sessions;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kaspath_domain::{AttemptOutcome, DiscoveryEvent, MappingEvent, Observer, Path, PeerIdentity};
use kaspath_gateway::GatewayEvent;
use kaspath_kaspa_adaptor::KaspaEvent;
use kaspath_session::SessionEvent;
use kaspath_transport_libp2p::{NetworkEvent, RelayLoad};
use prometheus_client::{encoding::text, metrics::gauge::Gauge, registry::Registry};

use self::{
    discovery::Discovery,
    gateway::Gateway,
    kaspa::Kaspa,
    mapping::Mapping,
    network::{Client, Network},
    pool::Pool,
    process::Process,
    punches::Punches,
    relays::Relays,
    service::Service,
    sessions::{Counts, Sessions},
};
pub use self::{pool::PoolReading, process::resident_memory};

/// What a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A relay.
    Relay,
    /// A node that speaks Kaspa itself.
    Node,
    /// A gateway to kaspad.
    Gateway,
}

/// What the metrics are of.
#[derive(Clone, Debug)]
pub struct MetricsConfig {
    /// What the program is, which decides what metrics there are.
    pub role: Role,
    /// Its version.
    pub version: &'static str,
    /// The relays to reserve at, in the order of the settings.
    pub relays: Vec<PeerIdentity>,
    /// Reservations wanted at once.
    pub wanted_reservations: usize,
    /// Whether a node may serve others as a relay; a relay always does.
    pub serves: bool,
}

type EachPath = Box<dyn Fn(&mut dyn FnMut(&Path)) + Send + Sync>;

struct Shared {
    registry: Registry,
    /// Where the paths of sessions are read.
    paths: Option<EachPath>,
    /// Of the last text, so that the next one needs no second allocation.
    length: usize,
}

/// The metrics of one program. Cheap to clone; all clones are the same metrics.
#[derive(Clone)]
pub struct Metrics {
    shared: Arc<Mutex<Shared>>,
    process: Arc<Option<Process>>,
    network: Arc<Network>,
    sessions: Arc<Sessions>,
    kaspa: Arc<Kaspa>,
    gateway: Arc<Gateway>,
    discovery: Arc<Discovery>,
    mapping: Arc<Mapping>,
}

impl Metrics {
    /// Metrics of which each series is 0. What the program does not run has none.
    pub fn new(config: MetricsConfig) -> Self {
        let MetricsConfig { role, version, relays, wanted_reservations, serves } = config;
        // What the role does not have is counted in a registry that is never written.
        let (mut registry, mut unseen) = (Registry::default(), Registry::default());
        let role_label = match role {
            Role::Relay => "relay",
            Role::Node => "node",
            Role::Gateway => "gateway",
        };
        // A gauge: readers of the older text format do not know the type `info`.
        let build = vec![("version", version.into()), ("role", role_label.into())];
        let build = families::series::<Gauge>(&mut registry, "kaspath_build_info", "The program", vec![build], Gauge::default);
        build[0].set(1);
        let process = Arc::new(Process::new(&mut registry));
        let service = (role == Role::Relay || serves).then(|| Service::new(&mut registry, role == Role::Relay));
        let client = (role != Role::Relay).then(|| {
            let relays = Relays::new(&mut registry, &relays);
            let pool = Pool::new(&mut registry, wanted_reservations, relays.given());
            Client { relays, pool, punches: Punches::new(&mut registry) }
        });
        let network = Arc::new(Network::new(&mut registry, service, client));
        let sessions = Arc::new(Sessions::new(if role == Role::Relay { &mut unseen } else { &mut registry }));
        let kaspa = Arc::new(Kaspa::new(if role == Role::Node { &mut registry } else { &mut unseen }));
        let gateway = Arc::new(Gateway::new(if role == Role::Gateway { &mut registry } else { &mut unseen }));
        let discovery = Arc::new(Discovery::new(if role == Role::Relay { &mut unseen } else { &mut registry }));
        let mapping = Arc::new(Mapping::new(if role == Role::Relay { &mut unseen } else { &mut registry }));
        let shared = Arc::new(Mutex::new(Shared { registry, paths: None, length: 0 }));
        Self { shared, process, network, sessions, kaspa, gateway, discovery, mapping }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what happens in the network; to be notified from the start of the network on,
    /// for connections are counted by their begin and end.
    pub fn network_observer(&self) -> Arc<dyn Observer<NetworkEvent>> {
        self.network.clone()
    }

    /// Counts how attempts to reach peers end.
    pub fn attempt_observer(&self) -> Arc<dyn Observer<AttemptOutcome>> {
        self.network.clone()
    }

    /// Counts what happens to sessions.
    pub fn session_observer(&self) -> Arc<dyn Observer<SessionEvent>> {
        self.sessions.clone()
    }

    /// Counts what a node's Kaspa side reports.
    pub fn kaspa_observer(&self) -> Arc<dyn Observer<KaspaEvent>> {
        self.kaspa.clone()
    }

    /// Counts what a gateway reports.
    pub fn gateway_observer(&self) -> Arc<dyn Observer<GatewayEvent>> {
        self.gateway.clone()
    }

    /// Counts what comes of looking for peers.
    pub fn discovery_observer(&self) -> Arc<dyn Observer<DiscoveryEvent>> {
        self.discovery.clone()
    }

    /// Counts what becomes of ports that the router is asked to forward.
    pub fn mapping_observer(&self) -> Arc<dyn Observer<MappingEvent>> {
        self.mapping.clone()
    }

    /// Reads the paths of all Kaspa sessions there, at each scrape: `each` calls what it is
    /// given once for each session. It must return soon.
    pub fn read_sessions(&self, each: impl Fn(&mut dyn FnMut(&Path)) + Send + Sync + 'static) {
        self.shared().paths = Some(Box::new(each));
    }

    /// Takes what our relay server says of itself; to be called before each text.
    pub fn relay_load(&self, load: &RelayLoad) {
        let _one_at_a_time = self.shared();
        if let Some(service) = &self.network.service {
            service.load(load);
        }
    }

    /// Takes what the relay pool is now; to be called before each text.
    pub fn relay_pool(&self, reading: &PoolReading) {
        let _one_at_a_time = self.shared();
        if let Some(client) = &self.network.client {
            client.pool.set(reading);
        }
    }

    /// All metrics as they are now, in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let mut shared = self.shared();
        self.read(shared.paths.as_ref());
        let mut text = String::with_capacity(shared.length + 4096);
        text::encode(&mut text, &shared.registry).expect("a String takes everything");
        shared.length = text.len();
        text
    }

    fn read(&self, paths: Option<&EachPath>) {
        if let Some(process) = self.process.as_ref() {
            process.read();
        }
        if let Some(each) = paths {
            let mut counts = Counts::default();
            let relays = self.network.client.as_ref().map(|client| &client.relays);
            let mut through = vec![0; relays.map_or(0, Relays::positions)];
            each(&mut |path| {
                counts.add(path);
                if let (Path::Relayed { relay, .. }, Some(relays)) = (path, relays) {
                    through[relays.position(relay)] += 1;
                }
            });
            self.sessions.live.set(&counts);
            if let Some(relays) = relays {
                relays.set_sessions(&through);
            }
        }
    }
}
