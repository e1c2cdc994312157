//! One listening socket: its addresses and its arrivals.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Arc,
    task::{Context, Poll},
};

use libp2p::core::transport::{ListenerId, TransportEvent};
use quinn::VarInt;
use tokio::{
    sync::mpsc,
    task::{AbortHandle, yield_now},
};

use super::{
    address,
    config::Terms,
    error::Error,
    guard::Guard,
    handshake::Handshake,
    interfaces::{Change, Interfaces},
};

/// Handshakes that wait for the swarm; the gate lets in fewer at once.
const MAX_ARRIVALS: usize = 512;
/// Initials judged before other tasks get their turn.
const BATCH: u32 = 32;

pub(super) type Event = TransportEvent<Handshake, Error>;

/// A handshake that a remote has begun.
struct Arrival {
    handshake: Handshake,
    remote: SocketAddr,
    local: SocketAddr,
}

/// Dropping it ends its task and, once no connection is left, its socket.
pub(super) struct Listener {
    pub(super) id: ListenerId,
    pub(super) endpoint: quinn::Endpoint,
    /// The endpoint's socket, for punch packets, which are not QUIC.
    pub(super) socket: Arc<UdpSocket>,
    pub(super) bound: SocketAddr,
    interfaces: Option<Interfaces>,
    arrivals: mpsc::Receiver<Arrival>,
    acceptor: AbortHandle,
    events: VecDeque<Event>,
    closed: bool,
}

impl Listener {
    /// Must be called within a tokio runtime.
    pub(super) fn new(
        id: ListenerId,
        endpoint: quinn::Endpoint,
        socket: UdpSocket,
        guard: Guard,
        terms: Terms,
    ) -> Result<Self, Error> {
        let bound = socket.local_addr()?;
        let mut events = VecDeque::new();
        let interfaces = if bound.ip().is_unspecified() {
            Some(Interfaces::watch(bound.is_ipv4())?)
        } else {
            events.push_back(Event::NewAddress { listener_id: id, listen_addr: address::multiaddr(bound) });
            None
        };
        let (sender, arrivals) = mpsc::channel(MAX_ARRIVALS);
        let acceptor = tokio::spawn(accept(endpoint.clone(), bound, guard, terms, sender)).abort_handle();
        Ok(Self { id, endpoint, socket: Arc::new(socket), bound, interfaces, arrivals, acceptor, events, closed: false })
    }

    /// Closes the listener and every connection of its socket, whose port is free when
    /// they have drained.
    pub(super) fn close(&mut self, reason: Result<(), Error>) {
        if !self.closed {
            self.closed = true;
            self.acceptor.abort();
            self.endpoint.close(VarInt::from_u32(0), &[]);
            self.events.push_back(Event::ListenerClosed { listener_id: self.id, reason });
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether a dial to `remote` may leave from here.
    pub(super) fn reaches(&self, remote: &SocketAddr) -> bool {
        !self.closed && reaches(self.bound.ip(), remote.ip())
    }

    /// The next event, or `None` after the last one.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(Some(event));
        }
        if self.closed {
            return Poll::Ready(None);
        }
        let listener_id = self.id;
        if let Some(interfaces) = &mut self.interfaces
            && let Poll::Ready(change) = interfaces.poll(cx)
        {
            let port = self.bound.port();
            let at = |ip| address::multiaddr(SocketAddr::new(ip, port));
            return Poll::Ready(Some(match change {
                Ok(Change::Up(ip)) => Event::NewAddress { listener_id, listen_addr: at(ip) },
                Ok(Change::Down(ip)) => Event::AddressExpired { listener_id, listen_addr: at(ip) },
                Err(error) => Event::ListenerError { listener_id, error: error.into() },
            }));
        }
        match self.arrivals.poll_recv(cx) {
            Poll::Ready(Some(Arrival { handshake, remote, local })) => Poll::Ready(Some(Event::Incoming {
                listener_id,
                upgrade: handshake,
                local_addr: address::multiaddr(local),
                send_back_addr: address::multiaddr(remote),
            })),
            Poll::Ready(None) => {
                self.close(Err(Error::SocketLost));
                Poll::Ready(self.events.pop_front())
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

/// A socket on a loopback address sends nowhere else, and one on another address
/// does not send to loopback.
fn reaches(bound: IpAddr, remote: IpAddr) -> bool {
    bound.is_ipv4() == remote.is_ipv4() && (bound.is_unspecified() || bound.is_loopback() == remote.is_loopback())
}

/// Judges Initials in a task of its own, so that a flood of them does not keep the
/// swarm from its work. Ends with the endpoint.
async fn accept(endpoint: quinn::Endpoint, bound: SocketAddr, guard: Guard, terms: Terms, arrivals: mpsc::Sender<Arrival>) {
    let mut judged = 0;
    while let Some(incoming) = endpoint.accept().await {
        let remote = incoming.remote_address();
        let local = SocketAddr::new(incoming.local_ip().unwrap_or(bound.ip()), bound.port());
        if let Some(handshake) = guard.admit(incoming, terms)
            && let Some(handshake) = guard.deliver(remote, handshake)
        {
            // One that finds no room is dropped, which closes it.
            let _ = arrivals.try_send(Arrival { handshake, remote, local });
        }
        judged += 1;
        if judged % BATCH == 0 {
            yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dial_leaves_from_a_socket_that_can_reach_the_remote() {
        for (bound, remote, expected) in [
            ("0.0.0.0", "192.0.2.1", true),
            ("0.0.0.0", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", true),
            ("127.0.0.1", "192.0.2.1", false),
            ("192.0.2.9", "127.0.0.1", false),
            ("0.0.0.0", "2001:db8::1", false),
            ("::", "2001:db8::1", true),
            ("::1", "2001:db8::1", false),
        ] {
            assert_eq!(reaches(bound.parse().unwrap(), remote.parse().unwrap()), expected, "{bound} {remote}");
        }
    }
}
