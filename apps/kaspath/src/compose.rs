//! What every node of this program is made of.

use std::sync::Arc;

use anyhow::Result;
use kaspath_domain::PeerBook;
use kaspath_node::NodeBuilder;

use crate::{
    control::Control,
    settings::{NodeSettings, Settings},
};

/// A node by the settings, with this book, and followed by the control socket's board.
pub(crate) fn node(settings: &Settings, node: &NodeSettings, book: Arc<dyn PeerBook>, control: &Control) -> Result<NodeBuilder> {
    Ok(NodeBuilder::new(settings.key()?)
        .network(settings.network_config.clone())
        .policy(node.policy.clone().build())
        .admission(Arc::new(node.inbound.clone()))
        .book(book)
        .observe_network(control.board().of_network()))
}
