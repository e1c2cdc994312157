use kaspath_domain::{NatMapping, RecordDraft, RecordKind, TransportAddress};
use libp2p::identity::Keypair;

use super::*;
use crate::{convert, records::Signer};

const PUBLIC: Addresses = Addresses { local: false };

fn now() -> Timestamp {
    Timestamp::from_epoch(Duration::from_secs(1_800_000_000))
}

fn identity(key: &Keypair) -> PeerIdentity {
    convert::identity(&key.public().to_peer_id())
}

fn relay() -> RelayAddress {
    RelayAddress {
        relay: identity(&Keypair::generate_ed25519()),
        via: TransportAddress::tcp("203.0.113.1:4001".parse().unwrap()),
    }
}

fn draft(relay: &RelayAddress) -> RecordDraft {
    RecordDraft {
        kind: RecordKind::Node,
        network: "simnet".to_owned(),
        gossip: true,
        mapping: NatMapping::Unknown,
        reachable: false,
        ttl: Duration::from_secs(600),
        relays: vec![relay.clone()],
        candidates: Vec::new(),
        load: None,
        tag: None,
    }
}

fn entry(key: Keypair, draft: &RecordDraft) -> Register {
    let signed = Signer::new(key, PUBLIC).sign(draft, now());
    Register { ns: None, signed_peer_record: None, ttl: Some(300), record: Some(signed.envelope().to_vec()) }
}

fn answer(registrations: Vec<Register>) -> Message {
    let status = Some(Status::Ok.into());
    Message::discovered(DiscoverResponse { registrations, status, ..DiscoverResponse::default() })
}

fn told(relay: &RelayAddress, limit: usize, registrations: Vec<Register>) -> Result<Vec<Told>, DiscoveryError> {
    let (us, namespace) = (identity(&Keypair::generate_ed25519()), Namespace::of_network("simnet").unwrap());
    Question { relay, namespace: &namespace, limit, us: &us, addresses: PUBLIC }.told(answer(registrations), now())
}

#[test]
fn a_peer_of_the_network_at_that_relay_is_told_once() {
    let (at, key) = (relay(), Keypair::generate_ed25519());
    let told = told(&at, 32, vec![entry(key.clone(), &draft(&at)), entry(key.clone(), &draft(&at))]).unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0].record.record().peer, told[0].left), (&identity(&key), Duration::from_secs(300)));
    assert_eq!(told[0].record.record().relays, [at]);
}

#[test]
fn this_node_is_not_told_of_itself_and_a_relay_that_is_named_alone_is_where_it_was_asked() {
    let (mut at, key) = (relay(), Keypair::generate_ed25519());
    at.via = "/dns/relay.example/tcp/4001"
        .parse::<kaspath_domain::PeerLocator>()
        .map(|locator| match locator.address {
            kaspath_domain::PeerAddress::Direct(via) => via,
            other => panic!("{other:?}"),
        })
        .unwrap();
    let (us, namespace) = (identity(&key), Namespace::of_network("simnet").unwrap());
    let entries = vec![entry(key, &draft(&at)), entry(Keypair::generate_ed25519(), &draft(&at))];
    let question = Question { relay: &at, namespace: &namespace, limit: 32, us: &us, addresses: PUBLIC };
    let told = question.told(answer(entries), now()).unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].record.record().relays, [at.clone()]);
}

#[test]
fn what_a_relay_may_not_tell_is_skipped_once_and_ends_the_answer_twice() {
    let (at, other) = (relay(), relay());
    let good = || entry(Keypair::generate_ed25519(), &draft(&at));
    let elsewhere = || entry(Keypair::generate_ed25519(), &draft(&other));
    let foreign = entry(Keypair::generate_ed25519(), &RecordDraft { network: "mainnet".to_owned(), ..draft(&at) });
    let forged = Register { record: Some(vec![7; 600]), ..Register::default() };
    for bad in [elsewhere(), foreign, forged, Register::default()] {
        assert_eq!(told(&at, 32, vec![bad.clone(), good()]).map(|told| told.len()), Ok(1));
        let twice = told(&at, 32, vec![bad.clone(), good(), bad]);
        assert!(matches!(twice, Err(DiscoveryError::Invalid(_))), "{twice:?}");
    }
    // It can be reached without a relay.
    let public = RecordDraft {
        reachable: true,
        relays: Vec::new(),
        candidates: vec![TransportAddress::tcp("198.51.100.1:4001".parse().unwrap())],
        ..draft(&at)
    };
    assert_eq!(told(&at, 32, vec![entry(Keypair::generate_ed25519(), &public)]).map(|told| told.len()), Ok(1));
}

#[test]
fn what_comes_beyond_the_limit_is_not_looked_at() {
    let at = relay();
    let mut entries: Vec<Register> = (0..4).map(|_| entry(Keypair::generate_ed25519(), &draft(&at))).collect();
    entries.extend((0..1_000).map(|_| Register { record: Some(vec![7; 600]), ..Register::default() }));
    assert_eq!(told(&at, 4, entries).map(|told| told.len()), Ok(4));
}

#[test]
fn refusals_are_told_apart_and_cleaned() {
    let refusal = |status: i32, text: &str| {
        let mut answer = Message::registered(Status::Ok, Some(text), Some(60));
        answer.register_response.as_mut().unwrap().status = Some(status);
        listed(answer).unwrap_err()
    };
    assert_eq!(refusal(400, TOO_OFTEN), DiscoveryError::TooOften);
    assert_eq!(refusal(400, "full"), DiscoveryError::Refused("full".to_owned()));
    assert_eq!(refusal(200, ""), DiscoveryError::Refused("NotAuthorized".to_owned()));
    assert!(matches!(refusal(777, ""), DiscoveryError::Invalid(_)));
    let DiscoveryError::Refused(text) = refusal(300, &"\u{1b}[2J".repeat(10_000)) else { panic!("refused") };
    assert!(text.len() <= MAX_TEXT && !text.contains('\u{1b}'));
    assert_eq!(listed(Message::registered(Status::Ok, None, Some(60))), Ok(Duration::from_secs(60)));
    assert!(listed(Message::registered(Status::Ok, None, None)).is_err());
    assert!(listed(Message::undiscovered(Status::Ok, "")).is_err());
}
