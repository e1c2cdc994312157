//! The peer book on disk, on redb.
//!
//! The records and their rules are [`kaspath_domain::memory::MemoryPeerBook`]'s; what
//! changes there is written by a thread of the store's own, all of it in one
//! transaction: a change is on disk within a second, and a crash loses nothing that a
//! transaction has taken. What cannot be read is set aside, never deleted: one record,
//! or a file that is not a peer book. After a write that failed, as on a full disk, the
//! database is opened again and nothing is lost but time.
//!
//! | file | what it knows |
//! |---|---|
//! | `store` | the book with its writer |
//! | `journal` | what is not written yet, and when to try again |
//! | `file` | the database: its schema, its versions, opening it again |
//! | `path` | the file: whose it is, what is moved aside |

#![warn(clippy::unwrap_used)]

mod file;
mod journal;
mod path;
mod store;

pub use file::{SetAside, StoreError};
pub use store::PeerStore;
