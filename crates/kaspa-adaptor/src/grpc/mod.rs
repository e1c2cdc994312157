//! HTTP/2 and gRPC over domain streams.

mod client;
mod io;
mod server;
mod settings;

pub use client::connector;
pub(crate) use client::open;
pub use io::StreamInfo;
pub use server::incoming;
pub(crate) use server::{Session, serve};
pub use settings::H2Settings;
