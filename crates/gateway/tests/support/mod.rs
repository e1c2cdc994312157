//! A gateway with its surroundings in memory.

// Each test file uses what it needs of this.
#![allow(dead_code, unused_imports)]

mod server;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use kaspath_domain::{
    AdmissionPolicy, ConnectorError, DialRequest, DuplexStream, MonotonicClock, Observers, PeerConnector, PeerIdentity,
    PeerTarget, RelayAddress, Route, StreamDialer, Timestamp, TransportAddress,
    memory::{AdmitAll, MemoryDialer, MemoryPeerBook, memory_network},
};
use kaspath_gateway::{CloseReason, Gateway, GatewayEvent, GatewayParts, Kaspad, KaspadError, KaspadSnapshot, KeptPeer};
use kaspath_policy::Keeper;
pub(crate) use server::{Call, received, send};
use tokio::{
    io::AsyncReadExt,
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::timeout,
};

pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) fn peer(n: u8) -> PeerIdentity {
    PeerIdentity::from_bytes(&[0, 1, n]).unwrap()
}

pub(crate) fn let_all_in() -> Arc<dyn AdmissionPolicy> {
    Arc::new(AdmitAll)
}

/// Nothing may come: the stream has been closed.
pub(crate) async fn is_closed(stream: &mut (impl AsyncReadExt + Unpin)) {
    assert_eq!(timeout(DEADLINE, stream.read(&mut [0])).await.expect("a close").unwrap_or(0), 0);
}

async fn dial_over(dialer: &MemoryDialer, route: Route) -> DuplexStream {
    dialer.dial(DialRequest { peer: Some(peer(1)), route, timeout: DEADLINE }).await.unwrap()
}

pub(crate) async fn dial(dialer: &MemoryDialer) -> DuplexStream {
    dial_over(dialer, Route::Direct(TransportAddress::tcp(([192, 0, 2, 1], 1).into()))).await
}

/// A stream through one relay, always the same.
pub(crate) async fn dial_relayed(dialer: &MemoryDialer) -> DuplexStream {
    let relay = RelayAddress { relay: peer(8), via: TransportAddress::tcp(([203, 0, 113, 1], 4001).into()) };
    dial_over(dialer, Route::Relayed(relay)).await
}

/// Reaches a peer in memory.
pub(crate) struct ByMemory {
    peer: PeerIdentity,
    dialer: MemoryDialer,
    dials: AtomicUsize,
    /// Each dial waits for one.
    pub(crate) permits: Semaphore,
}

impl ByMemory {
    /// How often the peer was dialled.
    pub(crate) fn dials(&self) -> usize {
        self.dials.load(Ordering::SeqCst)
    }
}

pub(crate) fn by_memory(peer: PeerIdentity, dialer: MemoryDialer) -> Arc<ByMemory> {
    Arc::new(ByMemory { peer, dialer, dials: AtomicUsize::default(), permits: Semaphore::new(1_000) })
}

#[async_trait]
impl PeerConnector for ByMemory {
    async fn connect(&self, _target: &PeerTarget) -> Result<DuplexStream, ConnectorError> {
        self.permits.acquire().await.unwrap().forget();
        self.dials.fetch_add(1, Ordering::SeqCst);
        Ok(dial(&self.dialer).await)
    }
}

/// A kaspad that answers as it is told to.
pub(crate) struct Node {
    snapshot: Mutex<KaspadSnapshot>,
    down: AtomicBool,
}

impl Node {
    pub(crate) fn on(network: &str) -> Self {
        let snapshot = KaspadSnapshot { network: network.into(), ..KaspadSnapshot::default() };
        Self { snapshot: Mutex::new(snapshot), down: AtomicBool::default() }
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut KaspadSnapshot)) {
        change(&mut self.snapshot.lock().unwrap());
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }
}

#[async_trait]
impl Kaspad for Node {
    async fn snapshot(&self) -> Result<KaspadSnapshot, KaspadError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(KaspadError("it is down".into()));
        }
        Ok(self.snapshot.lock().unwrap().clone())
    }
}

/// A gateway of peer 1 on simnet.
pub(crate) fn gateway(
    kaspad: SocketAddr,
    admission: Arc<dyn AdmissionPolicy>,
    node: Option<Arc<Node>>,
    book: Arc<MemoryPeerBook>,
    wall_clock: impl Fn() -> Timestamp + Send + Sync + 'static,
    report: impl Fn(&GatewayEvent) + Send + Sync + 'static,
) -> Gateway {
    Gateway::new(GatewayParts {
        local: peer(1),
        kaspad,
        network: "simnet".into(),
        book,
        newcomers: 16,
        admission,
        rpc: node.map(|node| node as Arc<dyn Kaspad>),
        clock: MonotonicClock::start(),
        wall_clock: Arc::new(wall_clock),
        observers: Observers::of(Arc::new(report)),
    })
}

/// A gateway of peer 1 on simnet, and what it reports.
pub(crate) struct Desk {
    gateway: Gateway,
    pub(crate) book: Arc<MemoryPeerBook>,
    events: mpsc::UnboundedReceiver<GatewayEvent>,
    wall_clock: Arc<Mutex<Timestamp>>,
    /// All that were waited for, and those before them.
    pub(crate) seen: Vec<GatewayEvent>,
    /// A listener without a dialer ends, and its sessions with it.
    dialers: Vec<MemoryDialer>,
    running: JoinSet<()>,
}

impl Desk {
    pub(crate) fn new(kaspad: SocketAddr) -> Self {
        Self::with(kaspad, let_all_in(), None)
    }

    pub(crate) fn with(kaspad: SocketAddr, admission: Arc<dyn AdmissionPolicy>, node: Option<Arc<Node>>) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let wall_clock = Arc::new(Mutex::new(Timestamp::default()));
        let wall = wall_clock.clone();
        let book = Arc::new(MemoryPeerBook::new(1000));
        let gateway = gateway(
            kaspad,
            admission,
            node,
            book.clone(),
            move || *wall.lock().unwrap(),
            move |event| {
                let _ = sender.send(event.clone());
            },
        );
        Self { gateway, book, events, wall_clock, seen: Vec::new(), dialers: Vec::new(), running: JoinSet::new() }
    }

    /// Somebody sets the wall clock.
    pub(crate) fn set_wall_clock(&self, since_epoch: Duration) {
        *self.wall_clock.lock().unwrap() = Timestamp::from_epoch(since_epoch);
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// What a peer with that number calls the gateway by.
    pub(crate) fn serve(&mut self, caller: u8) -> MemoryDialer {
        let (dialer, listener) = memory_network(peer(caller));
        self.dialers.push(dialer.clone());
        let gateway = self.gateway.clone();
        self.running.spawn(async move { drop(gateway.serve(Arc::new(listener)).await) });
        dialer
    }

    /// Keeps a peer.
    pub(crate) fn keep(&mut self, connector: Arc<ByMemory>) {
        let kept = KeptPeer {
            peer: connector.peer.clone(),
            target: PeerTarget { peer: Some(connector.peer.clone()), ..PeerTarget::default() },
            connector,
            keeper: Keeper::new(MonotonicClock::start(), || 0.0),
        };
        let gateway = self.gateway.clone();
        self.running.spawn(async move { gateway.keep(kept).await });
    }

    pub(crate) fn follow(&mut self) {
        let gateway = self.gateway.clone();
        self.running.spawn(async move { gateway.follow().await });
    }

    pub(crate) async fn wait(&mut self, wanted: impl Fn(&GatewayEvent) -> bool) -> GatewayEvent {
        let waiting = async {
            loop {
                let event = self.events.recv().await.unwrap();
                self.seen.push(event.clone());
                if wanted(&event) {
                    return event;
                }
            }
        };
        timeout(DEADLINE, waiting).await.expect("the event comes in time")
    }

    /// What has come already.
    pub(crate) fn drain(&mut self) -> Vec<GatewayEvent> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }

    /// Waits for the end of a session; whose, and why.
    pub(crate) async fn closed(&mut self) -> (PeerIdentity, CloseReason) {
        let event = self.wait(|event| matches!(event, GatewayEvent::GatewayClosed { .. })).await;
        let GatewayEvent::GatewayClosed { peer, reason, .. } = event else { unreachable!() };
        (peer, reason)
    }

    /// The cause of the next refusal.
    pub(crate) async fn refused(&mut self) -> String {
        let event = self.wait(|event| matches!(event, GatewayEvent::GatewayRefused { .. })).await;
        let GatewayEvent::GatewayRefused { cause, .. } = event else { unreachable!() };
        cause
    }
}
