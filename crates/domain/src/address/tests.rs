use super::*;

const A: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
const B: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";

#[test]
fn every_accepted_form_round_trips() {
    for text in [
        "/ip4/203.0.113.7/tcp/16111".to_owned(),
        "/ip6/2001:db8::1/udp/4001/quic-v1".to_owned(),
        format!("/dns/relay.example/tcp/4001/p2p/{A}"),
        format!("/ip4/203.0.113.7/tcp/4001/p2p/{A}/p2p-circuit"),
        format!("/ip4/203.0.113.7/udp/4001/quic-v1/p2p/{A}/p2p-circuit/p2p/{B}"),
    ] {
        assert_eq!(text.parse::<PeerLocator>().unwrap().to_string(), text);
    }
}

#[test]
fn host_and_port_mean_tcp() {
    let v4: PeerLocator = "127.0.0.1:16111".parse().unwrap();
    assert_eq!(v4.to_string(), "/ip4/127.0.0.1/tcp/16111");
    let v6: PeerLocator = "[::1]:16111".parse().unwrap();
    assert_eq!(v6.to_string(), "/ip6/::1/tcp/16111");
    let dns: PeerLocator = "seed.example:16111".parse().unwrap();
    assert_eq!(dns.to_string(), "/dns/seed.example/tcp/16111");
}

#[test]
fn each_mistake_has_its_own_error() {
    let parse = |text: &str| text.parse::<PeerLocator>().unwrap_err();
    assert!(matches!(parse(""), AddressError::Empty));
    assert!(matches!(parse("nonsense"), AddressError::NotAnAddress(_)));
    assert!(matches!(parse("/ip4/300.0.0.1/tcp/1"), AddressError::BadIp { .. }));
    assert!(matches!(parse("/ip4/1.2.3.4"), AddressError::Missing { .. }));
    assert!(matches!(parse("/ip4/1.2.3.4/tcp/70000"), AddressError::BadPort(_)));
    assert!(matches!(parse("/ip4/1.2.3.4/udp/4001"), AddressError::Missing { .. }));
    assert!(matches!(parse("/ip4/1.2.3.4/sctp/1"), AddressError::UnknownProtocol { .. }));
    assert!(matches!(parse("/onion/abc/tcp/1"), AddressError::UnknownProtocol { .. }));
    assert!(matches!(parse("/ip4/1.2.3.4/tcp/1/p2p/zzz0"), AddressError::BadPeerId(_)));
    assert!(matches!(parse("/ip4/1.2.3.4/tcp/1/p2p-circuit"), AddressError::RelayWithoutPeerId(_)));
    assert!(matches!(
        parse(&format!("/ip4/1.2.3.4/tcp/1/p2p/{A}/p2p-circuit/p2p/{B}/p2p-circuit")),
        AddressError::NestedRelay(_)
    ));
    assert!(matches!(parse("/ip4/1.2.3.4/tcp/1/ws"), AddressError::Trailing { .. }));
    assert!(matches!(parse("/dns/a..b/tcp/1"), AddressError::BadHost(_)));
    assert!(matches!(parse(&"/".repeat(5000)), AddressError::TooLong { .. }));
}

#[test]
fn lists_split_at_commas_semicolons_and_space() {
    let list = PeerLocator::parse_list("/ip4/1.2.3.4/tcp/1, /ip4/1.2.3.4/tcp/2;/ip4/1.2.3.4/tcp/3\n").unwrap();
    assert_eq!(list.len(), 3);
    assert!(PeerLocator::parse_list("").unwrap().is_empty());
}
