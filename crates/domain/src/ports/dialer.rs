use async_trait::async_trait;

use crate::{DialError, DialRequest, DuplexStream};

/// Opens streams to peers.
#[cfg_attr(feature = "mocks", mockall::automock)]
#[async_trait]
pub trait StreamDialer: Send + Sync {
    /// Whether this dialer serves such a request.
    fn supports(&self, request: &DialRequest) -> bool;

    /// Opens one stream, or says why not, within the request's timeout.
    ///
    /// Dropping the future cancels the dial: no stream is left open. A
    /// connection underneath that others may share can stay for a while.
    async fn dial(&self, request: DialRequest) -> Result<DuplexStream, DialError>;
}
