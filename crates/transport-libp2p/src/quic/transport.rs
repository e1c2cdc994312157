use std::{
    collections::HashMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use futures::{FutureExt, future::BoxFuture};
use libp2p::{
    Multiaddr, PeerId,
    core::{
        Endpoint,
        transport::{DialOpts, ListenerId, PortUse, TransportError, TransportEvent},
    },
    identity::Keypair,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    address,
    config::{Config, Quinn},
    error::Error,
    guard::Guard,
    handshake::Handshake,
    listener::Listener,
    muxer::Connection,
    punch::punch,
    reset,
};

/// What TLS wants of a name; it is not sent.
const SERVER_NAME: &str = "libp2p";

/// Bytes that a socket asks the system to keep until they are read.
const RECEIVE_BUFFER: usize = 2 << 20;

/// QUIC as a libp2p transport; see the module. Needs a tokio runtime from the first
/// dial or listener on.
pub(crate) struct Transport {
    config: Config,
    quinn: Quinn,
    guard: Guard,
    listeners: Vec<Listener>,
    /// Dialing sockets of IPv4 and IPv6, while no listener of the family can dial.
    dialers: HashMap<bool, quinn::Endpoint>,
    waker: Option<Waker>,
}

impl Transport {
    pub(crate) fn new(keypair: &Keypair, config: Config) -> Result<Self, Error> {
        let quinn = config.quinn(keypair)?;
        let guard = Guard::new(config.limits);
        Ok(Self { config, quinn, guard, listeners: Vec::new(), dialers: HashMap::new(), waker: None })
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn endpoint(&self, socket: UdpSocket, listens: bool) -> io::Result<quinn::Endpoint> {
        let server = listens.then(|| self.quinn.server.clone());
        let config = reset::endpoint(&self.quinn.keypair, socket.local_addr()?);
        let socket = Arc::new(super::socket::Socket::new(socket)?);
        quinn::Endpoint::new_with_abstract_socket(config, server, socket, Arc::new(quinn::TokioRuntime))
    }

    /// The listener to dial `remote` from: the oldest, one on the wildcard first. Both
    /// dials of a punch leave from the same, or the remote's NAT would see two ports.
    fn listener_for(&self, remote: &SocketAddr) -> Option<&Listener> {
        let able = self.listeners.iter().filter(|listener| listener.reaches(remote));
        able.min_by_key(|listener| !listener.bound.ip().is_unspecified())
    }

    fn new_dialer(&self, remote: &SocketAddr) -> io::Result<quinn::Endpoint> {
        let any = match remote {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        self.endpoint(bind(any)?, false)
    }

    fn endpoint_for(&mut self, remote: &SocketAddr, port: PortUse) -> io::Result<quinn::Endpoint> {
        if port == PortUse::New {
            return self.new_dialer(remote);
        }
        if let Some(listener) = self.listener_for(remote) {
            return Ok(listener.endpoint.clone());
        }
        if let Some(dialer) = self.dialers.get(&remote.is_ipv4()) {
            return Ok(dialer.clone());
        }
        let dialer = self.new_dialer(remote)?;
        self.dialers.insert(remote.is_ipv4(), dialer.clone());
        Ok(dialer)
    }

    /// Waits for `remote` to connect, whose packets our NAT lets in when ours have left.
    fn punch(&mut self, remote: SocketAddr, peer: PeerId) -> Result<<Self as libp2p::core::Transport>::Dial, Error> {
        let socket = self.listener_for(&remote).ok_or(Error::NoListener)?.socket.clone();
        let timeout = self.config.handshake_timeout;
        let arrivals = self.guard.begin_punch(remote, timeout)?;
        Ok(punch(socket, remote, peer, arrivals, timeout).boxed())
    }
}

fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Room for what comes while other tasks run; the system gives what it allows.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

impl libp2p::core::Transport for Transport {
    type Output = (PeerId, Connection);
    type Error = Error;
    type ListenerUpgrade = Handshake;
    type Dial = BoxFuture<'static, Result<Self::Output, Error>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<Error>> {
        let (at, _) = address::parse(&address).ok_or(TransportError::MultiaddrNotSupported(address))?;
        let socket = bind(at).map_err(Error::from)?;
        let clone = socket.try_clone().map_err(Error::from)?;
        let endpoint = self.endpoint(socket, true).map_err(Error::from)?;
        let listener = Listener::new(id, endpoint, clone, self.guard.clone(), self.config.terms())?;
        self.listeners.push(listener);
        // New dials leave from the listener; the dialing socket goes with its last connection.
        self.dialers.remove(&at.is_ipv4());
        self.wake();
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let Some(listener) = self.listeners.iter_mut().find(|listener| listener.id == id && !listener.is_closed()) else {
            return false;
        };
        listener.close(Ok(()));
        self.wake();
        true
    }

    fn dial(&mut self, address: Multiaddr, opts: DialOpts) -> Result<Self::Dial, TransportError<Error>> {
        let parsed = address::parse(&address).filter(|(remote, _)| remote.port() != 0 && !remote.ip().is_unspecified());
        let Some((remote, peer)) = parsed else { return Err(TransportError::MultiaddrNotSupported(address)) };
        if (opts.role, opts.port_use) == (Endpoint::Listener, PortUse::New) {
            let peer = peer.ok_or(TransportError::MultiaddrNotSupported(address))?;
            return Ok(self.punch(remote, peer)?);
        }
        let endpoint = self.endpoint_for(&remote, opts.port_use).map_err(Error::from)?;
        let terms = self.config.terms();
        if opts.port_use == PortUse::Reuse {
            // In a punch the remote may dial us at the same moment.
            self.guard.expect(remote, terms.timeout);
        }
        let client = self.quinn.client.clone();
        let dial = async move {
            let connecting = endpoint.connect_with(client, remote, SERVER_NAME)?;
            Handshake::new(connecting, terms, None).await
        };
        Ok(dial.boxed())
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<Handshake, Error>> {
        let mut index = 0;
        while let Some(listener) = self.listeners.get_mut(index) {
            match listener.poll(cx) {
                Poll::Ready(Some(event)) => return Poll::Ready(event),
                Poll::Ready(None) => drop(self.listeners.remove(index)),
                Poll::Pending => index += 1,
            }
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
