//! Hole punching: the DCUtR protocol on the wire, and what to do when.
//!
//! This is an own implementation of libp2p's DCUtR (specs/relay/DCUtR.md),
//! compatible with others. Where it differs from the stock behaviour, and why:
//!
//! - candidates are read when a punch starts, not when the relayed connection
//!   came up, so that late observations count;
//! - for QUIC the initiator opens its NAT with random packets *before* it sends
//!   SYNC, so that the responder's first Initial already passes; the stock
//!   behaviour has both sides dial as clients and loses the first one;
//! - if no direct connection has come up soon after that, the initiator also
//!   dials plainly from a new port ([`TCP_REVERSAL_RTTS`]): behind a symmetric NAT
//!   its simultaneous-open packets arrive at the responder's listening socket,
//!   where both ends would wait as listeners for ever;
//! - a punch is judged by connections, and repeated by a cadence;
//! - what unanswered addresses are sent is bounded ([`budget`]).

pub(crate) mod budget;
pub(crate) mod candidates;
pub(crate) mod evidence;
pub(crate) mod exchange;
pub(crate) mod schedule;
mod wire;

use std::time::Duration;

use libp2p::StreamProtocol;

/// DCUtR's protocol name.
pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/libp2p/dcutr");

/// How many round trips after dialling the plain dial follows over QUIC, where a
/// punched connection takes about one.
pub(crate) const QUIC_REVERSAL_RTTS: u32 = 2;
/// The same over TCP, where it takes about two and a half, with the security and
/// muxer handshakes.
pub(crate) const TCP_REVERSAL_RTTS: u32 = 4;
/// Least time before each plain dial.
pub(crate) const MIN_REVERSAL_DELAY: Duration = Duration::from_millis(50);
/// An attempt that has given no connection by then has failed: longer than the
/// swarm's connection timeout, so that no two attempts compete for a port.
pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(10_500);
