//! The peer book of a node.

mod configured;

use std::{path::Path, sync::Arc};

use anyhow::Result;
use kaspath_domain::{PeerBook, memory::MemoryPeerBook};
use kaspath_gateway::EarlierTable;
use kaspath_peer_store::{PeerStore, SetAside, StoreError};

use crate::{
    output::{Printer, WarningCode},
    panics,
};

pub(crate) use configured::record_configured;

/// Peers remembered: as many as the two files of earlier versions held together.
pub(crate) const LIMIT: usize = 80_000;

/// Opens the book for a node. If it cannot be used there is a warning, and the node
/// remembers peers only for this run.
pub(crate) fn open(path: &Path, printer: &Printer) -> Arc<dyn PeerBook> {
    match open_store(path, printer) {
        Ok(store) => Arc::new(store),
        Err(error) => {
            printer.warn(WarningCode::Book, &format!("{error}; peers are remembered only for this run"));
            Arc::new(MemoryPeerBook::new(LIMIT))
        }
    }
}

/// Opens the book for a gateway, which does not run without it: bans and addresses
/// would differ from kaspad's. What an earlier version kept in `table` is moved into
/// the book.
pub(crate) fn open_for_gateway(path: &Path, table: &Path, printer: &Printer) -> Result<Arc<dyn PeerBook>> {
    let store = open_store(path, printer)?;
    if let Some(earlier) = EarlierTable::read(table)? {
        let count = earlier.enter(&store)?;
        store.flush()?;
        let aside = earlier.set_aside()?;
        printer.line(&format!(
            "the loopback addresses of {count} peers, and kaspad's bans, are in the peer book from now on; the file that held them is kept as {}",
            aside.display()
        ));
    }
    Ok(Arc::new(store))
}

/// Opens the book's file. The store catches what redb asserts of a damaged one.
///
/// # Errors
/// Why it cannot be used.
pub(crate) fn open_file(path: &Path) -> Result<(PeerStore, Option<SetAside>), StoreError> {
    panics::caught(|| PeerStore::open(path, LIMIT))
}

fn open_store(path: &Path, printer: &Printer) -> Result<PeerStore, StoreError> {
    let (store, aside) = open_file(path)?;
    if let Some(aside) = aside {
        printer.warn(WarningCode::Book, &aside.to_string());
    }
    Ok(store)
}
