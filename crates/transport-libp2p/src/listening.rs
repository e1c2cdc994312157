//! Where a network listens when it starts.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use futures::{FutureExt, StreamExt};
use kaspath_domain::{PeerAddress, PeerLocator, TransportAddress, is_public};
use libp2p::{
    Multiaddr, Swarm,
    core::transport::ListenerId,
    swarm::{NetworkBehaviour, SwarmEvent},
};
use tokio::time::{Instant, timeout_at};

use crate::{Resolver, StartError, convert, swarm::Announcing};

/// Time for the system to give us our ports.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Once we listen somewhere, so long is waited for the addresses of the other family, which a
/// host may lack.
const FAMILY_GRACE: Duration = Duration::from_millis(200);

/// A listener that has given no address yet.
struct Pending {
    locator: PeerLocator,
    /// It listens on all addresses of a family, and the host may have none.
    may_be_empty: bool,
}

/// Listens at `chosen`, which must all succeed, and at a port of every address of this host,
/// as far as it has both families. Waits for the ports to be ours: a dial before that would
/// leave from another port and make a candidate that nobody can punch.
pub(crate) async fn listen<B: NetworkBehaviour>(
    swarm: &mut Swarm<B>,
    chosen: &[PeerLocator],
    everywhere: Option<u16>,
    announcing: &mut Announcing,
) -> Result<Vec<PeerLocator>, StartError> {
    let mut pending = HashMap::new();
    for locator in chosen {
        let PeerAddress::Direct(address) = &locator.address else { continue };
        let resolved = Resolver::system().resolve(address).await;
        for address in resolved.map_err(|error| failed(locator, error.to_string()))? {
            begin(swarm, &address, Pending { locator: locator.clone(), may_be_empty: false }, announcing, &mut pending)?;
        }
    }
    if let Some(port) = everywhere {
        for ip in families()? {
            let socket = SocketAddr::new(ip, port);
            for address in [TransportAddress::tcp(socket), TransportAddress::quic(socket)] {
                let locator = PeerLocator { peer: None, address: PeerAddress::Direct(address.clone()) };
                begin(swarm, &address, Pending { locator, may_be_empty: true }, announcing, &mut pending)?;
            }
        }
    }
    let mut found = await_addresses(swarm, announcing, pending).await?;
    let private = |address: &Multiaddr| !convert::ip(address).is_some_and(is_public);
    found.sort_by_key(|address| (private(address), convert::transport(address), address.to_string()));
    let local = *swarm.local_peer_id();
    Ok(found.iter().filter_map(|address| convert::locator(address, &local)).collect())
}

fn failed(locator: &PeerLocator, cause: String) -> StartError {
    StartError::Listen { address: locator.clone(), cause }
}

/// The wildcards of the families that the system has. IPv6 may be missing in the kernel.
fn families() -> Result<Vec<IpAddr>, StartError> {
    let (mut there, mut error) = (Vec::new(), None);
    for ip in [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)] {
        match UdpSocket::bind((ip, 0)) {
            Ok(_) => there.push(ip),
            Err(cause) => {
                tracing::info!(family = family(ip), %cause, "this host lacks a family of addresses: it is left out");
                let address = PeerAddress::Direct(TransportAddress::tcp((ip, 0).into()));
                error = Some(failed(&PeerLocator { peer: None, address }, cause.to_string()));
            }
        }
    }
    match error {
        Some(error) if there.is_empty() => Err(error),
        _ => Ok(there),
    }
}

fn family(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn begin<B: NetworkBehaviour>(
    swarm: &mut Swarm<B>,
    address: &TransportAddress,
    of: Pending,
    announcing: &mut Announcing,
    pending: &mut HashMap<ListenerId, Pending>,
) -> Result<(), StartError> {
    let address = convert::to_multiaddr(address);
    let listener = swarm.listen_on(address.clone()).map_err(|error| failed(&of.locator, convert::error_chain(&error)))?;
    announcing.listens(listener, &address);
    pending.insert(listener, of);
    Ok(())
}

/// Waits until every listener has an address, those that may have none for a moment only.
async fn await_addresses<B: NetworkBehaviour>(
    swarm: &mut Swarm<B>,
    announcing: &mut Announcing,
    mut pending: HashMap<ListenerId, Pending>,
) -> Result<Vec<Multiaddr>, StartError> {
    let deadline = Instant::now() + LISTEN_TIMEOUT;
    let mut grace = None;
    let mut found: Vec<Multiaddr> = Vec::new();
    loop {
        let required = pending.values().find(|of| !of.may_be_empty || found.is_empty()).map(|of| of.locator.clone());
        // A wildcard listener gives one address after the other; all that are there now belong to the start.
        let event = if let Some(locator) = required {
            let late = || failed(&locator, format!("the system gave no port within {LISTEN_TIMEOUT:?}"));
            timeout_at(deadline, swarm.select_next_some()).await.map_err(|_| late())?
        } else if let Some(of) = pending.values().next() {
            let until = *grace.get_or_insert_with(|| Instant::now() + FAMILY_GRACE);
            match timeout_at(until, swarm.select_next_some()).await {
                Ok(event) => event,
                Err(_) => {
                    tracing::info!(listens = %of.locator, "this host has no address of that family now: peers reach it over the other one");
                    break;
                }
            }
        } else {
            match swarm.select_next_some().now_or_never() {
                Some(event) => event,
                None => break,
            }
        };
        match event {
            SwarmEvent::NewListenAddr { listener_id, address } => {
                pending.remove(&listener_id);
                if !convert::needs_scope(&address) {
                    announcing.appeared(listener_id, address.clone());
                    found.push(address);
                }
            }
            SwarmEvent::ExpiredListenAddr { listener_id, address } => {
                announcing.disappeared(listener_id, address.clone());
                found.retain(|other| *other != address);
            }
            SwarmEvent::ListenerClosed { listener_id, reason: Err(error), .. } => {
                if let Some(of) = pending.remove(&listener_id) {
                    return Err(failed(&of.locator, convert::error_chain(&error)));
                }
            }
            _ => {}
        }
    }
    Ok(found)
}
