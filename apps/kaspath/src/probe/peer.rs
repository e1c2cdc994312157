//! One of the two peers that a probe consists of.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use kaspath_domain::{
    DialError, DialRequest, DuplexStream, Observers, PeerAddress, PeerIdentity, PeerLocator, RelayAddress, Route, StreamDialer,
    TransportAddress, TransportSet,
};
use kaspath_transport_libp2p::{Network, NetworkConfig, NetworkEvent, NodeKey, PunchConfig, RelayToken, Resolver};
use tokio::sync::watch;

/// Its streams are of a protocol of their own, so that nobody takes it for a Kaspa peer.
const PROTOCOL: &str = "/kaspath/probe/1.0.0";

/// What happened, and when.
type Events = Arc<Mutex<Vec<(Instant, NetworkEvent)>>>;

pub(super) struct Peer {
    pub(super) network: Network,
    events: Events,
    changed: watch::Receiver<()>,
    /// Where the relay is.
    pub(super) via: TransportAddress,
}

impl Peer {
    /// It listens nowhere and knows no relay yet. `found` are the addresses of the relay's name.
    pub(super) async fn start(
        key: NodeKey,
        via: TransportAddress,
        found: Vec<IpAddr>,
        relay_tokens: BTreeMap<PeerIdentity, RelayToken>,
    ) -> Result<Self> {
        let (sender, changed) = watch::channel(());
        let events = Events::default();
        let record = events.clone();
        let observer = move |event: &NetworkEvent| {
            record.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), event.clone()));
            sender.send_replace(());
        };
        let config = NetworkConfig {
            protocols: vec![PROTOCOL.to_owned()],
            relay_tokens,
            // One connection to the relay, and no attempt to leave the circuit.
            punch: PunchConfig { transports: TransportSet::NONE, ..PunchConfig::default() },
            resolver: Resolver::new(move |_| {
                let found = found.clone();
                async move { Ok(found) }
            }),
            observers: Observers::of(Arc::new(observer)),
            ..NetworkConfig::default()
        };
        let network = Network::start(key, config).await.context("cannot start a peer for the probe")?;
        Ok(Self { network, events, changed, via })
    }

    /// Connects to the relay. Relays take no streams of ours, so that one is refused says
    /// that the relay was reached and has proven its identity.
    pub(super) async fn connect(&mut self, relay: &PeerIdentity, timeout: Duration) -> Result<Instant, DialError> {
        match self.dial(relay, Route::Direct(self.via.clone()), timeout).await {
            Ok(_) | Err(DialError::ProtocolUnsupported { .. }) => {
                let connected = self.happened(|event| match event {
                    NetworkEvent::Connected { remote: PeerLocator { address: PeerAddress::Direct(address), .. }, .. } => {
                        Some(address.clone())
                    }
                    _ => None,
                });
                let Some((at, address)) = connected else { return Ok(Instant::now()) };
                // Of several that the name has, the one that answered.
                self.via = address;
                Ok(at)
            }
            Err(error) => Err(error),
        }
    }

    /// A stream to the peer on a circuit through the relay.
    pub(super) async fn call(
        &self,
        relay: &PeerIdentity,
        peer: &PeerIdentity,
        timeout: Duration,
    ) -> Result<DuplexStream, DialError> {
        self.dial(peer, Route::Relayed(RelayAddress { relay: relay.clone(), via: self.via.clone() }), timeout).await
    }

    async fn dial(&self, peer: &PeerIdentity, route: Route, timeout: Duration) -> Result<DuplexStream, DialError> {
        self.network.dialer().dial(DialRequest { peer: Some(peer.clone()), route, timeout }).await
    }

    /// Waits until the relay says that it is going down.
    pub(super) async fn draining(&self) -> Duration {
        let left = |event: &NetworkEvent| if let NetworkEvent::RelayDraining { left, .. } = event { Some(*left) } else { None };
        self.wait_for(left).await.1
    }

    /// The first event of which `wanted` makes something.
    pub(super) fn happened<T>(&self, wanted: impl Fn(&NetworkEvent) -> Option<T>) -> Option<(Instant, T)> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().find_map(|(at, event)| Some((*at, wanted(event)?)))
    }

    /// Waits for such an event; one that has happened already counts.
    pub(super) async fn wait_for<T>(&self, wanted: impl Fn(&NetworkEvent) -> Option<T>) -> (Instant, T) {
        let mut changed = self.changed.clone();
        loop {
            changed.mark_unchanged();
            if let Some(found) = self.happened(&wanted) {
                return found;
            }
            if changed.changed().await.is_err() {
                // The network has ended; whoever waits has a deadline.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The address at which the relay sees this peer.
    pub(super) fn observed(&self) -> Option<TransportAddress> {
        let direct = |event: &NetworkEvent| match event {
            NetworkEvent::CandidateObserved { address, .. } => address.address.direct().cloned(),
            _ => None,
        };
        self.happened(direct).map(|(_, address)| address)
    }
}
