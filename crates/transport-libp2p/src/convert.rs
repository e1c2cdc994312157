//! Between the domain's types and libp2p's.

use std::{error::Error, io, net::IpAddr};

use kaspath_domain::{Host, PeerAddress, PeerIdentity, PeerLocator, RelayAddress, Transport, TransportAddress};
use libp2p::{Multiaddr, PeerId, core::upgrade::NegotiationError, multiaddr::Protocol, swarm::ConnectionError};

/// The identity of a peer that has proven it: made from a public key, its id is
/// always one that the domain accepts. For ids out of addresses see [`named`].
pub(crate) fn identity(peer: &PeerId) -> PeerIdentity {
    named(peer).expect("an id made from a public key is one the domain accepts")
}

/// The identity in an address, which anybody may have written: libp2p takes
/// SHA2-256 multihashes of any length there, the domain only whole ones.
pub(crate) fn named(peer: &PeerId) -> Option<PeerIdentity> {
    PeerIdentity::from_bytes(&peer.to_bytes()).ok()
}

pub(crate) fn peer_id(identity: &PeerIdentity) -> PeerId {
    PeerId::from_bytes(identity.as_bytes()).expect("the domain and libp2p accept the same peer ids")
}

pub(crate) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// The address of a relay's circuits: `via` the relay, which has that id.
pub(crate) fn circuit(via: Multiaddr, relay: PeerId) -> Multiaddr {
    via.with(Protocol::P2p(relay)).with(Protocol::P2pCircuit)
}

/// The transport that a dialable multiaddr starts with.
pub(crate) fn transport(address: &Multiaddr) -> Option<Transport> {
    address.iter().find_map(|part| match part {
        Protocol::Tcp(_) => Some(Transport::Tcp),
        Protocol::QuicV1 => Some(Transport::Quic),
        _ => None,
    })
}

/// The IP address that a multiaddr starts with.
pub(crate) fn ip(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    }
}

/// Whether the remote refuses the protocol of a stream. One that is proposed alone counts as
/// agreed before the answer, so a refusal comes with the first read.
pub(crate) fn is_refusal(error: &io::Error) -> bool {
    matches!(error.get_ref().and_then(|inner| inner.downcast_ref()), Some(NegotiationError::Failed))
}

/// A link-local address of IPv6: of no use without the interface, which multiaddrs here do not name.
pub(crate) fn needs_scope(address: &Multiaddr) -> bool {
    matches!(ip(address), Some(IpAddr::V6(ip)) if ip.is_unicast_link_local())
}

/// The multiaddr of an address in the domain's terms. Nothing here dials a name.
pub(crate) fn to_multiaddr(address: &TransportAddress) -> Multiaddr {
    let host = match &address.host {
        Host::Ip(ip) => Multiaddr::from(*ip),
        Host::Dns(name) => Protocol::Dns(name.into()).into(),
    };
    match address.transport {
        Transport::Tcp => host.with(Protocol::Tcp(address.port)),
        Transport::Quic => host.with(Protocol::Udp(address.port)).with(Protocol::QuicV1),
    }
}

/// The domain's view of a multiaddr, as far as it has one.
pub(crate) fn transport_address(address: &Multiaddr) -> Option<TransportAddress> {
    let mut parts = address.iter();
    let host = match parts.next()? {
        Protocol::Ip4(ip) => Host::Ip(ip.into()),
        Protocol::Ip6(ip) => Host::Ip(ip.into()),
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => Host::Dns(name.into_owned()),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) => Some(TransportAddress { transport: Transport::Tcp, host, port }),
        Protocol::Udp(port) if parts.next() == Some(Protocol::QuicV1) => {
            Some(TransportAddress { transport: Transport::Quic, host, port })
        }
        _ => None,
    }
}

/// An address that somebody says is `peer`'s own: no circuit, and no other peer's.
pub(crate) fn candidate(address: &Multiaddr, peer: &PeerId) -> Option<TransportAddress> {
    let is_others = address.iter().any(|part| matches!(part, Protocol::P2p(named) if named != *peer));
    if is_others || is_relayed(address) { None } else { transport_address(address) }
}

/// The relay of a circuit address.
pub(crate) fn relay_of(address: &Multiaddr) -> Option<RelayAddress> {
    let via = transport_address(address)?;
    let mut relay = None;
    for part in address.iter() {
        match part {
            Protocol::P2p(peer) if relay.is_none() => relay = Some(peer),
            Protocol::P2pCircuit => return relay.and_then(|peer| named(&peer)).map(|relay| RelayAddress { relay, via }),
            _ => {}
        }
    }
    None
}

/// The domain's view of where a peer was met.
pub(crate) fn locator(address: &Multiaddr, peer: &PeerId) -> Option<PeerLocator> {
    let address = match relay_of(address) {
        Some(relay) => PeerAddress::Relayed(relay),
        None => PeerAddress::Direct(transport_address(address)?),
    };
    Some(PeerLocator { peer: Some(named(peer)?), address })
}

/// An error with all its causes on one line; libp2p hides the telling part deep.
pub(crate) fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    // Some wrappers have no text of their own.
    match text.strip_prefix(": ") {
        Some(cause) => cause.to_owned(),
        None => text,
    }
}

/// What yamux and QUIC call the end of a connection that the other side has closed in order.
const CLOSED: [&str; 2] = ["connection is closed", "closed by peer: 0"];

/// Why a connection ended; `None` if one side closed it in order. The swarm boxes the
/// muxers' errors, so that only their texts tell.
pub(crate) fn disconnection(error: &ConnectionError) -> Option<String> {
    match error {
        ConnectionError::KeepAliveTimeout => Some("it was not in use any more".to_owned()),
        ConnectionError::IO(_) => {
            let chain = error_chain(error);
            (!CLOSED.iter().any(|closed| chain.ends_with(closed))).then_some(chain)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use thiserror::Error;

    use super::*;

    #[derive(Debug, Error)]
    #[error("")]
    struct Wrapper(#[source] io::Error);

    #[test]
    fn a_wrapper_without_a_text_leaves_nothing_before_the_cause() {
        assert_eq!(error_chain(&Wrapper(io::Error::other("refused"))), "refused");
    }

    #[test]
    fn identities_and_locators_round_trip() {
        let peer = PeerId::random();
        assert_eq!(peer_id(&identity(&peer)), peer);
        let relay = PeerId::random();
        let address: Multiaddr = format!("/ip4/203.0.113.1/tcp/4001/p2p/{relay}/p2p-circuit").parse().unwrap();
        let locator = locator(&address, &peer).unwrap();
        assert_eq!(locator.to_string(), format!("{address}/p2p/{peer}"));
        assert!(is_relayed(&address));
        assert_eq!(transport(&address), Some(Transport::Tcp));
    }

    #[test]
    fn a_cut_multihash_in_an_address_is_no_relay_and_no_panic() {
        // SHA2-256 with 20 bytes: libp2p takes it for a peer id.
        let cut = PeerId::from_bytes(&[&[0x12, 20][..], &[7; 20]].concat()).unwrap();
        let address: Multiaddr = format!("/ip4/203.0.113.1/tcp/4001/p2p/{cut}/p2p-circuit").parse().unwrap();
        assert_eq!(relay_of(&address), None);
        assert_eq!(locator(&"/ip4/203.0.113.1/tcp/4001".parse().unwrap(), &cut), None);
    }

    #[test]
    fn a_circuit_a_bare_peer_and_an_address_of_another_are_no_candidates() {
        let (peer, other) = (PeerId::random(), PeerId::random());
        let candidate = |text: &str| candidate(&text.parse().unwrap(), &peer).map(|address| address.to_string());
        assert_eq!(candidate(&format!("/p2p/{peer}")), None);
        assert_eq!(candidate(&format!("/ip4/198.51.100.1/tcp/1/p2p/{other}")), None);
        assert_eq!(candidate(&format!("/ip4/198.51.100.1/tcp/1/p2p/{other}/p2p-circuit/p2p/{peer}")), None);
        assert_eq!(candidate(&format!("/ip4/198.51.100.1/tcp/1/p2p/{peer}/p2p-circuit")), None);
        assert_eq!(candidate(&format!("/ip4/198.51.100.1/tcp/1/p2p/{peer}")).as_deref(), Some("/ip4/198.51.100.1/tcp/1"));
    }

    #[test]
    fn quic_and_tcp_are_told_apart() {
        let quic: Multiaddr = "/ip6/2001:db8::1/udp/1/quic-v1".parse().unwrap();
        assert_eq!(transport_address(&quic).unwrap().to_string(), quic.to_string());
        assert_eq!(transport(&quic), Some(Transport::Quic));
        assert!(transport_address(&"/ip4/1.2.3.4/udp/1".parse().unwrap()).is_none());
    }
}
