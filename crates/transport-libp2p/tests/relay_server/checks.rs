//! Who may have an address checked, and who helps with it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt};
use kaspath_transport_libp2p::{Network, RelayServerConfig};
use libp2p::{Multiaddr, StreamProtocol, identity::Keypair};
use tokio::time::timeout;

use crate::{
    stranger::{OK, RESERVE, Stranger, frame},
    support::{DEADLINE, relay, relay_address, router},
};

const DIAL_REQUEST: StreamProtocol = StreamProtocol::new("/libp2p/autonat/2/dial-request");
const HELP: StreamProtocol = StreamProtocol::new("/kaspath/dial-back/1.0.0");
const TOKEN: &[u8] = &[1, 0, 1, b't'];
const NO_TOKEN: &[u8] = &[1, 0, 0];
const WELCOME: [u8; 3] = [2, 0, 0];

/// Comes to the relay from that network of loopback.
async fn from(network: u8, relay: &Network) -> Stranger {
    let ip = [127, network, 0, 1];
    let at = router(ip, relay_address(relay).via, move |_| ip).await;
    let address: Multiaddr = format!("/ip4/{}/tcp/{}", at.ip(), at.port()).parse().unwrap();
    Stranger::connect(Keypair::generate_ed25519(), address, relay).await
}

/// Says of all that it is asked to dial that it cannot be reached, and counts it.
fn helps(stranger: &mut Stranger) -> Arc<AtomicUsize> {
    let (mut asked, count) = (stranger.accept(HELP), Arc::new(AtomicUsize::new(0)));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Some((_, mut stream)) = asked.next().await {
            counted.fetch_add(1, Ordering::Relaxed);
            stream.write_all(&[2, 0, 1, 1]).await.unwrap();
            stream.close().await.unwrap();
        }
    });
    count
}

/// The status of the answer to a request to check an address of loopback.
async fn check(stranger: &mut Stranger) -> u64 {
    let address = "/ip4/127.0.0.1/tcp/4001".parse::<Multiaddr>().unwrap().to_vec();
    let request = [&[0x0a, address.len() as u8], address.as_slice(), &[0x11, 1, 2, 3, 4, 5, 6, 7, 8]].concat();
    let message = [&[request.len() as u8 + 2, 0x0a, request.len() as u8], request.as_slice()].concat();
    let mut stream = stranger.open(DIAL_REQUEST).await;
    stream.write_all(&message).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    timeout(DEADLINE, stream.read_to_end(&mut answer)).await.expect("an answer").unwrap();
    // Length, the response and its length, the status.
    let [_, 0x12, _, 0x08, low, rest @ ..] = &answer[..] else { panic!("{answer:?}") };
    u64::from(low & 0x7f) + if low & 0x80 == 0 { 0 } else { u64::from(rest[0]) << 7 }
}

#[tokio::test]
async fn a_private_relay_checks_for_its_own_nodes_and_has_none_dial_that_it_refuses() {
    const REJECTED: u64 = 100;
    const CHECKED: u64 = 200;
    let relay = relay(RelayServerConfig { tokens: vec!["t".parse().unwrap()], ..RelayServerConfig::default() }).await;
    let (mut member, mut refused, mut visitor) = (from(2, &relay).await, from(3, &relay).await, from(4, &relay).await);
    let (asked, of_refused, of_visitor) = (helps(&mut member), helps(&mut refused), helps(&mut visitor));
    let (mut a, mut b, mut c) = (member.speak(TOKEN).await, refused.speak(NO_TOKEN).await, visitor.speak(TOKEN).await);
    assert_eq!((frame(&mut a).await, frame(&mut c).await), (WELCOME.to_vec(), WELCOME.to_vec()));
    assert_eq!(frame(&mut b).await, [3, 0, 1, 1]);
    assert_eq!(member.ask(RESERVE).await, OK);

    let mut asking = Stranger::at(&relay).await;
    assert_eq!(check(&mut asking).await, REJECTED, "it has no token");
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    let mut stream = asking.speak(TOKEN).await;
    assert_eq!(frame(&mut stream).await, WELCOME);
    for n in 1..=8 {
        assert_eq!(check(&mut asking).await, CHECKED);
        assert_eq!(asked.load(Ordering::Relaxed), n);
    }
    // Neither one without a token, nor one that has not reserved.
    assert_eq!((of_refused.load(Ordering::Relaxed), of_visitor.load(Ordering::Relaxed)), (0, 0));
}
