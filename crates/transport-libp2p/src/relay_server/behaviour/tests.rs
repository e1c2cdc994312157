use std::time::Duration;

use futures::StreamExt;
use libp2p::{Swarm, SwarmBuilder, multiaddr::Protocol, noise, relay, swarm::SwarmEvent, tcp, yamux};
use tokio::time::timeout;

use super::*;

const DEADLINE: Duration = Duration::from_secs(15);

/// Our relay with stock libp2p around it, listening on loopback.
async fn server() -> (Swarm<Behaviour>, Multiaddr) {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|key| Behaviour::new(key.clone(), RelayServerConfig::default(), true))
        .unwrap()
        .build();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address;
        }
    };
    let address = address.with_p2p(*swarm.local_peer_id()).unwrap();
    (swarm, address)
}

/// Runs a stock client that reserves there.
fn client(relay: &Multiaddr) -> tokio::task::JoinHandle<()> {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_relay_client(noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_, client: relay::client::Behaviour| client)
        .unwrap()
        .build();
    swarm.listen_on(relay.clone().with(Protocol::P2pCircuit)).unwrap();
    tokio::spawn(async move { while swarm.next().await.is_some() {} })
}

async fn reported(swarm: &mut Swarm<Behaviour>) -> NetworkEvent {
    let event = async {
        loop {
            if let SwarmEvent::Behaviour(event) = swarm.select_next_some().await {
                return event;
            }
        }
    };
    timeout(DEADLINE, event).await.expect("the relay tells of it")
}

#[tokio::test]
async fn a_relay_without_an_address_says_so_until_it_has_one() {
    let (mut swarm, address) = server().await;
    // A circuit through another relay is none.
    let circuit = address.clone().with(Protocol::P2pCircuit).with(Protocol::P2p(*swarm.local_peer_id()));
    swarm.add_external_address(circuit);
    let _refused = client(&address);
    let NetworkEvent::RelayReservationDenied { status, cause, .. } = reported(&mut swarm).await else { panic!("denied") };
    assert_eq!(status, "ReservationRefused");
    assert!(cause.contains("external-address"), "{cause}");
    swarm.add_external_address(address.clone());
    let _granted = client(&address);
    assert!(matches!(reported(&mut swarm).await, NetworkEvent::RelayReservationAccepted { renewed: false, .. }));
}

#[tokio::test(start_paused = true)]
async fn refusals_are_told_no_faster_than_anybody_reads() {
    let mut relay = Behaviour::new(Keypair::generate_ed25519(), RelayServerConfig::default(), true);
    let peer = convert::identity(&PeerId::random());
    for _ in 0..10_000 {
        relay.report_denial(NetworkEvent::RelayReservationDenied {
            peer: peer.clone(),
            status: String::new(),
            cause: String::new(),
        });
    }
    assert_eq!(relay.queue.len(), 64);
}
