//! The protocol by which a relay has another node dial: one request a stream, in the frames
//! of the relay protocol. docs/relay-protocol.md specifies it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use kaspath_domain::{PeerIdentity, Transport, TransportAddress};
use tokio::time::timeout;

use super::autonat::in_time;
use crate::core::{DialBackOutcome, DialBackWanted};

/// Time for a helper to dial and to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// The longest body.
const MAX_BODY: usize = 256;

const DIAL: u8 = 1;
const DONE: u8 = 2;

const TCP: u8 = 1;
const QUIC: u8 = 2;

/// The relay's side: asks, and waits for what came of it.
pub(crate) async fn have_dialled<S>(stream: &mut S, wanted: &DialBackWanted) -> io::Result<DialBackOutcome>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answer = timeout(ANSWER_TIMEOUT, async {
        send(stream, DIAL, &encode(wanted).ok_or(io::ErrorKind::InvalidInput)?).await?;
        let body = receive(stream, DONE).await?;
        Ok(match body.first().ok_or(io::ErrorKind::InvalidData)? {
            0 => DialBackOutcome::Reached,
            1 => DialBackOutcome::NotReached,
            2 => DialBackOutcome::NoStream,
            _ => DialBackOutcome::Refused,
        })
    });
    answer.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// The helper's side: what is wanted.
pub(crate) async fn receive_wanted<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<DialBackWanted> {
    let body = in_time(receive(stream, DIAL)).await?;
    decode(&body).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The helper's side: what came of it.
pub(crate) async fn send_done<S: AsyncWrite + Unpin>(stream: &mut S, outcome: DialBackOutcome) -> io::Result<()> {
    let outcome = match outcome {
        DialBackOutcome::Reached => 0,
        DialBackOutcome::NotReached => 1,
        DialBackOutcome::NoStream => 2,
        DialBackOutcome::Refused => 3,
    };
    in_time(async {
        send(stream, DONE, &[outcome]).await?;
        stream.close().await
    })
    .await
}

/// A name cannot be wanted.
fn encode(wanted: &DialBackWanted) -> Option<Vec<u8>> {
    let address = wanted.address.socket_addr()?;
    let mut body = wanted.nonce.to_be_bytes().to_vec();
    match address.ip() {
        IpAddr::V4(ip) => {
            body.push(4);
            body.extend(ip.octets());
        }
        IpAddr::V6(ip) => {
            body.push(6);
            body.extend(ip.octets());
        }
    }
    body.push(if wanted.address.transport == Transport::Tcp { TCP } else { QUIC });
    body.extend(address.port().to_be_bytes());
    body.extend(wanted.peer.as_bytes());
    Some(body)
}

fn decode(body: &[u8]) -> Option<DialBackWanted> {
    let (nonce, rest) = body.split_first_chunk::<8>()?;
    let (ip, rest): (IpAddr, _) = match rest.split_first()? {
        (4, rest) => rest.split_first_chunk::<4>().map(|(ip, rest)| ((*ip).into(), rest))?,
        (6, rest) => rest.split_first_chunk::<16>().map(|(ip, rest)| ((*ip).into(), rest))?,
        _ => return None,
    };
    let (transport, rest) = rest.split_first()?;
    let (port, peer) = rest.split_first_chunk::<2>()?;
    let address = SocketAddr::new(ip, u16::from_be_bytes(*port));
    let address = match *transport {
        TCP => TransportAddress::tcp(address),
        QUIC => TransportAddress::quic(address),
        _ => return None,
    };
    Some(DialBackWanted { peer: PeerIdentity::from_bytes(peer).ok()?, address, nonce: u64::from_be_bytes(*nonce) })
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, kind: u8, body: &[u8]) -> io::Result<()> {
    // Bodies are far shorter than a length can say.
    let length = (body.len() as u16).to_be_bytes();
    stream.write_all(&[&[kind], length.as_slice(), body].concat()).await?;
    stream.flush().await
}

/// Receives the body of the one frame that is due.
async fn receive<S: AsyncRead + Unpin>(stream: &mut S, expected: u8) -> io::Result<Vec<u8>> {
    let mut header = [0; 3];
    stream.read_exact(&mut header).await?;
    let [kind, length @ ..] = header;
    let length = usize::from(u16::from_be_bytes(length));
    if kind != expected || length > MAX_BODY {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(body)
}

/// A relay's request, for fuzzing.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    if let Some(wanted) = decode(bytes) {
        assert_eq!(encode(&wanted).as_deref(), Some(bytes));
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;
    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;
    use crate::NodeKey;

    fn wanted(address: TransportAddress) -> DialBackWanted {
        DialBackWanted { peer: NodeKey::generate().identity(), address, nonce: 0x0102_0304_0506_0708 }
    }

    #[tokio::test]
    async fn a_helper_hears_what_a_relay_wants_and_the_relay_what_came_of_it() {
        use DialBackOutcome::{NoStream, NotReached, Reached, Refused};
        let addresses = ["192.0.2.7:4011", "[2001:db8::1]:65535"].map(|text| text.parse().unwrap());
        let addresses = addresses.into_iter().flat_map(|at| [TransportAddress::tcp(at), TransportAddress::quic(at)]);
        for (address, outcome) in addresses.zip([Reached, NotReached, NoStream, Refused]) {
            let (relay, helper) = duplex(64);
            let (mut relay, mut helper, wanted) = (relay.compat(), helper.compat(), wanted(address));
            let help = async {
                let heard = receive_wanted(&mut helper).await.unwrap();
                send_done(&mut helper, outcome).await.unwrap();
                heard
            };
            let (answer, heard) = tokio::join!(have_dialled(&mut relay, &wanted), help);
            assert_eq!((answer.unwrap(), heard), (outcome, wanted));
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let wanted = wanted(TransportAddress::quic("192.0.2.7:4011".parse().unwrap()));
        let body = encode(&wanted).unwrap();
        assert_eq!(body[..16], [1, 2, 3, 4, 5, 6, 7, 8, 4, 192, 0, 2, 7, 2, 0x0f, 0xab]);
        assert_eq!(&body[16..], wanted.peer.as_bytes());
    }

    #[tokio::test]
    async fn garbage_and_a_body_too_long_are_errors_before_room_is_made() {
        for bytes in [&[2, 0, 1, 0][..], &[1, 1, 1], &[1, 0, 3, 1, 2, 3], &[1, 0, 0], &[]] {
            receive_wanted(&mut futures::io::Cursor::new(bytes)).await.unwrap_err();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_helper_is_given_up() {
        let (relay, _helper) = duplex(1024);
        let wanted = wanted(TransportAddress::tcp("192.0.2.7:4011".parse().unwrap()));
        let error = have_dialled(&mut relay.compat(), &wanted).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
