//! Carries punches out, and judges them by connections.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use futures::AsyncWriteExt;
use kaspath_domain::{Direction, Path, RelayReason, Timestamp, Transport, TransportSet};
use libp2p::{
    Multiaddr, PeerId, Stream,
    core::transport::PortUse,
    swarm::{
        ConnectionId,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use rand::random;
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

use super::{actor::Actor, connecting::Purpose};
use crate::{
    NetworkEvent, convert,
    punch::{
        self, MIN_REVERSAL_DELAY, QUIC_REVERSAL_RTTS, TCP_REVERSAL_RTTS,
        candidates::{self, Candidates, Permitted},
        exchange::{self, ExchangeError},
        schedule::{Schedule, Step},
    },
    streams::{ConnectionMeta, OpenError, OpenReply, OpenRequest, OpenStream},
};

/// Exchanges under way at once, over all peers.
const MAX_TASKS: usize = 256;
/// Least time between two punches of one peer that we answer.
const ANSWER_INTERVAL: Duration = Duration::from_secs(1);

/// What a punch's task tells the actor.
pub(super) enum Progress {
    /// Initiator: the peer's candidates are here, and SYNC waits for `opened`.
    Offered { connection: ConnectionId, theirs: Vec<Multiaddr>, rtt: Duration, opened: oneshot::Sender<bool> },
    /// Initiator: the peer is dialling by now.
    Dial { connection: ConnectionId },
    /// Initiator: nothing has come of it so far.
    Reverse { connection: ConnectionId, over: Transport },
    /// Responder: SYNC has come.
    Synchronized { connection: ConnectionId, theirs: Vec<Multiaddr> },
    /// The exchange failed.
    Failed { connection: ConnectionId, reason: Option<RelayReason>, cause: String },
}

struct Punch {
    peer: PeerId,
    schedule: Schedule,
    /// The peer's candidates that we may dial.
    theirs: Vec<Multiaddr>,
    /// A peer without DCUtR is not asked again.
    hopeless: bool,
    /// We had nothing to offer; a candidate may come.
    starved: bool,
    /// When a punch of the peer's was last answered.
    answered: Option<Timestamp>,
    /// The circuit is closed; only the attempt under way still counts.
    circuit_gone: bool,
}

pub(super) struct Punching {
    pub(super) candidates: Candidates,
    /// By relayed connection.
    punches: HashMap<ConnectionId, Punch>,
    progress: mpsc::Sender<Progress>,
}

impl Punching {
    pub(super) fn new(external: Vec<Multiaddr>, progress: mpsc::Sender<Progress>) -> Self {
        Self { candidates: Candidates::new(external), punches: HashMap::new(), progress }
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.punches.values().filter_map(|punch| punch.schedule.deadline()).min()
    }

    /// The relayed connection is gone. What was under way over it may still
    /// succeed: the peer closes the circuit as soon as *its* side is direct.
    pub(super) fn circuit_closed(&mut self, connection: ConnectionId) {
        match self.punches.get_mut(&connection) {
            Some(punch) if punch.schedule.is_running() => punch.circuit_gone = true,
            _ => drop(self.punches.remove(&connection)),
        }
    }
}

impl Actor {
    pub(super) fn on_relayed_connection(&mut self, meta: &Arc<ConnectionMeta>) {
        let transports = self.config.punch.transports;
        if transports.is_empty() || self.direct_connection(meta.peer, transports).is_some() {
            return;
        }
        let now = self.now();
        // DCUtR: who was called over the relay punches first.
        let schedule = match meta.direction {
            Direction::Inbound => Schedule::new(self.config.punch.cadence.clone(), now),
            Direction::Outbound => Schedule::passive(now),
        };
        let punch = Punch {
            peer: meta.peer,
            schedule,
            theirs: Vec::new(),
            hopeless: false,
            starved: false,
            answered: None,
            circuit_gone: false,
        };
        self.punching.punches.insert(meta.id, punch);
    }

    pub(super) fn on_direct_connection(&mut self, meta: &Arc<ConnectionMeta>) {
        self.on_relay_linked(meta.peer, meta.id);
        self.serve_waiters(meta);
        let Path::Direct { transport } = meta.path() else { return };
        let now = self.now();
        let relayed: Vec<ConnectionId> = self
            .punching
            .punches
            .iter()
            .filter(|(_, punch)| punch.peer == meta.peer)
            .map(|(connection, _)| *connection)
            .collect();
        for connection in relayed {
            let Some(punch) = self.punching.punches.remove(&connection) else { continue };
            self.report(NetworkEvent::PunchSucceeded {
                peer: convert::identity(&meta.peer),
                transport,
                elapsed: now.since(punch.schedule.since()),
                attempts: punch.schedule.attempts(),
            });
            // Who dialled the circuit closes it, once nothing lives on it.
            let unused = self
                .swarm
                .behaviour()
                .streams
                .connection(connection)
                .is_some_and(|circuit| circuit.direction == Direction::Outbound && circuit.is_idle());
            if unused {
                self.swarm.close_connection(connection);
            }
        }
    }

    /// A direct connection is gone: what is left on a relay is to be punched again.
    pub(super) fn on_direct_connection_closed(&mut self, peer: PeerId) {
        let streams = &self.swarm.behaviour().streams;
        let relayed: Vec<_> = streams.with_peer(peer).filter(|meta| meta.path().is_relayed()).cloned().collect();
        for meta in relayed {
            if !self.punching.punches.contains_key(&meta.id) {
                self.on_relayed_connection(&meta);
            }
        }
    }

    /// Punches at the next step, whoever dialled the circuit, if nothing is under way.
    pub(super) fn punch_now(&mut self, connection: ConnectionId) {
        let now = self.now();
        if let Some(punch) = self.punching.punches.get_mut(&connection)
            && !punch.hopeless
        {
            punch.schedule.hurry(now);
        }
    }

    pub(super) fn on_new_candidate(&mut self) {
        let now = self.now();
        for punch in self.punching.punches.values_mut().filter(|punch| punch.starved) {
            punch.starved = false;
            punch.schedule.hurry(now);
        }
    }

    pub(super) fn step_punches(&mut self) {
        let now = self.now();
        let due: Vec<ConnectionId> = self
            .punching
            .punches
            .iter()
            .filter(|(_, punch)| punch.schedule.deadline().is_some_and(|deadline| deadline <= now))
            .map(|(connection, _)| *connection)
            .collect();
        for connection in due {
            let Some(punch) = self.punching.punches.get_mut(&connection) else { continue };
            match punch.schedule.step(now) {
                Step::Start { attempt } => self.start_punch(connection, attempt),
                Step::TimedOut => self.fail_punch(connection, None),
                Step::Nothing => {}
            }
        }
    }

    fn punch_transports(&self, peer: &PeerId) -> TransportSet {
        let ours = self.config.punch.transports;
        let allowed = self.connecting.punchable(peer).unwrap_or(ours);
        TransportSet { tcp: ours.tcp && allowed.tcp, quic: ours.quic && allowed.quic }
    }

    fn start_punch(&mut self, connection: ConnectionId, attempt: u32) {
        let Some(punch) = self.punching.punches.get(&connection) else { return };
        let peer = punch.peer;
        let offer = self.punching.candidates.offer(self.punch_transports(&peer));
        if offer.is_empty() {
            if let Some(punch) = self.punching.punches.get_mut(&connection) {
                punch.starved = true;
            }
            return self.fail_punch(connection, Some(RelayReason::NoOwnCandidate));
        }
        self.report(NetworkEvent::PunchStarted { peer: convert::identity(&peer), attempt });
        self.swarm.behaviour_mut().streams.set_relay_reason(connection, RelayReason::PunchPending);
        let (reply, opened) = oneshot::channel();
        self.open_punch_stream(connection, reply);
        let progress = self.punching.progress.clone();
        self.tasks.spawn(async move {
            if let Err((reason, cause)) = initiate(connection, opened, offer, &progress).await {
                let _ = progress.send(Progress::Failed { connection, reason, cause }).await;
            }
        });
    }

    fn open_punch_stream(&mut self, connection: ConnectionId, reply: OpenReply) {
        let request = OpenRequest { protocols: vec![punch::PROTOCOL], reply };
        self.swarm.behaviour_mut().streams.open(connection, request);
    }

    /// The peer opened a DCUtR stream: answer it.
    pub(super) fn on_punch_request(&mut self, connection: ConnectionId, peer: PeerId, mut stream: Stream) {
        let now = self.now();
        let busy = self.tasks.len() >= MAX_TASKS;
        let Some(punch) = self.punching.punches.get_mut(&connection) else { return };
        // Each answer may end in dials, so nobody gets them at will.
        if busy || punch.answered.is_some_and(|last| now.since(last) < ANSWER_INTERVAL) {
            return;
        }
        punch.answered = Some(now);
        let offer = self.punching.candidates.offer(self.punch_transports(&peer));
        let progress = self.punching.progress.clone();
        self.tasks.spawn(async move {
            let end = match exchange::respond(&mut stream, &offer).await {
                Ok(theirs) => Progress::Synchronized { connection, theirs },
                Err(error) => Progress::Failed { connection, reason: None, cause: error.to_string() },
            };
            let _ = progress.send(end).await;
            let _ = stream.close().await;
        });
    }

    pub(super) fn on_punch_progress(&mut self, progress: Progress) {
        match progress {
            Progress::Offered { connection, theirs, rtt, opened } => {
                let go_on = self.on_offer(connection, &theirs, Some(rtt));
                if go_on {
                    // QUIC's half of the punch: our NAT must be open before the peer hears SYNC.
                    self.dial_as_listener(connection, Transport::Quic);
                }
                let _ = opened.send(go_on);
            }
            Progress::Dial { connection } => self.dial_as_listener(connection, Transport::Tcp),
            Progress::Reverse { connection, over } => self.dial_plainly(connection, over, PortUse::New),
            Progress::Synchronized { connection, theirs } => {
                let now = self.now();
                if let Some(punch) = self.punching.punches.get_mut(&connection) {
                    punch.schedule.peer_punches(now);
                }
                if self.on_offer(connection, &theirs, None) {
                    self.dial_plainly(connection, Transport::Tcp, PortUse::Reuse);
                    self.dial_plainly(connection, Transport::Quic, PortUse::Reuse);
                }
            }
            Progress::Failed { connection, reason, cause } => {
                tracing::debug!(%cause, "punch exchange failed");
                // A responder's failed exchange is the initiator's to repeat.
                if self.punching.punches.get(&connection).is_some_and(|punch| punch.schedule.attempts() > 0) {
                    self.fail_punch(connection, reason);
                }
            }
        }
    }

    /// Takes the peer's candidates; whether there is anything to dial.
    fn on_offer(&mut self, connection: ConnectionId, offered: &[Multiaddr], rtt: Option<Duration>) -> bool {
        let now = self.now();
        let Some(peer) = self.punching.punches.get(&connection).map(|punch| punch.peer) else { return false };
        let transports = self.punch_transports(&peer);
        let own = self.own_addresses();
        let permitted = Permitted { transports, local: self.config.punch.allow_local_candidates, own: &own };
        let theirs = candidates::dialable(offered, &peer, permitted);
        let ours = self.punching.candidates.offer(transports);
        let list = |addresses: &[Multiaddr], of: &PeerId| addresses.iter().filter_map(|a| convert::locator(a, of)).collect();
        self.report(NetworkEvent::PunchDialing {
            peer: convert::identity(&peer),
            rtt,
            ours: list(&ours, self.swarm.local_peer_id()),
            theirs: list(&theirs, &peer),
        });
        let Some(punch) = self.punching.punches.get_mut(&connection) else { return false };
        punch.schedule.dialing(now);
        punch.theirs = theirs;
        if punch.theirs.is_empty() && punch.schedule.attempts() > 0 {
            self.fail_punch(connection, Some(RelayReason::NoPeerCandidate));
            return false;
        }
        true
    }

    /// The addresses of our interfaces, as far as we listen on them.
    fn own_addresses(&self) -> Vec<IpAddr> {
        self.swarm.listeners().filter(|address| !convert::is_relayed(address)).filter_map(convert::ip).collect()
    }

    fn their_addresses(&self, connection: ConnectionId, over: Transport) -> Option<(PeerId, Vec<Multiaddr>)> {
        let punch = self.punching.punches.get(&connection)?;
        let addresses: Vec<_> =
            punch.theirs.iter().filter(|address| convert::transport(address) == Some(over)).cloned().collect();
        (!addresses.is_empty()).then_some((punch.peer, addresses))
    }

    /// TCP: simultaneous open from our listening port. QUIC: random packets from
    /// our listening socket, until the peer comes in through the hole they make.
    fn dial_as_listener(&mut self, connection: ConnectionId, over: Transport) {
        let Some((peer, addresses)) = self.their_addresses(connection, over) else { return };
        let per_dial = match over {
            // Simultaneous open: all at once, the first that stands wins.
            Transport::Tcp => vec![addresses],
            // libp2p-quic waits per address, so each gets a dial.
            Transport::Quic => addresses.into_iter().map(|address| vec![address]).collect(),
        };
        for addresses in per_dial {
            let opts = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(addresses).override_role();
            // On libp2p-quic "new port" in the listener's role means: send random packets from the listening socket.
            let opts = if over == Transport::Quic { opts.allocate_new_port() } else { opts };
            self.dial(opts.build(), Purpose::Punch);
        }
    }

    /// Dials as a dialer: what the responder does at SYNC, and the initiator
    /// when nothing came of it. The latter takes a new TCP port, for the old one
    /// is busy with the simultaneous open; QUIC's socket can do both.
    fn dial_plainly(&mut self, connection: ConnectionId, over: Transport, port: PortUse) {
        let Some((peer, addresses)) = self.their_addresses(connection, over) else { return };
        let opts = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(addresses);
        let opts = if port == PortUse::New && over == Transport::Tcp { opts.allocate_new_port() } else { opts };
        self.dial(opts.build(), Purpose::Punch);
    }

    fn fail_punch(&mut self, connection: ConnectionId, reason: Option<RelayReason>) {
        let now = self.now();
        let Some(punch) = self.punching.punches.get_mut(&connection) else { return };
        if punch.circuit_gone {
            self.punching.punches.remove(&connection);
            return;
        }
        let next = punch.schedule.failed(now, random());
        let reason = reason.unwrap_or_else(|| punch.schedule.reason());
        let mut retry_in = next.map(|next| next.since(now));
        if reason == RelayReason::PeerCannotPunch {
            punch.hopeless = true;
            punch.schedule = Schedule::passive(punch.schedule.since());
            retry_in = None;
        }
        let attempts = punch.schedule.attempts();
        let peer = convert::identity(&punch.peer);
        self.swarm.behaviour_mut().streams.set_relay_reason(connection, reason.clone());
        self.report(NetworkEvent::PunchFailed { peer, attempts, reason, retry_in });
    }
}

/// The initiator's side of one punch, up to the last dial.
async fn initiate(
    connection: ConnectionId,
    opened: oneshot::Receiver<Result<OpenStream, OpenError>>,
    offer: Vec<Multiaddr>,
    progress: &mpsc::Sender<Progress>,
) -> Result<(), (Option<RelayReason>, String)> {
    let failed = |error: &dyn std::fmt::Display| (None, error.to_string());
    let mut open = match opened.await {
        Ok(Ok(open)) => open,
        Ok(Err(error @ OpenError::Unsupported)) => return Err((Some(RelayReason::PeerCannotPunch), error.to_string())),
        Ok(Err(error)) => return Err(failed(&error)),
        Err(_) => return Err(failed(&"the connection closed")),
    };
    let (theirs, rtt) = exchange::offer(&mut open.stream, &offer).await.map_err(|error| match error {
        ExchangeError::Unsupported => (Some(RelayReason::PeerCannotPunch), error.to_string()),
        other => failed(&other),
    })?;
    let (ready, nat_opened) = oneshot::channel();
    let _ = progress.send(Progress::Offered { connection, theirs, rtt, opened: ready }).await;
    if nat_opened.await != Ok(true) {
        return Ok(());
    }
    exchange::synchronize(&mut open.stream).await.map_err(|error| failed(&error))?;
    let _ = open.stream.close().await;
    drop(open);
    sleep(rtt / 2).await;
    let _ = progress.send(Progress::Dial { connection }).await;
    let quic = (rtt * QUIC_REVERSAL_RTTS).max(MIN_REVERSAL_DELAY);
    let tcp = (rtt * TCP_REVERSAL_RTTS).max(MIN_REVERSAL_DELAY);
    sleep(quic).await;
    let _ = progress.send(Progress::Reverse { connection, over: Transport::Quic }).await;
    sleep(tcp.saturating_sub(quic)).await;
    let _ = progress.send(Progress::Reverse { connection, over: Transport::Tcp }).await;
    Ok(())
}
