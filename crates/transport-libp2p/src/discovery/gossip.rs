//! What peers with a session ask each other: whom do you know? docs/discovery-protocol.md
//! has the two frames.

use std::{
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use kaspath_domain::{
    DiscoveryError, IpPrefix, MonotonicClock, Namespace, PeerIdentity, SignedRecord, Slots, Timestamp, Told, wall_clock,
};
use libp2p::StreamProtocol;
use tokio::time::timeout;

use super::answers::believed;
use crate::{
    gates::{Gates, Share, Shares},
    records::{self, Addresses, MAX_ENVELOPE},
};

pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/kaspath/gossip/1.0.0");
const VERSION: u8 = 1;
/// Records in an answer.
pub(super) const MAX_RECORDS: usize = 16;
/// Instead of a count: it was asked too often.
const OFTEN: u8 = 255;
/// Time for a request, and for an answer to leave.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A record that is passed on is valid for so long at least.
const MIN_LEFT: Duration = Duration::from_secs(60);
/// Answers: so many at once, then one at every interval. Those whose connections are relayed
/// share what the relay's host has.
const RATES: Shares = Shares {
    peer: (4, Duration::from_secs(150)),
    host: (8, Duration::from_secs(10)),
    network: (12, Duration::from_secs(2)),
    all: (32, Duration::from_millis(125)),
};
/// Answers under way, and of them to one host; a peer has one.
const MAX_ANSWERING: usize = 32;
const PER_HOST: usize = 8;

/// What a node knows, for others: up to so many records under a name. What may not be passed
/// on or is about to end is left out of the answer, and so is the asker's own record.
pub type KnownRecords = Arc<dyn Fn(&Namespace, usize) -> Vec<SignedRecord> + Send + Sync>;

/// A request: version, how many records are wanted, the name's length, the name.
async fn send_request<S: AsyncWrite + Unpin>(stream: &mut S, namespace: &Namespace, wanted: usize) -> io::Result<()> {
    let name = namespace.as_str().as_bytes();
    let header = [VERSION, wanted.min(MAX_RECORDS) as u8, name.len() as u8];
    stream.write_all(&[&header, name].concat()).await?;
    stream.flush().await
}

async fn receive_request<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<(Namespace, usize)> {
    let mut header = [0; 3];
    stream.read_exact(&mut header).await?;
    let [version, wanted, length] = header;
    let mut name = [0; Namespace::LONGEST];
    let name = name.get_mut(..usize::from(length)).filter(|_| version == VERSION).ok_or_else(|| invalid("no such request"))?;
    stream.read_exact(name).await?;
    let name = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok()).ok_or_else(|| invalid("no such name"))?;
    Ok((name, usize::from(wanted).min(MAX_RECORDS)))
}

/// An answer: the number of records, and the length of each in two bytes, and its envelope.
fn answer(records: &[SignedRecord]) -> Vec<u8> {
    let mut bytes = vec![records.len() as u8];
    for record in records {
        bytes.extend_from_slice(&(record.envelope().len() as u16).to_be_bytes());
        bytes.extend_from_slice(record.envelope());
    }
    bytes
}

/// `None` if the peer was asked too often.
async fn receive_answer<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<Vec<Vec<u8>>>> {
    let mut count = [0];
    stream.read_exact(&mut count).await?;
    match count[0] {
        OFTEN => return Ok(None),
        count if usize::from(count) > MAX_RECORDS => return Err(invalid("too many records")),
        _ => {}
    }
    let mut envelopes = Vec::new();
    for _ in 0..count[0] {
        let mut length = [0; 2];
        stream.read_exact(&mut length).await?;
        let length = usize::from(u16::from_be_bytes(length));
        if length > MAX_ENVELOPE {
            return Err(invalid("a record is too long"));
        }
        let mut envelope = vec![0; length];
        stream.read_exact(&mut envelope).await?;
        envelopes.push(envelope);
    }
    Ok(Some(envelopes))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Asks on that stream; `None` if the peer was asked too often.
pub(super) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    namespace: &Namespace,
    wanted: usize,
) -> io::Result<Option<Vec<Vec<u8>>>> {
    send_request(stream, namespace, wanted).await?;
    receive_answer(stream).await
}

/// What is believed of an answer. A peer passes on what others have signed, so that it fits
/// the name is all that can be asked of it.
pub(super) fn told(
    envelopes: Vec<Vec<u8>>,
    (us, namespace): (&PeerIdentity, &Namespace),
    addresses: Addresses,
    now: Timestamp,
) -> Result<Vec<Told>, DiscoveryError> {
    let fits = |signed: &SignedRecord| signed.record().gossip && records::fits(signed.record(), namespace);
    let entries = envelopes.iter().map(|envelope| (records::verify(envelope, None, addresses).ok().filter(fits), Duration::MAX));
    believed(us, entries, now)
}

/// Answers what peers ask.
pub(crate) struct Answering {
    known: Mutex<Option<KnownRecords>>,
    rates: Mutex<Gates<PeerIdentity>>,
    answering: Slots<Share<PeerIdentity>>,
    clock: MonotonicClock,
}

impl Answering {
    pub(crate) fn new() -> Self {
        Self {
            known: Mutex::default(),
            rates: Mutex::new(Gates::new(&RATES)),
            answering: Slots::new(MAX_ANSWERING),
            clock: MonotonicClock::start(),
        }
    }

    pub(super) fn set_known(&self, known: KnownRecords) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
    }

    fn is_too_often(&self, peer: &PeerIdentity, from: IpAddr) -> bool {
        let now = self.clock.now();
        !self.rates.lock().unwrap_or_else(PoisonError::into_inner).pass(peer, from, now)
    }

    /// Answers one request of that peer, whose connection comes from there, or none if it has
    /// another one under way.
    pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(&self, peer: &PeerIdentity, from: IpAddr, mut stream: S) {
        let shares = [(Share::Peer(peer.clone()), 1), (Share::Prefix(IpPrefix::host(from)), PER_HOST)];
        let Some(_slot) = self.answering.take(shares) else { return };
        let request = timeout(TIMEOUT, receive_request(&mut stream)).await;
        let Ok(Ok((namespace, wanted))) = request else { return };
        let bytes = if self.is_too_often(peer, from) { vec![OFTEN] } else { answer(&self.records(peer, &namespace, wanted)) };
        let sent = timeout(TIMEOUT, async {
            stream.write_all(&bytes).await?;
            stream.close().await
        });
        // A peer that does not take it will ask again.
        let _ = sent.await;
    }

    fn records(&self, peer: &PeerIdentity, namespace: &Namespace, wanted: usize) -> Vec<SignedRecord> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(known) = known else { return Vec::new() };
        let now = wall_clock();
        let may_pass = |signed: &SignedRecord| {
            let record = signed.record();
            let is_fresh = records::left(record, now).is_some_and(|left| left >= MIN_LEFT);
            record.gossip && record.peer != *peer && is_fresh && records::fits(record, namespace)
        };
        let mut records = known(namespace, wanted);
        records.retain(|signed| may_pass(signed) && signed.envelope().len() <= MAX_ENVELOPE);
        records.truncate(wanted);
        records
    }
}

/// A request and an answer from a remote, for fuzzing.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn fuzz(bytes: &[u8]) {
    use futures::{FutureExt, io::Cursor};
    // A cursor never waits.
    if let Some(Ok((namespace, wanted))) = receive_request(&mut Cursor::new(bytes)).now_or_never() {
        let mut sent = Cursor::new(Vec::new());
        send_request(&mut sent, &namespace, wanted).now_or_never().expect("a cursor never waits").expect("it takes all");
        sent.set_position(0);
        let again = receive_request(&mut sent).now_or_never().expect("a cursor never waits");
        assert_eq!(again.expect("what is sent is valid"), (namespace, wanted));
    }
    if let Some(Ok(Some(envelopes))) = receive_answer(&mut Cursor::new(bytes)).now_or_never() {
        assert!(envelopes.len() <= MAX_RECORDS && envelopes.iter().all(|envelope| envelope.len() <= MAX_ENVELOPE));
    }
}

#[cfg(test)]
mod tests;
