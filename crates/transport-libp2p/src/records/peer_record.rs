//! libp2p's own peer records, for stock software: they carry addresses alone.

use std::time::Duration;

use kaspath_domain::{
    NatMapping, NodeRecord, PeerAddress, PeerIdentity, RecordKind, RelayAddress, SignedRecord, Timestamp, TransportAddress,
};
use libp2p::{
    Multiaddr,
    core::{PeerRecord, SignedEnvelope},
    identity::Keypair,
    multiaddr::Protocol,
};

use super::{Addresses, RecordError, TTL};
use crate::convert;

/// The longest one that is taken and given.
const MAX_PEER_RECORD: usize = 1024;
/// Addresses of a foreign one that are looked at.
const MAX_ADDRESSES: usize = 16;
/// Circuits of a foreign one that are used.
const MAX_CIRCUITS: usize = 6;

/// Ours, for stock software: where we can be reached through relays and, if strangers can
/// reach us, straight.
pub(crate) fn peer_record(key: &Keypair, record: &NodeRecord) -> Option<Vec<u8>> {
    let local = key.public().to_peer_id();
    let addresses = record.target().addresses.into_iter().map(|locator| match locator.address {
        PeerAddress::Direct(address) => convert::to_multiaddr(&address),
        PeerAddress::Relayed(relay) => convert::circuit(convert::to_multiaddr(&relay.via), convert::peer_id(&relay.relay)),
    });
    let addresses: Vec<Multiaddr> = addresses.map(|address| address.with(Protocol::P2p(local))).collect();
    let signed = PeerRecord::new(key, addresses).ok()?.into_signed_envelope().into_protobuf_encoding();
    Some(signed).filter(|signed| signed.len() <= MAX_PEER_RECORD)
}

/// A peer's, whose signature is its own.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn verify_peer_record(envelope: &[u8]) -> Result<PeerRecord, RecordError> {
    if envelope.len() > MAX_PEER_RECORD {
        return Err(RecordError::TooLong);
    }
    let signed = SignedEnvelope::from_protobuf_encoding(envelope).map_err(|_| RecordError::Envelope)?;
    PeerRecord::from_signed_envelope(signed).map_err(|_| RecordError::Signature)
}

/// Whether others may be told all that it names: relays, and addresses of its owner of which
/// `is_own` is true.
pub(crate) fn names_only(record: &PeerRecord, may: Addresses, is_own: impl Fn(&TransportAddress) -> bool) -> bool {
    let own =
        |address: &Multiaddr| convert::candidate(address, &record.peer_id()).is_some_and(|at| may.allow(&at) && is_own(&at));
    record.addresses().iter().all(|address| match convert::relay_of(address) {
        Some(relay) => may.allow(&relay.via),
        None => own(address),
    })
}

/// A peer's that lists itself by stock software: it can be reached through its relays, and
/// looks for peers of that network. Others may not pass it on. It is valid as long as one of
/// ours: whoever has it could tell it for ever otherwise.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn of_foreign(envelope: &[u8], network: &str, may: Addresses) -> Result<SignedRecord, RecordError> {
    let peer_record = verify_peer_record(envelope)?;
    let peer: PeerIdentity = convert::named(&peer_record.peer_id()).ok_or(RecordError::Key)?;
    let circuits = peer_record.addresses().iter().take(MAX_ADDRESSES).filter_map(convert::relay_of);
    let mut relays: Vec<RelayAddress> = Vec::new();
    for relay in circuits.filter(|relay| may.allow(&relay.via)) {
        // Stock software names a circuit with and without its own id.
        if relays.len() < MAX_CIRCUITS && !relays.contains(&relay) {
            relays.push(relay);
        }
    }
    let record = NodeRecord {
        peer,
        kind: RecordKind::Node,
        network: network.to_owned(),
        gossip: false,
        mapping: NatMapping::Unknown,
        reachable: false,
        issued: time_of(peer_record.seq()),
        ttl: TTL.1,
        relays,
        candidates: Vec::new(),
        load: None,
        tag: None,
    };
    Ok(SignedRecord::foreign(record, envelope))
}

/// When a peer record was signed, by its number: rust-libp2p counts seconds, js-libp2p
/// milliseconds, go-libp2p nanoseconds. What only counts is long over.
fn time_of(number: u64) -> Timestamp {
    Timestamp::from_epoch(match number {
        0..100_000_000_000 => Duration::from_secs(number),
        100_000_000_000..100_000_000_000_000 => Duration::from_millis(number),
        100_000_000_000_000..100_000_000_000_000_000 => Duration::from_micros(number),
        _ => Duration::from_nanos(number),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_time_in_any_of_the_units() {
        for number in [1_800_000_000, 1_800_000_000_000, 1_800_000_000_000_000, 1_800_000_000_000_000_000] {
            assert_eq!(time_of(number), Timestamp::from_epoch(Duration::from_secs(1_800_000_000)));
        }
        assert!(time_of(u64::MAX) > time_of(1_800_000_000) && time_of(7) < time_of(1_000_000_000));
    }
}
