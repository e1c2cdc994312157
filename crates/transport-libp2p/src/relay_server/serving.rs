//! Requests, and the circuits that come of them.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use kaspath_domain::Moment;
use libp2p::{Multiaddr, PeerId, Stream, swarm::ConnectionId};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{
    behaviour::Behaviour,
    budget::Parties,
    copy::copy,
    denial::Denial,
    exchange,
    handler::{FromBehaviour, STOP},
    load::RelayService,
    messages::{HopAnswer, Reservation},
    meter::{Meter, Side},
    origin::Origin,
    table::{Circuit, CircuitId, Ended},
    tasks::{Asker, Done, Running},
};
use crate::{NetworkEvent, convert};

impl Behaviour {
    /// Whether that peer may ask for a reservation at all, before any work. A peer that
    /// has one may renew it when memory is short, but not when the relay drains.
    fn admit_reservation(&self, peer: &PeerId, origin: Option<Origin>, now: Moment) -> Result<Origin, Denial> {
        let origin = self.admit(peer, origin, now)?;
        if self.is_under_pressure && !self.table.has_reservation(peer, now) {
            return Err(Denial::Pressure);
        }
        if !self.has_token(peer) {
            return Err(Denial::Token);
        }
        Ok(origin)
    }

    fn admit_circuit(&self, peer: &PeerId, origin: Option<Origin>, now: Moment) -> Result<Origin, Denial> {
        if self.is_under_pressure {
            return Err(Denial::Pressure);
        }
        self.admit(peer, origin, now)
    }

    /// Whether that peer may use what is served beside reservations and circuits.
    pub(super) fn admit_service(&self, peer: &PeerId, origin: Option<Origin>) -> Result<Origin, Denial> {
        let origin = self.allowed(peer, origin)?;
        if !self.has_token(peer) {
            return Err(Denial::Token);
        }
        if self.is_under_pressure { Err(Denial::Pressure) } else { Ok(origin) }
    }

    fn allowed(&self, peer: &PeerId, origin: Option<Origin>) -> Result<Origin, Denial> {
        let origin = origin.ok_or(Denial::Relayed)?;
        if self.is_allowed(peer, &origin) { Ok(origin) } else { Err(Denial::NotAllowed) }
    }

    fn admit(&self, peer: &PeerId, origin: Option<Origin>, now: Moment) -> Result<Origin, Denial> {
        let origin = self.allowed(peer, origin)?;
        if self.service() != RelayService::Open {
            return Err(Denial::Draining);
        }
        self.flows.exceeded(peer, &origin.prefix, now).map_or(Ok(origin), |exceeded| Err(exceeded.into()))
    }

    pub(super) fn reserve(&mut self, by: Asker, stream: Stream) {
        let Asker { peer, connection, origin, slot } = by;
        let now = self.refresh();
        let granted = self.admit_reservation(&peer, origin, now).and_then(|origin| {
            if !self.has_address() {
                return Err(Denial::NoAddress);
            }
            self.table.reserve(&peer, connection, origin, now)
        });
        let (answer, next) = match granted {
            Ok(granted) => {
                if let Some(released) = granted.released {
                    self.notify(peer, released, FromBehaviour::Hold(false));
                }
                self.notify(peer, connection, FromBehaviour::Hold(true));
                self.rendezvous.back(&peer);
                self.report(NetworkEvent::RelayReservationAccepted { peer: convert::identity(&peer), renewed: granted.renewed });
                // Before it has the answer it would refuse them.
                let next = Done::Reserved { peer, connection, unanswered: granted.unanswered };
                (HopAnswer::reserved(self.reservation(&peer), self.limit()), next)
            }
            Err(denial) => {
                let (status, cause) = (denial.status(), denial.to_string());
                *self.refused_reservations.entry(denial.reason()).or_default() += 1;
                self.report_denial(NetworkEvent::RelayReservationDenied {
                    peer: convert::identity(&peer),
                    status: status.to_string(),
                    cause,
                });
                (HopAnswer::refused(status), Done::Answered)
            }
        };
        self.answer_then(stream, answer, slot, next);
    }

    /// Asks a peer on that connection too for circuits that wait for its answer.
    pub(super) fn ask_again(&mut self, peer: PeerId, connection: ConnectionId, unanswered: Vec<CircuitId>) {
        for id in unanswered {
            if let Some(way) = self.running.get(&id).and_then(Running::another_way) {
                way.send((connection, self.open_stream(peer, connection, STOP)));
            }
        }
    }

    /// Sends the last message of an exchange, and frees its place.
    pub(super) fn answer(&mut self, stream: Stream, message: impl prost::Message + 'static, slot: OwnedSemaphorePermit) {
        self.answer_then(stream, message, slot, Done::Answered);
    }

    fn answer_then(&mut self, stream: Stream, message: impl prost::Message + 'static, slot: OwnedSemaphorePermit, next: Done) {
        self.tasks.spawn(async move {
            exchange::answer(stream, message).await;
            drop(slot);
            next
        });
    }

    fn has_address(&mut self) -> bool {
        let any = self.public_addresses().next().is_some();
        if !any && !self.warned {
            tracing::warn!("this relay refuses reservations, because it has no address to give to peers: set external-address");
        }
        // Reported again when the last address is lost.
        self.warned = !any;
        any
    }

    /// A circuit through another relay does not count as an address of a relay.
    fn public_addresses(&self) -> impl Iterator<Item = &Multiaddr> {
        self.addresses.iter().filter(|address| !convert::is_relayed(address))
    }

    fn reservation(&self, peer: &PeerId) -> Reservation {
        let expires = SystemTime::now().checked_add(self.config.reservation_duration);
        let expires = expires.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).map_or(u64::MAX, |at| at.as_secs());
        Reservation::new(&self.key, peer, self.public_addresses(), expires)
    }

    pub(super) fn connect(&mut self, by: Asker, mut stream: Stream, destination: PeerId) {
        let Asker { peer, connection, origin, slot } = by;
        let now = self.refresh();
        let accepted = self
            .admit_circuit(&peer, origin, now)
            .and_then(|origin| self.table.connect(&peer, connection, origin, &destination, now));
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(denial) => return self.deny_circuit(peer, destination, denial, stream, slot),
        };
        if let Some(evicted) = accepted.evicted {
            self.ended(evicted);
        }
        let way = (accepted.destination, self.open_stream(destination, accepted.destination, STOP));
        let (more, ways) = mpsc::channel(exchange::MORE_WAYS);
        let (id, limit) = (accepted.id, self.limit());
        let task = self.tasks.spawn(async move {
            match exchange::join(&mut stream, &peer, way, ways, limit).await {
                Ok((over, destination)) => Done::Joined { id, source: stream, destination, over },
                Err(denial) => Done::NotJoined { id, source: stream, slot, denial },
            }
        });
        self.running.insert(id, Running::new(task, Arc::new(Meter::new(self.clock)), Some(more)));
    }

    pub(super) fn deny_circuit(
        &mut self,
        source: PeerId,
        destination: PeerId,
        denial: Denial,
        stream: Stream,
        slot: OwnedSemaphorePermit,
    ) {
        let status = denial.status();
        *self.refused_circuits.entry(denial.reason()).or_default() += 1;
        // An id that the domain does not accept was refused as a malformed message.
        if let Some(destination) = convert::named(&destination) {
            let source = convert::identity(&source);
            let (status, cause) = (status.to_string(), denial.to_string());
            self.report_denial(NetworkEvent::RelayCircuitDenied { source, destination, status, cause });
        }
        self.answer(stream, HopAnswer::refused(status), slot);
    }

    pub(super) fn joined(&mut self, id: CircuitId, source: Stream, destination: Stream, over: ConnectionId) {
        let now = self.clock.now();
        let Some(circuit) = self.table.opened(id, over, now) else {
            self.table.remove(id);
            self.running.remove(&id);
            return;
        };
        let event = NetworkEvent::RelayCircuitOpened {
            source: convert::identity(&circuit.source),
            destination: convert::identity(&circuit.destination),
        };
        let peers = [circuit.source, circuit.destination];
        let parties = Parties { peers, prefixes: [circuit.origin.prefix, circuit.destination_origin.prefix] };
        let flow = self.flows.of(parties, self.clock);
        let meter = Arc::new(Meter::new(self.clock));
        let (max_bytes, counted) = (self.config.max_circuit_bytes, meter.clone());
        let task =
            self.tasks.spawn(async move { Done::Ended { id, why: copy(source, destination, max_bytes, &counted, &flow).await } });
        self.running.insert(id, Running::new(task, meter, None));
        self.members.joined(&peers);
        self.report(event);
    }

    pub(super) fn ended(&mut self, ended: Ended<PeerId, ConnectionId>) {
        let Ended { id, circuit: Circuit { source, destination, opened, .. }, reason } = ended;
        // Ends the task, and with it both streams.
        let running = self.running.remove(&id);
        self.moved += running.as_ref().map_or(0, Running::bytes);
        if let (Some(opened), Some(running)) = (opened, running) {
            self.report(NetworkEvent::RelayCircuitClosed {
                source: convert::identity(&source),
                destination: convert::identity(&destination),
                from_source: running.meter.bytes(Side::Source),
                from_destination: running.meter.bytes(Side::Destination),
                duration: self.clock.now().since(opened),
                reason,
            });
        }
    }
}
