//! Direct dials, and who waits for a direct connection however it comes about.

use std::collections::BTreeMap;

use kaspath_domain::{DialError, PeerIdentity, TransportAddress, TransportSet};

use super::{
    connections::ConnId,
    io::{DialKind, OperationId, Output, WaiterId},
    shared::Shared,
};

/// Who may wait for direct connections at once.
const MAX_WAITERS: usize = 1024;

/// Dials of the same addresses share one.
struct Dial {
    peer: PeerIdentity,
    addresses: Vec<TransportAddress>,
    waiters: Vec<WaiterId>,
}

#[derive(Default)]
pub(super) struct Direct {
    dials: BTreeMap<OperationId, Dial>,
    waiters: BTreeMap<WaiterId, (PeerIdentity, TransportSet)>,
}

impl Direct {
    pub(super) fn connect(
        &mut self,
        shared: &mut Shared,
        waiter: WaiterId,
        peer: PeerIdentity,
        addresses: Vec<TransportAddress>,
    ) {
        let wanted: TransportSet = addresses.iter().map(|address| address.transport).collect();
        if let Some(existing) = shared.connections.best_direct(&peer, wanted) {
            return shared.answer([waiter], &Ok(existing));
        }
        if let Some(dial) = self.dials.values_mut().find(|dial| (&dial.peer, &dial.addresses) == (&peer, &addresses)) {
            return dial.waiters.push(waiter);
        }
        let dial = shared.operation();
        shared.put(Output::Dial { dial, peer: peer.clone(), addresses: addresses.clone(), kind: DialKind::Peer });
        self.dials.insert(dial, Dial { peer, addresses, waiters: vec![waiter] });
    }

    pub(super) fn wait(&mut self, shared: &mut Shared, waiter: WaiterId, peer: PeerIdentity, transports: TransportSet) {
        if let Some(existing) = shared.connections.best_direct(&peer, transports) {
            shared.answer([waiter], &Ok(existing));
        } else if self.waiters.len() >= MAX_WAITERS {
            let full = DialError::LimitReached { what: "dials that wait for a direct path", limit: MAX_WAITERS };
            shared.answer([waiter], &Err(full));
        } else {
            self.waiters.insert(waiter, (peer, transports));
        }
    }

    /// A dial cannot be taken back, but nobody need wait for it.
    pub(super) fn give_up(&mut self, waiter: WaiterId) {
        self.waiters.remove(&waiter);
        for dial in self.dials.values_mut() {
            dial.waiters.retain(|other| *other != waiter);
        }
    }

    /// A connection came up, perhaps by one of these dials.
    pub(super) fn connected(&mut self, shared: &mut Shared, id: ConnId, dial: Option<OperationId>) {
        if let Some(dial) = dial.and_then(|dial| self.dials.remove(&dial)) {
            shared.answer(dial.waiters, &Ok(id));
        }
        let Some((peer, transport)) = shared.connections.get(id).and_then(|on| Some((&on.peer, on.transport()?))) else { return };
        let served = self.waiters.iter().filter(|(_, (wanted, over))| wanted == peer && over.contains(transport));
        let served: Vec<WaiterId> = served.map(|(waiter, _)| *waiter).collect();
        for waiter in &served {
            self.waiters.remove(waiter);
        }
        shared.answer(served, &Ok(id));
    }

    pub(super) fn failed(&mut self, shared: &mut Shared, dial: OperationId, error: &DialError) {
        if let Some(dial) = self.dials.remove(&dial) {
            shared.answer(dial.waiters, &Err(error.clone()));
        }
    }

    /// What is held, for tests: dials and waiters.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.dials.len() + self.waiters.len()
    }
}

#[cfg(test)]
mod tests;
