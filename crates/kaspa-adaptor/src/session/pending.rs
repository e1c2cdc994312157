//! Handshakes of inbound peers under way, limited as in kaspad.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

const MAX_PENDING: usize = 32;
const MAX_PENDING_PER_IP: usize = 2;

/// The handshakes under way, by address.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One of them, given back on drop.
#[derive(Debug)]
pub(crate) struct PendingPlace {
    pending: Pending,
    ip: IpAddr,
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, if there is one for that address.
    pub(crate) fn enter(&self, ip: IpAddr) -> Option<PendingPlace> {
        let ip = ip.to_canonical();
        let mut by_ip = self.lock();
        let of_ip = by_ip.get(&ip).copied().unwrap_or(0);
        if by_ip.values().sum::<usize>() >= MAX_PENDING || of_ip >= MAX_PENDING_PER_IP {
            return None;
        }
        by_ip.insert(ip, of_ip + 1);
        Some(PendingPlace { pending: self.clone(), ip })
    }
}

impl Drop for PendingPlace {
    fn drop(&mut self) {
        let mut by_ip = self.pending.lock();
        match by_ip.get_mut(&self.ip) {
            Some(of_ip) if *of_ip > 1 => *of_ip -= 1,
            _ => drop(by_ip.remove(&self.ip)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_hold_and_places_come_back() {
        let pending = Pending::default();
        let ip = |n: u8| IpAddr::from([192, 0, 2, n]);
        let first = pending.enter(ip(1)).unwrap();
        let _second = pending.enter(ip(1)).unwrap();
        assert!(pending.enter(ip(1)).is_none());
        drop(first);
        let _third = pending.enter(ip(1)).unwrap();
        let _others: Vec<_> = (2..32).map(|n| pending.enter(ip(n)).unwrap()).collect();
        assert!(pending.enter(ip(40)).is_none());
        drop(_others);
        assert!(pending.enter(ip(40)).is_some());
        assert_eq!(pending.lock().len(), 1);
    }
}
