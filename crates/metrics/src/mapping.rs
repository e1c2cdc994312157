//! What the router forwards.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use kaspath_domain::{MapMethod, MapRequest, MappingEvent, Observer};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

use crate::families::{Family, Label, label, whole};

label!(Change = "change" { Mapped = "mapped", Lost = "lost", Unavailable = "unavailable" });

impl Label for MapMethod {
    const KEY: &'static str = "method";
    const VALUES: &'static [&'static str] = &[MapMethod::ALL[0].name(), MapMethod::ALL[1].name(), MapMethod::ALL[2].name()];

    fn index(self) -> usize {
        self as usize
    }
}

/// The metrics of port mapping.
pub(crate) struct Mapping {
    /// By which method each port is mapped; at most eight.
    held: Mutex<BTreeMap<MapRequest, MapMethod>>,
    mapped: Family<(MapMethod,), Gauge>,
    changes: Family<(Change,), Counter>,
}

impl Mapping {
    pub(crate) fn new(registry: &mut Registry) -> Self {
        Self {
            held: Mutex::default(),
            mapped: Family::new(registry, "kaspath_port_mappings", "Ports that the router forwards now, by how it was asked"),
            changes: Family::new(registry, "kaspath_port_mapping_changes", "Changes of what the router forwards"),
        }
    }
}

impl Observer<MappingEvent> for Mapping {
    fn observe(&self, event: &MappingEvent) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let change = match event {
            MappingEvent::Mapped(mapped) => {
                held.insert(mapped.request, mapped.by);
                Change::Mapped
            }
            MappingEvent::Lost { mapped, .. } => {
                held.remove(&mapped.request);
                Change::Lost
            }
            MappingEvent::Unavailable { .. } => Change::Unavailable,
        };
        self.changes.at((change,)).inc();
        for method in MapMethod::ALL {
            self.mapped.at((method,)).set(whole(held.values().filter(|by| **by == method).count() as u64));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kaspath_domain::{MapProtocol, MapPurpose, Mapped};

    use super::*;

    #[test]
    fn a_port_that_moves_to_another_method_is_counted_once() {
        let mapping = Mapping::new(&mut Registry::default());
        let mapped = |protocol, by| Mapped {
            request: MapRequest { protocol, port: 1, purpose: MapPurpose::Peers },
            external: ([192, 0, 2, 1], 1).into(),
            by,
            lifetime: Duration::from_secs(1),
        };
        let now = || MapMethod::ALL.map(|method| mapping.mapped.at((method,)).get());
        mapping.observe(&MappingEvent::Mapped(mapped(MapProtocol::Tcp, MapMethod::Igd)));
        mapping.observe(&MappingEvent::Mapped(mapped(MapProtocol::Udp, MapMethod::Igd)));
        mapping.observe(&MappingEvent::Mapped(mapped(MapProtocol::Udp, MapMethod::Pcp)));
        assert_eq!(now(), [1, 0, 1]);
        let lost = mapped(MapProtocol::Tcp, MapMethod::Igd);
        mapping.observe(&MappingEvent::Lost { mapped: lost, cause: "x".to_owned() });
        assert_eq!((now(), mapping.changes.at((Change::Mapped,)).get()), ([1, 0, 0], 3));
    }
}
