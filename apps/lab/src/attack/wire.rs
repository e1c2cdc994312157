//! What goes over a stream, made by hand: an attacker does not keep to an API.
//! multistream-select 1.0, circuit relay v2 and identify, by libp2p's specifications.

use std::io;

use anyhow::{Context, Result, bail};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use prost::Message;

pub(super) const HOP: &str = "/libp2p/circuit/relay/0.2.0/hop";
pub(super) const STOP: &str = "/libp2p/circuit/relay/0.2.0/stop";
pub(super) const PING: &str = "/ipfs/ping/1.0.0";
pub(super) const IDENTIFY_PUSH: &str = "/ipfs/id/push/1.0.0";
pub(super) const MULTISTREAM: &str = "/multistream/1.0.0";
/// The answers that are read are shorter.
const MAX_MESSAGE: u64 = 16 * 1024;

const RESERVE: i32 = 0;
const CONNECT: i32 = 1;
const STATUS: i32 = 2;
const STOP_STATUS: i32 = 1;
pub(super) const OK: i32 = 100;

/// HopMessage and StopMessage of circuit relay v2, as far as they are needed here.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Relaying {
    #[prost(int32, required, tag = "1")]
    pub(super) kind: i32,
    #[prost(message, optional, tag = "2")]
    pub(super) peer: Option<Peer>,
    #[prost(message, optional, tag = "3")]
    pub(super) reservation: Option<Reservation>,
    #[prost(int32, optional, tag = "5")]
    pub(super) status: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Peer {
    #[prost(bytes = "vec", required, tag = "1")]
    pub(super) id: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Reservation {
    #[prost(uint64, required, tag = "1")]
    pub(super) expire: u64,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(super) addresses: Vec<Vec<u8>>,
}

/// StopMessage's answer has its status in another field than HopMessage's.
#[derive(Clone, PartialEq, Message)]
struct StopAnswer {
    #[prost(int32, required, tag = "1")]
    kind: i32,
    #[prost(int32, optional, tag = "4")]
    status: Option<i32>,
}

/// Identify's message.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Identify {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub(super) public_key: Option<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(super) addresses: Vec<Vec<u8>>,
    #[prost(string, repeated, tag = "3")]
    pub(super) protocols: Vec<String>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub(super) observed: Option<Vec<u8>>,
    #[prost(string, optional, tag = "6")]
    pub(super) agent: Option<String>,
}

pub(super) fn reserve() -> Vec<u8> {
    Relaying { kind: RESERVE, ..Relaying::default() }.encode_length_delimited_to_vec()
}

/// A circuit to whoever these bytes name.
pub(super) fn connect(destination: &[u8]) -> Vec<u8> {
    let peer = Some(Peer { id: destination.to_vec() });
    Relaying { kind: CONNECT, peer, ..Relaying::default() }.encode_length_delimited_to_vec()
}

/// The callee's answer to a circuit.
pub(super) fn accept_circuit() -> Vec<u8> {
    StopAnswer { kind: STOP_STATUS, status: Some(OK) }.encode_length_delimited_to_vec()
}

/// Bytes that libp2p takes for a peer id and nobody can have: a SHA-256 of 20 bytes.
pub(super) fn forged_id(n: u64) -> Vec<u8> {
    let mut id = vec![0x12, 0x14];
    id.extend(n.to_be_bytes().iter().cycle().take(20));
    id
}

/// One line of multistream-select.
pub(super) fn line(text: &str) -> Vec<u8> {
    let mut line = Vec::new();
    // Every name here is shorter than a one-byte length allows.
    line.push(text.len() as u8 + 1);
    line.extend(text.bytes());
    line.push(b'\n');
    line
}

/// A message of identify's that a careless program logs about, line by line.
pub(super) fn noisy_identify(public_key: Vec<u8>, n: u64) -> Vec<u8> {
    let broken = |i: u64| [&[0xff, 0x7f], &(n.wrapping_mul(64) + i).to_be_bytes()[..]].concat();
    Identify {
        public_key: Some(public_key),
        addresses: (0..32).map(broken).collect(),
        protocols: vec![format!("no slash\r\n\u{1b}[2J {n}")],
        observed: Some(broken(64)),
        agent: Some("\u{1b}]0;attacker\u{7}\nline".to_owned()),
    }
    .encode_length_delimited_to_vec()
}

async fn varint(stream: &mut (impl AsyncRead + Unpin)) -> Result<u64> {
    let mut value = 0_u64;
    for shift in (0..35).step_by(7) {
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        value |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            return Ok(value);
        }
    }
    bail!("a length is too long")
}

/// The bytes of one message with its length before it.
pub(super) async fn read_message(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>> {
    let length = varint(stream).await?;
    if length > MAX_MESSAGE {
        bail!("an answer of {length} bytes");
    }
    let mut message = vec![0; usize::try_from(length)?];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Proposes a protocol, and waits until it is agreed on.
pub(super) async fn propose(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), protocol: &str) -> Result<()> {
    stream.write_all(&[line(MULTISTREAM), line(protocol)].concat()).await?;
    stream.flush().await?;
    for expected in [MULTISTREAM, protocol] {
        let answer = read_message(stream).await?;
        if answer.strip_suffix(b"\n") != Some(expected.as_bytes()) {
            bail!("{protocol} is refused");
        }
    }
    Ok(())
}

/// Agrees to `protocol` and refuses others until it is proposed.
pub(super) async fn agree(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), protocol: &str) -> Result<()> {
    stream.write_all(&line(MULTISTREAM)).await?;
    // The header, and a few proposals.
    for _ in 0..8 {
        let proposal = read_message(stream).await?;
        let proposal = String::from_utf8_lossy(&proposal);
        let proposal = proposal.trim_end();
        match proposal {
            MULTISTREAM => {}
            _ if proposal == protocol => {
                stream.write_all(&line(protocol)).await?;
                return Ok(stream.flush().await?);
            }
            _ => stream.write_all(&line("na")).await?,
        }
        stream.flush().await?;
    }
    bail!("{protocol} was not proposed")
}

/// Asks the relay at the other end of a stream that speaks [`HOP`]; its answer.
pub(super) async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &[u8]) -> Result<Relaying> {
    stream.write_all(request).await?;
    stream.flush().await?;
    let answer = Relaying::decode(read_message(stream).await?.as_slice()).context("no answer of a relay")?;
    if answer.kind != STATUS {
        return Err(io::Error::from(io::ErrorKind::InvalidData).into());
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;

    #[test]
    fn messages_are_as_the_specification_has_them() {
        assert_eq!(reserve(), [2, 0x08, 0]);
        assert_eq!(connect(&[7, 8]), [8, 0x08, 1, 0x12, 4, 0x0a, 2, 7, 8]);
        assert_eq!(accept_circuit(), [4, 0x08, 1, 0x20, 100]);
        assert_eq!(line("na"), [3, b'n', b'a', b'\n']);
    }

    #[test]
    fn forged_ids_are_peer_ids_to_libp2p() {
        let id = forged_id(3);
        assert_eq!(id.len(), 22);
        assert!(libp2p::PeerId::from_bytes(&id).is_ok());
    }

    #[tokio::test]
    async fn two_ends_agree_on_a_protocol() {
        let (left, right) = tokio::io::duplex(256);
        let (mut left, mut right) = (left.compat(), right.compat());
        let (proposed, agreed) = tokio::join!(propose(&mut left, STOP), agree(&mut right, STOP));
        assert!(proposed.is_ok() && agreed.is_ok());
    }
}
