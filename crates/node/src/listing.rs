//! The list of relays, read again and again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kaspath_domain::{PeerIdentity, RelayAddress, RelayList, RetryCadence, TransportAddress};
use kaspath_policy::{RelayCandidate, RelaySource};
use tokio::time::{Instant, sleep_until};

use crate::{
    lock,
    pooling::{PoolEvent, Relays},
};

/// A list is read again no sooner and no later than this, whatever its source says.
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);
/// While no relay is held, the list may have moved: it is read again after this time.
const UNSERVED: Duration = Duration::from_secs(30);

/// When a list that could not be read is read again: at boot there may be no DNS yet.
fn cadence() -> RetryCadence {
    let delays = [2, 5, 5, 10, 30, 60, 120].map(Duration::from_secs).to_vec();
    RetryCadence { delays, then: Some(Duration::from_secs(300)), jitter: 0.25 }
}

/// Addresses of one relay together, in the order in which they are named.
pub(crate) fn grouped(relays: impl IntoIterator<Item = RelayAddress>) -> Vec<(PeerIdentity, Vec<TransportAddress>)> {
    let (mut order, mut addresses) = (Vec::new(), BTreeMap::<PeerIdentity, Vec<TransportAddress>>::new());
    for RelayAddress { relay, via } in relays {
        if !addresses.contains_key(&relay) {
            order.push(relay.clone());
        }
        addresses.entry(relay).or_default().push(via);
    }
    order.into_iter().filter_map(|relay| addresses.remove_entry(&relay)).collect()
}

impl Relays {
    /// Keeps the pool's list of relays up to date. Runs until it is dropped.
    pub(crate) async fn keep_listed(self, list: Arc<dyn RelayList>) {
        let (cadence, mut failures, mut last) = (cadence(), 0_u32, None);
        let source = list.source();
        loop {
            *lock(&self.0.next_read) = Some(self.0.clock.now());
            let begun = Instant::now();
            let wait = match list.read().await {
                Ok(listing) => {
                    failures = 0;
                    let relays = grouped(listing.relays);
                    if last.as_ref() != Some(&relays) {
                        self.report(PoolEvent::RelayListRead { source: source.clone(), relays: relays.len() });
                        last = Some(relays.clone());
                    }
                    let candidate =
                        |(relay, addresses)| RelayCandidate { relay, addresses, source: RelaySource::List, load: None };
                    self.replace(&RelaySource::List, relays.into_iter().map(candidate).collect());
                    listing.valid_for.clamp(SHORTEST, LONGEST)
                }
                // What was read before still counts: who empties a name takes no relay away.
                Err(error) => {
                    // That it can be read again is told, whatever it says.
                    (failures, last) = (failures.saturating_add(1), None);
                    let retry_in = cadence.delay(failures, rand::random()).unwrap_or(LONGEST);
                    let cause = error.to_string();
                    self.report(PoolEvent::RelayListFailed { source: source.clone(), cause, retry_in });
                    retry_in
                }
            };
            self.wait(begun, wait).await;
        }
    }

    /// Waits for so long, or until somebody asks for the list; less if no relay is held.
    async fn wait(&self, begun: Instant, wait: Duration) {
        let mut serves = self.0.serves.subscribe();
        loop {
            let wait = if *serves.borrow_and_update() { wait } else { wait.min(UNSERVED) };
            *lock(&self.0.next_read) = Some(self.0.clock.now() + wait.saturating_sub(begun.elapsed()));
            tokio::select! {
                () = sleep_until(begun + wait) => return,
                () = self.0.reread.notified() => return,
                _ = serves.changed() => {}
            }
        }
    }
}
