//! The metrics of the program: what they are of, and what is read at each scrape.

use std::{sync::Arc, time::Duration};

use kaspath_metrics::{Metrics, MetricsConfig, PoolReading, Role};
use kaspath_node::Relays;
use kaspath_policy::PoolState;
use kaspath_web::Source;
use tokio::{runtime::Handle, time::timeout};

use crate::{
    control::Running,
    settings::{Settings, relay_ids},
};

/// Time for the relay to say what it does. Without an answer the text has what it said last.
const LOAD: Duration = Duration::from_secs(2);

/// The metrics of a program with these settings.
pub(crate) fn of(settings: &Settings) -> Metrics {
    let role = match (&settings.node, &settings.gateway) {
        (_, Some(_)) => Role::Gateway,
        (Some(_), None) => Role::Node,
        (None, None) => Role::Relay,
    };
    let network = &settings.network_config;
    Metrics::new(MetricsConfig {
        role,
        version: env!("CARGO_PKG_VERSION"),
        relays: relay_ids(network).collect(),
        wanted_reservations: network.wanted_reservations,
        serves: network.relay_server.is_some(),
    })
}

/// The text, with what the running program is asked for each time. To be called within a
/// runtime, and to be asked on a thread that may block.
pub(crate) fn source(metrics: Metrics, running: &Arc<Running>) -> Source<String> {
    let sessions = running.clone();
    metrics.read_sessions(move |each| sessions.paths(each));
    let (runtime, running) = (Handle::current(), running.clone());
    Arc::new(move || {
        // A node that serves nobody has no load.
        if let Ok(Ok(load)) = runtime.block_on(async { timeout(LOAD, running.network().relay_load()).await }) {
            metrics.relay_load(&load);
        }
        if let Some(relays) = running.relays() {
            metrics.relay_pool(&pool(relays));
        }
        metrics.encode()
    })
}

/// The pool as metrics have it.
fn pool(relays: &Relays) -> PoolReading {
    let view = relays.view();
    let count = |state| view.count(state) as u64;
    PoolReading {
        wanted: view.reservations as u64,
        held: count(PoolState::Held),
        asked: count(PoolState::Asked),
        draining: count(PoolState::Draining),
        back_off: count(PoolState::BackOff),
        known: count(PoolState::Known),
        next_read: relays.next_read(),
        next_back_off: view.relays.iter().filter_map(|relay| relay.retry_in).min(),
        next_review: view.review_in,
    }
}
