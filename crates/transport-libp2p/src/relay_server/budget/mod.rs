//! What peers and all together may send: per second, and in a window. Pure: time comes as
//! a parameter, and peers are whatever names them.

mod pace;
mod quota;

use std::{collections::HashMap, hash::Hash, time::Duration};

use kaspath_domain::{IpPrefix, Moment, make_room};

use self::{
    pace::{Pace, Rate},
    quota::{Use, Uses},
};
use super::load::RelayQuotaUse;
use crate::RelayServerConfig;

/// Peers whose rate is remembered; one that is forgotten has a full bucket.
const MAX_PACED: usize = 4096;
/// What a circuit passes on before it waits, as a time at the lowest rate that it has.
const CHUNK_TIME: Duration = Duration::from_millis(20);
const LEAST_CHUNK: u64 = 1024;

/// The two of a circuit, who opened it first, and where each comes from.
#[derive(Clone, Debug)]
pub(super) struct Parties<P> {
    pub(super) peers: [P; 2],
    pub(super) prefixes: [IpPrefix; 2],
}

/// Whose quota is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exceeded {
    Peer,
    Prefix,
    All,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Limits {
    peer: Rate,
    all: Rate,
    quota_peer: u64,
    quota_prefix: u64,
    quota: u64,
    window: Duration,
}

impl Limits {
    fn of(config: &RelayServerConfig) -> Self {
        Self {
            peer: Rate::new(config.bytes_per_second_per_peer, config.burst_per_peer),
            all: Rate::new(config.bytes_per_second, config.burst),
            quota_peer: config.quota_per_peer,
            quota_prefix: config.quota_per_prefix,
            quota: config.quota,
            window: config.quota_window,
        }
    }
}

pub(super) struct Budget<P> {
    limits: Limits,
    paces: HashMap<P, Pace>,
    pace: Pace,
    peers: Uses<P>,
    prefixes: Uses<IpPrefix>,
    all: Use,
}

impl<P: Clone + Eq + Hash> Budget<P> {
    pub(super) fn new(config: &RelayServerConfig) -> Self {
        Self {
            limits: Limits::of(config),
            paces: HashMap::new(),
            pace: Pace::default(),
            peers: Uses::default(),
            prefixes: Uses::default(),
            all: Use::default(),
        }
    }

    /// Other limits from now on. What was used still counts, by the new window; debts of
    /// rates are forgiven.
    pub(super) fn set(&mut self, config: &RelayServerConfig) {
        let limits = Limits::of(config);
        if (limits.peer, limits.all) != (self.limits.peer, self.limits.all) {
            (self.paces, self.pace) = (HashMap::new(), Pace::default());
        }
        if limits.quota_peer == 0 {
            self.peers.clear();
        }
        if limits.quota_prefix == 0 {
            self.prefixes.clear();
        }
        self.limits = limits;
    }

    /// Whether there is anything to count.
    pub(super) fn is_limited(&self) -> bool {
        let Limits { peer, all, quota_peer, quota_prefix, quota, .. } = self.limits;
        peer.is_limited() || all.is_limited() || quota_peer > 0 || quota_prefix > 0 || quota > 0
    }

    /// How much a circuit passes on at once: little of what there is, so that many get
    /// their turn soon.
    pub(super) fn chunk(&self) -> Option<u64> {
        let rates = [self.limits.peer, self.limits.all];
        rates.into_iter().filter_map(|rate| rate.bytes_in(CHUNK_TIME)).min().map(|bytes| bytes.max(LEAST_CHUNK))
    }

    /// Whose quota keeps that peer from beginning anything.
    pub(super) fn exceeded(&self, peer: &P, prefix: &IpPrefix, now: Moment) -> Option<Exceeded> {
        let Limits { quota_peer, quota_prefix, quota, window, .. } = self.limits;
        if self.all.is_over(quota, window, now) {
            Some(Exceeded::All)
        } else if self.prefixes.is_over(prefix, quota_prefix, window, now) {
            Some(Exceeded::Prefix)
        } else {
            self.peers.is_over(peer, quota_peer, window, now).then_some(Exceeded::Peer)
        }
    }

    /// A circuit has read that many bytes. From the returned moment on it may read again.
    ///
    /// # Errors
    /// A quota was used up before: the circuit must end.
    pub(super) fn charge(&mut self, circuit: &Parties<P>, bytes: u64, now: Moment) -> Result<Moment, Exceeded> {
        // A stranger may open a circuit to anybody, and must not use up that peer's quota.
        let (opener, prefix) = (&circuit.peers[0], &circuit.prefixes[0]);
        if let Some(exceeded) = self.exceeded(opener, prefix, now) {
            return Err(exceeded);
        }
        let Limits { peer: rate, all, quota_peer, quota_prefix, window, .. } = self.limits;
        self.all.add(bytes, window, now);
        if quota_peer > 0 {
            self.peers.add(opener, bytes, window, now);
        }
        if quota_prefix > 0 {
            self.prefixes.add(prefix, bytes, window, now);
        }
        let mut at = self.pace.charge(all, bytes, now);
        for peer in &circuit.peers {
            if rate.is_limited() {
                make_room(&mut self.paces, peer, MAX_PACED, |pace| pace.full_at);
                at = at.max(self.paces.entry(peer.clone()).or_default().charge(rate, bytes, now));
            }
        }
        Ok(at)
    }

    pub(super) fn quota_use(&self, now: Moment) -> RelayQuotaUse {
        let Limits { quota_peer, quota_prefix, quota, window, .. } = self.limits;
        RelayQuotaUse {
            used: self.all.bytes(window, now),
            quota,
            window_left: self.all.left(window, now),
            peers_over: self.peers.over(quota_peer, window, now),
            prefixes_over: self.prefixes.over(quota_prefix, window, now),
        }
    }
}

#[cfg(test)]
mod tests;
