//! A Kaspath node from one builder.
//!
//! A [`Node`] composes the transport, a policy, a peer book, limits and whoever is to be
//! told of what happens. On it stand a [`LightPeer`], which speaks Kaspa's protocol itself, a
//! gateway before an unmodified kaspad ([`Node::gateway`]), or whatever else wants a
//! stream to a peer: [`Node::connector`] opens them, [`Node::listener`] takes those
//! that peers open.
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
//! | file | what it knows |
//! |---|---|
//! | `builder` | what a node is made of |
//! | `node` | the node: what opens and takes streams |
//! | `addressed` | at which addresses peers are dialled |
//! | `best_paths` | the best path to each peer |
//! | `admitting` | whom the node lets in, the book's bans included |
//! | `recording` | what happens, entered into the book; the addresses that plans read there |
//! | `own_nat` | how our own NAT maps, as relays see it |
//! | `light_peer` | a Kaspa peer of our own, whose sessions are kept |
//! | `gateway` | a gateway before kaspad, whose peers are kept |
//! | `kaspad` | kaspad's RPC as the gateway's port wants it |

#![warn(clippy::unwrap_used)]

mod addressed;
mod admitting;
mod best_paths;
mod builder;
mod gateway;
mod kaspad;
mod light_peer;
mod node;
mod own_nat;
mod recording;

pub use builder::NodeBuilder;
pub use gateway::GatewayConfig;
pub use light_peer::{LightPeer, ReachError};
pub use node::Node;

pub use kaspath_transport_libp2p as transport;
