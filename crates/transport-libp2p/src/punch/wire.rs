//! DCUtR's messages: length-prefixed protobuf (libp2p specs/relay/DCUtR.md).

use std::io;

use futures::{AsyncRead, AsyncWrite};

use crate::wire;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Kind {
    Unset = 0,
    Connect = 100,
    Sync = 300,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HolePunch {
    #[prost(enumeration = "Kind", required, tag = "1")]
    pub(super) kind: i32,
    /// Binary multiaddrs.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub(super) observed: Vec<Vec<u8>>,
}

pub(super) async fn send<S: AsyncWrite + Unpin>(stream: &mut S, kind: Kind, observed: Vec<Vec<u8>>) -> io::Result<()> {
    wire::send(stream, &HolePunch { kind: kind.into(), observed }).await
}

pub(super) async fn receive<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<HolePunch> {
    wire::receive(stream).await
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;

    use super::*;

    #[tokio::test]
    async fn messages_round_trip() {
        let mut wire = Cursor::new(Vec::new());
        send(&mut wire, Kind::Connect, vec![vec![7; 300]]).await.unwrap();
        wire.set_position(0);
        let message = receive(&mut wire).await.unwrap();
        assert_eq!((message.kind(), message.observed), (Kind::Connect, vec![vec![7; 300]]));
    }

    #[tokio::test]
    async fn the_encoding_is_the_specs() {
        let mut wire = Cursor::new(Vec::new());
        send(&mut wire, Kind::Sync, vec![]).await.unwrap();
        // Length 3; field 1 as varint; 300.
        assert_eq!(wire.into_inner(), [3, 0x08, 0xac, 0x02]);
    }

    #[tokio::test]
    async fn oversized_garbage_and_cut_messages_are_errors() {
        for bytes in [&[0xff, 0xff, 0x03][..], &[0x80, 0x40], &[2, 0xff, 0xff], &[5, 1]] {
            receive(&mut Cursor::new(bytes)).await.unwrap_err();
        }
    }
}
