//! Reading checked parameters once more in a plan: recipe.toml has the same ranges, but parameters are plain data.

use crate::Error;
use core::ops::RangeInclusive;
use keystead_job::parameter::Parameters;

/// A whole number inside a range.
pub(crate) fn integer<T: TryFrom<i64>>(
    parameters: &Parameters,
    name: &'static str,
    range: RangeInclusive<i64>,
) -> Result<T, Error> {
    let got = parameters.integer(name);
    let value = got.filter(|value| range.contains(value)).and_then(|value| T::try_from(value).ok());
    let what = || format!("must be {} to {}, got {got:?}", range.start(), range.end());
    value.ok_or_else(|| Error::Setting { name, what: what() })
}

/// A text or a choice.
pub(crate) fn text<'a>(parameters: &'a Parameters, name: &'static str) -> Result<&'a str, Error> {
    parameters.text(name).ok_or_else(|| Error::Setting { name, what: "a text is needed".to_owned() })
}

/// Checks that there are as many outputs as units.
pub(crate) const fn count(got: usize, expected: usize) -> Result<(), Error> {
    if got == expected { Ok(()) } else { Err(Error::OutputCount { got, expected }) }
}
