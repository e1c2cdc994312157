//! Checks that we make for relays that we use: whether a node can be reached at an address.
//!
//! A relay may be hostile, and name a victim. So a check is one plain dial, and there are
//! few: of one address, of one network, for one relay and in all.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use kaspath_domain::{DialError, IpPrefix, Moment, PeerIdentity, Rates, TransportAddress, is_public};

use super::super::{
    connections::ConnId,
    io::{DialKind, OperationId, Output},
    shared::Shared,
};
use super::check::{DialBackOutcome, DialBackWanted, FIRST_PORT};
use crate::core::interfaces::is_elsewhere;

/// Dials of checks under way at once, of all relays; of one relay there is one.
const MAX_DIALS: usize = 4;
/// Addresses, networks and relays remembered, each.
const MAX_REMEMBERED: usize = 1024;

pub(super) struct Helping {
    dials: BTreeMap<OperationId, Dial>,
    hosts: Rates<IpPrefix>,
    networks: Rates<IpPrefix>,
    relays: Rates<PeerIdentity>,
    /// Of relays' own addresses, which they may ask about often.
    own: Rates<PeerIdentity>,
}

struct Dial {
    relay: PeerIdentity,
    /// That of the relay's request.
    exchange: OperationId,
    nonce: u64,
    connection: Option<ConnId>,
}

impl Default for Helping {
    fn default() -> Self {
        Self {
            dials: BTreeMap::new(),
            hosts: Rates::new(6, Duration::from_secs(60), MAX_REMEMBERED),
            networks: Rates::new(24, Duration::from_secs(20), MAX_REMEMBERED),
            relays: Rates::new(30, Duration::from_secs(120), MAX_REMEMBERED),
            own: Rates::new(16, Duration::from_secs(1), MAX_REMEMBERED),
        }
    }
}

impl Helping {
    /// A relay that is linked from `relay_ip` asks for a check. `local` allows private
    /// addresses too.
    pub(super) fn wanted(
        &mut self,
        shared: &mut Shared,
        exchange: OperationId,
        (relay, relay_ip): (PeerIdentity, IpAddr),
        wanted: DialBackWanted,
        local: bool,
    ) {
        let DialBackWanted { peer, address, nonce } = wanted;
        if !self.may_dial(shared, &relay, relay_ip, &peer, &address, local) {
            return shared.put(Output::DialBackDone { exchange, outcome: DialBackOutcome::Refused });
        }
        let dial = shared.operation();
        self.dials.insert(dial, Dial { relay, exchange, nonce, connection: None });
        shared.put(Output::Dial { dial, peer, addresses: vec![address], kind: DialKind::DialBack });
    }

    fn may_dial(
        &mut self,
        shared: &Shared,
        relay: &PeerIdentity,
        relay_ip: IpAddr,
        peer: &PeerIdentity,
        address: &TransportAddress,
        local: bool,
    ) -> bool {
        let Some(ip) = address.canonical_ip() else { return false };
        let (own, now) = (&shared.interfaces, shared.now);
        // What cannot be reached from here is not unreachable.
        let has_family = own.iter().any(|own| own.is_ipv4() == ip.is_ipv4() && (own.is_ipv4() || is_public(*own) || local));
        let is_busy = self.dials.len() >= MAX_DIALS || self.dials.values().any(|dial| dial.relay == *relay);
        if address.port < FIRST_PORT || *peer == shared.local || !(is_elsewhere(ip, own) || local) || !has_family || is_busy {
            return false;
        }
        if ip == relay_ip && peer == relay {
            return self.own.take(relay, now).is_ok();
        }
        self.has_room(relay, ip, now)
    }

    /// Takes a token of each, or none.
    fn has_room(&mut self, relay: &PeerIdentity, ip: IpAddr, now: Moment) -> bool {
        let (host, network) = (IpPrefix::host(ip), IpPrefix::network(ip));
        let has_room = self.relays.has(relay, 1, now) && self.hosts.has(&host, 1, now) && self.networks.has(&network, 1, now);
        has_room
            && self.relays.take(relay, now).is_ok()
            && self.hosts.take(&host, now).is_ok()
            && self.networks.take(&network, now).is_ok()
    }

    /// A connection came up, perhaps by one of these dials.
    pub(super) fn connected(&mut self, shared: &mut Shared, id: ConnId, dial: Option<OperationId>) {
        let Some((dial, known)) = dial.and_then(|dial| Some((dial, self.dials.get_mut(&dial)?))) else { return };
        known.connection = Some(id);
        shared.put(Output::DialBack { operation: dial, id, nonce: known.nonce });
    }

    pub(super) fn failed(&mut self, shared: &mut Shared, dial: OperationId, error: &DialError) {
        let outcome = if error.is_of_our_limits() { DialBackOutcome::Refused } else { DialBackOutcome::NotReached };
        self.done(shared, dial, outcome);
    }

    /// The dial, or what was to be shown to the peer after it, is over.
    pub(super) fn done(&mut self, shared: &mut Shared, dial: OperationId, outcome: DialBackOutcome) {
        let Some(Dial { exchange, connection, .. }) = self.dials.remove(&dial) else { return };
        shared.put(Output::DialBackDone { exchange, outcome });
        if let Some(id) = connection {
            shared.put(Output::CloseIfUnused(id));
        }
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.dials.len()
    }
}
