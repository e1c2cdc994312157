//! gRPC's length-prefixed messages out of the bytes of a stream, inflated.
//! Specification: gRPC over HTTP2, "Length-Prefixed-Message".

use std::{io::Read, mem};

use flate2::read::GzDecoder;
use tonic::codegen::Bytes;

use super::{Charge, WireError};

const HEADER: usize = 5;
/// What is inflated at once.
const STEP: usize = 8 << 10;

/// Cuts a stream's bytes into messages. It holds one message at most, and no
/// more of that than has arrived.
pub(super) struct Frames {
    /// Whether compressed messages may come.
    gzip: bool,
    /// What has arrived and is not used yet.
    chunk: Bytes,
    header: Vec<u8>,
    /// The message that is arriving: compressed?, length, the part that is here.
    arriving: Option<(bool, usize, Vec<u8>)>,
    /// For the message that is arriving, and then for the inflated one.
    charge: Charge,
}

impl Frames {
    pub(super) fn new(gzip: bool, charge: Charge) -> Self {
        Self { gzip, chunk: Bytes::new(), header: Vec::with_capacity(HEADER), arriving: None, charge }
    }

    /// Adds what has arrived. Take all messages with [`Self::next`] first.
    pub(super) fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "messages are still to be taken");
        self.chunk = chunk;
    }

    /// Whether a message has begun and not ended.
    pub(super) fn is_within_message(&self) -> bool {
        self.arriving.is_some() || !self.header.is_empty()
    }

    /// The next whole message of at most `limit` bytes, plain and inflated, with
    /// the charge for its bytes; `None` needs more to arrive.
    pub(super) fn next(&mut self, limit: usize) -> Result<Option<(Bytes, Charge)>, WireError> {
        if self.arriving.is_none() && !self.begin(limit)? {
            return Ok(None);
        }
        let Some((compressed, length, mut part)) = self.arriving.take() else { return Ok(None) };
        let missing = length - part.len();
        if self.chunk.len() < missing {
            self.append(&mut part, length)?;
            self.arriving = Some((compressed, length, part));
            return Ok(None);
        }
        let message = if part.is_empty() {
            self.charge.resize(length)?;
            self.chunk.split_to(length)
        } else {
            self.append(&mut part, length)?;
            Bytes::from(part)
        };
        let message = if compressed { Bytes::from(inflate(&message, limit, &mut self.charge)?) } else { message };
        self.charge.resize(message.len())?;
        Ok(Some((message, self.charge.take())))
    }

    /// Reads the prefix of the next message, if it is here.
    fn begin(&mut self, limit: usize) -> Result<bool, WireError> {
        let missing = HEADER - self.header.len();
        let here = self.chunk.split_to(missing.min(self.chunk.len()));
        self.header.extend_from_slice(&here);
        let [flag, a, b, c, d] = self.header[..] else { return Ok(false) };
        self.header.clear();
        let compressed = match flag {
            0 => false,
            1 if self.gzip => true,
            _ => return Err(WireError::Malformed("a message is compressed otherwise than announced")),
        };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        if length > limit {
            return Err(WireError::TooLarge { limit });
        }
        self.arriving = Some((compressed, length, Vec::new()));
        Ok(true)
    }

    /// Moves what is here to the message that is arriving. Its room grows with
    /// what has arrived, not with what is announced.
    fn append(&mut self, part: &mut Vec<u8>, length: usize) -> Result<(), WireError> {
        let here = mem::take(&mut self.chunk);
        let (take, rest) = (here.len().min(length - part.len()), here);
        let needed = part.len() + take;
        grow(part, needed, length, 0, &mut self.charge)?;
        part.extend_from_slice(&rest[..take]);
        self.chunk = rest.slice(take..);
        Ok(())
    }
}

/// Makes room for `needed` bytes by doubling up to `most`, and charges for it
/// beside `other` bytes.
fn grow(buffer: &mut Vec<u8>, needed: usize, most: usize, other: usize, charge: &mut Charge) -> Result<(), WireError> {
    if needed > buffer.capacity() {
        let capacity = needed.max((2 * buffer.capacity()).min(most));
        charge.resize(other + capacity)?;
        buffer.reserve_exact(capacity - buffer.len());
    }
    Ok(())
}

/// Inflates step by step, so that a bomb is given up at the limit.
fn inflate(compressed: &[u8], limit: usize, charge: &mut Charge) -> Result<Vec<u8>, WireError> {
    let mut decoder = GzDecoder::new(compressed);
    let mut inflated = Vec::new();
    let mut step = [0; STEP];
    loop {
        let read = decoder.read(&mut step).map_err(|_| WireError::Malformed("a message is not gzip"))?;
        if read == 0 {
            return Ok(inflated);
        }
        if inflated.len() + read > limit {
            return Err(WireError::TooLarge { limit });
        }
        let needed = inflated.len() + read;
        grow(&mut inflated, needed, limit, compressed.len(), charge)?;
        inflated.extend_from_slice(&step[..read]);
    }
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
