//! What was read about the machine: a value with its source, or the reason why there is none.

use std::{fmt, sync::Arc};

/// A value and where it came from, or why it is not known. Nothing is guessed: a rule that needs a value says itself what it does without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading<T> {
    /// The value, and its source: a path below the probe's root, or a name such as `owner.toml`.
    Known(T, Arc<str>),
    /// Why there is no value.
    Unknown(Unknown),
}

/// Why a value is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// The machine does not have this file or device.
    Absent(Arc<str>),
    /// It exists, and this account may not read it.
    Denied(Arc<str>),
    /// It exists, and what stands in it is not what the kernel documents, or is larger than a probe reads.
    Malformed(Arc<str>),
    /// This operating system is not probed for it.
    Unsupported,
    /// Nobody has looked yet, or one look is not enough (a load is a difference of two).
    NotYet,
}

impl<T> Reading<T> {
    /// A known value.
    pub fn known(value: T, source: &str) -> Self {
        Self::Known(value, Arc::from(source))
    }

    /// The value, if it is known.
    pub const fn value(&self) -> Option<&T> {
        match self {
            Self::Known(value, _) => Some(value),
            Self::Unknown(_) => None,
        }
    }

    /// Another value from the same source.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Reading<U> {
        match self {
            Self::Known(value, source) => Reading::Known(change(value), source),
            Self::Unknown(why) => Reading::Unknown(why),
        }
    }

    /// Another value from the same source, or [`Unknown::Malformed`] where `change` finds none.
    pub fn and_then<U>(self, change: impl FnOnce(T) -> Option<U>) -> Reading<U> {
        match self {
            Self::Known(value, source) => match change(value) {
                Some(value) => Reading::Known(value, source),
                None => Reading::Unknown(Unknown::Malformed(source)),
            },
            Self::Unknown(why) => Reading::Unknown(why),
        }
    }

    /// This reading, or the other where this one is unknown. If both are unknown, the first reason stays.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unknown(_), known @ Self::Known(..)) => known,
            (first, _) => first,
        }
    }
}

impl<T> Default for Reading<T> {
    fn default() -> Self {
        Self::Unknown(Unknown::NotYet)
    }
}

impl<T: fmt::Display> fmt::Display for Reading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(value, source) => write!(f, "{value} ({source})"),
            Self::Unknown(why) => write!(f, "unknown: {why}"),
        }
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent(path) => write!(f, "this machine has no {path}"),
            Self::Denied(path) => write!(f, "this account may not read {path}"),
            Self::Malformed(path) => write!(f, "{path} holds something unexpected"),
            Self::Unsupported => f.write_str("not probed on this operating system"),
            Self::NotYet => f.write_str("not read yet"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_reading_wins_over_an_unknown_one_and_the_first_reason_stays() {
        let absent: Reading<u8> = Reading::Unknown(Unknown::Absent(Arc::from("a")));
        assert_eq!(absent.clone().or(Reading::known(1, "b")), Reading::known(1, "b"));
        assert_eq!(absent.clone().or(Reading::default()), absent);
        assert_eq!(Reading::known(2, "c").or(Reading::known(1, "b")), Reading::known(2, "c"));
    }

    #[test]
    fn a_value_that_does_not_parse_is_malformed_and_says_where() {
        let reading = Reading::known("x", "proc/meminfo").and_then(|text| text.parse::<u8>().ok());
        assert_eq!(reading.to_string(), "unknown: proc/meminfo holds something unexpected");
        assert_eq!(Reading::known("7", "f").and_then(|text| text.parse::<u8>().ok()).to_string(), "7 (f)");
    }
}
