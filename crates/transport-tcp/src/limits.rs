//! Counting open connections, in all and per IP address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// How many inbound connections were closed at once, and why.
#[derive(Debug, Default)]
pub struct Refusals {
    total: AtomicU64,
    per_ip: AtomicU64,
}

impl Refusals {
    /// Refused because the listener was full.
    pub fn over_total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Refused because the address had its share.
    pub fn over_per_ip(&self) -> u64 {
        self.per_ip.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    by_ip: HashMap<IpAddr, usize>,
}

/// The open connections of one dialer or listener.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    open: Arc<Mutex<Open>>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) max: usize,
    per_ip: usize,
}

/// A place within the limits, given back on drop.
#[derive(Debug)]
pub(crate) struct Permit {
    open: Arc<Mutex<Open>>,
    ip: IpAddr,
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Limits {
    pub(crate) fn new(max: usize, per_ip: usize) -> Self {
        Self { open: Arc::default(), refusals: Arc::default(), max, per_ip }
    }

    pub(crate) fn take(&self, ip: IpAddr) -> Option<Permit> {
        let ip = ip.to_canonical();
        let mut open = lock(&self.open);
        if open.total >= self.max {
            self.refusals.total.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let of_ip = open.by_ip.get(&ip).copied().unwrap_or(0);
        if of_ip >= self.per_ip {
            self.refusals.per_ip.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        open.by_ip.insert(ip, of_ip + 1);
        open.total += 1;
        Some(Permit { open: self.open.clone(), ip })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        open.total -= 1;
        if let Some(of_ip) = open.by_ip.get_mut(&self.ip) {
            *of_ip -= 1;
            if *of_ip == 0 {
                open.by_ip.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let limits = Limits::new(2, 1);
        let [a, b, c] = [1, 2, 3].map(|n| IpAddr::from([192, 0, 2, n]));
        let first = limits.take(a).unwrap();
        assert!(limits.take(a).is_none());
        let second = limits.take(b).unwrap();
        assert!(limits.take(c).is_none());
        assert_eq!((limits.refusals.over_total(), limits.refusals.over_per_ip()), (1, 1));
        drop((first, second));
        assert!(lock(&limits.open).by_ip.is_empty());
        assert!(limits.take(a).is_some());
    }

    #[test]
    fn mapped_v4_addresses_count_as_v4() {
        let limits = Limits::new(9, 1);
        let _held = limits.take("192.0.2.1".parse().unwrap()).unwrap();
        assert!(limits.take("::ffff:192.0.2.1".parse().unwrap()).is_none());
    }
}
