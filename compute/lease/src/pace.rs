//! How long a provider takes for a step, from what was seen.

use std::{collections::VecDeque, time::Duration};

/// Windows that count: old ones say little about a machine whose owner came and went.
const WINDOWS_MAX: usize = 32;

/// The time of a step in each of the last windows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace(VecDeque<Duration>);

impl Pace {
    /// A window of `steps` took so long. One that took no time was not measured.
    pub(crate) fn record(&mut self, took: Duration, steps: u32) {
        let Some(each) = took.checked_div(steps).filter(|each| !each.is_zero()) else { return };
        if self.0.len() >= WINDOWS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(each);
    }

    /// The time that 95 of 100 steps stay below; `None` without a measurement.
    pub(crate) fn p95(&self) -> Option<Duration> {
        let mut sorted: Vec<Duration> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        let place = sorted.len().saturating_mul(95).div_ceil(100).checked_sub(1)?;
        sorted.get(place).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_95th_of_100_parts_is_taken_and_old_windows_are_forgotten() {
        let mut pace = Pace::default();
        assert_eq!(pace.p95(), None);
        pace.record(Duration::ZERO, 4);
        pace.record(Duration::from_secs(1), 0);
        assert_eq!(pace.p95(), None, "nothing was measured");
        pace.record(Duration::from_secs(8), 4);
        assert_eq!(pace.p95(), Some(Duration::from_secs(2)));
        (1..=20).for_each(|seconds| pace.record(Duration::from_secs(seconds), 1));
        // 21 measurements: the 20th from below.
        assert_eq!(pace.p95(), Some(Duration::from_secs(19)));
        (0..WINDOWS_MAX).for_each(|_| pace.record(Duration::from_secs(1), 1));
        assert_eq!(pace.p95(), Some(Duration::from_secs(1)));
    }
}
