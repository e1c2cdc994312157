//! Strangers that ask too much, and relays that answer too much.

use std::time::Duration;

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use kaspath_domain::{Discovery, DiscoveryError, PeerIdentity, Teller};
use kaspath_transport_libp2p::RelayServerConfig;

use crate::{
    listing::{TTL, signed, simnet},
    raw::Raw,
    support::{Node, config, relay, relay_address, reserved, start},
};

/// A DISCOVER of that name.
fn discover(name: &str) -> Vec<u8> {
    let inner = [&[0x0a, name.len() as u8], name.as_bytes()].concat();
    let body = [&[0x08, 3, 0x2a, inner.len() as u8], inner.as_slice()].concat();
    [&[body.len() as u8], body.as_slice()].concat()
}

/// The status in the answer to a DISCOVER, if it has no entries: type 4, then a response whose fields
/// come in their order.
fn status(answer: &[u8]) -> Option<u64> {
    let at = answer.windows(2).rposition(|pair| pair[0] == 0x18 && pair[1] < 0xf0)?;
    let (low, high) = (answer[at + 1], answer.get(at + 2).copied().unwrap_or_default());
    Some(u64::from(low & 0x7f) + if low & 0x80 == 0 { 0 } else { u64::from(high) << 7 })
}

/// A relay of ours, and a stranger that is connected with it.
async fn visited() -> (Node, PeerIdentity, Raw) {
    let (relay, raw) = (relay(RelayServerConfig::default()).await, Raw::start().await);
    let id = relay.local_peer().clone();
    // The relay dials it; streams go both ways.
    let asked = relay.discovery();
    let teller = Teller::Relay(raw.address().clone());
    let question = tokio::spawn(async move { asked.ask(&teller, &simnet(), 1).await });
    let mut raw = raw;
    drop(raw.asked().await);
    question.await.unwrap().unwrap_err();
    (relay, id, raw)
}

#[tokio::test]
async fn who_asks_without_end_is_refused_and_others_are_told() {
    let (relay, id, mut raw) = visited().await;
    let (listed, asking) = (reserved(config(), &relay).await, start(config()).await);
    let at = relay_address(&relay);
    listed.discovery().list(&at, &simnet(), &signed(&listed, &at), TTL).await.unwrap();
    let mut told = 0;
    for _ in 0..60 {
        let answer = raw.ask(&id, &discover("/kaspath/1/n/mainnet")).await;
        match status(&answer) {
            Some(0) => told += 1,
            Some(400) => {}
            other => panic!("{other:?}: {answer:?}"),
        }
    }
    assert!((6..12).contains(&told), "{told}");
    assert_eq!(asking.discovery().ask(&Teller::Relay(at), &simnet(), 32).await.map(|answer| answer.told.len()), Ok(1));
}

#[tokio::test]
async fn what_is_no_request_is_refused_or_has_no_answer() {
    let (_relay, id, mut raw) = visited().await;
    // All names, and one that is none.
    for name in ["", "Mainnet"] {
        assert_eq!(status(&raw.ask(&id, &discover(name)).await), Some(100), "{name:?}");
    }
    let long = [&[0x81, 0x10], vec![0; 2049].as_slice()].concat();
    for bytes in [&long[..], &[0xff; 16], &[2, 0x08, 3], &[2, 0x08, 1], &[3, 0x2a, 9, 9], &[0]] {
        assert_eq!(raw.ask(&id, bytes).await, Vec::<u8>::new(), "{bytes:?}");
    }
    assert_eq!(status(&raw.ask(&id, &discover("a")).await), Some(0), "it still answers");
}

#[tokio::test]
async fn a_relay_that_answers_too_much_or_never_is_given_up() {
    let (node, mut raw) = (start(config()).await, Raw::start().await);
    let teller = Teller::Relay(raw.address().clone());
    let ask = || {
        let (discovery, teller) = (node.discovery(), teller.clone());
        tokio::spawn(async move { discovery.ask(&teller, &simnet(), 32).await })
    };
    // A length of a mebibyte, and garbage.
    for bytes in [&[0x80, 0x80, 0x40][..], &[3, 0xff, 0xff, 0xff]] {
        let answer = ask();
        let mut stream = raw.asked().await;
        stream.write_all(bytes).await.unwrap();
        stream.flush().await.unwrap();
        assert!(matches!(answer.await.unwrap(), Err(DiscoveryError::Invalid(_))));
    }
    let answer = ask();
    let mut silent = raw.asked().await;
    assert_eq!(answer.await.unwrap(), Err(DiscoveryError::Timeout(Duration::from_secs(5))));
    // It is not waited for any more.
    let _ = silent.read_to_end(&mut Vec::new()).await;
}
