//! Checks of addresses that are under way, ours and others'.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use kaspath_domain::{IpPrefix, Slot, Slots};
use libp2p::PeerId;
use tokio::sync::oneshot;

use crate::{
    ServeWhen,
    core::{DialBackOutcome, OperationId},
    gates::Share,
};

/// Streams that are served at once: on which relays want help, and, apart from these, on which
/// nonces are shown.
const MAX_SERVED: usize = 32;
/// Of one peer, one host and one network.
const PER_PEER: usize = 2;
const PER_HOST: usize = 4;
const PER_NETWORK: usize = 8;

/// What is asked, and dials that relays wait for.
pub(super) struct DialBacks {
    helped: Slots<Share<PeerId>>,
    shown: Slots<Share<PeerId>>,
    /// Held by each of our questions while it is open.
    asking: Arc<()>,
    pub(super) waiting: HashMap<OperationId, oneshot::Sender<DialBackOutcome>>,
    pub(super) serve: ServeWhen,
}

impl DialBacks {
    pub(super) fn new(serve: ServeWhen) -> Self {
        let [helped, shown] = [(); 2].map(|()| Slots::new(MAX_SERVED));
        Self { helped, shown, asking: Arc::default(), waiting: HashMap::new(), serve }
    }

    /// We ask, until this is dropped.
    pub(super) fn asking(&self) -> Arc<()> {
        self.asking.clone()
    }

    /// A place for a stream on which a relay wants help.
    pub(super) fn help(&self, peer: PeerId, from: IpAddr) -> Option<Slot<Share<PeerId>>> {
        self.helped.take(shares(peer, from))
    }

    /// A place for a stream on which a nonce is shown; nobody has one to show while we ask nothing.
    pub(super) fn show(&self, peer: PeerId, from: IpAddr) -> Option<Slot<Share<PeerId>>> {
        if Arc::strong_count(&self.asking) == 1 {
            return None;
        }
        self.shown.take(shares(peer, from))
    }

    /// Tells the relay's stream what came of it.
    pub(super) fn done(&mut self, exchange: OperationId, outcome: DialBackOutcome) {
        if let Some(waiting) = self.waiting.remove(&exchange) {
            let _ = waiting.send(outcome);
        }
    }
}

fn shares(peer: PeerId, from: IpAddr) -> [(Share<PeerId>, usize); 3] {
    let (host, network) = (IpPrefix::host(from), IpPrefix::network(from));
    [(Share::Peer(peer), PER_PEER), (Share::Prefix(host), PER_HOST), (Share::Prefix(network), PER_NETWORK)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_with_many_identities_keeps_nobody_from_showing_a_nonce_or_wanting_help() {
        let dial_backs = DialBacks::new(ServeWhen::Reachable);
        let (_asking, peers): (_, Vec<PeerId>) = (dial_backs.asking(), (0..16).map(|_| PeerId::random()).collect());
        let mut held = Vec::new();
        for ip in [[198, 51, 100, 1], [198, 51, 100, 2], [198, 51, 100, 3]] {
            let streams = peers.iter().flat_map(|peer| [*peer; 4]);
            held.extend(streams.filter_map(|peer| dial_backs.show(peer, ip.into())));
        }
        assert_eq!(held.len(), PER_NETWORK);
        assert!(dial_backs.show(PeerId::random(), [203, 0, 113, 1].into()).is_some());
        assert!(dial_backs.help(peers[0], [198, 51, 100, 1].into()).is_some(), "places of their own");
        let one: Vec<_> = std::iter::from_fn(|| dial_backs.help(peers[1], [192, 0, 2, 1].into())).collect();
        assert_eq!(one.len(), PER_PEER);
        drop(held);
        assert!(dial_backs.show(peers[0], [198, 51, 100, 1].into()).is_some());
    }

    #[test]
    fn while_nothing_is_asked_nobody_shows_a_nonce() {
        let dial_backs = DialBacks::new(ServeWhen::Reachable);
        let show = || dial_backs.show(PeerId::random(), [203, 0, 113, 1].into()).is_some();
        assert!(!show());
        let asking = dial_backs.asking();
        assert!(show());
        drop(asking);
        assert!(!show());
    }
}
