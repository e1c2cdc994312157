//! Carries checks of addresses on, ours and others', each in a task of its own.

use std::time::Duration;

use kaspath_domain::{PeerAddress, TransportAddress};
use libp2p::{PeerId, Stream, StreamProtocol, swarm::ConnectionId};
use tokio::{sync::oneshot, time::timeout};

use super::{actor::Actor, exchanging::Opened};
use crate::{
    ServeWhen,
    core::{CheckAnswer, ConnId, DialBackOutcome, Input, OperationId, ReachInput},
    reach,
    streams::OpenRequest,
};

/// Time that a dial for a relay takes at most, and what is said after it.
const DIAL_TIMEOUT: Duration = Duration::from_secs(18);

impl Actor {
    pub(super) fn ask_reach(&mut self, operation: OperationId, on: Option<ConnId>, address: &TransportAddress, nonce: u64) {
        let inputs = self.inputs_sender.clone();
        let (reply, own) = oneshot::channel();
        let opened = on.map(|id| self.open(id, reach::DIAL_REQUEST));
        if on.is_none()
            && let Some(relay) = self.swarm.behaviour_mut().relay_server.as_mut()
        {
            relay.check_own(address.clone(), nonce, reply);
        }
        let (address, asking) = (address.clone(), self.dial_backs.asking());
        self.tasks.spawn(async move {
            let answer = match opened {
                None => own.await.unwrap_or(CheckAnswer::Nothing),
                Some(opened) => match stream(opened).await {
                    Some(mut stream) => reach::ask(&mut stream, &address, nonce).await,
                    None => CheckAnswer::Nothing,
                },
            };
            drop(asking);
            let _ = inputs.send(Input::Reach(ReachInput::Asked { operation, answer })).await;
        });
    }

    /// Opens a stream with a protocol. None comes if the connection has just closed.
    pub(super) fn open(&mut self, id: ConnId, protocol: StreamProtocol) -> Opened {
        let (reply, opened) = oneshot::channel();
        if let Some(connection) = self.ids.libp2p(id) {
            self.swarm.behaviour_mut().streams.open(connection, OpenRequest { protocols: vec![protocol], reply });
        }
        opened
    }

    /// Shows the nonce on the connection that a dial for a relay led to.
    pub(super) fn dial_back(&mut self, operation: OperationId, id: ConnId, nonce: u64) {
        let opened = self.open(id, reach::DIAL_BACK);
        let inputs = self.inputs_sender.clone();
        self.tasks.spawn(async move {
            let shown = match stream(opened).await {
                Some(mut stream) => reach::show_nonce(&mut stream, nonce).await.is_ok(),
                None => false,
            };
            let outcome = if shown { DialBackOutcome::Reached } else { DialBackOutcome::NoStream };
            let _ = inputs.send(Input::Reach(ReachInput::DialBackShown { operation, outcome })).await;
        });
    }

    /// The remote opened a stream for a check. One too many is reset.
    pub(super) fn on_service(&mut self, connection: ConnectionId, peer: PeerId, protocol: &StreamProtocol, mut stream: Stream) {
        let Some(id) = self.ids.connection(connection) else { return };
        let remote = self.swarm.behaviour().streams.connection(connection).map(|meta| &meta.remote.address);
        let Some(from) = remote.and_then(PeerAddress::direct_ip) else { return };
        let is_shown = *protocol == reach::DIAL_BACK;
        let slot = if is_shown { self.dial_backs.show(peer, from) } else { self.dial_backs.help(peer, from) };
        let Some(slot) = slot else { return };
        let inputs = self.inputs_sender.clone();
        if is_shown {
            self.tasks.spawn(async move {
                if let Ok(nonce) = reach::take_nonce(&mut stream).await {
                    let _ = inputs.send(Input::Reach(ReachInput::DialedBack { id, nonce })).await;
                }
                drop(slot);
            });
            return;
        }
        let (exchange, (done, outcome)) = (self.core.operation(), oneshot::channel());
        // Those whose task has ended wait for nothing.
        self.dial_backs.waiting.retain(|_, waiting| !waiting.is_closed());
        self.dial_backs.waiting.insert(exchange, done);
        self.tasks.spawn(async move {
            if let Ok(wanted) = reach::receive_wanted(&mut stream).await {
                let _ = inputs.send(Input::Reach(ReachInput::DialBackWanted { exchange, id, wanted })).await;
                if let Ok(Ok(outcome)) = timeout(DIAL_TIMEOUT, outcome).await {
                    let _ = reach::send_done(&mut stream, outcome).await;
                }
            }
            drop(slot);
        });
    }

    /// Others can reach us, or cannot any more.
    pub(super) fn serve(&mut self, is_reachable: bool) {
        let by_verdict = self.dial_backs.serve == ServeWhen::Reachable;
        if let Some(relay) = self.swarm.behaviour_mut().relay_server.as_mut().filter(|_| by_verdict) {
            if is_reachable { relay.open() } else { relay.shut() }
        }
    }
}

/// The stream alone: it is no user of the connection, which may be closed when it ends.
pub(super) async fn stream(opened: Opened) -> Option<Stream> {
    Some(opened.await.ok()?.ok()?.stream)
}
