use std::{
    io,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::AsyncWriteExt;
use kaspath_domain::{
    DialError, Discovery, DiscoveryAnswer, DiscoveryError, Namespace, PeerIdentity, RecordDraft, RelayAddress, SignedRecord,
    Slot, Slots, Teller, Told, TransportAddress, TransportSet, wall_clock,
};
use libp2p::{Stream, StreamProtocol};
use tokio::{sync::watch, time::timeout};

use super::{
    Discover, Here, MAX_ANSWER, Message, Own, PROTOCOL, Register,
    answers::{Question, listed},
    elsewhere::leads_elsewhere,
    gossip::{self, Answering, KnownRecords},
    limit_of,
};
use crate::{
    NodeKey, convert,
    core::Input,
    records::{self, Addresses, Signer},
    streams::{OpenError, OpenStream},
    swarm::{Command, Handle, With},
    wire,
};

/// Questions under way at once, and of one teller.
const MAX_ASKS: usize = 16;
const ASKS_OF_ONE: usize = 3;
/// Time for a link to a relay.
const LINK_TIMEOUT: Duration = Duration::from_secs(15);
/// Time for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for the answer to a request to be listed: the relay may dial us before.
const LIST_TIMEOUT: Duration = Duration::from_secs(12);

/// Asks relays and peers whom they know, and lists this node at relays.
///
/// A relay is asked on a link that is there, or is made for it; one that no reservation
/// needs is closed five minutes after the last question. This node can list itself at itself: its
/// own rendezvous point then tells others of it, as long as it serves as a relay.
pub struct Libp2pDiscovery {
    handle: Handle,
    us: PeerIdentity,
    signer: Signer,
    addresses: Addresses,
    /// The addresses of our interfaces.
    own: watch::Receiver<Vec<IpAddr>>,
    asks: Slots<PeerIdentity>,
    answering: Arc<Answering>,
    here: Arc<Here>,
}

impl Libp2pDiscovery {
    pub(crate) fn new(
        key: &NodeKey,
        allow_local: bool,
        handle: Handle,
        (answering, here): (Arc<Answering>, Arc<Here>),
        own: watch::Receiver<Vec<IpAddr>>,
    ) -> Self {
        let addresses = Addresses { local: allow_local };
        let signer = Signer::new(key.keypair().clone(), addresses);
        Self { handle, us: key.identity(), signer, addresses, own, asks: Slots::new(MAX_ASKS), answering, here }
    }

    /// Peers with a session that ask whom we know are told of these from now on. Without it
    /// they are told of nobody.
    pub fn set_known(&self, known: KnownRecords) {
        self.answering.set_known(known);
    }

    /// One more question of that teller.
    fn slot(&self, of: &PeerIdentity) -> Result<Slot<PeerIdentity>, DiscoveryError> {
        self.asks.take([(of.clone(), ASKS_OF_ONE)]).ok_or(DiscoveryError::Busy)
    }

    /// A rendezvous stream on a link with the relay.
    async fn stream(&self, relay: &RelayAddress) -> Result<OpenStream, DiscoveryError> {
        let link = |waiter| Input::ConnectRelay { waiter, relay: relay.clone(), transports: TransportSet::NONE };
        let link = within(LINK_TIMEOUT, self.handle.connection(link)).await?.map_err(unreachable)?;
        self.speak(With::Connection(link), PROTOCOL).await
    }

    async fn speak(&self, with: With, protocol: StreamProtocol) -> Result<OpenStream, DiscoveryError> {
        let opened = self.handle.ask(|reply| Command::Speak { with, protocol, reply });
        within(ANSWER_TIMEOUT, opened).await?.map_err(unreachable)?.map_err(not_opened)
    }

    /// Asks a peer on a connection on which a session lives; none is made for it.
    async fn gossip(&self, peer: &PeerIdentity, namespace: &Namespace, limit: usize) -> Result<DiscoveryAnswer, DiscoveryError> {
        let _slot = self.slot(peer)?;
        let OpenStream { mut stream, meta, .. } = self.speak(With::SessionOf(peer.clone()), gossip::PROTOCOL).await?;
        let answer = within(ANSWER_TIMEOUT, gossip::ask(&mut stream, namespace, limit)).await?.map_err(|error| broken(&error))?;
        let mut envelopes = answer.ok_or(DiscoveryError::TooOften)?;
        envelopes.truncate(limit);
        let told = gossip::told(envelopes, (&self.us, namespace), self.addresses, wall_clock())?;
        Ok(DiscoveryAnswer { told: self.taken(told), from: meta.remote.address.direct_ip() })
    }

    /// Without the records that would have us dial our own network.
    fn taken(&self, mut told: Vec<Told>) -> Vec<Told> {
        let own = self.own.borrow();
        told.retain(|told| self.addresses.local || leads_elsewhere(told.record.record(), &own));
        told
    }

    /// Sends a request, which may depend on the relay's address on the link, and takes the
    /// answer, with where it comes from.
    async fn exchange(
        &self,
        relay: &RelayAddress,
        request: impl FnOnce(Option<IpAddr>) -> Message,
        allowed: Duration,
    ) -> Result<(Message, Option<IpAddr>), DiscoveryError> {
        let _slot = self.slot(&relay.relay)?;
        // It is not counted as a user of the connection, and lives for seconds.
        let OpenStream { mut stream, meta, .. } = self.stream(relay).await?;
        let from = meta.remote.address.direct_ip();
        let request = request(from);
        let exchange = async {
            wire::send(&mut stream, &request).await?;
            wire::receive_within(&mut stream, MAX_ANSWER).await
        };
        let answer = within(allowed, exchange).await?.map_err(|error| broken(&error))?;
        close(stream).await;
        Ok((answer, from))
    }
}

#[async_trait]
impl Discovery for Libp2pDiscovery {
    async fn ask(&self, teller: &Teller, namespace: &Namespace, limit: usize) -> Result<DiscoveryAnswer, DiscoveryError> {
        let relay = match teller {
            Teller::Relay(relay) => relay,
            Teller::Peer(peer) => return self.gossip(peer, namespace, limit).await,
        };
        let limit = limit.min(limit_of(namespace));
        let question = Discover {
            ns: Some(namespace.to_string()),
            limit: u64::try_from(limit).ok(),
            cookie: None,
            reads_records: Some(true),
        };
        let (answer, from) = self.exchange(relay, |_| Message::discover(question), ANSWER_TIMEOUT).await?;
        let question = Question { relay, namespace, limit, us: &self.us, addresses: self.addresses };
        Ok(DiscoveryAnswer { told: self.taken(question.told(answer, wall_clock())?), from })
    }

    async fn list(
        &self,
        at: &RelayAddress,
        namespace: &Namespace,
        record: &SignedRecord,
        ttl: Duration,
    ) -> Result<Duration, DiscoveryError> {
        if at.relay == self.us {
            let peer_record = records::peer_record(self.signer.key(), record.record());
            let ttl = ttl.min(record.record().ttl);
            self.here.list(namespace, Own { record: record.clone(), peer_record }, Instant::now() + ttl);
            return Ok(ttl);
        }
        let register = |ip: Option<IpAddr>| {
            let record = ip.map_or(record.clone(), |ip| self.signer.of_family(record, ip.is_ipv4(), wall_clock()));
            // Stock software is told what the relay can verify, and no more.
            let mut verified = record.record().clone();
            let is_of_link = |address: &TransportAddress| {
                ip.is_none_or(|ip| address.canonical_ip().is_some_and(|own| own.is_ipv4() == ip.is_ipv4()))
            };
            verified.candidates.retain(is_of_link);
            Message::register(Register {
                ns: Some(namespace.to_string()),
                signed_peer_record: records::peer_record(self.signer.key(), &verified),
                ttl: Some(ttl.as_secs()),
                record: Some(record.envelope().to_vec()),
            })
        };
        listed(self.exchange(at, register, LIST_TIMEOUT).await?.0)
    }

    async fn unlist(&self, at: &RelayAddress, namespace: &Namespace) {
        if at.relay == self.us {
            return self.here.unlist(namespace);
        }
        let Ok(_slot) = self.slot(&at.relay) else { return };
        let Ok(OpenStream { mut stream, .. }) = self.stream(at).await else { return };
        let _ = timeout(ANSWER_TIMEOUT, wire::send(&mut stream, &Message::unregister(namespace.as_str()))).await;
        close(stream).await;
    }

    fn sign(&self, draft: RecordDraft) -> SignedRecord {
        self.signer.sign(&draft, wall_clock())
    }

    fn identity(&self) -> PeerIdentity {
        self.us.clone()
    }
}

/// In order, for what was sent last to arrive.
async fn close(mut stream: Stream) {
    let _ = timeout(ANSWER_TIMEOUT, stream.close()).await;
}

fn unreachable(error: DialError) -> DiscoveryError {
    DiscoveryError::Unreachable(error.to_string())
}

fn not_opened(error: OpenError) -> DiscoveryError {
    match error {
        OpenError::Unsupported => DiscoveryError::NotSpoken,
        error => DiscoveryError::Unreachable(error.to_string()),
    }
}

fn broken(error: &io::Error) -> DiscoveryError {
    match error.kind() {
        _ if convert::is_refusal(error) => DiscoveryError::NotSpoken,
        io::ErrorKind::InvalidData => DiscoveryError::Invalid(error.to_string()),
        _ => DiscoveryError::Unreachable(error.to_string()),
    }
}

/// What comes of it in that time.
async fn within<T>(allowed: Duration, work: impl Future<Output = T>) -> Result<T, DiscoveryError> {
    timeout(allowed, work).await.map_err(|_| DiscoveryError::Timeout(allowed))
}
