//! Hiding addresses.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::OnceLock,
};

/// Replaces IP addresses and DNS names by pseudonyms: the same one for the same
/// address within a run, so that a log stays readable, and another in the next.
/// Loopback and unspecified addresses stay.
pub(crate) fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !is_address_char(c)).unwrap_or(rest.len());
        if end == 0 {
            let next = rest.chars().next().map_or(1, char::len_utf8);
            out.push_str(&rest[..next]);
            rest = &rest[next..];
            continue;
        }
        let (token, after) = rest.split_at(end);
        out.push_str(&redact_token(token, out.ends_with("/dns/") || out.ends_with("/dns4/") || out.ends_with("/dns6/")));
        rest = after;
    }
    out
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
    token.to_owned()
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
    fn one_address_has_one_pseudonym_in_a_run() {
        let both = redact("198.51.100.1 198.51.100.1:5 198.51.100.2");
        let parts: Vec<_> = both.split([' ', ':']).collect();
        assert_eq!(parts[0], parts[1]);
        assert_ne!(parts[0], parts[3]);
    }
}
