//! Plain TCP as a [`StreamDialer`](kaspath_domain::StreamDialer) and a
//! [`StreamListener`](kaspath_domain::StreamListener): what every kaspad speaks.
//!
//! TCP proves no identity, so a stream's peer is always `None` and its
//! synthetic address is the real one.
//!
//! ```no_run
//! # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
//! use kaspath_domain::StreamListener;
//! use kaspath_transport_tcp::{TcpConfig, TcpTransportListener};
//!
//! let listener = TcpTransportListener::bind("127.0.0.1:0".parse()?, TcpConfig::default()).await?;
//! let stream = listener.accept().await?;
//! println!("{}", stream.info());
//! # Ok(()) }
//! ```

#![warn(clippy::unwrap_used)]

mod config;
mod dialer;
mod listener;
mod socket;

pub use config::TcpConfig;
pub use dialer::TcpDialer;
pub use listener::TcpTransportListener;
