//! Checks of others' addresses that are under way.

use std::collections::HashMap;

use kaspath_domain::Slots;
use libp2p::PeerId;
use tokio::sync::oneshot;

use crate::{
    ServeWhen,
    core::{DialBackOutcome, OperationId},
};

/// Streams of checks that are served at once, in all.
const MAX_SERVED: usize = 32;

/// Dials that relays wait for.
pub(super) struct DialBacks {
    pub(super) served: Slots<PeerId>,
    pub(super) waiting: HashMap<OperationId, oneshot::Sender<DialBackOutcome>>,
    pub(super) serve: ServeWhen,
}

impl DialBacks {
    pub(super) fn new(serve: ServeWhen) -> Self {
        Self { served: Slots::new(MAX_SERVED), waiting: HashMap::new(), serve }
    }

    /// Tells the relay's stream what came of it.
    pub(super) fn done(&mut self, exchange: OperationId, outcome: DialBackOutcome) {
        if let Some(waiting) = self.waiting.remove(&exchange) {
            let _ = waiting.send(outcome);
        }
    }
}
