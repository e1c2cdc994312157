use kaspath_domain::{NatMapping, RecordDraft, RecordKind, RelayAddress, TransportAddress};
use libp2p::identity::Keypair;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    time::Instant,
};
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::*;
use crate::records::Signer;

const PUBLIC: Addresses = Addresses { local: false };
const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));

fn identity(n: u8) -> PeerIdentity {
    PeerIdentity::from_bytes(&[0, 1, n]).unwrap()
}

fn simnet() -> Namespace {
    Namespace::of_network("simnet").unwrap()
}

fn record(key: &Keypair, gossip: bool) -> SignedRecord {
    let relay = RelayAddress {
        relay: crate::convert::identity(&Keypair::generate_ed25519().public().to_peer_id()),
        via: TransportAddress::tcp("203.0.113.1:4001".parse().unwrap()),
    };
    let draft = RecordDraft {
        kind: RecordKind::Node,
        network: "simnet".to_owned(),
        gossip,
        mapping: NatMapping::Unknown,
        reachable: false,
        ttl: Duration::from_secs(600),
        relays: vec![relay],
        candidates: Vec::new(),
        load: None,
        tag: None,
    };
    Signer::new(key.clone(), PUBLIC).sign(&draft, wall_clock())
}

fn records(n: usize) -> Vec<SignedRecord> {
    (0..n).map(|_| record(&Keypair::generate_ed25519(), true)).collect()
}

fn answering(known: Vec<SignedRecord>) -> Answering {
    let answering = Answering::new();
    answering.set_known(Arc::new(move |_, _| known.clone()));
    answering
}

/// What a peer gets that asks so.
async fn asked(answering: &Answering, peer: &PeerIdentity) -> io::Result<Option<Vec<Vec<u8>>>> {
    asked_from(answering, peer, HOME).await
}

async fn asked_from(answering: &Answering, peer: &PeerIdentity, from: IpAddr) -> io::Result<Option<Vec<Vec<u8>>>> {
    let (asker, answerer) = duplex(64);
    let (mut asker, namespace) = (asker.compat(), simnet());
    let (answer, ()) = tokio::join!(ask(&mut asker, &namespace, 99), answering.serve(peer, from, answerer.compat()));
    answer
}

fn envelopes(records: &[SignedRecord]) -> Vec<Vec<u8>> {
    records.iter().map(|record| record.envelope().to_vec()).collect()
}

#[tokio::test]
async fn what_is_known_is_told_but_for_the_askers_own_and_what_is_not_to_be_passed_on() {
    let (own, hidden) = (Keypair::generate_ed25519(), record(&Keypair::generate_ed25519(), false));
    let mut known = records(2);
    let expected = envelopes(&known);
    known.extend([record(&own, true), hidden]);
    let asker = crate::convert::identity(&own.public().to_peer_id());
    assert_eq!(asked(&answering(known), &asker).await.unwrap(), Some(expected.clone()));
    let told = told(expected, (&asker, &simnet()), PUBLIC, wall_clock()).unwrap();
    assert_eq!(told.len(), 2);
    assert_eq!(asked(&answering(records(40)), &asker).await.unwrap().unwrap().len(), MAX_RECORDS);
    assert_eq!(asked(&Answering::new(), &asker).await.unwrap(), Some(Vec::new()), "nothing is known");
}

#[tokio::test]
async fn who_asks_without_end_hears_that_it_was_too_often() {
    let answering = answering(records(1));
    for _ in 0..RATES.peer.0 {
        assert!(asked(&answering, &identity(1)).await.unwrap().is_some());
    }
    for _ in 0..1_000 {
        assert_eq!(asked(&answering, &identity(1)).await.unwrap(), None);
    }
    // However many identities a host has, and hosts a network, others are told.
    let (mut of_host, mut of_network) = (0, 0);
    for n in 2..200 {
        of_host += u32::from(asked(&answering, &identity(n)).await.unwrap().is_some());
    }
    for n in 2..200 {
        of_network += u32::from(asked_from(&answering, &identity(n), [198, 51, 100, n].into()).await.unwrap().is_some());
    }
    let (host, network) = (RATES.host.0 - RATES.peer.0, RATES.network.0 - RATES.host.0);
    assert!((host..host + 2).contains(&of_host) && (network..network + 2).contains(&of_network), "{of_host} {of_network}");
    assert!(asked_from(&answering, &identity(201), [203, 0, 113, 1].into()).await.unwrap().is_some());
    let mut of_all = 0;
    for n in 0..250 {
        of_all += u32::from(asked_from(&answering, &identity(n), [20, n, 0, 1].into()).await.unwrap().is_some());
    }
    assert!(of_all <= RATES.all.0, "{of_all}");
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_or_reads_nothing_is_given_up_and_has_one_answer_at_a_time() {
    let answering = answering(records(16));
    let begun = Instant::now();
    let (_silent, stream) = duplex(64);
    let second = async {
        let (mut other, stream): (DuplexStream, DuplexStream) = duplex(64);
        answering.serve(&identity(1), HOME, stream.compat()).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(other.read(&mut [0]).await.unwrap(), 0, "the second one is closed");
    };
    let peer = identity(1);
    tokio::join!(answering.serve(&peer, HOME, stream.compat()), second);
    assert_eq!(begun.elapsed(), TIMEOUT);
    let (mut deaf, stream) = duplex(64);
    send_request(&mut (&mut deaf).compat(), &simnet(), 16).await.unwrap();
    answering.serve(&identity(1), HOME, stream.compat()).await;
    assert_eq!(begun.elapsed(), TIMEOUT * 2);
    assert_eq!(answering.answering.taken(), 0);
}

#[tokio::test]
async fn what_is_no_request_has_no_answer() {
    let answering = answering(records(1));
    for request in [&[2, 1, 1, b'a'][..], &[1, 1, 65], &[1, 1, 0], &[1, 1, 1, b'A'], &[1, 1, 1, 0xff], &[1, 1, 2, b'a']] {
        let (mut asker, stream) = duplex(64);
        asker.write_all(request).await.unwrap();
        asker.shutdown().await.unwrap();
        answering.serve(&identity(1), HOME, stream.compat()).await;
        assert_eq!(asker.read(&mut [0]).await.unwrap(), 0, "{request:?}");
    }
}

#[tokio::test]
async fn an_answer_of_too_much_is_not_read() {
    let envelope = record(&Keypair::generate_ed25519(), true).envelope().to_vec();
    let many = [vec![17], [&(envelope.len() as u16).to_be_bytes(), envelope.as_slice()].concat().repeat(17)].concat();
    let long = [&[1, 0xff, 0xff], [0; 100].as_slice()].concat();
    for bytes in [many, long, vec![1, 0, 5, 1]] {
        assert!(receive_answer(&mut bytes.as_slice()).await.is_err());
    }
}

#[test]
fn forged_records_end_what_a_peer_tells() {
    let (us, good) = (identity(1), envelopes(&records(1)).remove(0));
    let hidden = record(&Keypair::generate_ed25519(), false).envelope().to_vec();
    for bad in [vec![7; 300], hidden, Vec::new()] {
        let once = told(vec![bad.clone(), good.clone()], (&us, &simnet()), PUBLIC, wall_clock());
        assert_eq!(once.map(|told| told.len()), Ok(1));
        let twice = told(vec![bad.clone(), good.clone(), bad], (&us, &simnet()), PUBLIC, wall_clock());
        assert!(matches!(twice, Err(DiscoveryError::Invalid(_))));
    }
    let late = wall_clock() + Duration::from_secs(2 * 3600);
    assert_eq!(told(vec![good], (&us, &simnet()), PUBLIC, late), Ok(Vec::new()));
}
