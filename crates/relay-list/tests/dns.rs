//! Lookups at a name server of the test's own.

use std::{net::SocketAddr, time::Duration};

use kaspath_domain::{RelayList, RelayListError};
use kaspath_relay_list::{DnsTxt, ListName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
};

const RELAY: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";

/// The answer to a query: these TXT strings, or that there is no such name. A truncated one
/// has none, and sends the asker to TCP.
fn answer(query: &[u8], strings: Option<&[String]>, truncated: bool) -> Vec<u8> {
    // The question ends with the root label, the type and the class.
    let end = 12 + query[12..].iter().position(|byte| *byte == 0).expect("a name's end") + 5;
    let records = strings.filter(|_| !truncated).unwrap_or_default();
    let (flags, code) = (0x84 | u8::from(truncated) << 1, if strings.is_some() { 0x80 } else { 0x83 });
    let mut reply = vec![query[0], query[1], flags, code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0];
    reply.extend(&query[12..end]);
    for string in records {
        // The name by a pointer to the question, TXT, IN, 120 s.
        reply.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 120]);
        let pieces: Vec<u8> = string.as_bytes().chunks(100).flat_map(|piece| [&[piece.len() as u8], piece].concat()).collect();
        reply.extend((pieces.len() as u16).to_be_bytes());
        reply.extend(pieces);
    }
    reply
}

/// A server that gives these strings over UDP; if it truncates, only over TCP.
async fn server(strings: Option<Vec<String>>, truncates: bool) -> SocketAddr {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(address).await.unwrap();
    let over_tcp = strings.clone();
    tokio::spawn(async move {
        let mut query = [0; 512];
        while let Ok((length, from)) = udp.recv_from(&mut query).await {
            udp.send_to(&answer(&query[..length], strings.as_deref(), truncates), from).await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let length = stream.read_u16().await.unwrap();
            let mut query = vec![0; length.into()];
            stream.read_exact(&mut query).await.unwrap();
            let reply = answer(&query, over_tcp.as_deref(), false);
            stream.write_u16(reply.len() as u16).await.unwrap();
            stream.write_all(&reply).await.unwrap();
        }
    });
    address
}

fn list(server: SocketAddr) -> ListName {
    ListName::new("relays.test".into(), None, DnsTxt::at(server))
}

#[tokio::test]
async fn a_name_is_read_over_udp_and_a_long_answer_over_tcp() {
    // In two pieces, as a long one is.
    let long = format!("dnsaddr=/ip6/2001:0db8:{}/tcp/4001/p2p/{RELAY}", "0001:0203:0405:0607:0809:0a0b");
    let strings = vec![format!("dnsaddr=/ip4/203.0.113.1/tcp/4001/p2p/{RELAY}"), long];
    for truncates in [false, true] {
        let listing = list(server(Some(strings.clone()), truncates).await).read().await.unwrap();
        assert_eq!((listing.relays.len(), listing.valid_for), (2, Duration::from_secs(120)), "{truncates}");
    }
}

#[tokio::test]
async fn a_name_that_does_not_exist_says_so() {
    let error = list(server(None, false).await).read().await.unwrap_err();
    let RelayListError::Unreadable(cause) = error else { panic!("{error}") };
    assert_eq!(cause, "_dnsaddr.relays.test has no TXT record");
}
