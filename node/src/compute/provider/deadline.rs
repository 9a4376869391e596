//! Whether an order leaves time to be delivered: what no machine could do is refused before it costs a lease.
//!
//! # Design
//! How long a job really takes nobody knows before it runs. Its limits bound that from above only, and honest ones are wide: a refusal by them would be one
//! of honest work. So this knows what every job takes at least.
//!
//! Spec: specs/0004-market.md §5.

use keystead_job::JobSpec;

/// For the two transactions that follow the lease, commit and deliver: the network puts each in a block within a second.
const CALLS_SECONDS: u64 = 2;
/// A segment takes at least so long: its input is read and its state written, and a worker in another process is asked in between. That takes four times as
/// long on a fast machine (docs/BENCHMARKS.md, warm overhead per unit).
const SEGMENT_US: u64 = 50;
const US_PER_SECOND: u64 = 1_000_000;

/// Why an order with so much time between lease and delivery cannot be met, if it cannot.
pub(super) fn refusal(spec: &JobSpec, deliver_seconds: u64) -> Option<String> {
    let segments = u64::from(spec.unit_count).saturating_mul(u64::from(spec.segment_count));
    let needed = CALLS_SECONDS.saturating_add(segments.saturating_mul(SEGMENT_US).div_ceil(US_PER_SECOND));
    // What is whole seconds on the chain may be one longer there.
    let is_short = deliver_seconds < needed.saturating_sub(1).max(CALLS_SECONDS);
    is_short.then(|| {
        format!(
            "{deliver_seconds} s are too short to deliver: {segments} segments and two transactions take at least {needed} s on any machine"
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::compute::provider::record::tests::spec;
    use keystead_job::spec::Draft;

    /// The most segments that a job may have.
    const MOST: (u32, u32) = (1 << 14, 64);

    fn job((units, segment_count): (u32, u32)) -> JobSpec {
        JobSpec::new(Draft { segment_count, ..Draft::clone(&spec(units)) }).unwrap()
    }

    #[test]
    fn only_what_no_machine_could_deliver_is_refused() {
        let is_refused = |size, seconds| refusal(&job(size), seconds).is_some();
        // Few segments: the two transactions alone.
        assert!(is_refused((1, 1), 1) && !is_refused((1, 1), 2) && !is_refused((20_000, 1), 2));
        // A million segments: 53 seconds of work, and two.
        assert!(is_refused(MOST, 53) && !is_refused(MOST, 54));
        // A day is enough for the largest job.
        assert!(!is_refused(MOST, 86_400));
    }

    #[test]
    fn what_is_refused_is_said_with_the_time_it_takes() {
        let said = refusal(&job(MOST), 1).unwrap_or_default();
        assert!(said.contains("1048576 segments") && said.contains("at least 55 s"), "{said}");
        assert!(said.is_ascii() && said.len() <= keystead_blobs::REASON_BYTES_MAX, "{said}");
    }
}
