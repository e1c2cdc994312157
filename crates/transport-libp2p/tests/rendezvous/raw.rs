//! A peer that speaks the rendezvous protocol byte by byte, as a client or as a relay.

use std::time::Duration;

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt};
use kaspath_domain::{PeerIdentity, RelayAddress, TransportAddress};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder, identify, noise,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use tokio::{task::JoinHandle, time::timeout};

use crate::support::DEADLINE;

const RENDEZVOUS: StreamProtocol = StreamProtocol::new("/rendezvous/1.0.0");

#[derive(NetworkBehaviour)]
struct Behaviour {
    stream: libp2p_stream::Behaviour,
    identify: identify::Behaviour,
}

pub(crate) struct Raw {
    control: libp2p_stream::Control,
    streams: libp2p_stream::IncomingStreams,
    address: RelayAddress,
    swarm: JoinHandle<()>,
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.swarm.abort();
    }
}

impl Raw {
    /// Listens on loopback, and takes streams of the protocol.
    pub(crate) async fn start() -> Self {
        let mut swarm: Swarm<Behaviour> = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|key| Behaviour {
                stream: libp2p_stream::Behaviour::new(),
                identify: identify::Behaviour::new(identify::Config::new("/foreign/1.0.0".into(), key.public())),
            })
            .unwrap()
            .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
            .build();
        let mut control = swarm.behaviour().stream.new_control();
        let streams = control.accept(RENDEZVOUS).unwrap();
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        let address: Multiaddr = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        let port = address.to_string().rsplit('/').next().unwrap().parse::<u16>().unwrap();
        let address = RelayAddress {
            relay: PeerIdentity::from_bytes(&swarm.local_peer_id().to_bytes()).unwrap(),
            via: TransportAddress::tcp(([127, 0, 0, 1], port).into()),
        };
        let swarm = tokio::spawn(async move { while swarm.next().await.is_some() {} });
        Self { control, streams, address, swarm }
    }

    pub(crate) fn address(&self) -> &RelayAddress {
        &self.address
    }

    /// The next stream that somebody opens here.
    pub(crate) async fn asked(&mut self) -> Stream {
        timeout(DEADLINE, self.streams.next()).await.unwrap().unwrap().1
    }

    /// A stream to a peer that is connected with us.
    async fn open(&mut self, peer: &PeerIdentity) -> Stream {
        let peer = PeerId::from_bytes(peer.as_bytes()).unwrap();
        timeout(DEADLINE, self.control.open_stream(peer, RENDEZVOUS)).await.unwrap().unwrap()
    }

    /// What a peer that is connected with us answers to these bytes.
    pub(crate) async fn ask(&mut self, peer: &PeerIdentity, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.open(peer).await;
        let mut answer = Vec::new();
        let exchange = async {
            stream.write_all(bytes).await?;
            stream.flush().await?;
            stream.read_to_end(&mut answer).await
        };
        // A reset is no answer.
        let _ = timeout(DEADLINE, exchange).await.unwrap();
        answer
    }
}
