//! What flows share.

use std::sync::Arc;

use kaspa_p2p_lib::pb::{KaspadMessage, kaspad_message::Payload};
use kaspath_domain::{Observer, Observers};

use crate::{AddressBook, CloseReason, Hub, Inventory, KaspaEvent};

/// What every flow is given.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) hub: Hub,
    pub(crate) inventory: Arc<Inventory>,
    pub(crate) book: Arc<AddressBook>,
    pub(crate) observers: Observers<KaspaEvent>,
}

impl Context {
    pub(crate) fn report(&self, event: KaspaEvent) {
        tracing::debug!(?event);
        self.observers.observe(&event);
    }
}

/// A reply to that request.
pub(super) fn response(payload: Payload, to: &KaspadMessage) -> KaspadMessage {
    KaspadMessage { response_id: to.request_id, request_id: 0, payload: Some(payload) }
}

pub(super) fn plain(payload: Payload) -> KaspadMessage {
    KaspadMessage { response_id: 0, request_id: 0, payload: Some(payload) }
}

pub(super) fn bad(what: &str) -> CloseReason {
    CloseReason::Protocol(what.to_owned())
}
