//! Counting open connections: in all, per address and per prefix.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use kaspath_domain::{Counts, IpPrefix};

/// How many inbound connections were closed at once, and why.
#[derive(Debug, Default)]
pub struct Refusals {
    total: AtomicU64,
    per_ip: AtomicU64,
    per_prefix: AtomicU64,
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

    /// Refused because the prefix had its share.
    pub fn over_per_prefix(&self) -> u64 {
        self.per_prefix.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct Open {
    total: usize,
    /// Hosts and networks; their lengths tell them apart.
    by_prefix: Counts<IpPrefix>,
}

/// The open connections of one dialer or listener.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    open: Arc<Mutex<Open>>,
    pub(crate) refusals: Arc<Refusals>,
    pub(crate) max: usize,
    per_ip: usize,
    per_prefix: usize,
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
    pub(crate) fn new(max: usize, per_ip: usize, per_prefix: usize) -> Self {
        Self { open: Arc::default(), refusals: Arc::default(), max, per_ip, per_prefix }
    }

    /// Limits of connections whose other end we chose.
    pub(crate) fn in_all(max: usize) -> Self {
        Self::new(max, usize::MAX, usize::MAX)
    }

    pub(crate) fn take(&self, ip: IpAddr) -> Option<Permit> {
        let (host, network) = (IpPrefix::host(ip), IpPrefix::network(ip));
        let mut open = lock(&self.open);
        let over = if open.total >= self.max {
            &self.refusals.total
        } else if open.by_prefix.of(&host) >= self.per_ip {
            &self.refusals.per_ip
        } else if open.by_prefix.of(&network) >= self.per_prefix {
            &self.refusals.per_prefix
        } else {
            open.total += 1;
            open.by_prefix.add(host);
            open.by_prefix.add(network);
            return Some(Permit { open: self.open.clone(), ip });
        };
        over.fetch_add(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        open.total -= 1;
        open.by_prefix.remove(&IpPrefix::host(self.ip));
        open.by_prefix.remove(&IpPrefix::network(self.ip));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn refused(limits: &Limits) -> (u64, u64, u64) {
        let refusals = &limits.refusals;
        (refusals.over_total(), refusals.over_per_ip(), refusals.over_per_prefix())
    }

    #[test]
    fn places_are_counted_and_given_back() {
        let limits = Limits::new(2, 1, 2);
        let [a, b, c] = [1, 2, 3].map(|n| IpAddr::from([192, 0, 2, n]));
        let first = limits.take(a).unwrap();
        assert!(limits.take(a).is_none());
        let second = limits.take(b).unwrap();
        assert!(limits.take(c).is_none());
        assert_eq!(refused(&limits), (1, 1, 0));
        drop((first, second));
        assert!(lock(&limits.open).by_prefix.is_empty());
        assert!(limits.take(a).is_some());
    }

    #[test]
    fn the_addresses_of_one_network_leave_places_to_others() {
        let limits = Limits::new(128, 8, 24);
        let held: Vec<_> = (0..=255).filter_map(|n| limits.take(IpAddr::from([192, 0, 2, n]))).collect();
        assert_eq!((held.len(), refused(&limits)), (24, (0, 0, 232)));
        let _other = limits.take(ip("192.0.3.1")).unwrap();
        drop(held);
        assert!(limits.take(ip("192.0.2.1")).is_some(), "the places come back");
    }

    #[test]
    fn one_host_of_ipv6_has_one_share_whatever_addresses_it_takes() {
        let limits = Limits::new(128, 8, 24);
        let from = |subnet: u16, host: u16| IpAddr::from([0x2001, 0xdb8, 7, subnet, 0, 0, 0, host]);
        let one: Vec<_> = (0..100).filter_map(|host| limits.take(from(0, host))).collect();
        assert_eq!((one.len(), refused(&limits)), (8, (0, 92, 0)));
        let all: Vec<_> = (1..100).filter_map(|subnet| limits.take(from(subnet, 1))).collect();
        assert_eq!(one.len() + all.len(), 24);
        assert!(limits.take(ip("2001:db8:8::1")).is_some());
    }

    #[test]
    fn mapped_v4_addresses_count_as_v4() {
        let limits = Limits::new(9, 1, 9);
        let _held = limits.take(ip("192.0.2.1")).unwrap();
        assert!(limits.take(ip("::ffff:192.0.2.1")).is_none());
    }
}
