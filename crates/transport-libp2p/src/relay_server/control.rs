//! What the relay's owner changes and asks while it runs, and the relay protocol.

use std::time::Duration;

use libp2p::{PeerId, Stream, swarm::ConnectionId};
use tokio::sync::oneshot;

use super::{
    access::RelayAccess,
    behaviour::Behaviour,
    load::RelayLoad,
    origin::Origin,
    tasks::{Done, Running},
};
use crate::{
    RelayServerConfig, RelayToken, convert,
    relay_control::{self, Refusal},
};

impl Behaviour {
    /// Serves by these settings from now on.
    pub(crate) fn set(&mut self, config: RelayServerConfig) {
        let now = self.refresh();
        self.flows.set(&config);
        self.rendezvous.set(&config);
        self.table.set(config.clone(), now);
        self.config = config;
        self.members.judge(&self.config.tokens);
        let (access, tokens, members) = (&self.config.access, &self.config.tokens, &self.members);
        let may_connect = |peer: &PeerId, origin: &Origin| allows(access, peer, origin);
        let has_token = |peer: &PeerId| tokens.is_empty() || members.has_token(peer);
        let may_reserve = |peer: &PeerId, origin: &Origin| may_connect(peer, origin) && has_token(peer);
        let changes = self.table.revoke(may_reserve, may_connect);
        self.apply(changes);
        let connections: Vec<(ConnectionId, PeerId)> =
            self.members.origins().map(|(connection, peer, _)| (connection, *peer)).collect();
        for (connection, peer) in connections {
            let refused = self.refusal(&peer, connection);
            if refused != self.members.refused(connection) {
                self.members.answer(connection, refused);
            }
        }
        self.refresh();
    }

    /// Takes nothing new from now on. `ended` gets the number of circuits that are left when
    /// the time is over, or 0 when all are gone before.
    pub(crate) fn drain(&mut self, allowed: Duration, ended: oneshot::Sender<usize>) {
        let now = self.refresh();
        self.drain.get_or_insert_default().begin(allowed, ended, now);
        self.members.drain(None, allowed);
    }

    /// While memory is short, nothing new is taken.
    pub(crate) fn set_pressure(&mut self, is_under_pressure: bool) {
        self.is_under_pressure = is_under_pressure;
    }

    pub(crate) fn load(&self) -> RelayLoad {
        let (reservations, circuits) = self.table.counts();
        let (waits, waited) = self.flows.waits();
        RelayLoad {
            reservations,
            max_reservations: self.config.max_reservations,
            circuits,
            max_circuits: self.config.max_circuits,
            notified: self.members.count(),
            bytes: self.moved + self.running.values().map(Running::bytes).sum::<u64>(),
            waits,
            waited,
            refused_reservations: self.refused_reservations.clone(),
            refused_circuits: self.refused_circuits.clone(),
            quota: self.flows.quota_use(self.clock.now()),
            service: self.service(),
            is_draining: self.drain.is_some(),
            is_under_pressure: self.is_under_pressure,
        }
    }

    /// A peer speaks the relay protocol: it is told whether it may reserve, and later of a
    /// drain. Over a circuit there is nothing to say.
    pub(super) fn hello(
        &mut self,
        (peer, connection): (PeerId, ConnectionId),
        origin: Option<Origin>,
        stream: Stream,
        token: Option<RelayToken>,
    ) {
        // It may have closed meanwhile.
        let Some(origin) = origin.filter(|_| self.is_open && self.table.is_connected(connection)) else { return };
        let now = self.clock.now();
        let is_given = token.is_some() && !self.config.tokens.is_empty();
        // A guess too many has no answer.
        if is_given && !self.guesses.has(&origin.host, 1, now) {
            return;
        }
        let frames = self.members.add((peer, connection), origin, token, &self.config.tokens);
        let refused = self.refusal(&peer, connection);
        if is_given && refused == Some(Refusal::TokenWrong) {
            let _ = self.guesses.take(&origin.host, now);
        }
        self.members.answer(connection, refused);
        if let Some(drain) = &self.drain {
            self.members.drain(Some(connection), drain.left(now));
        }
        self.tasks.spawn(async move {
            relay_control::serve(stream, frames).await;
            Done::Answered
        });
    }

    /// Why the peer on that connection may not reserve.
    fn refusal(&self, peer: &PeerId, connection: ConnectionId) -> Option<Refusal> {
        let origin = self.members.origin(connection)?;
        if !self.is_allowed(peer, &origin) {
            return Some(Refusal::NotAllowed);
        }
        if self.has_token(peer) { None } else { self.members.token_refused(connection) }
    }

    pub(super) fn has_token(&self, peer: &PeerId) -> bool {
        self.config.tokens.is_empty() || self.members.has_token(peer)
    }

    pub(super) fn is_allowed(&self, peer: &PeerId, origin: &Origin) -> bool {
        allows(&self.config.access, peer, origin)
    }
}

fn allows(access: &RelayAccess, peer: &PeerId, origin: &Origin) -> bool {
    *access == RelayAccess::Everyone || access.allows(&convert::identity(peer), origin.ip)
}
