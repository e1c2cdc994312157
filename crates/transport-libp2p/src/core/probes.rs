//! Whether our links to relays still work, when a session has noticed that a path does not.
//!
//! A new address of ours, or a NAT that has lost its mappings, ends all connections in
//! silence. libp2p's ping notices that after 40 to 60 s; a session that gets no answer does
//! after a second. Then each relay is asked for an answer on each link, and a link that
//! gives none is closed, for whoever needs the relay to dial it anew.

use std::{collections::BTreeMap, time::Duration};

use kaspath_domain::{PeerIdentity, TokenBucket};

use super::{
    connections::ConnId,
    io::{OperationId, Output},
    shared::{Shared, Signal},
};

/// Rounds of probes of the relays at once, and the time for one more, so that a peer that
/// answers late on purpose cannot have relays probed without end.
const BURST: u32 = 4;
const REFILL: Duration = Duration::from_secs(10);

pub(super) struct Probes {
    rounds: TokenBucket,
    /// Those under way, with the connection of each, and its relay if it is a link.
    running: BTreeMap<OperationId, (ConnId, Option<PeerIdentity>)>,
}

impl Default for Probes {
    fn default() -> Self {
        Self { rounds: TokenBucket::new(BURST, REFILL), running: BTreeMap::new() }
    }
}

impl Probes {
    /// An answer on that connection is late. `relays` are those whose links are in use.
    ///
    /// Other direct connections with the peer are suspect too, until they answer.
    pub(super) fn suspect(&mut self, shared: &mut Shared, id: ConnId, relays: &[PeerIdentity]) {
        if !shared.connections.set_suspect(id, true) {
            return;
        }
        let peer = shared.connections.get(id).map(|connection| connection.peer.clone());
        let others: Vec<ConnId> = peer.iter().flat_map(|peer| shared.connections.direct(peer)).map(|(other, _)| other).collect();
        for other in others {
            if other != id && shared.connections.set_suspect(other, true) {
                self.begin(shared, other, None);
            }
        }
        self.probe_relays(shared, relays);
    }

    /// Our router may have forgotten us: each link to these relays is asked for an answer.
    pub(super) fn probe_relays(&mut self, shared: &mut Shared, relays: &[PeerIdentity]) {
        if self.rounds.take(shared.now).is_err() {
            return;
        }
        for relay in relays {
            let links: Vec<ConnId> = shared.connections.direct(relay).map(|(link, _)| link).collect();
            links.into_iter().for_each(|link| self.begin(shared, link, Some(relay.clone())));
        }
    }

    fn begin(&mut self, shared: &mut Shared, id: ConnId, relay: Option<PeerIdentity>) {
        if self.running.values().all(|(probed, _)| *probed != id) {
            let probe = shared.operation();
            self.running.insert(probe, (id, relay));
            shared.put(Output::Probe { probe, id });
        }
    }

    /// An answer has come on that connection after all.
    pub(super) fn recovered(shared: &mut Shared, id: ConnId) {
        shared.connections.set_suspect(id, false);
    }

    /// The probe is over.
    pub(super) fn probed(&mut self, shared: &mut Shared, probe: OperationId, is_alive: bool) {
        let Some((id, relay)) = self.running.remove(&probe) else { return };
        match (is_alive, relay) {
            (true, None) => drop(shared.connections.set_suspect(id, false)),
            (true, Some(_)) => {}
            (false, relay) => {
                shared.put(Output::Close(id));
                relay.into_iter().for_each(|relay| shared.signal(Signal::RelaySilent { relay, link: id }));
            }
        }
    }

    /// The connection is gone.
    pub(super) fn disconnected(&mut self, id: ConnId) {
        self.running.retain(|_, (link, _)| *link != id);
    }

    /// What is held, for tests: probes.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.running.len()
    }
}

#[cfg(test)]
mod tests {
    use kaspath_domain::Direction;

    use super::*;
    use crate::core::tests::{connection, identity, outputs, shared};

    const RELAY: &str = "/ip4/203.0.113.1/tcp/4001";
    const PEER: &str = "/ip4/198.51.100.1/tcp/4001";

    fn probes(outputs: Vec<Output>) -> Vec<(OperationId, ConnId)> {
        let probe = |output| if let Output::Probe { probe, id } = output { Some((probe, id)) } else { None };
        outputs.into_iter().filter_map(probe).collect()
    }

    #[test]
    fn a_router_that_forwards_anew_has_every_link_probed_within_the_limit() {
        let (mut machine, mut shared) = (Probes::default(), shared());
        shared.connections.insert(ConnId(1), connection(9, Direction::Outbound, RELAY));
        let mut begun = 0;
        for _ in 0..10 {
            machine.probe_relays(&mut shared, &[identity(9)]);
            for (probe, id) in probes(outputs(&mut shared)) {
                assert_eq!(id, ConnId(1));
                machine.probed(&mut shared, probe, true);
                begun += 1;
            }
        }
        assert_eq!(begun, BURST);
    }

    #[test]
    fn a_silent_path_has_every_link_probed_once_and_a_silent_link_is_closed() {
        let (mut machine, mut shared) = (Probes::default(), shared());
        for (id, peer, at) in [(1, 9, RELAY), (2, 8, RELAY), (3, 1, PEER), (4, 1, PEER)] {
            shared.connections.insert(ConnId(id), connection(peer, Direction::Outbound, at));
        }
        let relays = [identity(9), identity(8)];
        machine.suspect(&mut shared, ConnId(3), &relays);
        let begun = probes(outputs(&mut shared));
        assert_eq!(begun.iter().map(|(_, link)| link.0).collect::<Vec<_>>(), [4, 1, 2], "the peer's other connection too");
        machine.suspect(&mut shared, ConnId(3), &relays);
        machine.suspect(&mut shared, ConnId(4), &relays);
        assert!(probes(outputs(&mut shared)).is_empty(), "they are probed already");
        assert!(shared.connections.is_suspect(ConnId(4)));
        machine.probed(&mut shared, begun[0].0, true);
        assert!(!shared.connections.is_suspect(ConnId(4)));
        machine.probed(&mut shared, begun[1].0, true);
        assert!(outputs(&mut shared).is_empty());
        machine.probed(&mut shared, begun[2].0, false);
        machine.probed(&mut shared, begun[2].0, false);
        assert!(matches!(outputs(&mut shared)[..], [Output::Close(ConnId(2))]));
        assert!(matches!(shared.next_signal(), Some(Signal::RelaySilent { relay, link: ConnId(2) }) if relay == identity(8)));
        assert!(shared.next_signal().is_none() && machine.held() == 0);
    }

    #[test]
    fn a_suspect_connection_serves_nobody_until_it_answers() {
        let (mut machine, mut shared) = (Probes::default(), shared());
        let best = |shared: &Shared| shared.connections.best_direct(&identity(1), kaspath_domain::TransportSet::ALL);
        shared.connections.insert(ConnId(3), connection(1, Direction::Outbound, PEER));
        machine.suspect(&mut shared, ConnId(3), &[]);
        assert_eq!(best(&shared), None);
        Probes::recovered(&mut shared, ConnId(3));
        assert_eq!(best(&shared), Some(ConnId(3)));
        machine.suspect(&mut shared, ConnId(3), &[]);
        shared.connections.remove(ConnId(3));
        machine.suspect(&mut shared, ConnId(3), &[identity(9)]);
        assert!(outputs(&mut shared).is_empty(), "one that is gone is not suspect");
    }

    #[test]
    fn paths_that_flap_do_not_have_relays_probed_without_end() {
        let (mut machine, mut shared) = (Probes::default(), shared());
        for (id, peer, at) in [(1, 9, RELAY), (3, 1, PEER)] {
            shared.connections.insert(ConnId(id), connection(peer, Direction::Outbound, at));
        }
        let mut count = 0;
        for second in 0..600 {
            shared.now = kaspath_domain::Moment::after_start(std::time::Duration::from_secs(second));
            machine.suspect(&mut shared, ConnId(3), &[identity(9)]);
            for (probe, _) in probes(outputs(&mut shared)) {
                count += 1;
                machine.probed(&mut shared, probe, true);
            }
            Probes::recovered(&mut shared, ConnId(3));
        }
        assert!((4..70).contains(&count), "{count}");
    }
}
