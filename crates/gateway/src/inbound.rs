//! A peer's stream into kaspad.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kaspath_domain::{Direction, DuplexStream, ListenError, PeerClass, PeerIdentity, RefuseReason, StreamListener};
use tokio::{
    net::{TcpSocket, TcpStream},
    task::{JoinError, JoinSet},
    time::timeout,
};

use crate::{CloseReason, activity::Activity, evict, gateway::Shared, group::Group, pipe, sessions::Place};

/// kaspad is on this machine: it answers at once or not at all.
const KASPAD_TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) async fn serve(shared: Arc<Shared>, listener: Arc<dyn StreamListener>) -> ListenError {
    let mut running = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(stream) => stream,
                Err(error) => return error,
            },
            Some(ended) = running.join_next() => {
                pass_panic_on(ended);
                continue;
            }
        };
        let Some(peer) = stream.info().peer.clone() else { continue };
        match admit(&shared, &peer, &stream) {
            Ok(Some(place)) => {
                running.spawn(join(shared.clone(), peer, stream, place));
            }
            // The session that stands is kept.
            Ok(None) => {}
            Err(cause) => shared.refuse(Direction::Inbound, &peer, cause),
        }
    }
}

/// A session that panics takes the gateway with it: nobody would see it otherwise.
pub(crate) fn pass_panic_on(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}

fn admit(shared: &Shared, peer: &PeerIdentity, stream: &DuplexStream) -> Result<Option<Place>, String> {
    let (now, uptime) = ((shared.clock)(), shared.uptime.now());
    if !lock(&shared.rates).allow_peer(peer, uptime) {
        return Err("it begins sessions too often".to_owned());
    }
    if let Some(cause) = shared.closed() {
        return Err(cause);
    }
    if shared.table.is_banned(peer, now) {
        return Err(RefuseReason::Banned.to_string());
    }
    let class = PeerClass::of(stream.info(), &stream.path());
    let group = Group::of(&class);
    if !shared.table.knows(peer) && !lock(&shared.newcomers).allow(&group, now) {
        return Err("too many peers that were never seen before come from there".to_owned());
    }
    if !lock(&shared.rates).allow_group(&group, uptime) {
        return Err("too many sessions begin from there, or in all".to_owned());
    }
    // A peer that comes again takes the place of its own session, which is most likely dead.
    let others = shared.sessions.inbound_but(peer);
    let evicted = evict::make_place((peer, &class), others, uptime, |request| shared.policy.admit(request, now));
    for evicted in evicted.map_err(|reason| reason.to_string())? {
        shared.sessions.end(&evicted, CloseReason::Evicted);
    }
    let activity = Arc::new(Activity::new(stream.counters(), uptime));
    Ok(shared.sessions.enter(peer, Some(class), stream.path_watch(), activity))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn join(shared: Arc<Shared>, peer: PeerIdentity, stream: DuplexStream, place: Place) {
    let joined = async {
        let hold = shared.table.hold(&peer, (shared.clock)()).map_err(|error| error.to_string())?;
        let connection = connect_from(hold.address(), shared.kaspad).await?;
        Ok::<_, String>((hold, connection))
    };
    match joined.await {
        Ok((hold, connection)) => {
            let (clock, report) = (shared.uptime, |event| shared.report(event));
            pipe::run(hold, Direction::Inbound, stream, connection, place, clock, report).await;
        }
        Err(cause) => shared.refuse(Direction::Inbound, &peer, cause),
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
