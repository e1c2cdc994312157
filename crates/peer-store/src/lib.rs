//! The peer book on disk, on redb.
//!
//! Records are held in memory and written by a thread of the store's own, all that
//! has changed in one transaction: a change is on disk within a second, and a
//! crash loses nothing that a transaction has taken. A file that is no peer book
//! is set aside, never deleted.
//!
//! | file | what it knows |
//! |---|---|
//! | `store` | the records, their bound, the writer |
//! | `file` | the database: its schema, its versions, what is wrong with it |

#![warn(clippy::unwrap_used)]

mod file;
mod store;

pub use file::{SetAside, StoreError};
pub use store::PeerStore;
