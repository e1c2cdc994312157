//! A small HTTP server within a program of Kaspath, for its operator: a status page that
//! updates itself, the same status as JSON, metrics and health. `docs/status-page.md`
//! describes what it serves and to whom.
//!
//! | file | what it does |
//! |---|---|
//! | `content` | what the program gives: texts, and notifications of changes |
//! | `token` | the secret that a reader needs, and its file |
//! | `access` | who may read: pure |
//! | `routes` | paths, and the files of the page |
//! | `reply` | answers with the headers that each has |
//! | `live` | the status sent again and again to those that listen |
//! | `table` | which connections there is room for: pure |
//! | `server` | connections: how many, how long, how much |

#![warn(clippy::unwrap_used)]

mod access;
mod content;
mod live;
mod reply;
mod routes;
mod server;
mod table;
mod token;

pub use content::{Changes, Content, Source};
pub use server::{BindError, Web};
pub use table::MAX_CONNECTIONS;
pub use token::{Token, TokenError};
