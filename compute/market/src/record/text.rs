//! The checks that all fields of a record share: ranges, counts, orders and characters. Everything here reads hostile input.

use super::{Error, claimed::NAME_BYTES_MAX};

pub(super) const fn range(name: &'static str, got: u64, min: u64, max: u64) -> Result<(), Error> {
    if got < min || got > max { Err(Error::OutOfRange { name, got, min, max }) } else { Ok(()) }
}

pub(super) const fn count(name: &'static str, got: usize, min: usize, max: usize) -> Result<(), Error> {
    if got < min || got > max { Err(Error::Count { name, got, min, max }) } else { Ok(()) }
}

/// Strictly ascending: one order, nothing twice.
pub(super) fn ascending<T: PartialOrd>(name: &'static str, items: impl Iterator<Item = T>) -> Result<(), Error> {
    let mut last = None;
    for item in items {
        if last.as_ref().is_some_and(|last| *last >= item) {
            return Err(Error::NotAscending { name });
        }
        last = Some(item);
    }
    Ok(())
}

/// Printable ASCII with inner spaces, so that nothing shown to a person can hide or turn its direction.
pub(super) fn printable(name: &'static str, text: &str, least: usize) -> Result<(), Error> {
    count(name, text.len(), least, NAME_BYTES_MAX)?;
    let good = text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) && text.trim() == text;
    if good { Ok(()) } else { Err(Error::Characters { name }) }
}

/// `[a-z0-9.-]`.
pub(super) fn tag(name: &'static str, text: &str, least: usize) -> Result<(), Error> {
    count(name, text.len(), least, NAME_BYTES_MAX)?;
    let good = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte));
    if good { Ok(()) } else { Err(Error::Characters { name }) }
}

pub(super) fn country(text: &str) -> Result<(), Error> {
    let good = text.is_empty() || (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase()));
    if good { Ok(()) } else { Err(Error::Characters { name: "country" }) }
}
