//! Hours of the week, local time, with BOINC's meaning: a day's own list replaces the list of every day, and a window that ends before it begins
//! covers the beginning and the end of that same day.

use std::fmt;

/// Names of the days as keys of `owner.toml`; 0 is Monday.
pub const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
/// Windows in one list: more than anybody writes, and few enough to look at each of them every second.
pub const WINDOWS_MAX: usize = 8;
/// Minutes of a day.
pub(crate) const DAY_MINUTES: u32 = 1_440;
/// Minutes of a week.
pub(crate) const WEEK_MINUTES: u32 = 7 * DAY_MINUTES;

/// A part of a day: minutes since midnight, `start` included, `end` not. `0..1440` is the whole day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    start_minute: u16,
    end_minute: u16,
}

/// Why a window is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Not of the form `HH:MM-HH:MM`.
    #[error("a window looks like 18:00-23:30")]
    Form,
    /// Later than 24:00, or a minute above 59.
    #[error("a time lies between 00:00 and 24:00")]
    Range,
    /// Begins where it ends. (In BOINC this meant always; that is written `always` here.)
    #[error("a window that begins where it ends is empty: write 00:00-24:00 for a whole day")]
    Empty,
}

impl Window {
    /// Reads `HH:MM-HH:MM`.
    ///
    /// # Errors
    /// [`WindowError`].
    pub fn parse(text: &str) -> Result<Self, WindowError> {
        let (start, end) = text.split_once('-').ok_or(WindowError::Form)?;
        let window = Self { start_minute: minute(start)?, end_minute: minute(end)? };
        if window.start_minute == window.end_minute { Err(WindowError::Empty) } else { Ok(window) }
    }

    /// Whether a minute of the day (0 to 1439) lies inside.
    #[must_use]
    pub const fn holds(self, minute: u16) -> bool {
        if self.start_minute < self.end_minute {
            minute >= self.start_minute && minute < self.end_minute
        } else {
            minute >= self.start_minute || minute < self.end_minute
        }
    }
}

fn minute(text: &str) -> Result<u16, WindowError> {
    let (hours, minutes) = text.trim().split_once(':').ok_or(WindowError::Form)?;
    let number = |digits: &str| {
        let plain = (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        if plain { digits.parse::<u16>().map_err(|_| WindowError::Form) } else { Err(WindowError::Form) }
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let total = hours.saturating_mul(60).saturating_add(minutes);
    if minutes > 59 || u32::from(total) > DAY_MINUTES { Err(WindowError::Range) } else { Ok(total) }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end) = (self.start_minute, self.end_minute);
        write!(f, "{:02}:{:02}-{:02}:{:02}", start / 60, start % 60, end / 60, end % 60)
    }
}

/// The hours of a week. An empty list is *never*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Week {
    /// Days without a list of their own.
    pub every_day: Vec<Window>,
    /// Monday first.
    pub days: [Option<Vec<Window>>; 7],
}

impl Week {
    /// Open at every time.
    #[must_use]
    pub fn always() -> Self {
        let whole = Window { start_minute: 0, end_minute: 1_440 };
        Self { every_day: vec![whole], days: [const { None }; 7] }
    }

    /// Whether a minute of the week (0 is Monday 00:00; larger ones go round) is inside.
    #[must_use]
    pub fn open(&self, minute_of_week: u32) -> bool {
        let minute = minute_of_week % WEEK_MINUTES;
        let own =
            usize::try_from(minute / DAY_MINUTES).ok().and_then(|day| self.days.get(day)).and_then(Option::as_ref);
        let of_day = u16::try_from(minute % DAY_MINUTES).unwrap_or(0);
        own.unwrap_or(&self.every_day).iter().any(|window| window.holds(of_day))
    }

    /// Minutes until the first minute that is (`open` true) or is not (false) inside, looking at most `minutes_max` ahead; 0 is this one.
    pub(crate) fn minutes_until(&self, open: Door, minute_of_week: u32, minutes_max: u32) -> Option<u32> {
        let ahead = 0..=minutes_max.min(WEEK_MINUTES);
        ahead.into_iter().find(|ahead| self.open(minute_of_week.saturating_add(*ahead)) == matches!(open, Door::Open))
    }
}

/// What to look for in a week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Open,
    Closed,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test: a panic is a failure.
mod tests {
    use super::*;

    fn week(every_day: &[&str]) -> Week {
        Week {
            every_day: every_day.iter().map(|text| Window::parse(text).unwrap()).collect(),
            days: [const { None }; 7],
        }
    }

    #[test]
    fn a_window_includes_its_first_minute_and_not_its_last() {
        let week = week(&["18:00-23:30"]);
        assert!(!week.open(18 * 60 - 1));
        assert!(week.open(18 * 60));
        assert!(week.open(23 * 60 + 29));
        assert!(!week.open(23 * 60 + 30));
    }

    #[test]
    fn a_window_over_midnight_covers_both_ends_of_the_same_day() {
        let mut week = week(&[]);
        week.days[0] = Some(vec![Window::parse("22:00-06:00").unwrap()]);
        assert!(
            week.open(0)
                && week.open(359)
                && !week.open(360)
                && !week.open(1_319)
                && week.open(1_320)
                && week.open(1_439)
        );
        assert!(!week.open(1_440), "Tuesday has the empty list of every day");
        assert!(week.open(WEEK_MINUTES), "the next Monday");
    }

    #[test]
    fn times_out_of_range_and_empty_windows_are_refused() {
        for (text, error) in [
            ("24:01-25:00", WindowError::Range),
            ("10:60-11:00", WindowError::Range),
            ("10:00-10:00", WindowError::Empty),
            ("10-11", WindowError::Form),
            ("+1:00-02:00", WindowError::Form),
            ("001:00-02:00", WindowError::Form),
            ("10:00", WindowError::Form),
        ] {
            assert_eq!(Window::parse(text), Err(error), "{text}");
        }
        assert_eq!(Window::parse(" 0:00 - 24:00").unwrap().to_string(), "00:00-24:00");
        assert!(Window::parse("24:00-00:00").is_ok_and(|window| (0..1_440).all(|minute| !window.holds(minute))));
    }

    #[test]
    fn the_next_change_is_found_over_the_end_of_the_week_and_not_beyond_the_limit() {
        let week = week(&["18:00-23:30"]);
        let sunday_late = 6 * 1_440 + 23 * 60 + 40;
        assert_eq!(week.minutes_until(Door::Open, sunday_late, WEEK_MINUTES), Some(20 + 18 * 60));
        assert_eq!(week.minutes_until(Door::Open, sunday_late, 60), None);
        assert_eq!(week.minutes_until(Door::Closed, 18 * 60, WEEK_MINUTES), Some(330));
        assert_eq!(Week::always().minutes_until(Door::Closed, 5, WEEK_MINUTES), None);
    }
}
