//! The exchanges of a relay with its peers, each with a deadline.

use std::{io, time::Duration};

use futures::{AsyncRead, AsyncWrite, AsyncWriteExt, StreamExt, stream::FuturesUnordered};
use libp2p::PeerId;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    denial::Denial,
    messages::{HopAnswer, HopKind, HopRequest, Limit, Status, StopAnswer, StopKind, StopRequest},
    table::PENDING_TIMEOUT,
};
use crate::{convert, wire};

/// Time for each message of a peer, and for each of ours to leave.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a destination to agree, on all of its connections together. With that for telling
/// the source it is less than the table lets a request last.
const ASKING: Duration = Duration::from_secs(15);
const _: () = assert!(ASKING.as_secs() + TIMEOUT.as_secs() < PENDING_TIMEOUT.as_secs());
/// Connections beside the first on which a destination is asked for one circuit.
pub(super) const MORE_WAYS: usize = 2;

/// A connection to a destination, and the stream that opens there.
pub(super) type Way<C, D> = (C, oneshot::Receiver<D>);

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

/// Asks the destination over the stream that opens on a connection to it, and on those that
/// come later beside it: the first one may be dead. When it agrees on one of them, tells the
/// source: both streams are a circuit then.
pub(super) async fn join<S, C, D>(
    source: &mut S,
    from: &PeerId,
    way: Way<C, D>,
    more: mpsc::Receiver<Way<C, D>>,
    limit: Limit,
) -> Result<(C, D), Denial>
where
    S: AsyncWrite + Unpin,
    D: AsyncRead + AsyncWrite + Unpin,
{
    let asked = timeout(ASKING, ask_on_each(from, way, more, limit));
    let joined = asked.await.map_err(|_| Denial::DestinationFailed)??;
    match timeout(TIMEOUT, wire::send(source, &HopAnswer::connected(limit))).await {
        Ok(Ok(())) => Ok(joined),
        _ => Err(Denial::SourceGone),
    }
}

/// The first way on which the destination agrees. No answer, or another one than the two
/// refusals that are passed on, counts only if it is the last that is waited for.
async fn ask_on_each<C, D>(
    from: &PeerId,
    way: Way<C, D>,
    mut more: mpsc::Receiver<Way<C, D>>,
    limit: Limit,
) -> Result<(C, D), Denial>
where
    D: AsyncRead + AsyncWrite + Unpin,
{
    let ask = async |(over, opened)| ask(from, opened, limit).await.map(|stream| (over, stream));
    let mut asked = FuturesUnordered::from_iter([ask(way)]);
    let mut left = MORE_WAYS;
    loop {
        tokio::select! {
            Some(answer) = asked.next() => match answer {
                Err(Denial::DestinationFailed | Denial::DestinationRefused(Status::ConnectionFailed)) if !asked.is_empty() => {}
                answer => return answer,
            },
            Some(way) = more.recv(), if left > 0 => {
                left -= 1;
                if left == 0 {
                    more.close();
                }
                asked.push(ask(way));
            }
        }
    }
}

async fn ask<D>(from: &PeerId, opened: oneshot::Receiver<D>, limit: Limit) -> Result<D, Denial>
where
    D: AsyncRead + AsyncWrite + Unpin,
{
    let asked = timeout(TIMEOUT, async {
        let mut stream = opened.await.map_err(|_| Denial::DestinationFailed)?;
        let failed = |_| Denial::DestinationFailed;
        wire::send(&mut stream, &StopRequest::connect(from, limit)).await.map_err(failed)?;
        let answer: StopAnswer = wire::receive(&mut stream).await.map_err(failed)?;
        agreed(&answer).map(|()| stream)
    });
    asked.await.map_err(|_| Denial::DestinationFailed)?
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
    use tokio::{
        io::{DuplexStream, duplex},
        time::{Instant, sleep},
    };
    use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

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

    type Pipe = Compat<DuplexStream>;

    /// A connection by its number, the relay's end of the stream to come, and the peer's.
    fn way(number: u32) -> ((u32, oneshot::Receiver<Pipe>), oneshot::Sender<Pipe>, Pipe, Pipe) {
        let (near, far) = duplex(64);
        let (sender, opened) = oneshot::channel();
        ((number, opened), sender, near.compat(), far.compat())
    }

    /// The destination is asked, and says this.
    async fn asked_and_told(far: &mut Pipe, status: Status) {
        let _: StopRequest = wire::receive(far).await.unwrap();
        let answer = StopAnswer { kind: Some(StopKind::Status.into()), status: Some(status.into()) };
        wire::send(far, &answer).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_destination_that_never_answers_is_given_up() {
        let (source, _peer) = duplex(64);
        let (way, sender, near, _far) = way(1);
        sender.send(near).unwrap();
        let (_more, ways) = mpsc::channel(1);
        let denial = join(&mut source.compat(), &PeerId::random(), way, ways, limit()).await.map(drop).unwrap_err();
        assert_eq!(denial, Denial::DestinationFailed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_opens_no_stream_is_given_up() {
        let (source, _peer) = duplex(64);
        let (way, _sender, ..) = way(1);
        let (_more, ways) = mpsc::channel(1);
        let denial = join(&mut source.compat(), &PeerId::random(), way, ways, limit()).await.map(drop).unwrap_err();
        assert_eq!(denial, Denial::DestinationFailed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_destination_on_a_dead_connection_answers_on_its_next_one() {
        let (source, _peer) = duplex(64);
        let (dead, _sender, ..) = way(1);
        let (next, sender, near, mut far) = way(2);
        let (more, ways) = mpsc::channel(1);
        let begun = Instant::now();
        let (mut source, from) = (source.compat(), PeerId::random());
        let joining = join(&mut source, &from, dead, ways, limit());
        let answering = async {
            more.try_send(next).map_err(drop).unwrap();
            sender.send(near).map_err(drop).unwrap();
            asked_and_told(&mut far, Status::Ok).await;
        };
        let (joined, ()) = tokio::join!(joining, answering);
        assert_eq!((joined.unwrap().0, begun.elapsed()), (2, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_counts_at_once_unless_the_reservation_was_not_known_there() {
        let refused = Err(Denial::DestinationRefused(Status::PermissionDenied));
        for (status, expected) in [(Status::NoReservation, Ok(2)), (Status::PermissionDenied, refused)] {
            let (source, _peer) = duplex(64);
            let ((first, sender, near, mut far), (next, to_next, near_next, mut far_next)) = (way(1), way(2));
            let (more, ways) = mpsc::channel(1);
            let (mut source, from) = (source.compat(), PeerId::random());
            let answering = async {
                more.try_send(next).map_err(drop).unwrap();
                sender.send(near).map_err(drop).unwrap();
                asked_and_told(&mut far, status).await;
                sleep(Duration::from_secs(1)).await;
                if to_next.send(near_next).is_ok() {
                    asked_and_told(&mut far_next, Status::Ok).await;
                }
            };
            let (joined, ()) = tokio::join!(join(&mut source, &from, first, ways, limit()), answering);
            assert_eq!(joined.map(|(over, _)| over), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn connections_without_end_do_not_make_a_request_last() {
        let (source, _peer) = duplex(64);
        let (first, _sender, ..) = way(1);
        let (more, ways) = mpsc::channel(1);
        let begun = Instant::now();
        let (mut source, from) = (source.compat(), PeerId::random());
        let flood = async {
            let mut held = Vec::new();
            for number in 2.. {
                sleep(Duration::from_secs(4)).await;
                let (next, sender, ..) = way(number);
                held.push(sender);
                if more.send(next).await.is_err() {
                    return (number, held);
                }
            }
            unreachable!()
        };
        let (joined, (sent, _held)) = tokio::join!(join(&mut source, &from, first, ways, limit()), flood);
        assert_eq!(joined.map(drop).unwrap_err(), Denial::DestinationFailed);
        // The first and two more, the last of them asked for less than its time.
        assert_eq!((begun.elapsed(), sent), (ASKING, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_take_its_answer_is_given_up() {
        let (relay, _peer) = duplex(1);
        refuse(relay.compat(), Status::NoReservation).await;
    }
}
