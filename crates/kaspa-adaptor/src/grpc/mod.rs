//! HTTP/2 and gRPC over domain streams.

mod client;
mod io;
mod server;
mod settings;
mod tap;

pub(crate) use client::open;
pub use client::{OneStream, connector};
pub use io::{CuttableIo, StreamInfo};
pub use server::incoming;
pub(crate) use server::{Session, serve};
pub use settings::H2Settings;
pub(crate) use settings::Limits;
