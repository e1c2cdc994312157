//! Two servers of Kaspa's P2P, joined.
//!
//! Neither kaspad dials: the gateway is a client of both. What a server sends in the body
//! of its answer has the same form as what it takes in the body of a request, so the body
//! of each answer is passed on as the body of the other's request, unread.
//!
//! | file | what it knows |
//! |---|---|
//! | `call` | one call, as its client |
//! | `copy` | one direction of the bytes |
//! | `cause` | what an answer says |
//! | `guard` | how much is read at a time |
//! | `bounds` | sizes and times |

mod bounds;
mod call;
mod cause;
mod copy;
mod guard;

use std::{fmt, future::poll_fn, task::Poll};

use tokio::io::{AsyncRead, AsyncWrite};

#[cfg(doc)]
use bounds::ANSWER;
use bounds::{LOCAL, NETWORK};
use call::Call;
use copy::{Direction, Ended};

use crate::half_closed::HalfClosed;

/// The end that something is said of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Peer,
    Kaspad,
}

/// Why there is no bridge, or no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) end: End,
    pub(crate) cause: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = match self.end {
            End::Peer => "the peer's kaspad",
            End::Kaspad => "kaspad",
        };
        write!(f, "{end}: {}", self.cause)
    }
}

impl Broken {
    fn at(end: End) -> impl Fn(String) -> Self {
        move |cause| Self { end, cause }
    }
}

/// Two calls, of which each has what the other's server says.
pub(crate) struct Bridge<P, K> {
    peer: Call<P>,
    kaspad: Call<K>,
}

impl<P, K> Bridge<P, K>
where
    P: AsyncRead + AsyncWrite + Unpin,
    K: AsyncRead + AsyncWrite + Unpin,
{
    /// Calls the peer's server, and then our kaspad: kaspad's time for a handshake begins
    /// when the peer's Version is there. Takes twice [`ANSWER`] at most.
    pub(crate) async fn open(peer: P, kaspad: K) -> Result<Self, Broken> {
        let mut peer = Call::open(peer, NETWORK).await.map_err(Broken::at(End::Peer))?;
        let opening = Call::open(kaspad, LOCAL);
        tokio::pin!(opening);
        let kaspad = poll_fn(|cx| {
            if let Poll::Ready(kaspad) = opening.as_mut().poll(cx) {
                return Poll::Ready(kaspad.map_err(Broken::at(End::Kaspad)));
            }
            // What the peer's server sends meanwhile waits in its window.
            peer.poll_link(cx).map(|ended| Err(Broken::at(End::Peer)(gone(ended))))
        });
        let kaspad = kaspad.await?;
        Ok(Self { peer, kaspad })
    }

    /// Passes messages both ways until one end has ended its call; why, if it was not
    /// regularly. `progress` is called each time that bytes may have passed.
    pub(crate) async fn run(&mut self, mut progress: impl FnMut()) -> Result<(), Broken> {
        let (mut inwards, mut outwards) = (Direction::default(), Direction::default());
        let mut half_closed = HalfClosed::default();
        poll_fn(|cx| {
            let links = [(End::Peer, self.peer.poll_link(cx)), (End::Kaspad, self.kaspad.poll_link(cx))];
            progress();
            let directions = [
                (End::Peer, End::Kaspad, inwards.poll(cx, &mut self.peer, &mut self.kaspad)),
                (End::Kaspad, End::Peer, outwards.poll(cx, &mut self.kaspad, &mut self.peer)),
            ];
            let mut refused = None;
            for (from, to, direction) in directions {
                match direction {
                    Poll::Ready(Ended::Regularly) => return Poll::Ready(Ok(())),
                    Poll::Ready(Ended::Sender(cause)) => return Poll::Ready(Err(Broken { end: from, cause })),
                    // A server that has ended its call takes nothing: how it ended tells more.
                    Poll::Ready(Ended::Receiver(cause)) => refused = Some(Broken { end: to, cause }),
                    Poll::Pending => {}
                }
            }
            if let Some(broken) = refused {
                return Poll::Ready(Err(broken));
            }
            let mut closed = None;
            for (end, link) in links {
                match link {
                    Poll::Ready(Err(cause)) => return Poll::Ready(Err(Broken { end, cause })),
                    Poll::Ready(Ok(())) => closed = Some(Broken { end, cause: gone(Ok(())) }),
                    Poll::Pending => {}
                }
            }
            // One that has closed may have sent what the other does not take yet.
            let Some(broken) = closed else { return Poll::Pending };
            half_closed.poll(cx).map(|()| Err(broken))
        })
        .await
    }

    /// Ends both calls. Returns when both servers have been told: limit its time.
    pub(crate) async fn end(self) {
        tokio::join!(self.peer.end(), self.kaspad.end());
    }
}

fn gone(ended: Result<(), String>) -> String {
    ended.err().unwrap_or_else(|| "it closed the connection".into())
}
