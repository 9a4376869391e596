//! A value over time, the price or the carbon intensity of power: a schedule in the preferences, or a file that another program writes.
//!
//! # Design
//! Values are whole numbers with a fixed number of decimal digits behind them, never floats. A feed is text, one line for each change:
//! `2026-11-28T14:00:00Z 0.2312`; the value holds until the next line's time, and the last one for a limited time.

use super::week::Window;
use std::path::PathBuf;

/// Lines of a feed: a year of hours.
pub(crate) const FEED_LINES_MAX: usize = 9_000;
/// Size of a feed, bytes: so many lines of ordinary length.
pub const FEED_BYTES_MAX: u64 = 512 * 1_024;
/// Steps of a schedule: the tariff with the most steps that is known here has six.
pub(crate) const STEPS_MAX: usize = 24;

/// What is known about a value over time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Series {
    /// The value outside of all steps.
    pub base: Option<u64>,
    /// Values by the time of day; the first that fits counts.
    pub steps: Vec<Step>,
    /// A feed; where it has a value, it counts instead of the schedule.
    pub file: Option<PathBuf>,
}

/// A value during a part of every day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// When.
    pub window: Window,
    /// The value.
    pub value: u64,
}

impl Series {
    /// The value that the schedule gives for a minute of the day, 0 to 1439.
    #[must_use]
    pub fn scheduled(&self, minute_of_day: u16) -> Option<u64> {
        let step = self.steps.iter().find(|step| step.window.holds(minute_of_day));
        step.map(|step| step.value).or(self.base)
    }
}

/// A parsed feed: times in ms since 1970, rising, with their values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feed {
    points: Vec<(i64, u64)>,
}

/// Why a feed is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// A line that is not `TIME VALUE`.
    #[error("the feed's line is not a time in UTC and a value: line={line}")]
    Line {
        /// Counted from 1.
        line: usize,
    },
    /// A time that is not later than the one before.
    #[error("the feed's times must rise: line={line}")]
    Order {
        /// Counted from 1.
        line: usize,
    },
    /// Too many lines.
    #[error("the feed is too long: lines_max={lines_max}")]
    TooLong {
        /// The most that is accepted.
        lines_max: usize,
    },
}

impl Feed {
    /// Reads a feed whose values have `digits` decimals (6 for a price, 0 for carbon). Empty lines and lines that begin with `#` are skipped.
    /// The text is hostile input: it is bounded, and a bad line refuses all of it.
    ///
    /// # Errors
    /// [`FeedError`].
    pub fn parse(text: &str, digits: u32) -> Result<Self, FeedError> {
        let mut points: Vec<(i64, u64)> = Vec::new();
        for (content, line) in text.lines().map(str::trim).zip(1usize..) {
            if content.is_empty() || content.starts_with('#') {
                continue;
            }
            if points.len() == FEED_LINES_MAX {
                return Err(FeedError::TooLong { lines_max: FEED_LINES_MAX });
            }
            let point = point(content, digits).ok_or(FeedError::Line { line })?;
            if points.last().is_some_and(|(before, _)| *before >= point.0) {
                return Err(FeedError::Order { line });
            }
            points.push(point);
        }
        Ok(Self { points })
    }

    /// The value at a time, ms since 1970; none before the first line and `age_max_ms` after the last.
    #[must_use]
    pub fn at(&self, unix_ms: i64, age_max_ms: i64) -> Option<u64> {
        let after = self.points.partition_point(|(start, _)| *start <= unix_ms);
        let (start, value) = *self.points.get(after.checked_sub(1)?)?;
        let is_last = after == self.points.len();
        if is_last && unix_ms.saturating_sub(start) > age_max_ms { None } else { Some(value) }
    }
}

fn point(line: &str, digits: u32) -> Option<(i64, u64)> {
    let (time, value) = line.split_once(char::is_whitespace)?;
    let time: toml::value::Datetime = time.parse().ok()?;
    // Without an offset the line could mean any zone.
    let offset_minutes = match time.offset? {
        toml::value::Offset::Z => 0,
        toml::value::Offset::Custom { minutes } => minutes,
    };
    let local = civil_ms(time)?;
    Some((local.saturating_sub(i64::from(offset_minutes).saturating_mul(60_000)), decimal(value.trim(), digits)?))
}

/// Date and time as if the clock showed UTC, ms since 1970; none if there is no date or no time of day.
pub(crate) fn civil_ms(moment: toml::value::Datetime) -> Option<i64> {
    let (date, time) = (moment.date?, moment.time?);
    let days = days_from_civil(i64::from(date.year), i64::from(date.month), i64::from(date.day));
    let seconds = days
        .saturating_mul(86_400)
        .saturating_add(i64::from(time.hour).saturating_mul(3_600))
        .saturating_add(i64::from(time.minute).saturating_mul(60))
        .saturating_add(i64::from(time.second.unwrap_or(0)));
    Some(seconds.saturating_mul(1_000))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar: years are counted from March, so that the leap day is the last of its year.
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year.saturating_sub(1) } else { year };
    let month_from_march = month.saturating_add(9) % 12;
    let day_of_year = month_from_march.saturating_mul(153).saturating_add(2) / 5;
    let leap_days = year.div_euclid(4).saturating_sub(year.div_euclid(100)).saturating_add(year.div_euclid(400));
    let days = year.saturating_mul(365).saturating_add(leap_days).saturating_add(day_of_year);
    days.saturating_add(day).saturating_sub(719_469)
}

/// A date of the calendar from days since 1970-01-01: (year, month, day). The inverse of [`days_from_civil`].
pub(crate) fn civil_from_days(days: i64) -> (i64, i64, i64) {
    // Start with the average length of a year, which is at most one year off, and correct.
    let mut year = days.saturating_mul(400).div_euclid(146_097).saturating_add(1_970);
    while days_from_civil(year, 1, 1) > days {
        year = year.saturating_sub(1);
    }
    while days_from_civil(year.saturating_add(1), 1, 1) <= days {
        year = year.saturating_add(1);
    }
    let month = (1..=12).rev().find(|month| days_from_civil(year, *month, 1) <= days).unwrap_or(1);
    (year, month, days.saturating_sub(days_from_civil(year, month, 1)).saturating_add(1))
}

/// Reads `12`, `0.25` or `12.5` as a whole number of 10^-`digits`; no sign, no exponent, no more decimals than `digits`.
pub(crate) fn decimal(text: &str, digits: u32) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let plain = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(whole) || !plain(part) {
        return None;
    }
    let part = part.trim_end_matches('0');
    let missing = digits.checked_sub(u32::try_from(part.len()).ok()?)?;
    let part = if part.is_empty() { 0 } else { part.parse::<u64>().ok()?.checked_mul(10u64.checked_pow(missing)?)? };
    whole.parse::<u64>().ok()?.checked_mul(10u64.checked_pow(digits)?)?.checked_add(part)
}

/// Writes what [`decimal`] reads, without superfluous zeros.
pub(crate) fn decimal_text(value: u64, digits: u32) -> String {
    let scale = 10u64.saturating_pow(digits).max(1);
    let (whole, part) = (value.checked_div(scale).unwrap_or(0), value.checked_rem(scale).unwrap_or(0));
    if part == 0 {
        return whole.to_string();
    }
    let width = usize::try_from(digits).unwrap_or(0);
    format!("{whole}.{}", format!("{part:0width$}").trim_end_matches('0'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)] // A test: a panic is a failure.
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        assert_eq!(decimal("0.2312", 6), Some(231_200));
        assert_eq!(decimal("12", 6), Some(12_000_000));
        assert_eq!(decimal("0.0000010", 6), Some(1));
        for bad in ["", ".", "1.", ".5", "-1", "+1", "1e3", "0.0000001", "99999999999999999999", "1_0", "nan"] {
            assert_eq!(decimal(bad, 6), None, "{bad}");
        }
        assert_eq!(decimal("1.5", 0), None);
        for value in [0, 1, 10, 999_999, 1_000_000, 1_234_500, u64::MAX] {
            assert_eq!(decimal(&decimal_text(value, 6), 6), Some(value));
        }
    }

    #[test]
    fn dates_are_counted_as_the_calendar_does_and_back() {
        assert_eq!(days_from_civil(1970, 1, 1), 0);
        assert_eq!(days_from_civil(2000, 3, 1), 11_017);
        assert_eq!(days_from_civil(2026, 11, 28), 20_785);
        let mut day = days_from_civil(1899, 12, 31);
        while day < days_from_civil(2101, 1, 2) {
            let (year, month, of_month) = civil_from_days(day);
            assert_eq!(days_from_civil(year, month, of_month), day);
            assert!((1..=12).contains(&month) && (1..=31).contains(&of_month));
            day += 1;
        }
    }

    #[test]
    fn a_feed_holds_each_value_until_the_next_line_and_the_last_for_its_age() {
        let text = "# made by a script\n2026-11-28T14:00:00Z 0.20\n\n2026-11-28T16:00:00+01:00 0.30\n";
        let feed = Feed::parse(text, 6).unwrap();
        let two = 20_785 * 86_400_000 + 14 * 3_600_000;
        assert_eq!(feed.at(two - 1, 3_600_000), None);
        assert_eq!(feed.at(two, 3_600_000), Some(200_000));
        assert_eq!(feed.at(two + 3_599_999, 0), Some(200_000), "the age counts for the last line only");
        assert_eq!(feed.at(two + 3_600_000, 3_600_000), Some(300_000));
        assert_eq!(feed.at(two + 7_200_000, 3_600_000), Some(300_000));
        assert_eq!(feed.at(two + 7_200_001, 3_600_000), None);
    }

    #[test]
    fn a_feed_that_lies_about_its_form_is_refused_whole() {
        assert_eq!(Feed::parse("2026-11-28T14:00:00 1", 0), Err(FeedError::Line { line: 1 }));
        assert_eq!(Feed::parse("\n2026-11-28T14:00:00Z", 0), Err(FeedError::Line { line: 2 }));
        assert_eq!(Feed::parse("2026-11-28T14:00:00Z 1.5", 0), Err(FeedError::Line { line: 1 }));
        let twice = "2026-11-28T14:00:00Z 1\n2026-11-28T14:00:00Z 2";
        assert_eq!(Feed::parse(twice, 0), Err(FeedError::Order { line: 2 }));
        let minute = |n: usize| format!("20{:02}-01-01T{:02}:{:02}:00Z 1\n", 10 + n / 1_440, n / 60 % 24, n % 60);
        let long: String = (0..=FEED_LINES_MAX).map(minute).collect();
        assert_eq!(Feed::parse(&long, 0), Err(FeedError::TooLong { lines_max: FEED_LINES_MAX }));
    }

    #[test]
    fn the_first_step_that_fits_counts_and_the_base_is_the_rest() {
        let steps = ["22:00-06:00", "00:00-24:00"].map(|text| Window::parse(text).unwrap());
        let series = Series { base: Some(3), steps: vec![Step { window: steps[0], value: 1 }], file: None };
        assert_eq!((series.scheduled(0), series.scheduled(360), series.scheduled(1_320)), (Some(1), Some(3), Some(1)));
        assert_eq!(Series::default().scheduled(0), None);
    }
}
