//! From addresses to plans: what the strategies share.

use std::time::Duration;

use kaspath_domain::{
    Attempt, DialError, DialPlan, DialRequest, PeerAddress, PlanRequest, PolicyError, RelayAddress, Route, Stage, Transport,
    TransportAddress, TransportSet, diverse_first,
};

use super::config::Timing;

/// Direct dials in one plan, and relays; a peer's address list may be long.
const MAX_DIRECT: usize = 8;
const MAX_RELAYS: usize = 3;

/// When a relayed stream is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RelayUse {
    /// Never.
    Never,
    /// Beside a punch that takes long.
    Beside,
    /// Once every punch has failed.
    Last,
}

/// What a strategy may use, and in which order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed {
    pub(super) direct: TransportSet,
    pub(super) punch: TransportSet,
    pub(super) relay: RelayUse,
    /// Dialled before the other. TCP moves more bytes.
    pub(super) first: Transport,
}

impl Allowed {
    /// Everything, the relay beside a punch.
    pub(super) const ALL: Allowed =
        Allowed { direct: TransportSet::ALL, punch: TransportSet::ALL, relay: RelayUse::Beside, first: Transport::Tcp };
}

/// Direct addresses first, staggered (RFC 8305); then, relay by relay, a punch
/// that a relayed stream joins if it takes long.
pub(super) fn plan(
    name: &'static str,
    request: &PlanRequest,
    allowed: &Allowed,
    timing: &Timing,
) -> Result<DialPlan, PolicyError> {
    let mut direct: Vec<&TransportAddress> = Vec::new();
    let mut relays: Vec<&RelayAddress> = Vec::new();
    for locator in &request.addresses {
        match &locator.address {
            PeerAddress::Direct(address) if allowed.direct.contains(address.transport) && !direct.contains(&address) => {
                direct.push(address);
            }
            PeerAddress::Relayed(relay) if !relays.contains(&relay) => relays.push(relay),
            _ => {}
        }
    }
    // A peer's own order within a transport.
    direct.sort_by_key(|address| address.transport != allowed.first);
    direct.truncate(MAX_DIRECT);
    diverse_first(&mut relays, |relay| relay.via.provider_block());
    relays.truncate(MAX_RELAYS);

    let attempt = |route, timeout, start_after| Attempt {
        request: DialRequest { peer: request.peer.clone(), route, timeout },
        start_after,
    };
    let mut stages = Vec::with_capacity(1 + relays.len());
    if !direct.is_empty() {
        let staggered = direct.iter().zip(0_u32..);
        let attempts = staggered
            .filter(|(address, _)| request.peer.is_some() || address.transport == Transport::Tcp)
            .map(|(address, n)| attempt(Route::Direct((*address).clone()), timing.direct, timing.stagger * n))
            .collect();
        stages.push(Stage { attempts });
    }
    let punched = |relay: &RelayAddress| {
        attempt(Route::Punched { relay: relay.clone(), transports: allowed.punch }, timing.punch, Duration::ZERO)
    };
    let relayed = |relay: &RelayAddress, wait| attempt(Route::Relayed(relay.clone()), timing.relayed, wait);
    let punches = !allowed.punch.is_empty();
    for relay in &relays {
        let mut attempts = Vec::with_capacity(2);
        if punches {
            attempts.push(punched(relay));
        }
        if allowed.relay == RelayUse::Beside {
            attempts.push(relayed(relay, if punches { timing.relay_after } else { Duration::ZERO }));
        }
        stages.push(Stage { attempts });
    }
    if allowed.relay == RelayUse::Last {
        stages.extend(relays.iter().map(|relay| Stage { attempts: vec![relayed(relay, Duration::ZERO)] }));
    }
    stages.retain(|stage: &Stage| !stage.attempts.is_empty());
    if stages.is_empty() {
        return Err(PolicyError::NoUsableAddress { policy: name.to_owned(), known: request.addresses.len() });
    }
    Ok(DialPlan { stages })
}

/// Whether a dial by a punch failed because of the networks between the peers. A
/// relay that cannot be reached, a name that does not resolve or an exchange that
/// broke says nothing about the next punch.
pub(super) fn is_failed_punch(error: &DialError) -> bool {
    matches!(error, DialError::NoDirectPath { reason, .. } if reason.is_failed_punch())
}
