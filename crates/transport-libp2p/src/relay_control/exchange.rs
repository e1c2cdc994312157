//! Both sides of a stream of the relay protocol.

use std::{io, time::Duration};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::{
    token::RelayToken,
    wire::{Frame, receive, send},
};

/// Time for a hello, for its answer, and for each frame to leave.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A relay says little, and its node hears no more often than this: what comes faster waits
/// at the relay.
const SPACING: Duration = Duration::from_millis(50);

fn late() -> io::Error {
    io::Error::from(io::ErrorKind::TimedOut)
}

/// The relay's side: what the node says first.
pub(crate) async fn hello<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<RelayToken>> {
    match timeout(TIMEOUT, receive(stream)).await.map_err(|_| late())?? {
        Frame::Hello(token) => Ok(token),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the first frame is no hello")),
    }
}

/// The relay's side after that: sends what it is given, until there is no more to come, or
/// the node ends the stream or says more than it may.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, mut frames: mpsc::Receiver<Frame>) {
    let mut more = [0];
    loop {
        tokio::select! {
            biased;
            frame = frames.recv() => {
                let Some(frame) = frame else { break };
                if !matches!(timeout(TIMEOUT, send(&mut stream, &frame)).await, Ok(Ok(()))) {
                    return;
                }
            }
            _ = stream.read(&mut more) => break,
        }
    }
    let _ = timeout(TIMEOUT, stream.close()).await;
}

/// The node's side: says hello, and gives what the relay says to `heard` until the stream
/// ends, which an error tells; the first answer has to come in time.
pub(crate) async fn join<S, F>(stream: &mut S, token: Option<RelayToken>, mut heard: impl FnMut(Frame) -> F) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = ()>,
{
    let answer = timeout(TIMEOUT, async {
        send(stream, &Frame::Hello(token)).await?;
        receive(stream).await
    });
    let mut frame = answer.await.map_err(|_| late())??;
    loop {
        heard(frame).await;
        sleep(SPACING).await;
        frame = receive(stream).await?;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::{io::duplex, time::Instant};
    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;
    use crate::relay_control::Refusal;

    #[tokio::test(start_paused = true)]
    async fn a_node_hears_what_its_relay_says_until_the_end() {
        let (node, relay) = duplex(64);
        let (frames, sent) = mpsc::channel(4);
        let token: RelayToken = "key".parse().unwrap();
        let (given, mut relay) = (token.clone(), relay.compat());
        let serving = tokio::spawn(async move {
            assert_eq!(hello(&mut relay).await.unwrap(), Some(given));
            serve(relay, sent).await;
        });
        let all = [Frame::Welcome, Frame::Draining(Duration::from_secs(9)), Frame::Refused(Refusal::TokenWrong)];
        for frame in &all {
            frames.send(frame.clone()).await.unwrap();
        }
        drop(frames);
        let heard = Mutex::new(Vec::new());
        let end = join(&mut node.compat(), Some(token), |frame| {
            heard.lock().unwrap().push(frame);
            std::future::ready(())
        })
        .await;
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(*heard.lock().unwrap(), all);
        serving.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_relay_that_speaks_without_end_is_heard_seldom() {
        let (node, relay) = duplex(64);
        let flood = async {
            let mut relay = relay.compat();
            while AsyncWriteExt::write_all(&mut relay, &[2, 0, 0]).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        let count = std::sync::atomic::AtomicU32::new(0);
        let mut node = node.compat();
        let hear = join(&mut node, None, |_| {
            let heard = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            // Without an end it would never wait.
            async move {
                if heard > 10_000 {
                    std::future::pending().await
                }
            }
        });
        let a_second = timeout(Duration::from_secs(1), async { tokio::join!(flood, hear) });
        assert!(a_second.await.is_err());
        assert!((10..=21).contains(&count.into_inner()), "as often as the spacing lets it");
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_given_up_on_both_sides() {
        let (node, relay) = duplex(64);
        let begun = Instant::now();
        let (hello, answer) = tokio::join!(async { hello(&mut relay.compat()).await }, async {
            let (node, _silent) = duplex(64);
            join(&mut node.compat(), None, |_| std::future::ready(())).await
        });
        assert_eq!(hello.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(answer.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), TIMEOUT.as_secs());
        drop(node);
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_says_more_than_hello_or_does_not_read_is_given_up() {
        let (mut node, relay) = duplex(64);
        let (_frames, sent) = mpsc::channel(4);
        tokio::io::AsyncWriteExt::write_all(&mut node, &[1]).await.unwrap();
        serve(relay.compat(), sent).await;
        let (_node, relay) = duplex(1);
        let (frames, sent) = mpsc::channel(4);
        frames.send(Frame::Welcome).await.unwrap();
        serve(relay.compat(), sent).await;
    }
}
