//! What the parts of a gateway share.

use std::sync::{Mutex, PoisonError};

use kaspath_domain::{Direction, Observer, PeerIdentity};
use tokio::{sync::watch, task::JoinError};

use crate::{
    GatewayEvent, GatewayParts, RefusalReason, rates::SessionRates, refusals::Refusals, sessions::Sessions, table::PeerTable,
};

pub(crate) struct Shared {
    pub(crate) parts: GatewayParts,
    pub(crate) table: PeerTable,
    pub(crate) sessions: Sessions,
    pub(crate) kaspad: watch::Sender<Option<String>>,
    pub(crate) rates: Mutex<SessionRates>,
    /// Of inbound peers, and of those that this node begins sessions with.
    pub(crate) refusals: [Mutex<Refusals>; 2],
}

impl Shared {
    pub(crate) fn report(&self, event: GatewayEvent) {
        self.parts.observers.observe(&event);
    }

    /// Reports that a peer is refused, unless there were too many such reports.
    pub(crate) fn refuse(&self, direction: Direction, peer: &PeerIdentity, refused: Refused) {
        let refusals = match direction {
            Direction::Inbound => &self.refusals[0],
            Direction::Outbound => &self.refusals[1],
        };
        let reported = refusals.lock().unwrap_or_else(PoisonError::into_inner).report(peer, self.parts.clock.now());
        if let Some(omitted) = reported {
            let Refused { reason, cause } = refused;
            self.report(GatewayEvent::GatewayRefused { peer: peer.clone(), reason, cause, omitted });
        }
    }

    /// Why no peer may be joined to kaspad now, if so.
    pub(crate) fn closed(&self) -> Option<Refused> {
        self.kaspad.borrow().as_ref().map(|network| {
            let cause = format!("kaspad is on {network}, this gateway on {}", self.parts.network);
            Refused { reason: RefusalReason::OtherNetwork, cause }
        })
    }
}

/// Why a peer is refused.
pub(crate) struct Refused {
    pub(crate) reason: RefusalReason,
    pub(crate) cause: String,
}

impl Refused {
    /// A refusal of that kind, for a cause.
    pub(crate) fn by<C: ToString>(reason: RefusalReason) -> impl Fn(C) -> Refused {
        move |cause| Refused { reason, cause: cause.to_string() }
    }
}

/// A session that panics takes the gateway with it: nobody would see it otherwise.
pub(crate) fn pass_panic_on(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}
