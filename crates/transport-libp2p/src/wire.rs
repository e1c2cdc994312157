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
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut length = 0_usize;
    // 4096 fits in two bytes of varint.
    for shift in [0, 7] {
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            if length > MAX_MESSAGE {
                break;
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await?;
            return M::decode(body.as_slice()).map_err(|_| invalid("the message is not valid protobuf"));
        }
    }
    Err(invalid("the message is longer than 4096 bytes"))
}
