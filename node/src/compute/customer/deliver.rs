//! How long a provider gets from its lease to its delivery, where the person does not say it.
//!
//! # Design
//! A provider that goes silent keeps an order until this time is over, so it is short where the plan says that the work is. But a plan goes by claims, a
//! machine may have other orders and an owner who comes first, and whoever misses the time gets nothing: so it is never less than half of what it is where
//! nothing is known, and twenty times as long as planned on top of that. A machine that is ten times slower than planned has at least twice what it needs, up
//! to the time that an unknown one gets.
//!
//! Spec: specs/0004-market.md §5.

/// Where nothing is planned, and at most. Longer work needs `--deliver-seconds`.
pub(super) const SECONDS_MAX: u32 = 3_600;
/// For work that takes no time at all: restarts, an owner who wants the machine, orders that were there before.
const SECONDS_MIN: u64 = 1_800;
/// So many times what is planned is added.
const FACTOR: u64 = 20;
const US_PER_SECOND: u64 = 1_000_000;

/// For work whose result the plan expects after so many microseconds.
pub(super) fn seconds(planned_us: u64) -> u32 {
    let work = planned_us.div_ceil(US_PER_SECOND).saturating_mul(FACTOR);
    u32::try_from(SECONDS_MIN.saturating_add(work)).map_or(SECONDS_MAX, |all| all.min(SECONDS_MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;

    #[test]
    fn a_machine_ten_times_slower_than_planned_is_not_late_unless_an_unknown_one_would_be() {
        for planned in [0, 1, 5, 60, 89, 90, 91, 359, 360, 100_000] {
            let given = seconds(planned * US_PER_SECOND);
            let needed = (planned * 10).min(SECONDS_MAX.into());
            assert!(u64::from(given) >= needed, "{planned} s planned: {given} s for {needed}");
            assert!((1_800..=SECONDS_MAX).contains(&given), "{given}");
        }
        assert_eq!((seconds(0), seconds(1), seconds(US_PER_SECOND)), (1_800, 1_820, 1_820));
        assert_eq!((seconds(89 * US_PER_SECOND), seconds(90 * US_PER_SECOND)), (3_580, 3_600));
        assert_eq!(seconds(u64::MAX), SECONDS_MAX);
    }
}
