//! A look at a message before it is decoded: its kind, and the memory that its
//! decoded form will take.

use kaspa_p2p_lib::{
    KaspadMessagePayloadType as Kind,
    pb::{KaspadMessage, kaspad_message::Payload},
};
use prost::Message;

use super::{
    WireError,
    shape::{Field, KINDS, Shape},
};

/// What an allocation takes beside its bytes.
const ALLOCATION: usize = 32;
/// Fields of a message below this number are payloads (`messages.proto`).
const FIRST_OTHER_FIELD: u32 = 100;

/// What a look at a message showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scanned {
    /// Its kind; `None` is one that a light peer does not understand.
    pub(super) kind: Option<Kind>,
    /// At most so many bytes does it take once decoded.
    pub(super) memory: usize,
}

/// Looks at an encoded message. `limit` bounds the memory of the decoded form.
pub(super) fn scan(bytes: &[u8], limit: usize) -> Result<Scanned, WireError> {
    let mut payload = None;
    let mut fields = Fields(bytes);
    while let Some((tag, content)) = fields.next()? {
        if tag < FIRST_OTHER_FIELD && payload.replace((tag, content)).is_some() {
            return Err(WireError::Malformed("a message with two payloads"));
        }
    }
    let Some((tag, content)) = payload else { return Err(WireError::Malformed("a message without payload")) };
    let Some(content) = content else { return Err(WireError::Malformed("a payload that is not a message")) };
    let mut tally = Tally { memory: size_of::<KaspadMessage>(), limit };
    let known = KINDS.iter().find(|(known, ..)| *known == tag);
    if let Some((_, _, shape)) = known {
        tally.walk(content, shape)?;
    }
    Ok(Scanned { kind: known.map(|(_, kind, _)| *kind), memory: tally.memory })
}

/// The memory that a message takes, at most, for one that we hold already.
pub(crate) fn memory_of(payload: Payload) -> usize {
    let message = KaspadMessage { response_id: 0, request_id: 0, payload: Some(payload) };
    scan(&message.encode_to_vec(), usize::MAX).map_or(usize::MAX, |scanned| scanned.memory)
}

struct Tally {
    memory: usize,
    limit: usize,
}

impl Tally {
    fn add(&mut self, bytes: usize) -> Result<(), WireError> {
        self.memory = self.memory.saturating_add(bytes);
        if self.memory > self.limit { Err(WireError::TooLarge { limit: self.limit }) } else { Ok(()) }
    }

    /// Recursion ends with the shape: it is a tree of five levels.
    fn walk(&mut self, bytes: &[u8], shape: Shape) -> Result<(), WireError> {
        let mut fields = Fields(bytes);
        // Which of the shape's vectors have an entry; no shape has 64 fields.
        let mut begun = 0_u64;
        while let Some((tag, content)) = fields.next()? {
            let (Some(content), Some(index)) = (content, shape.iter().position(|(known, _)| *known == tag)) else { continue };
            match &shape[index].1 {
                Field::Bytes if content.is_empty() => {}
                Field::Bytes => self.add(content.len() + ALLOCATION)?,
                Field::One(shape) => self.walk(content, shape)?,
                Field::Many(shape, size) => {
                    // A vector that grows has room for up to twice its entries, and
                    // from the first on for four.
                    let first = begun & (1 << index) == 0;
                    begun |= 1 << index;
                    self.add(if first { 4 * size + ALLOCATION } else { 2 * size })?;
                    self.walk(content, shape)?;
                }
            }
        }
        Ok(())
    }
}

/// The fields of an encoded message, in Protocol Buffers' encoding without groups.
struct Fields<'a>(&'a [u8]);

/// A field's number, and its content if it is length-delimited.
type Content<'a> = (u32, Option<&'a [u8]>);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Result<Option<Content<'a>>, WireError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let tag = u32::try_from(key >> 3).map_err(|_| MALFORMED)?;
        let content = match key & 7 {
            0 => {
                self.varint()?;
                None
            }
            1 => self.take(8).map(|_| None)?,
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| MALFORMED)?;
                Some(self.take(length)?)
            }
            5 => self.take(4).map(|_| None)?,
            _ => return Err(MALFORMED),
        };
        Ok(Some((tag, content)))
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift.min(63);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(MALFORMED)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(MALFORMED)?;
        self.0 = rest;
        Ok(taken)
    }
}

const MALFORMED: WireError = WireError::Malformed("a message is not valid");

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
