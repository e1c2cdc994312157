use std::{pin::pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use kaspath_domain::{
    DialError, DialRequest, Direction, DuplexStream, PeerIdentity, RelayAddress, RelayReason, Route, StreamDialer, TCP_GRACE,
    TransportAddress, TransportSet,
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    Resolver,
    core::{ConnId, Input},
    streams::OpenError,
    swarm::{Command, Handle},
};

/// Opens streams to libp2p peers: direct, relayed or punched.
#[derive(Clone, Debug)]
pub struct Libp2pDialer {
    handle: Handle,
    resolver: Resolver,
    /// The preferred stream protocol, for errors.
    protocol: Arc<str>,
    /// Streams are for sessions.
    for_sessions: bool,
    /// On a punched route the circuit will do.
    takes_circuits: bool,
}

/// What a dial was waiting for when its deadline passed.
type Stage = Arc<Mutex<&'static str>>;

impl Libp2pDialer {
    pub(crate) fn new(handle: Handle, protocol: Arc<str>, resolver: Resolver) -> Self {
        Self { handle, resolver, protocol, for_sessions: false, takes_circuits: false }
    }

    pub(crate) fn for_sessions(self) -> Self {
        Self { for_sessions: true, ..self }
    }

    /// Gives the circuit for a punched route, if no direct connection is up: the punch goes
    /// on behind it.
    #[must_use]
    pub fn taking_circuits(self) -> Self {
        Self { takes_circuits: true, ..self }
    }

    /// A stream to the peer on a direct connection that is there, or comes up in time.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn over_direct(&self, peer: &PeerIdentity, allowed: Duration) -> Result<DuplexStream, DialError> {
        let opened = async {
            let connection = self.await_direct(peer, TransportSet::ALL).await?;
            self.open(peer, connection).await
        };
        let late = DialError::Timeout { after: allowed, doing: "waiting for a direct connection" };
        timeout(allowed, opened).await.unwrap_or(Err(late))
    }

    async fn direct(&self, peer: &PeerIdentity, address: &TransportAddress) -> Result<ConnId, DialError> {
        let addresses = self.resolver.resolve(address).await?;
        self.handle.connection(|waiter| Input::Connect { waiter, peer: peer.clone(), addresses }).await
    }

    async fn await_direct(&self, peer: &PeerIdentity, transports: TransportSet) -> Result<ConnId, DialError> {
        self.handle.connection(|waiter| Input::AwaitDirect { waiter, peer: peer.clone(), transports }).await
    }

    /// A circuit to the peer, on which it may punch over `punch`.
    async fn circuit(
        &self,
        peer: &PeerIdentity,
        relay: &RelayAddress,
        punch: TransportSet,
        stage: &Stage,
    ) -> Result<ConnId, DialError> {
        *stage.lock().await = "connecting to the relay";
        // A session does not wait for the link that only a punch needs: it is made meanwhile.
        let transports = if self.takes_circuits { TransportSet::NONE } else { punch };
        let connect = |waiter| Input::ConnectRelay { waiter, relay: relay.clone(), transports };
        self.handle.connection(connect).await?;
        *stage.lock().await = "opening a circuit through the relay";
        let (relay, peer) = (relay.relay.clone(), peer.clone());
        self.handle.connection(|waiter| Input::OpenCircuit { waiter, relay, peer, punch }).await
    }

    async fn punched(
        &self,
        peer: &PeerIdentity,
        relay: &RelayAddress,
        transports: TransportSet,
        deadline: Instant,
        stage: &Stage,
    ) -> Result<ConnId, DialError> {
        let mut direct = pin!(self.await_direct(peer, transports));
        let circuit = tokio::select! {
            biased;
            // There may be one already.
            direct = &mut direct => return direct,
            circuit = self.circuit(peer, relay, transports, stage) => circuit?,
        };
        if self.takes_circuits {
            return Ok(circuit);
        }
        let first = match timeout_at(deadline, direct).await {
            Ok(first) => first?,
            Err(_) => {
                let reason = self.handle.ask(|reply| Command::RelayReason { connection: circuit, reply }).await?;
                let reason = reason.unwrap_or(RelayReason::PunchPending);
                return Err(DialError::NoDirectPath { peer: peer.clone(), reason });
            }
        };
        if !(transports.tcp && transports.quic) {
            return Ok(first);
        }
        let tcp = timeout(TCP_GRACE, self.await_direct(peer, TransportSet::TCP)).await;
        Ok(tcp.ok().and_then(Result::ok).unwrap_or(first))
    }

    async fn open(&self, peer: &PeerIdentity, connection: ConnId) -> Result<DuplexStream, DialError> {
        let opened = self.handle.ask(|reply| Command::Open { connection, for_session: self.for_sessions, reply }).await;
        let broken = |cause: String| DialError::Broken { doing: "opening a stream", cause };
        match opened {
            Ok(Ok(open)) => Ok(open.into_domain(Direction::Outbound, |connection| self.handle.health().of(connection))),
            Ok(Err(OpenError::Unsupported)) => {
                Err(DialError::ProtocolUnsupported { peer: peer.clone(), protocol: self.protocol.to_string() })
            }
            Ok(Err(error)) => Err(broken(error.to_string())),
            // The reply went down with the connection's task.
            Err(_) => Err(broken("the connection closed".to_owned())),
        }
    }
}

#[async_trait]
impl StreamDialer for Libp2pDialer {
    fn supports(&self, request: &DialRequest) -> bool {
        request.peer.is_some()
    }

    async fn dial(&self, request: DialRequest) -> Result<DuplexStream, DialError> {
        let DialRequest { peer: Some(peer), route, timeout: allowed } = request else {
            return Err(DialError::MissingPeerId(Box::new(request.route)));
        };
        if matches!(&route, Route::Punched { transports, .. } if transports.is_empty()) {
            return Err(DialError::Unsupported(Box::new(route)));
        }
        let deadline = Instant::now() + allowed;
        let stage: Stage = Arc::new(Mutex::new("connecting"));
        let connect = async {
            match &route {
                Route::Direct(address) => self.direct(&peer, address).await,
                Route::Relayed(relay) => self.circuit(&peer, relay, TransportSet::NONE, &stage).await,
                Route::Punched { relay, transports } => self.punched(&peer, relay, *transports, deadline, &stage).await,
            }
        };
        // The last moments are for asking why a punch did not succeed.
        let late = deadline + Duration::from_millis(100);
        let connection = match timeout_at(late, connect).await {
            Ok(connected) => connected?,
            Err(_) => return Err(DialError::Timeout { after: allowed, doing: *stage.lock().await }),
        };
        // An open connection is worth a moment even at the deadline's end.
        let opening = deadline.max(Instant::now() + Duration::from_secs(1));
        match timeout_at(opening, self.open(&peer, connection)).await {
            Ok(stream) => stream,
            Err(_) => Err(DialError::Timeout { after: allowed, doing: "opening a stream" }),
        }
    }
}
