use async_trait::async_trait;

use crate::{DuplexStream, ListenError};

/// Hands over the streams that peers open.
#[cfg_attr(feature = "mocks", mockall::automock)]
#[async_trait]
pub trait StreamListener: Send + Sync {
    /// The next inbound stream. [`ListenError::Closed`] is the end.
    ///
    /// Dropping the future loses no stream. While nobody calls, streams wait in
    /// a bounded queue, and peers feel it as backpressure.
    async fn accept(&self) -> Result<DuplexStream, ListenError>;
}
