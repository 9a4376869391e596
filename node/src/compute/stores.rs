//! The stores of one process, so that what they hold together can be counted.

use keystead_blobs::DiskStore;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The stores that are open; clones are the same list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stores(Arc<Mutex<Vec<Weak<DiskStore>>>>);

impl Stores {
    /// Counts this one as long as it is open. The list is as long as there are open stores.
    pub(crate) fn add(&self, store: &Arc<DiskStore>) {
        let mut stores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stores.retain(|one| one.strong_count() > 0);
        stores.push(Arc::downgrade(store));
    }

    /// Bytes in all of them.
    pub(crate) fn held_bytes(&self) -> u64 {
        let stores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stores.iter().filter_map(Weak::upgrade).map(|store| store.used_bytes()).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test: a panic is a failure.
mod tests {
    use super::*;
    use keystead_blobs::{BlobStore as _, Capacity, Durability};

    #[test]
    fn what_open_stores_hold_is_counted_and_what_is_closed_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            let store = DiskStore::open(&folder.path().join(name), Capacity::default(), Durability::Lazy);
            Arc::new(store.unwrap())
        };
        let (stores, first, second) = (Stores::default(), open("first"), open("second"));
        stores.add(&first);
        stores.add(&second);
        assert_eq!(stores.held_bytes(), 0);
        let name = first.put(&[7; 1_000]).unwrap();
        second.put(&[8; 500]).unwrap();
        assert_eq!(stores.held_bytes(), 1_500);
        drop(second);
        assert_eq!(stores.held_bytes(), 1_000);
        first.delete(name).unwrap();
        assert_eq!(stores.held_bytes(), 0);
    }
}
