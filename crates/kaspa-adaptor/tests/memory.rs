//! What hostile peers can make a server hold in memory.
//!
//! The server has threads of its own, and only what they allocate and free counts;
//! the attackers reach it through the kernel, so no memory passes between them.

#![allow(unsafe_code, reason = "a counting allocator")]

mod support;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    net::SocketAddr,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicIsize, Ordering},
    },
    time::Duration,
};

use kaspath_kaspa_adaptor::{
    KaspaEvent, KaspaNetwork, KaspaNode,
    pb::{
        BlockHeader, BlockMessage, Hash, InvTransactionsMessage, RequestRelayBlocksMessage, TransactionId, TransactionMessage,
        kaspad_message::Payload,
    },
};
use support::{Bare, Loopback, empty_addresses, encoded, events, frame, gzipped, node, transaction};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::{Builder, Runtime},
    task::JoinSet,
    time::timeout,
};

struct Counting;

static NOW: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

thread_local! {
    static COUNTS: Cell<bool> = const { Cell::new(false) };
}

fn count(bytes: isize) {
    if COUNTS.try_with(Cell::get).unwrap_or(false) {
        let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
        PEAK.fetch_max(now, Ordering::Relaxed);
    }
}

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may exist for a moment.
        count(size as isize);
        count(-(layout.size() as isize));
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PEERS: u8 = 32;
const MAY_GROW: isize = 64 << 20;
const DEADLINE: Duration = Duration::from_secs(120);

/// A server on threads that are counted.
struct Measured {
    runtime: Runtime,
    node: KaspaNode,
    address: SocketAddr,
}

impl Measured {
    fn start() -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .on_thread_start(|| COUNTS.with(|counts| counts.set(true)))
            .build()
            .unwrap();
        let (node, address) = runtime.block_on(async {
            tokio::spawn(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let address = listener.local_addr().unwrap();
                let node = node(KaspaNetwork::Simnet);
                support::serve_on(&node, Arc::new(Loopback(listener)));
                (node, address)
            })
            .await
            .unwrap()
        });
        Self { runtime, node, address }
    }
}

/// A connection from an address of its own, as peers of different hosts have.
async fn connect(to: SocketAddr, n: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 1, 0, n + 1], 0))).unwrap();
    socket.connect(to).await.unwrap()
}

/// Lets every peer do `attack` at once; what the server grew by at its worst. An
/// attack gives back its connection when it has sent all, or is cut off. `ready` is
/// how many of the peers must get as far as Ready.
fn grown<F: Future<Output = Bare> + Send + 'static>(
    ready: u8,
    prepare: impl FnOnce(KaspaNode) + Send + 'static,
    attack: impl Fn(TcpStream, u8) -> F + Copy + Send + Sync + 'static,
) -> isize {
    LazyLock::force(&BOMBS);
    let server = Measured::start();
    let before = NOW.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let mut events = events(&server.node);
    let node = server.node.clone();
    server.runtime.block_on(server.runtime.spawn(async move { prepare(node) })).unwrap();
    let attackers = Builder::new_current_thread().enable_all().build().unwrap();
    attackers.block_on(async {
        let mut attacks = JoinSet::new();
        for n in 0..PEERS {
            let address = server.address;
            attacks.spawn(async move {
                let mut peer = attack(connect(address, n).await, n).await;
                peer.is_received().await;
                peer
            });
        }
        // All hold what they hold until the last has done its worst.
        let mut held = timeout(DEADLINE, attacks.join_all()).await.expect("the attacks end");
        for peer in &mut held {
            timeout(DEADLINE, peer.is_received()).await.expect("the server answers or has cut it off");
        }
        let (mut came, mut failed) = (0, 0);
        while came + failed < PEERS {
            match timeout(DEADLINE, events.recv()).await.expect("each handshake ends").unwrap() {
                KaspaEvent::PeerReady { .. } => came += 1,
                KaspaEvent::HandshakeFailed { .. } => failed += 1,
                _ => {}
            }
        }
        assert!(came >= ready, "{came} peers came to Ready");
    });
    let grown = PEAK.load(Ordering::Relaxed) - before;
    server.runtime.shutdown_timeout(Duration::from_secs(10));
    println!("grew by {:.1} MiB", grown as f64 / f64::from(1 << 20));
    grown
}

fn nothing(_: KaspaNode) {}

/// A peer that has said all that a handshake needs.
async fn ready(stream: TcpStream, n: u8, user_agent: &str) -> Bare {
    let mut peer = Bare::open(stream).await;
    peer.shake_hands(n, user_agent).await;
    peer
}

fn plain(message: &[u8]) -> Vec<u8> {
    [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat()
}

/// Made once, for unoptimized builds are slow at it: addresses, as many
/// transactions as pass, and more than pass.
static BOMBS: LazyLock<[Vec<u8>; 3]> = LazyLock::new(|| {
    [empty_addresses(4 << 20), transactions(10_000), transactions(2 << 20)].map(|plain| frame(&gzipped(&plain)))
});

fn transactions(count: usize) -> Vec<u8> {
    encoded(Payload::Block(BlockMessage { header: None, transactions: vec![TransactionMessage::default(); count] }))
}

type Attack = fn() -> isize;

/// One test, for the counter is one: each kind of attack in turn.
#[test]
fn thirty_two_hostile_peers_grow_a_server_by_at_most_64_mib() {
    let attacks: [(&str, Attack); 7] = [
        ("bombs before Ready", bombs_before_ready),
        ("messages that stop before their end", messages_that_stop_before_their_end),
        ("bombs after Ready", bombs_after_ready),
        ("blocks that nobody asked for", blocks_that_nobody_asked_for),
        ("announcements of thousands", announcements_of_thousands),
        ("requests without reading", requests_without_reading),
        ("DATA frames of one byte", frames_of_one_byte),
    ];
    for (name, attack) in attacks {
        println!("{name}:");
        let grown = attack();
        assert!(grown > 0, "{name}: nothing was measured");
        assert!(grown <= MAY_GROW, "{name}: grew by {grown} bytes");
    }
}

fn bombs_before_ready() -> isize {
    grown(0, nothing, |stream, _| async move {
        let mut peer = Bare::open(stream).await;
        peer.say(&BOMBS[0]).await;
        peer
    })
}

fn messages_that_stop_before_their_end() -> isize {
    grown(PEERS, nothing, |stream, n| async move {
        let mut peer = ready(stream, n, "/raw:1/").await;
        let whole = plain(&vec![0; 4 << 20]);
        peer.say(&whole[..whole.len() - 1]).await;
        peer
    })
}

fn bombs_after_ready() -> isize {
    grown(PEERS, nothing, |stream, n| async move {
        let mut peer = ready(stream, n, "/raw:1/").await;
        // As much as passes, inflated and decoded, and then what does not.
        for bomb in [&BOMBS[1], &BOMBS[1], &BOMBS[2]] {
            peer.say(bomb).await;
        }
        peer
    })
}

fn blocks_that_nobody_asked_for() -> isize {
    grown(PEERS, nothing, |stream, n| async move {
        let mut peer = ready(stream, n, "/kaspath:1/").await;
        let block = plain(&transactions(500));
        for _ in 0..256 {
            peer.say(&block).await;
        }
        peer
    })
}

fn announcements_of_thousands() -> isize {
    grown(PEERS, nothing, |stream, n| async move {
        let mut peer = ready(stream, n, "/kaspath:1/").await;
        for message in 0..256_u32 {
            let id = |of: u32| [&[n; 24][..], &message.to_le_bytes(), &of.to_le_bytes()].concat();
            let ids = (0..1024).map(|of| TransactionId { bytes: id(of) }).collect();
            peer.say(&plain(&encoded(Payload::InvTransactions(InvTransactionsMessage { ids })))).await;
        }
        peer
    })
}

fn frames_of_one_byte() -> isize {
    // h2 may end such a connection before the handshake does.
    grown(0, nothing, |stream, n| async move {
        let mut peer = ready(stream, n, "/raw:1/").await;
        for byte in plain(&[0; 20_000]).iter().take(20_000) {
            peer.say(std::slice::from_ref(byte)).await;
        }
        peer
    })
}

/// A large valid block that does not compress.
fn large_block(n: u64) -> BlockMessage {
    let mut state = n;
    let mut noise = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as u8
    };
    let payload = (0..900_000).map(|_| noise()).collect();
    let zero = || Some(Hash { bytes: vec![0; 32] });
    let header = BlockHeader {
        version: 1,
        hash_merkle_root: zero(),
        accepted_id_merkle_root: zero(),
        utxo_commitment: zero(),
        pruning_point: zero(),
        nonce: n,
        ..Default::default()
    };
    BlockMessage { header: Some(header), transactions: vec![TransactionMessage { payload, ..transaction(n) }] }
}

fn requests_without_reading() -> isize {
    let hashes = |node: &KaspaNode| -> Vec<String> {
        (0..16).map(|n| node.announce_block(large_block(n)).expect("a valid block")).collect()
    };
    let last = hashes(&node(KaspaNetwork::Simnet)).pop().unwrap();
    let hash: Vec<u8> = (0..32).map(|i| u8::from_str_radix(&last[2 * i..2 * i + 2], 16).unwrap()).collect();
    let hash: &'static [u8] = hash.leak();
    grown(
        PEERS,
        move |node| drop(hashes(&node)),
        move |stream, n| async move {
            let mut peer = ready(stream, n, "/raw:1/").await;
            let hashes = vec![Hash { bytes: hash.to_vec() }; 64];
            let request = plain(&encoded(Payload::RequestRelayBlocks(RequestRelayBlocksMessage { hashes })));
            for _ in 0..100 {
                peer.say(&request).await;
            }
            peer
        },
    )
}
