//! Honest peers on one host: they reserve at the relay, connect through it and to
//! the programs under attack, and exchange a mebibyte each time.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use kaspath_domain::{
    DialRequest, DuplexStream, Observers, PeerIdentity, RelayAddress, Route, StreamDialer, StreamListener, Transport,
    TransportAddress, TransportSet, wall_clock,
};
use kaspath_transport_libp2p::{Network, NetworkConfig, NetworkEvent, NodeKey, PunchConfig, ReservationState, STREAM_PROTOCOL};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Notify,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    gossip::{self, MEBIBYTE},
    judge::{LIMIT_SECONDS, Operation},
};
use crate::{
    cli::{HonestArgs, TargetKind, Victim},
    scenario::GATEWAY_PROTOCOL,
};

const EVERY: Duration = Duration::from_secs(5);
/// An operation is given up when it is too late anyway.
const GIVE_UP: Duration = Duration::from_secs(LIMIT_SECONDS as u64 + 1);
/// Peers of a host that stay, and call their namesake on the other host.
const STAYING: usize = 4;
/// Exchanges that one peer answers at once.
const ANSWERED: usize = 16;

/// One peer with its reservation.
struct Seat {
    name: String,
    network: Network,
    answering: tokio::task::JoinHandle<()>,
}

/// Makes the identities that both hosts have to know, before either runs.
pub(super) fn create_keys(keys: &Path) -> Result<()> {
    for side in ["a", "b"] {
        for n in 0..=STAYING {
            NodeKey::load_or_create(&keys.join(name(side, n)))?;
        }
    }
    Ok(())
}

/// Runs the peers of one host until it is killed, or once.
pub(crate) async fn honest(args: &HonestArgs) -> Result<()> {
    println!("{}", json!({ "event": "started", "peer": "many" }));
    if args.once {
        return newcomers(args).await;
    }
    let mut seats = Vec::new();
    for n in 0..STAYING {
        seats.push(Arc::new(Seat::start(args, n).await.context("before the attack")?));
    }
    println!("{}", json!({ "event": "ready" }));
    let args = Arc::new(args.clone());
    let mut running = JoinSet::new();
    for (n, seat) in seats.iter().enumerate() {
        running.spawn(call_namesake(args.clone(), seat.clone(), n));
    }
    for (target, pair) in [(args.server.clone(), [0, 1]), (args.gateway.clone(), [2, 3])] {
        running.spawn(call_target(args.clone(), target, pair));
    }
    running.spawn(come_and_go(args));
    match running.join_next().await {
        Some(ended) => ended.context("an honest peer's task")?,
        None => Ok(()),
    }
}

/// New peers that do everything once.
async fn newcomers(args: &HonestArgs) -> Result<()> {
    let (first, second) = tokio::join!(reserve(args, 0), reserve(args, 1));
    let (first, _second) = (first.context("no reservation")?, second.context("no reservation")?);
    let to = identity(args, &args.side, 1)?;
    operation("exchange", &first.name, first.exchange(to, relay(args)?)).await;
    for target in [&args.server, &args.gateway] {
        operation(&target.kind.to_string(), &first.name, through(args, target, [0, 1])).await;
    }
    println!("{}", json!({ "event": "done" }));
    std::future::pending().await
}

/// What newcomers do.
pub(super) const NEWCOMERS_DO: usize = 5;

async fn reserve(args: &HonestArgs, n: usize) -> Option<Seat> {
    operation("reserve", &name(&args.side, n), Seat::start(args, n)).await
}

async fn call_namesake(args: Arc<HonestArgs>, seat: Arc<Seat>, n: usize) -> Result<()> {
    let to = identity(&args, other(&args.side), n)?;
    let mut ticks = every();
    loop {
        ticks.tick().await;
        operation("exchange", &seat.name, seat.exchange(to.clone(), relay(&args)?)).await;
    }
}

async fn call_target(args: Arc<HonestArgs>, target: Victim, pair: [usize; 2]) -> Result<()> {
    let mut ticks = every();
    loop {
        ticks.tick().await;
        operation(&target.kind.to_string(), &name(&args.side, pair[0]), through(&args, &target, pair)).await;
    }
}

/// One more peer, which comes anew each time.
async fn come_and_go(args: Arc<HonestArgs>) -> Result<()> {
    let mut ticks = every();
    loop {
        ticks.tick().await;
        let Some(seat) = reserve(&args, STAYING).await else { continue };
        let to = identity(&args, other(&args.side), 0)?;
        operation("exchange", &seat.name, seat.exchange(to, relay(&args)?)).await;
        seat.network.shutdown().await;
    }
}

fn every() -> tokio::time::Interval {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Does something, and prints when it begins and how it ends.
async fn operation<T>(what: &str, peer: &str, work: impl Future<Output = Result<T>>) -> Option<T> {
    let begin = wall_clock().since_epoch().as_secs_f64();
    println!("{}", json!({ "event": "begun", "begin": begin }));
    let since = Instant::now();
    let result = timeout(GIVE_UP, work).await.unwrap_or_else(|_| Err(anyhow::anyhow!("not done in {GIVE_UP:?}")));
    let seconds = since.elapsed().as_secs_f64();
    let (done, error) = match result {
        Ok(done) => (Some(done), None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    let operation = Operation { what: what.to_owned(), peer: peer.to_owned(), begin, seconds, error };
    println!("{}", json!({ "event": "operation", "operation": operation }));
    done
}

/// Two peers connect anew to a program, and what one announces the other gets from it.
async fn through(args: &HonestArgs, target: &Victim, pair: [usize; 2]) -> Result<()> {
    let peer = peer_of(target)?;
    let route = match (target.kind, args.side.as_str()) {
        (TargetKind::Gateway, "a") => relay(args)?,
        (_, "b") => Route::Direct(at(target, Transport::Quic)),
        _ => Route::Direct(at(target, Transport::Tcp)),
    };
    // Networks of their own: a seat's would use the connection of the time before.
    let [first, second] = pair.map(|n| network(args, n, NetworkConfig::default()));
    let (first, second) = tokio::try_join!(first, second)?;
    let streams = tokio::try_join!(dial(&first, peer.clone(), route.clone()), dial(&second, peer, route))?;
    gossip::exchange(streams.0, streams.1).await?;
    tokio::join!(first.shutdown(), second.shutdown());
    Ok(())
}

/// A peer's network, which knows no relay unless it is told one.
async fn network(args: &HonestArgs, n: usize, config: NetworkConfig) -> Result<Network> {
    let listen = ["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1"];
    let config = NetworkConfig {
        listen: listen.iter().map(|address| address.parse()).collect::<Result<_, _>>()?,
        // What goes through the relay is to stay there.
        punch: PunchConfig { transports: TransportSet::NONE, ..PunchConfig::default() },
        protocols: vec![STREAM_PROTOCOL.into(), GATEWAY_PROTOCOL.into()],
        ..config
    };
    Ok(Network::start(key(args, &args.side, n)?, config).await?)
}

async fn dial(network: &Network, peer: PeerIdentity, route: Route) -> Result<DuplexStream> {
    let request = DialRequest { peer: Some(peer), route, timeout: GIVE_UP };
    Ok(network.dialer().dial(request).await?)
}

fn name(side: &str, n: usize) -> String {
    format!("{side}{n}")
}

fn other(side: &str) -> &'static str {
    if side == "a" { "b" } else { "a" }
}

/// Identities lie in files that both hosts know.
fn key(args: &HonestArgs, side: &str, n: usize) -> Result<NodeKey> {
    Ok(NodeKey::load_or_create(&args.keys.join(name(side, n)))?)
}

fn identity(args: &HonestArgs, side: &str, n: usize) -> Result<PeerIdentity> {
    Ok(key(args, side, n)?.identity())
}

fn peer_of(victim: &Victim) -> Result<PeerIdentity> {
    Ok(victim.peer.to_string().parse()?)
}

fn at(victim: &Victim, transport: Transport) -> TransportAddress {
    let socket = SocketAddr::from((victim.ip, 4001));
    if transport == Transport::Quic { TransportAddress::quic(socket) } else { TransportAddress::tcp(socket) }
}

/// One host's peers use the relay over TCP, the other's over QUIC.
fn relay_address(args: &HonestArgs) -> Result<RelayAddress> {
    let transport = if args.side == "b" { Transport::Quic } else { Transport::Tcp };
    Ok(RelayAddress { relay: peer_of(&args.relay)?, via: at(&args.relay, transport) })
}

fn relay(args: &HonestArgs) -> Result<Route> {
    relay_address(args).map(Route::Relayed)
}

impl Seat {
    /// Starts a peer; returns when it has its reservation.
    async fn start(args: &HonestArgs, n: usize) -> Result<Self> {
        let relays = vec![relay_address(args)?.to_string().parse()?];
        let reserved = Arc::new(Notify::new());
        let confirmed = reserved.clone();
        // From the start on: the relay is so near that the answer may come at once.
        let observers = Observers::of(Arc::new(move |event: &NetworkEvent| {
            if matches!(event, NetworkEvent::Reservation { state: ReservationState::Confirmed, .. }) {
                confirmed.notify_one();
            }
        }));
        let network = network(args, n, NetworkConfig { relays, observers, ..NetworkConfig::default() }).await?;
        reserved.notified().await;
        let listener = network.listener();
        let answering = tokio::spawn(async move {
            let mut answers = JoinSet::new();
            while let Ok(stream) = listener.accept().await {
                while answers.try_join_next().is_some() {}
                if answers.len() < ANSWERED {
                    answers.spawn(timeout(GIVE_UP, answer(stream)));
                }
            }
        });
        Ok(Self { name: name(&args.side, n), network, answering })
    }

    /// Sends a mebibyte to a peer, which says how much has come.
    async fn exchange(&self, peer: PeerIdentity, route: Route) -> Result<()> {
        let mut stream = dial(&self.network, peer, route).await?;
        stream.write_all(&vec![0x5a; MEBIBYTE]).await?;
        stream.flush().await?;
        let arrived = stream.read_u64().await?;
        if arrived != MEBIBYTE as u64 {
            bail!("{arrived} bytes have come");
        }
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

async fn answer(mut stream: DuplexStream) -> Result<()> {
    let mut buffer = vec![0; MEBIBYTE];
    stream.read_exact(&mut buffer).await?;
    stream.write_u64(MEBIBYTE as u64).await?;
    stream.flush().await?;
    // The caller has read it when it closes.
    let _ = stream.read(&mut [0]).await;
    Ok(())
}
