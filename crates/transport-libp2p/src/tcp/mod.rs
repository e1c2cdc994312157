//! libp2p's TCP transport, where it gives up too early or never.

mod silence;

use std::{
    io::{self, ErrorKind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::{FutureExt, future::BoxFuture};
use libp2p::{
    Multiaddr, Transport,
    core::transport::{DialOpts, ListenerId, PortUse, TransportError, TransportEvent},
    tcp,
};

pub(crate) use silence::Watched;

/// A transport that
/// - dials from a new port if the listening port cannot be bound for a dial, as libp2p
///   itself does if that port has a connection to the same remote already;
/// - ends a listener whose socket does not listen any more (EINVAL, accept(2)): libp2p would try
///   again for ever. Other errors of accept pass, such as too many open files.
pub(crate) struct Tcp<T = tcp::tokio::Transport> {
    inner: T,
    /// Makes a transport that listens nowhere.
    make: fn() -> T,
}

impl Tcp {
    pub(crate) fn new() -> Self {
        Self::of(|| tcp::tokio::Transport::new(tcp::Config::default().nodelay(true)))
    }
}

impl<T> Tcp<T> {
    fn of(make: fn() -> T) -> Self {
        Self { inner: make(), make }
    }
}

impl<T> Transport for Tcp<T>
where
    T: Transport<Error = io::Error> + Send + Unpin + 'static,
    T::Dial: Send + 'static,
    T::Output: Send,
{
    type Output = T::Output;
    type Error = io::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = BoxFuture<'static, Result<T::Output, io::Error>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, opts: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let dialled = self.inner.dial(address.clone(), opts)?;
        let make = self.make;
        Ok(async move {
            match dialled.await {
                Err(error) if error.kind() == ErrorKind::AddrInUse && opts.port_use == PortUse::Reuse => {
                    tracing::debug!(%address, "the listening port cannot be bound for a dial: a new one is used");
                    let dialled = make().dial(address, DialOpts { port_use: PortUse::New, ..opts });
                    dialled.map_err(|error| error.map(io::Error::other)).map_err(io::Error::other)?.await
                }
                dialled => dialled,
            }
        }
        .boxed())
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<T::ListenerUpgrade, io::Error>> {
        Poll::Ready(match ready!(Pin::new(&mut self.inner).poll(cx)) {
            TransportEvent::ListenerError { listener_id, error } if error.kind() == ErrorKind::InvalidInput => {
                self.inner.remove_listener(listener_id);
                TransportEvent::ListenerClosed { listener_id, reason: Err(error) }
            }
            event => event,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};

    use libp2p::core::Endpoint;

    use super::*;

    /// Dials only from a new port.
    struct Bound;

    impl Transport for Bound {
        type Output = PortUse;
        type Error = io::Error;
        type ListenerUpgrade = Ready<Result<PortUse, io::Error>>;
        type Dial = Ready<Result<PortUse, io::Error>>;

        fn listen_on(&mut self, _: ListenerId, _: Multiaddr) -> Result<(), TransportError<io::Error>> {
            Ok(())
        }

        fn remove_listener(&mut self, _: ListenerId) -> bool {
            false
        }

        fn dial(&mut self, _: Multiaddr, opts: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
            Ok(ready(match opts.port_use {
                PortUse::Reuse => Err(ErrorKind::AddrInUse.into()),
                PortUse::New => Ok(PortUse::New),
            }))
        }

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_listening_port_that_cannot_be_bound_is_no_end_of_dialling() {
        let opts = DialOpts { role: Endpoint::Dialer, port_use: PortUse::Reuse };
        let dialled = Tcp::of(|| Bound).dial(Multiaddr::empty(), opts).unwrap().await;
        assert_eq!(dialled.unwrap(), PortUse::New);
    }
}
