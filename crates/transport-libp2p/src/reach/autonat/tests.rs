use futures::io::Cursor;
use tokio::io::duplex;
use tokio_util::compat::TokioAsyncReadCompatExt;

use super::*;
use crate::core::DialBackOutcome::{NoStream, NotReached, Reached};

fn address() -> TransportAddress {
    TransportAddress::quic("192.0.2.7:4011".parse().unwrap())
}

#[tokio::test]
async fn a_relay_reads_what_a_node_asks_and_the_node_what_it_answers() {
    for (response, expected) in [
        (Response::Dialled(0, Reached), CheckAnswer::Reached),
        (Response::Dialled(0, NotReached), CheckAnswer::NotReached),
        // That a host was there but gave no stream says nothing.
        (Response::Dialled(0, NoStream), CheckAnswer::Nothing),
        (Response::Dialled(0, DialBackOutcome::Refused), CheckAnswer::Nothing),
        (Response::Rejected, CheckAnswer::Nothing),
        (Response::Refused, CheckAnswer::Nothing),
    ] {
        let (node, relay) = duplex(1024);
        let serve = async {
            let mut relay = relay.compat();
            let request = receive_request(&mut relay).await.unwrap();
            assert_eq!(request, Request { address: Some((0, address())), nonce: 77 });
            respond(&mut relay, response).await.unwrap();
        };
        let address = address();
        let mut node = node.compat();
        assert_eq!(tokio::join!(ask(&mut node, &address, 77), serve).0, expected, "{response:?}");
    }
}

#[tokio::test]
async fn a_nonce_is_shown_and_taken() {
    let (dialer, node) = duplex(64);
    let (mut dialer, mut node) = (dialer.compat(), node.compat());
    let (shown, taken) = tokio::join!(show_nonce(&mut dialer, u64::MAX), take_nonce(&mut node));
    shown.unwrap();
    assert_eq!(taken.unwrap(), u64::MAX);
}

#[tokio::test]
async fn the_encoding_is_the_specs() {
    let mut wire = Cursor::new(Vec::new());
    respond(&mut wire, Response::Dialled(1, NotReached)).await.unwrap();
    // Eight bytes of message 2: status 200, index 1, dial status 100.
    assert_eq!(wire.into_inner(), [9, 0x12, 7, 0x08, 0xc8, 0x01, 0x10, 1, 0x18, 100]);
    let mut wire = Cursor::new(Vec::new());
    let _ = show_nonce(&mut wire, 0x0102).await;
    assert_eq!(wire.into_inner(), [9, 0x09, 2, 1, 0, 0, 0, 0, 0, 0]);
}

#[tokio::test]
async fn of_a_list_the_first_address_that_can_be_dialled_is_taken() {
    let circuit: Multiaddr =
        "/ip4/192.0.2.1/tcp/1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN/p2p-circuit".parse().unwrap();
    let addresses = vec![b"garbage".to_vec(), circuit.to_vec(), convert::to_multiaddr(&address()).to_vec()];
    let mut wire = Cursor::new(Vec::new());
    let message = Message { content: Some(Content::Request(DialRequest { addresses, nonce: 1 })) };
    wire::send(&mut wire, &message).await.unwrap();
    wire.set_position(0);
    assert_eq!(receive_request(&mut wire).await.unwrap(), Request { address: Some((2, address())), nonce: 1 });
}

#[tokio::test(start_paused = true)]
async fn whoever_is_silent_is_given_up() {
    let (node, _relay) = duplex(1024);
    assert_eq!(ask(&mut node.compat(), &address(), 1).await, CheckAnswer::Nothing);
    let (relay, _node) = duplex(1024);
    receive_request(&mut relay.compat()).await.unwrap_err();
    let (dialer, _node) = duplex(1024);
    show_nonce(&mut dialer.compat(), 1).await.unwrap_err();
}
