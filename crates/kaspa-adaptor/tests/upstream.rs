//! Against the Kaspa project's own P2P stack, both ways round, over loopback.

mod support;

use std::{sync::Arc, time::Duration};

use kaspa_p2p_lib::{
    Adaptor, ConnectionInitializer, Hub, IncomingRoute, KaspadHandshake, KaspadMessagePayloadType as Kind, Router,
    common::ProtocolError,
    make_message,
    pb::{PingMessage, RequestAddressesMessage, VersionMessage, kaspad_message::Payload},
};
use kaspath_domain::Direction;
use kaspath_kaspa_adaptor::{KaspaEvent, KaspaNetwork};
use support::{DEADLINE, Loopback, await_event, events, loopback, node, serve_on};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

/// Shakes hands, asks for addresses and pings once, as kaspad does; tells what it hears.
struct Reference {
    heard: mpsc::Sender<Kind>,
}

#[tonic::async_trait]
impl ConnectionInitializer for Reference {
    async fn initialize_connection(&self, router: Arc<Router>) -> Result<(), ProtocolError> {
        let mut handshake = KaspadHandshake::new(&router);
        router.start();
        let version = VersionMessage {
            protocol_version: 11,
            services: 0,
            timestamp: 0,
            address: None,
            id: uuid::Uuid::new_v4().as_bytes().to_vec(),
            user_agent: "/reference:1/".into(),
            disable_relay_tx: false,
            subnetwork_id: None,
            network: "kaspa-simnet".into(),
        };
        let theirs = handshake.handshake(version).await?;
        if theirs.network != "kaspa-simnet" {
            return Err(ProtocolError::WrongNetwork("kaspa-simnet".into(), theirs.network));
        }
        let mut route: IncomingRoute = router.subscribe(vec![Kind::Addresses, Kind::Pong, Kind::RequestAddresses]);
        handshake.exchange_ready_messages().await?;
        let heard = self.heard.clone();
        let asking = router.clone();
        tokio::spawn(async move {
            let request = RequestAddressesMessage { include_all_subnetworks: false, subnetwork_id: None };
            asking.enqueue(make_message!(Payload::RequestAddresses, request)).await.unwrap();
            asking.enqueue(make_message!(Payload::Ping, PingMessage { nonce: 5 })).await.unwrap();
            while let Some(message) = route.recv().await {
                let _ = heard.send(Kind::from(message.payload.as_ref().unwrap())).await;
            }
        });
        Ok(())
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn hears_addresses_and_pong(heard: &mut mpsc::Receiver<Kind>) {
    let mut kinds = Vec::new();
    while !(kinds.contains(&Kind::Addresses) && kinds.contains(&Kind::Pong)) {
        kinds.push(timeout(DEADLINE, heard.recv()).await.unwrap_or_else(|_| panic!("only {kinds:?}")).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn we_call_upstreams_server() {
    let (sender, mut heard) = mpsc::channel(16);
    let address = format!("127.0.0.1:{}", free_port());
    let initializer = Arc::new(Reference { heard: sender });
    let upstream = Adaptor::bidirectional(address.parse().unwrap(), Hub::new(), initializer, Default::default()).unwrap();
    let node = node(KaspaNetwork::Simnet);
    let connected = async {
        loop {
            match TcpStream::connect(&address).await {
                Ok(stream) => return stream,
                // Upstream's server binds in the background.
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    let stream = timeout(DEADLINE, connected).await.unwrap();
    let peer = node.connect(loopback(stream, Direction::Outbound)).await.unwrap();
    assert_eq!((peer.user_agent(), peer.protocol_version()), ("/reference:1/", 11));
    hears_addresses_and_pong(&mut heard).await;
    assert!(!peer.router().is_closed());
    // Upstream enters a peer in its hub by a task of its own, which nothing tells of.
    let entered = async {
        while upstream.active_peers().len() != 1 {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, entered).await.expect("upstream has us as its one peer");
    upstream.close().await;
    timeout(DEADLINE, peer.router().closed()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_client_calls_us() {
    let (sender, mut heard) = mpsc::channel(16);
    let node = node(KaspaNetwork::Simnet);
    let mut events = events(&node);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    serve_on(&node, Arc::new(Loopback(listener)));
    let upstream = Adaptor::client_only(Hub::new(), Arc::new(Reference { heard: sender }), Default::default());
    upstream.connect_peer(address).await.unwrap();
    await_event(&mut events, |event| matches!(event, KaspaEvent::PeerReady { protocol_version: 11, .. })).await;
    hears_addresses_and_pong(&mut heard).await;
    upstream.close().await;
    await_event(&mut events, |event| matches!(event, KaspaEvent::PeerLeft { .. })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upstream_refuses_our_other_network_and_we_say_so() {
    let (sender, _heard) = mpsc::channel(16);
    let node = node(KaspaNetwork::Mainnet);
    let mut events = events(&node);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    serve_on(&node, Arc::new(Loopback(listener)));
    let upstream = Adaptor::client_only(Hub::new(), Arc::new(Reference { heard: sender }), Default::default());
    upstream.connect_peer_with_retries(address, 1, Duration::ZERO).await.unwrap_err();
    let failed = await_event(&mut events, |event| matches!(event, KaspaEvent::HandshakeFailed { .. })).await;
    assert!(format!("{failed:?}").contains("kaspa-simnet"), "{failed:?}");
}
