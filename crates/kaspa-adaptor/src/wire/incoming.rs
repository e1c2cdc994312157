//! The receiving half of a session.

use std::{future::poll_fn, pin::Pin, time::Duration};

use kaspa_p2p_lib::{KaspadMessagePayloadType as Kind, pb::KaspadMessage};
use prost::Message;
use tokio::time::{Instant, timeout_at};
use tonic::{
    Status,
    body::Body,
    codegen::{Body as _, Bytes},
};

use super::{Budget, Charge, MAX_HANDSHAKE_MESSAGE, WireError, frames::Frames, scan::scan};
use crate::CloseReason;

/// A message that has begun must be whole in this time: who sends one drop by
/// drop would hold room that others need.
const MESSAGE_TIMEOUT: Duration = crate::STANDSTILL;

/// A decoded message, and the room that it takes until it is dropped.
#[derive(Debug)]
pub struct Received {
    pub(crate) message: KaspadMessage,
    /// Released on drop.
    _charge: Charge,
}

impl Received {
    /// The message.
    pub fn message(&self) -> &KaspadMessage {
        &self.message
    }
}

/// What arrived.
pub(crate) enum Arrival {
    /// A message of a kind that a light peer understands.
    Message(Kind, Box<Received>),
    /// One of another kind; it has not been decoded.
    Other,
}

/// A session's messages as they arrive. Until [`Self::is_ready`] is called only the
/// handshake's small messages are taken.
pub(crate) struct Incoming {
    body: Body,
    frames: Frames,
    max_message: usize,
    ready: bool,
    /// When the message that is arriving must be here.
    deadline: Option<Instant>,
}

impl Incoming {
    /// Reads an HTTP/2 body; `gzip` says whether its messages may be compressed,
    /// and `max_message` limits them after Ready.
    pub(crate) fn new(body: Body, gzip: bool, max_message: usize, budget: &Budget) -> Self {
        Self { body, frames: Frames::new(gzip, budget.peer().charge()), max_message, ready: false, deadline: None }
    }

    /// The handshake is over on both sides: larger messages and all kinds may come.
    pub(crate) fn is_ready(&mut self) {
        self.ready = true;
    }

    fn limit(&self) -> usize {
        if self.ready { self.max_message } else { self.max_message.min(MAX_HANDSHAKE_MESSAGE) }
    }

    /// The next message; `None` when the peer has ended the stream regularly.
    pub(crate) async fn next(&mut self) -> Result<Option<Arrival>, CloseReason> {
        loop {
            let limit = self.limit();
            if let Some((bytes, charge)) = self.frames.next(limit).map_err(CloseReason::from_wire)? {
                self.deadline = None;
                return self.decode(bytes, charge, limit).map(Some);
            }
            match self.receive().await? {
                Some(chunk) => self.frames.push(chunk),
                None if self.frames.is_within_message() => {
                    return Err(CloseReason::Transport("the stream ended within a message".into()));
                }
                None => return Ok(None),
            }
        }
    }

    /// The next bytes of the stream.
    async fn receive(&mut self) -> Result<Option<Bytes>, CloseReason> {
        let body = &mut self.body;
        let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
        let frame = if self.frames.is_within_message() {
            let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + MESSAGE_TIMEOUT);
            let late = |_| CloseReason::Unanswered { what: "with the rest of a message", after: MESSAGE_TIMEOUT };
            timeout_at(deadline, frame).await.map_err(late)?
        } else {
            frame.await
        };
        match frame {
            None => Ok(None),
            Some(Err(status)) if status.code() == tonic::Code::Cancelled => Ok(None),
            Some(Err(status)) => Err(CloseReason::from_status(&status)),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => Ok(Some(data)),
                Err(trailers) => match trailers.into_trailers().ok().as_ref().and_then(Status::from_header_map) {
                    Some(status) if status.code() != tonic::Code::Ok => Err(CloseReason::from_status(&status)),
                    _ => Ok(None),
                },
            },
        }
    }

    fn decode(&self, bytes: Bytes, mut charge: Charge, limit: usize) -> Result<Arrival, CloseReason> {
        let scanned = scan(&bytes, limit).map_err(CloseReason::from_wire)?;
        let Some(kind) = scanned.kind else {
            return if self.ready {
                Ok(Arrival::Other)
            } else {
                Err(CloseReason::Protocol("another message before Ready".into()))
            };
        };
        if !self.ready && !matches!(kind, Kind::Version | Kind::Verack | Kind::Ready | Kind::Reject) {
            return Err(CloseReason::Protocol(format!("{kind:?} before Ready")));
        }
        charge.resize(bytes.len() + scanned.memory).map_err(CloseReason::from_wire)?;
        let message = KaspadMessage::decode(bytes).map_err(|_| CloseReason::Protocol("a message is not valid".into()))?;
        charge.resize(scanned.memory).map_err(CloseReason::from_wire)?;
        Ok(Arrival::Message(kind, Box::new(Received { message, _charge: charge })))
    }
}

impl CloseReason {
    pub(super) fn from_wire(error: WireError) -> Self {
        match error {
            WireError::TooLarge { limit } => Self::MessageTooLarge { limit },
            WireError::NoRoom => Self::NoRoom,
            WireError::Malformed(what) => Self::Protocol(what.into()),
        }
    }
}
