//! The frames of the relay protocol: a kind, the length of the body in two bytes, big end
//! first, and the body. docs/relay-protocol.md has them.

use std::{io, time::Duration};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use kaspath_domain::PeerIdentity;
use thiserror::Error;

use super::token::{MAX_TOKEN, RelayToken};

/// The longest body.
const MAX_BODY: usize = MAX_TOKEN;
/// So many frames of kinds that we do not know, one after the other, end the stream.
const MAX_UNKNOWN: usize = 16;

const HELLO: u8 = 1;
const WELCOME: u8 = 2;
const REFUSED: u8 = 3;
const DRAINING: u8 = 4;
const NEIGHBOUR: u8 = 5;

/// Why a node may not reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    #[error("the relay wants a token: none is set for it here")]
    TokenMissing,
    #[error("the relay wants a token: the one that is set for it here is not right")]
    TokenWrong,
    #[error("the relay's access list does not allow this node")]
    NotAllowed,
    /// A reason of a later version.
    #[error("the relay refuses this node, for a reason that this version does not know ({0})")]
    Other(u8),
}

impl Refusal {
    fn code(self) -> u8 {
        match self {
            Self::TokenMissing => 1,
            Self::TokenWrong => 2,
            Self::NotAllowed => 3,
            Self::Other(code) => code,
        }
    }

    fn of(code: u8) -> Self {
        match code {
            1 => Self::TokenMissing,
            2 => Self::TokenWrong,
            3 => Self::NotAllowed,
            code => Self::Other(code),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A node's first and only frame, with its token for the relay.
    Hello(Option<RelayToken>),
    /// It may reserve.
    Welcome,
    /// It may not, or not any more.
    Refused(Refusal),
    /// The relay takes nothing new, and ends what is left after that time.
    Draining(Duration),
    /// That peer is joined with this one, and comes from the same public address.
    Neighbour(PeerIdentity),
}

impl Frame {
    fn encode(&self) -> Vec<u8> {
        let (kind, body) = match self {
            Self::Hello(token) => (HELLO, token.as_ref().map_or(Vec::new(), |token| token.bytes().to_vec())),
            Self::Welcome => (WELCOME, Vec::new()),
            Self::Refused(why) => (REFUSED, vec![why.code()]),
            Self::Draining(left) => {
                let millis = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
                (DRAINING, millis.to_be_bytes().to_vec())
            }
            Self::Neighbour(peer) => (NEIGHBOUR, peer.as_bytes().to_vec()),
        };
        // A token is at most 256 bytes, the other bodies are shorter.
        let length = (body.len() as u16).to_be_bytes();
        [&[kind], length.as_slice(), &body].concat()
    }

    /// `None` for a kind that is not known. What follows the fields of this version is
    /// of a later one, and skipped.
    fn decode(kind: u8, body: &[u8]) -> io::Result<Option<Self>> {
        let short = || io::Error::new(io::ErrorKind::InvalidData, "a frame of the relay protocol is too short");
        Ok(Some(match kind {
            HELLO => Self::Hello(RelayToken::received(body)),
            WELCOME => Self::Welcome,
            REFUSED => Self::Refused(Refusal::of(*body.first().ok_or_else(short)?)),
            DRAINING => {
                let millis = body.first_chunk().ok_or_else(short)?;
                Self::Draining(Duration::from_millis(u32::from_be_bytes(*millis).into()))
            }
            NEIGHBOUR => {
                // A peer id names its own length.
                let id = body.get(1).and_then(|length| body.get(..2 + usize::from(*length))).ok_or_else(short)?;
                Self::Neighbour(PeerIdentity::from_bytes(id).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?)
            }
            _ => return Ok(None),
        }))
    }
}

/// Sends a frame and flushes.
pub(super) async fn send<S: AsyncWrite + Unpin>(stream: &mut S, frame: &Frame) -> io::Result<()> {
    stream.write_all(&frame.encode()).await?;
    stream.flush().await
}

/// Receives the next frame that is known.
///
/// # Errors
/// [`io::ErrorKind::InvalidData`] for a frame that is none, before room is made for a body
/// over 256 bytes.
pub(super) async fn receive<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Frame> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    for _ in 0..MAX_UNKNOWN {
        let mut header = [0; 3];
        stream.read_exact(&mut header).await?;
        let [kind, length @ ..] = header;
        let length = usize::from(u16::from_be_bytes(length));
        if length > MAX_BODY {
            return Err(invalid("a frame of the relay protocol is too long"));
        }
        let mut body = [0; MAX_BODY];
        stream.read_exact(&mut body[..length]).await?;
        if let Some(frame) = Frame::decode(kind, &body[..length])? {
            return Ok(frame);
        }
    }
    Err(invalid("too many frames of the relay protocol are unknown"))
}

/// Frames from a remote, for fuzzing.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    use futures::{FutureExt, io::Cursor};
    let mut stream = Cursor::new(bytes);
    // A cursor never waits.
    while let Some(Ok(frame)) = receive(&mut stream).now_or_never() {
        let again = receive(&mut Cursor::new(frame.encode())).now_or_never().expect("a cursor never waits");
        assert_eq!(again.expect("what is encoded is valid"), frame);
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, io::Cursor};

    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Frame> {
        receive(&mut Cursor::new(bytes)).now_or_never().expect("a cursor never waits")
    }

    #[test]
    fn frames_are_what_the_specification_says_and_come_back_the_same() {
        let token: RelayToken = "key".parse().unwrap();
        let peer = PeerIdentity::from_bytes(&[0, 3, 7, 8, 9]).unwrap();
        for (frame, bytes) in [
            (Frame::Hello(None), &[1, 0, 0][..]),
            (Frame::Hello(Some(token)), &[1, 0, 3, b'k', b'e', b'y']),
            (Frame::Welcome, &[2, 0, 0]),
            (Frame::Refused(Refusal::TokenMissing), &[3, 0, 1, 1]),
            (Frame::Refused(Refusal::Other(77)), &[3, 0, 1, 77]),
            (Frame::Draining(Duration::from_secs(300)), &[4, 0, 4, 0, 4, 0x93, 0xe0]),
            (Frame::Neighbour(peer), &[5, 0, 5, 0, 3, 7, 8, 9]),
        ] {
            assert_eq!(frame.encode(), bytes);
            assert_eq!(read(bytes).unwrap(), frame);
        }
        let longest: RelayToken = "x".repeat(MAX_TOKEN).parse().unwrap();
        let hello = Frame::Hello(Some(longest));
        assert_eq!(read(&hello.encode()).unwrap(), hello);
    }

    #[test]
    fn later_frames_are_skipped_and_long_or_endless_ones_refused() {
        assert_eq!(read(&[9, 0, 2, 7, 7, 3, 0, 2, 3, 99]).unwrap(), Frame::Refused(Refusal::NotAllowed));
        assert!(matches!(read(&[5, 0, 4, 0, 1, 7, 99]).unwrap(), Frame::Neighbour(peer) if peer.as_bytes() == [0, 1, 7]));
        for (bytes, kind) in [
            (vec![1, 1, 1], io::ErrorKind::InvalidData),
            (vec![3, 0, 0], io::ErrorKind::InvalidData),
            (vec![4, 0, 3, 0, 0, 0], io::ErrorKind::InvalidData),
            (vec![5, 0, 1, 0], io::ErrorKind::InvalidData),
            (vec![5, 0, 4, 0, 3, 7, 8], io::ErrorKind::InvalidData),
            (vec![5, 0, 3, 9, 1, 7], io::ErrorKind::InvalidData),
            ([9, 0, 0].repeat(MAX_UNKNOWN), io::ErrorKind::InvalidData),
            (vec![1, 0, 9, 1], io::ErrorKind::UnexpectedEof),
        ] {
            assert_eq!(read(&bytes).unwrap_err().kind(), kind, "{bytes:?}");
        }
    }
}
