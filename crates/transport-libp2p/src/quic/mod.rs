//! QUIC as a libp2p transport, over quinn and libp2p's TLS certificates.
//!
//! Written from the libp2p specifications: QUIC version 1 (RFC 9000), TLS 1.3 with
//! the libp2p certificate extension, ALPN `libp2p`, addresses that end in
//! `/udp/PORT/quic-v1`, one libp2p stream per bidirectional QUIC stream. Why it is
//! our own: docs/decisions/0012-own-quic-transport.md.
//!
//! | file | what it does |
//! |---|---|
//! | `gate` | decides which strangers get a handshake, a Retry, or nothing; pure |
//! | `guard` | joins the gate to quinn, and remembers who is being punched |
//! | `listener` | one listening socket: its addresses and its arrivals |
//! | `interfaces` | the addresses of a wildcard listener as they are added and removed |
//! | `punch` | opens a NAT with random packets and waits for the peer |
//! | `handshake` | a connection until its peer has proven its id |
//! | `muxer` | an established connection and its streams |
//! | `reset` | how a node that has restarted ends the connections of its last start |
//! | `socket` | the UDP socket, with a limit on what one connection buffers |
//! | `transport` | libp2p's `Transport`, joining these |
//!
//! A dial has three forms, chosen by libp2p's role and port use:
//!
//! - dialer or listener with [`PortUse::Reuse`](libp2p::core::transport::PortUse):
//!   a QUIC client on a listening socket of the same family, or on one dialing
//!   socket per family if none listens;
//! - dialer with `PortUse::New`: a QUIC client on a socket of its own;
//! - listener with `PortUse::New`: no client at all. Random packets leave from the
//!   listening socket, and the connection that the remote then makes from exactly
//!   that address is the result of the dial. It needs a listener of the family and
//!   the remote's peer id in the address.

mod address;
mod config;
mod error;
mod gate;
mod guard;
mod handshake;
mod interfaces;
mod listener;
mod muxer;
mod punch;
mod reset;
mod socket;
#[cfg(test)]
mod tests;
mod transport;

pub(crate) use config::{Config, Windows};
pub(crate) use gate::Limits;
pub(crate) use transport::Transport;
