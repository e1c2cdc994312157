use std::{collections::BTreeMap, time::Duration};

use kaspath_domain::{DiscoveryError, Moment, PeerIdentity, RetryCadence};

/// A record that has changed is listed after this time, so that changes of one moment are
/// one, and at most once in the longer time.
const DEBOUNCED: Duration = Duration::from_secs(2);
const AT_MOST: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
enum State {
    /// A request is under way.
    Asking,
    Listed {
        until: Moment,
        renew: Moment,
    },
    /// Not before this time.
    Waiting {
        until: Moment,
    },
}

/// How an attempt to be listed has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Listed for that time.
    For(Duration),
    /// Refused, or not reached.
    Failed,
    /// That relay lists nobody.
    Never,
}

impl Listing {
    /// By what a relay has answered.
    pub fn of(listed: &Result<Duration, DiscoveryError>) -> Self {
        match listed {
            Ok(granted) => Self::For(*granted),
            Err(DiscoveryError::NotSpoken) => Self::Never,
            Err(_) => Self::Failed,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    state: State,
    failures: u32,
    /// Which version of the record it has.
    version: u64,
    asked: Moment,
}

/// At which relays this node is listed, and when that is to be done again: at half of the
/// time for which it is granted, and when the record has changed.
#[derive(Debug)]
pub struct Listings {
    pub(super) at: BTreeMap<PeerIdentity, At>,
    version: u64,
    changed: Option<Moment>,
    cadence: RetryCadence,
}

impl Default for Listings {
    fn default() -> Self {
        let delays = [5, 30, 120].map(Duration::from_secs).to_vec();
        let cadence = RetryCadence { delays, then: Some(Duration::from_secs(600)), jitter: 0.25 };
        Self { at: BTreeMap::new(), version: 0, changed: None, cadence }
    }
}

impl Listings {
    /// The node's record has changed: it is to be listed anew.
    pub fn changed(&mut self, now: Moment) {
        self.version += 1;
        self.changed = Some(now);
    }

    /// At which of these relays to be listed now. Of others nothing is remembered: their entries
    /// end by themselves.
    pub fn next<'a>(&mut self, relays: impl IntoIterator<Item = &'a PeerIdentity>, now: Moment) -> Vec<PeerIdentity> {
        let relays: Vec<&PeerIdentity> = relays.into_iter().collect();
        self.at.retain(|relay, _| relays.contains(&relay));
        let (version, is_quiet) = (self.version, self.changed.is_none_or(|changed| now.since(changed) >= DEBOUNCED));
        let is_due = |relay: &PeerIdentity| match self.at.get(relay) {
            None => true,
            Some(At { state: State::Asking, .. }) => false,
            Some(At { state: State::Waiting { until }, .. }) => now >= *until,
            Some(At { state: State::Listed { renew, .. }, version: listed, asked, .. }) => {
                now >= *renew || (*listed != version && is_quiet && now.since(*asked) >= AT_MOST)
            }
        };
        let due: Vec<PeerIdentity> = relays.into_iter().filter(|relay| is_due(relay)).cloned().collect();
        for relay in &due {
            let failures = self.at.get(relay).map_or(0, |at| at.failures);
            self.at.insert(relay.clone(), At { state: State::Asking, failures, version, asked: now });
        }
        due
    }

    /// How the request to a relay has ended; when it is made again.
    pub fn ended(&mut self, relay: &PeerIdentity, how: Listing, now: Moment, random: f64) -> Option<Duration> {
        let at = self.at.get_mut(relay)?;
        let again = match how {
            Listing::For(granted) => {
                at.failures = 0;
                at.state = State::Listed { until: now + granted, renew: now + granted / 2 };
                return Some(granted / 2);
            }
            Listing::Failed => {
                at.failures = at.failures.saturating_add(1);
                self.cadence.delay(at.failures, random).unwrap_or(AT_MOST)
            }
            Listing::Never => Duration::from_secs(3600),
        };
        at.state = State::Waiting { until: now + again };
        Some(again)
    }

    /// Where it is listed or asks to be: wherever the last request has not failed.
    pub fn may_be_listed(&self) -> impl Iterator<Item = &PeerIdentity> {
        self.at.iter().filter(|(_, at)| !matches!(at.state, State::Waiting { .. })).map(|(relay, _)| relay)
    }

    /// Where it is listed.
    pub fn listed(&self, now: Moment) -> impl Iterator<Item = &PeerIdentity> {
        let is_listed = move |at: &At| matches!(at.state, State::Listed { until, .. } if until > now);
        self.at.iter().filter(move |(_, at)| is_listed(at)).map(|(relay, _)| relay)
    }
}
