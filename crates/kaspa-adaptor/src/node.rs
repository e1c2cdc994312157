//! The light peer.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use kaspa_p2p_lib::pb::{BlockMessage, TransactionMessage};
use kaspath_domain::{AdmissionPolicy, AdmissionRequest, DuplexStream, Observer, Observers, StreamListener};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    AddressBook, CloseReason, ConnectError, HandshakeError, HandshakeStep, Hub, Inventory, InventoryLimits, KaspaEvent,
    KaspaNetwork, MAX_MESSAGE_SIZE, Peer, Router, USER_AGENT_PREFIX,
    flows::{self, Context},
    grpc::{self, OpenSession},
    session::{Admit, Handshake, HubSlot, Pending, Terms},
    wire::Budget,
};

/// Opened sessions that may wait for their handshake to begin.
const SESSION_BACKLOG: usize = 32;
/// Time for sessions to say goodbye at shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(700);

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
        };
        let limits = grpc::Limits {
            outgoing_queue: config.outgoing_queue,
            max_message: config.max_message.min(MAX_MESSAGE_SIZE),
            budget: Budget::default(),
        };
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        Self(Arc::new(Inner { limits, terms, context, stop, tasks }))
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

    /// Notifies this one of what happens from now on, after [`NodeConfig::observers`].
    pub fn observe(&self, observer: Arc<dyn Observer<KaspaEvent>>) {
        self.0.context.observers.add(observer);
    }

    /// Shakes hands with the peer at the other end of a stream, as the caller.
    /// Returns at Ready; the session then lives on by itself.
    pub async fn connect(&self, stream: DuplexStream) -> Result<Arc<Peer>, ConnectError> {
        let open = grpc::open(stream, &self.0.limits).await?;
        Ok(self.initialize(open, None).await?)
    }

    /// Serves peers that open streams to `listener`, as far as `admission` lets them
    /// in. Returns when the listener ends or the node shuts down.
    pub async fn serve(&self, listener: Arc<dyn StreamListener>, admission: Arc<dyn AdmissionPolicy>) {
        let (sessions, mut opened) = mpsc::channel::<OpenSession>(SESSION_BACKLOG);
        let stop = self.0.stop.child_token();
        let serving = grpc::serve(listener, self.0.limits.clone(), Pending::default(), sessions, stop.clone());
        let node = self.clone();
        let accepting = async move {
            while let Some(session) = opened.recv().await {
                let (node, admission) = (node.clone(), admission.clone());
                node.0.tasks.clone().spawn(async move {
                    let stream = session.info.clone();
                    let admit = |request: &AdmissionRequest| admission.admit(request);
                    let initialized = node.initialize(session, Some(&admit)).await;
                    stream.leave_pending();
                    if let Err(error) = initialized {
                        tracing::debug!(%error, info = %stream.info, "inbound handshake failed");
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

    async fn initialize(&self, session: OpenSession, admit: Option<Admit<'_>>) -> Result<Arc<Peer>, HandshakeError> {
        let router = Router::new(session.info, session.outgoing, self.hub().clock);
        let handshake = Handshake::new(&router);
        router.start(session.incoming);
        let (peer, slot, flows) = match self.shake_hands(&router, handshake, admit).await {
            Ok(done) => done,
            Err(error) => {
                self.report(KaspaEvent::HandshakeFailed {
                    peer: router.info().peer.clone(),
                    address: router.info().synthetic,
                    outcome: (&error).into(),
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
        self.0.tasks.spawn(async move { node.run_session(session_peer, slot, flows).await });
        Ok(peer)
    }

    async fn shake_hands(
        &self,
        router: &Arc<Router>,
        mut handshake: Handshake,
        admit: Option<Admit<'_>>,
    ) -> Result<(Arc<Peer>, HubSlot, BoxFuture<'static, CloseReason>), HandshakeError> {
        let step = |step: HandshakeStep| {
            let info = router.info();
            self.report(KaspaEvent::Handshake { peer: info.peer.clone(), address: info.synthetic, step, elapsed: router.age() });
        };
        let peer = Arc::new(handshake.exchange_versions(&self.0.terms, step).await?);
        // The slot is taken before Ready, so that two handshakes cannot both win.
        let slot = self.hub().enter(peer.clone(), self.0.terms.id, admit)?;
        let flows = flows::subscribe(self.0.context.clone(), peer.clone());
        handshake.exchange_ready().await?;
        step(HandshakeStep::Ready);
        Ok((peer, slot, flows))
    }

    async fn run_session(&self, peer: Arc<Peer>, slot: HubSlot, mut flows: BoxFuture<'static, CloseReason>) {
        let router = peer.router().clone();
        let mut path = router.path_watch();
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
        drop(slot);
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
