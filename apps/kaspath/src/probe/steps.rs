//! The steps of a probe, in order, each with its time.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::Result;
use kaspath_domain::{DuplexStream, Host, ListenError, PeerIdentity, RelayAddress, StreamListener};
use kaspath_transport_libp2p::{Network, NetworkEvent, NodeKey, ReservationState};
use rand::RngCore;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::lookup_host,
    task::JoinSet,
    time::timeout,
};

use super::{
    peer::Peer,
    plan::Plan,
    report::Report,
    verdict::{Failure, Verdict, draining, uncircuited, unconnected, unreserved},
};

/// A step may take this part of the whole time.
const PART: u32 = 3;
/// Bytes that go over the circuit and come back.
const ECHOED: usize = 4096;
/// What a relay says besides its answer comes at about the same time.
const NOTICE: Duration = Duration::from_millis(500);

/// How a step ended well: when, and what there is to say.
struct Done<T> {
    value: T,
    at: Instant,
    text: String,
}

fn done<T>(value: T, text: impl Into<String>) -> Done<T> {
    Done { value, at: Instant::now(), text: text.into() }
}

pub(super) struct Steps {
    report: Report,
    end: Instant,
    step: Duration,
}

impl Steps {
    pub(super) fn new(report: Report, began: Instant, allowed: Duration) -> Self {
        Self { report, end: began + allowed, step: allowed / PART }
    }

    pub(super) fn into_report(self) -> Report {
        self.report
    }

    /// Takes all steps; gives what is to be said of a healthy relay.
    ///
    /// # Errors
    /// A [`Failure`] of the relay, or what is wrong here.
    pub(super) async fn all(&mut self, plan: &Plan) -> Result<String> {
        let found = self.resolve(plan).await?;
        let mut peers = Vec::new();
        for (number, via) in plan.addresses.iter().cycle().take(plan.addresses.len().max(plan.keys.len())).enumerate() {
            let key = plan.keys.get(number).cloned().unwrap_or_else(NodeKey::generate);
            let found = found.get(&via.host).cloned().unwrap_or_default();
            let tokens = plan.token.iter().map(|token| (plan.relay.clone(), token.clone())).collect();
            let mut peer = Peer::start(key, via.clone(), found, tokens).await?;
            self.connect(&plan.relay, &mut peer).await?;
            peers.push(peer);
        }
        // Further ones had nothing to do but connect.
        for peer in peers.split_off(plan.keys.len()) {
            peer.network.shutdown().await;
        }
        let [reserving, calling] = &peers[..] else { return Err(Failure::new(Verdict::Dead, "it was not connected").into()) };
        let outcome = self.through(&plan.relay, reserving, calling).await;
        // Nothing stays at the relay.
        tokio::join!(reserving.network.shutdown(), calling.network.shutdown());
        outcome
    }

    /// Looks up each name once.
    async fn resolve(&mut self, plan: &Plan) -> Result<BTreeMap<Host, Vec<IpAddr>>> {
        let mut found = BTreeMap::new();
        for address in &plan.addresses {
            let (Host::Dns(name), false) = (&address.host, found.contains_key(&address.host)) else { continue };
            let failed = |cause: &str| Failure::new(Verdict::Dead, format!("{name} did not resolve: {cause}"));
            let addresses = self.step("resolve", failed("no answer in time"), async |_| {
                let mut addresses: Vec<IpAddr> = lookup_host((name.as_str(), 0))
                    .await
                    .map_err(|error| failed(&error.to_string()))?
                    .map(|at| at.ip())
                    .collect();
                addresses.dedup();
                if addresses.is_empty() {
                    return Err(failed("it has no address"));
                }
                let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                Ok(done(addresses, format!("{name} is {}", texts.join(", "))))
            });
            found.insert(address.host.clone(), addresses.await?);
        }
        Ok(found)
    }

    async fn connect(&mut self, relay: &PeerIdentity, peer: &mut Peer) -> Result<()> {
        let late = Failure::new(Verdict::Dead, format!("no connection to {} in time", peer.via));
        let connecting = async |allowed| {
            let at = peer.connect(relay, allowed).await.map_err(|error| unconnected(&error))?;
            Ok(Done { value: (), at, text: peer.via.to_string() })
        };
        self.step("connect", late, connecting).await
    }

    /// From the reservation to the echo.
    async fn through(&mut self, relay: &PeerIdentity, reserving: &Peer, calling: &Peer) -> Result<String> {
        self.identify(relay, reserving).await?;
        self.reserve(reserving).await?;
        let mut echoing = JoinSet::new();
        let (listener, caller) = (reserving.network.listener(), calling.network.local_peer().clone());
        echoing.spawn(async move { echo(listener.as_ref(), &caller).await });
        let stream = self.call(relay, &reserving.network, calling).await?;
        if let Some(address) = calling.observed() {
            self.report.observed(&address);
        }
        self.echo(stream).await?;
        Ok(format!("it gave a reservation and a circuit, and passed {ECHOED} bytes on each way"))
    }

    async fn identify(&mut self, relay: &PeerIdentity, peer: &Peer) -> Result<()> {
        let late = Failure::new(Verdict::Faulty, "it is connected, and does not identify itself in time");
        let identifying = async |_| {
            let via = RelayAddress { relay: relay.clone(), via: peer.via.clone() };
            let added = peer.network.add_relay(via).await;
            added.map_err(|error| Failure::new(Verdict::Faulty, error.to_string()))?;
            // It is asked once it has identified itself.
            let (at, identified) = peer
                .wait_for(|event| match event {
                    NetworkEvent::CandidateObserved { .. } => Some(Ok(())),
                    event => reservation(event, &ReservationState::Requested),
                })
                .await;
            identified?;
            let observed = peer.observed();
            let text =
                observed.as_ref().map_or_else(|| "it does not say how it sees us".to_owned(), |at| format!("it sees us at {at}"));
            Ok(Done { value: observed, at, text })
        };
        if let Some(address) = self.step("identify", late, identifying).await? {
            self.report.observed(&address);
        }
        Ok(())
    }

    async fn reserve(&mut self, peer: &Peer) -> Result<()> {
        let late = Failure::new(Verdict::Faulty, "it does not answer the request for a reservation in time");
        let reserving = async |_| {
            let (at, granted) = peer.wait_for(|event| reservation(event, &ReservationState::Confirmed)).await;
            if let Err(failure) = granted {
                return Err(explained(failure, peer).await);
            }
            let limits = peer.wait_for(|event| match event {
                NetworkEvent::CircuitLimits { duration, bytes, .. } => Some((*duration, *bytes)),
                _ => None,
            });
            let (duration, bytes) = timeout(NOTICE, limits).await.map_or((None, None), |(_, limits)| limits);
            let lasts =
                duration.map_or_else(|| "as long as they like".to_owned(), |time| humantime::format_duration(time).to_string());
            let carry = bytes.map_or_else(|| "any number of bytes".to_owned(), |bytes| format!("{bytes} bytes"));
            Ok(Done { value: (duration, bytes), at, text: format!("circuits may last {lasts} and carry {carry}") })
        };
        let (duration, bytes) = self.step("reserve", late, reserving).await?;
        self.report.circuit_limits(duration, bytes);
        Ok(())
    }

    async fn call(&mut self, relay: &PeerIdentity, called: &Network, calling: &Peer) -> Result<DuplexStream> {
        let late = Failure::new(Verdict::Faulty, "it opens no circuit in time");
        let calling = async |allowed| {
            let stream = match calling.call(relay, called.local_peer(), allowed).await {
                Ok(stream) => stream,
                Err(error) => return Err(explained(uncircuited(&error), calling).await),
            };
            let text = stream.path().to_string();
            Ok(done(stream, text))
        };
        self.step("circuit", late, calling).await
    }

    async fn echo(&mut self, mut stream: DuplexStream) -> Result<()> {
        let late = Failure::new(Verdict::Faulty, "bytes do not come back over the circuit in time");
        let echoing = async |_| {
            let broken = |error: std::io::Error| Failure::new(Verdict::Faulty, format!("the circuit broke: {error}"));
            let (mut sent, mut received) = (vec![0; ECHOED], vec![0; ECHOED]);
            rand::thread_rng().fill_bytes(&mut sent);
            stream.write_all(&sent).await.map_err(broken)?;
            stream.flush().await.map_err(broken)?;
            stream.read_exact(&mut received).await.map_err(broken)?;
            if received != sent {
                return Err(Failure::new(Verdict::Faulty, "other bytes came back over the circuit than were sent"));
            }
            Ok(done((), format!("{ECHOED} bytes went over the circuit and came back")))
        };
        self.step("echo", late, echoing).await
    }

    /// Takes one step within its time, and reports it.
    async fn step<T>(
        &mut self,
        name: &'static str,
        late: Failure,
        work: impl AsyncFnOnce(Duration) -> Result<Done<T>, Failure>,
    ) -> Result<T> {
        let began = Instant::now();
        let allowed = self.step.min(self.end.saturating_duration_since(began));
        match timeout(allowed, work(allowed)).await.unwrap_or(Err(late)) {
            Ok(Done { value, at, text }) => {
                self.report.step(name, at.saturating_duration_since(began), &text)?;
                Ok(value)
            }
            Err(failure) => {
                self.report.failed(name, began.elapsed(), &failure)?;
                Err(failure.into())
            }
        }
    }
}

/// Whether the reservation has come to that state, or why there will be none.
fn reservation(event: &NetworkEvent, wanted: &ReservationState) -> Option<Result<(), Failure>> {
    match event {
        NetworkEvent::RelayDraining { left, .. } => Some(Err(draining(*left))),
        NetworkEvent::Reservation { state: ReservationState::Lost { cause, .. }, .. } => Some(Err(unreserved(cause))),
        NetworkEvent::Reservation { state, .. } if state == wanted => Some(Ok(())),
        _ => None,
    }
}

/// A relay that is going down refuses like one that is full; what it says of that may come later.
async fn explained(failure: Failure, peer: &Peer) -> Failure {
    if !matches!(failure.verdict, Verdict::Full | Verdict::Faulty) {
        return failure;
    }
    timeout(NOTICE, peer.draining()).await.map_or(failure, draining)
}

/// Gives the caller back what it sends.
async fn echo(listener: &dyn StreamListener, caller: &PeerIdentity) -> Result<(), ListenError> {
    loop {
        let mut stream = listener.accept().await?;
        if stream.info().peer.as_ref() != Some(caller) {
            continue;
        }
        let mut bytes = vec![0; ECHOED];
        if stream.read_exact(&mut bytes).await.is_ok() && stream.write_all(&bytes).await.is_ok() && stream.flush().await.is_ok() {
            // Until the caller closes it.
            let _ = stream.read(&mut bytes).await;
        }
    }
}
