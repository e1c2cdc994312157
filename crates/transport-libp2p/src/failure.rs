//! Why a network ended that nobody shut down.

use thiserror::Error;

/// Why a [`crate::Network`] ended although nobody shut it down. Nothing restarts it:
/// a program that gets this should end with it, so that its supervisor knows.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NetworkFailure {
    /// A listening socket failed.
    #[error("cannot listen on {address} any more: {cause}")]
    Listener {
        /// Where it listened.
        address: String,
        /// The transport's error.
        cause: String,
    },
    /// A defect of this program.
    #[error("the network task failed, which is a defect of this program: {0}")]
    Panicked(String),
}
