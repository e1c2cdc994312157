use std::{io, net::SocketAddr, time::Duration};

use async_trait::async_trait;
use kaspath_domain::{Direction, DuplexStream, IpPrefix, ListenError, Slots, StreamListener};
use tokio::{net::TcpListener, time::sleep};

use crate::{TcpConfig, socket};

/// Pause after an accept that failed for lack of resources, so as not to spin.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Accepts plain TCP streams on one address. Dropping it closes the port;
/// streams already handed over live on.
#[derive(Debug)]
pub struct TcpTransportListener {
    local: SocketAddr,
    config: TcpConfig,
    slots: Slots<IpPrefix>,
    listener: TcpListener,
}

impl TcpTransportListener {
    /// Listens on `address`; port 0 picks a free one.
    pub async fn bind(address: SocketAddr, config: TcpConfig) -> Result<Self, ListenError> {
        let bind_error = |cause: io::Error| ListenError::Bind { address: address.to_string(), cause };
        let listener = TcpListener::bind(address).await.map_err(bind_error)?;
        let local = listener.local_addr().map_err(bind_error)?;
        Ok(Self { local, slots: Slots::new(config.max_inbound), config, listener })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

#[async_trait]
impl StreamListener for TcpTransportListener {
    /// The next stream within the limits; others are closed on the way. Connections that
    /// nobody accepts wait in the system's queue.
    async fn accept(&self) -> Result<DuplexStream, ListenError> {
        loop {
            let (connection, remote) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "accept failed");
                    sleep(ACCEPT_BACKOFF).await;
                    continue;
                }
            };
            let host = (IpPrefix::host(remote.ip()), self.config.max_inbound_per_ip);
            let network = (IpPrefix::network(remote.ip()), self.config.max_inbound_per_prefix);
            let Some(slot) = self.slots.take([host, network]) else {
                tracing::debug!(%remote, "refused: over the connection limits");
                continue;
            };
            match socket::into_stream(connection, remote, Direction::Inbound, slot) {
                Ok(stream) => return Ok(stream),
                Err(error) => tracing::debug!(%remote, %error, "socket options"),
            }
        }
    }
}
