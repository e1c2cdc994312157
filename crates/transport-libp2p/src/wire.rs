//! libp2p's framing of protobuf messages: the length as a varint, then the message.

use std::io;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use prost::Message;

/// The limit for one message of DCUtR and of circuit relay v2, in bytes.
pub(crate) const MAX_MESSAGE: usize = 4096;

/// Sends one message and flushes.
pub(crate) async fn send<S: AsyncWrite + Unpin>(stream: &mut S, message: &impl Message) -> io::Result<()> {
    stream.write_all(&message.encode_length_delimited_to_vec()).await?;
    stream.flush().await
}

/// Receives one message and not a byte more: what follows belongs to the next reader.
/// A message over [`MAX_MESSAGE`] is [`io::ErrorKind::InvalidData`], before room is
/// made for it; so is one that is not valid protobuf.
pub(crate) async fn receive<M: Message + Default, S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<M> {
    receive_within(stream, MAX_MESSAGE).await
}

/// The same with a limit of its own, below two MiB.
pub(crate) async fn receive_within<M: Message + Default, S: AsyncRead + Unpin>(stream: &mut S, max: usize) -> io::Result<M> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut length = 0_usize;
    // So much fits in three bytes of varint.
    for shift in [0, 7, 14] {
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        // What is too long already does not get shorter.
        if length > max {
            break;
        }
        if byte[0] & 0x80 == 0 {
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await?;
            return M::decode(body.as_slice()).map_err(|_| invalid("the message is not valid protobuf"));
        }
    }
    Err(invalid("the message is longer than it may be"))
}
