//! Requests of peers. What is cheap to check comes first; signatures come last.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use kaspath_domain::{Moment, Namespace, NodeRecord, RelayAddress, SignedRecord, TransportAddress, wall_clock};
use libp2p::{
    PeerId, Stream,
    swarm::{
        ConnectionId,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use prost::Message as _;
use rand::random;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    cookie::Cookie,
    pending::Pending,
    table::{Listing, Refused, TTL, Wanted},
    verify::{address_of, names_others},
};
use crate::{
    convert,
    discovery::{Discover, DiscoverResponse, Here, Kind, MAX_ANSWER, Message, Own, Register, Status, TOO_OFTEN, limit_of},
    records::{self, Addresses},
    relay_server::{RelayService, behaviour::Behaviour, denial::Denial, origin::Origin, tasks::Asker},
};

/// Whoever is listed can be reached.
const RESERVE: &str = "reserve at this relay first, or be reachable without";
const ELSEWHERE: &str = "the record's addresses are not the one that you come from";

/// The answer to a request to be listed.
fn answer_to(listed: Result<Duration, Refusal>) -> Message {
    match listed {
        Ok(ttl) => Message::registered(Status::Ok, None, Some(ttl.as_secs())),
        Err((status, why)) => Message::registered(status, Some(&why), None),
    }
}

/// Why a request is refused.
type Refusal = (Status, String);

fn refused<T>(status: Status, why: &str) -> Result<T, Refusal> {
    Err((status, why.to_owned()))
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let status = if refused == Refused::Older { Status::InvalidSignedPeerRecord } else { Status::Unavailable };
        (status, refused.to_string())
    }
}

impl Behaviour {
    /// Which addresses records may name, and where to look for this node's own.
    pub(crate) fn listing(mut self, addresses: Addresses, here: Arc<Here>) -> Self {
        (self.rendezvous.addresses, self.rendezvous.here) = (addresses, here);
        self
    }

    /// A peer asks who is listed, or to be listed.
    pub(in crate::relay_server) fn meet(&mut self, by: Asker, stream: Stream, request: Message) {
        let now = self.refresh();
        let answer = match (request.kind.and_then(|kind| Kind::try_from(kind).ok()), request) {
            (Some(Kind::Register), Message { register: Some(register), .. }) => {
                let listed = match self.wanted(&by, register, now) {
                    Ok(wanted) if wanted.reserved => self.rendezvous.table.register(wanted, now).map_err(Refusal::from),
                    Ok(wanted) => return self.verify(wanted, stream, by.slot, now),
                    Err(refusal) => Err(refusal),
                };
                answer_to(listed)
            }
            (Some(Kind::Unregister), Message { unregister: Some(unregister), .. }) => {
                if let Ok(namespace) = namespace(unregister.ns) {
                    self.rendezvous.table.unregister(&by.peer, &namespace);
                }
                return;
            }
            (Some(Kind::Discover), Message { discover: Some(discover), .. }) => {
                self.discover(&by, discover, now).unwrap_or_else(|(status, why)| Message::undiscovered(status, &why))
            }
            // Nothing that a client sends.
            _ => return,
        };
        self.answer(stream, answer, by.slot);
    }

    /// Whether that peer may use the rendezvous point at all.
    fn admit_to_rendezvous(&self, by: &Asker) -> Result<Origin, Refusal> {
        self.admit_service(&by.peer, by.origin).map_err(|denial| {
            let status = if denial == Denial::Pressure { Status::Unavailable } else { Status::NotAuthorized };
            (status, denial.to_string())
        })
    }

    /// Who wants to be listed, if it may; by its reservation, or else once it was reached.
    fn wanted(&mut self, by: &Asker, register: Register, now: Moment) -> Result<Wanted<PeerId>, Refusal> {
        let namespace = namespace(register.ns)?;
        let origin = self.admit_to_rendezvous(by)?;
        if self.drain.is_some() {
            return refused(Status::Unavailable, "this relay is draining");
        }
        if !self.rendezvous.gate.may_register(&by.peer, &origin, now) {
            return refused(Status::Unavailable, TOO_OFTEN);
        }
        let reserved = namespace != Namespace::relays() && self.table.has_reservation(&by.peer, now);
        let listing = self.listing_of((&by.peer, &origin), &namespace, register.record, register.signed_peer_record)?;
        let us = self.local();
        let is_here = |record: &NodeRecord| record.relays.iter().any(|relay| relay.relay == us);
        match listing.record.as_ref().map(SignedRecord::record) {
            Some(record) if reserved && !is_here(record) => {
                return refused(Status::InvalidSignedPeerRecord, "the record does not name this relay");
            }
            // Others dial what is said to be reachable.
            Some(record) if record.reachable && names_others(record, &origin) => {
                return refused(Status::InvalidSignedPeerRecord, ELSEWHERE);
            }
            Some(record) if !reserved && !record.kind.is_relay() && !record.reachable => {
                return refused(Status::NotAuthorized, RESERVE);
            }
            None if !reserved => return refused(Status::NotAuthorized, RESERVE),
            _ => {}
        }
        let ttl = register.ttl.map_or(TTL.1, Duration::from_secs);
        Ok(Wanted { peer: by.peer, origin, namespace, listing, ttl, reserved })
    }

    /// Lists a peer that has no reservation, once it was reached where it says that it is.
    fn verify(&mut self, wanted: Wanted<PeerId>, stream: Stream, slot: OwnedSemaphorePermit, now: Moment) {
        let address = wanted.listing.record.as_ref().and_then(|signed| address_of(signed.record(), &wanted.origin)).cloned();
        let Some(address) = address else {
            let refusal = refused(Status::InvalidSignedPeerRecord, ELSEWHERE);
            return self.answer(stream, answer_to(refusal), slot);
        };
        let verifier = &mut self.rendezvous.verifier;
        if verifier.was_reached(&wanted.peer, &address, now) {
            let listed = self.rendezvous.table.register(wanted, now).map_err(Refusal::from);
            return self.answer(stream, answer_to(listed), slot);
        }
        if !verifier.may_dial(&wanted.peer, &wanted.origin, now) {
            return self.answer(stream, answer_to(refused(Status::Unavailable, TOO_OFTEN)), slot);
        }
        // From another port than the connection that is there, which may have the same ends.
        let opts = DialOpts::peer_id(wanted.peer)
            .condition(PeerCondition::Always)
            .addresses(vec![convert::to_multiaddr(&address)])
            .allocate_new_port()
            .build();
        let origin = wanted.origin;
        verifier.begun(opts.connection_id(), &origin, Pending { wanted, address, stream, slot });
        self.dial(opts);
    }

    /// A dial has led to a connection with the peer that it was for, or has failed.
    pub(in crate::relay_server) fn dialled(&mut self, connection: ConnectionId, is_reached: bool) {
        let Some(pending) = self.rendezvous.verifier.ended(&connection) else { return };
        let Pending { wanted, address, stream, slot } = pending;
        let now = self.clock.now();
        let listed = if is_reached {
            self.close(wanted.peer, connection);
            self.rendezvous.verifier.reached(wanted.peer, address, now);
            self.rendezvous.table.register(wanted, now).map_err(Refusal::from)
        } else {
            self.rendezvous.verifier.unreached(&wanted.peer);
            self.rendezvous.table.unregister(&wanted.peer, &wanted.namespace);
            refused(Status::NotAuthorized, "you cannot be reached there")
        };
        self.answer(stream, answer_to(listed), slot);
    }

    /// What a peer says of itself, if it is fit to be told to others.
    fn listing_of(
        &self,
        (peer, origin): (&PeerId, &Origin),
        namespace: &Namespace,
        record: Option<Vec<u8>>,
        peer_record: Option<Vec<u8>>,
    ) -> Result<Listing, Refusal> {
        const INVALID: Status = Status::InvalidSignedPeerRecord;
        if record.is_none() && peer_record.is_none() {
            return refused(INVALID, "there is no record");
        }
        let record = record.map(|envelope| self.record_of(peer, namespace, &envelope)).transpose()?;
        if let Some(envelope) = &peer_record {
            // Stock software rejects all of an answer for one that is wrong.
            let signed = records::verify_peer_record(envelope).ok().filter(|signed| signed.peer_id() == *peer);
            let Some(signed) = signed else { return refused(INVALID, "the peer record is invalid") };
            // Stock software dials what it is told.
            if !records::names_only(&signed, self.rendezvous.addresses, |address| origin.is_of(address)) {
                return refused(
                    INVALID,
                    "the peer record names addresses that are neither a relay's nor the one that you come from",
                );
            }
        }
        Ok(Listing { record, peer_record })
    }

    fn record_of(&self, peer: &PeerId, namespace: &Namespace, envelope: &[u8]) -> Result<SignedRecord, Refusal> {
        const INVALID: Status = Status::InvalidSignedPeerRecord;
        // Where we are is for others to say: a record may name us without an address.
        let here = RelayAddress { relay: self.local(), via: TransportAddress::tcp(([0, 0, 0, 0], 0).into()) };
        let signed = records::verify(envelope, Some(&here), self.rendezvous.addresses);
        let signed = signed.map_err(|error| (INVALID, format!("the record is invalid: {error}")))?;
        let record = signed.record();
        if record.peer != convert::identity(peer) {
            return refused(Status::NotAuthorized, "the record is another peer's");
        }
        if records::left(record, wall_clock()).is_none() {
            return refused(INVALID, "the record is too old, or from the future: look at both clocks");
        }
        if !records::fits(record, namespace) {
            return refused(Status::InvalidNamespace, "the record is not for that name");
        }
        Ok(signed)
    }

    fn discover(&mut self, by: &Asker, discover: Discover, now: Moment) -> Result<Message, Refusal> {
        let namespace = namespace(discover.ns)?;
        let origin = self.admit_to_rendezvous(by)?;
        if !self.rendezvous.gate.may_ask(&by.peer, &origin, now) {
            return refused(Status::Unavailable, TOO_OFTEN);
        }
        let cookie = match discover.cookie.filter(|cookie| !cookie.is_empty()) {
            None => None,
            Some(cookie) => match Cookie::decode(&cookie, &namespace) {
                None => return refused(Status::InvalidCookie, "that is no cookie of this name"),
                cookie => cookie,
            },
        };
        let most = limit_of(&namespace);
        let limit = discover.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(most).min(most);
        let reads_records = discover.reads_records == Some(true);
        // Strangers can reach it as long as it serves them.
        let own =
            self.rendezvous.here.get(&namespace, Instant::now()).filter(|_| limit > 0 && self.service() == RelayService::Open);
        let limit = limit - usize::from(own.is_some());
        let (entries, cookie) = self.rendezvous.table.discover((&by.peer, &namespace), limit, cookie, now, &mut random::<f64>);
        let mut room = MAX_ANSWER - namespace.as_str().len() - 64;
        let own = own.map(|(Own { record, peer_record }, left)| (Listing { record: Some(record), peer_record }, left));
        let own = own.iter().map(|(listing, left)| (listing, *left));
        let listed = own.chain(entries.into_iter().map(|entry| (&entry.listing, entry.left(now))));
        let registrations = listed.filter_map(|(listing, left)| {
            let record = listing.record.as_ref().filter(|_| reads_records).map(|signed| signed.envelope().to_vec());
            let signed_peer_record = listing.peer_record.as_ref().filter(|_| record.is_none()).cloned();
            // Stock software reads no answer that has an entry without one.
            if record.is_none() && signed_peer_record.is_none() {
                return None;
            }
            let ttl = Some(left.as_secs());
            let register = Register { ns: Some(namespace.to_string()), signed_peer_record, ttl, record };
            room = room.checked_sub(register.encoded_len() + 4)?;
            Some(register)
        });
        let answer = Message::discovered(DiscoverResponse {
            registrations: registrations.collect(),
            cookie: Some(cookie.encode(&namespace)),
            status: Some(Status::Ok.into()),
            status_text: None,
        });
        let may_answer = self.rendezvous.gate.may_answer(&origin, answer.encoded_len(), now);
        if may_answer { Ok(answer) } else { refused(Status::Unavailable, TOO_OFTEN) }
    }
}

/// Nobody is told of all names: a name that is not known is as good as a secret.
fn namespace(ns: Option<String>) -> Result<Namespace, Refusal> {
    let parsed = ns.unwrap_or_default().parse::<Namespace>();
    parsed.map_err(|error| (Status::InvalidNamespace, error.to_string()))
}
