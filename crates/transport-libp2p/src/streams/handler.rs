use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use libp2p::{
    Stream, StreamProtocol,
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::PollSender;

use super::{ConnectionMeta, DataProtocols, GOSSIP, NONE_OF_THEM, OpenError, OpenReply, OpenRequest, OpenStream, upgrade::AnyOf};

/// Time for the remote to agree on a protocol.
const NEGOTIATION_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams of one connection that may wait for a slot in the queue.
const MAX_WAITING: usize = 64;
/// Streams of services of one connection that wait for the actor.
const MAX_SERVING: usize = 4;

#[derive(Debug)]
pub(crate) enum FromBehaviour {
    Open(OpenRequest),
    Hold(bool),
}

#[derive(Debug)]
pub(crate) enum ToBehaviour {
    /// The remote wants to punch.
    Punch(Stream),
    /// The remote, with which there is a session, asks whom we know.
    Gossip(Stream),
    /// The remote has opened a stream for that service.
    Service(StreamProtocol, Stream),
    /// So many inbound streams were dropped for want of room.
    Refused(u64),
}

pub(crate) struct Handler {
    meta: Arc<ConnectionMeta>,
    data_protocols: DataProtocols,
    punch_protocol: Option<StreamProtocol>,
    /// What is spoken besides, by whoever connects directly.
    services: Arc<[StreamProtocol]>,
    hold: bool,
    /// Asked of the muxer, not yet answered.
    opening: usize,
    to_open: VecDeque<OpenRequest>,
    /// With the time at which each has waited long enough.
    waiting: VecDeque<(Instant, OpenStream)>,
    /// Wakes us at the first of these times.
    patience: Option<Pin<Box<Sleep>>>,
    accepted: PollSender<OpenStream>,
    accept_timeout: Duration,
    /// A stream on which the remote wants to punch. One at a time: a remote that opens
    /// more gets the newest served.
    punch: Option<Stream>,
    /// A stream on which the remote asks whom we know; the same holds for these.
    gossip: Option<Stream>,
    /// Streams of services; of more than a few at once the others are reset.
    serving: VecDeque<(StreamProtocol, Stream)>,
    /// Inbound streams that were dropped, and are not reported yet.
    refused: u64,
}

impl Handler {
    pub(super) fn new(
        meta: Arc<ConnectionMeta>,
        data_protocols: DataProtocols,
        (punch_protocol, services): (Option<StreamProtocol>, Arc<[StreamProtocol]>),
        hold: bool,
        accepted: PollSender<OpenStream>,
        accept_timeout: Duration,
    ) -> Self {
        Self {
            meta,
            data_protocols,
            punch_protocol,
            services,
            hold,
            opening: 0,
            to_open: VecDeque::new(),
            waiting: VecDeque::new(),
            patience: None,
            accepted,
            accept_timeout,
            punch: None,
            gossip: None,
            serving: VecDeque::new(),
            refused: 0,
        }
    }

    fn wrap(&self, stream: Stream, protocol: &StreamProtocol) -> OpenStream {
        let for_session = self.data_protocols.session.as_ref() == Some(protocol);
        OpenStream { stream, user: self.meta.traffic.user(), meta: self.meta.clone(), for_session }
    }

    fn accept(&mut self, stream: Stream, protocol: &StreamProtocol) {
        if self.punch_protocol.as_ref() == Some(protocol) {
            self.punch = Some(stream);
        } else if *protocol == GOSSIP {
            // What is known is for those with a session.
            self.gossip = Some(stream).filter(|_| !self.meta.traffic.is_idle());
        } else if self.services.contains(protocol) {
            if self.serving.len() < MAX_SERVING {
                self.serving.push_back((protocol.clone(), stream));
            }
        } else if self.waiting.len() < MAX_WAITING {
            let stream = self.wrap(stream, protocol);
            self.waiting.push_back((Instant::now() + self.accept_timeout, stream));
        } else {
            self.refused += 1;
        }
    }

    /// Drops what has waited too long. The streams are ordered by their times.
    fn give_up(&mut self, cx: &mut Context<'_>) {
        while let Some((until, _)) = self.waiting.front() {
            let patience = self.patience.get_or_insert_with(|| Box::pin(sleep_until(*until)));
            if patience.deadline() != *until {
                patience.as_mut().reset(*until);
            }
            if patience.as_mut().poll(cx).is_pending() {
                return;
            }
            self.waiting.pop_front();
            self.refused += 1;
        }
        self.patience = None;
        // Nobody polls for a slot any more: one that came now would be kept from everybody.
        self.accepted.abort_send();
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = FromBehaviour;
    type ToBehaviour = ToBehaviour;
    type InboundProtocol = AnyOf;
    type OutboundProtocol = AnyOf;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = OpenReply;

    fn listen_protocol(&self) -> SubstreamProtocol<AnyOf, ()> {
        let DataProtocols { plain, session } = &self.data_protocols;
        let gossip = session.as_ref().map(|_| GOSSIP);
        let own = plain.iter().chain(session).chain(&self.punch_protocol).chain(&gossip);
        let protocols = own.chain(self.services.iter()).cloned().collect();
        SubstreamProtocol::new(AnyOf(protocols), ())
    }

    fn connection_keep_alive(&self) -> bool {
        // Live streams keep a connection by themselves; these cases have none yet.
        self.hold || self.opening > 0 || !self.to_open.is_empty()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<AnyOf, OpenReply, ToBehaviour>> {
        while !self.waiting.is_empty() {
            match self.accepted.poll_reserve(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) => {
                    if let Some((_, stream)) = self.waiting.pop_front() {
                        let _ = self.accepted.send_item(stream);
                    }
                }
                // Nobody accepts streams any more.
                Poll::Ready(Err(_)) => self.waiting.clear(),
            }
        }
        self.give_up(cx);
        if let Some(OpenRequest { protocols, reply }) = self.to_open.pop_front() {
            self.opening += 1;
            let protocol = SubstreamProtocol::new(AnyOf(protocols), reply).with_timeout(NEGOTIATION_TIMEOUT);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        let refused = Some(std::mem::take(&mut self.refused)).filter(|refused| *refused > 0);
        let event = refused.map(ToBehaviour::Refused).or_else(|| self.punch.take().map(ToBehaviour::Punch));
        let event = event.or_else(|| self.gossip.take().map(ToBehaviour::Gossip));
        let service = || self.serving.pop_front().map(|(protocol, stream)| ToBehaviour::Service(protocol, stream));
        let event = event.or_else(service);
        event.map_or(Poll::Pending, |event| Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event)))
    }

    fn on_behaviour_event(&mut self, event: FromBehaviour) {
        match event {
            FromBehaviour::Open(request) => self.to_open.push_back(request),
            FromBehaviour::Hold(hold) => self.hold = hold,
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, AnyOf, AnyOf, (), OpenReply>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol: (stream, protocol), .. }) => {
                self.accept(stream, &protocol);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol: (stream, protocol), info: reply }) => {
                self.opening = self.opening.saturating_sub(1);
                let opened =
                    if protocol == NONE_OF_THEM { Err(OpenError::Unsupported) } else { Ok(self.wrap(stream, &protocol)) };
                // Whoever asked may have gone; then the stream is reset here.
                let _ = reply.send(opened);
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, info: reply }) => {
                self.opening = self.opening.saturating_sub(1);
                let error = match error {
                    StreamUpgradeError::Timeout => OpenError::Timeout,
                    StreamUpgradeError::NegotiationFailed => OpenError::Unsupported,
                    StreamUpgradeError::Io(error) => OpenError::Io(error),
                    StreamUpgradeError::Apply(never) => match never {},
                };
                let _ = reply.send(Err(error));
            }
            _ => {}
        }
    }
}
