//! What is believed of a relay's answer. Pure: time comes as a parameter.

use std::{collections::BTreeSet, time::Duration};

use kaspath_domain::{DiscoveryError, Namespace, PeerIdentity, RelayAddress, SignedRecord, Timestamp, Told, clean};

use super::{DiscoverResponse, Message, Register, Status, TOO_OFTEN};
use crate::records::{self, Addresses};

/// Invalid records after which a teller is not listened to any more.
const MAX_INVALID: usize = 2;
/// The longest text of a refusal that is shown.
const MAX_TEXT: usize = 200;
/// The shortest time for which it is worth to be listed.
const MIN_LISTED: Duration = Duration::from_secs(10);

/// What was asked.
pub(super) struct Question<'a> {
    pub(super) relay: &'a RelayAddress,
    pub(super) namespace: &'a Namespace,
    pub(super) limit: usize,
    pub(super) us: &'a PeerIdentity,
    pub(super) addresses: Addresses,
}

impl Question<'_> {
    /// Whom the relay tells of. What comes beyond the limit is not looked at.
    pub(super) fn told(&self, answer: Message, now: Timestamp) -> Result<Vec<Told>, DiscoveryError> {
        let Some(answer) = answer.discover_response else { return Err(invalid("it is no answer to a question")) };
        let DiscoverResponse { registrations, status, status_text, .. } = answer;
        accepted(status, status_text)?;
        let entries = registrations.into_iter().take(self.limit).map(|register| {
            let ttl = Duration::from_secs(register.ttl.unwrap_or_default());
            (self.record(register), ttl)
        });
        believed(self.us, entries, now)
    }

    /// One entry, if the relay may tell it: peers there hold a reservation there, or can be
    /// reached without.
    fn record(&self, register: Register) -> Option<SignedRecord> {
        let signed = match register {
            Register { record: Some(envelope), .. } => records::verify(&envelope, Some(self.relay), self.addresses).ok()?,
            Register { signed_peer_record: Some(envelope), .. } => {
                records::of_foreign(&envelope, self.namespace.network()?, self.addresses).ok()?
            }
            _ => return None,
        };
        let record = signed.record();
        let is_here = || record.reachable || record.relays.iter().any(|relay| relay.relay == self.relay.relay);
        let may_tell = *self.namespace == Namespace::relays() || is_here();
        (records::fits(record, self.namespace) && may_tell).then_some(signed)
    }
}

/// What is believed of a teller's entries: of each the record, if it is valid, and for how long
/// the teller has it. Those that it has twice, or that are us, are left out.
pub(super) fn believed(
    us: &PeerIdentity,
    entries: impl Iterator<Item = (Option<SignedRecord>, Duration)>,
    now: Timestamp,
) -> Result<Vec<Told>, DiscoveryError> {
    let (mut seen, mut wrong, mut told) = (BTreeSet::from([us.clone()]), 0, Vec::new());
    for (record, ttl) in entries {
        let Some(record) = record else {
            wrong += 1;
            if wrong == MAX_INVALID {
                return Err(invalid("it has invalid records"));
            }
            continue;
        };
        let left = records::left(record.record(), now).map_or(Duration::ZERO, |left| left.min(ttl));
        // A teller may have a wrong clock, or one of ours is.
        if !left.is_zero() && seen.insert(record.record().peer.clone()) {
            told.push(Told { record, left });
        }
    }
    Ok(told)
}

/// For how long this node is listed.
pub(super) fn listed(answer: Message) -> Result<Duration, DiscoveryError> {
    let Some(answer) = answer.register_response else { return Err(invalid("it is no answer to a registration")) };
    accepted(answer.status, answer.status_text)?;
    let ttl = Duration::from_secs(answer.ttl.unwrap_or_default());
    if ttl < MIN_LISTED { Err(invalid("it lists for no time")) } else { Ok(ttl) }
}

fn accepted(status: Option<i32>, text: Option<String>) -> Result<(), DiscoveryError> {
    let text = text.unwrap_or_default();
    match status.and_then(|status| Status::try_from(status).ok()) {
        Some(Status::Ok) => Ok(()),
        Some(Status::Unavailable) if text == TOO_OFTEN => Err(DiscoveryError::TooOften),
        Some(status) if text.is_empty() => Err(DiscoveryError::Refused(format!("{status:?}"))),
        Some(_) => Err(DiscoveryError::Refused(clean(&text, MAX_TEXT))),
        None => Err(invalid("it has no status")),
    }
}

fn invalid(what: &str) -> DiscoveryError {
    DiscoveryError::Invalid(what.to_owned())
}

/// A message from a remote, as a relay and as a client reads it, for fuzzing.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    use futures::{FutureExt, io::Cursor};
    use prost::Message as _;
    // A cursor never waits.
    let message = crate::wire::receive_within::<Message, _>(&mut Cursor::new(bytes), super::MAX_ANSWER).now_or_never();
    let Some(Ok(message)) = message else { return };
    assert_eq!(Message::decode(message.encode_to_vec().as_slice()).as_ref(), Ok(&message));
    let (namespace, us) = (Namespace::relays(), PeerIdentity::from_bytes(&[0, 1, 1]).expect("an identity"));
    let via = kaspath_domain::TransportAddress::tcp(([203, 0, 113, 1], 4001).into());
    let relay = RelayAddress { relay: us.clone(), via };
    let question = Question { relay: &relay, namespace: &namespace, limit: 32, us: &us, addresses: Addresses { local: false } };
    let _ = listed(message.clone());
    if let Ok(told) = question.told(message, Timestamp::default()) {
        assert!(told.len() <= 32);
    }
}

#[cfg(test)]
mod tests;
