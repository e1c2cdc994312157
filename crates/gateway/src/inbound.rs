//! A peer's stream into kaspad.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, PoisonError},
    time::Duration,
};

use kaspath_domain::{
    Admission, AdmissionRequest, Direction, DuplexStream, PeerClass, PeerIdentity, RefuseReason, StreamListener,
};
use tokio::{
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::timeout,
};

use crate::{GatewayEvent, gateway::Shared, pipe, sessions::Place};

/// kaspad is on this machine: it answers at once or not at all.
const KASPAD_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) async fn serve(shared: Arc<Shared>, listener: Arc<dyn StreamListener>) {
    let mut running = JoinSet::new();
    while let Ok(stream) = listener.accept().await {
        while running.try_join_next().is_some() {}
        let Some(peer) = stream.info().peer.clone() else { continue };
        match admit(&shared, &peer, &stream) {
            Ok(Some(place)) => {
                running.spawn(join(shared.clone(), peer, stream, place));
            }
            // The session that stands is kept.
            Ok(None) => {}
            Err(cause) => shared.report(GatewayEvent::GatewayRefused { peer, cause }),
        }
    }
}

fn admit(shared: &Shared, peer: &PeerIdentity, stream: &DuplexStream) -> Result<Option<Place>, String> {
    let now = (shared.clock)();
    if let Some(cause) = shared.closed() {
        return Err(cause);
    }
    if shared.table.is_banned(peer, now) {
        return Err(RefuseReason::Banned.to_string());
    }
    let class = PeerClass::of(stream.info(), &stream.path());
    // A peer that comes again takes the place of its own session, which is most likely dead.
    let again = shared.sessions.contains(peer);
    if !again {
        let request = AdmissionRequest::beside(Some(peer.clone()), class.clone(), &shared.sessions.inbound());
        if let Admission::Refuse(reason) = shared.policy.admit(&request, now) {
            return Err(reason.to_string());
        }
    }
    if !shared.table.knows(peer) && !shared.newcomers.lock().unwrap_or_else(PoisonError::into_inner).allow(&class, now) {
        return Err("too many peers that were never seen before come from there".to_owned());
    }
    Ok(shared.sessions.enter(peer, Some(class), stream.path()))
}

async fn join(shared: Arc<Shared>, peer: PeerIdentity, stream: DuplexStream, place: Place) {
    let joined = async {
        let hold = shared.table.hold(&peer, (shared.clock)()).map_err(|error| error.to_string())?;
        let connection = connect_from(hold.address(), shared.kaspad).await?;
        Ok::<_, String>((hold, connection))
    };
    match joined.await {
        Ok((hold, connection)) => {
            pipe::run(hold, Direction::Inbound, stream, connection, place, |event| shared.report(event)).await;
        }
        Err(cause) => shared.report(GatewayEvent::GatewayRefused { peer, cause }),
    }
}

async fn connect_from(source: Ipv4Addr, kaspad: SocketAddr) -> Result<TcpStream, String> {
    let failed = |error: std::io::Error| format!("kaspad at {kaspad} cannot be reached from {source}: {error}; is it running?");
    let socket = TcpSocket::new_v4().map_err(failed)?;
    socket.set_reuseaddr(true).map_err(failed)?;
    socket.bind(SocketAddr::new(IpAddr::V4(source), 0)).map_err(|error| not_here(source, &error))?;
    let connection = timeout(KASPAD_TIMEOUT, socket.connect(kaspad))
        .await
        .map_err(|_| format!("kaspad at {kaspad} does not answer"))?
        .map_err(failed)?;
    connection.set_nodelay(true).map_err(failed)?;
    Ok(connection)
}

/// Why a peer's address cannot be used.
pub(crate) fn not_here(address: Ipv4Addr, error: &std::io::Error) -> String {
    format!(
        "{address} is no address of this machine ({error}): Linux has all of 127.0.0.0/8, macOS needs `sudo ifconfig lo0 alias {address}`"
    )
}
