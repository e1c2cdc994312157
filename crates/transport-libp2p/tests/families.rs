//! IPv4 and IPv6 side by side, on loopback.

mod support;

use std::net::{IpAddr, Ipv6Addr, UdpSocket};

use kaspath_domain::{PeerAddress, PeerLocator, Route, StreamListener, Transport, TransportAddress};
use kaspath_transport_libp2p::{Network, NetworkConfig, NodeKey, StartError};
use support::{config, dial, locator, start};
use tokio::time::timeout;

/// The direct addresses of a node at an IP address.
fn at(node: &Network, ip: IpAddr) -> Vec<TransportAddress> {
    let direct = node.listening().iter().filter_map(|locator| locator.address.direct().cloned());
    direct.filter(|address| address.ip() == Some(ip)).collect()
}

#[tokio::test]
async fn a_node_listens_on_both_families_and_is_reached_over_each() {
    let everywhere = || NetworkConfig { listen: Vec::new(), listen_everywhere: Some(0), ..config() };
    let theirs = start(everywhere()).await;
    for ip in [IpAddr::from([127, 0, 0, 1]), Ipv6Addr::LOCALHOST.into()] {
        let addresses = at(&theirs, ip);
        let transports: Vec<Transport> = addresses.iter().map(|address| address.transport).collect();
        assert_eq!(transports, [Transport::Tcp, Transport::Quic], "at {ip}");
        for address in addresses {
            // Another node each time: a connection that is there would do.
            let ours = start(everywhere()).await;
            let out = dial(&ours, &theirs, Route::Direct(address.clone())).await.unwrap();
            timeout(support::DEADLINE, theirs.listener().accept()).await.unwrap().unwrap();
            let PeerLocator { address: PeerAddress::Direct(remote), .. } = out.info().remote.clone() else { panic!("direct") };
            assert_eq!(remote, address);
        }
    }
}

#[tokio::test]
async fn a_taken_port_ends_the_start_in_either_family() {
    let taken = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let everywhere = NetworkConfig { listen: Vec::new(), listen_everywhere: Some(port), ..config() };
    let started = Network::start(NodeKey::generate(), everywhere).await;
    let Err(StartError::Listen { address, .. }) = started else { panic!("it started") };
    assert!(address.to_string().ends_with(&format!("/udp/{port}/quic-v1")), "{address}");
}

#[tokio::test]
async fn an_address_that_was_chosen_must_be_there() {
    let missing = locator("/ip6/2001:db8:ffff::1/tcp/0");
    let started = Network::start(NodeKey::generate(), NetworkConfig { listen: vec![missing.clone()], ..config() }).await;
    assert!(matches!(started, Err(StartError::Listen { address, .. }) if address == missing));
}
