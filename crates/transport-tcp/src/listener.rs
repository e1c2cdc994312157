use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use kaspath_domain::{Direction, DuplexStream, ListenError, StreamListener};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Mutex, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{Refusals, TcpConfig, limits::Limits, socket};

/// Rest after an accept that failed for lack of resources, so as not to spin.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Accepts plain TCP streams on one address. Dropping it closes the port;
/// streams already handed over live on.
#[derive(Debug)]
pub struct TcpTransportListener {
    local: SocketAddr,
    streams: Mutex<mpsc::Receiver<DuplexStream>>,
    refusals: Arc<Refusals>,
    task: Mutex<Option<JoinHandle<()>>>,
    cancel: CancellationToken,
    _guard: DropGuard,
}

impl TcpTransportListener {
    /// Listens on `address`; port 0 picks a free one.
    pub async fn bind(address: SocketAddr, config: TcpConfig) -> Result<Self, ListenError> {
        let bind_error = |cause: io::Error| ListenError::Bind { address: address.to_string(), cause };
        let listener = TcpListener::bind(address).await.map_err(bind_error)?;
        let local = listener.local_addr().map_err(bind_error)?;
        let limits = Limits::new(config.max_inbound, config.max_inbound_per_ip, config.max_inbound_per_prefix);
        let refusals = limits.refusals.clone();
        let (sender, receiver) = mpsc::channel(config.backlog.max(1));
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = accept_loop(listener, config, limits, sender) => {}
            }
        });
        Ok(Self {
            local,
            streams: Mutex::new(receiver),
            refusals,
            task: Mutex::new(Some(task)),
            _guard: cancel.clone().drop_guard(),
            cancel,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// What it refused.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Closes the port and waits until it is free again.
    pub async fn shutdown(&self) {
        self.cancel.cancel();
        if let Some(task) = self.task.lock().await.take() {
            let _ = task.await;
        }
    }
}

#[async_trait]
impl StreamListener for TcpTransportListener {
    async fn accept(&self) -> Result<DuplexStream, ListenError> {
        self.streams.lock().await.recv().await.ok_or(ListenError::Closed)
    }
}

async fn accept_loop(listener: TcpListener, config: TcpConfig, limits: Limits, sender: mpsc::Sender<DuplexStream>) {
    // Reserving first leaves the connections that do not fit in the kernel's queue.
    while let Ok(place) = sender.reserve().await {
        match accept_one(&listener, &config, &limits).await {
            Some(stream) => place.send(stream),
            None => continue,
        }
    }
}

async fn accept_one(listener: &TcpListener, config: &TcpConfig, limits: &Limits) -> Option<DuplexStream> {
    let (connection, remote): (TcpStream, SocketAddr) = match listener.accept().await {
        Ok(accepted) => accepted,
        Err(error) => {
            tracing::debug!(%error, "accept failed");
            tokio::time::sleep(ACCEPT_BACKOFF).await;
            return None;
        }
    };
    let Some(permit) = limits.take(remote.ip()) else {
        tracing::debug!(%remote, "refused: over the connection limits");
        return None;
    };
    match socket::set_options(&connection, config.keepalive) {
        Ok(()) => Some(socket::into_stream(connection, remote, Direction::Inbound, permit)),
        Err(error) => {
            tracing::debug!(%remote, %error, "socket options");
            None
        }
    }
}
