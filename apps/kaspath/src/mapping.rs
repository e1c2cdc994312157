//! Has the router forward the ports at which peers reach this node, and kaspad's.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use kaspath_domain::{
    Host, MapProtocol, MapPurpose, MapRequest, Mapped, MappingEvent, Observer, Observers, PeerAddress, PeerLocator, PortMapper,
    TransportAddress, is_public,
};
use kaspath_node::Node;
use kaspath_port_mapping::{MapperConfig, RouterMapper};
use kaspath_session::{MoveKind, SessionEvent};
use kaspath_transport_libp2p::{NetworkEvent, ReservationState};
use tokio::{sync::watch, time::timeout};

use crate::{
    control::Control,
    output::{Printer, WarningCode},
    run::KaspadPlan,
    settings::Settings,
    tasks::Tasks,
};

/// How long kaspad's start waits for its port.
const KASPAD_WAITS: Duration = Duration::from_millis(1500);

/// What the router maps, by what was asked for.
type Held = BTreeMap<MapRequest, Mapped>;

/// The mapper of a running program; none if there is nothing to map.
pub(crate) struct Mapping(Option<Running>);

struct Running {
    mapper: Arc<RouterMapper>,
    /// Where kaspad is reached, once that is decided.
    kaspad: watch::Receiver<Option<Option<SocketAddr>>>,
}

impl Mapping {
    /// Begins. What becomes of it is printed, counted and kept for the status; the network takes the addresses
    /// of mapped ports as candidates.
    ///
    /// # Errors
    /// The node's key cannot be read.
    pub(crate) fn start(
        settings: &Settings,
        node: &Node,
        control: &Control,
        printer: Printer,
        tasks: &mut Tasks,
    ) -> Result<Self> {
        let methods = settings.node.as_ref().map(|node| node.port_mapping.clone()).unwrap_or_default();
        let kaspad = settings.gateway.as_ref().and_then(|gateway| gateway.run.as_ref()?.maps_itself());
        let requests = requests(node.network().listening(), &settings.network_config.external, kaspad);
        if methods.is_empty() || requests.is_empty() {
            return Ok(Self(None));
        }
        let secret = settings.key()?.secret("port mapping");
        let mapper = Arc::new(RouterMapper::start(MapperConfig { requests, methods, secret }));
        let held: Arc<Mutex<Held>> = Arc::default();
        let suspicion = Arc::new(Suspicion { mapper: mapper.clone(), held: held.clone() });
        node.observe_network(suspicion.clone());
        node.observe_sessions(suspicion);
        let (sender, decided) = watch::channel(None);
        let observers = Observers::of(printer.of_mapping());
        observers.add(control.activity().of_mapping());
        observers.add(control.metrics().mapping_observer());
        let follower = Follower { held, observers, kaspad: sender, printer };
        tasks.endless("mapping ports", follower.follow(mapper.clone(), node.clone()));
        Ok(Self(Some(Running { mapper, kaspad: decided })))
    }

    /// Tells kaspad where it is reached, if its port is mapped within a moment.
    pub(crate) async fn for_kaspad(&self, plan: &mut KaspadPlan) {
        let Some(Running { kaspad, .. }) = self.0.as_ref().filter(|_| plan.maps_itself().is_some()) else { return };
        let mut kaspad = kaspad.clone();
        if let Ok(Ok(decided)) = timeout(KASPAD_WAITS, kaspad.wait_for(Option::is_some)).await
            && let Some(external) = decided.flatten()
        {
            plan.is_mapped(external);
        }
    }

    /// Removes everything from the router; within a second.
    pub(crate) async fn release(&self) {
        if let Some(Running { mapper, .. }) = &self.0 {
            mapper.release().await;
        }
    }
}

/// What to map: each port of IPv4 that peers cannot reach as it is, and kaspad's. Nothing if
/// this host has a public address of IPv4, or its owner has said where it is reached.
fn requests(listening: &[PeerLocator], external: &[TransportAddress], kaspad: Option<u16>) -> Vec<MapRequest> {
    let direct = listening.iter().filter_map(|locator| locator.address.direct());
    let direct: Vec<_> = direct.filter(|address| address.ip().is_some_and(|ip| ip.is_ipv4() && !ip.is_loopback())).collect();
    if direct.iter().filter_map(|address| address.ip()).any(is_public) {
        return Vec::new();
    }
    let is_known = !external.is_empty();
    let peers = direct.into_iter().filter(|_| !is_known).map(|address| MapRequest {
        protocol: MapProtocol::of(address.transport),
        port: address.port,
        purpose: MapPurpose::Peers,
    });
    let kaspad = kaspad.map(|port| MapRequest { protocol: MapProtocol::Tcp, port, purpose: MapPurpose::Kaspad });
    let mut requests: Vec<MapRequest> = kaspad.into_iter().chain(peers).collect();
    requests.sort_unstable();
    requests.dedup();
    requests
}

/// Asks the router again when a relay is lost or sees this node at another address, and when a
/// session's path has gone silent: the router may have restarted, or have another address.
struct Suspicion {
    mapper: Arc<RouterMapper>,
    held: Arc<Mutex<Held>>,
}

impl Observer<NetworkEvent> for Suspicion {
    fn observe(&self, event: &NetworkEvent) {
        let is_suspect = match event {
            NetworkEvent::Reservation { state: ReservationState::Lost { .. }, .. } => true,
            NetworkEvent::CandidateObserved { address, .. } => match &address.address {
                PeerAddress::Direct(TransportAddress { host: Host::Ip(seen @ IpAddr::V4(_)), .. }) => {
                    let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
                    held.values().any(|mapped| mapped.external.ip() != *seen)
                }
                _ => false,
            },
            _ => false,
        };
        if is_suspect {
            self.mapper.suspect();
        }
    }
}

impl Observer<SessionEvent> for Suspicion {
    fn observe(&self, event: &SessionEvent) {
        if matches!(event, SessionEvent::Stalled { .. } | SessionEvent::Moved { kind: MoveKind::Failover, .. }) {
            self.mapper.suspect();
        }
    }
}

/// Passes on what becomes of the mappings.
struct Follower {
    held: Arc<Mutex<Held>>,
    observers: Observers<MappingEvent>,
    kaspad: watch::Sender<Option<Option<SocketAddr>>>,
    printer: Printer,
}

impl Follower {
    async fn follow(self, mapper: Arc<RouterMapper>, node: Node) {
        loop {
            let event = mapper.next().await;
            let addresses = self.take(&event);
            node.network().set_mapped(addresses).await;
            self.observers.observe(&event);
        }
    }

    /// Notes it; what is mapped for peers now.
    fn take(&self, event: &MappingEvent) -> Vec<TransportAddress> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            MappingEvent::Mapped(mapped) => {
                held.insert(mapped.request, mapped.clone());
                if mapped.request.purpose == MapPurpose::Kaspad {
                    self.is_kaspads(mapped.external);
                }
            }
            MappingEvent::Lost { mapped, .. } => drop(held.remove(&mapped.request)),
            MappingEvent::Unavailable { .. } => {
                // A kaspad that was told an address keeps it.
                self.kaspad.send_if_modified(|decided| {
                    let is_first = decided.is_none();
                    decided.get_or_insert(None);
                    is_first
                });
            }
        }
        held.values().filter(|mapped| mapped.request.purpose == MapPurpose::Peers).map(address).collect()
    }

    fn is_kaspads(&self, external: SocketAddr) {
        let before = self.kaspad.send_replace(Some(Some(external)));
        if before.flatten().is_some_and(|before| before != external) {
            let text = format!("kaspad is reached at {external} now, and announces its old address until it is started again");
            self.printer.warn(WarningCode::KaspadFlags, &text);
        }
    }
}

/// Where peers reach a mapped port.
fn address(mapped: &Mapped) -> TransportAddress {
    match mapped.request.protocol {
        MapProtocol::Tcp => TransportAddress::tcp(mapped.external),
        MapProtocol::Udp => TransportAddress::quic(mapped.external),
    }
}

#[cfg(test)]
mod tests {
    use kaspath_domain::MapMethod;

    use super::*;
    use crate::output::OutputSettings;

    fn asked(listening: &[&str], external: &[&str], kaspad: Option<u16>) -> Vec<String> {
        let locators = |texts: &[&str]| texts.iter().map(|text| text.parse::<PeerLocator>().unwrap()).collect::<Vec<_>>();
        let external: Vec<_> = locators(external)
            .into_iter()
            .map(|locator| match locator.address {
                PeerAddress::Direct(address) => address,
                PeerAddress::Relayed(_) => panic!("a direct address"),
            })
            .collect();
        requests(&locators(listening), &external, kaspad)
            .iter()
            .map(|request| format!("{request} {:?}", request.purpose))
            .collect()
    }

    #[test]
    fn what_is_private_is_mapped_once_and_kaspads_port_with_it() {
        let home = [
            "/ip4/192.168.1.2/tcp/4011",
            "/ip4/10.0.0.2/tcp/4011",
            "/ip4/192.168.1.2/udp/4012/quic-v1",
            "/ip4/127.0.0.1/tcp/4011",
        ];
        assert_eq!(asked(&home, &[], None), ["TCP port 4011 Peers", "UDP port 4012 Peers"]);
        assert_eq!(asked(&home, &[], Some(16111)).len(), 3);
        assert_eq!(asked(&home, &["/ip4/203.0.113.7/tcp/4001"], Some(16111)), ["TCP port 16111 Kaspad"]);
    }

    #[test]
    fn peers_get_the_ports_of_this_node_alone_and_kaspad_learns_of_its_own() {
        let (sender, kaspad) = watch::channel(None);
        let printer = Printer::new(OutputSettings::default());
        let follower = Follower { held: Arc::default(), observers: Observers::default(), kaspad: sender, printer };
        let mapped = |protocol, purpose, external: &str| Mapped {
            request: MapRequest { protocol, port: 4011, purpose },
            external: external.parse().unwrap(),
            by: MapMethod::Pcp,
            lifetime: Duration::from_secs(7200),
        };
        follower.take(&MappingEvent::Unavailable { cause: "no answer".to_owned() });
        assert_eq!(*kaspad.borrow(), Some(None));
        let udp = mapped(MapProtocol::Udp, MapPurpose::Peers, "203.0.113.7:40000");
        follower.take(&MappingEvent::Mapped(udp.clone()));
        let of_kaspad = mapped(MapProtocol::Tcp, MapPurpose::Kaspad, "203.0.113.7:16111");
        let now = follower.take(&MappingEvent::Mapped(of_kaspad));
        assert_eq!(now.iter().map(ToString::to_string).collect::<Vec<_>>(), ["/ip4/203.0.113.7/udp/40000/quic-v1"]);
        assert_eq!(*kaspad.borrow(), Some(Some("203.0.113.7:16111".parse().unwrap())));
        assert!(follower.take(&MappingEvent::Lost { mapped: udp, cause: "gone".to_owned() }).is_empty());
    }

    #[test]
    fn what_is_public_or_local_is_not_mapped() {
        assert_eq!(asked(&["/ip4/203.0.113.7/tcp/4011", "/ip4/10.0.0.2/tcp/4011"], &[], Some(16111)), [""; 0]);
        assert_eq!(asked(&["/ip4/127.0.0.1/tcp/4011", "/ip6/2001:db8::1/tcp/4011", "/ip6/fe80::1/tcp/4011"], &[], None), [""; 0]);
    }
}
