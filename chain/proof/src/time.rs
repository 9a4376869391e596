//! Unix milliseconds and durations in words.

use std::fmt;

/// Unix milliseconds, shown as UTC: `2026-11-22 10:00:00.123 UTC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Utc(pub(crate) u64);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, in_day) = (self.0 / 86_400_000, self.0 % 86_400_000);
        let (year, month, day) = date(days);
        let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
        let (second, milli) = (in_day / 1_000 % 60, in_day % 1_000);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{milli:03} UTC")
    }
}

/// Year, month and day of the Gregorian calendar, `days` after 1970-01-01.
///
/// Counts in years that begin on 1 March, so that the leap day is the last of its year.
#[allow(clippy::arithmetic_side_effects, reason = "days are at most 2^64 / 86,400,000; nothing here can overflow")]
const fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 0000-03-01
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

/// A span of milliseconds in the unit that suits it: `350 ms`, `12.4 s`, `3 min 20 s`, `5 h 2 min`, `12 d 3 h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0;
        match ms {
            0..1_000 => write!(f, "{ms} ms"),
            1_000..60_000 => write!(f, "{}.{} s", ms / 1_000, ms / 100 % 10),
            60_000..3_600_000 => write!(f, "{} min {} s", ms / 60_000, ms / 1_000 % 60),
            3_600_000..86_400_000 => write!(f, "{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
            _ => write!(f, "{} d {} h", ms / 86_400_000, ms / 3_600_000 % 24),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days_have_their_dates() {
        let cases = [
            (0, "1970-01-01 00:00:00.000 UTC"),
            (951_782_399_999, "2000-02-28 23:59:59.999 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00.000 UTC"),
            (951_868_800_000, "2000-03-01 00:00:00.000 UTC"),
            (1_709_251_199_001, "2024-02-29 23:59:59.001 UTC"),
            (4_107_542_400_000, "2100-03-01 00:00:00.000 UTC"),
            (1_795_392_000_000, "2026-11-23 00:00:00.000 UTC"),
        ];
        for (ms, text) in cases {
            assert_eq!(Utc(ms).to_string(), text);
        }
        assert!(!Utc(u64::MAX).to_string().is_empty());
    }

    #[test]
    fn spans_choose_their_unit() {
        let cases = [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_000, "1.0 s"),
            (59_999, "59.9 s"),
            (60_000, "1 min 0 s"),
            (3_600_000, "1 h 0 min"),
            (86_400_000, "1 d 0 h"),
        ];
        for (ms, text) in cases {
            assert_eq!(Span(ms).to_string(), text);
        }
    }
}
