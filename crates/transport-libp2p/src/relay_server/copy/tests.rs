use std::time::Duration;

use kaspath_domain::MonotonicClock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::JoinHandle,
};
use tokio_util::compat::TokioAsyncReadCompatExt;

use libp2p::PeerId;

use super::{
    super::{budget::Parties, flow::Flows},
    *,
};
use crate::RelayServerConfig;

/// What a circuit between two new peers is charged to.
fn flow(flows: &Flows) -> Flow {
    let prefixes = ["192.0.2.0/24", "198.51.100.0/24"].map(|text| text.parse().unwrap());
    flows.of(Parties { peers: [PeerId::random(), PeerId::random()], prefixes }, MonotonicClock::start())
}

/// A circuit between the two that are given, whose ends hold `room` bytes.
fn circuit(room: usize, max_bytes: u64) -> (DuplexStream, DuplexStream, JoinHandle<(CircuitEnd, [u64; 2])>) {
    let (source, near) = duplex(room);
    let (far, destination) = duplex(room);
    let task = tokio::spawn(async move {
        let (meter, flow) = (Meter::new(MonotonicClock::start()), flow(&Flows::new(&RelayServerConfig::default())));
        let end = copy(near.compat(), far.compat(), max_bytes, &meter, &flow).await;
        (end, [Side::Source, Side::Destination].map(|side| meter.bytes(side)))
    });
    (source, destination, task)
}

#[tokio::test]
async fn every_byte_arrives_both_ways_through_narrow_ends_and_is_counted() {
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let (source, destination, task) = circuit(7_000, 0);
    let ((from_source, mut to_source), (from_destination, mut to_destination)) =
        (tokio::io::split(source), tokio::io::split(destination));
    let (there, back) = (bytes.clone(), bytes[..100_000].to_vec());
    let sending = tokio::spawn(async move {
        to_source.write_all(&there).await.unwrap();
        to_source.shutdown().await.unwrap();
        to_source
    });
    let answering = tokio::spawn(async move {
        to_destination.write_all(&back).await.unwrap();
        to_destination.shutdown().await.unwrap();
        to_destination
    });
    let read = |mut half: tokio::io::ReadHalf<DuplexStream>| async move {
        let mut got = Vec::new();
        half.read_to_end(&mut got).await.unwrap();
        got
    };
    let (there, back) = tokio::join!(read(from_destination), read(from_source));
    assert!(there == bytes && back == bytes[..100_000], "the bytes differ");
    assert_eq!(task.await.unwrap(), (CircuitEnd::Closed, [300_000, 100_000]));
    drop((sending.await, answering.await));
}

#[tokio::test]
async fn one_side_may_end_and_still_hear_the_other() {
    let (mut source, mut destination, task) = circuit(64, 0);
    source.write_all(b"question").await.unwrap();
    source.shutdown().await.unwrap();
    let mut question = Vec::new();
    destination.read_to_end(&mut question).await.unwrap();
    assert_eq!(question, b"question");
    destination.write_all(b"answer").await.unwrap();
    destination.shutdown().await.unwrap();
    let mut answer = Vec::new();
    source.read_to_end(&mut answer).await.unwrap();
    assert_eq!((answer.as_slice(), task.await.unwrap()), (&b"answer"[..], (CircuitEnd::Closed, [8, 6])));
}

#[tokio::test]
async fn the_byte_limit_counts_both_ways_and_ends_the_circuit() {
    let (mut source, mut destination, task) = circuit(64, 10);
    let mut buffer = [0; 6];
    source.write_all(b"123456").await.unwrap();
    destination.read_exact(&mut buffer).await.unwrap();
    destination.write_all(b"7890 and more").await.unwrap();
    let mut rest = Vec::new();
    source.read_to_end(&mut rest).await.unwrap();
    assert_eq!((rest.as_slice(), task.await.unwrap()), (&b"7890"[..], (CircuitEnd::ByteLimit, [6, 4])));
}

#[tokio::test]
async fn a_side_that_is_gone_ends_the_circuit_for_the_other() {
    let (mut source, destination, task) = circuit(64, 0);
    drop(destination);
    source.write_all(b"lost").await.unwrap();
    assert_eq!(task.await.unwrap().0, CircuitEnd::Failed);
    let mut rest = Vec::new();
    source.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_side_that_reads_nothing_holds_the_other_back() {
    let (mut source, _destination, _task) = circuit(64, 0);
    // The clock is paused: it moves on when nothing else can.
    let stuck = tokio::time::timeout(Duration::from_secs(1), async {
        let mut pushed = 0;
        loop {
            source.write_all(&[0; 1024]).await.unwrap();
            pushed += 1024;
            assert!(pushed < 4 * CHUNK, "nobody holds the sender back");
        }
    });
    let stuck: Result<(), _> = stuck.await;
    stuck.unwrap_err();
}

#[tokio::test]
async fn an_idle_direction_has_no_buffer() {
    let (mut from, reader) = duplex(CHUNK);
    let (writer, mut to) = duplex(16);
    let (mut reader, mut writer) = (reader.compat(), writer.compat());
    let mut direction = Direction::new(Side::Source);
    let (meter, flow) = (Meter::new(MonotonicClock::start()), flow(&Flows::new(&RelayServerConfig::default())));
    let mut account = Account { left: u64::MAX, meter: &meter, flow: &flow };
    from.write_all(&[7; 1000]).await.unwrap();
    let mut got = vec![0; 1000];
    let reading = async {
        to.read_exact(&mut got).await.unwrap();
    };
    let polling = poll_fn(|cx| direction.poll(cx, &mut reader, &mut writer, &mut account));
    tokio::select! {
        biased;
        ended = polling => panic!("{ended:?}"),
        () = reading => {}
    }
    let polled = futures::poll!(poll_fn(|cx| direction.poll(cx, &mut reader, &mut writer, &mut account)));
    assert!(polled.is_pending() && direction.kept.is_empty());
    assert_eq!((got, meter.bytes(Side::Source)), (vec![7; 1000], 1000));
}
