//! The exchanges of a relay with its peers, each with a deadline.

use std::{io, time::Duration};

use futures::{AsyncRead, AsyncWrite, AsyncWriteExt};
use libp2p::PeerId;
use tokio::{sync::oneshot, time::timeout};

use super::{
    denial::Denial,
    messages::{HopAnswer, HopKind, HopRequest, Limit, Status, StopAnswer, StopKind, StopRequest},
};
use crate::{convert, wire};

/// Time for each message of a peer, and for each of ours to leave.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// What a peer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Reserve,
    /// A circuit to that peer, an id that the domain accepts too.
    Connect(PeerId),
}

/// Reads a request. What is none is answered here, and gives nothing.
pub(super) async fn request<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> Option<(S, Ask)> {
    let request = match timeout(TIMEOUT, wire::receive(&mut stream)).await.ok()? {
        Ok(request) => request,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            refuse(stream, Status::MalformedMessage).await;
            return None;
        }
        Err(_) => return None,
    };
    match understand(&request) {
        Ok(ask) => Some((stream, ask)),
        Err(status) => {
            refuse(stream, status).await;
            None
        }
    }
}

fn understand(request: &HopRequest) -> Result<Ask, Status> {
    let kind = request.kind.and_then(|kind| HopKind::try_from(kind).ok()).ok_or(Status::MalformedMessage)?;
    match kind {
        HopKind::Reserve => Ok(Ask::Reserve),
        HopKind::Status => Err(Status::UnexpectedMessage),
        HopKind::Connect => {
            let peer = request.peer.as_ref().and_then(|peer| PeerId::from_bytes(&peer.id).ok());
            // libp2p takes more for ids than the domain does.
            let peer = peer.filter(|peer| convert::named(peer).is_some());
            peer.map(Ask::Connect).ok_or(Status::MalformedMessage)
        }
    }
}

/// A peer's request, and its answer to ours, for fuzzing.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    use futures::{FutureExt, io::Cursor};
    // A cursor never waits.
    if let Some(Ok(request)) = wire::receive::<HopRequest, _>(&mut Cursor::new(bytes)).now_or_never()
        && let Ok(Ask::Connect(peer)) = understand(&request)
    {
        let identity = convert::named(&peer).expect("only ids that the domain accepts are understood");
        assert_eq!(convert::peer_id(&identity), peer);
    }
    let _ = wire::receive::<StopAnswer, _>(&mut Cursor::new(bytes)).now_or_never();
}

/// Says no and closes.
async fn refuse<S: AsyncWrite + Unpin>(stream: S, status: Status) {
    answer(stream, HopAnswer::refused(status)).await;
}

/// Sends the last message of an exchange and closes.
pub(super) async fn answer<S: AsyncWrite + Unpin>(mut stream: S, message: impl prost::Message) {
    let sent = timeout(TIMEOUT, async {
        wire::send(&mut stream, &message).await?;
        stream.close().await
    });
    // A peer that does not take it will ask again.
    let _ = sent.await;
}

/// Asks the destination over the stream that it is reached by, and tells the source
/// when it agrees: both streams are a circuit then.
pub(super) async fn join<S, D>(
    source: &mut S,
    from: &PeerId,
    destination: oneshot::Receiver<D>,
    limit: Limit,
) -> Result<D, Denial>
where
    S: AsyncWrite + Unpin,
    D: AsyncRead + AsyncWrite + Unpin,
{
    let asked = timeout(TIMEOUT, async {
        let mut stream = destination.await.map_err(|_| Denial::DestinationFailed)?;
        let failed = |_| Denial::DestinationFailed;
        wire::send(&mut stream, &StopRequest::connect(from, limit)).await.map_err(failed)?;
        let answer: StopAnswer = wire::receive(&mut stream).await.map_err(failed)?;
        agreed(&answer).map(|()| stream)
    });
    let stream = asked.await.map_err(|_| Denial::DestinationFailed)??;
    match timeout(TIMEOUT, wire::send(source, &HopAnswer::connected(limit))).await {
        Ok(Ok(())) => Ok(stream),
        _ => Err(Denial::SourceGone),
    }
}

fn agreed(answer: &StopAnswer) -> Result<(), Denial> {
    if answer.kind != Some(StopKind::Status.into()) {
        return Err(Denial::DestinationFailed);
    }
    match answer.status.and_then(|status| Status::try_from(status).ok()) {
        Some(Status::Ok) => Ok(()),
        // The source may know these two by our own limits, and treats them alike.
        Some(status @ (Status::ResourceLimitExceeded | Status::PermissionDenied)) => Err(Denial::DestinationRefused(status)),
        _ => Err(Denial::DestinationRefused(Status::ConnectionFailed)),
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::duplex, time::Instant};
    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;

    fn limit() -> Limit {
        Limit::new(Duration::from_secs(60), 0)
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_never_ends_is_given_up() {
        let (relay, mut peer) = duplex(64);
        tokio::io::AsyncWriteExt::write_all(&mut peer, &[2]).await.unwrap();
        let begun = Instant::now();
        assert!(request(relay.compat()).await.is_none());
        assert_eq!(begun.elapsed().as_secs(), TIMEOUT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_destination_that_never_answers_is_given_up() {
        let (source, _peer) = duplex(64);
        let (destination, _other) = duplex(64);
        let (sender, opened) = oneshot::channel();
        sender.send(destination.compat()).unwrap();
        let denial = join(&mut source.compat(), &PeerId::random(), opened, limit()).await.map(drop).unwrap_err();
        assert_eq!(denial, Denial::DestinationFailed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_opens_no_stream_is_given_up() {
        let (source, _peer) = duplex(64);
        let (_sender, opened) = oneshot::channel::<tokio_util::compat::Compat<tokio::io::DuplexStream>>();
        let denial = join(&mut source.compat(), &PeerId::random(), opened, limit()).await.map(drop).unwrap_err();
        assert_eq!(denial, Denial::DestinationFailed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_take_its_answer_is_given_up() {
        let (relay, _peer) = duplex(1);
        refuse(relay.compat(), Status::NoReservation).await;
    }
}
