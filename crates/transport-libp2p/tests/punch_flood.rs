//! A hostile peer that has us punch: one identity, many circuits, dead candidates.

mod support;

use std::{
    net::{TcpListener, UdpSocket},
    time::Duration,
};

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt};
use kaspath_domain::{PeerAddress, RelayReason, Route};
use kaspath_transport_libp2p::{ConnectionLimits, Network, NetworkConfig, NetworkEvent, RelayServerConfig};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder,
    multiaddr::Protocol,
    noise, relay,
    swarm::{
        NetworkBehaviour, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
    tcp, yamux,
};
use support::{DEADLINE, await_event, config, dial, relay, relay_address, reserved, start};
use tokio::time::timeout;

const CIRCUITS: usize = 6;
/// Of each circuit's candidates, half are TCP and half are QUIC.
const CANDIDATES: usize = 8;

#[derive(NetworkBehaviour)]
struct Hostile {
    relay_client: relay::client::Behaviour,
    stream: libp2p_stream::Behaviour,
}

fn hostile() -> Swarm<Hostile> {
    SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_relay_client(noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_, relay_client| Hostile { relay_client, stream: libp2p_stream::Behaviour::new() })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build()
}

/// Sockets that take whatever comes and never answer.
#[derive(Default)]
struct Dead {
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
}

impl Dead {
    fn candidates(&mut self) -> Vec<Multiaddr> {
        let mut candidates = Vec::new();
        for _ in 0..CANDIDATES / 2 {
            let (tcp, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
            let ports = (tcp.local_addr().unwrap().port(), udp.local_addr().unwrap().port());
            candidates.push(format!("/ip4/127.0.0.1/tcp/{}", ports.0).parse().unwrap());
            candidates.push(format!("/ip4/127.0.0.1/udp/{}/quic-v1", ports.1).parse().unwrap());
            self.tcp.push(tcp);
            self.udp.push(udp);
        }
        candidates
    }
}

/// Answers a DCUtR exchange with these candidates (libp2p specs/relay/DCUtR.md).
async fn answer(mut stream: Stream, candidates: Vec<Multiaddr>) {
    let mut length = [0];
    // The other side's CONNECT: it is shorter than 128 bytes here.
    let Ok(()) = stream.read_exact(&mut length).await else { return };
    let mut connect = vec![0; usize::from(length[0])];
    let Ok(()) = stream.read_exact(&mut connect).await else { return };
    let mut body = vec![0x08, 100];
    for candidate in candidates {
        body.extend([0x12, candidate.len() as u8]);
        body.extend(candidate.to_vec());
    }
    let mut message = vec![u8::try_from(body.len()).unwrap()];
    message.extend(body);
    let _ = stream.write_all(&message).await;
    let _ = stream.flush().await;
    // SYNC, and then nothing for as long as the stream lives.
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

/// Answers with what is no DCUtR.
async fn babble(mut stream: Stream) {
    let _ = stream.write_all(&[3, 0xff, 0xff, 0xff]).await;
    let _ = stream.flush().await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

/// What the hostile peer answers to punches.
#[derive(Clone, Copy)]
enum Answers {
    DeadCandidates,
    Garbage,
}

/// Opens circuits to `victim` and answers every punch.
async fn attack(relay: &Network, victim: &Network, answers: Answers) {
    let mut swarm = hostile();
    let relay: Multiaddr = relay_address(relay).to_string().parse().unwrap();
    let victim = PeerId::from_bytes(victim.local_peer().as_bytes()).unwrap();
    let mut punches = swarm.behaviour().stream.new_control().accept(StreamProtocol::new("/libp2p/dcutr")).unwrap();
    swarm.dial(relay.clone()).unwrap();
    while !matches!(swarm.select_next_some().await, SwarmEvent::ConnectionEstablished { .. }) {}
    tokio::spawn(async move {
        let mut dead = Dead::default();
        while let Some((_, stream)) = punches.next().await {
            match answers {
                Answers::DeadCandidates => tokio::spawn(answer(stream, dead.candidates())),
                Answers::Garbage => tokio::spawn(babble(stream)),
            };
        }
    });
    tokio::spawn(async move {
        // One after another: libp2p-stream drops streams that come at the same moment.
        for _ in 0..CIRCUITS {
            let circuit = relay.clone().with(Protocol::P2pCircuit).with(Protocol::P2p(victim));
            swarm.dial(DialOpts::peer_id(victim).condition(PeerCondition::Always).addresses(vec![circuit]).build()).unwrap();
            while !matches!(swarm.select_next_some().await, SwarmEvent::ConnectionEstablished { .. }) {}
        }
        while swarm.next().await.is_some() {}
    });
}

#[tokio::test]
async fn one_identity_on_many_circuits_cannot_keep_relays_or_remotes_from_being_dialled() {
    let first_relay = relay(RelayServerConfig::default()).await;
    let second_relay = relay(RelayServerConfig::default()).await;
    let remote = start(config()).await;
    let behind_second = reserved(support::relay_only(), &second_relay).await;
    // Fewer places than the candidates could take if each got a dial at once.
    let limits = ConnectionLimits { pending_outbound: 16, ..ConnectionLimits::default() };
    let victim = reserved(NetworkConfig { limits, ..config() }, &first_relay).await;
    let mut events = victim.events();

    attack(&first_relay, &victim, Answers::DeadCandidates).await;
    for _ in 0..4 {
        await_event(&mut events, |event| matches!(event, NetworkEvent::PunchDialing { .. })).await;
    }
    let PeerAddress::Direct(address) = remote.listening()[0].address.clone() else { panic!("direct") };
    dial(&victim, &remote, Route::Direct(address)).await.expect("a remote is dialled");
    dial(&victim, &behind_second, Route::Relayed(relay_address(&second_relay))).await.expect("a relay is linked");
}

#[tokio::test]
async fn one_identity_has_few_punches_answered_on_however_many_circuits() {
    let relay = relay(RelayServerConfig::default()).await;
    let victim = reserved(config(), &relay).await;
    let mut events = victim.events();
    attack(&relay, &victim, Answers::DeadCandidates).await;
    let (mut begun, mut limited) = (0, 0);
    timeout(DEADLINE, async {
        while begun + limited < CIRCUITS {
            match events.recv().await.unwrap() {
                NetworkEvent::PunchStarted { .. } => begun += 1,
                NetworkEvent::PunchFailed { reason: RelayReason::PunchLimited, retry_in, .. } => {
                    assert!(retry_in.is_some(), "it waits its turn");
                    limited += 1;
                }
                _ => {}
            }
        }
    })
    .await
    .unwrap();
    assert_eq!((begun, limited), (4, CIRCUITS - 4));
}

#[tokio::test]
async fn a_broken_exchange_is_named_and_nothing_is_said_of_nats() {
    let relay = relay(RelayServerConfig::default()).await;
    let victim = reserved(config(), &relay).await;
    let mut events = victim.events();
    attack(&relay, &victim, Answers::Garbage).await;
    let failed =
        |event: &NetworkEvent| matches!(event, NetworkEvent::PunchFailed { reason, .. } if *reason != RelayReason::PunchLimited);
    let NetworkEvent::PunchFailed { reason, retry_in, .. } = await_event(&mut events, failed).await else { panic!("failed") };
    let RelayReason::ExchangeFailed { attempts: 1, cause } = &reason else { panic!("{reason}") };
    assert_eq!(cause, "the message is not valid protobuf");
    assert!(retry_in.is_some());
    assert!(!reason.is_failed_punch());
}
