//! What the parts of a running program answer.

use std::sync::Arc;

use anyhow::{Context, Result};
use kaspath_control::{
    AddressStatus, Answer, DiscoveredStatus, Listed, NatStatus, PeerStatus, PoolStatus, RelayStatus, Request, SearchStatus,
    Status,
};
use kaspath_domain::{NatMapping, Path, PeerAddress, PeerBook, PeerIdentity, PeerLocator, TransportAddress, clean, wall_clock};
use kaspath_gateway::{Gateway, SessionInfo};
use kaspath_kaspa_adaptor::{CloseReason, KaspaNode, Peer};
use kaspath_node::{Node, Relays};
use kaspath_policy::{PoolState, PoolView, PooledRelay, SlotKind};
use kaspath_transport_libp2p::Network;

use super::{
    activity::{Activity, Bytes, relay_reason, sum},
    book,
};
use crate::discovering::Looking;

/// Bytes of a name that a remote gives itself.
const MAX_NAME: usize = 128;

/// A running program, as far as it can be asked.
pub(crate) enum Running {
    Relay(Arc<Network>),
    Node(Node, KaspaNode, Looking),
    Gateway(Node, Gateway, Looking),
}

impl Running {
    /// Answers a request.
    pub(super) fn answer(&self, activity: &Activity, request: Request) -> Answer {
        self.try_answer(activity, request).unwrap_or_else(|error| Answer::Error { text: format!("{error:#}") })
    }

    fn try_answer(&self, activity: &Activity, request: Request) -> Result<Answer> {
        if request == (Request::Status {}) {
            return Ok(Answer::Status(Box::new(self.status(activity))));
        }
        let book = self.book().context("a relay has no peer book: ask a node")?;
        let sessions = self.sessions().into_iter().filter_map(|session| session.peer);
        let live = sessions.chain(activity.relays()).collect();
        let is_ban = matches!(request, Request::Ban { .. });
        let answer = book::answer(book.as_ref(), live, request, wall_clock())?;
        if let (Answer::Done { peer }, true) = (&answer, is_ban) {
            self.end_session(peer);
        }
        Ok(answer)
    }

    fn book(&self) -> Option<Arc<dyn PeerBook>> {
        match self {
            Self::Relay(_) => None,
            Self::Node(node, ..) | Self::Gateway(node, ..) => Some(node.book()),
        }
    }

    /// The relay pool, if it has one.
    pub(crate) fn relays(&self) -> Option<&Relays> {
        match self {
            Self::Relay(_) => None,
            Self::Node(node, ..) | Self::Gateway(node, ..) => Some(node.relays()),
        }
    }

    /// The network beneath.
    pub(crate) fn network(&self) -> &Network {
        match self {
            Self::Relay(network) => network,
            Self::Node(node, ..) | Self::Gateway(node, ..) => node.network(),
        }
    }

    pub(super) fn status(&self, activity: &Activity) -> Status {
        let (role, node) = match self {
            Self::Relay(_) => ("relay", None),
            Self::Node(node, ..) => ("node", Some(node)),
            Self::Gateway(node, ..) => ("gateway", Some(node)),
        };
        let network = self.network();
        let mut sessions = self.sessions();
        sessions.sort_by(|a, b| b.age.total_cmp(&a.age));
        let open = sum(sessions.iter().map(|session| [session.received, session.sent]));
        let mut status = activity.status(network.local_peer());
        let pool = self.relays().map(Relays::view);
        for relay in &mut status.relays.shown {
            relay.round_trip = network.round_trip(&relay.relay).map(|round_trip| round_trip.as_secs_f64());
            if let Some(pooled) = pool.iter().flat_map(|pool| &pool.relays).find(|pooled| pooled.relay == relay.relay) {
                fill(relay, pooled);
            }
        }
        Status {
            role: role.to_owned(),
            listening: network.listening().to_vec(),
            announced: network.announced(),
            reachability: reachability(network),
            nat: node.map(|node| NatStatus { observed: activity.observed(), ..nat(node.nat_mapping()) }),
            traffic: node.map(|_| activity.traffic(open)),
            pool: self
                .relays()
                .zip(pool.as_ref())
                .map(|(relays, view)| pool_status(view, relays.next_read().map(|wait| wait.as_secs_f64()))),
            peers: Listed::of(sessions),
            discovered: self.discovered(),
            search: self.search(),
            ..status
        }
    }

    fn looking(&self) -> Option<&Looking> {
        match self {
            Self::Relay(_) => None,
            Self::Node(.., looking) | Self::Gateway(.., looking) => Some(looking),
        }
    }

    fn search(&self) -> Option<SearchStatus> {
        let looking = self.looking()?;
        let search = looking.found.search();
        Some(SearchStatus { asked: search.asked(), told: search.told, lack: looking.lack(&search) })
    }

    fn discovered(&self) -> Listed<DiscoveredStatus> {
        let Some(looking) = self.looking() else { return Listed::default() };
        let mut peers = looking.found.peers();
        peers.sort_by_key(|peer| std::cmp::Reverse(peer.age));
        Listed::of(peers.into_iter().map(|found| DiscoveredStatus {
            peer: found.peer,
            proven: found.kind == SlotKind::Proven,
            groups: found.groups.iter().map(ToString::to_string).collect(),
            age: found.age.map(|age| age.as_secs_f64()),
        }))
    }

    /// Bytes of the sessions that are open.
    pub(super) fn moved(&self) -> Bytes {
        match self {
            Self::Relay(_) => [0, 0],
            Self::Node(_, kaspa, _) => {
                let bytes = |peer: &Arc<Peer>| [peer.router().bytes().received(), peer.router().bytes().sent()];
                sum(kaspa.hub().peers().iter().map(bytes))
            }
            Self::Gateway(_, gateway, _) => sum(gateway.sessions().iter().map(|session| [session.to_kaspad, session.to_peer])),
        }
    }

    /// Calls `each` with the path of each session.
    pub(crate) fn paths(&self, each: &mut dyn FnMut(&Path)) {
        match self {
            Self::Relay(_) => {}
            Self::Node(_, kaspa, _) => kaspa.hub().peers().iter().for_each(|peer| each(&peer.router().path())),
            Self::Gateway(_, gateway, _) => gateway.sessions().iter().for_each(|session| each(&session.path)),
        }
    }

    fn sessions(&self) -> Vec<PeerStatus> {
        match self {
            Self::Relay(_) => Vec::new(),
            Self::Node(_, kaspa, _) => kaspa.hub().peers().iter().map(|peer| of_peer(peer)).collect(),
            Self::Gateway(node, gateway, _) => {
                gateway.sessions().into_iter().map(|session| of_session(session, node.book().as_ref())).collect()
            }
        }
    }

    fn end_session(&self, peer: &PeerIdentity) {
        match self {
            Self::Relay(_) => {}
            Self::Node(_, kaspa, _) => {
                if let Some(peer) = kaspa.hub().by_identity(peer) {
                    peer.router().close(CloseReason::Local);
                }
            }
            Self::Gateway(_, gateway, _) => {
                gateway.end_banned(peer);
            }
        }
    }
}

/// What the pool knows of a relay, and the settings may not.
fn fill(relay: &mut RelayStatus, pooled: &PooledRelay) {
    relay.source = pooled.sources.first().map(|source| source.name().to_owned());
    relay.score = Some(pooled.score);
    if relay.addresses.is_empty() {
        let at = |address: &TransportAddress| PeerLocator {
            peer: Some(pooled.relay.clone()),
            address: PeerAddress::Direct(address.clone()),
        };
        relay.addresses = pooled.addresses.iter().map(at).collect();
    }
}

fn pool_status(view: &PoolView, next_read: Option<f64>) -> PoolStatus {
    let count = |state| view.count(state);
    PoolStatus {
        wanted: view.reservations,
        held: count(PoolState::Held),
        back_off: count(PoolState::BackOff),
        known: view.relays.len(),
        next_read,
    }
}

fn nat(mapping: NatMapping) -> NatStatus {
    let (mapping, meaning) = match mapping {
        NatMapping::Unknown => (
            "unknown",
            "Two relays have to see this node over one transport before it is known; hole punches are tried all the same.",
        ),
        NatMapping::EndpointIndependent => (
            "endpoint-independent",
            "Every relay sees the same port, or there is no NAT: hole punches can work, with most peers.",
        ),
        NatMapping::EndpointDependent => (
            "endpoint-dependent",
            "Relays see different ports (a symmetric NAT): hole punches work only with peers whose NAT does not filter by port.",
        ),
    };
    NatStatus { mapping: mapping.to_owned(), meaning: meaning.to_owned(), observed: Vec::new() }
}

fn of_peer(peer: &Peer) -> PeerStatus {
    let router = peer.router();
    let path = router.path();
    PeerStatus {
        peer: peer.identity().cloned(),
        address: Some(router.info().synthetic),
        direction: router.info().direction,
        reason: relay_reason(&path),
        path,
        user_agent: Some(clean(peer.user_agent(), MAX_NAME)),
        age: router.age().as_secs_f64(),
        received: router.bytes().received(),
        sent: router.bytes().sent(),
    }
}

fn of_session(session: SessionInfo, book: &dyn PeerBook) -> PeerStatus {
    PeerStatus {
        address: book.get(&session.peer).and_then(|record| Some((record.loopback?, 0).into())),
        peer: Some(session.peer),
        direction: session.direction,
        reason: relay_reason(&session.path),
        path: session.path,
        user_agent: None,
        age: session.age.as_secs_f64(),
        received: session.to_kaspad,
        sent: session.to_peer,
    }
}

/// What is known of each address.
fn reachability(network: &Network) -> Vec<AddressStatus> {
    let known = network.reachability().into_iter();
    known.map(|(address, state)| AddressStatus { address, state: state.to_string() }).collect()
}
