//! Shares of time: when a worker works that may work a part of the time only.

use std::time::Duration;

/// One turn of work and rest: short enough that a fan does not follow it, long enough that stopping costs nothing.
const TURN_MS: u64 = 1_000;

/// Whether a worker that may work `time_percent` (1 to 100; more counts as 100) of the time works at a moment of the steady clock, and how long
/// until that changes. At 100 it never changes; the time is a turn then. Over each full second the share is exact.
#[must_use]
pub fn throttle(time_percent: u8, steady_ms: u64) -> (bool, Duration) {
    let works_ms = u64::from(time_percent.clamp(1, 100)).saturating_mul(TURN_MS) / 100;
    let at_ms = steady_ms % TURN_MS;
    let works = at_ms < works_ms;
    let change_ms = if works && works_ms < TURN_MS { works_ms } else { TURN_MS };
    (works, Duration::from_millis(change_ms.saturating_sub(at_ms)))
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // Small numbers in tests.
mod tests {
    use super::*;

    #[test]
    fn every_second_holds_exactly_its_share_of_work() {
        for percent in [0, 1, 33, 99, 100, 255] {
            let share = u64::from(percent.clamp(1, 100)) * 10;
            let worked = (5_000..6_000).filter(|ms| throttle(percent, *ms).0).count();
            assert_eq!(u64::try_from(worked), Ok(share), "{percent}");
        }
    }

    #[test]
    fn the_change_is_where_it_is_said_to_be() {
        for (percent, at) in [(60, 0), (60, 599), (60, 600), (60, 999), (1, 9), (1, 10), (99, 989), (99, 990)] {
            let (works, change) = throttle(percent, at);
            let change = u64::try_from(change.as_millis()).unwrap_or(0);
            assert!(change > 0);
            assert_eq!(throttle(percent, at + change - 1).0, works, "{percent} at {at}");
            assert_ne!(throttle(percent, at + change).0, works, "{percent} at {at}");
        }
        assert_eq!(throttle(100, 400), (true, Duration::from_millis(600)));
    }
}
