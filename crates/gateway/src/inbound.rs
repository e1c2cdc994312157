//! A peer's stream into kaspad.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use kaspath_domain::{Admission, AdmissionRequest, Direction, PeerClass, StreamListener, Timestamp, TransportPolicy};
use tokio::{
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::timeout,
};

use crate::{
    AddressTable, GatewayEvent, Sessions,
    pipe::{self, Ends},
};

/// kaspad is on this machine: it answers at once or not at all.
const KASPAD_TIMEOUT: Duration = Duration::from_secs(2);

/// Joins every stream that a peer opens to kaspad, coming from the peer's own
/// loopback address. Returns when the listener ends; sessions end with it.
/// Dropping the future ends them as well.
pub async fn serve_inbound(
    listener: Arc<dyn StreamListener>,
    kaspad: SocketAddr,
    table: Arc<AddressTable>,
    sessions: Sessions,
    policy: Arc<dyn TransportPolicy>,
    clock: impl Fn() -> Timestamp + Send,
    report: impl Fn(GatewayEvent) + Clone + Send + Sync + 'static,
) {
    let mut running = JoinSet::new();
    while let Ok(stream) = listener.accept().await {
        while running.try_join_next().is_some() {}
        let Some(peer) = stream.info().peer.clone() else { continue };
        let class = PeerClass::of(stream.info(), &stream.path());
        let (inbound, same_class) = sessions.inbound(&class);
        let request = AdmissionRequest { peer: Some(peer.clone()), class: class.clone(), inbound, same_class };
        if let Admission::Refuse(reason) = policy.admit(&request, clock()) {
            report(GatewayEvent::GatewayRefused { peer, cause: reason.to_string() });
            continue;
        }
        let Some(place) = sessions.enter(&peer, Direction::Inbound, Some(class)) else { continue };
        let (table, report) = (table.clone(), report.clone());
        running.spawn(async move {
            let joined = async {
                let address = table.address(&peer).map_err(|error| error.to_string())?;
                let connection = connect_from(address, kaspad).await?;
                Ok::<_, String>((address, connection))
            };
            match joined.await {
                Ok((address, connection)) => {
                    let ends = Ends { peer, address, direction: Direction::Inbound };
                    pipe::run(ends, stream, connection, place, report).await;
                }
                Err(cause) => report(GatewayEvent::GatewayRefused { peer, cause }),
            }
        });
    }
}

async fn connect_from(source: Ipv4Addr, kaspad: SocketAddr) -> Result<TcpStream, String> {
    let failed = |error: std::io::Error| format!("kaspad at {kaspad} cannot be reached from {source}: {error}; is it running?");
    let socket = TcpSocket::new_v4().map_err(failed)?;
    socket.set_reuseaddr(true).map_err(failed)?;
    socket.bind(SocketAddr::new(IpAddr::V4(source), 0)).map_err(|error| {
        format!("{source} is no address of this machine ({error}): Linux has all of 127.0.0.0/8, macOS needs `ifconfig lo0 alias {source}`")
    })?;
    let connection = timeout(KASPAD_TIMEOUT, socket.connect(kaspad))
        .await
        .map_err(|_| format!("kaspad at {kaspad} does not answer"))?
        .map_err(failed)?;
    connection.set_nodelay(true).map_err(failed)?;
    Ok(connection)
}
