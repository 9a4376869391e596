//! The store of this provider's server: orders' blobs, and for checkers those of audited channels. And a channel's store as its customer sees it.
//!
//! # Invariants
//! What comes in belongs to orders: nothing of a channel's makes an order's input look as if it were here.

use crate::compute::{
    checker::Agent,
    provider::portion::{Portion, Volume},
};
use alloy_primitives::B256;
use keystead_blobs::{
    BlobStore, Hash, Outline, StoreError,
    store::{Part, Source, Tally},
};
use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Whose blobs are served beside those of orders.
pub(crate) trait Beside: Send + Sync + fmt::Debug + 'static {
    fn stores(&self) -> Vec<Arc<dyn BlobStore>>;
}

/// What a checker fetched, for those who check the same after it.
impl Beside for Agent {
    fn stores(&self) -> Vec<Arc<dyn BlobStore>> {
        vec![self.store()]
    }
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

/// A channel's store, from which its customer fetches no more than its portion.
#[derive(Debug)]
pub(super) struct Portioned {
    channel: B256,
    store: Arc<dyn BlobStore>,
    portion: Arc<Portion>,
    /// Whether the owner read that it is spent.
    is_said: AtomicBool,
}

impl Portioned {
    pub(super) fn new(channel: B256, store: Arc<dyn BlobStore>, portion: Portion) -> Self {
        Self { channel, store, portion: Arc::new(portion), is_said: AtomicBool::new(false) }
    }

    /// A lease's window was delivered: these blobs of the store, as far as they are there, and each once, however many steps led to it.
    pub(super) fn deliver(&self, lease: u64, blobs: impl IntoIterator<Item = B256>) {
        let size = |name| self.store.size(Hash::from(name)).ok().flatten();
        self.portion.deliver(lease, || {
            let blobs: BTreeSet<B256> = blobs.into_iter().collect();
            Volume::of(blobs.into_iter().filter_map(size))
        });
        self.is_said.store(false, Ordering::Relaxed);
    }

    /// Writes down what was fetched: the process ends.
    pub(super) fn save(&self) {
        self.portion.save();
    }

    /// The channel is over: nothing more is written down.
    pub(super) fn forget(&self) {
        self.portion.forget();
    }
}

impl BlobStore for Portioned {
    fn put(&self, bytes: &[u8]) -> Result<Hash, StoreError> {
        self.store.put(bytes)
    }

    fn settle(&self) -> Result<(), StoreError> {
        self.store.settle()
    }

    fn get(&self, hash: Hash, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
        self.store.get(hash, bytes_max)
    }

    fn size(&self, hash: Hash) -> Result<Option<u64>, StoreError> {
        self.store.size(hash)
    }

    fn delete(&self, hash: Hash) -> Result<bool, StoreError> {
        self.store.delete(hash)
    }

    /// What is beyond the portion looks as if it were not here. A blob that was begun is sent to its end.
    fn open(&self, hash: Hash) -> Result<Box<dyn Source>, StoreError> {
        if self.portion.is_due() {
            self.portion.save();
        }
        if let Some(reason) = self.portion.spent() {
            if !self.is_said.swap(true, Ordering::Relaxed) {
                tracing::warn!(channel = %self.channel, reason, "a customer is served no more of what it has");
            }
            return Err(StoreError::NotFound { hash });
        }
        let source = self.store.open(hash)?;
        self.portion.fetch(Volume { blobs: 1, bytes: 0 });
        Ok(Box::new(Counted { source, portion: Arc::clone(&self.portion) }))
    }

    fn receive(&self, hash: Hash) -> Result<Box<dyn Part>, StoreError> {
        self.store.receive(hash)
    }
}

/// A blob whose bytes count as they are sent: what was read and never left does not.
struct Counted {
    source: Box<dyn Source>,
    portion: Arc<Portion>,
}

impl Source for Counted {
    fn outline(&self) -> &Outline {
        self.source.outline()
    }

    fn read_group(&mut self, index: u64, out: &mut Vec<u8>) -> Result<(), StoreError> {
        // Here, since whoever reads waits for the disk anyway.
        if self.portion.is_due() {
            self.portion.save();
        }
        self.source.read_group(index, out)
    }

    fn tally(&self) -> Option<Tally> {
        let portion = Arc::clone(&self.portion);
        Some(Arc::new(move |bytes| portion.fetch(Volume { blobs: 0, bytes })))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use keystead_blobs::MemoryStore;

    #[test]
    fn a_channels_customer_fetches_its_portion_and_then_nothing_until_more_is_delivered() {
        let inner: Arc<dyn BlobStore> = Arc::new(MemoryStore::default());
        let bytes = vec![7; 100_000];
        let blob = inner.put(&bytes).unwrap();
        let store = Portioned::new(B256::ZERO, Arc::clone(&inner), Portion::default());
        // Two steps that gave the same.
        store.deliver(1, [B256::from(blob), B256::from(blob), B256::repeat_byte(1)]);
        let fetch = || {
            let mut source = store.open(blob)?;
            let mut out = Vec::new();
            (0..source.outline().group_count()).try_for_each(|index| source.read_group(index, &mut out))?;
            // As a transfer does with what it has handed over.
            source.tally().unwrap()(u64::try_from(out.len()).unwrap());
            Ok::<_, StoreError>(out)
        };
        assert_eq!(fetch().unwrap(), bytes);
        // Three times 100,000 bytes and 64 MiB are less than 675 of these.
        assert_eq!((0..).map_while(|_: u32| fetch().ok()).count(), 674);
        assert!(matches!(fetch(), Err(StoreError::NotFound { .. })));
        // Its program finds it all the same.
        assert_eq!((store.get(blob, 100_000).unwrap(), store.size(blob).unwrap()), (bytes.clone(), Some(100_000)));
        store.deliver(2, [B256::from(blob)]);
        assert_eq!(fetch().unwrap(), bytes);
        assert!(store.delete(blob).unwrap() && !inner.has(blob).unwrap());
    }

    #[test]
    fn what_a_broken_line_kept_from_leaving_does_not_count_and_what_left_is_known_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("portion.json");
        let inner: Arc<dyn BlobStore> = Arc::new(MemoryStore::default());
        let blob = inner.put(&vec![7; 100_000]).unwrap();
        let started = || Portioned::new(B256::ZERO, Arc::clone(&inner), Portion::open(path.clone()));
        let store = started();
        store.deliver(1, [B256::from(blob)]);
        // 100 MB are read, more than a portion, and none of it leaves.
        for _ in 0..1_000 {
            let mut source = store.open(blob).unwrap();
            (0..2).try_for_each(|index| source.read_group(index, &mut Vec::new())).unwrap();
        }
        assert!(store.open(blob).is_ok());
        // Every blob that is begun counts: of these 1,001 a process that is killed has written down 768, of three times one and 1,024.
        let store = started();
        store.deliver(1, [B256::from(blob)]);
        assert_eq!((0..).map_while(|_: u32| store.open(blob).ok()).count(), 259);
        store.save();
        let store = started();
        assert!(store.open(blob).is_err());
        // What is sent when the channel is over is written nowhere.
        store.forget();
        store.portion.fetch(Volume { blobs: 1, bytes: 1 });
        store.save();
        assert!(!path.exists());
    }

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
