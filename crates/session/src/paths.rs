use std::time::Duration;

use async_trait::async_trait;
use kaspath_domain::{ConnectorError, DuplexStream, Moment, Path, PeerIdentity, PeerTarget};
use tokio::sync::watch;

/// Where sessions get their paths from, and when they may move.
#[async_trait]
pub trait SessionPaths: Send + Sync {
    /// A stream for a new session, on whichever path is up first. It is for the
    /// session protocol; a peer that does not speak it fails the first read with
    /// [`std::io::ErrorKind::Unsupported`].
    ///
    /// # Errors
    /// Why there is none.
    async fn first(&self, target: &PeerTarget) -> Result<DuplexStream, ConnectorError>;

    /// A stream for a session that has lost its path. It is asked for each second, so
    /// no back-off belongs here.
    ///
    /// # Errors
    /// Why there is none.
    async fn again(&self, target: &PeerTarget) -> Result<DuplexStream, ConnectorError>;

    /// A stream for a session that moves, on a direct path; `None` if there is none any
    /// more.
    async fn direct(&self, target: &PeerTarget) -> Option<DuplexStream>;

    /// A stream to a peer that does not speak the session protocol.
    ///
    /// # Errors
    /// Why there is none.
    async fn plain(&self, target: &PeerTarget) -> Result<DuplexStream, ConnectorError>;

    /// The best path that there is to a peer, now and from now on.
    fn best(&self, peer: &PeerIdentity) -> watch::Receiver<Option<Path>>;

    /// Counts a planned move if the peer's session may move now; else says after which
    /// time to ask again.
    ///
    /// # Errors
    /// That time.
    fn may_move(&self, peer: &PeerIdentity, now: Moment) -> Result<(), Duration>;
}
