use thiserror::Error;

/// What the peer did against the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the peer breaks the session protocol: {0}")]
pub struct Violation(pub(crate) &'static str);
