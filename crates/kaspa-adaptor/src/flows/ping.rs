use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use kaspa_p2p_lib::{
    KaspadMessagePayloadType as Kind,
    pb::{PingMessage, PongMessage, kaspad_message::Payload},
};
use tokio::time::sleep;

use super::context::{Context, bad, plain, response};
use crate::{CloseReason, KaspaEvent, Peer, Router, session::Route};

/// As in kaspad.
const INTERVAL: Duration = Duration::from_secs(120);
/// As in kaspad.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// Answers the peer's pings.
pub(super) struct Pings(Route);

impl Pings {
    pub(super) fn subscribe(router: &Arc<Router>) -> Self {
        Self(router.subscribe(&[Kind::Ping]))
    }

    pub(super) async fn run(mut self, context: &Context, peer: &Arc<Peer>) -> Result<(), CloseReason> {
        loop {
            let received = self.0.next().await?;
            let Some(Payload::Ping(PingMessage { nonce })) = received.message.payload else { return Err(bad("no Ping")) };
            peer.router().send(response(Payload::Pong(PongMessage { nonce }), &received.message)).await?;
            let address = peer.router().info().synthetic;
            context.report(KaspaEvent::PongSent { peer: peer.identity().cloned(), address });
        }
    }
}

/// Pings the peer.
pub(super) struct Pongs(Route);

impl Pongs {
    pub(super) fn subscribe(router: &Arc<Router>) -> Self {
        Self(router.subscribe(&[Kind::Pong]))
    }

    pub(super) async fn run(mut self, context: &Context, peer: &Arc<Peer>) -> Result<(), CloseReason> {
        loop {
            sleep(INTERVAL).await;
            // Pongs that nobody asked for are no crime, but they answer nothing.
            while self.0.try_next().is_some() {}
            let nonce = rand::random();
            let sent = Instant::now();
            peer.router().send(plain(Payload::Ping(PingMessage { nonce }))).await?;
            let answer = self.0.answer("a ping", ANSWER_TIMEOUT).await?;
            if !matches!(answer.message.payload, Some(Payload::Pong(pong)) if pong.nonce == nonce) {
                return Err(bad("a Pong with another nonce than the Ping's"));
            }
            let (address, rtt) = (peer.router().info().synthetic, sent.elapsed());
            peer.router().measured(rtt);
            context.report(KaspaEvent::PingAnswered { peer: peer.identity().cloned(), address, rtt });
        }
    }
}
