use async_trait::async_trait;
use tokio::sync::{Mutex, mpsc};

use crate::{
    ConnectInfo, DialError, DialRequest, Direction, DuplexStream, ListenError, Path, PathWatch, PeerIdentity, PeerLocator, Route,
    StreamDialer, StreamListener, Transport, address::PeerAddress, synthetic_address,
};

/// Bytes in flight each way before a writer waits.
const PIPE_CAPACITY: usize = 64 * 1024;
/// Streams that may wait for `accept`.
const BACKLOG: usize = 64;

/// A dialer and a listener joined in memory: whatever the one dials, the other
/// accepts. `dialing` is who the listener believes to be calling.
pub fn memory_network(dialing: PeerIdentity) -> (MemoryDialer, MemoryListener) {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    (MemoryDialer { dialing, streams: sender }, MemoryListener { streams: Mutex::new(receiver) })
}

/// See [`memory_network`].
#[derive(Clone)]
pub struct MemoryDialer {
    dialing: PeerIdentity,
    streams: mpsc::Sender<DuplexStream>,
}

/// See [`memory_network`].
pub struct MemoryListener {
    streams: Mutex<mpsc::Receiver<DuplexStream>>,
}

#[async_trait]
impl StreamDialer for MemoryDialer {
    fn supports(&self, _request: &DialRequest) -> bool {
        true
    }

    async fn dial(&self, request: DialRequest) -> Result<DuplexStream, DialError> {
        let (address, path) = match &request.route {
            Route::Direct(address) => (PeerAddress::Direct(address.clone()), Path::Direct { transport: address.transport }),
            Route::Punched { relay, .. } => (PeerAddress::Relayed(relay.clone()), Path::Direct { transport: Transport::Tcp }),
            Route::Relayed(relay) => (
                PeerAddress::Relayed(relay.clone()),
                Path::Relayed { relay: relay.relay.clone(), reason: crate::RelayReason::Policy },
            ),
        };
        let peer = request.peer.ok_or_else(|| DialError::MissingPeerId(Box::new(request.route)))?;
        let (ours, theirs) = tokio::io::duplex(PIPE_CAPACITY);
        let inbound = info(&self.dialing, Direction::Inbound, address.clone());
        let outbound = info(&peer, Direction::Outbound, address);
        self.streams
            .send(DuplexStream::new(theirs, inbound, PathWatch::fixed(path.clone())))
            .await
            .map_err(|_| DialError::ShuttingDown)?;
        Ok(DuplexStream::new(ours, outbound, PathWatch::fixed(path)))
    }
}

#[async_trait]
impl StreamListener for MemoryListener {
    async fn accept(&self) -> Result<DuplexStream, ListenError> {
        self.streams.lock().await.recv().await.ok_or(ListenError::Closed)
    }
}

fn info(peer: &PeerIdentity, direction: Direction, address: PeerAddress) -> ConnectInfo {
    let remote = PeerLocator { peer: Some(peer.clone()), address };
    ConnectInfo { peer: Some(peer.clone()), direction, remote, synthetic: synthetic_address(peer) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::TransportAddress;

    fn peer(text: &str) -> PeerIdentity {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_dial_reaches_the_listener_and_bytes_are_counted() {
        let caller = peer("12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN");
        let callee = peer("12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp");
        let (dialer, listener) = memory_network(caller.clone());
        let route = Route::Direct(TransportAddress::tcp("192.0.2.1:1".parse().unwrap()));
        let request = DialRequest { peer: Some(callee.clone()), route, timeout: Duration::from_secs(1) };
        let mut ours = dialer.dial(request).await.unwrap();
        let mut theirs = listener.accept().await.unwrap();
        assert_eq!(theirs.info().peer, Some(caller));
        assert_eq!(ours.info().peer, Some(callee));
        ours.write_all(b"ping").await.unwrap();
        let mut buffer = [0; 4];
        theirs.read_exact(&mut buffer).await.unwrap();
        assert_eq!((ours.counters().sent(), theirs.counters().received()), (4, 4));
    }

    #[tokio::test]
    async fn a_listener_without_dialer_is_closed() {
        let (dialer, listener) = memory_network(peer("12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"));
        drop(dialer);
        assert!(matches!(listener.accept().await, Err(ListenError::Closed)));
    }
}
