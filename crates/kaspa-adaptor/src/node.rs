//! The light peer.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kaspa_p2p_lib::pb::{BlockMessage, TransactionMessage};
use kaspath_domain::{
    AdmissionPolicy, AdmissionRequest, ConnectInfo, Direction, DuplexStream, Observers, Path, PathWatch, PeerAddress,
    PeerLocator, StreamListener, Transport, TransportAddress,
};
use tokio::{
    net::{TcpStream, lookup_host},
    sync::{broadcast, mpsc},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    AddressBook, CloseReason, ConnectError, HandshakeError, HandshakeStep, Hub, Inventory, InventoryLimits, KaspaEvent,
    KaspaNetwork, KaspaUri, MAX_MESSAGE_SIZE, Peer, Router, USER_AGENT_PREFIX,
    flows::{self, Context, Flows},
    grpc,
    session::{Admit, Handshake, Pending, Place, Terms},
    wire::Budget,
};

/// Events that a slow observer may fall behind before it loses some.
const EVENT_BACKLOG: usize = 4096;
/// Opened sessions that may wait for their handshake to begin.
const SESSION_BACKLOG: usize = 32;
/// Time for sessions to say goodbye at shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(700);
/// Time to connect to a plain node.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Settings of a [`KaspaNode`].
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The network; peers of another are refused.
    pub network: KaspaNetwork,
    /// Added to the user agent in brackets.
    pub comment: Option<String>,
    /// Ask peers not to send transactions.
    pub disable_relay_tx: bool,
    /// Messages that may wait to be sent to one peer.
    pub outgoing_queue: usize,
    /// Largest message that is accepted after Ready, in decoded bytes; at most
    /// [`MAX_MESSAGE_SIZE`].
    pub max_message: usize,
    /// What is held for others.
    pub inventory: InventoryLimits,
    /// Told of everything that happens, as it happens.
    pub observers: Observers<KaspaEvent>,
}

impl NodeConfig {
    /// The defaults for a network.
    pub fn new(network: KaspaNetwork) -> Self {
        Self {
            network,
            comment: None,
            disable_relay_tx: false,
            outgoing_queue: 1024,
            max_message: MAX_MESSAGE_SIZE,
            inventory: InventoryLimits::default(),
            observers: Observers::default(),
        }
    }
}

struct Inner {
    network: KaspaNetwork,
    limits: grpc::Limits,
    terms: Terms,
    context: Context,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// A light Kaspa peer. Cheap to clone; all clones are one node.
#[derive(Clone)]
pub struct KaspaNode(Arc<Inner>);

impl KaspaNode {
    /// A node without peers.
    pub fn new(config: NodeConfig) -> Self {
        let comment = config.comment.as_ref().map(|comment| format!("({comment})")).unwrap_or_default();
        let terms = Terms {
            id: Uuid::new_v4(),
            network: config.network,
            user_agent: format!("{USER_AGENT_PREFIX}{}{comment}/", env!("CARGO_PKG_VERSION")),
            disable_relay_tx: config.disable_relay_tx,
        };
        let context = Context {
            hub: Hub::default(),
            inventory: Arc::new(Inventory::new(&config.inventory)),
            book: Arc::default(),
            observers: config.observers.clone(),
            events: broadcast::channel(EVENT_BACKLOG).0,
        };
        let limits = grpc::Limits {
            outgoing_queue: config.outgoing_queue,
            max_message: config.max_message.min(MAX_MESSAGE_SIZE),
            budget: Budget::default(),
        };
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        Self(Arc::new(Inner { network: config.network, limits, terms, context, stop, tasks }))
    }

    /// The peers.
    pub fn hub(&self) -> &Hub {
        &self.0.context.hub
    }

    /// The bodies that are held.
    pub fn inventory(&self) -> &Inventory {
        &self.0.context.inventory
    }

    /// The addresses that are known.
    pub fn addresses(&self) -> &AddressBook {
        &self.0.context.book
    }

    /// What happens from now on. Who falls too far behind loses the oldest events:
    /// [`NodeConfig::observers`] miss nothing.
    pub fn events(&self) -> broadcast::Receiver<KaspaEvent> {
        self.0.context.events.subscribe()
    }

    /// Shakes hands with the peer at the other end of a stream, as the caller.
    /// Returns at Ready; the session then lives on by itself.
    pub async fn connect(&self, stream: DuplexStream) -> Result<Arc<Peer>, ConnectError> {
        let open = grpc::open(stream, &self.0.limits).await?;
        let router = Router::new(open.info, open.outgoing);
        let handshake = Handshake::new(&router);
        router.start(open.incoming);
        Ok(self.initialize(router, handshake, None).await?)
    }

    /// Connects to a plain Kaspa node over TCP and shakes hands.
    pub async fn connect_uri(&self, uri: &KaspaUri) -> Result<Arc<Peer>, ConnectError> {
        self.connect(tcp_stream(&uri.authority(self.0.network)).await?).await
    }

    /// Serves peers that open streams to `listener`, as far as `admission` lets them
    /// in. Returns when the listener ends or the node shuts down.
    pub async fn serve(&self, listener: Arc<dyn StreamListener>, admission: Arc<dyn AdmissionPolicy>) {
        let (sessions, mut opened) = mpsc::channel::<grpc::Session>(SESSION_BACKLOG);
        let stop = self.0.stop.child_token();
        let serving = grpc::serve(listener, self.0.limits.clone(), Pending::default(), sessions, stop.clone());
        let node = self.clone();
        let accepting = async move {
            while let Some(session) = opened.recv().await {
                let (node, admission) = (node.clone(), admission.clone());
                node.0.tasks.clone().spawn(async move {
                    let router = Router::new(session.info, session.outgoing);
                    let handshake = Handshake::new(&router);
                    router.start(session.incoming);
                    let admit = |request: &AdmissionRequest| admission.admit(request);
                    let initialized = node.initialize(router.clone(), handshake, Some(&admit)).await;
                    router.leave_pending();
                    if let Err(error) = initialized {
                        tracing::debug!(%error, info = %router.info(), "inbound handshake failed");
                    }
                });
            }
        };
        tokio::select! {
            served = serving => if let Err(error) = served {
                tracing::warn!(%error, "the server ended");
            },
            () = accepting => {}
            () = stop.cancelled() => {}
        }
    }

    async fn initialize(
        &self,
        router: Arc<Router>,
        handshake: Handshake,
        admit: Option<Admit<'_>>,
    ) -> Result<Arc<Peer>, HandshakeError> {
        let (peer, place, flows) = match self.shake_hands(&router, handshake, admit).await {
            Ok(done) => done,
            Err(error) => {
                self.report(KaspaEvent::HandshakeFailed {
                    peer: router.info().peer.clone(),
                    address: router.info().synthetic,
                    cause: error.to_string(),
                });
                match error.reject_reason() {
                    Some(reason) => router.reject(reason, CloseReason::Local),
                    None => router.close(CloseReason::Local),
                }
                return Err(error);
            }
        };
        self.report(KaspaEvent::PeerReady {
            peer: peer.identity().cloned(),
            address: router.info().synthetic,
            direction: router.info().direction,
            path: router.path(),
            user_agent: peer.user_agent().to_owned(),
            kaspa_id: peer.key().id.to_string(),
            protocol_version: peer.protocol_version(),
        });
        let (node, session_peer) = (self.clone(), peer.clone());
        self.0.tasks.spawn(async move { node.run_session(session_peer, place, flows).await });
        Ok(peer)
    }

    async fn shake_hands(
        &self,
        router: &Arc<Router>,
        mut handshake: Handshake,
        admit: Option<Admit<'_>>,
    ) -> Result<(Arc<Peer>, Place, Flows), HandshakeError> {
        let step = |step: HandshakeStep| {
            let info = router.info();
            self.report(KaspaEvent::Handshake { peer: info.peer.clone(), address: info.synthetic, step, elapsed: router.age() });
        };
        let theirs = handshake.exchange_versions(&self.0.terms, step).await?;
        let peer = Arc::new(Peer {
            key: theirs.key,
            user_agent: theirs.user_agent,
            protocol_version: theirs.protocol_version,
            router: router.clone(),
        });
        // The place is taken before Ready, so that two handshakes cannot both win.
        let place = self.hub().enter(peer.clone(), admit)?;
        let flows = Flows::subscribe(router);
        handshake.exchange_ready().await?;
        step(HandshakeStep::Ready);
        Ok((peer, place, flows))
    }

    async fn run_session(&self, peer: Arc<Peer>, place: Place, flows: Flows) {
        let router = peer.router().clone();
        let mut path = router.path_watch();
        let flows = flows.run(&self.0.context, &peer);
        tokio::pin!(flows);
        let mut watching = true;
        let reason = loop {
            tokio::select! {
                reason = &mut flows => break reason,
                reason = router.closed() => break reason,
                () = self.0.stop.cancelled() => break CloseReason::Local,
                changed = path.changed(), if watching => match changed {
                    Some(path) => self.report(KaspaEvent::PathChanged { peer: peer.identity().cloned(), path }),
                    None => watching = false,
                },
            }
        };
        if let CloseReason::Protocol(what) = &reason {
            router.reject(what.clone(), reason.clone());
        }
        router.close(reason);
        let reason = router.closed().await;
        drop(place);
        self.report(KaspaEvent::PeerLeft {
            peer: peer.identity().cloned(),
            address: router.info().synthetic,
            reason,
            after: router.age(),
            received: router.bytes().received(),
            sent: router.bytes().sent(),
        });
    }

    /// Holds a transaction and announces it to gossiping peers; its id, or `None`
    /// if it is not valid.
    pub fn announce_transaction(&self, transaction: TransactionMessage) -> Option<String> {
        let (id, _) = self.inventory().add_transaction(transaction)?;
        self.hub().broadcast(&flows::transaction_announcement(id), None);
        Some(id.to_string())
    }

    /// Holds a block and announces it to gossiping peers; its hash, or `None` if
    /// it is not valid.
    pub fn announce_block(&self, block: BlockMessage) -> Option<String> {
        let (hash, _) = self.inventory().add_block(block)?;
        self.hub().broadcast(&flows::block_announcement(hash), None);
        Some(hash.to_string())
    }

    /// Ends every session and waits for it, less than a second.
    pub async fn shutdown(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        let _ = timeout(SHUTDOWN_GRACE, self.0.tasks.wait()).await;
    }

    fn report(&self, event: KaspaEvent) {
        self.0.context.report(event);
    }
}

/// A plain TCP stream to a node. The TCP adapter does it with more options; this
/// keeps an embedder who only has an address from needing an adapter.
async fn tcp_stream(authority: &str) -> Result<DuplexStream, ConnectError> {
    let unreachable = |cause: String| ConnectError::Unreachable { address: authority.to_owned(), cause };
    let address: SocketAddr = lookup_host(authority)
        .await
        .map_err(|error| unreachable(error.to_string()))?
        .next()
        .ok_or_else(|| unreachable("the name has no address".to_owned()))?;
    let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
    let stream =
        connected.map_err(|_| ConnectError::Timeout(CONNECT_TIMEOUT))?.map_err(|error| unreachable(error.to_string()))?;
    stream.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
    let remote = PeerLocator { peer: None, address: PeerAddress::Direct(TransportAddress::tcp(address)) };
    let info = ConnectInfo { peer: None, direction: Direction::Outbound, remote, synthetic: address };
    Ok(DuplexStream::new(stream, info, PathWatch::fixed(Path::Direct { transport: Transport::Tcp })))
}
