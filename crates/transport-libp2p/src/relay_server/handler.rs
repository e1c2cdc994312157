use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use libp2p::{
    Stream, StreamProtocol,
    core::upgrade::ReadyUpgrade,
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, SubstreamProtocol,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::{exchange, origin::Origin};
use crate::{discovery, reach::DIAL_REQUEST, relay_control, streams::AnyOf};

const HOP: StreamProtocol = StreamProtocol::new("/libp2p/circuit/relay/0.2.0/hop");
pub(super) const STOP: StreamProtocol = StreamProtocol::new("/libp2p/circuit/relay/0.2.0/stop");
/// Requests of one connection under way at once; streams beyond it are reset.
const MAX_REQUESTS: usize = 8;

#[derive(Debug)]
pub(crate) enum FromBehaviour {
    /// Opens a stream for that protocol. The sender is dropped if that fails.
    Open(StreamProtocol, oneshot::Sender<Stream>),
    /// Keeps the connection though nothing uses it: a reservation hangs on it.
    Hold(bool),
    /// Speaks the protocols of a relay, or does not any more.
    Serve(bool),
}

/// What a stream of the remote is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A request for a reservation or a circuit.
    Hop,
    /// The relay protocol.
    Control,
    /// To have an address checked.
    Check,
    /// Who is listed here, and to be listed.
    Rendezvous,
}

/// The remote has opened a stream.
#[derive(Debug)]
pub(crate) struct Hop {
    pub(super) stream: Stream,
    pub(super) purpose: Purpose,
    /// Where the connection comes from; `None` for a circuit.
    pub(super) origin: Option<Origin>,
    pub(super) slot: OwnedSemaphorePermit,
}

/// One connection: passes streams on, and decides nothing.
pub(crate) struct Handler {
    serves: bool,
    origin: Option<Origin>,
    slots: Arc<Semaphore>,
    hold: bool,
    /// Asked of the muxer, not yet answered.
    opening: usize,
    to_open: VecDeque<(StreamProtocol, oneshot::Sender<Stream>)>,
    /// At most as many as there are slots.
    asked: VecDeque<Hop>,
}

impl Handler {
    pub(super) fn new(origin: Option<Origin>, serves: bool) -> Self {
        let slots = Arc::new(Semaphore::new(MAX_REQUESTS));
        Self { serves, origin, slots, hold: false, opening: 0, to_open: VecDeque::new(), asked: VecDeque::new() }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = FromBehaviour;
    type ToBehaviour = Hop;
    type InboundProtocol = AnyOf;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = oneshot::Sender<Stream>;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, ()> {
        let protocols = [HOP, relay_control::PROTOCOL, DIAL_REQUEST, discovery::PROTOCOL];
        SubstreamProtocol::new(AnyOf(if self.serves { protocols.to_vec() } else { Vec::new() }), ())
    }

    fn connection_keep_alive(&self) -> bool {
        // Live streams keep a connection by themselves.
        self.hold || self.opening > 0 || !self.to_open.is_empty()
    }

    fn poll(
        &mut self,
        _cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Hop>> {
        if let Some(hop) = self.asked.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(hop));
        }
        if let Some((protocol, reply)) = self.to_open.pop_front() {
            self.opening += 1;
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(protocol), reply).with_timeout(exchange::TIMEOUT);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, event: FromBehaviour) {
        match event {
            FromBehaviour::Open(protocol, reply) => self.to_open.push_back((protocol, reply)),
            FromBehaviour::Hold(hold) => self.hold = hold,
            FromBehaviour::Serve(serves) => self.serves = serves,
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, (), Self::OutboundOpenInfo>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: (mut stream, protocol), .. }) => {
                let purpose = match protocol {
                    _ if protocol == relay_control::PROTOCOL => Purpose::Control,
                    _ if protocol == DIAL_REQUEST => Purpose::Check,
                    _ if protocol == discovery::PROTOCOL => Purpose::Rendezvous,
                    _ => Purpose::Hop,
                };
                if purpose == Purpose::Control {
                    // It is there for as long as the connection is, and no reason for that.
                    stream.ignore_for_keep_alive();
                }
                if let Ok(slot) = self.slots.clone().try_acquire_owned() {
                    self.asked.push_back(Hop { stream, purpose, origin: self.origin, slot });
                }
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: stream, info: reply }) => {
                self.opening = self.opening.saturating_sub(1);
                // Whoever asked may have given up; then the stream is reset here.
                let _ = reply.send(stream);
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { .. }) => self.opening = self.opening.saturating_sub(1),
            ConnectionEvent::ListenUpgradeError(failed) => {
                let never: Infallible = failed.error;
                match never {}
            }
            _ => {}
        }
    }
}
