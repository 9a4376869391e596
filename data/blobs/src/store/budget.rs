//! Keeps the sum of what a store holds below its capacity, while several threads add and remove.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{BLOB_BYTES_MAX, Capacity, StoreError};

/// Shared account of a store's bytes.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    used_bytes: Arc<AtomicU64>,
    capacity: Capacity,
}

impl Budget {
    pub(super) fn new(capacity: Capacity) -> Self {
        let blob_bytes_max = capacity.blob_bytes_max.min(BLOB_BYTES_MAX);
        Self { used_bytes: Arc::default(), capacity: Capacity { blob_bytes_max, ..capacity } }
    }

    /// Checks a single blob's size.
    pub(super) const fn admit(&self, size_bytes: u64) -> Result<(), StoreError> {
        let max_bytes = self.capacity.blob_bytes_max;
        if size_bytes > max_bytes { Err(StoreError::TooLarge { got_bytes: size_bytes, max_bytes }) } else { Ok(()) }
    }

    /// Takes `bytes` of room, to be given back when the returned value is dropped.
    pub(super) fn reserve(&self, bytes: u64) -> Result<Reservation, StoreError> {
        let max = self.capacity.total_bytes_max;
        let add = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= max);
        match self.used_bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, add) {
            Ok(_) => Ok(Reservation { budget: self.clone(), bytes }),
            Err(used) => Err(StoreError::Full { need_bytes: bytes, free_bytes: max.saturating_sub(used) }),
        }
    }

    /// Counts bytes that are there already (found at start), even beyond the capacity.
    pub(super) fn charge(&self, bytes: u64) {
        let add = |used: u64| Some(used.saturating_add(bytes));
        let _ = self.used_bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
    }

    /// Gives back bytes that were charged.
    pub(super) fn release(&self, bytes: u64) {
        let sub = |used: u64| Some(used.saturating_sub(bytes));
        let _ = self.used_bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, sub);
    }

    /// Bytes held now, reservations included.
    pub(super) fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Acquire)
    }
}

/// Room taken from a [`Budget`].
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Budget,
    bytes: u64,
}

impl Reservation {
    /// Turns `kept_bytes` of the reservation into a lasting charge and gives back the rest.
    pub(super) fn keep(mut self, kept_bytes: u64) {
        // What stays charged is no longer given back by `drop`.
        self.bytes = self.bytes.saturating_sub(kept_bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_reservation_is_given_back_unless_it_is_kept() {
        let budget = Budget::new(Capacity { blob_bytes_max: 10, total_bytes_max: 10 });
        let first = budget.reserve(6).unwrap();
        assert!(matches!(budget.reserve(5), Err(StoreError::Full { need_bytes: 5, free_bytes: 4 })));
        drop(first);
        budget.reserve(10).unwrap().keep(7);
        assert_eq!(budget.used_bytes(), 7);
        assert!(budget.reserve(3).is_ok());
        assert!(matches!(budget.reserve(u64::MAX), Err(StoreError::Full { .. })));
        budget.release(7);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn the_largest_blob_is_capped_by_the_format() {
        let budget = Budget::new(Capacity { blob_bytes_max: u64::MAX, total_bytes_max: u64::MAX });
        assert!(budget.admit(BLOB_BYTES_MAX).is_ok());
        assert!(budget.admit(BLOB_BYTES_MAX + 1).is_err());
    }
}
