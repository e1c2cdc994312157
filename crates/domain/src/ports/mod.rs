//! The four ports. Adapters implement the first three, strategies the fourth.

mod dialer;
mod listener;
mod peer_book;
mod policy;

pub use dialer::StreamDialer;
pub use listener::StreamListener;
pub use peer_book::PeerBook;
pub use policy::{NatMapping, PlanRequest, TransportPolicy};

#[cfg(feature = "mocks")]
pub use {dialer::MockStreamDialer, listener::MockStreamListener, peer_book::MockPeerBook, policy::MockTransportPolicy};
