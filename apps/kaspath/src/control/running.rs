//! What the parts of a running program say when they are asked.

use std::sync::Arc;

use kaspath_control::{Answer, Listed, PeerStatus, Request, Status};
use kaspath_domain::{PeerIdentity, clean};
use kaspath_gateway::Gateway;
use kaspath_kaspa_adaptor::{CloseReason, KaspaNode};
use kaspath_peer_store::PeerStore;
use kaspath_transport_libp2p::Network;

use super::{Board, book};
use crate::{node::now, tasks::Tasks};

/// Sessions that an answer shows.
const MAX_SHOWN: usize = 256;
/// Bytes of a name that a remote gives itself.
const MAX_NAME: usize = 128;

/// A program that runs, as far as it can be asked.
pub(crate) struct Running {
    role: &'static str,
    network: Arc<Network>,
    sessions: Sessions,
    book: Option<Arc<PeerStore>>,
}

/// Who has the sessions.
enum Sessions {
    None,
    Node(KaspaNode),
    Gateway(Gateway),
}

impl Running {
    pub(crate) fn relay(network: Arc<Network>) -> Self {
        Self { role: "relay", network, sessions: Sessions::None, book: None }
    }

    pub(crate) fn node(network: Arc<Network>, kaspa: KaspaNode, book: Option<Arc<PeerStore>>) -> Self {
        Self { role: "node", network, sessions: Sessions::Node(kaspa), book }
    }

    pub(crate) fn gateway(network: Arc<Network>, gateway: Gateway, book: Option<Arc<PeerStore>>) -> Self {
        Self { role: "gateway", network, sessions: Sessions::Gateway(gateway), book }
    }

    /// Has the board follow its events. A gateway reports its own to [`Board::gateway`].
    pub(super) fn follow(&self, board: &Board, tasks: &mut Tasks) {
        tasks.following(board.clone().follow_network(self.network.events()));
        if let Sessions::Node(kaspa) = &self.sessions {
            tasks.following(board.clone().follow_kaspa(kaspa.events()));
        }
    }

    /// Answers a request.
    pub(super) fn answer(&self, board: &Board, request: Request) -> Answer {
        if request == (Request::Status {}) {
            return Answer::Status(Box::new(self.status(board)));
        }
        let Some(store) = &self.book else {
            let text = "this program runs without a peer book: a relay has none, and of a node its first lines say why";
            return Answer::Error { text: text.into() };
        };
        let sessions = self.sessions().into_iter().filter_map(|session| session.peer);
        let live = sessions.chain(board.relays()).collect();
        let is_ban = matches!(request, Request::Ban { .. });
        match book::answer(store, live, request, now()) {
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
        let mut status = Status {
            role: self.role.to_owned(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            peer: self.network.local_peer().clone(),
            uptime: 0.0,
            listening: self.network.listening().to_vec(),
            announced: self.network.announced(),
            peers: Listed::of(sessions, MAX_SHOWN),
            relays: Listed::default(),
            reservations: Listed::default(),
            circuits: Listed::default(),
            counters: Default::default(),
            missed_events: 0,
        };
        board.fill(&mut status);
        status
    }

    fn sessions(&self) -> Vec<PeerStatus> {
        match &self.sessions {
            Sessions::None => Vec::new(),
            Sessions::Node(kaspa) => {
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
            Sessions::Gateway(gateway) => {
                let status = |session: kaspath_gateway::SessionInfo| PeerStatus {
                    address: self.book.as_ref().and_then(|book| Some((book.find(&session.peer)?.synthetic?, 0).into())),
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
        match &self.sessions {
            Sessions::None => {}
            Sessions::Node(kaspa) => {
                if let Some(peer) = kaspa.hub().by_identity(peer) {
                    peer.router().close(CloseReason::Local);
                }
            }
            Sessions::Gateway(gateway) => {
                gateway.end_banned(peer);
            }
        }
    }
}
