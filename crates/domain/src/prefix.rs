//! Prefixes of IP addresses.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use thiserror::Error;

/// Addresses that most likely belong to one owner. Identities are free, addresses of
/// many prefixes are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpPrefix {
    base: IpAddr,
    bits: u8,
}

impl IpPrefix {
    /// A provider's block: a /16 of IPv4 or a /32 of IPv6, which is what a provider gets
    /// and has 65,536 /48s for one customer each. An address that is mapped into IPv6
    /// counts as IPv4, here and below.
    pub fn provider_block(address: IpAddr) -> Self {
        Self::cut(address, 16, 32)
    }

    /// A customer's network: a /24 of IPv4 or a /48 of IPv6.
    pub fn network(address: IpAddr) -> Self {
        Self::cut(address, 24, 48)
    }

    /// One host: an address of IPv4, or a /64 of IPv6, where each host can have as
    /// many addresses as it likes.
    pub fn host(address: IpAddr) -> Self {
        Self::cut(address, 32, 64)
    }

    /// The addresses that share that many bits with this one; all of them if it has fewer.
    pub fn new(address: IpAddr, bits: u8) -> Self {
        Self::cut(address, bits, bits)
    }

    /// Whether the address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        Self::new(address, self.bits) == *self
    }

    /// With more bits than an address has, all of them.
    fn cut(address: IpAddr, v4: u8, v6: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V4(ip) => {
                let bits = v4.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                Self { base: Ipv4Addr::from_bits(ip.to_bits() & mask).into(), bits }
            }
            IpAddr::V6(ip) => {
                let bits = v6.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                Self { base: Ipv6Addr::from_bits(ip.to_bits() & mask).into(), bits }
            }
        }
    }
}

/// `192.0.2.0/24`, `2001:db8::/32`, or an address alone. What follows the prefix is cut off.
impl FromStr for IpPrefix {
    type Err = IpPrefixError;

    fn from_str(text: &str) -> Result<Self, IpPrefixError> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| IpPrefixError)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(longest), |bits| bits.parse::<u8>().map_err(|_| IpPrefixError))?;
        if bits > longest || address != address.to_canonical() {
            return Err(IpPrefixError);
        }
        Ok(Self::new(address, bits))
    }
}

/// A text that is no [`IpPrefix`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not an IP address or prefix, like 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32")]
pub struct IpPrefixError;

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.base, self.bits) {
            (IpAddr::V4(ip), 32) => write!(f, "{ip}"),
            (base, bits) => write!(f, "{base}/{bits}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_read_as_it_is_printed_and_knows_its_addresses() {
        for text in ["192.0.2.0/24", "192.0.2.7", "2001:db8::/32", "2001:db8::1/128", "0.0.0.0/0", "::/0"] {
            assert_eq!(text.parse::<IpPrefix>().unwrap().to_string(), text);
        }
        let prefix = |text: &str| text.parse::<IpPrefix>().unwrap();
        assert_eq!(prefix("192.0.2.77/24"), prefix("192.0.2.0/24"));
        let within = |text: &str, ip: &str| prefix(text).contains(ip.parse().unwrap());
        assert!(within("192.0.2.0/24", "192.0.2.255") && within("192.0.2.0/24", "::ffff:192.0.2.1"));
        assert!(within("2001:db8::1", "2001:db8::1") && !within("2001:db8::1", "2001:db8::2"));
        assert!(!within("192.0.2.0/24", "192.0.3.1") && !within("0.0.0.0/0", "2001:db8::1") && !within("::/0", "192.0.2.1"));
        for text in ["", "192.0.2.0/33", "2001:db8::/129", "192.0.2.0/", "a.example", "::ffff:192.0.2.1/24", "192.0.2.0/-1"] {
            assert_eq!(text.parse::<IpPrefix>(), Err(IpPrefixError), "{text}");
        }
    }

    #[test]
    fn a_prefix_is_what_one_owner_has() {
        let prefix = |text: &str| IpPrefix::provider_block(text.parse().unwrap()).to_string();
        assert_eq!(prefix("192.0.2.1"), "192.0.0.0/16");
        assert_eq!(prefix("::ffff:192.0.2.1"), "192.0.0.0/16");
        assert_eq!(prefix("2001:db8:1:2::3"), "2001:db8::/32");
        assert_eq!(prefix("2001:db8:1:2::3"), prefix("2001:db8:ffff::1"));
        let network = |text: &str| IpPrefix::network(text.parse().unwrap()).to_string();
        assert_eq!((network("192.0.2.1"), network("2001:db8:1:2::3")), ("192.0.2.0/24".into(), "2001:db8:1::/48".into()));
        let host = |text: &str| IpPrefix::host(text.parse().unwrap()).to_string();
        assert_eq!((host("::ffff:192.0.2.1"), host("2001:db8:1:2::3")), ("192.0.2.1".into(), "2001:db8:1:2::/64".into()));
    }
}
