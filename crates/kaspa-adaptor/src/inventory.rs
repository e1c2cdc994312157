//! Bodies that this node holds and can serve.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kaspa_consensus_core::{
    block::Block,
    tx::{Transaction, TransactionId},
};
use kaspa_hashes::Hash as BlockHash;
use kaspa_p2p_lib::pb::{BlockMessage, TransactionMessage, kaspad_message::Payload};

use crate::wire::memory_of;

/// What an inventory may hold.
#[derive(Clone, Debug)]
pub struct InventoryLimits {
    /// Transactions.
    pub transactions: usize,
    /// The memory that they take, in bytes.
    pub transaction_bytes: usize,
    /// Blocks.
    pub blocks: usize,
    /// The memory that they take, in bytes.
    pub block_bytes: usize,
}

impl Default for InventoryLimits {
    fn default() -> Self {
        Self { transactions: 4096, transaction_bytes: 4 << 20, blocks: 512, block_bytes: 8 << 20 }
    }
}

/// Memory of a body that is held: several times that of Kaspa's greatest block. A
/// larger one would take too much for every peer that asks for it.
const MAX_BODY: usize = 1 << 20;

/// A store that forgets its oldest entries when it is full.
#[derive(Debug)]
struct Store<K, V> {
    entries: HashMap<K, (Arc<V>, usize)>,
    order: VecDeque<K>,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
}

impl<K: Copy + Eq + Hash, V> Store<K, V> {
    fn new(max_entries: usize, max_bytes: usize) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), bytes: 0, max_entries, max_bytes }
    }

    /// Enters a value that takes `size` bytes of memory; whether it is new and fits.
    fn insert(&mut self, key: K, value: V, size: usize) -> bool {
        if self.entries.contains_key(&key) || size > self.max_bytes.min(MAX_BODY) {
            return false;
        }
        self.entries.insert(key, (Arc::new(value), size));
        self.order.push_back(key);
        self.bytes += size;
        while self.entries.len() > self.max_entries || self.bytes > self.max_bytes {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some((_, size)) = self.entries.remove(&oldest) {
                self.bytes -= size;
            }
        }
        true
    }
}

/// Transactions and blocks with their bodies, bounded.
#[derive(Debug)]
pub struct Inventory {
    transactions: Mutex<Store<TransactionId, TransactionMessage>>,
    blocks: Mutex<Store<BlockHash, BlockMessage>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inventory {
    /// An empty inventory.
    pub fn new(limits: &InventoryLimits) -> Self {
        Self {
            transactions: Mutex::new(Store::new(limits.transactions, limits.transaction_bytes)),
            blocks: Mutex::new(Store::new(limits.blocks, limits.block_bytes)),
        }
    }

    /// The id of a transaction; `None` if it is not valid.
    pub(crate) fn transaction_id(message: &TransactionMessage) -> Option<TransactionId> {
        Transaction::try_from(message.clone()).ok().map(|transaction| transaction.id())
    }

    /// The hash of a block; `None` if it is not valid.
    pub(crate) fn block_hash(message: &BlockMessage) -> Option<BlockHash> {
        Block::try_from(message.clone()).ok().map(|block| block.hash())
    }

    /// Enters a transaction; its id, and whether it is new.
    pub(crate) fn add_transaction(&self, message: TransactionMessage) -> Option<(TransactionId, bool)> {
        let id = Self::transaction_id(&message)?;
        let size = memory_of(Payload::Transaction(message.clone()));
        Some((id, lock(&self.transactions).insert(id, message, size)))
    }

    /// Enters a block; its hash, and whether it is new.
    pub(crate) fn add_block(&self, message: BlockMessage) -> Option<(BlockHash, bool)> {
        let hash = Self::block_hash(&message)?;
        let size = memory_of(Payload::Block(message.clone()));
        Some((hash, lock(&self.blocks).insert(hash, message, size)))
    }

    pub(crate) fn transaction(&self, id: &TransactionId) -> Option<Arc<TransactionMessage>> {
        lock(&self.transactions).entries.get(id).map(|(message, _)| message.clone())
    }

    pub(crate) fn block(&self, hash: &BlockHash) -> Option<Arc<BlockMessage>> {
        lock(&self.blocks).entries.get(hash).map(|(message, _)| message.clone())
    }

    /// How many transactions and blocks are held.
    pub fn len(&self) -> (usize, usize) {
        (lock(&self.transactions).entries.len(), lock(&self.blocks).entries.len())
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == (0, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_bounded_by_entries_and_by_bytes() {
        let mut store = Store::<u32, ()>::new(3, 1000);
        for key in 0..5 {
            assert!(store.insert(key, (), 10));
        }
        assert_eq!(store.entries.len(), 3);
        assert!(!store.entries.contains_key(&0));
        assert!(!store.insert(9, (), 2000), "larger than everything");
        store.insert(10, (), 1000);
        assert_eq!(store.entries.len(), 1);
        assert!(store.bytes <= 1000);
    }
}
