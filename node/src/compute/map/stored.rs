//! Where a connection's blobs are: its own lease's pack, above what all connections serve.

use keystead_blobs::{
    BlobStore, Capacity, Hash, MemoryStore, StoreError,
    store::{Part, Source},
};
use std::sync::Arc;

/// Bytes that one connection may hold: two packs, one that goes out and one that comes in, and states for a check.
const OWN_BYTES_MAX: u64 = 1 << 29;

/// One connection's own blobs over the shared ones (program and common input).
#[derive(Clone, Debug)]
pub(super) struct Stored {
    shared: Arc<MemoryStore>,
    own: MemoryStore,
}

impl Stored {
    pub(super) fn over(shared: Arc<MemoryStore>) -> Self {
        let capacity = Capacity { total_bytes_max: OWN_BYTES_MAX, ..Capacity::default() };
        Self { shared, own: MemoryStore::new(capacity) }
    }

    fn holds(&self, hash: Hash) -> Result<bool, StoreError> {
        Ok(self.own.size(hash)?.is_some())
    }
}

impl BlobStore for Stored {
    fn put(&self, bytes: &[u8]) -> Result<Hash, StoreError> {
        self.own.put(bytes)
    }

    fn get(&self, hash: Hash, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
        if self.holds(hash)? { self.own.get(hash, bytes_max) } else { self.shared.get(hash, bytes_max) }
    }

    fn size(&self, hash: Hash) -> Result<Option<u64>, StoreError> {
        let own = self.own.size(hash)?;
        if own.is_some() { Ok(own) } else { self.shared.size(hash) }
    }

    fn delete(&self, hash: Hash) -> Result<bool, StoreError> {
        self.own.delete(hash)
    }

    fn open(&self, hash: Hash) -> Result<Box<dyn Source>, StoreError> {
        if self.holds(hash)? { self.own.open(hash) } else { self.shared.open(hash) }
    }

    fn receive(&self, hash: Hash) -> Result<Box<dyn Part>, StoreError> {
        self.own.receive(hash)
    }
}
