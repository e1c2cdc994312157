//! What routers call out when they have started or have a new address. A hint only makes us
//! ask again, once a second at most, so nothing in it is believed.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{net::UdpSocket, sync::Notify, task::JoinSet};

use crate::route::Route;

/// Where routers call out: PCP and NAT-PMP, and SSDP.
const PLACES: [(Ipv4Addr, u16); 2] = [(Ipv4Addr::new(224, 0, 0, 1), 5350), (Ipv4Addr::new(239, 255, 255, 250), 1900)];
/// Bytes of a datagram that are looked at.
const LOOKED_AT: usize = 64;

/// Listens to the router of a route until it is dropped.
pub(crate) struct Hints {
    _tasks: JoinSet<()>,
}

impl Hints {
    /// Notifies `heard` of each hint of the gateway. A port that is taken gives no hints; we
    /// notice then by ourselves.
    pub(crate) fn listen(route: Route, heard: &Arc<Notify>) -> Self {
        let mut tasks = JoinSet::new();
        for (group, port) in PLACES {
            match bind(group, port, route.local) {
                Ok(socket) => drop(tasks.spawn(follow(socket, route.gateway, heard.clone()))),
                Err(error) => tracing::debug!(%error, port, "no hints of routers"),
            }
        }
        Self { _tasks: tasks }
    }
}

fn bind(group: Ipv4Addr, port: u16, local: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = shared(Ipv4Addr::UNSPECIFIED, port)?;
    // 224.0.0.1 is everybody's group, which some systems do not let a host join.
    if let Err(error) = socket.join_multicast_v4(group, local) {
        tracing::debug!(%error, %group, "cannot join the group of routers");
    }
    Ok(socket)
}

/// A socket on a port that others may have too.
pub(crate) fn shared(ip: Ipv4Addr, port: u16) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((ip, port)).into())?;
    UdpSocket::from_std(socket.into())
}

async fn follow(socket: UdpSocket, gateway: Ipv4Addr, heard: Arc<Notify>) {
    let mut buffer = [0; LOOKED_AT];
    loop {
        match socket.recv_from(&mut buffer).await {
            // The notice is kept once, however many hints there are.
            Ok((length, from)) if from.ip() == IpAddr::V4(gateway) && is_hint(&buffer[..length]) => heard.notify_one(),
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "no more hints of routers");
                return;
            }
        }
    }
}

/// Whether a router says that it has started: an ANNOUNCE of PCP (RFC 6887, section 14.1), the
/// public address of NAT-PMP (RFC 6886, section 3.2.1), or a NOTIFY of SSDP.
pub(crate) fn is_hint(datagram: &[u8]) -> bool {
    match datagram {
        [2, 0x80, _, 0, rest @ ..] => rest.len() >= 20,
        [0, 0x80, 0, 0, rest @ ..] => rest.len() >= 8,
        text => text.starts_with(b"NOTIFY * HTTP/1."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_are_hints_and_nothing_else() {
        let mut announce = [0; 24];
        announce[..2].copy_from_slice(&[2, 0x80]);
        assert!(is_hint(&announce));
        assert!(!is_hint(&announce[..23]));
        assert!(is_hint(&[0, 0x80, 0, 0, 0, 0, 0, 9, 192, 0, 2, 1]));
        assert!(is_hint(b"NOTIFY * HTTP/1.1\r\nNTS: ssdp:alive\r\n"));
        let request = [2, 0, 0, 0];
        for other in [&b""[..], &[2], &[0, 0x80], &request, &[0, 0x80, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0], b"M-SEARCH * HTTP/1.1\r\n"]
        {
            assert!(!is_hint(other), "{other:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_datagram_ends_the_program(bytes: Vec<u8>) {
            is_hint(&bytes);
        }
    }
}
