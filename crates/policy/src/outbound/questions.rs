use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kaspath_domain::{Moment, PeerIdentity, below};

use super::random::Random;

/// Questions under way at once.
const AT_ONCE: usize = 4;
/// Between two questions to one relay: at first shorter, for others have just started too.
const FIRST: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];
const THEN: Duration = Duration::from_secs(30);
/// Whoever does not speak the protocol may be restarted with another version.
const SILENT: Duration = Duration::from_secs(3600);
/// Between two questions to anybody once no peer is missing; half of it is random.
const AT_TARGET: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Moment,
    times: usize,
    is_waiting: bool,
    is_silent: bool,
}

/// Which relay is asked next. Every relay that is known is asked as often as any other:
/// scores must not decide who tells of peers.
#[derive(Clone, Debug, Default)]
pub struct Questions {
    asked: BTreeMap<PeerIdentity, Asked>,
    /// Of peers that are all there: when one may be asked again.
    next: Option<Moment>,
}

impl Questions {
    /// Whom of the known ones to ask now. `is_wanting`: peers are missing.
    pub fn next<'a>(
        &mut self,
        known: impl IntoIterator<Item = &'a PeerIdentity>,
        is_wanting: bool,
        now: Moment,
        random: Random<'_>,
    ) -> Vec<PeerIdentity> {
        let known: Vec<&PeerIdentity> = known.into_iter().collect();
        let all: BTreeSet<&PeerIdentity> = known.iter().copied().collect();
        self.asked.retain(|relay, asked| asked.is_waiting || all.contains(relay));
        let mut free = AT_ONCE.saturating_sub(self.asked.values().filter(|asked| asked.is_waiting).count());
        if is_wanting {
            self.next = None;
        } else {
            free = free.min(1);
            if self.next.is_some_and(|next| now < next) {
                return Vec::new();
            }
        }
        let is_due = |relay: &PeerIdentity| self.asked.get(relay).is_none_or(|asked| asked.is_due(now));
        let mut due: Vec<&PeerIdentity> = known.into_iter().filter(|relay| is_due(relay)).collect();
        // Those that were never asked come first.
        let (mut asked, mut new): (Vec<_>, Vec<_>) = due.drain(..).partition(|relay| self.asked.contains_key(*relay));
        let mut chosen = Vec::with_capacity(free);
        while chosen.len() < free {
            let from = if new.is_empty() { &mut asked } else { &mut new };
            if from.is_empty() {
                break;
            }
            chosen.push(from.swap_remove(below(from.len(), random())).clone());
        }
        if !is_wanting && !chosen.is_empty() {
            self.next = Some(now + AT_TARGET.mul_f64(0.5 + random().clamp(0.0, 1.0)));
        }
        for relay in &chosen {
            let times = self.asked.get(relay).map_or(0, |asked| asked.times).saturating_add(1);
            self.asked.insert(relay.clone(), Asked { at: now, times, is_waiting: true, is_silent: false });
        }
        chosen
    }

    /// It has answered, or will not.
    pub fn answered(&mut self, relay: &PeerIdentity, now: Moment) {
        if let Some(asked) = self.asked.get_mut(relay) {
            (asked.at, asked.is_waiting) = (now, false);
        }
    }

    /// It does not speak the protocol.
    pub fn silent(&mut self, relay: &PeerIdentity, now: Moment) {
        self.answered(relay, now);
        if let Some(asked) = self.asked.get_mut(relay) {
            asked.is_silent = true;
        }
    }

    /// Whether each of these was asked and has answered.
    pub fn all_asked<'a>(&self, known: impl IntoIterator<Item = &'a PeerIdentity>) -> bool {
        known.into_iter().all(|relay| self.asked.get(relay).is_some_and(|asked| !asked.is_waiting || asked.times > 1))
    }
}

impl Asked {
    fn is_due(&self, now: Moment) -> bool {
        let pause = if self.is_silent { SILENT } else { FIRST.get(self.times - 1).copied().unwrap_or(THEN) };
        !self.is_waiting && now.since(self.at) >= pause
    }
}
