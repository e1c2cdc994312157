//! The exchanges of candidates: who begins one, and what each step leads to.

use std::time::Duration;

use futures::AsyncWriteExt;
use kaspath_domain::{DialError, RelayReason, Transport, TransportAddress, clean};
use libp2p::{Multiaddr, PeerId, Stream, core::transport::PortUse, swarm::ConnectionId};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

use super::actor::Actor;
use crate::{
    NetworkEvent, convert,
    punch::{
        self, MIN_REVERSAL_DELAY, QUIC_REVERSAL_RTTS, TCP_REVERSAL_RTTS,
        candidates::{self, Permitted},
        evidence::Evidence,
        exchange::{self, ExchangeError},
    },
    streams::{OpenError, OpenReply, OpenRequest, OpenStream},
};

/// Bytes of a cause that a reason repeats; a relay or a peer may have worded it.
const MAX_CAUSE: usize = 200;

/// Who began an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Ours,
    Theirs,
}

/// What a task of the actor's tells it.
pub(super) enum Progress {
    /// Initiator: the peer's candidates are here, and SYNC waits for `opened`.
    Offered { connection: ConnectionId, theirs: Vec<Multiaddr>, rtt: Duration, opened: oneshot::Sender<bool> },
    /// Initiator: the peer is dialling by now.
    Dial { connection: ConnectionId },
    /// Initiator: nothing has come of it so far.
    Reverse { connection: ConnectionId, over: Transport },
    /// Responder: SYNC has come.
    Synchronized { connection: ConnectionId, theirs: Vec<Multiaddr> },
    /// The exchange failed, which this side or the peer began.
    Failed { connection: ConnectionId, began: Side, reason: Option<RelayReason>, cause: String },
    /// A relay's names are resolved, or not.
    Resolved { relay: PeerId, results: Vec<(TransportAddress, Result<Vec<Multiaddr>, DialError>)> },
}

impl Actor {
    pub(super) fn start_punch(&mut self, connection: ConnectionId, attempt: u32) {
        let Some(punch) = self.punching.punches.get(&connection) else { return };
        let (party, peer) = (punch.party.clone(), punch.party.peer);
        let offer = self.punching.candidates.offer(self.punch_transports(&peer));
        if offer.is_empty() {
            if let Some(punch) = self.punching.punches.get_mut(&connection) {
                punch.starved = true;
            }
            return self.fail_punch(connection, Some(RelayReason::NoOwnCandidate));
        }
        let now = self.now();
        let Some(lease) = self.punching.budget.exchange(&party, now) else {
            return self.fail_punch(connection, Some(RelayReason::PunchLimited));
        };
        self.report(NetworkEvent::PunchStarted { peer: convert::identity(&peer), attempt });
        self.swarm.behaviour_mut().streams.set_relay_reason(connection, RelayReason::PunchPending);
        let (reply, opened) = oneshot::channel();
        self.open_punch_stream(connection, reply);
        let progress = self.punching.progress.clone();
        self.tasks.spawn(async move {
            if let Err((reason, cause)) = initiate(connection, opened, offer, &progress).await {
                let _ = progress.send(Progress::Failed { connection, began: Side::Ours, reason, cause }).await;
            }
            drop(lease);
        });
    }

    fn open_punch_stream(&mut self, connection: ConnectionId, reply: OpenReply) {
        let request = OpenRequest { protocols: vec![punch::PROTOCOL], reply };
        self.swarm.behaviour_mut().streams.open(connection, request);
    }

    /// The peer opened a DCUtR stream: answer it.
    pub(super) fn on_punch_request(&mut self, connection: ConnectionId, peer: PeerId, mut stream: Stream) {
        let now = self.now();
        let Some(punch) = self.punching.punches.get(&connection) else { return };
        // Each answer may end in dials, so nobody gets them at will.
        let Some(lease) = self.punching.budget.exchange(&punch.party, now) else {
            tracing::debug!(%peer, "a punch is not answered: the budget for punches is used up");
            return;
        };
        let offer = self.punching.candidates.offer(self.punch_transports(&peer));
        let progress = self.punching.progress.clone();
        self.tasks.spawn(async move {
            let end = match exchange::respond(&mut stream, &offer).await {
                Ok(theirs) => Progress::Synchronized { connection, theirs },
                Err(error) => {
                    // A peer that is offered nothing ends the exchange.
                    let reason = offer.is_empty().then_some(RelayReason::NoOwnCandidate);
                    Progress::Failed { connection, began: Side::Theirs, reason, cause: error.to_string() }
                }
            };
            let _ = progress.send(end).await;
            let _ = stream.close().await;
            drop(lease);
        });
    }

    pub(super) fn on_progress(&mut self, progress: Progress) {
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
            Progress::Failed { connection, began, reason, cause } => self.on_exchange_failed(connection, began, reason, &cause),
            Progress::Resolved { relay, results } => self.on_relay_resolved(relay, results),
        }
    }

    fn on_exchange_failed(&mut self, connection: ConnectionId, began: Side, reason: Option<RelayReason>, cause: &str) {
        tracing::debug!(%cause, "punch exchange failed");
        let now = self.now();
        let Some(punch) = self.punching.punches.get_mut(&connection) else { return };
        match (began, punch.schedule.is_running()) {
            // It has timed out already.
            (Side::Ours, false) => return,
            // What is under way may succeed all the same.
            (Side::Theirs, true) => return,
            (Side::Ours, true) => {}
            // The peer's attempt has failed, and the peer repeats it.
            (Side::Theirs, false) => punch.schedule.peer_punches(now),
        }
        let attempts = punch.schedule.failures() + 1;
        let broken = || RelayReason::ExchangeFailed { attempts, cause: clean(cause, MAX_CAUSE) };
        self.fail_punch(connection, Some(reason.unwrap_or_else(broken)));
    }

    /// Takes the peer's candidates; whether there is anything to dial.
    fn on_offer(&mut self, connection: ConnectionId, offered: &[Multiaddr], rtt: Option<Duration>) -> bool {
        let now = self.now();
        let Some(peer) = self.punching.punches.get(&connection).map(|punch| punch.party.peer) else { return false };
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
        let observed = self.punching.candidates.observed(transports);
        let Some(punch) = self.punching.punches.get_mut(&connection) else { return false };
        punch.schedule.dialing(now);
        punch.evidence = Evidence::new(&observed, offered, &own);
        (punch.theirs, punch.dials, punch.limited) = (theirs, 0, false);
        if punch.theirs.is_empty() && punch.schedule.attempts() > 0 {
            // An address that we do not dial for being a neighbour's tells more.
            let reason = (!punch.evidence.is_same_link()).then_some(RelayReason::NoPeerCandidate);
            self.fail_punch(connection, reason);
            return false;
        }
        true
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
