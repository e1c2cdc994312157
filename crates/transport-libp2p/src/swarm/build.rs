use std::{error::Error, sync::Arc, time::Duration};

use futures::{AsyncRead, AsyncWrite};
use kaspath_domain::RelayReason;
use libp2p::{
    PeerId, StreamProtocol, Swarm, SwarmBuilder, Transport as _,
    core::{
        ConnectedPoint,
        muxing::{StreamMuxer, StreamMuxerBox},
        transport,
        upgrade::Version,
    },
    identity::Keypair,
    noise, relay, swarm,
};
use tokio::sync::mpsc;

use super::{behaviour::Behaviour, boxed::Boxed};
use crate::{
    NetworkConfig, NodeKey, PunchConfig, StartError, convert,
    discovery::Here,
    muxing::{Bounded, MAX_NAME, StreamBudget, yamux},
    punch, quic, reach,
    streams::{self, DataProtocols, OpenStream},
    tcp::{Tcp, Watched},
};

/// Time for a connection to be set up, security and muxer included. Punches
/// count on it: see `core::punches`.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams that a peer may have open on one QUIC connection; more wait at the peer.
/// Each costs 84 bytes from the start, used or not. A relay has a stream per circuit.
const QUIC_STREAMS: u32 = 16;
const RELAY_QUIC_STREAMS: u32 = 256;
/// Bytes that a connection's streams may receive unread once the remote has shown that it
/// sends fast, beyond their first windows. A node's few peers fill 300 Mbit/s at 200 ms with
/// it. A relay has two thousand strangers; each of their circuits still does 20 MB/s at 100 ms.
const WINDOWS: usize = 8 << 20;
const RELAY_WINDOWS: usize = 2 << 20;
/// Inbound streams of one connection that negotiate at once.
const MAX_NEGOTIATING_STREAMS: usize = 32;

/// The configured stream protocols; without any, no stream is accepted.
pub(super) fn data_protocols(config: &NetworkConfig) -> Result<DataProtocols, StartError> {
    let parse = |name: &String| {
        let parsed = StreamProtocol::try_from_owned(name.clone()).ok().filter(|_| name.len() <= MAX_NAME);
        parsed.ok_or_else(|| StartError::Protocol(name.clone()))
    };
    let plain = config.protocols.iter().map(parse).collect::<Result<_, _>>()?;
    Ok(DataProtocols { plain, session: config.session_protocol.as_ref().map(parse).transpose()? })
}

/// What is spoken on new circuits, and why they are relayed at first. With punching
/// off we do not even speak DCUtR, so that peers learn it at once.
pub(super) fn punching(config: &PunchConfig) -> (Option<StreamProtocol>, RelayReason) {
    if config.transports.is_empty() { (None, RelayReason::Policy) } else { (Some(punch::PROTOCOL), RelayReason::PunchPending) }
}

/// A swarm that listens nowhere yet. Inbound streams go to `accepted`.
pub(crate) fn build(
    key: &NodeKey,
    config: &NetworkConfig,
    accepted: mpsc::Sender<OpenStream>,
    here: Arc<Here>,
) -> Result<Swarm<Boxed<Behaviour>>, StartError> {
    let (punch_protocol, reason) = punching(&config.punch);
    let services = [reach::DIAL_BACK].into_iter().chain(config.reach.help.then_some(reach::HELP));
    let streams = streams::Behaviour::new(data_protocols(config)?, punch_protocol, reason, accepted, config.accept_timeout)
        .with_services(services.collect::<Vec<_>>());
    // Circuits have a budget of their own: relays do not vouch for who calls through them.
    let (budget, of_circuits) = (StreamBudget::default(), StreamBudget::default());
    let windows = if config.is_relay() { RELAY_WINDOWS } else { WINDOWS };
    let muxer = yamux::Upgrade::new(windows);
    let (circuits, relay_client) = relay::client::new(key.keypair().public().to_peer_id());
    let failed = |error: &dyn std::fmt::Display| StartError::Transport(error.to_string());
    Ok(SwarmBuilder::with_existing_identity(key.keypair().clone())
        .with_tokio()
        .with_other_transport(|keypair| Ok(secured(circuits, keypair, muxer.clone(), &of_circuits)?))
        .map_err(|error| failed(&error))?
        .with_other_transport(|keypair| {
            Ok(secured(Tcp::new().map(|stream, _| Watched::new(stream)), keypair, muxer.clone(), &budget)?)
        })
        .map_err(|error| failed(&error))?
        .with_other_transport(|keypair| {
            let (quic, budget) = (quic::Transport::new(keypair, quic_config(config))?, budget.clone());
            Ok(quic.map(move |(peer, muxer), point| (peer, bounded(muxer, &point, &budget))))
        })
        .map_err(|error| failed(&error))?
        .with_behaviour(|keypair| Boxed(Behaviour::new(keypair, relay_client, streams, config, here)))
        .map_err(|error| failed(&error))?
        .with_swarm_config(|swarm| swarm_config(swarm, config))
        .with_connection_timeout(CONNECTION_TIMEOUT)
        .build())
}

/// Noise and yamux over a transport; why only Noise: docs/decisions/0007-noise-alone.md.
fn secured<T>(
    transport: T,
    keypair: &Keypair,
    muxer: yamux::Upgrade,
    budget: &StreamBudget,
) -> Result<transport::Boxed<(PeerId, StreamMuxerBox)>, noise::Error>
where
    T: libp2p::Transport + Send + Unpin + 'static,
    T::Output: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    T::Error: Send + Sync + 'static,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
{
    let budget = budget.clone();
    Ok(transport
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(keypair)?)
        .multiplex(muxer)
        .map(move |(peer, muxer), point| (peer, bounded(muxer, &point, &budget)))
        .boxed())
}

fn bounded<M>(muxer: M, point: &ConnectedPoint, budget: &StreamBudget) -> StreamMuxerBox
where
    M: StreamMuxer + Unpin + Send + 'static,
    M::Substream: Unpin + Send + 'static,
    M::Error: Error + Send + Sync + 'static,
{
    // What comes through a relay shares what the relay's address has: it names no other.
    let remote = match point {
        ConnectedPoint::Listener { local_addr, .. } if convert::is_relayed(local_addr) => convert::ip(local_addr),
        _ => convert::ip(point.get_remote_address()),
    };
    StreamMuxerBox::new(Bounded::new(muxer, remote, budget.clone()))
}

/// Of the slots for pending inbound connections, QUIC's proven addresses take at
/// most half; forged ones never take more than the transport's own few.
fn quic_config(config: &NetworkConfig) -> quic::Config {
    let (limits, is_relay) = (&config.limits, config.is_relay());
    let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    quic::Config {
        streams: if is_relay { RELAY_QUIC_STREAMS } else { QUIC_STREAMS },
        windows: if is_relay { quic::Windows::of_relay() } else { quic::Windows::default() },
        limits: quic::Limits {
            validated: count(limits.pending_inbound / 2).max(1),
            connections: count(limits.inbound.saturating_add(limits.pending_inbound)),
            ..quic::Limits::default()
        },
        ..quic::Config::default()
    }
}

fn swarm_config(swarm: swarm::Config, config: &NetworkConfig) -> swarm::Config {
    // Where one protocol is proposed, its first bytes go with the proposal: a
    // round trip less for every punch. On the wire it is the same.
    swarm
        .with_substream_upgrade_protocol_override(Version::V1Lazy)
        .with_idle_connection_timeout(config.idle_timeout)
        .with_max_negotiating_inbound_streams(MAX_NEGOTIATING_STREAMS)
}
