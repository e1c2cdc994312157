//! The exchange of candidates over the relayed connection.

use std::{io, time::Duration};

use futures::{AsyncRead, AsyncWrite};
use libp2p::Multiaddr;
use thiserror::Error;
use tokio::time::{Instant, timeout};

use super::wire::{self, HolePunch, Kind};
use crate::convert;

/// Candidates that one message may carry; more are ignored.
const MAX_CANDIDATES: usize = 16;
/// Time for each answer of the peer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why an exchange failed.
#[derive(Debug, Error)]
pub(crate) enum ExchangeError {
    #[error("the peer did not answer within {ANSWER_TIMEOUT:?}")]
    Timeout,
    #[error("the peer sent {found:?} where {expected:?} was due")]
    OutOfTurn { expected: Kind, found: Kind },
    #[error("the peer does not speak DCUtR")]
    Unsupported,
    #[error(transparent)]
    Io(io::Error),
}

impl From<io::Error> for ExchangeError {
    fn from(error: io::Error) -> Self {
        if convert::is_refusal(&error) { Self::Unsupported } else { Self::Io(error) }
    }
}

/// The initiator's first half: offers our candidates and gives the peer's, with
/// the round trip time over the relay.
pub(crate) async fn offer<S>(stream: &mut S, ours: &[Multiaddr]) -> Result<(Vec<Multiaddr>, Duration), ExchangeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let sent = Instant::now();
    wire::send(stream, Kind::Connect, encode(ours)).await?;
    let answer = receive(stream, Kind::Connect).await?;
    Ok((decode(&answer), sent.elapsed()))
}

/// The initiator's second half: tells the peer to dial now.
pub(crate) async fn synchronize<S>(stream: &mut S) -> Result<(), ExchangeError>
where
    S: AsyncWrite + Unpin,
{
    Ok(wire::send(stream, Kind::Sync, Vec::new()).await?)
}

/// The responder: answers with our candidates and returns the peer's when it is
/// time to dial.
pub(crate) async fn respond<S>(stream: &mut S, ours: &[Multiaddr]) -> Result<Vec<Multiaddr>, ExchangeError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let offered = receive(stream, Kind::Connect).await?;
    wire::send(stream, Kind::Connect, encode(ours)).await?;
    receive(stream, Kind::Sync).await?;
    Ok(decode(&offered))
}

async fn receive<S: AsyncRead + Unpin>(stream: &mut S, expected: Kind) -> Result<HolePunch, ExchangeError> {
    let message = timeout(ANSWER_TIMEOUT, wire::receive(stream)).await.map_err(|_| ExchangeError::Timeout)??;
    if message.kind() == expected { Ok(message) } else { Err(ExchangeError::OutOfTurn { expected, found: message.kind() }) }
}

fn encode(candidates: &[Multiaddr]) -> Vec<Vec<u8>> {
    candidates.iter().take(MAX_CANDIDATES).map(Multiaddr::to_vec).collect()
}

fn decode(message: &HolePunch) -> Vec<Multiaddr> {
    message.observed.iter().take(MAX_CANDIDATES).filter_map(|bytes| Multiaddr::try_from(bytes.clone()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;

    #[tokio::test]
    async fn both_sides_learn_the_others_candidates() {
        let (left, right) = tokio::io::duplex(1024);
        let (mut left, mut right) = (left.compat(), right.compat());
        let ours: Multiaddr = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
        let theirs: Multiaddr = "/ip4/192.0.2.2/udp/2/quic-v1".parse().unwrap();
        let initiator = async {
            let (found, _rtt) = offer(&mut left, std::slice::from_ref(&ours)).await.unwrap();
            synchronize(&mut left).await.unwrap();
            found
        };
        let (found, answered) = tokio::join!(initiator, respond(&mut right, std::slice::from_ref(&theirs)));
        assert_eq!((found, answered.unwrap()), (vec![theirs], vec![ours]));
    }

    #[tokio::test]
    async fn a_sync_out_of_turn_is_named() {
        let (left, right) = tokio::io::duplex(1024);
        let (mut left, mut right) = (left.compat(), right.compat());
        synchronize(&mut left).await.unwrap();
        let error = respond(&mut right, &[]).await.unwrap_err();
        assert!(matches!(error, ExchangeError::OutOfTurn { expected: Kind::Connect, found: Kind::Sync }), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_given_up() {
        let (left, _right) = tokio::io::duplex(1024);
        let error = offer(&mut left.compat(), &[]).await.unwrap_err();
        assert!(matches!(error, ExchangeError::Timeout));
    }
}
