//! How much work waits behind what runs, and when the owner has enough of it.
//!
//! # Design
//! The limits of a job bound its time from above only, and honest ones are wide. So what is expected of an order that waits is what its limits say at the claimed
//! speed, corrected by how the segments of its kind of work that ran here before compare with theirs; before any ran, nothing is known, and the limits count. Spec:
//! BOINC's `work_buf_min_days` and `work_buf_additional_days`, and its correction of durations.
//!
//! An order that comes to an idle machine is always taken, however long it may be: it waits for nobody.

use super::{
    book::{Book, Unfinished},
    desk::left_ms,
};
use keystead_job::JobSpec;
use keystead_market::{need::kernel_of, record::sets::Kernel};
use keystead_owner::decide::Buffer;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Work by its limits after which older experience counts a half, ms: a day.
const EXPERIENCE_MS: u64 = 86_400_000;
/// Time is told to people in these.
const MINUTE_S: u64 = 60;

/// What is known about the work that waits.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Since the owner's bound was reached, as long as it is not worked off.
    is_full: AtomicBool,
    experience: Mutex<Experiences>,
}

/// By kind of work: how wide limits are differs between loops of kernels and fuel by orders of magnitude.
#[derive(Debug, Default)]
struct Experiences(BTreeMap<Kernel, Experience>);

impl Experiences {
    fn learn(&mut self, kernel: Kernel, expected_ms: u64, took_ms: u64) {
        self.0.entry(kernel).or_default().learn(expected_ms, took_ms);
    }

    /// What work of this kind takes that takes so long by its limits, ms.
    fn correct(&self, kernel: Kernel, expected_ms: u64) -> u64 {
        self.0.get(&kernel).copied().unwrap_or_default().correct(expected_ms)
    }
}

/// Segments that ran here.
#[derive(Clone, Copy, Debug, Default)]
struct Experience {
    /// By their limits, ms.
    expected_ms: u64,
    /// Really, ms.
    took_ms: u64,
}

impl Experience {
    const fn learn(&mut self, expected_ms: u64, took_ms: u64) {
        self.expected_ms = self.expected_ms.saturating_add(expected_ms);
        self.took_ms = self.took_ms.saturating_add(took_ms);
        if self.expected_ms > EXPERIENCE_MS {
            (self.expected_ms, self.took_ms) = (self.expected_ms / 2, self.took_ms / 2);
        }
    }

    /// What work takes that takes so long by its limits, ms.
    fn correct(self, expected_ms: u64) -> u64 {
        let all = u128::from(expected_ms).saturating_mul(u128::from(self.took_ms));
        let corrected = all.checked_div(u128::from(self.expected_ms));
        corrected.map_or(expected_ms, |corrected| u64::try_from(corrected).unwrap_or(u64::MAX))
    }
}

/// Whether enough work waits, if that is how much waits and so it was before.
fn is_full(buffer: Buffer, waits: Duration, was_full: bool) -> bool {
    waits >= buffer.full || (was_full && waits > buffer.low)
}

impl Book {
    /// Takes in what segments of a job took.
    pub(super) fn learn(&self, spec: &JobSpec, segments: u32, took: Duration) {
        let all = spec.unit_count.saturating_mul(spec.segment_count);
        let expected_ms = left_ms(&self.offering.record().claimed, spec, all.saturating_sub(segments));
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let mut experience = self.backlog.experience.lock().unwrap_or_else(PoisonError::into_inner);
        experience.learn(kernel_of(spec), expected_ms, took_ms);
    }

    /// What the orders that wait are expected to take together.
    pub(super) fn waits(&self) -> Duration {
        self.expected(&self.unfinished())
    }

    fn expected(&self, open: &[Unfinished]) -> Duration {
        let claimed = self.offering.record().claimed.clone();
        let experience = self.backlog.experience.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = open.iter().filter(|order| !order.runs);
        let each = waiting
            .map(|Unfinished { spec, done, .. }| experience.correct(kernel_of(spec), left_ms(&claimed, spec, *done)));
        Duration::from_millis(each.fold(0, u64::saturating_add))
    }

    /// Why nothing more is taken, if as much work waits as the owner wants.
    pub(super) fn backlog_refusal(&self) -> Option<String> {
        let buffer = self.owner.buffer()?;
        let open = self.unfinished();
        if open.is_empty() && !self.machine.is_taken() {
            self.backlog.is_full.store(false, Ordering::Relaxed);
            return None;
        }
        let waits = self.expected(&open);
        let full = is_full(buffer, waits, self.backlog.is_full.load(Ordering::Relaxed));
        self.backlog.is_full.store(full, Ordering::Relaxed);
        let minutes = |time: Duration| time.as_secs() / MINUTE_S;
        full.then(|| {
            format!(
                "the owner of this machine: orders wait that take about {} min; no more than {} min are to wait, and more is taken again at {} min",
                minutes(waits),
                minutes(buffer.full),
                minutes(buffer.low)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn nothing_is_taken_from_the_upper_bound_on_until_the_lower_one_is_reached() {
        let buffer = Buffer { low: Duration::from_secs(10), full: Duration::from_secs(60) };
        let mut full = false;
        let steps = [(59, false), (60, true), (59, true), (11, true), (10, false), (59, false), (60, true), (0, false)];
        for (seconds, expected) in steps {
            full = is_full(buffer, Duration::from_secs(seconds), full);
            assert_eq!(full, expected, "{seconds} s");
        }
        // An owner who wants nothing to wait.
        let none = Buffer { low: Duration::ZERO, full: Duration::ZERO };
        assert!(is_full(none, Duration::ZERO, false));
        let at_once = Buffer { low: SECOND, full: SECOND };
        assert!(is_full(at_once, SECOND, true) && !is_full(at_once, Duration::from_millis(999), true));
    }

    #[test]
    fn what_is_known_of_one_kind_of_work_says_nothing_about_another() {
        let mut experience = Experiences::default();
        experience.learn(Kernel::Wasm, 10_000, 9_000);
        assert_eq!(experience.correct(Kernel::Float, 5_000), 5_000, "none of it ran yet");
        for _ in 0..100 {
            experience.learn(Kernel::Float, 1_000_000, 1_000);
        }
        assert_eq!((experience.correct(Kernel::Wasm, 5_000), experience.correct(Kernel::Float, 5_000)), (4_500, 5));
    }

    #[test]
    fn limits_are_corrected_by_what_ran_here_and_the_newest_counts_most() {
        let mut experience = Experience::default();
        assert_eq!(experience.correct(5_000), 5_000, "nothing ran yet");
        experience.learn(10_000, 100);
        assert_eq!(experience.correct(5_000), 50);
        // A segment that is too short to be expected at all.
        experience.learn(0, 0);
        assert_eq!(experience.correct(5_000), 50);
        for _ in 0..20 {
            experience.learn(EXPERIENCE_MS, EXPERIENCE_MS);
        }
        assert!((4_999..=5_000).contains(&experience.correct(5_000)), "what was before is all but forgotten");
        experience.learn(u64::MAX, u64::MAX);
        assert!(experience.correct(u64::MAX) > 0);
    }
}
