use std::{io, net::SocketAddr, time::Duration};

use async_trait::async_trait;
use kaspath_domain::{
    DialError, DialRequest, Direction, DuplexStream, Host, IpPrefix, Route, Slots, StreamDialer, Transport, TransportAddress,
};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use crate::{TcpConfig, socket};

/// Addresses of one name that are tried.
const MAX_RESOLVED: usize = 8;
/// Time for one address, within a dial's deadline. kaspad uses 1 s; far peers need more.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens plain TCP streams.
#[derive(Clone, Debug)]
pub struct TcpDialer {
    config: TcpConfig,
    slots: Slots<IpPrefix>,
}

impl TcpDialer {
    /// A dialer with its own count of open connections.
    pub fn new(config: TcpConfig) -> Self {
        Self { slots: Slots::new(config.max_outbound), config }
    }

    async fn connect(&self, address: &TransportAddress) -> Result<DuplexStream, DialError> {
        let candidates = resolve(address).await?;
        let mut last = None;
        for candidate in candidates {
            let Some(slot) = self.slots.take([]) else {
                return Err(DialError::LimitReached { what: "outbound TCP connections", limit: self.config.max_outbound });
            };
            let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(candidate)).await;
            let connected = connected.unwrap_or_else(|_| Err(io::Error::other(format!("no answer within {CONNECT_TIMEOUT:?}"))));
            match connected.and_then(|socket| socket::into_stream(socket, candidate, Direction::Outbound, slot)) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(DialError::Unreachable { address: candidate.to_string(), cause: error.to_string() }),
            }
        }
        Err(last.unwrap_or_else(|| DialError::Resolve { host: address.to_string(), cause: "no address".into() }))
    }
}

#[async_trait]
impl StreamDialer for TcpDialer {
    fn supports(&self, request: &DialRequest) -> bool {
        // Plain TCP cannot check who answers, so it does not pretend to.
        request.peer.is_none() && matches!(&request.route, Route::Direct(address) if address.transport == Transport::Tcp)
    }

    async fn dial(&self, request: DialRequest) -> Result<DuplexStream, DialError> {
        let address = match &request.route {
            Route::Direct(address) if self.supports(&request) => address,
            _ => return Err(DialError::Unsupported(Box::new(request.route))),
        };
        let timed = timeout(request.timeout, self.connect(address)).await;
        timed.unwrap_or(Err(DialError::Timeout { after: request.timeout, doing: "connecting over TCP" }))
    }
}

async fn resolve(address: &TransportAddress) -> Result<Vec<SocketAddr>, DialError> {
    let name = match &address.host {
        Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, address.port)]),
        Host::Dns(name) => name,
    };
    let resolved = lookup_host((name.as_str(), address.port))
        .await
        .map_err(|error| DialError::Resolve { host: name.clone(), cause: error.to_string() })?;
    Ok(resolved.take(MAX_RESOLVED).collect())
}
