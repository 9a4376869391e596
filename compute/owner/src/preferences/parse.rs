//! Reads `owner.toml`: every unknown key and every value out of range is an error that names the key, the line and what is allowed.
//!
//! # Design
//! Keys that are absent keep their default. Version 1 is the only one; an older version would be changed key by key into the newest before
//! the table of fields sees it ([`upgrade`]), and a newer one is refused, since its rules cannot be obeyed.

use super::{
    FIELDS, Kind, Preferences,
    series::{STEPS_MAX, Step, civil_ms, decimal, decimal_text},
    week::{WINDOWS_MAX, Week, Window},
};
use std::{fs::File, io, io::Read as _, path::Path, time::Duration};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The version that this program writes and reads.
pub const VERSION: u64 = 1;
/// Largest preferences file, bytes: ten times the template.
pub const FILE_BYTES_MAX: u64 = 128 * 1_024;
/// Exclusive applications in one list.
const NAMES_MAX: usize = 128;
/// Bytes of an application's name or a path: `NAME_MAX` and `PATH_MAX` of Linux.
const NAME_BYTES_MAX: usize = 255;
const PATH_BYTES_MAX: usize = 4_096;

/// Why preferences cannot be used. The program that meets this computes nothing: rules that are not understood cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the owner's preferences: {0}")]
    Read(#[from] io::Error),
    /// The file is too large.
    #[error("the owner's preferences are too large: bytes_max={bytes_max}")]
    TooLarge {
        /// The most that is read.
        bytes_max: u64,
    },
    /// Not TOML.
    #[error("the owner's preferences are not TOML: {message}, line={line}")]
    Syntax {
        /// What the parser says.
        message: String,
        /// Counted from 1.
        line: usize,
    },
    /// `version` is missing or not one that is known here.
    #[error("the owner's preferences need `version = {newest}`: line={line}")]
    Version {
        /// The newest version that is known.
        newest: u64,
        /// Counted from 1.
        line: usize,
    },
    /// A key that does not exist.
    #[error("no such preference: {key}, line={line}{}", suggestion.map(|near| format!("; did you mean {near}?")).unwrap_or_default())]
    UnknownKey {
        /// The key with its section.
        key: String,
        /// Counted from 1.
        line: usize,
        /// A key that looks like it.
        suggestion: Option<&'static str>,
    },
    /// A value that is not allowed.
    #[error("{key} must be {allowed}: line={line}")]
    Value {
        /// The key with its section.
        key: &'static str,
        /// Counted from 1.
        line: usize,
        /// What may stand there.
        allowed: String,
    },
}

/// Reads and parses a preferences file.
///
/// # Errors
/// [`Error`]. A file that does not exist is an [`Error::Read`] of kind `NotFound`; the caller may then use the default.
pub fn read(path: &Path) -> Result<Preferences, Error> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX.saturating_add(1)).read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"))?;
    parse(&text)
}

/// Parses the text of a preferences file.
///
/// # Errors
/// [`Error`], for the first place that is wrong.
pub fn parse(text: &str) -> Result<Preferences, Error> {
    if u64::try_from(text.len()).is_ok_and(|bytes| bytes > FILE_BYTES_MAX) {
        return Err(Error::TooLarge { bytes_max: FILE_BYTES_MAX });
    }
    let document = DeTable::parse(text).map_err(|error| Error::Syntax {
        message: error.message().to_owned(),
        line: line(text, error.span().map_or(0, |span| span.start)),
    })?;
    let document = upgrade(text, document.get_ref())?;
    let mut preferences = Preferences::default();
    for (section, content) in document {
        if section.get_ref() == "version" {
            continue;
        }
        let DeValue::Table(table) = content.get_ref() else {
            return Err(unknown(section.get_ref(), line(text, section.span().start)));
        };
        for (name, value) in table {
            let at = line(text, name.span().start);
            let key = format!("{}.{}", section.get_ref(), name.get_ref());
            let field = FIELDS.iter().find(|field| field.key == key).ok_or_else(|| unknown(&key, at))?;
            set(&mut preferences, field.kind, value).ok_or_else(|| Error::Value {
                key: field.key,
                line: at,
                allowed: allowed(field.kind),
            })?;
        }
        if table.is_empty() && !FIELDS.iter().any(|field| field.key.split('.').next() == Some(section.get_ref())) {
            return Err(unknown(section.get_ref(), line(text, section.span().start)));
        }
    }
    Ok(preferences)
}

/// Brings a document to the newest version. With a second version this becomes a table of steps, one from each version to the next.
fn upgrade<'a, 'b>(text: &str, document: &'a DeTable<'b>) -> Result<&'a DeTable<'b>, Error> {
    let found = document.get("version");
    match found.and_then(|version| whole(version.get_ref())) {
        Some(VERSION) => Ok(document),
        _ => Err(Error::Version { newest: VERSION, line: line(text, found.map_or(0, |version| version.span().start)) }),
    }
}

fn unknown(key: &str, line: usize) -> Error {
    let near = FIELDS.iter().map(|field| (distance(key, field.key), field.key)).min();
    let suggestion = near.filter(|(distance, _)| *distance <= 3).map(|(_, key)| key);
    // A key can be as long as the file; nobody needs all of it.
    Error::UnknownKey { key: key.chars().take(100).collect(), line, suggestion }
}

/// Line of a byte, counted from 1.
fn line(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count().saturating_add(1)
}

/// Edits between two keys (Levenshtein); keys that differ much in length are not compared.
fn distance(a: &str, b: &str) -> usize {
    if a.len().abs_diff(b.len()) > 3 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.bytes().zip(1usize..).map(|(byte, i)| (i, byte)) {
        let mut diagonal = std::mem::replace(row.get_mut(0).unwrap_or(&mut 0), i);
        let mut before = i;
        for (cell, right) in row.iter_mut().skip(1).zip(b.bytes()) {
            let replaced = diagonal.saturating_add(usize::from(left != right));
            diagonal = *cell;
            before = replaced.min(before.saturating_add(1)).min(cell.saturating_add(1));
            *cell = before;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

/// Puts a value into its place; none if it is not allowed there.
fn set(into: &mut Preferences, kind: Kind, value: &Spanned<DeValue<'_>>) -> Option<()> {
    let value = value.get_ref();
    match kind {
        Kind::Flag(place) => *place(into) = value.as_bool()?,
        Kind::Whole(_, min, max, place) => {
            *place(into) = whole(value).filter(|number| (min..=max).contains(number))?;
        }
        Kind::Span(_, seconds, min, max, place) => {
            let number = whole(value).filter(|number| (min..=max).contains(number))?;
            *place(into) = Duration::from_secs(number.saturating_mul(seconds));
        }
        Kind::Decimal(_, digits, max, place) => *place(into) = number(value, digits).filter(|number| *number <= max)?,
        Kind::Optional(_, digits, max, place) => {
            *place(into) = Some(number(value, digits).filter(|number| *number <= max)?);
        }
        Kind::Hours(day, place) => set_hours(place(into), day, value)?,
        Kind::Names(place) => *place(into) = strings(value, NAMES_MAX, name)?,
        Kind::Steps(_, digits, place) => *place(into) = strings(value, STEPS_MAX, |text| step(text, digits))?,
        Kind::File(place) => {
            let path = value.as_str().filter(|path| !path.is_empty() && path.len() <= PATH_BYTES_MAX)?;
            *place(into) = Some(path.into());
        }
        Kind::Moment(place) => {
            let moment = value.as_datetime().filter(|moment| moment.offset.is_none())?;
            *place(into) = Some(civil_ms(*moment)?);
        }
    }
    Some(())
}

fn whole(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn number(value: &DeValue<'_>, digits: u32) -> Option<u64> {
    match value {
        DeValue::Integer(_) => whole(value)?.checked_mul(10u64.checked_pow(digits)?),
        DeValue::Float(float) => decimal(float.as_str(), digits),
        _ => None,
    }
}

fn set_hours(week: &mut Week, day: Option<usize>, value: &DeValue<'_>) -> Option<()> {
    let windows = match value.as_str() {
        Some("always") => Week::always().every_day,
        Some("never") => Vec::new(),
        Some(_) => return None,
        None => strings(value, WINDOWS_MAX, |text| Window::parse(text).ok())?,
    };
    match day {
        None => week.every_day = windows,
        Some(day) => *week.days.get_mut(day)? = Some(windows),
    }
    Some(())
}

fn name(text: &str) -> Option<String> {
    let plain = !text.is_empty() && text.len() <= NAME_BYTES_MAX && !text.contains(['/', '\\', '\0']);
    plain.then(|| text.to_owned())
}

fn step(text: &str, digits: u32) -> Option<Step> {
    let (window, value) = text.trim().rsplit_once(' ')?;
    Some(Step { window: Window::parse(window).ok()?, value: decimal(value, digits)? })
}

fn strings<T>(value: &DeValue<'_>, count_max: usize, read: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let array = value.as_array().filter(|array| array.len() <= count_max)?;
    array.iter().map(|item| item.get_ref().as_str().and_then(&read)).collect()
}

/// What may stand at a key, in words.
pub(super) fn allowed(kind: Kind) -> String {
    match kind {
        Kind::Flag(_) => "true or false".to_owned(),
        Kind::Whole(unit, min, max, _) | Kind::Span(unit, _, min, max, _) => {
            format!("a whole number of {unit}, {min} to {max}")
        }
        Kind::Decimal(unit, digits, max, _) | Kind::Optional(unit, digits, max, _) => {
            format!("{unit}, 0 to {}, at most {digits} decimals", decimal_text(max, digits))
        }
        Kind::Hours(..) => {
            format!(
                "\"always\", \"never\" or at most {WINDOWS_MAX} windows such as [\"18:00-23:30\"] that are not empty"
            )
        }
        Kind::Names(_) => format!("at most {NAMES_MAX} names of programs without a folder"),
        Kind::Steps(unit, digits, _) => {
            format!("at most {STEPS_MAX} steps such as [\"22:00-06:00 12\"], {unit}, at most {digits} decimals")
        }
        Kind::File(_) => "the path of a file".to_owned(),
        Kind::Moment(_) => "a local date and time such as 2026-12-24T18:00:00".to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test: a panic is a failure.
mod tests {
    use super::*;

    fn error(body: &str) -> String {
        parse(&format!("version = 1\n{body}")).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_of_version_1_is_the_default() {
        assert_eq!(parse("version = 1").unwrap(), Preferences::default());
    }

    #[test]
    fn a_missing_older_newer_or_odd_version_is_refused() {
        for text in ["", "version = 0", "version = 2", "version = \"1\"", "[power]\non_battery = true"] {
            let refused = parse(text);
            assert!(matches!(refused, Err(Error::Version { newest: 1, line: 1 })), "{text}");
        }
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_key_that_was_meant() {
        assert_eq!(
            error("[power]\non_batery = true"),
            "no such preference: power.on_batery, line=3; did you mean power.on_battery?"
        );
        assert_eq!(error("on_battery = true"), "no such preference: on_battery, line=2");
        assert_eq!(error("[colour]"), "no such preference: colour, line=2");
        assert_eq!(error("[power.more]\nx = 1"), "no such preference: power.more, line=2");
    }

    #[test]
    fn a_value_out_of_range_is_named_with_its_range() {
        assert_eq!(
            error("[in_use]\n\ncores_percent = 0"),
            "in_use.cores_percent must be a whole number of percent, 1 to 100: line=4"
        );
        assert!(parse("version = 1\n[in_use]\ncores_percent = 1").is_ok());
        assert!(parse("version = 1\n[in_use]\ncores_percent = 100").is_ok());
        assert!(error("[in_use]\ncores_percent = 101").contains("1 to 100"));
        assert!(error("[in_use]\ncores_percent = 50.0").contains("whole number"));
        assert!(error("[energy]\nprice_max = -0.1").contains("0 to 1000"));
        assert!(error("[work]\nfinish_by = 2026-12-24T18:00:00Z").contains("a local date and time"));
    }

    #[test]
    fn every_numeric_field_accepts_its_ends_and_refuses_what_lies_beyond() {
        for field in FIELDS {
            let (Kind::Whole(_, min, max, _) | Kind::Span(_, _, min, max, _)) = field.kind else { continue };
            let (section, name) = field.key.split_once('.').unwrap();
            let text = |value: u64| format!("version = 1\n[{section}]\n{name} = {value}");
            assert!(parse(&text(min)).is_ok() && parse(&text(max)).is_ok(), "{}", field.key);
            assert!(parse(&text(max.saturating_add(1))).is_err(), "{}", field.key);
            if let Some(below) = min.checked_sub(1) {
                assert!(parse(&text(below)).is_err(), "{}", field.key);
            }
        }
    }

    #[test]
    fn hours_names_schedules_and_moments_are_read() {
        let text = "version = 1\n[hours]\nevery_day = [\"18:00-23:30\"]\nsunday = \"always\"\nmonday = \"never\"\n\
                    [exclusive]\napplications = [\"Game.exe\"]\n[energy]\nprice_max = 0.3\nprice = 0.31\n\
                    price_schedule = [\"22:00-06:00 0.12\"]\ncarbon_max = 300\n[work]\nfinish_by = 2026-11-28T18:00:00\n";
        let read = parse(text).unwrap();
        assert!(read.hours.open(6 * 1_440) && !read.hours.open(18 * 60) && read.hours.open(1_440 + 18 * 60));
        assert_eq!(read.exclusive.applications, ["Game.exe"]);
        assert_eq!(read.energy.price_micro_max, Some(300_000));
        assert_eq!((read.energy.price.scheduled(0), read.energy.price.scheduled(720)), (Some(120_000), Some(310_000)));
        assert_eq!(read.work.finish_by_local_ms, Some(20_785 * 86_400_000 + 18 * 3_600_000));
    }

    #[test]
    fn a_file_that_is_too_large_or_not_text_is_refused() {
        let long = format!("version = 1 # {}", "x".repeat(usize::try_from(FILE_BYTES_MAX).unwrap()));
        assert!(matches!(parse(&long), Err(Error::TooLarge { .. })));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("owner.toml");
        assert!(matches!(read(&path), Err(Error::Read(error)) if error.kind() == io::ErrorKind::NotFound));
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(matches!(read(&path), Err(Error::Read(error)) if error.kind() == io::ErrorKind::InvalidData));
        std::fs::write(&path, &long).unwrap();
        assert!(matches!(read(&path), Err(Error::TooLarge { .. })));
    }

    #[test]
    fn no_list_grows_without_bound() {
        let windows = vec!["\"01:00-02:00\""; WINDOWS_MAX.saturating_add(1)].join(",");
        assert!(error(&format!("[hours]\nevery_day = [{windows}]")).contains("at most 8"));
        let names = vec!["\"a\""; NAMES_MAX.saturating_add(1)].join(",");
        assert!(error(&format!("[exclusive]\napplications = [{names}]")).contains("at most 128"));
        let deep = format!("[exclusive]\napplications = {}{}", "[".repeat(60_000), "]".repeat(60_000));
        assert!(parse(&format!("version = 1\n{deep}")).is_err());
    }
}
