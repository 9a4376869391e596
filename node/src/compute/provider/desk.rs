//! Answers strangers who ask what this machine offers and whether it takes orders now. Spec: specs/0005-transfer.md §7.

use super::{book::Book, cards::covers, claims::LANES};
use alloy_primitives::{B256, Bytes};
use keystead_blobs::{Availability, Inform, Reason, State};
use keystead_job::JobSpec;
use keystead_market::{
    need::{kernel_of, work_mop},
    record::Claimed,
};
use std::sync::Arc;

/// Memory is told in these.
const MIB: u64 = 1 << 20;

/// The desk of a provider.
pub(super) struct Desk {
    pub(super) book: Arc<Book>,
}

impl Inform for Desk {
    fn record(&self, name: [u8; 32]) -> Option<Bytes> {
        self.book.offering.served(B256::from(name))
    }

    fn state(&self) -> State {
        let book = &self.book;
        let (availability, reason) = book.availability();
        let claimed = book.offering.record().claimed.clone();
        let open = book.unfinished();
        let left = open.iter().map(|order| left_ms(&claimed, &order.spec, order.done));
        let queue_ms = left.fold(0, u64::saturating_add);
        let busy = book.machine.is_taken();
        let memory = [book.capability.memory_bytes(), book.owner.declared_bytes_now()].into_iter().flatten().min();
        State {
            availability,
            reason: Reason::new(&reason),
            lanes: LANES,
            lanes_free: if busy { 0 } else { LANES },
            waiting: u32::try_from(open.len()).unwrap_or(u32::MAX),
            queue_ms,
            memory_mib: memory.map_or(claimed.processor.memory_mib, |bytes| bytes / MIB),
        }
    }
}

/// How long the rest of a job takes at the claimed speed, ms: at most, since limits count, not what is really used.
pub(super) fn left_ms(claimed: &Claimed, spec: &JobSpec, segments_done: u32) -> u64 {
    let segments = u64::from(spec.unit_count).saturating_mul(u64::from(spec.segment_count));
    let left = segments.saturating_sub(u64::from(segments_done));
    let work = work_mop(spec).saturating_mul(u64::from(spec.unit_count)).saturating_mul(left);
    let work = work.checked_div(segments.max(1)).unwrap_or(0);
    at_most_ms(work, speed(claimed, spec), spec.limits.wall_ms_max.saturating_mul(left))
}

/// How long work takes at a speed in millions of operations a second, ms: no longer than until it is ended for its time.
fn at_most_ms(work_mop: u64, speed: u64, wall_ms: u64) -> u64 {
    work_mop.saturating_mul(1_000).checked_div(speed.max(1)).unwrap_or(0).min(wall_ms)
}

/// Of the device on which the job would run.
fn speed(claimed: &Claimed, spec: &JobSpec) -> u64 {
    let kernel = kernel_of(spec);
    let covering = claimed.adapters.iter().filter(|adapter| covers(spec, adapter)).chain(&claimed.adapters);
    let mut speeds = covering.flat_map(|adapter| &adapter.device().speeds).chain(&claimed.processor.speeds);
    speeds.find(|speed| speed.kernel == kernel).map_or(1, |speed| speed.mop_per_s)
}

impl Book {
    /// Whether orders are taken now; if not, why, as a code and a sentence.
    fn availability(&self) -> (Availability, String) {
        if *self.stopping.borrow() {
            return (Availability::Stopping, "the provider is stopping".to_owned());
        }
        if let Some(reason) = self.owner.refusal() {
            return (Availability::Owner, reason);
        }
        if self.is_full() {
            return (Availability::Busy, super::book::NotTaken::Busy.to_string());
        }
        if let Some(reason) = self.backlog_refusal() {
            return (Availability::Busy, reason);
        }
        (Availability::Taking, String::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_what_it_may_do_at_a_speed_and_never_longer_than_its_time() {
        assert_eq!(at_most_ms(3_000, 1_000, 5_000), 3_000);
        // A kernel that may loop far more often than it does, and one whose speed nobody claimed.
        assert_eq!(at_most_ms(8_600_000, 10_000, 120_000), 120_000);
        assert_eq!(at_most_ms(8_600_000, 1, 120_000), 120_000);
        assert_eq!(at_most_ms(u64::MAX, 0, 7), 7);
    }
}
