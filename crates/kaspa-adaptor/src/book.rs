//! Addresses of Kaspa nodes, as Addresses messages carry them.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
};

use kaspa_p2p_lib::pb::NetAddress;
use rand::seq::SliceRandom;

/// Addresses kept; more push the oldest out.
const MAX_KEPT: usize = 4096;
/// Most addresses in one message, as in kaspad.
pub(crate) const MAX_IN_MESSAGE: usize = 2500;

/// A bounded list of gossiped addresses.
#[derive(Debug, Default)]
pub struct AddressBook {
    known: Mutex<VecDeque<SocketAddr>>,
}

impl AddressBook {
    /// Adds an address if it could be of use to anybody; whether it is new.
    pub fn add(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        if address.port() == 0 || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() {
            return false;
        }
        let address = SocketAddr::new(ip, address.port());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(&address) {
            return false;
        }
        known.push_back(address);
        if known.len() > MAX_KEPT {
            known.pop_front();
        }
        true
    }

    /// The addresses, oldest first.
    pub fn all(&self) -> Vec<SocketAddr> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    /// A random selection fit for one message.
    pub(crate) fn sample(&self) -> Vec<NetAddress> {
        let mut all = self.all();
        all.shuffle(&mut rand::thread_rng());
        all.truncate(MAX_IN_MESSAGE);
        all.into_iter().map(to_wire).collect()
    }
}

fn to_wire(address: SocketAddr) -> NetAddress {
    // Kaspa carries every address as 16 bytes, IPv4 mapped into IPv6.
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    NetAddress { timestamp: 0, ip: ip.octets().to_vec(), port: address.port().into() }
}

pub(crate) fn from_wire(address: &NetAddress) -> Option<SocketAddr> {
    let ip = match address.ip.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(address.ip.as_slice()).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(address.ip.as_slice()).ok()?).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::try_from(address.port).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_addresses_round_trip_and_bad_ones_are_none() {
        for text in ["203.0.113.7:16111", "[2001:db8::1]:16111"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(from_wire(&to_wire(address)), Some(address));
        }
        assert_eq!(from_wire(&NetAddress { timestamp: 0, ip: vec![1, 2, 3], port: 1 }), None);
        assert_eq!(from_wire(&NetAddress { timestamp: 0, ip: vec![1, 2, 3, 4], port: 70_000 }), None);
    }

    #[test]
    fn the_book_is_bounded_and_takes_no_loopback() {
        let book = AddressBook::default();
        assert!(!book.add("127.0.0.1:1".parse().unwrap()));
        assert!(!book.add("203.0.113.7:0".parse().unwrap()));
        for n in 0..(MAX_KEPT as u32 + 10) {
            book.add(SocketAddr::new(IpAddr::from((0xcb00_0000 + n).to_be_bytes()), 1));
        }
        assert_eq!(book.all().len(), MAX_KEPT);
        assert_eq!(book.sample().len(), MAX_IN_MESSAGE);
        assert!(!book.add(book.all()[0]), "known");
    }
}
