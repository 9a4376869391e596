//! The store of this provider's server: orders' blobs, and for checkers those of audited channels.
//!
//! # Invariants
//! What comes in belongs to orders: nothing of a channel's makes an order's input look as if it were here.

use keystead_blobs::{
    BlobStore, Hash, StoreError,
    store::{Part, Source},
};
use std::{fmt, sync::Arc};

/// Whose blobs are served beside those of orders.
pub(crate) trait Beside: Send + Sync + fmt::Debug + 'static {
    fn stores(&self) -> Vec<Arc<dyn BlobStore>>;
}

/// Serves from the orders' store first.
#[derive(Debug)]
pub(crate) struct Blobs {
    pub(crate) orders: Arc<dyn BlobStore>,
    pub(crate) beside: Arc<dyn Beside>,
}

impl BlobStore for Blobs {
    fn put(&self, bytes: &[u8]) -> Result<Hash, StoreError> {
        self.orders.put(bytes)
    }

    fn settle(&self) -> Result<(), StoreError> {
        self.orders.settle()
    }

    fn get(&self, hash: Hash, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
        self.orders.get(hash, bytes_max)
    }

    fn size(&self, hash: Hash) -> Result<Option<u64>, StoreError> {
        self.orders.size(hash)
    }

    fn delete(&self, hash: Hash) -> Result<bool, StoreError> {
        self.orders.delete(hash)
    }

    /// What a session offers. That of a checker may offer what a channel has.
    fn open(&self, hash: Hash) -> Result<Box<dyn Source>, StoreError> {
        let first = self.orders.open(hash);
        if first.is_ok() {
            return first;
        }
        self.beside.stores().iter().find_map(|store| store.open(hash).ok()).map_or(first, Ok)
    }

    fn receive(&self, hash: Hash) -> Result<Box<dyn Part>, StoreError> {
        self.orders.receive(hash)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use keystead_blobs::MemoryStore;

    #[derive(Debug)]
    struct Channels(Vec<Arc<dyn BlobStore>>);

    impl Beside for Channels {
        fn stores(&self) -> Vec<Arc<dyn BlobStore>> {
            self.0.clone()
        }
    }

    #[test]
    fn a_channels_blob_is_served_and_is_no_input_of_an_order() {
        let store = || -> Arc<dyn BlobStore> { Arc::new(MemoryStore::default()) };
        let (orders, channels) = (store(), [store(), store()]);
        let of_channel = channels[1].put(b"channel").unwrap();
        let of_order = orders.put(b"order").unwrap();
        let blobs = Blobs { orders: Arc::clone(&orders), beside: Arc::new(Channels(channels.to_vec())) };
        for hash in [of_channel, of_order] {
            assert_eq!(blobs.open(hash).map(|source| source.outline().hash()).unwrap(), hash);
        }
        assert!(blobs.has(of_order).unwrap() && !blobs.has(of_channel).unwrap());
        assert!(matches!(blobs.get(of_channel, 7), Err(StoreError::NotFound { .. })));
        assert!(matches!(blobs.open(Hash::of(b"none")), Err(StoreError::NotFound { .. })));
        let put = blobs.put(b"new").unwrap();
        assert!(orders.has(put).unwrap());
        assert!(!blobs.delete(of_channel).unwrap() && channels[1].has(of_channel).unwrap());
    }
}
