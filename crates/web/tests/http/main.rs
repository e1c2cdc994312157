//! The server, asked byte by byte.

mod abuse;
mod answers;
mod support;
