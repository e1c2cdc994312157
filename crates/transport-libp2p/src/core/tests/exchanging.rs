//! Exchanges of candidates on circuits.

use kaspath_domain::TransportAddress;

use super::{
    network::TIMEOUT,
    world::{End, World},
};
use crate::core::{ConnId, Input, OperationId};

impl World {
    fn exchange_failed(&mut self, host: usize, exchange: OperationId, unsupported: bool) {
        if self.hosts[host].exchanges.remove(&exchange).is_some() {
            self.last_word(host, Input::ExchangeFailed { exchange, unsupported, cause: "the stream broke".to_owned() });
        }
    }

    pub(super) fn exchange(&mut self, host: usize, exchange: OperationId, id: ConnId, offer: Vec<TransportAddress>) {
        let other = self.hosts[host].live.get(&id).map(|live| live.end);
        let Some(End::Host(other, id)) = other else {
            self.hosts[host].exchanges.insert(exchange, (host, None));
            return self.after(1, move |world| world.exchange_failed(host, exchange, false));
        };
        self.hosts[host].exchanges.insert(exchange, (other, None));
        self.hosts[host].offers.insert(exchange, offer);
        self.after(TIMEOUT, move |world| world.exchange_failed(host, exchange, false));
        self.after(2 * self.latency, move |world| {
            if !world.hosts[other].punches {
                return world.after(2 * world.latency, move |world| world.exchange_failed(host, exchange, true));
            }
            if world.hosts[other].live.contains_key(&id) && world.hosts[host].exchanges.contains_key(&exchange) {
                let theirs = world.hosts[other].core.operation();
                world.hosts[other].exchanges.insert(theirs, (host, Some(exchange)));
                world.hosts[host].exchanges.insert(exchange, (other, Some(theirs)));
                world.deliver(other, Input::ExchangeRequested { exchange: theirs, id });
            }
        });
    }

    pub(super) fn respond(&mut self, host: usize, exchange: OperationId, offer: Vec<TransportAddress>) {
        let Some((other, Some(theirs))) = self.hosts[host].exchanges.get(&exchange).copied() else { return };
        self.after(2 * TIMEOUT, move |world| world.exchange_failed(host, exchange, false));
        let rtt = std::time::Duration::from_millis(4 * self.latency);
        self.after(2 * self.latency, move |world| {
            if world.hosts[other].exchanges.contains_key(&theirs) {
                let offered = Input::Offered { exchange: theirs, theirs: offer, rtt };
                world.hosts[other].stale.push(offered.clone());
                world.deliver(other, offered);
            }
        });
    }

    pub(super) fn synchronize(&mut self, host: usize, exchange: OperationId) {
        self.after(0, move |world| {
            let Some((other, Some(theirs))) = world.hosts[host].exchanges.remove(&exchange) else { return };
            let offer = world.hosts[host].offers.remove(&exchange).unwrap_or_default();
            world.last_word(host, Input::SyncSent { exchange });
            world.after(2 * world.latency, move |world| {
                if world.hosts[other].exchanges.remove(&theirs).is_some() {
                    world.last_word(other, Input::SyncReceived { exchange: theirs, theirs: offer });
                }
            });
        });
    }

    pub(super) fn end_exchange(&mut self, host: usize, exchange: OperationId) {
        if let Some((other, Some(theirs))) = self.hosts[host].exchanges.remove(&exchange) {
            self.after(2 * self.latency, move |world| world.exchange_failed(other, theirs, false));
        }
    }
}
