use std::net::Ipv4Addr;

use kaspath_domain::{IpPrefix, Transport};
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

use crate::convert;

/// Where a connection comes from, or leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Origin {
    /// A host.
    Direct { transport: Transport, host: IpPrefix, network: IpPrefix },
    /// A relay. All that come through it have its address in common, which says
    /// nothing about them.
    Circuit { relay: Option<PeerId> },
}

impl Origin {
    /// Of an inbound connection: only the local address of a circuit names its relay.
    pub(crate) fn inbound(local: &Multiaddr, remote: &Multiaddr) -> Self {
        if convert::is_relayed(local) { Self::circuit(local) } else { Self::outbound(remote) }
    }

    /// Of a connection that leads there.
    pub(crate) fn outbound(remote: &Multiaddr) -> Self {
        if convert::is_relayed(remote) {
            return Self::circuit(remote);
        }
        // Without a transport of ours or an address there is none such.
        let transport = convert::transport(remote).unwrap_or(Transport::Tcp);
        let address = convert::ip(remote).unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        Self::Direct { transport, host: IpPrefix::host(address), network: IpPrefix::network(address) }
    }

    fn circuit(address: &Multiaddr) -> Self {
        let before = address.iter().take_while(|part| *part != Protocol::P2pCircuit);
        let relay = before.filter_map(|part| if let Protocol::P2p(peer) = part { Some(peer) } else { None }).last();
        Self::Circuit { relay }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circuit_comes_from_its_relay_and_the_rest_from_a_host() {
        let relay = PeerId::random();
        let local: Multiaddr = format!("/ip4/203.0.113.1/tcp/4001/p2p/{relay}/p2p-circuit").parse().unwrap();
        let remote: Multiaddr = format!("/p2p/{}", PeerId::random()).parse().unwrap();
        assert_eq!(Origin::inbound(&local, &remote), Origin::Circuit { relay: Some(relay) });
        assert_eq!(Origin::outbound(&local), Origin::Circuit { relay: Some(relay) });

        let (ours, theirs) = ("/ip4/192.0.2.1/udp/1/quic-v1".parse().unwrap(), "/ip4/203.0.113.7/udp/2/quic-v1".parse().unwrap());
        let Origin::Direct { transport, host, network } = Origin::inbound(&ours, &theirs) else { panic!("direct") };
        assert_eq!(
            (transport, host.to_string(), network.to_string()),
            (Transport::Quic, "203.0.113.7".into(), "203.0.113.0/24".into())
        );
    }
}
