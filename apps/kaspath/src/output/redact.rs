//! Hiding addresses.

use std::{
    collections::{BTreeSet, hash_map::RandomState},
    hash::BuildHasher,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{OnceLock, PoisonError, RwLock},
};

/// What our messages say after a text that was meant to be an address, in quotes.
const AFTER_A_QUOTED_ADDRESS: [&str; 6] = [
    "\" is not a host name",
    "\" is not an IPv4 address",
    "\" is not an IPv6 address",
    "\" is neither a multiaddr",
    "\" has \"",
    "\" is no WebSocket URL",
];
/// The same without quotes.
const AFTER_A_HOST: [&str; 2] = [" did not resolve", " is no IP address"];

/// Host names to hide wherever they appear: those of the settings.
static NAMES: RwLock<BTreeSet<String>> = RwLock::new(BTreeSet::new());

/// Has these names hidden from now on, beside what looks like an address.
pub(crate) fn hide_names(names: impl IntoIterator<Item = String>) {
    let mut known = NAMES.write().unwrap_or_else(PoisonError::into_inner);
    known.extend(names.into_iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase()).filter(|name| is_telling(name)));
}

fn is_telling(name: &str) -> bool {
    !name.is_empty() && name != "localhost"
}

/// Replaces IP addresses and host names by pseudonyms: the same one for the same
/// address within a run, so that a log stays readable, and another in the next.
/// Loopback and unspecified addresses stay.
pub(crate) fn redact(text: &str) -> String {
    let text = hide_quoted(text);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let end = rest.find(|c: char| !is_address_char(c)).unwrap_or(rest.len());
        if end == 0 {
            let next = rest.chars().next().map_or(1, char::len_utf8);
            out.push_str(&rest[..next]);
            rest = &rest[next..];
            continue;
        }
        let (token, after) = rest.split_at(end);
        let in_multiaddr = ["/dns/", "/dns4/", "/dns6/", "/dnsaddr/"].iter().any(|part| out.ends_with(part));
        let is_name = in_multiaddr || AFTER_A_HOST.iter().any(|phrase| after.starts_with(phrase));
        out.push_str(&redact_token(token, is_name));
        rest = after;
    }
    out
}

/// Hides what stands in quotes before a phrase that calls it no address: it may be
/// one with a typing mistake.
fn hide_quoted(text: &str) -> String {
    let mut text = text.to_owned();
    for phrase in AFTER_A_QUOTED_ADDRESS {
        let mut from = 0;
        while let Some(close) = text[from..].find(phrase).map(|at| from + at) {
            let open = text[..close].rfind('"').map_or(close, |open| open + 1);
            let hidden = pseudonym("text", &text[open..close]);
            text.replace_range(open..close, &hidden);
            from = open + hidden.len() + 1;
        }
    }
    text
}

fn is_address_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '_')
}

fn redact_token(token: &str, is_name: bool) -> String {
    if is_name {
        return pseudonym("host", token);
    }
    // An address may stand at a sentence's end; an IPv6 one may end with colons itself.
    let core = token.trim_end_matches(['.', ':', '-']);
    for candidate in [token, core] {
        let rest = &token[candidate.len()..];
        if let Ok(ip) = candidate.parse::<IpAddr>() {
            return redact_ip(ip) + rest;
        }
        if let Some((ip, port)) = candidate.rsplit_once(':')
            && let Ok(ip) = ip.parse::<Ipv4Addr>()
        {
            return format!("{}:{port}{rest}", redact_ip(ip.into()));
        }
    }
    let rest = &token[core.len()..];
    let (host, port) = match core.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => (host, Some(port)),
        _ => (core, None),
    };
    let known = NAMES.read().unwrap_or_else(PoisonError::into_inner).contains(&host.to_ascii_lowercase());
    if known || (port.is_some() && looks_like_a_host(host)) || is_almost_ipv4(host) {
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        return format!("{}{port}{rest}", pseudonym("host", host));
    }
    token.to_owned()
}

/// Labels, of which the last is no number, as in `node.example.org`.
fn looks_like_a_host(text: &str) -> bool {
    let labels: Vec<&str> = text.split('.').collect();
    let is_label = |label: &&str| !label.is_empty() && !label.contains(':');
    labels.len() > 1 && labels.iter().all(is_label) && labels[labels.len() - 1].bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// Four parts or more, most of them numbers: an address with a typing mistake.
fn is_almost_ipv4(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() >= 4 && parts.iter().filter(|part| part.parse::<u32>().is_ok()).count() >= 3
}

fn redact_ip(ip: IpAddr) -> String {
    let harmless = ip.is_loopback() || ip.is_unspecified();
    // A bare `::` or `1` of prose is no address worth hiding either.
    if harmless || ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        ip.to_string()
    } else {
        pseudonym("ip", &ip.to_canonical().to_string())
    }
}

fn pseudonym(kind: &str, value: &str) -> String {
    static SALT: OnceLock<RandomState> = OnceLock::new();
    let hash = SALT.get_or_init(RandomState::new).hash_one(value);
    format!("<{kind}-{:06x}>", hash & 0xff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_go_and_the_rest_stays() {
        for (text, secret) in [
            ("/ip4/203.0.113.7/tcp/4001/p2p/12D3KooW", "203.0.113.7"),
            ("cannot reach 203.0.113.7:16111: refused", "203.0.113.7"),
            ("it was 203.0.113.7.", "203.0.113.7"),
            ("[2001:db8::7]:16111", "2001:db8::7"),
            ("/ip6/2001:db8::7/udp/1/quic-v1", "2001:db8::7"),
            ("/dns/home.example.org/tcp/1", "home.example.org"),
            ("{\"address\":\"203.0.113.7:1\"}", "203.0.113.7"),
            ("/dns4/home.example.org/tcp/1", "home.example.org"),
            ("home.example.org did not resolve: no such host", "home.example.org"),
            ("cannot reach home.example.org:16111: refused", "home.example.org"),
            ("\"203.0.113\" is not an IPv4 address", "203.0.113"),
            ("\"203.0.113.7x\" is not an IPv4 address", "203.0.113.7"),
            ("\"home example\" is not a host name", "home example"),
            ("203.0.113.7.: refused, 203.0.113.300:1 too", "203.0.113"),
        ] {
            let redacted = redact(text);
            assert!(!redacted.contains(secret), "{redacted}");
        }
        assert_eq!(
            redact("peer 4kx6nXTN: 3 of 10 at 12:30, v0.1.0 on 127.0.0.1:80"),
            "peer 4kx6nXTN: 3 of 10 at 12:30, v0.1.0 on 127.0.0.1:80"
        );
        assert!(redact("/ip4/203.0.113.7/tcp/4001").ends_with("/tcp/4001"));
    }

    #[test]
    fn names_of_the_settings_go_wherever_they_stand() {
        hide_names(["Relay-of-Mine.example.".to_owned(), "localhost".to_owned()]);
        let redacted = redact("kaspad: peer relay-of-mine.example, RELAY-OF-MINE.EXAMPLE:4001 and localhost:16111.");
        assert!(!redacted.to_lowercase().contains("relay-of-mine"), "{redacted}");
        assert!(redacted.contains(":4001") && redacted.ends_with("localhost:16111."), "{redacted}");
    }

    #[test]
    fn one_address_has_one_pseudonym_in_a_run() {
        let both = redact("198.51.100.1 198.51.100.1:5 198.51.100.2");
        let parts: Vec<_> = both.split([' ', ':']).collect();
        assert_eq!(parts[0], parts[1]);
        assert_ne!(parts[0], parts[3]);
    }
}
