//! Between multiaddrs and socket addresses.

use std::net::SocketAddr;

use kaspath_domain::TransportAddress;
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

use crate::convert;

/// The socket address of `/ip4|ip6/IP/udp/PORT/quic-v1`, with the peer id that may
/// follow. Anything else is another transport's.
pub(super) fn parse(address: &Multiaddr) -> Option<(SocketAddr, Option<PeerId>)> {
    let ip = convert::ip(address)?;
    let mut parts = address.iter().skip(1);
    let Protocol::Udp(port) = parts.next()? else { return None };
    let Protocol::QuicV1 = parts.next()? else { return None };
    let peer = match parts.next() {
        None => None,
        Some(Protocol::P2p(peer)) => Some(peer),
        Some(_) => return None,
    };
    parts.next().is_none().then_some((SocketAddr::new(ip, port), peer))
}

/// The multiaddr of a socket address.
pub(super) fn multiaddr(socket: SocketAddr) -> Multiaddr {
    convert::to_multiaddr(&TransportAddress::quic(socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_quic_addresses_are_taken() {
        let peer = PeerId::random();
        for (text, expected) in [
            ("/ip4/192.0.2.1/udp/1/quic-v1".to_owned(), Some(("192.0.2.1:1", None))),
            (format!("/ip6/::1/udp/2/quic-v1/p2p/{peer}"), Some(("[::1]:2", Some(peer)))),
            ("/ip4/192.0.2.1/tcp/1".to_owned(), None),
            ("/ip4/192.0.2.1/udp/1".to_owned(), None),
            ("/ip4/192.0.2.1/udp/1/quic".to_owned(), None),
            ("/dns/host.example/udp/1/quic-v1".to_owned(), None),
            (format!("/ip4/192.0.2.1/udp/1/quic-v1/p2p/{peer}/p2p-circuit"), None),
            ("/ip4/192.0.2.1/udp/1/quic-v1/webtransport".to_owned(), None),
        ] {
            let expected = expected.map(|(socket, peer)| (socket.parse().unwrap(), peer));
            assert_eq!(parse(&text.parse().unwrap()), expected, "{text}");
        }
        let socket = "[2001:db8::1]:4001".parse().unwrap();
        assert_eq!(parse(&multiaddr(socket)), Some((socket, None)));
    }
}
