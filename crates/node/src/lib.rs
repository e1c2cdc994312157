//! A Kaspath node from one builder.
//!
//! A [`Node`] composes the transport, a policy, a peer book, limits and observers. It
//! carries a [`LightPeer`], which speaks Kaspa's protocol itself, a gateway before an
//! unmodified kaspad ([`Node::gateway`]), or anything else that needs a stream to a
//! peer: [`Node::connector`] opens streams, [`Node::listener`] accepts those that peers
//! open.
//!
//! ```no_run
//! # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
//! use kaspath_domain::PeerTarget;
//! use kaspath_kaspa_adaptor::{KaspaNetwork, NodeConfig};
//! use kaspath_node::{Node, NodeBuilder, transport::NodeKey};
//!
//! let node: Node = NodeBuilder::new(NodeKey::generate()).start().await?;
//! let remote = "/ip4/203.0.113.1/tcp/4001/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp/p2p-circuit/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
//! let light = node.light_peer(NodeConfig::new(KaspaNetwork::Mainnet));
//! let peer = light.connect(&PeerTarget::at(remote.parse()?)).await?;
//! println!("{} over {}", peer.user_agent(), peer.router().path());
//! node.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! | file | what it does |
//! |---|---|
//! | `builder` | the parts of a node, and its start |
//! | `node` | the node: what opens and takes streams |
//! | `addressed` | at which addresses peers are dialled |
//! | `best_paths` | the best path to each peer |
//! | `admitting` | which peers the node admits, the book's bans included |
//! | `recording` | events, recorded in the book; the addresses that plans read there |
//! | `pooling` | the relay pool, which is told of events and says where to reserve |
//! | `listing` | the list of relays, read again and again |
//! | `session_paths` | where sessions get their paths from |
//! | `discovering` | peers that the node finds by itself |
//! | `light_peer` | a Kaspa peer of our own, whose sessions are kept |
//! | `gateway` | a gateway before kaspad |
//! | `kaspad` | kaspad's RPC as the gateway's port wants it |

#![warn(clippy::unwrap_used)]

mod addressed;
mod admitting;
mod best_paths;
mod builder;
mod discovering;
mod gateway;
mod kaspad;
mod light_peer;
mod listing;
mod node;
mod pooling;
mod recording;
mod session_paths;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use builder::NodeBuilder;
pub use discovering::{
    ConfiguredRelays, DiscoverConfig, DiscoveredPeer, Discovering, Group, GroupError, KnownRelay, KnownRelays, ReachPeer, Search,
};
pub use gateway::{GatewayConfig, GatewayReach};
pub use light_peer::{LightPeer, ReachError};
pub use node::Node;
pub use pooling::{PoolChange, PoolEvent, Relays};

pub use kaspath_transport_libp2p as transport;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
