//! When this process stood still, and what that means for those who work for it.
//!
//! # Design
//! Whoever was stopped sees a gap between two looks at the clock of leases. Whoever slept with the whole machine sees none, since that clock sleeps, too: the
//! time of day went on. If somebody only set that one, providers have a few seconds more, and lines are connected once more.

use super::{Conductor, Live};
use crate::compute::map::line::Command;
use std::time::{Duration, Instant, SystemTime};

/// A clock that was looked at longer ago than this shows that the process stood still.
pub(super) const GAP_MAX: Duration = Duration::from_secs(1);
/// Whoever stood still for so long may have lost its connections: peers give up after 15 s, and the last heartbeat is up to 5 s older than the stop.
const LINES_LIVE: Duration = Duration::from_secs(10);

/// When the clocks were looked at last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    at: Instant,
    time_of_day: SystemTime,
}

/// What passed between two looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Passed {
    /// By the clock of leases.
    steady: Duration,
    /// By the time of day; nothing if it was set back.
    time_of_day: Duration,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { at: Instant::now(), time_of_day: SystemTime::now() }
    }

    fn look(&mut self) -> Passed {
        let before = std::mem::replace(self, Self::new());
        Passed {
            steady: self.at.saturating_duration_since(before.at),
            time_of_day: self.time_of_day.duration_since(before.time_of_day).unwrap_or_default(),
        }
    }
}

impl Passed {
    /// For how long the process stood still.
    const fn gap(self) -> Duration {
        self.steady.saturating_sub(GAP_MAX)
    }

    /// For how long the machine slept.
    fn slept(self) -> Duration {
        let slept = self.time_of_day.saturating_sub(self.steady);
        if slept > GAP_MAX { slept } else { Duration::ZERO }
    }

    /// Whether connections may not have lived for so long.
    fn outlasts_lines(self) -> bool {
        self.steady.max(self.time_of_day) >= LINES_LIVE
    }
}

impl Conductor<'_> {
    /// Looks at the clocks: what this process missed counts against nobody. To be called before anything that came meanwhile happens.
    pub(super) fn look_for_a_standstill(&mut self) {
        let passed = self.clock.look();
        self.count_waits(passed.steady);
        let (gap, slept) = (passed.gap(), passed.slept());
        if !gap.is_zero() {
            tracing::warn!(ms = gap.as_millis(), "this process stood still");
            self.state.table.stood_still(gap);
            let now = self.clock.at;
            self.stopping = self.stopping.map(|since| later(since, gap, now));
            self.live.values_mut().for_each(|live| live.stood_still(gap, now));
        }
        if !slept.is_zero() {
            tracing::warn!(ms = slept.as_millis(), "this machine slept, or its time of day was set");
            self.state.table.slept(slept);
        }
        if passed.outlasts_lines() {
            // Who waited in vain has closed its end; what it sent before would count as a sign of life here for as long again.
            for live in self.live.values_mut().filter(|live| live.is_connected) {
                live.is_recalled = true;
                live.say(Command::Redial);
            }
        }
    }
}

impl Live {
    /// The customer saw nothing for so long: nobody was away for that.
    fn stood_still(&mut self, gap: Duration, now: Instant) {
        self.away_since = self.away_since.map(|since| later(since, gap, now));
    }
}

/// A moment put off, but not beyond now: it may lie in the gap.
fn later(moment: Instant, by: Duration, now: Instant) -> Instant {
    moment.checked_add(by).map_or(now, |moment| moment.min(now))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);
    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn a_gap_of_one_clock_is_a_standstill_and_one_of_the_time_of_day_alone_a_sleep() {
        let passed = |steady, time_of_day| Passed { steady, time_of_day };
        let shown = |passed: Passed| (passed.gap(), passed.slept(), passed.outlasts_lines());
        assert_eq!(shown(passed(GAP_MAX, GAP_MAX)), (Duration::ZERO, Duration::ZERO, false));
        assert_eq!(shown(passed(GAP_MAX + MOMENT, GAP_MAX)), (MOMENT, Duration::ZERO, false));
        assert_eq!(shown(passed(MOMENT, GAP_MAX + MOMENT)), (Duration::ZERO, Duration::ZERO, false));
        let short = GAP_MAX + MOMENT;
        assert_eq!(shown(passed(MOMENT, short + MOMENT)), (Duration::ZERO, short, false));
        // Stopped, and asleep: the clock of leases went on, and did not.
        assert_eq!(shown(passed(HOUR, HOUR)), (HOUR - GAP_MAX, Duration::ZERO, true));
        assert_eq!(shown(passed(MOMENT, HOUR)), (Duration::ZERO, HOUR - MOMENT, true));
        // The time of day was set back meanwhile.
        assert_eq!(shown(passed(LINES_LIVE, Duration::ZERO)), (LINES_LIVE - GAP_MAX, Duration::ZERO, true));
        assert!(!passed(LINES_LIVE - MOMENT, LINES_LIVE - MOMENT).outlasts_lines());
    }

    #[test]
    fn two_looks_after_each_other_show_nothing_and_who_was_away_was_not_for_the_time_of_a_standstill() {
        let mut clock = Clock::new();
        assert!(clock.look().slept().is_zero());
        let since = Instant::now();
        let after = |time: Duration| since.checked_add(time).unwrap();
        let away = || Live { away_since: Some(since), ..Live::default() };
        let (mut before, mut within, mut here) = (away(), away(), Live::default());
        before.stood_still(HOUR, after(HOUR + MOMENT));
        within.stood_still(HOUR, after(MOMENT));
        here.stood_still(HOUR, after(HOUR));
        let moments = [before, within, here].map(|live| live.away_since);
        assert_eq!(moments, [Some(after(HOUR)), Some(after(MOMENT)), None]);
    }
}
