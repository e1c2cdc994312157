//! `kaspath peers`, and the book of the peers that a node meets.

mod command;
mod recording;

use std::{path::Path, sync::Arc};

use kaspath_peer_store::{PeerStore, StoreError};

use crate::{output::Printer, panics};

pub(crate) use command::run;
pub(crate) use recording::{Admitting, remember_attempts, remember_gateway, remember_kaspa, remember_network, remember_remotes};

/// Peers remembered.
const LIMIT: usize = 10_000;

/// Opens the book for a node. A book that cannot be used is told of, and the node
/// runs without one.
pub(crate) fn open(path: &Path, printer: &Printer) -> Option<Arc<PeerStore>> {
    // The store catches what redb asserts of a damaged file.
    match panics::caught(|| PeerStore::open(path, LIMIT)) {
        Ok((store, aside)) => {
            if let Some(aside) = aside {
                printer.warning(&aside.to_string());
            }
            Some(Arc::new(store))
        }
        Err(error @ StoreError::InUse(_)) => {
            printer.warning(&format!("{error}; until then this one remembers no peers"));
            None
        }
        Err(error) => {
            printer.warning(&format!("{error}; this run remembers no peers"));
            None
        }
    }
}
