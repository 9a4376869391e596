//! Keeps blobs in memory: for tests, and for a customer whose inputs are there anyway.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    BlobStore, Capacity, Part, Source, StoreError,
    budget::{Budget, Reservation},
};
use crate::{
    hash::Hash,
    outline::{GROUP_BYTES, Outline},
};

/// Blobs in memory. Clones share the same blobs. An unfinished transfer leaves nothing behind, so it starts again at 0.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    blobs: Arc<Mutex<HashMap<Hash, Arc<[u8]>>>>,
    budget: Budget,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new(capacity: Capacity) -> Self {
        Self { blobs: Arc::default(), budget: Budget::new(capacity) }
    }

    /// Bytes held now, with the room reserved for unfinished transfers.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.budget.used_bytes()
    }

    fn blobs(&self) -> MutexGuard<'_, HashMap<Hash, Arc<[u8]>>> {
        // No code panics while it holds this lock; a poisoned map is still a whole map.
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, hash: Hash, bytes: Arc<[u8]>, room: Reservation) {
        let size = size_of_slice(&bytes);
        // A second copy of the same blob gives its room back.
        let kept = if self.blobs().insert(hash, bytes).is_none() { size } else { 0 };
        room.keep(kept);
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(Capacity::default())
    }
}

impl BlobStore for MemoryStore {
    fn put(&self, bytes: &[u8]) -> Result<Hash, StoreError> {
        let size = size_of_slice(bytes);
        self.budget.admit(size)?;
        let hash = Hash::of(bytes);
        if !self.blobs().contains_key(&hash) {
            let room = self.budget.reserve(size)?;
            self.insert(hash, Arc::from(bytes), room);
        }
        Ok(hash)
    }

    fn get(&self, hash: Hash, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
        let bytes = self.blobs().get(&hash).cloned().ok_or(StoreError::NotFound { hash })?;
        let got_bytes = size_of_slice(&bytes);
        if got_bytes > bytes_max {
            return Err(StoreError::TooLarge { got_bytes, max_bytes: bytes_max });
        }
        Ok(bytes.to_vec())
    }

    fn size(&self, hash: Hash) -> Result<Option<u64>, StoreError> {
        Ok(self.blobs().get(&hash).map(|bytes| size_of_slice(bytes)))
    }

    fn delete(&self, hash: Hash) -> Result<bool, StoreError> {
        let removed = self.blobs().remove(&hash);
        if let Some(bytes) = &removed {
            self.budget.release(size_of_slice(bytes));
        }
        Ok(removed.is_some())
    }

    fn open(&self, hash: Hash) -> Result<Box<dyn Source>, StoreError> {
        let bytes = self.blobs().get(&hash).cloned().ok_or(StoreError::NotFound { hash })?;
        Ok(Box::new(MemorySource { outline: Outline::of(&bytes), bytes }))
    }

    fn receive(&self, hash: Hash) -> Result<Box<dyn Part>, StoreError> {
        Ok(Box::new(MemoryPart { store: self.clone(), hash, started: None, bytes: Vec::new() }))
    }
}

struct MemorySource {
    outline: Outline,
    bytes: Arc<[u8]>,
}

impl Source for MemorySource {
    fn outline(&self) -> &Outline {
        &self.outline
    }

    fn read_group(&mut self, index: u64, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let group = usize::try_from(index).ok().and_then(|index| self.bytes.chunks(GROUP_BYTES).nth(index));
        out.extend_from_slice(group.unwrap_or_default());
        Ok(())
    }
}

struct MemoryPart {
    store: MemoryStore,
    hash: Hash,
    started: Option<(Outline, Reservation)>,
    bytes: Vec<u8>,
}

impl Part for MemoryPart {
    fn offset(&self) -> u64 {
        size_of_slice(&self.bytes)
    }

    fn start(&mut self, outline: Outline) -> Result<(), StoreError> {
        if self.started.is_some() || outline.hash() != self.hash {
            return Err(StoreError::Unordered { hash: self.hash });
        }
        self.store.budget.admit(outline.size_bytes())?;
        let room = self.store.budget.reserve(outline.size_bytes())?;
        self.started = Some((outline, room));
        Ok(())
    }

    fn append(&mut self, groups: &[u8]) -> Result<(), StoreError> {
        let Some((outline, _)) = &self.started else {
            return Err(StoreError::Unordered { hash: self.hash });
        };
        let mut index = group_after(size_of_slice(&self.bytes));
        for group in groups.chunks(GROUP_BYTES) {
            if !outline.verify(index, group) {
                return Err(StoreError::Mismatch { hash: self.hash, group: index });
            }
            self.bytes.extend_from_slice(group);
            index = index.saturating_add(1);
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), StoreError> {
        let Self { store, hash, started, bytes } = *self;
        match started {
            Some((outline, room)) if outline.size_bytes() == size_of_slice(&bytes) => {
                store.insert(hash, Arc::from(bytes), room);
                Ok(())
            }
            _ => Err(StoreError::Unordered { hash }),
        }
    }

    fn discard(self: Box<Self>) {}
}

/// Index of the group that follows `offset_bytes` of verified groups.
pub(super) const fn group_after(offset_bytes: u64) -> u64 {
    offset_bytes.div_ceil(GROUP_BYTES as u64)
}

/// The length as formats count it; a slice's length always fits 64 bits.
pub(super) fn size_of_slice(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
