//! The exchanges of candidates, and what each step leads to.

use std::time::Duration;

use kaspath_domain::{PeerAddress, PeerIdentity, PeerLocator, RelayReason, Transport, TransportAddress, clean};

use super::{
    Exchange, Later, Punches, Side,
    candidates::{Permitted, dialable, is_foreign},
    evidence::{Attempt, Evidence},
    neighbours::on_link,
    schedule::ATTEMPT_TIMEOUT,
};
use crate::{
    NetworkEvent,
    core::{
        connections::ConnId,
        io::{OperationId, Output},
        shared::Shared,
    },
};

/// Bytes of a cause that a reason repeats; a relay or a peer may have worded it.
const MAX_CAUSE: usize = 200;
/// How many round trips after dialling the plain dial follows over QUIC, where a
/// punched connection takes about one.
const QUIC_REVERSAL_RTTS: u32 = 2;
/// The same over TCP, where it takes about two and a half, with the security and
/// muxer handshakes. Behind a symmetric NAT the packets of our simultaneous open arrive at
/// the peer's listening socket, where both ends would wait as listeners for ever.
const TCP_REVERSAL_RTTS: u32 = 4;
/// Least time before each plain dial.
const MIN_REVERSAL_DELAY: Duration = Duration::from_millis(50);

impl Punches {
    /// Begins attempt number `attempt`.
    pub(super) fn start(&mut self, shared: &mut Shared, id: ConnId, attempt: u32) {
        let offer = self.punches.get(&id).map(|punch| self.offer(shared, &punch.party));
        let Some((punch, offer)) = self.punches.get_mut(&id).zip(offer) else { return };
        punch.attempt = Attempt::default();
        if offer.is_empty() {
            punch.starved = true;
            return self.fail(shared, id, Some(RelayReason::NoOwnCandidate));
        }
        let Some(slot) = self.budget.exchange(&punch.party, shared.now) else {
            return self.fail(shared, id, Some(RelayReason::PunchLimited));
        };
        let exchange = shared.operation();
        punch.ours = Some(exchange);
        shared.report(NetworkEvent::PunchStarted { peer: punch.party.peer.clone(), attempt });
        shared.put_reason(id, RelayReason::PunchPending);
        shared.put(Output::Exchange { exchange, id, offer });
        let entry = Exchange { circuit: id, side: Side::Ours(attempt), rtt: Duration::ZERO, _slot: slot };
        self.exchanges.insert(exchange, entry);
    }

    /// The peer begins an exchange.
    pub(in crate::core) fn requested(&mut self, shared: &mut Shared, exchange: OperationId, id: ConnId) {
        // Each answer may end in dials, so nobody gets them at will.
        let punch = self.punches.get(&id);
        let slot = punch.and_then(|punch| Some((punch, self.budget.exchange(&punch.party, shared.now)?)));
        let Some((punch, slot)) = slot else { return shared.put(Output::EndExchange { exchange }) };
        let offer = self.offer(shared, &punch.party);
        let side = Side::Theirs { offered_nothing: offer.is_empty() };
        shared.put(Output::Respond { exchange, offer });
        self.exchanges.insert(exchange, Exchange { circuit: id, side, rtt: Duration::ZERO, _slot: slot });
    }

    /// The peer answered our exchange.
    pub(in crate::core) fn offered(
        &mut self,
        shared: &mut Shared,
        exchange: OperationId,
        theirs: &[TransportAddress],
        rtt: Duration,
    ) {
        let Some(entry) = self.exchanges.get_mut(&exchange) else { return };
        entry.rtt = rtt;
        let id = entry.circuit;
        if self.take_offer(shared, id, theirs, Some(rtt)) {
            // QUIC's half of the punch: our NAT must be open before the peer hears SYNC.
            self.dial_as_listener(shared, id, Transport::Quic);
            shared.put(Output::Synchronize { exchange });
        }
    }

    /// SYNC has left. What follows is timed by the round trip, which the peer can
    /// influence, so it is bounded.
    pub(in crate::core) fn sync_sent(&mut self, shared: &mut Shared, exchange: OperationId) {
        let Some(Exchange { circuit, rtt, .. }) = self.exchanges.remove(&exchange) else { return };
        let Some(punch) = self.punches.get_mut(&circuit).filter(|punch| punch.ours == Some(exchange)) else { return };
        punch.ours = None;
        let open = shared.now + rtt / 2;
        let after = |rtts| open + (rtt * rtts).clamp(MIN_REVERSAL_DELAY, ATTEMPT_TIMEOUT);
        punch.later = [
            (open, Later::SimultaneousOpen),
            (after(QUIC_REVERSAL_RTTS), Later::Reversal(Transport::Quic)),
            (after(TCP_REVERSAL_RTTS), Later::Reversal(Transport::Tcp)),
        ]
        .into();
    }

    pub(super) fn dial_later(&mut self, shared: &mut Shared, id: ConnId, later: Later) {
        match later {
            Later::SimultaneousOpen => self.dial_as_listener(shared, id, Transport::Tcp),
            Later::Reversal(over) => self.dial_plainly(shared, id, over, true),
        }
    }

    /// The peer told us to dial.
    pub(in crate::core) fn sync_received(&mut self, shared: &mut Shared, exchange: OperationId, theirs: &[TransportAddress]) {
        let Some(Exchange { circuit, .. }) = self.exchanges.remove(&exchange) else { return };
        let Some(punch) = self.punches.get_mut(&circuit) else { return };
        punch.schedule.peer_punches(shared.now);
        if self.take_offer(shared, circuit, theirs, None) {
            self.dial_plainly(shared, circuit, Transport::Tcp, false);
            self.dial_plainly(shared, circuit, Transport::Quic, false);
        }
    }

    pub(in crate::core) fn exchange_failed(
        &mut self,
        shared: &mut Shared,
        exchange: OperationId,
        unsupported: bool,
        cause: &str,
    ) {
        let Some(Exchange { circuit, side, .. }) = self.exchanges.remove(&exchange) else { return };
        let Some(punch) = self.punches.get_mut(&circuit) else { return };
        let reason = match (side, punch.schedule.is_running()) {
            (Side::Ours(attempt), is_running) => {
                punch.ours = None;
                if !is_running || attempt != punch.schedule.attempts() {
                    // The peer's own attempt has replaced it.
                    return;
                }
                unsupported.then_some(RelayReason::PeerCannotPunch)
            }
            // What is under way may succeed all the same.
            (Side::Theirs { .. }, true) => return,
            (Side::Theirs { offered_nothing }, false) => {
                // The peer's attempt has failed, and the peer repeats it.
                punch.schedule.peer_punches(shared.now);
                // A peer that is offered nothing ends the exchange.
                offered_nothing.then_some(RelayReason::NoOwnCandidate)
            }
        };
        let attempts = punch.schedule.failures() + 1;
        let broken = || RelayReason::ExchangeFailed { attempts, cause: clean(cause, MAX_CAUSE) };
        self.fail(shared, circuit, Some(reason.unwrap_or_else(broken)));
    }

    /// Takes the peer's candidates; whether there is anything to dial.
    fn take_offer(&mut self, shared: &mut Shared, id: ConnId, offered: &[TransportAddress], rtt: Option<Duration>) -> bool {
        let ours = self.punches.get(&id).map(|punch| self.offer(shared, &punch.party));
        let Some((punch, ours)) = self.punches.get_mut(&id).zip(ours) else { return false };
        let transports = shared.punch_transports(&punch.party.peer);
        let permitted =
            Permitted { transports, local: shared.punch.allow_local_candidates, own: &shared.interfaces, host: &shared.host };
        let mut theirs = dialable(offered, permitted);
        let observed = self.candidates.observed(transports);
        if self.neighbours.has(&punch.party) {
            let seen = [observed.clone(), shared.host.public()].concat();
            let near = on_link(offered, transports, &seen, &shared.host);
            theirs.extend(self.neighbours.afford(&punch.party.peer, near, shared.now));
        }
        shared.report(NetworkEvent::PunchDialing {
            peer: punch.party.peer.clone(),
            rtt,
            ours: locators(ours, &shared.local),
            theirs: locators(theirs.clone(), &punch.party.peer),
        });
        punch.schedule.dialing(shared.now);
        punch.is_answered = true;
        let evidence = Evidence::new(&observed, offered, &shared.interfaces);
        punch.attempt = Attempt::exchanged(evidence);
        punch.theirs = theirs;
        if punch.theirs.is_empty() && punch.schedule.attempts() > 0 {
            // A neighbour's address, which we do not dial, says more.
            let reason = (!punch.attempt.is_same_link()).then_some(if is_foreign(offered, &shared.host) {
                RelayReason::NoCommonFamily
            } else {
                RelayReason::NoPeerCandidate
            });
            self.fail(shared, id, reason);
            return false;
        }
        true
    }
}

fn locators(addresses: Vec<TransportAddress>, of: &PeerIdentity) -> Vec<PeerLocator> {
    let locator = |address| PeerLocator { peer: Some(of.clone()), address: PeerAddress::Direct(address) };
    addresses.into_iter().map(locator).collect()
}
