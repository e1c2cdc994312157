use std::io::Write;

use flate2::{Compression, write::GzEncoder};

use super::{super::Budget, *};

const LIMIT: usize = 64 << 10;

fn frames(gzip: bool) -> Frames {
    Frames::new(gzip, Budget::default().peer().charge())
}

fn frame(flag: u8, body: &[u8]) -> Vec<u8> {
    [&[flag][..], &(body.len() as u32).to_be_bytes(), body].concat()
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// Everything that comes out of `bytes` arriving in pieces of `step`.
fn cut(frames: &mut Frames, bytes: &[u8], step: usize) -> Result<Vec<Vec<u8>>, WireError> {
    let mut messages = Vec::new();
    for chunk in bytes.chunks(step) {
        frames.push(Bytes::copy_from_slice(chunk));
        while let Some((message, _charge)) = frames.next(LIMIT)? {
            messages.push(message.to_vec());
        }
    }
    Ok(messages)
}

#[test]
fn messages_come_out_whole_however_they_arrive() {
    let large: Vec<u8> = (0..50_000_u32).map(|n| ((n * n) >> 3) as u8).collect();
    let bytes = [frame(0, b"one"), frame(1, &gzip(&large)), frame(0, b""), frame(0, &large), frame(1, &gzip(b"last"))].concat();
    let expected = [b"one".to_vec(), large.clone(), vec![], large, b"last".to_vec()];
    for step in [1, 2, 4, 5, 6, 1000, 16 << 10, bytes.len()] {
        let mut frames = frames(true);
        assert_eq!(cut(&mut frames, &bytes, step).unwrap(), expected, "in pieces of {step}");
        assert!(!frames.is_within_message());
    }
}

#[test]
fn a_bomb_is_given_up_at_the_limit() {
    let bomb = gzip(&vec![0; 64 << 20]);
    assert!(bomb.len() <= LIMIT, "{} bytes pass as compressed", bomb.len());
    let mut frames = frames(true);
    assert_eq!(cut(&mut frames, &frame(1, &bomb), 1 << 20), Err(WireError::TooLarge { limit: LIMIT }));
    let exact = frame(1, &gzip(&vec![0; LIMIT]));
    assert_eq!(cut(&mut self::frames(true), &exact, 1 << 20).unwrap()[0].len(), LIMIT);
}

#[test]
fn an_announced_length_takes_nothing_until_bytes_come() {
    let mut frames = frames(false);
    let announced = [&[0][..], &(LIMIT as u32).to_be_bytes(), &[1; 10]].concat();
    assert!(cut(&mut frames, &announced, 100).unwrap().is_empty());
    assert!(frames.arriving.as_ref().is_some_and(|(_, _, part)| part.capacity() < 100));
    assert!(frames.is_within_message());
    let too_long = frame(0, &vec![0; LIMIT + 1]);
    assert_eq!(cut(&mut self::frames(false), &too_long[..HEADER], 100), Err(WireError::TooLarge { limit: LIMIT }));
}

#[test]
fn compression_that_was_not_announced_and_garbage_are_malformed() {
    assert!(matches!(cut(&mut frames(false), &frame(1, &gzip(b"x")), 100), Err(WireError::Malformed(_))));
    assert!(matches!(cut(&mut frames(true), &frame(2, b"x"), 100), Err(WireError::Malformed(_))));
    assert!(matches!(cut(&mut frames(true), &frame(1, b"garbage"), 100), Err(WireError::Malformed(_))));
}
