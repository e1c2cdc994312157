use std::time::Duration;

use kaspath_domain::{NatMapping, PeerIdentity, RecordKind, TransportAddress};

use super::*;
use crate::records::{left, names_only, of_foreign, peer_record};

const PUBLIC: Addresses = Addresses { local: false };

fn tcp(text: &str) -> TransportAddress {
    TransportAddress::tcp(text.parse().unwrap())
}

fn relay(n: u8, via: TransportAddress) -> RelayAddress {
    let key = [&[0, 36, 8, 1, 18, 32][..], &[n; 32]].concat();
    RelayAddress { relay: PeerIdentity::from_bytes(&key).unwrap(), via }
}

fn draft() -> RecordDraft {
    RecordDraft {
        kind: RecordKind::Both,
        network: "testnet-10".to_owned(),
        gossip: true,
        mapping: NatMapping::EndpointDependent,
        reachable: true,
        ttl: Duration::from_secs(600),
        relays: vec![
            relay(1, tcp("203.0.113.1:4001")),
            relay(1, tcp("[2001:db8::1]:4001")),
            relay(2, TransportAddress::quic("192.0.2.1:4001".parse().unwrap())),
        ],
        candidates: vec![tcp("198.51.100.7:4011"), TransportAddress::quic("[2001:db8::7]:4011".parse().unwrap())],
        load: Some(3),
        tag: None,
    }
}

fn now() -> Timestamp {
    Timestamp::from_epoch(Duration::from_millis(1_800_000_000_123))
}

fn signer(may: Addresses) -> Signer {
    Signer::new(Keypair::generate_ed25519(), may)
}

/// An envelope of ours around any payload.
fn sealed(payload: Vec<u8>) -> Vec<u8> {
    let key = Keypair::generate_ed25519();
    SignedEnvelope::new(&key, DOMAIN.to_owned(), PAYLOAD_TYPE.to_vec(), payload).unwrap().into_protobuf_encoding()
}

#[test]
fn what_is_signed_is_what_others_read() {
    let signer = signer(PUBLIC);
    let signed = signer.sign(&draft(), now());
    let read = verify(signed.envelope(), None, PUBLIC).unwrap();
    assert_eq!(read, signed);
    let record = read.record();
    assert_eq!(draft_of(record), draft());
    assert_eq!((record.peer.clone(), record.issued), (convert::identity(&signer.key.public().to_peer_id()), now()));
}

#[test]
fn of_one_node_a_later_record_is_later_whatever_its_clock_says() {
    let signer = signer(PUBLIC);
    let issued: Vec<Timestamp> =
        [now(), now(), Timestamp::default()].iter().map(|at| signer.sign(&draft(), *at).record().issued).collect();
    assert!(issued.is_sorted_by(|a, b| a < b), "{issued:?}");
}

#[test]
fn a_record_of_all_that_fits_stays_under_the_limits() {
    let v6 = |n: u8| tcp(&format!("[2001:db8::{n}]:4001"));
    let draft = RecordDraft {
        network: "n".repeat(40),
        relays: (1..9).flat_map(|n| [relay(n, tcp("203.0.113.1:4001")), relay(n, v6(n))]).collect(),
        candidates: (1..20).flat_map(|n| [v6(n % 2), tcp(&format!("203.0.113.{}:40{n:02}", n % 2 + 1))]).collect(),
        ttl: Duration::from_secs(90_000),
        load: Some(200),
        ..draft()
    };
    let signed = signer(PUBLIC).sign(&draft, now());
    assert!(signed.envelope().len() < 600, "{}", signed.envelope().len());
    let record = verify(signed.envelope(), None, PUBLIC).unwrap();
    let record = record.record();
    assert_eq!((record.relays.len(), record.candidates.len(), record.load), (6, 8, Some(16)));
    assert_eq!((record.network.len(), record.ttl), (16, Duration::from_secs(900)));
}

#[test]
fn one_address_of_a_family_is_named_of_a_relay_tcp_first_and_no_private_one() {
    let quic = TransportAddress::quic("203.0.113.1:4001".parse().unwrap());
    let draft = RecordDraft {
        relays: vec![relay(1, quic), relay(1, tcp("203.0.113.1:4001")), relay(2, tcp("192.168.1.1:4001"))],
        candidates: vec![tcp("10.0.0.1:4001"), tcp("203.0.113.9:0"), tcp("203.0.113.9:25"), tcp("203.0.113.9:1023")],
        ..draft()
    };
    let signed = signer(PUBLIC).sign(&draft, now());
    let read = verify(signed.envelope(), Some(&relay(2, tcp("198.51.100.1:4001"))), PUBLIC).unwrap();
    // Who was told by the second relay knows where that one is.
    assert_eq!(read.record().relays, [relay(1, tcp("203.0.113.1:4001")), relay(2, tcp("198.51.100.1:4001"))]);
    assert!(read.record().candidates.is_empty());
    let nearby = signer(Addresses { local: true }).sign(&draft, now());
    assert_eq!(verify(nearby.envelope(), None, PUBLIC), Err(RecordError::Field("relays")));
}

#[test]
fn a_record_that_names_a_port_of_well_known_services_is_none() {
    let candidates = |port: u16| {
        let draft = RecordDraft { candidates: vec![tcp("203.0.113.9:4001")], ..draft() };
        let mut payload = payload::encode(&draft, now(), PUBLIC);
        // The port stands before the byte for the tag.
        let at = payload.len() - 3;
        payload[at..at + 2].copy_from_slice(&port.to_be_bytes());
        payload::decode(&payload, relay(1, tcp("203.0.113.9:4001")).relay, None, PUBLIC).map(|record| record.candidates)
    };
    assert_eq!(candidates(25), Err(RecordError::Field("candidates")));
    assert_eq!(candidates(1024), Ok(vec![tcp("203.0.113.9:1024")]));
}

#[test]
fn at_a_relay_a_reachable_record_names_addresses_of_the_links_family_first() {
    let (v4, v6) = (tcp("203.0.113.9:4001"), tcp("[2001:db8::9]:4001"));
    let signer = signer(PUBLIC);
    let reachable = RecordDraft { reachable: true, candidates: vec![v6.clone(), v4.clone()], ..draft() };
    let signed = signer.sign(&reachable, now());
    assert_eq!(signer.of_family(&signed, false, now()), signed);
    let turned = signer.of_family(&signed, true, now());
    assert_eq!((turned.record().reachable, &turned.record().candidates), (true, &vec![v4, v6.clone()]));
    assert!(turned.rank() > signed.rank());
    let only_v6 = signer.sign(&RecordDraft { candidates: vec![v6], ..reachable.clone() }, now());
    assert_eq!(signer.of_family(&only_v6, false, now()), only_v6);
    let narrowed = signer.of_family(&only_v6, true, now());
    assert!(!narrowed.record().reachable && narrowed.record().candidates.is_empty());
    // What nobody is to dial is as it was.
    let shown = signer.sign(&RecordDraft { reachable: false, ..reachable }, now());
    assert_eq!(signer.of_family(&shown, true, now()), shown);
}

#[test]
fn what_a_foreign_record_may_name() {
    let key = Keypair::generate_ed25519();
    let own: std::net::IpAddr = [203, 0, 113, 9].into();
    let names = |addresses: &[&str]| {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let record = libp2p::core::PeerRecord::new(&key, addresses).unwrap();
        names_only(&record, PUBLIC, |address| address.ip() == Some(own))
    };
    let relay = convert::peer_id(&relay(1, tcp("203.0.113.9:4001")).relay);
    let circuit = |via: &str| format!("{via}/p2p/{relay}/p2p-circuit");
    let other = format!("/ip4/203.0.113.9/tcp/4001/p2p/{relay}");
    assert!(names(&["/ip4/203.0.113.9/tcp/4001", &circuit("/ip4/198.51.100.1/tcp/4001")]) && names(&[]));
    for bad in
        ["/ip4/10.0.0.1/tcp/4001", "/ip4/127.0.0.1/tcp/4001", "/ip4/198.51.100.1/tcp/4001", "/ip4/203.0.113.9/tcp/25", &other]
    {
        assert!(!names(&["/ip4/203.0.113.9/tcp/4001", bad]), "{bad}");
    }
    for bad in ["/ip4/10.0.0.1/tcp/4001", "/ip4/198.51.100.1/tcp/25", "/dns4/victim.example/tcp/4001"] {
        assert!(!names(&[&circuit(bad)]) && !names(&[bad]), "{bad}");
    }
}

#[test]
fn no_flipped_byte_passes() {
    let signed = signer(PUBLIC).sign(&draft(), now());
    for n in 0..signed.envelope().len() {
        let mut bytes = signed.envelope().to_vec();
        bytes[n] ^= 1;
        assert!(verify(&bytes, None, PUBLIC).map_or(true, |read| read.record() == signed.record()), "byte {n}");
        // An envelope is protobuf: what is not signed may only name the key.
        assert_ne!(verify(&bytes[..n], None, PUBLIC).as_ref(), Ok(&signed));
    }
}

#[test]
fn signatures_for_something_else_are_none_of_a_record() {
    let key = Keypair::generate_ed25519();
    let payload = payload::encode(&draft(), now(), PUBLIC);
    for (domain, kind) in [("libp2p-routing-state", PAYLOAD_TYPE), (DOMAIN, b"/libp2p/routing-state-record")] {
        let other = SignedEnvelope::new(&key, domain.to_owned(), kind.to_vec(), payload.clone()).unwrap();
        assert_eq!(verify(&other.into_protobuf_encoding(), None, PUBLIC), Err(RecordError::Signature));
    }
    let foreign = peer_record(&key, signer(PUBLIC).sign(&draft(), now()).record()).unwrap();
    assert_eq!(verify(&foreign, None, PUBLIC), Err(RecordError::Signature));
}

#[test]
fn what_breaks_a_rule_is_rejected_as_a_whole() {
    let valid = payload::encode(&draft(), now(), PUBLIC);
    let changed = |at: usize, to: u8| {
        let mut bytes = valid.clone();
        bytes[at] = to;
        verify(&sealed(bytes), None, PUBLIC).map(drop)
    };
    let network = 3 + "testnet-10".len();
    for (at, to, error) in [
        (0, 2, RecordError::Version),
        (1, 4, RecordError::Field("kind")),
        (2, 17, RecordError::Field("network")),
        (3, b'T', RecordError::Field("network")),
        (network + 1, 3, RecordError::Field("mapping")),
        (network + 10, 255, RecordError::Field("ttl")),
        (network + 12, 17, RecordError::Field("load")),
        (network + 13, 4, RecordError::Field("relays")),
        (network + 46, 3, RecordError::Field("relays")),
        (network + 47, 5, RecordError::Field("relays")),
        (network + 48, 10, RecordError::Field("relays")),
        (valid.len() - 1, 15, RecordError::Field("tag")),
        (valid.len() - 1, 16, RecordError::TooShort),
    ] {
        assert_eq!(changed(at, to), Err(error), "byte {at} as {to}");
    }
    for length in 0..valid.len() {
        assert!(verify(&sealed(valid[..length].to_vec()), None, PUBLIC).is_err(), "{length} bytes");
    }
}

#[test]
fn a_later_version_may_add_fields_up_to_the_limit() {
    let mut longer = payload::encode(&draft(), now(), PUBLIC);
    longer.resize(MAX_PAYLOAD, 7);
    let read = verify(&sealed(longer.clone()), None, PUBLIC).unwrap();
    assert_eq!(draft_of(read.record()), draft());
    longer.push(7);
    assert_eq!(verify(&sealed(longer), None, PUBLIC), Err(RecordError::TooLong));
    assert_eq!(verify(&[0; MAX_ENVELOPE + 1], None, PUBLIC), Err(RecordError::TooLong));
}

#[test]
fn clocks_may_be_an_hour_wrong_and_no_more() {
    let record = signer(PUBLIC).sign(&draft(), now());
    let (record, hour, second) = (record.record(), Duration::from_secs(3600), Duration::from_secs(1));
    assert_eq!(left(record, now()), Some(record.ttl));
    assert_eq!(left(record, now() - hour), None);
    assert_eq!(left(record, now() - hour + second), Some(record.ttl));
    assert_eq!(left(record, now() + record.ttl + hour - second), Some(second));
    assert_eq!(left(record, now() + record.ttl + hour), None);
}

#[test]
fn a_foreign_peers_record_tells_its_relays() {
    let key = Keypair::generate_ed25519();
    let ours = Signer::new(key.clone(), PUBLIC).sign(&draft(), now());
    let foreign = peer_record(&key, ours.record()).unwrap();
    let read = of_foreign(&foreign, "testnet-10", PUBLIC).unwrap();
    let record = read.record();
    assert_eq!((&record.peer, &record.relays), (&ours.record().peer, &ours.record().relays));
    assert!(record.candidates.is_empty() && !record.gossip && record.network == "testnet-10");
    assert_eq!(of_foreign(ours.envelope(), "testnet-10", PUBLIC), Err(RecordError::Signature));
    // It is told no longer than one of ours, and a new one of ours counts more.
    assert!(ours.rank() > read.rank());
    let (signed, hour) = (kaspath_domain::wall_clock(), Duration::from_secs(3600));
    assert_eq!(left(record, signed), Some(record.ttl));
    assert_eq!(left(record, signed + record.ttl + hour + hour), None);
}
