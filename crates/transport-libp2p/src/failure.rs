//! Why a network ended that nobody told to.

use std::any::Any;

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

impl NetworkFailure {
    pub(crate) fn panicked(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Self::Panicked(text.unwrap_or_else(|| "no message".to_owned()))
    }
}
