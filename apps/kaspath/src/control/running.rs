//! What the parts of a running program say when they are asked.

use std::sync::Arc;

use kaspath_control::{Answer, Listed, PeerStatus, Request, Status};
use kaspath_domain::{PeerBook, PeerIdentity, clean, wall_clock};
use kaspath_gateway::Gateway;
use kaspath_kaspa_adaptor::{CloseReason, KaspaNode};
use kaspath_node::Node;
use kaspath_transport_libp2p::Network;

use super::{Board, book};

/// Bytes of a name that a remote gives itself.
const MAX_NAME: usize = 128;

/// A program that runs, as far as it can be asked.
pub(crate) struct Running {
    parts: Parts,
    book: Option<Arc<dyn PeerBook>>,
}

enum Parts {
    Relay(Arc<Network>),
    Node(Node, KaspaNode),
    Gateway(Node, Gateway),
}

impl Running {
    pub(crate) fn relay(network: Arc<Network>) -> Self {
        Self { parts: Parts::Relay(network), book: None }
    }

    pub(crate) fn node(node: Node, kaspa: KaspaNode, book: Arc<dyn PeerBook>) -> Self {
        Self { parts: Parts::Node(node, kaspa), book: Some(book) }
    }

    pub(crate) fn gateway(node: Node, gateway: Gateway, book: Arc<dyn PeerBook>) -> Self {
        Self { parts: Parts::Gateway(node, gateway), book: Some(book) }
    }

    /// Answers a request.
    pub(super) fn answer(&self, board: &Board, request: Request) -> Answer {
        if request == (Request::Status {}) {
            return Answer::Status(Box::new(self.status(board)));
        }
        let Some(store) = &self.book else {
            return Answer::Error { text: "a relay has no peer book: ask a node".into() };
        };
        let sessions = self.sessions().into_iter().filter_map(|session| session.peer);
        let live = sessions.chain(board.relays()).collect();
        let is_ban = matches!(request, Request::Ban { .. });
        match book::answer(store.as_ref(), live, request, wall_clock()) {
            Ok(answer) => {
                if let (Answer::Done { peer }, true) = (&answer, is_ban) {
                    self.end_session(peer);
                }
                answer
            }
            Err(error) => Answer::Error { text: format!("{error:#}") },
        }
    }

    fn status(&self, board: &Board) -> Status {
        let mut sessions = self.sessions();
        sessions.sort_by(|a, b| b.age.total_cmp(&a.age));
        let (role, network) = match &self.parts {
            Parts::Relay(network) => ("relay", network.as_ref()),
            Parts::Node(node, _) => ("node", node.network()),
            Parts::Gateway(node, _) => ("gateway", node.network()),
        };
        let mut status = Status {
            role: role.to_owned(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            peer: network.local_peer().clone(),
            uptime: 0.0,
            listening: network.listening().to_vec(),
            announced: network.announced(),
            peers: Listed::of(sessions),
            relays: Listed::default(),
            reservations: Listed::default(),
            circuits: Listed::default(),
            counters: Default::default(),
        };
        board.fill(&mut status);
        status
    }

    fn sessions(&self) -> Vec<PeerStatus> {
        match &self.parts {
            Parts::Relay(_) => Vec::new(),
            Parts::Node(_, kaspa) => {
                let status = |peer: Arc<kaspath_kaspa_adaptor::Peer>| {
                    let router = peer.router();
                    PeerStatus {
                        peer: peer.identity().cloned(),
                        address: Some(router.info().synthetic),
                        direction: router.info().direction,
                        path: router.path(),
                        user_agent: Some(clean(peer.user_agent(), MAX_NAME)),
                        age: router.age().as_secs_f64(),
                        received: router.bytes().received(),
                        sent: router.bytes().sent(),
                    }
                };
                kaspa.hub().peers().into_iter().map(status).collect()
            }
            Parts::Gateway(_, gateway) => {
                let status = |session: kaspath_gateway::SessionInfo| PeerStatus {
                    address: self.book.as_ref().and_then(|book| Some((book.get(&session.peer)?.loopback?, 0).into())),
                    peer: Some(session.peer),
                    direction: session.direction,
                    path: session.path,
                    user_agent: None,
                    age: session.age.as_secs_f64(),
                    received: session.to_kaspad,
                    sent: session.to_peer,
                };
                gateway.sessions().into_iter().map(status).collect()
            }
        }
    }

    fn end_session(&self, peer: &PeerIdentity) {
        match &self.parts {
            Parts::Relay(_) => {}
            Parts::Node(_, kaspa) => {
                if let Some(peer) = kaspa.hub().by_identity(peer) {
                    peer.router().close(CloseReason::Local);
                }
            }
            Parts::Gateway(_, gateway) => {
                gateway.end_banned(peer);
            }
        }
    }
}
