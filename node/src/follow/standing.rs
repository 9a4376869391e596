//! Which source to ask next: rules without clock or network.
//!
//! # Design
//! Sources take turns; one that is far behind the others comes last. One that fails is left alone for a time that doubles with each failure in a row, longer if it lied. Right
//! answers count a failure away again, but a liar must be right often before it is asked as soon as others.

use std::time::{Duration, Instant};

/// Pause after the first failure of a source that does not answer.
const ABSENT_PAUSE_MIN: Duration = Duration::from_millis(250);
/// Longest pause of such a source: it may come back.
const ABSENT_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Pause after the first lie.
const LIED_PAUSE_MIN: Duration = Duration::from_secs(5);
/// Longest pause of a liar. It may have been repaired, or be the only source that is left.
const LIED_PAUSE_MAX: Duration = Duration::from_secs(3_600);
/// Heights that a source may be behind the best and still take its turn.
const BEHIND_MAX: u64 = 16;
/// Failures after which the pause grows no further.
const DOUBLINGS_MAX: u32 = 16;

/// What a source did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// It did not answer, or did not want to.
    Absent,
    /// It answered something that cannot be true.
    Lied,
}

#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    absent: u32,
    lies: u32,
    /// When it may be asked again.
    until: Option<Instant>,
    /// How often it was chosen.
    chosen: u64,
    /// The height that it says it can prove.
    head: u64,
}

impl Standing {
    fn free(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }
}

/// How all sources stand.
#[derive(Clone, Debug)]
pub(crate) struct Standings {
    all: Vec<Standing>,
}

impl Standings {
    pub(crate) fn new(count: usize) -> Self {
        Self { all: vec![Standing::default(); count] }
    }

    /// The free source that was chosen least; else how long until one is free.
    pub(crate) fn choose(&mut self, now: Instant) -> Result<usize, Duration> {
        let best = self.head(now);
        let free = self.all.iter().enumerate().filter(|(_, it)| it.free(now));
        let key = |it: &Standing| {
            let behind = it.chosen > 0 && it.head.saturating_add(BEHIND_MAX) < best;
            (it.lies, it.absent, behind, it.chosen)
        };
        let Some(index) = free.min_by_key(|(_, it)| key(it)).map(|(index, _)| index) else {
            let next = self.all.iter().filter_map(|it| it.until).min();
            return Err(next.map_or(ABSENT_PAUSE_MIN, |next| next.saturating_duration_since(now)));
        };
        if let Some(it) = self.all.get_mut(index) {
            it.chosen = it.chosen.saturating_add(1);
        }
        Ok(index)
    }

    /// All sources: free ones first, then those that are free soonest.
    pub(crate) fn ranked(&self, now: Instant) -> Vec<usize> {
        let mut ranked: Vec<usize> = (0..self.all.len()).collect();
        ranked.sort_by_key(|index| {
            let it = self.all.get(*index).copied().unwrap_or_default();
            let wait = if it.free(now) { None } else { it.until };
            (wait, it.lies, it.absent)
        });
        ranked
    }

    /// A source says that it can prove blocks up to `head`.
    pub(crate) fn heard(&mut self, index: usize, head: u64) {
        if let Some(it) = self.all.get_mut(index) {
            it.head = head;
        }
    }

    /// A right answer, in which the source says that it can prove blocks up to `head`.
    pub(crate) fn praise(&mut self, index: usize, head: u64) {
        if let Some(it) = self.all.get_mut(index) {
            it.head = head;
            if it.absent > 0 {
                it.absent = 0;
            } else {
                it.lies = it.lies.saturating_sub(1);
            }
            it.until = None;
        }
    }

    /// A wrong answer, or none; how long the source is left alone.
    pub(crate) fn blame(&mut self, index: usize, blame: Blame, now: Instant) -> Duration {
        let Some(it) = self.all.get_mut(index) else { return Duration::ZERO };
        let (count, min, max) = match blame {
            Blame::Absent => (&mut it.absent, ABSENT_PAUSE_MIN, ABSENT_PAUSE_MAX),
            Blame::Lied => (&mut it.lies, LIED_PAUSE_MIN, LIED_PAUSE_MAX),
        };
        let pause = min.saturating_mul(1_u32.checked_shl((*count).min(DOUBLINGS_MAX)).unwrap_or(u32::MAX)).min(max);
        *count = count.saturating_add(1);
        it.head = 0;
        // Requests that ran side by side fail together: the longer pause holds.
        let until = now.checked_add(pause).max(it.until);
        it.until = until;
        pause
    }

    /// The greatest height that a free source named.
    pub(crate) fn head(&self, now: Instant) -> u64 {
        self.all.iter().filter(|it| it.free(now)).map(|it| it.head).max().unwrap_or_default()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn sources_in_good_standing_take_turns() {
        let (mut all, now) = (Standings::new(3), Instant::now());
        let chosen: Vec<usize> = (0..6).map(|_| all.choose(now).unwrap()).collect();
        assert_eq!(chosen, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn an_absent_source_is_left_alone_for_a_doubling_time_with_a_limit() {
        let (mut all, mut now) = (Standings::new(1), Instant::now());
        for millis in [250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000] {
            assert_eq!(all.blame(0, Blame::Absent, now), Duration::from_millis(millis));
            assert_eq!(all.choose(now + Duration::from_millis(millis - 1)), Err(Duration::from_millis(1)));
            now += Duration::from_millis(millis);
            assert_eq!(all.choose(now), Ok(0));
        }
        all.praise(0, 5);
        assert_eq!(all.blame(0, Blame::Absent, now), Duration::from_millis(250));
    }

    #[test]
    fn a_liar_waits_longer_and_comes_after_those_that_never_lied() {
        let (mut all, mut now) = (Standings::new(2), Instant::now());
        assert_eq!(all.blame(0, Blame::Lied, now), 5 * SECOND);
        assert_eq!(all.choose(now), Ok(1));
        now += 5 * SECOND;
        assert_eq!((all.choose(now), all.choose(now)), (Ok(1), Ok(1)), "free again, but last");
        all.blame(1, Blame::Absent, now);
        assert_eq!(all.choose(now), Ok(0), "better than nobody");
        assert_eq!(all.blame(0, Blame::Lied, now), 10 * SECOND);
        let mut pause = SECOND;
        (0..40).for_each(|_| pause = all.blame(0, Blame::Lied, now));
        assert_eq!(pause, 3_600 * SECOND);
    }

    #[test]
    fn a_source_that_is_far_behind_does_not_take_turns() {
        let (mut all, now) = (Standings::new(2), Instant::now());
        assert_eq!((all.choose(now), all.choose(now)), (Ok(0), Ok(1)));
        all.praise(0, 100);
        all.praise(1, 84);
        assert_eq!((all.choose(now), all.choose(now)), (Ok(0), Ok(1)));
        all.praise(1, 83);
        assert_eq!((all.choose(now), all.choose(now)), (Ok(0), Ok(0)));
    }

    #[test]
    fn a_height_counts_only_while_its_source_stands_well() {
        let (mut all, now) = (Standings::new(2), Instant::now());
        all.praise(0, 900);
        all.praise(1, 20);
        assert_eq!(all.head(now), 900);
        all.blame(0, Blame::Lied, now);
        assert_eq!(all.head(now), 20);
        assert_eq!(all.ranked(now), [1, 0]);
        assert_eq!(all.head(now + 6 * SECOND), 20, "what a liar said is forgotten");
    }
}
