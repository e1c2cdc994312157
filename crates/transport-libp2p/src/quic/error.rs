use std::net::SocketAddr;

use kaspath_domain::clean;
use libp2p::{PeerId, core::transport::TransportError};
use thiserror::Error;

/// Bytes of a remote's close reason that are shown.
const MAX_REASON: usize = 80;

/// Why a QUIC connection, dial or listener failed.
#[derive(Debug, Error)]
pub(crate) enum Error {
    /// The socket or the interface watcher failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The dial could not begin.
    #[error("cannot dial over QUIC: {0}")]
    Connect(#[from] quinn::ConnectError),
    /// The connection ended. Text chosen by the remote is cleaned and cut.
    #[error("{0}")]
    Connection(String),
    /// The handshake did not finish in time.
    #[error("no QUIC handshake in time: a firewall may drop UDP, or nobody listens there")]
    HandshakeTimeout,
    /// The remote's certificate names no peer.
    #[error("the remote's certificate is not a libp2p certificate")]
    Certificate,
    /// The setup of keys and certificates failed.
    #[error("cannot make a certificate for QUIC: {0}")]
    Setup(String),
    /// Another peer connected from the address of a punch.
    #[error("peer {0} came from the address that was punched")]
    WrongPeer(PeerId),
    /// A punch needs a listening socket of the remote's family.
    #[error("no QUIC listener of this address family to punch from: listen on /udp/PORT/quic-v1")]
    NoListener,
    /// A punch of this address is under way.
    #[error("a punch of {0} is under way already")]
    PunchInProgress(SocketAddr),
    /// This address was sent random packets often enough for now.
    #[error("{0} was punched too often: it gets no more packets for some seconds")]
    PunchTooOften(SocketAddr),
    /// Too many punches at once.
    #[error("too many punches over QUIC are under way")]
    TooManyPunches,
    /// The listening socket failed.
    #[error("the QUIC socket failed")]
    SocketLost,
}

impl From<quinn::ConnectionError> for Error {
    fn from(error: quinn::ConnectionError) -> Self {
        Self::Connection(clean(&error.to_string(), MAX_REASON))
    }
}

impl From<Error> for TransportError<Error> {
    fn from(error: Error) -> Self {
        TransportError::Other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_reason_cannot_write_to_the_terminal() {
        let reason = format!("\u{1b}[2J\r\n{}", "x".repeat(500));
        let close = quinn::ApplicationClose { error_code: 0u32.into(), reason: reason.into_bytes().into() };
        let shown = Error::from(quinn::ConnectionError::ApplicationClosed(close)).to_string();
        assert!(!shown.contains(|c: char| c.is_control()), "{shown:?}");
        assert!(shown.contains("[2J") && shown.len() < 100, "{shown:?}");
    }
}
