use std::time::{Duration, Instant};

use kaspa_p2p_lib::pb::{PingMessage, PongMessage, kaspad_message::Payload};
use tokio::time::sleep;

use super::context::{Context, bad, plain, response};
use crate::{CloseReason, KaspaEvent, Peer, session::Route};

/// As in kaspad.
const INTERVAL: Duration = Duration::from_secs(120);
/// As in kaspad.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// Answers the peer's pings.
pub(super) async fn answer(mut pings: Route, context: &Context, peer: &Peer) -> Result<(), CloseReason> {
    loop {
        let received = pings.next().await?;
        let Some(Payload::Ping(PingMessage { nonce })) = received.message.payload else { return Err(bad("no Ping")) };
        peer.router().send(response(Payload::Pong(PongMessage { nonce }), &received.message)).await?;
        let address = peer.router().info().synthetic;
        context.report(KaspaEvent::PongSent { peer: peer.identity().cloned(), address });
    }
}

/// Pings the peer.
pub(super) async fn ask(mut pongs: Route, context: &Context, peer: &Peer) -> Result<(), CloseReason> {
    loop {
        sleep(INTERVAL).await;
        // Pongs that nobody asked for are not an error, but they answer nothing.
        while pongs.try_next().is_some() {}
        let nonce = rand::random();
        let sent = Instant::now();
        peer.router().send(plain(Payload::Ping(PingMessage { nonce }))).await?;
        let answer = pongs.answer("a ping", ANSWER_TIMEOUT).await?;
        if !matches!(answer.message.payload, Some(Payload::Pong(pong)) if pong.nonce == nonce) {
            return Err(bad("a Pong with another nonce than the Ping's"));
        }
        let (address, rtt) = (peer.router().info().synthetic, sent.elapsed());
        peer.router().measured(rtt);
        context.report(KaspaEvent::PingAnswered { peer: peer.identity().cloned(), address, rtt });
    }
}
