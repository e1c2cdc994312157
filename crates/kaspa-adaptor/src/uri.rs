//! Addresses of plain Kaspa nodes, as users write them.

use std::{fmt, str::FromStr};

use thiserror::Error;

use crate::KaspaNetwork;

/// Where a plain Kaspa node listens: `host`, `host:port`, `grpc://host:port` or
/// `http://host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KaspaUri {
    host: String,
    port: Option<u16>,
}

/// Why a text is no such address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UriError {
    /// Nothing was given.
    #[error("the node's address is empty; give host:port")]
    Empty,
    /// Kaspa's P2P has no TLS.
    #[error("{0:?} asks for TLS, which Kaspa's P2P does not have; use http:// or none")]
    Tls(String),
    /// Another scheme.
    #[error("{0:?} has a scheme that Kaspa's P2P does not use; use http://, grpc:// or none")]
    Scheme(String),
    /// A path, query or fragment.
    #[error("{0:?} goes on after the port; give host:port alone")]
    Path(String),
    /// A user name or password.
    #[error("{0:?} carries credentials, which Kaspa's P2P does not have")]
    Credentials(String),
    /// No host.
    #[error("{0:?} has no host")]
    Host(String),
    /// The port is no port.
    #[error("{0:?} has no valid port; it must be a number from 1 to 65535")]
    Port(String),
}

impl KaspaUri {
    /// `host:port`, with the network's port where none was given.
    pub fn authority(&self, network: KaspaNetwork) -> String {
        format!("{}:{}", self.host, self.port.unwrap_or_else(|| network.p2p_port()))
    }
}

impl fmt::Display for KaspaUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

impl FromStr for KaspaUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let given = || text.to_owned();
        let rest = match text.trim().split_once("://") {
            None => text.trim(),
            Some(("http" | "grpc", rest)) => rest.strip_suffix('/').unwrap_or(rest),
            Some(("https" | "grpcs", _)) => return Err(UriError::Tls(given())),
            Some(_) => return Err(UriError::Scheme(given())),
        };
        if rest.is_empty() {
            return Err(if text.trim().is_empty() { UriError::Empty } else { UriError::Host(given()) });
        }
        if rest.contains('@') {
            return Err(UriError::Credentials(given()));
        }
        if rest.contains(['/', '?', '#']) {
            return Err(UriError::Path(given()));
        }
        // A bracketed IPv6 address may or may not be followed by a port.
        let (host, port) = match rest.rfind(']') {
            Some(end) if rest.starts_with('[') => (&rest[..=end], rest[end + 1..].strip_prefix(':')),
            _ => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let valid = match literal {
            Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
        };
        if !valid {
            return Err(UriError::Host(given()));
        }
        let port = match port {
            None => None,
            Some(port) => Some(port.parse().ok().filter(|port| *port != 0).ok_or_else(|| UriError::Port(given()))?),
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_forms_are_read() {
        for (text, authority) in [
            ("127.0.0.1", "127.0.0.1:16111"),
            ("node.example:1234", "node.example:1234"),
            ("http://node.example:1234/", "node.example:1234"),
            ("grpc://[::1]:1234", "[::1]:1234"),
            ("[::1]", "[::1]:16111"),
        ] {
            assert_eq!(text.parse::<KaspaUri>().unwrap().authority(KaspaNetwork::Mainnet), authority);
        }
    }

    #[test]
    fn each_mistake_has_its_own_error() {
        let parse = |text: &str| text.parse::<KaspaUri>().unwrap_err();
        assert!(matches!(parse(" "), UriError::Empty));
        assert!(matches!(parse("https://node.example"), UriError::Tls(_)));
        assert!(matches!(parse("ftp://node.example"), UriError::Scheme(_)));
        assert!(matches!(parse("http://"), UriError::Host(_)));
        assert!(matches!(parse("node.example:16111/path"), UriError::Path(_)));
        assert!(matches!(parse("user@node.example"), UriError::Credentials(_)));
        assert!(matches!(parse("no de:1"), UriError::Host(_)));
        assert!(matches!(parse("[zz]:1"), UriError::Host(_)));
        assert!(matches!(parse("node.example:0"), UriError::Port(_)));
        assert!(matches!(parse("node.example:70000"), UriError::Port(_)));
        assert!(matches!(parse("::1"), UriError::Host(_)));
    }
}
