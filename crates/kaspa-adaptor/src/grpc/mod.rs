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
pub(crate) use server::serve;
pub(crate) use settings::Limits;

use crate::wire::{Incoming, Outgoing};

/// An open message stream, before any message.
pub(crate) struct OpenSession {
    pub(crate) info: StreamInfo,
    pub(crate) incoming: Incoming,
    pub(crate) outgoing: Outgoing,
}
