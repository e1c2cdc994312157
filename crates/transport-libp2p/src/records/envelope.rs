//! A record's envelope: libp2p's signed envelope with a domain of our own, so that no
//! signature made for something else passes for one of a record.

use std::sync::{Mutex, PoisonError};

use kaspath_domain::{RecordDraft, RelayAddress, SignedRecord, Timestamp, TransportAddress};
use libp2p::{core::SignedEnvelope, identity::Keypair};

use super::{
    Addresses, RecordError,
    payload::{self, MAX_PAYLOAD, millis},
};
use crate::convert;

const DOMAIN: &str = "kaspath-record-v1";
const PAYLOAD_TYPE: &[u8] = b"/kaspath/record/1";
/// The longest envelope: the payload, and what the envelope adds.
pub(crate) const MAX_ENVELOPE: usize = MAX_PAYLOAD + 128;

/// Verifies a record. Relays that it names without an address are at `told_by`, if that is
/// the one.
///
/// # Errors
/// What is wrong with it; its age is not looked at.
pub(crate) fn verify(envelope: &[u8], told_by: Option<&RelayAddress>, may: Addresses) -> Result<SignedRecord, RecordError> {
    if envelope.len() > MAX_ENVELOPE {
        return Err(RecordError::TooLong);
    }
    let signed = SignedEnvelope::from_protobuf_encoding(envelope).map_err(|_| RecordError::Envelope)?;
    let (payload, key) = signed.payload_and_signing_key(DOMAIN.to_owned(), PAYLOAD_TYPE).map_err(|_| RecordError::Signature)?;
    if key.clone().try_into_ed25519().is_err() {
        return Err(RecordError::Key);
    }
    let record = payload::decode(payload, convert::identity(&key.to_peer_id()), told_by, may)?;
    Ok(SignedRecord::verified(record, envelope))
}

/// Signs what this node says of itself.
pub(crate) struct Signer {
    key: Keypair,
    may: Addresses,
    /// When the last record was issued, in ms. The next one is later, whatever the clock says.
    last: Mutex<u64>,
}

impl Signer {
    pub(crate) fn new(key: Keypair, may: Addresses) -> Self {
        Self { key, may, last: Mutex::new(0) }
    }

    pub(crate) fn key(&self) -> &Keypair {
        &self.key
    }

    /// A record of that, issued now. What does not fit is left out.
    ///
    /// # Panics
    /// An Ed25519 key does not sign, which none does.
    pub(crate) fn sign(&self, draft: &RecordDraft, now: Timestamp) -> SignedRecord {
        let issued = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            *last = millis(now).max(last.saturating_add(1));
            Timestamp::from_epoch(std::time::Duration::from_millis(*last))
        };
        let payload = payload::encode(draft, issued, self.may);
        let record = payload::decode(&payload, convert::identity(&self.key.public().to_peer_id()), None, self.may);
        let record = record.expect("what is encoded is valid");
        let envelope = SignedEnvelope::new(&self.key, DOMAIN.to_owned(), PAYLOAD_TYPE.to_vec(), payload);
        let envelope = envelope.expect("an Ed25519 key signs").into_protobuf_encoding();
        SignedRecord::verified(record, &envelope)
    }

    /// The record as it is listed at a relay to which there is a link over that family: of what
    /// strangers can reach, the relay can verify addresses of that one, which come first, and
    /// without any nothing.
    pub(crate) fn of_family(&self, signed: &SignedRecord, is_v4: bool, now: Timestamp) -> SignedRecord {
        let record = signed.record();
        let fits = |address: &TransportAddress| address.ip().is_some_and(|ip| ip.is_ipv4() == is_v4);
        if !record.reachable || record.candidates.first().is_none_or(fits) {
            return signed.clone();
        }
        let mut draft = draft_of(record);
        draft.candidates.sort_by_key(|address| !fits(address));
        if !draft.candidates.first().is_some_and(fits) {
            (draft.candidates, draft.reachable) = (Vec::new(), false);
        }
        self.sign(&draft, now)
    }
}

/// A record from a remote, for fuzzing: its signature is not looked at, for no mutation
/// would pass it.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    let (may, peer) = (Addresses { local: false }, kaspath_domain::PeerIdentity::from_bytes(&[0, 1, 1]).expect("an identity"));
    let _ = verify(bytes, None, may);
    if let Ok(record) = payload::decode(bytes, peer.clone(), None, may) {
        let again = draft_of(&record);
        let decoded = payload::decode(&payload::encode(&again, record.issued, may), peer, None, may);
        let decoded = decoded.expect("what is encoded is valid");
        assert_eq!((decoded.candidates, decoded.ttl), (record.candidates, record.ttl));
    }
}

fn draft_of(record: &kaspath_domain::NodeRecord) -> RecordDraft {
    RecordDraft {
        kind: record.kind,
        network: record.network.clone(),
        gossip: record.gossip,
        mapping: record.mapping,
        reachable: record.reachable,
        ttl: record.ttl,
        relays: record.relays.clone(),
        candidates: record.candidates.clone(),
        load: record.load,
        tag: record.tag,
    }
}

#[cfg(test)]
mod tests;
