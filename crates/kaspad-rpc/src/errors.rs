use std::time::Duration;

use thiserror::Error;

/// Why kaspad did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RpcError {
    /// Nothing listens there, or it is not the RPC.
    #[error("kaspad's RPC at {url} cannot be reached ({cause}): start kaspad with --rpclisten-json=default")]
    Unreachable {
        /// Where.
        url: String,
        /// The system's message.
        cause: String,
    },
    /// The connection broke. No call will succeed on it.
    #[error("kaspad's RPC broke off: {0}")]
    Broken(String),
    /// No answer in time. No call will succeed on this connection.
    #[error("kaspad did not answer {method} within {after:?}")]
    Timeout {
        /// What was asked.
        method: &'static str,
        /// How long it had.
        after: Duration,
    },
    /// kaspad refuses.
    #[error("kaspad refuses {method}: {message}")]
    Refused {
        /// What was asked.
        method: &'static str,
        /// Its message.
        message: String,
    },
    /// The answer is not what it should be.
    #[error("kaspad's answer to {method} is not understood: {cause}")]
    Unexpected {
        /// What was asked.
        method: &'static str,
        /// What is wrong.
        cause: String,
    },
}
