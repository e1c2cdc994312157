//! In-memory implementations of the ports, for tests of embedders.

mod network;
mod peer_book;
mod policy;

pub use network::{MemoryDialer, MemoryListener, memory_network};
pub use peer_book::MemoryPeerBook;
pub use policy::AdmitAll;
