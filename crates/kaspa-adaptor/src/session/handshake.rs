//! Version, Verack, Ready, in upstream's order and with its timeouts.

use std::{sync::Arc, time::Duration};

use kaspa_p2p_lib::{
    KaspadMessagePayloadType as Kind, make_message,
    pb::{KaspadMessage, ReadyMessage, VerackMessage, VersionMessage, kaspad_message::Payload},
};
use kaspath_domain::{clean, wall_clock};
use uuid::Uuid;

use super::{Peer, PeerKey, Route, Router};
use crate::{CloseReason, HandshakeError, HandshakeStep, KaspaNetwork, MIN_PROTOCOL_VERSION, PROTOCOL_VERSION, wire::Received};

const VERSION_TIMEOUT: Duration = Duration::from_secs(4);
const READY_TIMEOUT: Duration = Duration::from_secs(8);
/// Upstream's limit.
const MAX_USER_AGENT: usize = 256;

/// What this node says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) id: Uuid,
    pub(crate) network: KaspaNetwork,
    pub(crate) user_agent: String,
    pub(crate) disable_relay_tx: bool,
}

/// A handshake under way. Its routes are registered when it is made, so make it
/// before the router starts.
pub(crate) struct Handshake {
    router: Arc<Router>,
    version: Route,
    verack: Route,
    ready: Route,
}

impl Handshake {
    pub(crate) fn new(router: &Arc<Router>) -> Self {
        Self {
            version: router.subscribe(&[Kind::Version]),
            verack: router.subscribe(&[Kind::Verack]),
            ready: router.subscribe(&[Kind::Ready]),
            router: router.clone(),
        }
    }

    /// Exchanges Version and Verack, both ways at once, and checks the peer's.
    pub(crate) async fn exchange_versions(
        &mut self,
        terms: &Terms,
        report: impl Fn(HandshakeStep) + Sync,
    ) -> Result<Peer, HandshakeError> {
        let router = self.router.clone();
        let sending = async {
            send(&router, make_message!(Payload::Version, version_message(terms))).await?;
            receive(&mut self.verack, "Verack", VERSION_TIMEOUT).await?;
            report(HandshakeStep::Verack);
            Ok::<(), HandshakeError>(())
        };
        let receiving = async {
            let message = receive(&mut self.version, "Version", VERSION_TIMEOUT).await?;
            let Some(Payload::Version(version)) = message.message.payload else {
                return Err(HandshakeError::BadVersion("it is not a Version"));
            };
            report(HandshakeStep::Version);
            let acknowledged = send(&router, make_message!(Payload::Verack, VerackMessage {})).await;
            Ok((version, acknowledged))
        };
        let (sent, received) = tokio::join!(sending, receiving);
        match (sent, received) {
            // A peer that rejects our Version says more than one that goes silent.
            (Err(error @ HandshakeError::Rejected(_)), _) | (Err(error), Err(_)) | (Ok(()), Err(error)) => Err(error),
            (sent, Ok((version, acknowledged))) => {
                // A peer that ends the session for what its own Version shows may reset
                // the stream, and its Reject is lost: what the Version shows comes first.
                let theirs = check(terms, version, &router)?;
                sent.and(acknowledged)?;
                Ok(theirs)
            }
        }
    }

    /// Exchanges Ready. Register every flow before.
    pub(crate) async fn exchange_ready(mut self) -> Result<(), HandshakeError> {
        send(&self.router, make_message!(Payload::Ready, ReadyMessage {})).await?;
        self.router.is_ready();
        receive(&mut self.ready, "Ready", READY_TIMEOUT).await?;
        Ok(())
    }
}

fn version_message(terms: &Terms) -> VersionMessage {
    VersionMessage {
        protocol_version: PROTOCOL_VERSION,
        services: 0,
        timestamp: i64::try_from(wall_clock().since_epoch().as_millis()).unwrap_or(i64::MAX),
        // A node behind a NAT has none to give.
        address: None,
        id: terms.id.as_bytes().to_vec(),
        user_agent: terms.user_agent.clone(),
        disable_relay_tx: terms.disable_relay_tx,
        subnetwork_id: None,
        network: terms.network.wire_name().to_owned(),
    }
}

fn check(terms: &Terms, version: VersionMessage, router: &Arc<Router>) -> Result<Peer, HandshakeError> {
    let id = Uuid::from_slice(&version.id).map_err(|_| HandshakeError::BadVersion("its id is not a UUID"))?;
    if id == terms.id {
        return Err(HandshakeError::Loopback);
    }
    let ours = terms.network.wire_name();
    if version.network != ours {
        let theirs = clean(&version.network, 64);
        return Err(HandshakeError::WrongNetwork { ours: ours.to_owned(), theirs });
    }
    if version.user_agent.len() > MAX_USER_AGENT {
        return Err(HandshakeError::BadVersion("its user agent is longer than 256 bytes"));
    }
    if version.protocol_version < MIN_PROTOCOL_VERSION {
        return Err(HandshakeError::OldVersion { theirs: version.protocol_version, least: MIN_PROTOCOL_VERSION });
    }
    Ok(Peer {
        key: PeerKey { id, ip: router.info().synthetic.ip() },
        user_agent: clean(&version.user_agent, MAX_USER_AGENT),
        protocol_version: version.protocol_version,
        router: router.clone(),
    })
}

async fn send(router: &Router, message: KaspadMessage) -> Result<(), HandshakeError> {
    router.send(message).await.map_err(ended)
}

async fn receive(route: &mut Route, what: &'static str, after: Duration) -> Result<Received, HandshakeError> {
    route.answer(what, after).await.map_err(|reason| match reason {
        CloseReason::Unanswered { what, after } => HandshakeError::Timeout { what, after },
        other => ended(other),
    })
}

fn ended(reason: CloseReason) -> HandshakeError {
    match reason {
        CloseReason::Rejected(reason) => HandshakeError::Rejected(reason),
        other => HandshakeError::Ended(other),
    }
}
