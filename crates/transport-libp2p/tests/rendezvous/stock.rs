//! The stock client and server of libp2p, which know nothing of ours.

use std::time::Duration;

use futures::StreamExt;
use kaspath_domain::{Discovery, PeerIdentity, RelayAddress, Teller, TransportAddress};
use kaspath_transport_libp2p::RelayServerConfig;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, identify,
    multiaddr::Protocol,
    noise, relay,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use libp2p_rendezvous::{self as rendezvous, Namespace};
use tokio::time::timeout;

use crate::{
    listing::{TTL, signed, simnet},
    support::{DEADLINE, config, relay, relay_address, reserved, start},
};

#[derive(NetworkBehaviour)]
struct Client {
    relay_client: relay::client::Behaviour,
    identify: identify::Behaviour,
    rendezvous: rendezvous::client::Behaviour,
}

#[derive(NetworkBehaviour)]
struct Server {
    identify: identify::Behaviour,
    rendezvous: rendezvous::server::Behaviour,
}

fn identify_of(key: &libp2p::identity::Keypair) -> identify::Behaviour {
    identify::Behaviour::new(identify::Config::new("/foreign/1.0.0".into(), key.public()))
}

fn namespace() -> Namespace {
    Namespace::new(simnet().to_string()).unwrap()
}

/// The first event that is wanted.
async fn awaited<B: NetworkBehaviour, T>(swarm: &mut Swarm<B>, wanted: impl Fn(SwarmEvent<B::ToSwarm>) -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = wanted(swarm.select_next_some().await) {
                return found;
            }
        }
    };
    timeout(DEADLINE, found).await.expect("the event comes")
}

/// A stock client with a reservation at that relay.
async fn client(at: &RelayAddress) -> Swarm<Client> {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_relay_client(noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|key, relay_client| Client {
            relay_client,
            identify: identify_of(key),
            rendezvous: rendezvous::client::Behaviour::new(key.clone()),
        })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build();
    let circuit = at.to_string().parse::<Multiaddr>().unwrap().with(Protocol::P2pCircuit);
    swarm.listen_on(circuit.clone()).unwrap();
    awaited(&mut swarm, |event| matches!(event, SwarmEvent::NewListenAddr { .. }).then_some(())).await;
    swarm.add_external_address(circuit);
    swarm
}

fn peer_id(identity: &PeerIdentity) -> PeerId {
    PeerId::from_bytes(identity.as_bytes()).unwrap()
}

#[tokio::test]
async fn a_stock_client_lists_itself_here_and_finds_ours() {
    let relay = relay(RelayServerConfig::default()).await;
    let at = relay_address(&relay);
    let ours = reserved(config(), &relay).await;
    ours.discovery().list(&at, &simnet(), &signed(&ours, &at), TTL).await.unwrap();

    let mut swarm = client(&at).await;
    let stock = PeerIdentity::from_bytes(&swarm.local_peer_id().to_bytes()).unwrap();
    swarm.behaviour_mut().rendezvous.register(namespace(), peer_id(&at.relay), None).unwrap();
    let ttl = awaited(&mut swarm, |event| match event {
        SwarmEvent::Behaviour(ClientEvent::Rendezvous(rendezvous::client::Event::Registered { ttl, .. })) => Some(ttl),
        _ => None,
    });
    assert_eq!(ttl.await, 600, "less than it asked for");

    swarm.behaviour_mut().rendezvous.discover(Some(namespace()), None, None, peer_id(&at.relay));
    let (found, cookie) = awaited(&mut swarm, |event| match event {
        SwarmEvent::Behaviour(ClientEvent::Rendezvous(rendezvous::client::Event::Discovered {
            registrations, cookie, ..
        })) => Some((registrations, cookie)),
        _ => None,
    })
    .await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].record.peer_id(), peer_id(ours.local_peer()));
    let circuit = at.to_string().parse::<Multiaddr>().unwrap().with(Protocol::P2pCircuit);
    assert_eq!(found[0].record.addresses(), [circuit.with(Protocol::P2p(peer_id(ours.local_peer())))]);
    // It may come with its cookie, which it reads as one of its own.
    swarm.behaviour_mut().rendezvous.discover(Some(namespace()), Some(cookie), None, peer_id(&at.relay));
    awaited(&mut swarm, |event| match event {
        SwarmEvent::Behaviour(ClientEvent::Rendezvous(rendezvous::client::Event::Discovered { .. })) => Some(()),
        _ => None,
    })
    .await;

    let running = tokio::spawn(async move { while swarm.next().await.is_some() {} });
    let told = ours.discovery().ask(&Teller::Relay(at.clone()), &simnet(), 32).await.unwrap().told;
    assert_eq!(told.len(), 1);
    let record = told[0].record.record();
    assert_eq!((&record.peer, &record.relays, record.gossip), (&stock, &vec![at], false));
    running.abort();
}

#[tokio::test]
async fn a_stock_client_that_names_an_address_that_is_not_its_own_is_not_listed() {
    let relay = relay(RelayServerConfig::default()).await;
    let at = relay_address(&relay);
    let mut swarm = client(&at).await;
    for others in ["/ip4/10.0.0.1/tcp/4001", "/ip4/203.0.113.1/tcp/4001", "/dns4/victim.example/tcp/4001"] {
        let others: Multiaddr = others.parse().unwrap();
        swarm.add_external_address(others.clone());
        swarm.behaviour_mut().rendezvous.register(namespace(), peer_id(&at.relay), None).unwrap();
        let error = awaited(&mut swarm, |event| match event {
            SwarmEvent::Behaviour(ClientEvent::Rendezvous(rendezvous::client::Event::RegisterFailed { error, .. })) => {
                Some(error)
            }
            _ => None,
        });
        assert_eq!(error.await, rendezvous::ErrorCode::InvalidSignedPeerRecord, "{others}");
        swarm.remove_external_address(&others);
    }
}

#[tokio::test]
async fn ours_list_themselves_at_a_stock_server_and_are_found_there() {
    let server = rendezvous::server::Config::default().with_min_ttl(60);
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|key| Server { identify: identify_of(key), rendezvous: rendezvous::server::Behaviour::new(server) })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let port = awaited(&mut swarm, |event| match event {
        SwarmEvent::NewListenAddr { address, .. } => address.to_string().rsplit('/').next().unwrap().parse::<u16>().ok(),
        _ => None,
    })
    .await;
    let at = RelayAddress {
        relay: PeerIdentity::from_bytes(&swarm.local_peer_id().to_bytes()).unwrap(),
        via: TransportAddress::tcp(([127, 0, 0, 1], port).into()),
    };
    let running = tokio::spawn(async move { while swarm.next().await.is_some() {} });
    let (listed, asking) = (start(config()).await, start(config()).await);
    assert_eq!(listed.discovery().list(&at, &simnet(), &signed(&listed, &at), TTL).await, Ok(TTL));
    let told = asking.discovery().ask(&Teller::Relay(at.clone()), &simnet(), 32).await.unwrap().told;
    assert_eq!(told.len(), 1);
    let record = told[0].record.record();
    assert_eq!((&record.peer, &record.relays), (listed.local_peer(), &vec![at.clone()]));
    listed.discovery().unlist(&at, &simnet()).await;
    running.abort();
}
