//! How much memory this machine can give to workers, and how much of it is promised.
//!
//! # Design
//! A job declares its memory before anything runs, so the sum of what all running jobs declare can be held below what the machine has: a job that does not fit is not begun,
//! instead of being killed in the middle or driving the owner's programs into swap.

use crate::failure::Failure;
use std::sync::{Arc, Mutex, PoisonError};

/// Of this machine's memory, the part that is not promised to workers: one eighth, for the node and the owner.
const KEPT_SHARE: u64 = 8;
/// What a worker takes besides what its job declares, bytes: the binary, its engine, copies on the way.
const WORKER_BYTES: u64 = 128 << 20;

/// What a job that declares so much takes of a machine's memory, bytes: its worker has more than the job.
#[must_use]
pub const fn needed_bytes(declared_bytes: u64) -> u64 {
    declared_bytes.saturating_add(WORKER_BYTES)
}

/// Memory for workers, shared by all clones of a [`crate::WorkerCommand`].
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    total_bytes: u64,
    taken_bytes: Arc<Mutex<u64>>,
}

impl Budget {
    /// At most this many bytes.
    pub(crate) fn new(total_bytes: u64) -> Self {
        Self { total_bytes, taken_bytes: Arc::default() }
    }

    /// What this machine can give; without a bound where the system does not say what it has.
    pub(crate) fn of_machine() -> Self {
        let total = memory_bytes().map_or(u64::MAX, |bytes| bytes.saturating_sub(bytes / KEPT_SHARE));
        Self::new(total)
    }

    /// What the only job may declare, bytes.
    pub(crate) const fn declared_bytes_max(&self) -> u64 {
        self.total_bytes.saturating_sub(WORKER_BYTES)
    }

    /// Promises memory for a job that declares `declared_bytes`, until the promise is dropped.
    ///
    /// # Errors
    /// [`Failure::ProviderFault`] with the numbers: this machine cannot now, or never.
    pub(crate) fn promise(&self, declared_bytes: u64) -> Result<Promise, Failure> {
        let needed_bytes = needed_bytes(declared_bytes);
        let mut taken = self.taken_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let after = taken.saturating_add(needed_bytes);
        if after > self.total_bytes {
            return Err(Failure::provider(format_args!(
                "not enough memory for the job: needed_bytes={needed_bytes} promised_bytes={} total_bytes={}",
                *taken, self.total_bytes
            )));
        }
        *taken = after;
        Ok(Promise { bytes: needed_bytes, taken_bytes: Arc::clone(&self.taken_bytes) })
    }
}

/// Memory promised to one job.
#[derive(Debug)]
pub(crate) struct Promise {
    bytes: u64,
    taken_bytes: Arc<Mutex<u64>>,
}

impl Drop for Promise {
    fn drop(&mut self) {
        let mut taken = self.taken_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        *taken = taken.saturating_sub(self.bytes);
    }
}

/// The memory that this process's system or container has, bytes.
pub(crate) fn memory_bytes() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let installed = read("/proc/meminfo").and_then(|text| total_of(&text))?;
    // A container sees the machine's memory there, and its own bound here.
    let bounds = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let bounds = bounds.iter().filter_map(|path| read(path)?.trim().parse().ok());
    Some(bounds.fold(installed, u64::min))
}

/// The total of a `/proc/meminfo`, bytes.
fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test: a panic is a failure.
mod tests {
    use super::*;

    #[test]
    fn promises_add_up_to_the_total_exactly_and_come_back_when_dropped() {
        let budget = Budget::new(3 * WORKER_BYTES);
        assert_eq!(needed_bytes(budget.declared_bytes_max()), 3 * WORKER_BYTES);
        let first = budget.promise(WORKER_BYTES).unwrap();
        let clone = budget.clone();
        let failure = clone.promise(1).unwrap_err();
        assert!(failure.to_string().contains("needed_bytes=134217729 promised_bytes=268435456"), "{failure}");
        let second = budget.promise(0).unwrap();
        drop(first);
        let third = budget.promise(WORKER_BYTES).unwrap();
        drop((second, third));
        assert!(budget.promise(2 * WORKER_BYTES).is_ok());
        assert!(budget.promise(2 * WORKER_BYTES + 1).is_err());
    }

    #[test]
    fn the_total_is_read_in_bytes_and_nonsense_is_no_total() {
        assert_eq!(total_of("MemFree: 1 kB\nMemTotal:       24576 kB\n"), Some(24_576 << 10));
        assert_eq!(total_of("MemTotal: many kB"), None);
        assert_eq!(total_of(""), None);
        if cfg!(target_os = "linux") {
            assert!(memory_bytes().unwrap() > 64 << 20);
        }
    }
}
