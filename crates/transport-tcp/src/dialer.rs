use std::net::SocketAddr;

use async_trait::async_trait;
use kaspath_domain::{DialError, DialRequest, Direction, DuplexStream, Host, Route, StreamDialer, Transport, TransportAddress};
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout_at},
};

use crate::{TcpConfig, limits::Limits, socket};

/// Addresses of one name that are tried.
const MAX_RESOLVED: usize = 8;

/// Opens plain TCP streams.
#[derive(Clone, Debug)]
pub struct TcpDialer {
    config: TcpConfig,
    limits: Limits,
}

impl TcpDialer {
    /// A dialer with its own count of open connections.
    pub fn new(config: TcpConfig) -> Self {
        let limits = Limits::in_all(config.max_outbound);
        Self { config, limits }
    }

    async fn connect(&self, address: &TransportAddress) -> Result<DuplexStream, DialError> {
        let candidates = resolve(address).await?;
        let mut last = None;
        for candidate in candidates {
            let Some(permit) = self.limits.take(candidate.ip()) else {
                return Err(DialError::LimitReached { what: "outbound TCP connections", limit: self.limits.max });
            };
            let connected = tokio::time::timeout(self.config.connect_timeout, TcpStream::connect(candidate)).await;
            let cause = match connected {
                Ok(Ok(connection)) => match socket::set_options(&connection, self.config.keepalive) {
                    Ok(()) => return Ok(socket::into_stream(connection, candidate, Direction::Outbound, permit)),
                    Err(error) => error.to_string(),
                },
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {:?}", self.config.connect_timeout),
            };
            last = Some(DialError::Unreachable { address: candidate.to_string(), cause });
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
        let timed = timeout_at(Instant::now() + request.timeout, self.connect(address)).await;
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
