//! Socket addresses that stand for peers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::PeerIdentity;

/// First address of the range used: 127.64.0.0/10, which is loopback (so it can
/// never be gossiped or dialled elsewhere) and far from 127.0.0.0/16.
const BASE: u32 = u32::from_be_bytes([127, 64, 0, 0]);
/// How many addresses the range has.
const SIZE: u64 = 1 << 22;

/// The socket address that stands for a peer: the same for every path, process
/// and run. Two peers may share one (0.2 % among 128 peers), so whoever needs
/// them distinct must probe on collision.
pub fn synthetic_address(peer: &PeerIdentity) -> SocketAddr {
    let hash = fnv1a(peer.as_bytes());
    let ip = BASE + (hash % SIZE) as u32;
    // Ports below 1024 mean services; stay above.
    let port = 1024 + ((hash >> 32) % (65536 - 1024)) as u16;
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from(ip)), port)
}

/// The loopback addresses that a peer may have, the one of its hash first: whoever
/// gives them out takes the first that no other peer has. Last bytes that look like a
/// network's or a broadcast's are left out.
pub fn loopback_candidates(peer: &PeerIdentity) -> impl Iterator<Item = Ipv4Addr> {
    let start = fnv1a(peer.as_bytes()) % SIZE;
    let all = (0..SIZE).map(move |n| Ipv4Addr::from(BASE + ((start + n) % SIZE) as u32));
    all.filter(|address| is_peer_loopback(*address))
}

/// Whether an address may be a peer's loopback address.
pub fn is_peer_loopback(address: Ipv4Addr) -> bool {
    let number = u32::from(address);
    let in_range = number >= BASE && u64::from(number - BASE) < SIZE;
    in_range && !matches!(address.octets()[3], 0 | 255)
}

/// FNV-1a, 64 bits: stable by definition, which `std`'s hasher is not.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_stable_and_in_its_range() {
        let peer: PeerIdentity = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN".parse().unwrap();
        let address = synthetic_address(&peer);
        assert_eq!(address, synthetic_address(&peer.clone()));
        let IpAddr::V4(ip) = address.ip() else { panic!("not IPv4") };
        assert_eq!(ip.octets()[0], 127);
        assert!((64..128).contains(&ip.octets()[1]), "{ip}");
        assert!(address.port() >= 1024);
    }

    #[test]
    fn candidates_begin_at_the_hash_stay_in_the_range_and_wrap() {
        let peer: PeerIdentity = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN".parse().unwrap();
        let all: Vec<Ipv4Addr> = loopback_candidates(&peer).collect();
        assert_eq!(IpAddr::V4(all[0]), synthetic_address(&peer).ip());
        assert_eq!(all.len() as u64, SIZE / 256 * 254, "each once");
        let last = all.iter().position(|address| *address == Ipv4Addr::new(127, 127, 255, 254)).unwrap();
        assert_eq!(all[last + 1], Ipv4Addr::new(127, 64, 0, 1));
        assert!(!is_peer_loopback(Ipv4Addr::new(127, 0, 0, 1)) && !is_peer_loopback(Ipv4Addr::new(127, 64, 1, 255)));
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        // The published test vectors of FNV-1a 64.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
