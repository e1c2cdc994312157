//! Whether the program is ready: printed once, and what is missing if it takes long.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use kaspath_domain::{Observer, PeerAddress};
use kaspath_transport_libp2p::{NetworkEvent, ReservationState};
use tokio::{sync::Notify, time::timeout};

use super::{
    console::console,
    own::{Missing, Part, ProgramEvent},
    printer::Printer,
};
use crate::settings::Settings;

/// How long a start usually takes at most.
const USUAL: Duration = Duration::from_secs(10);

/// What a program still waits for. Cheap to clone; all clones share it.
#[derive(Clone)]
pub(crate) struct Readiness {
    lacks: Arc<Mutex<Lacks>>,
    changed: Arc<Notify>,
}

impl Readiness {
    /// A node that has no relay waits for no address: it only reaches others.
    pub(crate) fn of_node(settings: &Settings) -> Self {
        Self::of(Lacks { address: settings.has_relays().then_some(None), kaspad: None })
    }

    /// A gateway is of no use without a kaspad.
    pub(crate) fn of_gateway(settings: &Settings) -> Self {
        let node = Self::of_node(settings);
        node.lacks().kaspad = Some(None);
        node
    }

    fn of(lacks: Lacks) -> Self {
        Self { lacks: Arc::new(Mutex::new(lacks)), changed: Arc::default() }
    }

    fn lacks(&self) -> MutexGuard<'_, Lacks> {
        self.lacks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the network: to be added before it starts.
    pub(crate) fn observer(&self) -> Arc<dyn Observer<NetworkEvent>> {
        let this = self.clone();
        Arc::new(move |event: &NetworkEvent| {
            this.lacks().network(event);
            this.changed.notify_one();
        })
    }

    /// Whether kaspad accepts connections, and why not.
    pub(crate) fn kaspad(&self, answer: Result<(), String>) {
        self.lacks().kaspad(answer);
        self.changed.notify_one();
    }

    /// Prints once what is missing, if it takes long, and once that nothing is. Does not
    /// return: later, events say what changes.
    pub(crate) async fn report(self, printer: Printer) {
        let ready = async {
            while !self.lacks().missing().is_empty() {
                self.changed.notified().await;
            }
        };
        tokio::pin!(ready);
        if timeout(USUAL, &mut ready).await.is_err() {
            printer.own(&ProgramEvent::NotReady { after: console().elapsed(), missing: self.lacks().missing() });
            ready.await;
        }
        printer.own(&ProgramEvent::Ready { after: console().elapsed() });
        std::future::pending().await
    }
}

/// What is missing, each with the latest cause. Pure.
#[derive(Debug, Default)]
struct Lacks {
    address: Option<Option<String>>,
    kaspad: Option<Option<String>>,
}

impl Lacks {
    fn network(&mut self, event: &NetworkEvent) {
        match event {
            NetworkEvent::Announced { address } if matches!(address.address, PeerAddress::Direct(_)) => self.address = None,
            NetworkEvent::Reservation { state: ReservationState::Confirmed | ReservationState::Renewed, .. } => {
                self.address = None;
            }
            NetworkEvent::Reservation { relay, state: ReservationState::Lost { cause, .. } } => {
                if let Some(why) = &mut self.address {
                    *why = Some(format!("relay {}: {cause}", relay.short()));
                }
            }
            _ => {}
        }
    }

    fn kaspad(&mut self, answer: Result<(), String>) {
        match (answer, &mut self.kaspad) {
            (Ok(()), lack) => *lack = None,
            (Err(cause), Some(why)) => *why = Some(cause),
            (Err(_), None) => {}
        }
    }

    fn missing(&self) -> Vec<Missing> {
        let lacks = [(Part::Address, &self.address), (Part::Kaspad, &self.kaspad)];
        lacks.into_iter().filter_map(|(part, lack)| Some(Missing { part, cause: lack.clone()? })).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::settings;

    const RELAY: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    fn reservation(state: ReservationState) -> NetworkEvent {
        NetworkEvent::Reservation { relay: RELAY.parse().unwrap(), state }
    }

    fn gateway() -> Lacks {
        Lacks { address: Some(None), kaspad: Some(None) }
    }

    #[test]
    fn a_gateway_is_ready_with_a_reservation_and_a_kaspad_and_stays_so() {
        let mut lacks = gateway();
        lacks.network(&reservation(ReservationState::Requested));
        lacks.network(&reservation(ReservationState::lost("refused", None)));
        lacks.kaspad(Err("no answer".to_owned()));
        let causes: Vec<Option<String>> = lacks.missing().into_iter().map(|missing| missing.cause).collect();
        assert_eq!(causes, [Some("relay 4kx6nXTN: refused".to_owned()), Some("no answer".to_owned())]);
        lacks.network(&reservation(ReservationState::Confirmed));
        assert_eq!(lacks.missing().iter().map(|missing| missing.part).collect::<Vec<_>>(), [Part::Kaspad]);
        lacks.kaspad(Ok(()));
        lacks.kaspad(Err("it has ended".to_owned()));
        lacks.network(&reservation(ReservationState::lost("gone", None)));
        assert_eq!(lacks.missing(), []);
    }

    #[test]
    fn a_direct_address_that_is_announced_is_as_good_as_a_relay() {
        let mut lacks = Lacks { address: Some(None), kaspad: None };
        lacks.network(&NetworkEvent::Announced { address: "/ip4/203.0.113.7/tcp/4001".parse().unwrap() });
        assert_eq!(lacks.missing(), []);
        // Without a relay there is nothing to wait for.
        assert_eq!(Readiness::of_node(&settings(&["server"], &[]).unwrap()).lacks().missing(), []);
        assert_eq!(Readiness::of_gateway(&settings(&["server"], &[]).unwrap()).lacks().missing().len(), 1);
    }
}
