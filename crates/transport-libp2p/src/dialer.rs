use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use kaspath_domain::{
    DialError, DialRequest, Direction, DuplexStream, PeerIdentity, RelayAddress, RelayReason, Route, StreamDialer,
    TransportAddress, TransportSet, plan::TCP_GRACE,
};
use libp2p::{PeerId, swarm::ConnectionId};
use tokio::{
    sync::{
        Mutex,
        oneshot::{self, error::RecvError},
    },
    time::{Instant, timeout, timeout_at},
};

use crate::{
    Resolver, convert,
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
}

/// What a dial was waiting for when its deadline passed.
type Stage = Arc<Mutex<&'static str>>;

impl Libp2pDialer {
    pub(crate) fn new(handle: Handle, protocol: Arc<str>, resolver: Resolver) -> Self {
        Self { handle, resolver, protocol }
    }

    async fn direct(&self, peer: PeerId, address: &TransportAddress) -> Result<ConnectionId, DialError> {
        let addresses = self.resolver.resolve(address).await?;
        self.handle.ask(|reply| Command::Connect { peer, addresses, reply }).await?
    }

    async fn meet_relay(&self, relay: &RelayAddress, transports: TransportSet) -> Result<PeerId, DialError> {
        let via = relay.via.clone();
        let relay = convert::peer_id(&relay.relay);
        self.handle.ask(|reply| Command::MeetRelay { relay, via, transports, reply }).await??;
        Ok(relay)
    }

    async fn circuit(&self, peer: PeerId, relay: PeerId, punch: TransportSet) -> Result<ConnectionId, DialError> {
        self.handle.ask(|reply| Command::Circuit { relay, peer, punch, reply }).await?
    }

    async fn relayed(&self, peer: PeerId, relay: &RelayAddress, stage: &Stage) -> Result<ConnectionId, DialError> {
        *stage.lock().await = "connecting to the relay";
        let relay = self.meet_relay(relay, TransportSet::NONE).await?;
        *stage.lock().await = "opening a circuit through the relay";
        self.circuit(peer, relay, TransportSet::NONE).await
    }

    async fn punched(
        &self,
        peer: PeerId,
        relay: &RelayAddress,
        transports: TransportSet,
        deadline: Instant,
        stage: &Stage,
    ) -> Result<ConnectionId, DialError> {
        let (reply, mut direct) = oneshot::channel();
        self.handle.send(Command::AwaitDirect { peer, transports, reply }).await?;
        *stage.lock().await = "connecting to the relay";
        // Once `direct` is ready it must not be polled again, so every end of it is an end here.
        let relay = tokio::select! {
            // One may stand already.
            ready = &mut direct => return first_direct(ready),
            relay = self.meet_relay(relay, transports) => relay?,
        };
        *stage.lock().await = "opening a circuit through the relay";
        let circuit = tokio::select! {
            ready = &mut direct => return first_direct(ready),
            circuit = self.circuit(peer, relay, transports) => circuit?,
        };
        let first = match timeout_at(deadline, direct).await {
            Ok(ready) => first_direct(ready)?,
            Err(_) => {
                let reason = self.handle.ask(|reply| Command::RelayReason { connection: circuit, reply }).await?;
                let reason = reason.unwrap_or(RelayReason::PunchPending);
                return Err(DialError::NoDirectPath { peer: convert::identity(&peer), reason });
            }
        };
        if !(transports.tcp && transports.quic) {
            return Ok(first);
        }
        let tcp = self.handle.ask(|reply| Command::AwaitDirect { peer, transports: TransportSet::TCP, reply });
        Ok(timeout(TCP_GRACE, tcp).await.ok().and_then(Result::ok).and_then(Result::ok).unwrap_or(first))
    }

    async fn open(&self, peer: &PeerIdentity, connection: ConnectionId) -> Result<DuplexStream, DialError> {
        let opened = self.handle.ask(|reply| Command::Open { connection, reply }).await;
        let broken = |cause: String| DialError::Broken { doing: "opening a stream", cause };
        match opened {
            Ok(Ok(open)) => Ok(open.into_domain(Direction::Outbound)),
            Ok(Err(OpenError::Unsupported)) => {
                Err(DialError::ProtocolUnsupported { peer: peer.clone(), protocol: self.protocol.to_string() })
            }
            Ok(Err(error)) => Err(broken(error.to_string())),
            // The reply went down with the connection's task.
            Err(_) => Err(broken("the connection closed".to_owned())),
        }
    }
}

/// The actor's answer to one who waits for a direct connection, or its end.
fn first_direct(ready: Result<Result<ConnectionId, DialError>, RecvError>) -> Result<ConnectionId, DialError> {
    ready.unwrap_or(Err(DialError::ShuttingDown))
}

#[async_trait]
impl StreamDialer for Libp2pDialer {
    fn supports(&self, request: &DialRequest) -> bool {
        request.peer.is_some()
    }

    async fn dial(&self, request: DialRequest) -> Result<DuplexStream, DialError> {
        let DialRequest { peer: Some(peer), route, deadline: allowed } = request else {
            return Err(DialError::MissingPeerId(Box::new(request.route)));
        };
        if matches!(&route, Route::Punched { transports, .. } if transports.is_empty()) {
            return Err(DialError::Unsupported(Box::new(route)));
        }
        let deadline = Instant::now() + allowed;
        let stage: Stage = Arc::new(Mutex::new("connecting"));
        let id = convert::peer_id(&peer);
        let connect = async {
            match &route {
                Route::Direct(address) => self.direct(id, address).await,
                Route::Relayed(relay) => self.relayed(id, relay, &stage).await,
                Route::Punched { relay, transports } => self.punched(id, relay, *transports, deadline, &stage).await,
            }
        };
        // The last moments are for asking why a punch did not succeed.
        let late = deadline + Duration::from_millis(100);
        let connection = match timeout_at(late, connect).await {
            Ok(connected) => connected?,
            Err(_) => return Err(DialError::Timeout { after: allowed, doing: *stage.lock().await }),
        };
        // A connection that stands is worth a moment even at the deadline's end.
        let opening = deadline.max(Instant::now() + Duration::from_secs(1));
        match timeout_at(opening, self.open(&peer, connection)).await {
            Ok(stream) => stream,
            Err(_) => Err(DialError::Timeout { after: allowed, doing: "opening a stream" }),
        }
    }
}
