//! Reading addresses from text, with an error of its own for each mistake.

use std::{net::SocketAddr, str::FromStr};

use super::{Host, PeerAddress, PeerLocator, RelayAddress, Transport, TransportAddress};
use crate::{AddressError, PeerIdentity};

/// Longer than any sensible address with two peer ids and a DNS name.
const MAX_ADDRESS_TEXT: usize = 1024;

type Parts<'a> = std::iter::Peekable<std::str::Split<'a, char>>;

impl FromStr for PeerLocator {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if text.len() > MAX_ADDRESS_TEXT {
            return Err(AddressError::TooLong { limit: MAX_ADDRESS_TEXT });
        }
        let Some(rest) = text.strip_prefix('/') else { return host_and_port(text) };
        let mut parts = rest.split('/').peekable();
        let locator = locator(&mut parts, text)?;
        match parts.next() {
            None => Ok(locator),
            Some(extra) => Err(AddressError::Trailing { text: text.to_owned(), extra: extra.to_owned() }),
        }
    }
}

/// `host:port` or `[v6]:port`, meaning plain TCP.
fn host_and_port(text: &str) -> Result<PeerLocator, AddressError> {
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Ok(PeerLocator { peer: None, address: PeerAddress::Direct(TransportAddress::tcp(socket)) });
    }
    let (name, port) = text.rsplit_once(':').ok_or_else(|| AddressError::NotAnAddress(text.to_owned()))?;
    let host = Host::Dns(dns_name(name)?);
    let port = port_number(port)?;
    Ok(PeerLocator { peer: None, address: PeerAddress::Direct(TransportAddress { transport: Transport::Tcp, host, port }) })
}

fn locator(parts: &mut Parts<'_>, text: &str) -> Result<PeerLocator, AddressError> {
    let via = transport_address(parts, text)?;
    let first = peer_id(parts)?;
    if parts.peek() != Some(&"p2p-circuit") {
        return Ok(PeerLocator { peer: first, address: PeerAddress::Direct(via) });
    }
    parts.next();
    let relay = first.ok_or_else(|| AddressError::RelayWithoutPeerId(text.to_owned()))?;
    let peer = peer_id(parts)?;
    if parts.peek() == Some(&"p2p-circuit") {
        return Err(AddressError::NestedRelay(text.to_owned()));
    }
    Ok(PeerLocator { peer, address: PeerAddress::Relayed(RelayAddress { relay, via }) })
}

fn transport_address(parts: &mut Parts<'_>, text: &str) -> Result<TransportAddress, AddressError> {
    let missing = |what: &'static str| AddressError::Missing { text: text.to_owned(), what };
    let kind = parts.next().filter(|p| !p.is_empty()).ok_or_else(|| missing("a host such as /ip4/203.0.113.7"))?;
    let host = match kind {
        "ip4" | "ip6" => {
            let value = parts.next().ok_or_else(|| missing("an IP address"))?;
            let bad = || AddressError::BadIp { kind: if kind == "ip4" { "IPv4" } else { "IPv6" }, value: value.to_owned() };
            if kind == "ip4" {
                Host::Ip(std::net::IpAddr::V4(value.parse().map_err(|_| bad())?))
            } else {
                Host::Ip(std::net::IpAddr::V6(value.parse().map_err(|_| bad())?))
            }
        }
        "dns" | "dns4" | "dns6" => Host::Dns(dns_name(parts.next().ok_or_else(|| missing("a DNS name"))?)?),
        other => return Err(AddressError::UnknownProtocol { text: text.to_owned(), protocol: other.to_owned() }),
    };
    match parts.next() {
        Some("tcp") => {
            let port = port_number(parts.next().ok_or_else(|| missing("a port after /tcp"))?)?;
            Ok(TransportAddress { transport: Transport::Tcp, host, port })
        }
        Some("udp") => {
            let port = port_number(parts.next().ok_or_else(|| missing("a port after /udp"))?)?;
            match parts.next() {
                Some("quic-v1") => Ok(TransportAddress { transport: Transport::Quic, host, port }),
                Some(other) => Err(AddressError::UnknownProtocol { text: text.to_owned(), protocol: other.to_owned() }),
                None => Err(missing("/quic-v1 after the UDP port")),
            }
        }
        Some(other) => Err(AddressError::UnknownProtocol { text: text.to_owned(), protocol: other.to_owned() }),
        None => Err(missing("a transport such as /tcp/4001")),
    }
}

fn peer_id(parts: &mut Parts<'_>) -> Result<Option<PeerIdentity>, AddressError> {
    if parts.peek() != Some(&"p2p") {
        return Ok(None);
    }
    parts.next();
    let value = parts.next().unwrap_or_default();
    value.parse().map(Some).map_err(AddressError::BadPeerId)
}

fn port_number(value: &str) -> Result<u16, AddressError> {
    value.parse().map_err(|_| AddressError::BadPort(value.to_owned()))
}

fn dns_name(value: &str) -> Result<String, AddressError> {
    if is_dns_name(value) { Ok(value.to_owned()) } else { Err(AddressError::BadHost(value.to_owned())) }
}

/// Whether a text can be a DNS name (RFC 1035, section 2.3.4, and RFC 2181, section 11, for
/// the underscore), without a dot at its end.
pub fn is_dns_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(allowed)
    };
    name.len() <= 253 && name.split('.').all(is_label)
}
