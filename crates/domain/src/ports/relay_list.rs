use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

use crate::RelayAddress;

/// What a list of relays says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayListing {
    /// The relays, each with one address; one relay may be there several times. Never empty.
    pub relays: Vec<RelayAddress>,
    /// How long the answer is good for, by its source.
    pub valid_for: Duration,
}

/// A list of relays that somebody keeps: a file, or a name.
#[cfg_attr(feature = "mocks", mockall::automock)]
#[async_trait]
pub trait RelayList: Send + Sync {
    /// What the list is, for people: the file's path, or the name.
    fn source(&self) -> String;

    /// Reads it anew. Dropping the future is safe.
    ///
    /// # Errors
    /// It cannot be read, or names no relay.
    async fn read(&self) -> Result<RelayListing, RelayListError>;
}

/// Why a list of relays could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RelayListError {
    /// The file cannot be read, or the name does not resolve.
    #[error("{0}")]
    Unreadable(String),
    /// It names no relay: each must have its peer id.
    #[error("it names no relay: each address must end with /p2p/<relay peer id>")]
    Empty,
    /// A line is no relay.
    #[error("line {line} is no relay's address: {cause}")]
    Malformed {
        /// The line, from 1 on.
        line: usize,
        /// What is wrong with it.
        cause: String,
    },
}
