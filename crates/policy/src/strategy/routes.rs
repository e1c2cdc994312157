//! From addresses to plans: what the strategies share.

use kaspath_domain::{
    Attempt, DialPlan, DialRequest, PeerAddress, PlanRequest, PolicyError, RelayAddress, Route, Stage, Transport,
    TransportAddress, TransportSet,
};

use super::Timing;

/// Direct dials in one plan, and relays; a peer's address list may be long.
const MAX_DIRECT: usize = 8;
const MAX_RELAYS: usize = 3;

/// What a strategy may use.
pub(super) struct Allowed {
    pub(super) direct: TransportSet,
    pub(super) punch: TransportSet,
    pub(super) relay: bool,
}

/// Direct addresses first, staggered; then, relay by relay, a punch that a
/// relayed stream joins if it takes long.
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
                direct.push(address)
            }
            PeerAddress::Relayed(relay) if !relays.contains(&relay) => relays.push(relay),
            _ => {}
        }
    }
    // TCP before QUIC, for it moves more bytes; a peer's own order otherwise.
    direct.sort_by_key(|address| address.transport);
    direct.truncate(MAX_DIRECT);
    relays.truncate(MAX_RELAYS);

    let attempt = |route, deadline, start_after| Attempt {
        request: DialRequest { peer: request.peer.clone(), route, deadline },
        start_after,
    };
    let mut stages = Vec::new();
    if !direct.is_empty() {
        let staggered = direct.iter().zip(0_u32..);
        let attempts = staggered
            .filter(|(address, _)| request.peer.is_some() || address.transport == Transport::Tcp)
            .map(|(address, n)| attempt(Route::Direct((*address).clone()), timing.direct, timing.stagger * n))
            .collect();
        stages.push(Stage { attempts });
    }
    for relay in relays {
        let mut attempts = Vec::new();
        if !allowed.punch.is_empty() {
            let route = Route::Punched { relay: relay.clone(), transports: allowed.punch };
            attempts.push(attempt(route, timing.punch, std::time::Duration::ZERO));
        }
        if allowed.relay {
            let wait = if attempts.is_empty() { std::time::Duration::ZERO } else { timing.relay_after };
            attempts.push(attempt(Route::Relayed(relay.clone()), timing.relayed, wait));
        }
        stages.push(Stage { attempts });
    }
    stages.retain(|stage: &Stage| !stage.attempts.is_empty());
    if stages.is_empty() {
        return Err(PolicyError::NoUsableAddress { policy: name.to_owned(), known: request.addresses.len() });
    }
    Ok(DialPlan { stages })
}
