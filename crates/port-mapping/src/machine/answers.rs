//! What an answer of the router means.

use std::time::Duration;

use kaspath_domain::{MapMethod, MapRequest, Mapped, MappingEvent, is_public};

use super::{
    Held, LONGEST_TRUST, Machine, Pending, ROUND_GAP,
    io::{Answer, AskId, Granted},
};

/// A mapping that ends sooner is of no use, and would be asked for all the time.
pub(super) const SHORTEST_LIFETIME: Duration = Duration::from_secs(20);

impl Machine {
    pub(super) fn answered(&mut self, ask: AskId, answer: Answer) {
        let Some(pending) = self.asks.remove(&ask) else { return };
        match pending {
            Pending::Remove => {}
            Pending::Find { round, by } => {
                if let Some(current) = self.round.as_mut().filter(|current| current.number == round) {
                    current.found(by, answer);
                }
            }
            Pending::Map { round, by, request } => {
                let is_wanted = match (round, &mut self.round) {
                    (None, _) => true,
                    (Some(number), Some(current)) => current.number == number && current.takes(by),
                    (Some(_), None) => false,
                };
                if let Answer::Mapped(granted) = &answer {
                    self.made.insert((by, request), granted.external.port());
                }
                let result = match answer {
                    Answer::Mapped(granted) if is_wanted && !self.is_stopping => self.granted(by, request, granted, round),
                    Answer::Mapped(granted) => {
                        // It came too late: another method was chosen, or we are leaving.
                        self.remove_late(by, request, granted.external.port());
                        return;
                    }
                    Answer::Failed(cause) => Err(cause),
                    Answer::Found | Answer::Removed => Err("an answer to another question".to_owned()),
                };
                match (round, &mut self.round) {
                    (Some(number), Some(current)) if current.number == number => current.mapped(by, result),
                    (Some(_), _) => {}
                    (None, _) => {
                        if result.is_err() {
                            self.want(ROUND_GAP);
                        }
                    }
                }
            }
        }
    }

    /// Removes a mapping that nobody waits for, unless it is one and the same as one that is
    /// held: PCP and NAT-PMP name a mapping by the port of this host alone.
    fn remove_late(&mut self, by: MapMethod, request: MapRequest, external: u16) {
        let is_held = self.held.get(&request).is_some_and(|held| held.mapped.external.port() == external);
        if !is_held {
            self.remove(by, request, external);
        }
    }

    /// The router maps that port; whether it is of use.
    fn granted(&mut self, by: MapMethod, request: MapRequest, granted: Granted, round: Option<u64>) -> Result<(), String> {
        let Granted { external, lifetime, epoch } = granted;
        let cause = if !is_public(external.ip()) {
            format!("the router's own outside address is {}, which is not public", external.ip())
        } else if lifetime < SHORTEST_LIFETIME {
            format!("the router would keep the port for {lifetime:?} only")
        } else {
            String::new()
        };
        if !cause.is_empty() {
            self.lose(request, &cause);
            self.remove(by, request, external.port());
            return Err(cause);
        }
        if let Some(seconds) = epoch
            && self.epochs.entry(by).or_default().hear(seconds, self.now)
        {
            self.has_restarted = true;
            if round.is_none() {
                self.want(ROUND_GAP);
            }
        }
        let mapped = Mapped { request, external, by, lifetime };
        let renew_at = self.now + (lifetime / 2).min(LONGEST_TRUST);
        let held = Held { mapped: mapped.clone(), ends: self.now + lifetime, renew_at };
        let before = self.held.insert(request, held).map(|held| held.mapped);
        if let Some(before) = &before
            && before.by == MapMethod::Igd
            && before.external.port() != external.port()
        {
            self.remove(before.by, request, before.external.port());
        }
        self.has_mapped = true;
        self.is_said = false;
        if self.has_restarted || before.is_none_or(|before| (before.external, before.by) != (external, by)) {
            self.event(MappingEvent::Mapped(mapped));
        }
        Ok(())
    }
}
