//! kaspad's connections to a peer.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use async_trait::async_trait;
use kaspath_domain::{Direction, DuplexStream, ListenError, PeerIdentity};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    AddressTable, GatewayEvent, Sessions,
    pipe::{self, Ends},
};

/// Opens a stream to one peer, by whatever means.
#[async_trait]
pub trait Reach: Send + Sync {
    /// The peer.
    fn peer(&self) -> &PeerIdentity;

    /// A stream, or why there is none. kaspad waits ten seconds for it. Dropping
    /// the future cancels the attempt.
    async fn reach(&self) -> Result<DuplexStream, String>;
}

/// Listens on the peer's loopback address and joins what kaspad opens there to a
/// stream to the peer. `listening` is called with the address once it is open.
/// Runs until it is dropped; sessions end with it.
pub async fn serve_outbound(
    reach: Arc<dyn Reach>,
    port: u16,
    table: Arc<AddressTable>,
    sessions: Sessions,
    listening: impl FnOnce(SocketAddr) + Send,
    report: impl Fn(GatewayEvent) + Clone + Send + Sync + 'static,
) -> Result<(), ListenError> {
    let peer = reach.peer().clone();
    let address = table
        .address(&peer)
        .map_err(|error| ListenError::Bind { address: peer.short(), cause: std::io::Error::other(error.to_string()) })?;
    let local = SocketAddr::new(IpAddr::V4(address), port);
    let listener = TcpListener::bind(local).await.map_err(|cause| ListenError::Bind { address: local.to_string(), cause })?;
    listening(local);
    let mut running = JoinSet::new();
    loop {
        // kaspad dials one after the other: accept at once, whatever follows.
        let Ok((kaspad, _)) = listener.accept().await else { continue };
        while running.try_join_next().is_some() {}
        let Some(place) = sessions.enter(&peer, Direction::Outbound, None) else {
            // The peer's own call stands; kaspad has it as an inbound peer.
            continue;
        };
        let (reach, report, peer) = (reach.clone(), report.clone(), peer.clone());
        running.spawn(async move {
            let _ = kaspad.set_nodelay(true);
            match reach.reach().await {
                Ok(stream) => {
                    let ends = Ends { peer, address, direction: Direction::Outbound };
                    pipe::run(ends, stream, kaspad, place, report).await;
                }
                // Dropping kaspad's connection fails its dial fast; it tries again by itself.
                Err(cause) => report(GatewayEvent::GatewayRefused { peer, cause }),
            }
        });
    }
}
