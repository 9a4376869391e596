//! Which time the next block has, in whole Unix seconds: contracts see no smaller ones.

use keystead_rpc::DevError;

/// The largest time that can be set: some 30,000 years, far below where milliseconds leave 64 bits.
pub(super) const SECONDS_MAX: u64 = 1_000_000_000_000;

/// The chain's clock. The machine's clock comes in as a parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Clock {
    /// Seconds that it is ahead of the machine's.
    ahead: i64,
    /// The next block's time, if it was set.
    next: Option<u64>,
    /// Seconds from each block to the next, if they are fixed.
    interval: Option<u64>,
}

impl Clock {
    /// A clock that shows `now_chain` when the machine's shows `now`.
    pub(super) fn showing(now_chain: u64, now: u64) -> Self {
        Self { ahead: difference(now_chain, now), ..Self::default() }
    }

    /// What it shows, whatever the blocks have.
    pub(super) const fn shows(&self, now: u64) -> u64 {
        now.saturating_add_signed(self.ahead)
    }

    /// The time of a child of a block at `head`: always later.
    pub(super) fn of_next(&self, now: u64, head: u64) -> u64 {
        let wanted = match (self.next, self.interval) {
            (Some(next), _) => next,
            (None, Some(interval)) => head.saturating_add(interval),
            (None, None) => self.shows(now),
        };
        wanted.max(head.saturating_add(1))
    }

    /// Goes on after a block that was made with [`Self::of_next`]. A time that was set is where the clock goes on from.
    pub(super) fn advance(&mut self, now: u64, block: u64) {
        if self.next.take().is_some() {
            self.ahead = difference(block, now);
        }
    }

    /// Goes on from a block's time, if that is ahead.
    pub(super) fn catch_up(&mut self, now: u64, block: u64) {
        self.ahead = self.ahead.max(difference(block, now));
    }

    /// Moves the clock; how far it is ahead then. After many blocks within a second the head is ahead of the clock, and
    /// callers mean the seconds after it.
    pub(super) fn add(&mut self, seconds: u64, now: u64, head: u64) -> Result<i64, DevError> {
        self.set(self.shows(now).max(head).saturating_add(seconds), now).map_err(|_| out_of_range(seconds))
    }

    /// Sets the clock; how far it is ahead then.
    pub(super) fn set(&mut self, timestamp: u64, now: u64) -> Result<i64, DevError> {
        if timestamp > SECONDS_MAX {
            return Err(out_of_range(timestamp));
        }
        self.ahead = difference(timestamp, now);
        Ok(self.ahead)
    }

    /// Sets the next block's time.
    pub(super) fn set_next(&mut self, timestamp: u64, head: u64) -> Result<(), DevError> {
        check(timestamp, head)?;
        self.next = Some(timestamp);
        Ok(())
    }

    /// Fixes the seconds between blocks.
    pub(super) fn set_interval(&mut self, interval: Option<u64>) -> Result<(), DevError> {
        if let Some(seconds) = interval.filter(|seconds| *seconds > SECONDS_MAX) {
            return Err(out_of_range(seconds));
        }
        self.interval = interval;
        Ok(())
    }

    /// The same clock, which shows at `now` what it showed at `then`.
    pub(super) fn resumed(self, then: u64, now: u64) -> Self {
        Self { ahead: difference(self.shows(then), now), ..self }
    }
}

/// Whether a child of a block at `head` may have a time.
pub(super) const fn check(timestamp: u64, head: u64) -> Result<(), DevError> {
    if timestamp <= head {
        return Err(DevError::TimestampTooLow { got: timestamp, head });
    }
    if timestamp > SECONDS_MAX { Err(out_of_range(timestamp)) } else { Ok(()) }
}

const fn out_of_range(got: u64) -> DevError {
    DevError::TimeOutOfRange { got, max: SECONDS_MAX }
}

/// `a - b`, which fits for all times that can be set.
fn difference(a: u64, b: u64) -> i64 {
    i64::try_from(i128::from(a).saturating_sub(i128::from(b))).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]
mod tests {
    use super::*;

    #[test]
    fn blocks_follow_the_clock_and_never_stand_still() {
        let clock = Clock::showing(1_000, 50);
        assert_eq!(clock.of_next(50, 900), 1_000);
        assert_eq!(clock.of_next(53, 1_002), 1_003);
        assert_eq!(clock.of_next(50, 1_000), 1_001, "the same second");
        assert_eq!(clock.of_next(50, 5_000), 5_001, "the head is ahead");
    }

    #[test]
    fn a_time_that_was_set_holds_for_one_block_and_the_clock_goes_on_from_there() {
        let mut clock = Clock::showing(1_000, 1_000);
        clock.set_next(2_000, 1_000).unwrap();
        assert_eq!(clock.of_next(1_010, 1_000), 2_000);
        clock.advance(1_010, 2_000);
        assert_eq!(clock.of_next(1_015, 2_000), 2_005);
        assert!(matches!(clock.set_next(2_000, 2_000), Err(DevError::TimestampTooLow { got: 2_000, head: 2_000 })));
        assert!(clock.set_next(2_001, 2_000).is_ok());
    }

    #[test]
    fn time_is_moved_set_and_fixed_within_its_bounds() {
        let mut clock = Clock::default();
        assert_eq!(clock.add(3_600, 1_000, 0).unwrap(), 3_600);
        assert_eq!(clock.add(400, 1_000, 0).unwrap(), 4_000);
        assert_eq!(clock.of_next(1_000, 0), 5_000);
        assert_eq!(clock.set(400, 1_000).unwrap(), -600);
        assert_eq!(clock.shows(1_001), 401);
        clock.set_interval(Some(12)).unwrap();
        assert_eq!(clock.of_next(1_000, 7), 19);
        clock.set_interval(None).unwrap();
        assert_eq!(clock.of_next(1_000, 7), 400);
        let before = clock;
        assert!(clock.add(u64::MAX, 1_000, 0).is_err() && clock.set(SECONDS_MAX + 1, 1_000).is_err());
        assert!(clock.set_interval(Some(SECONDS_MAX + 1)).is_err());
        assert!(clock.set_next(SECONDS_MAX + 1, 5).is_err());
        assert_eq!(clock, before);
        assert!(clock.set(SECONDS_MAX, 1_000).is_ok());
    }

    #[test]
    fn a_clock_that_is_put_back_goes_on_from_what_it_showed() {
        let mut clock = Clock::showing(500, 100);
        let (saved, then) = (clock, 110);
        clock.add(1_000, 120, 0).unwrap();
        clock = saved.resumed(then, 130);
        assert_eq!(clock.shows(130), 510);
        assert_eq!(clock.shows(135), 515);
    }
}
