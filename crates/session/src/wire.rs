//! The frames of docs/session-protocol.md.

use std::fmt;

use kaspath_domain::Timestamp;
use thiserror::Error;

/// Payload bytes of a data frame at most.
pub(crate) const MAX_DATA: usize = 64 * 1024;
/// Type and length.
const HEADER: usize = 4;
/// The longest payload of a frame that is not a data frame.
const MAX_CONTROL: usize = HELLO;
/// The payload of [`Frame::Hello`].
const HELLO: usize = 45;
/// A hello as it is on the wire: the first bytes of each stream.
pub(crate) const HELLO_FRAME: usize = HEADER + HELLO;

/// Names a session among those of two peers. Its opener chose it at random.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SessionId(pub(crate) [u8; 16]);

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// Names one run of a program: a peer with a higher one has restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BootId(pub(crate) u64);

impl BootId {
    /// Of a program that starts now: the microseconds since 1970, until 2112, above 12 random
    /// bits for clocks that are the same at each start.
    pub(crate) fn of_start(now: Timestamp, random: u16) -> Self {
        let micros = now.since_epoch().as_micros() as u64;
        Self(micros << 12 | u64::from(random >> 4))
    }
}

/// How a side says that a stream carries a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) session: SessionId,
    /// The sender's.
    pub(crate) boot: BootId,
    pub(crate) epoch: u32,
    /// The sender has all bytes before this offset.
    pub(crate) received: u64,
    /// The sender takes bytes before this offset.
    pub(crate) limit: u64,
    /// Whether the sender opened the session.
    pub(crate) is_opener: bool,
    /// Whether a receiver that does not know the session begins it: its opener has had
    /// no answer yet.
    pub(crate) begins: bool,
}

/// Why a hello is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The receiver has no such session with the sender: it has ended, or the receiver
    /// has restarted.
    Unknown,
    /// A newer path carries the session.
    Superseded,
    /// The receiver takes no more sessions or paths now.
    Limited,
}

/// What a stream carries after the hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// The first frame of a stream, from whoever opened it.
    Hello(Hello),
    /// The answer to a hello: the session is on this path now.
    Accept { boot: BootId, epoch: u32, received: u64, limit: u64 },
    /// The answer to a hello that is not accepted. The stream ends.
    Refuse(Refusal),
    /// Bytes of the session follow, from that offset on.
    Data { offset: u64, length: u32 },
    /// The sender has all bytes before `received` and takes those before `limit`.
    Ack { received: u64, limit: u64 },
    /// To be answered with the same number.
    Ping(u32),
    /// The answer.
    Pong(u32),
    /// The sender's last byte was the one before this offset.
    End { offset: u64 },
    /// The last frame that the sender writes on this path: the session is on another.
    Moved,
    /// The session has ended, and what was not delivered yet is lost.
    Reset,
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum WireError {
    #[error("a frame of unknown type {0}")]
    UnknownType(u8),
    #[error("a frame of type {kind} with {length} bytes")]
    Length { kind: u8, length: usize },
    #[error("a refusal with the unknown code {0}")]
    UnknownRefusal(u8),
    #[error("a hello with the unknown flags {0:#x}")]
    UnknownFlags(u8),
}

impl Frame {
    fn kind(&self) -> u8 {
        match self {
            Frame::Hello(_) => 1,
            Frame::Accept { .. } => 2,
            Frame::Refuse(_) => 3,
            Frame::Data { .. } => 4,
            Frame::Ack { .. } => 5,
            Frame::Ping(_) => 6,
            Frame::Pong(_) => 7,
            Frame::End { .. } => 8,
            Frame::Moved => 9,
            Frame::Reset => 10,
        }
    }

    /// Appends the frame; of a data frame all but the data.
    pub(crate) fn encode(&self, to: &mut Vec<u8>) {
        let start = to.len();
        to.extend([self.kind(), 0, 0, 0]);
        let mut data = 0;
        match *self {
            Frame::Hello(hello) => {
                to.extend(hello.session.0);
                to.extend(hello.boot.0.to_be_bytes());
                to.extend(hello.epoch.to_be_bytes());
                to.extend(hello.received.to_be_bytes());
                to.extend(hello.limit.to_be_bytes());
                to.push(u8::from(hello.is_opener) | u8::from(hello.begins) << 1);
            }
            Frame::Accept { boot, epoch, received, limit } => {
                to.extend(boot.0.to_be_bytes());
                to.extend(epoch.to_be_bytes());
                to.extend(received.to_be_bytes());
                to.extend(limit.to_be_bytes());
            }
            Frame::Refuse(refusal) => to.push(match refusal {
                Refusal::Unknown => 1,
                Refusal::Superseded => 2,
                Refusal::Limited => 3,
            }),
            Frame::Data { offset, length } => {
                to.extend(offset.to_be_bytes());
                data = length as usize;
            }
            Frame::Ack { received, limit } => {
                to.extend(received.to_be_bytes());
                to.extend(limit.to_be_bytes());
            }
            Frame::Ping(number) | Frame::Pong(number) => to.extend(number.to_be_bytes()),
            Frame::End { offset } => to.extend(offset.to_be_bytes()),
            Frame::Moved | Frame::Reset => {}
        }
        let length = (to.len() - start - HEADER + data) as u32;
        to[start + 1..start + HEADER].copy_from_slice(&length.to_be_bytes()[1..]);
    }

    /// A frame from its type and payload; of a data frame the payload is the offset, and
    /// `length` counts it and the data.
    fn decode(kind: u8, length: usize, payload: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields(payload);
        Ok(match kind {
            1 => {
                let flags = payload[HELLO - 1];
                // Only an opener begins a session.
                if !matches!(flags, 0 | 1 | 3) {
                    return Err(WireError::UnknownFlags(flags));
                }
                Frame::Hello(Hello {
                    session: SessionId(fields.take()),
                    boot: BootId(u64::from_be_bytes(fields.take())),
                    epoch: u32::from_be_bytes(fields.take()),
                    received: u64::from_be_bytes(fields.take()),
                    limit: u64::from_be_bytes(fields.take()),
                    is_opener: flags & 1 != 0,
                    begins: flags & 2 != 0,
                })
            }
            2 => Frame::Accept {
                boot: BootId(u64::from_be_bytes(fields.take())),
                epoch: u32::from_be_bytes(fields.take()),
                received: u64::from_be_bytes(fields.take()),
                limit: u64::from_be_bytes(fields.take()),
            },
            3 => Frame::Refuse(match payload[0] {
                1 => Refusal::Unknown,
                2 => Refusal::Superseded,
                3 => Refusal::Limited,
                code => return Err(WireError::UnknownRefusal(code)),
            }),
            4 => Frame::Data { offset: u64::from_be_bytes(fields.take()), length: (length - 8) as u32 },
            5 => Frame::Ack { received: u64::from_be_bytes(fields.take()), limit: u64::from_be_bytes(fields.take()) },
            6 => Frame::Ping(u32::from_be_bytes(fields.take())),
            7 => Frame::Pong(u32::from_be_bytes(fields.take())),
            8 => Frame::End { offset: u64::from_be_bytes(fields.take()) },
            9 => Frame::Moved,
            10 => Frame::Reset,
            kind => return Err(WireError::UnknownType(kind)),
        })
    }
}

/// Fixed-size pieces of a payload whose length was checked.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk().expect("the length was checked by `Decoder`");
        self.0 = rest;
        *field
    }
}

/// How many bytes of a frame come before its data, for a length that the type allows.
fn control_length(kind: u8, length: usize) -> Result<usize, WireError> {
    let expected = match kind {
        1 => HELLO,
        2 => 28,
        3 => 1,
        4 if (9..=8 + MAX_DATA).contains(&length) => return Ok(8),
        5 => 16,
        6 | 7 => 4,
        8 => 8,
        9 | 10 => 0,
        4 => return Err(WireError::Length { kind, length }),
        kind => return Err(WireError::UnknownType(kind)),
    };
    if length == expected { Ok(length) } else { Err(WireError::Length { kind, length }) }
}

/// A piece of what a path carries.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// A frame; never [`Frame::Data`].
    Frame(Frame),
    /// Bytes of the session at this offset.
    Data { offset: u64, bytes: &'a [u8] },
}

/// Cuts what a path carries into pieces. It holds less than one hello.
#[derive(Debug)]
pub(crate) struct Decoder {
    held: [u8; HEADER + MAX_CONTROL],
    length: usize,
    /// Of a data frame: where the next byte belongs, and how many follow.
    data: Option<(u64, usize)>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { held: [0; HEADER + MAX_CONTROL], length: 0, data: None }
    }
}

impl Decoder {
    /// The next piece in `input`, which is cut off from its front; `None` if more is
    /// needed. After an error the path is of no more use.
    pub(crate) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, WireError> {
        loop {
            if let Some((offset, left)) = &mut self.data {
                if input.is_empty() {
                    return Ok(None);
                }
                let (bytes, rest) = input.split_at(input.len().min(*left));
                *input = rest;
                let piece = Piece::Data { offset: *offset, bytes };
                // An offset near the end of the range is refused by whoever takes the bytes.
                (*offset, *left) = (offset.wrapping_add(bytes.len() as u64), *left - bytes.len());
                if *left == 0 {
                    self.data = None;
                }
                return Ok(Some(piece));
            }
            if !self.fill(HEADER, input) {
                return Ok(None);
            }
            let kind = self.held[0];
            let length = u32::from_be_bytes([0, self.held[1], self.held[2], self.held[3]]) as usize;
            let control = control_length(kind, length)?;
            if !self.fill(HEADER + control, input) {
                return Ok(None);
            }
            let frame = Frame::decode(kind, length, &self.held[HEADER..HEADER + control])?;
            self.length = 0;
            match frame {
                Frame::Data { offset, length } => self.data = Some((offset, length as usize)),
                frame => return Ok(Some(Piece::Frame(frame))),
            }
        }
    }

    /// Whether that many bytes of the frame are held now.
    fn fill(&mut self, wanted: usize, input: &mut &[u8]) -> bool {
        let taken = wanted.saturating_sub(self.length).min(input.len());
        self.held[self.length..self.length + taken].copy_from_slice(&input[..taken]);
        self.length += taken;
        *input = &input[taken..];
        self.length >= wanted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames() -> impl Strategy<Value = Frame> {
        let hello = (any::<[u8; 16]>(), any::<[u64; 3]>(), any::<u32>(), any::<[bool; 2]>());
        let hello = hello.prop_map(|(session, [boot, received, limit], epoch, [is_opener, begins])| {
            let (session, boot, begins) = (SessionId(session), BootId(boot), is_opener && begins);
            Frame::Hello(Hello { session, boot, epoch, received, limit, is_opener, begins })
        });
        let accept = (any::<[u64; 3]>(), any::<u32>()).prop_map(|([boot, received, limit], epoch)| Frame::Accept {
            boot: BootId(boot),
            epoch,
            received,
            limit,
        });
        prop_oneof![
            hello,
            accept,
            prop_oneof![Just(Refusal::Unknown), Just(Refusal::Superseded), Just(Refusal::Limited)].prop_map(Frame::Refuse),
            (0..u64::MAX / 2, 1..=300u32).prop_map(|(offset, length)| Frame::Data { offset, length }),
            any::<[u64; 2]>().prop_map(|[received, limit]| Frame::Ack { received, limit }),
            any::<u32>().prop_map(Frame::Ping),
            any::<u32>().prop_map(Frame::Pong),
            any::<u64>().prop_map(|offset| Frame::End { offset }),
            Just(Frame::Moved),
            Just(Frame::Reset),
        ]
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut(frames in proptest::collection::vec(frames(), 0..20), cut in 1..100usize) {
            let mut bytes = Vec::new();
            for frame in &frames {
                frame.encode(&mut bytes);
                if let Frame::Data { length, .. } = frame {
                    bytes.extend((0..*length).map(|n| n as u8));
                }
            }
            let (mut decoder, mut decoded, mut data) = (Decoder::default(), Vec::new(), None::<(u64, u32)>);
            for mut input in bytes.chunks(cut) {
                while let Some(piece) = decoder.next(&mut input).unwrap() {
                    match piece {
                        Piece::Frame(frame) => decoded.push(frame),
                        Piece::Data { offset, bytes } => {
                            let (start, length) = data.take().unwrap_or((offset, 0));
                            prop_assert_eq!(offset, start + u64::from(length));
                            prop_assert!(bytes.iter().enumerate().all(|(n, byte)| *byte == (length as usize + n) as u8));
                            let length = length + bytes.len() as u32;
                            let Some(Frame::Data { length: whole, .. }) = frames.get(decoded.len()) else { panic!("no data") };
                            if length == *whole {
                                decoded.push(Frame::Data { offset: start, length });
                            } else {
                                data = Some((start, length));
                            }
                        }
                    }
                }
            }
            prop_assert_eq!(decoded, frames);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            let (mut decoder, mut input) = (Decoder::default(), &bytes[..]);
            while let Ok(Some(_)) = decoder.next(&mut input) {}
        }
    }

    #[test]
    fn wrong_lengths_types_and_codes_are_refused() {
        let decode = |mut bytes: &'static [u8]| Decoder::default().next(&mut bytes);
        assert_eq!(decode(&[0, 0, 0, 0]), Err(WireError::UnknownType(0)));
        assert_eq!(decode(&[9, 0, 0, 1]), Err(WireError::Length { kind: 9, length: 1 }));
        assert_eq!(decode(&[4, 0, 0, 8]), Err(WireError::Length { kind: 4, length: 8 }), "data without data");
        assert_eq!(decode(&[4, 1, 0, 9]), Err(WireError::Length { kind: 4, length: MAX_DATA + 9 }));
        assert_eq!(decode(&[3, 0, 0, 1, 9]), Err(WireError::UnknownRefusal(9)));
        assert_eq!(decode(&[4, 1, 0, 8]), Ok(None));
    }
}
