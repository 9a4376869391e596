//! What providers say of their side while a job is under way: `provider.log` in the job's folder, and what of it a person and a program are told.
//!
//! # Design
//! A note is its provider's word, and is told as that: *says*. The log has every note that a [`Quota`] let through; a terminal the few kinds that explain why
//! nothing moves, or all of them with `--verbose`; `--events` so many of a process that what else is in it can be read again by the next one.
//!
//! # Invariants
//! No provider can fill a disk or a terminal with notes: so many a minute are heard, the others passed over, and the log has two files of a bounded size. A log
//! that cannot be written to stops no job. Words are printable ASCII, as `keystead-blobs` reads them.
//!
//! Spec: specs/0005-transfer.md §4.1, specs/0011-stream.md §10.

use alloy_primitives::Address;
use keystead_blobs::Note;
use serde_json::{Value, json};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// The log's name in the folder of a job.
pub(in crate::compute) const FILE: &str = "provider.log";
/// What was in it before it was full.
pub(in crate::compute) const FILE_BEFORE: &str = "provider.log.1";
/// The name of the event.
pub(in crate::compute) const EVENT: &str = "note";
/// Largest log in bytes, some ten thousand notes; then it becomes the one before, which is lost.
const LOG_BYTES_MAX: u64 = 1 << 20;
/// Notes heard in a minute: somewhat more than an honest provider says in one (specs/0005-transfer.md §4.1).
const MINUTE_MAX: u32 = 600;
const MINUTE: Duration = Duration::from_secs(60);
/// Lines that a person who did not ask for all of them reads in a minute, of all providers: one each second.
const SHOWN_MAX: u32 = 60;
/// Notes that programs are told by one process, the half of them of kinds that say why nothing moves: less than a MiB of the log's end, of which another process reads
/// eight again (`event_log`).
const EVENTS_MAX: u32 = 1_500;

/// How many notes of one provider are heard.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::compute) struct Quota {
    since: Option<Instant>,
    heard: u32,
}

impl Quota {
    /// Whether one that comes now is heard.
    pub(in crate::compute) fn hears(&mut self, now: Instant) -> bool {
        self.counts(now) <= MINUTE_MAX
    }

    /// Which one of its minute this is.
    fn counts(&mut self, now: Instant) -> u32 {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= MINUTE) {
            *self = Self { since: Some(now), heard: 0 };
        }
        self.heard = self.heard.saturating_add(1);
        self.heard
    }
}

/// How much of what providers say a person reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::compute) enum Detail {
    /// Why nothing moves.
    Grave,
    /// Everything.
    All,
}

impl Detail {
    /// By the option `--verbose`.
    pub(in crate::compute) const fn of(is_verbose: bool) -> Self {
        if is_verbose { Self::All } else { Self::Grave }
    }
}

/// The log of one job.
#[derive(Debug)]
pub(in crate::compute) struct ProviderLog {
    path: PathBuf,
    detail: Detail,
    /// The file and its size; none before the first note, so that a job without notes has no log.
    file: Mutex<Option<(File, u64)>>,
    /// Notes that programs were told.
    told: AtomicU32,
    /// Lines that the person was shown.
    shown: Mutex<Quota>,
}

impl ProviderLog {
    /// In this folder. Nothing is made yet.
    pub(in crate::compute) fn new(folder: &Path, detail: Detail) -> Self {
        Self {
            path: folder.join(FILE),
            detail,
            file: Mutex::default(),
            told: AtomicU32::new(0),
            shown: Mutex::default(),
        }
    }

    /// Writes a note down; the line for the person, if there is to be one.
    pub(in crate::compute) fn hear(&self, provider: Address, note: &Note) -> Option<String> {
        // Blanks that fill a line up would let the rest begin the next one, as if it was not the provider that said it.
        let said = note.to_string();
        let words: Vec<&str> = said.split(' ').filter(|word| !word.is_empty()).collect();
        let line = format!("{provider} says: {}", words.join(" "));
        if let Err(error) = self.write(&line) {
            tracing::debug!(%error, "what a provider says was not written");
        }
        (self.detail == Detail::All || note.kind.is_grave() && self.is_shown()).then_some(line)
    }

    /// Whether there is room for another line in this minute; the log has it in any case.
    fn is_shown(&self) -> bool {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).counts(Instant::now()) <= SHOWN_MAX
    }

    /// Whether programs are told of it; counts it if so.
    pub(in crate::compute) fn is_event(&self, note: &Note) -> bool {
        let most = if note.kind.is_grave() { EVENTS_MAX } else { EVENTS_MAX / 2 };
        let told = self.told.load(Ordering::Relaxed);
        let tells = told < most;
        if tells {
            self.told.store(told.saturating_add(1), Ordering::Relaxed);
        }
        tells
    }

    fn write(&self, line: &str) -> io::Result<()> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = format!("{}.{:03} {line}\n", at.as_secs(), at.subsec_millis());
        let bytes = u64::try_from(line.len()).unwrap_or(u64::MAX);
        // No code panics while it holds this lock.
        let mut held = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut file, mut size) = match held.take() {
            Some(open) => open,
            None => self.open()?,
        };
        if size > 0 && size.saturating_add(bytes) > LOG_BYTES_MAX {
            drop(file);
            fs::rename(&self.path, self.path.with_file_name(FILE_BEFORE))?;
            (file, size) = self.open()?;
        }
        file.write_all(line.as_bytes())?;
        *held = Some((file, size.saturating_add(bytes)));
        Ok(())
    }

    fn open(&self) -> io::Result<(File, u64)> {
        let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        let size = file.metadata()?.len();
        Ok((file, size))
    }
}

/// What a program is told of a note, beside its words; `about` names the order or lease. Times are the provider's.
pub(in crate::compute) fn facts(note: &Note, (about, value): (&str, Value)) -> Value {
    json!({
        about: value,
        "kind": note.kind.name(),
        "number": note.number,
        "unit": note.unit,
        "atUnixMs": note.at_ms,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;
    use crate::compute::event_log::{EventLog, Happened};
    use keystead_blobs::NoteKind;

    const PROVIDER: Address = Address::repeat_byte(0xab);

    #[test]
    fn a_flood_of_notes_is_heard_as_far_as_a_minute_goes() {
        let (mut quota, start) = (Quota::default(), Instant::now());
        let heard = |quota: &mut Quota, now: Instant| (0..100_000).filter(|_| quota.hears(now)).count();
        assert_eq!(heard(&mut quota, start), 600);
        assert_eq!(heard(&mut quota, start + MINUTE - Duration::from_millis(1)), 0);
        assert_eq!(heard(&mut quota, start + MINUTE), 600);
    }

    #[test]
    fn the_log_has_every_note_and_a_person_those_that_matter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let log = ProviderLog::new(folder.path(), Detail::Grave);
        assert!(!path.exists());
        let died = Note::now(NoteKind::WorkerEnded, 2, "signal: 9;\n the unit runs again").of_unit(7);
        let line = log.hear(PROVIDER, &died).unwrap();
        assert_eq!(line, format!("{PROVIDER} says: lost a worker, times=2 unit=7: signal: 9;? the unit runs again"));
        assert_eq!(log.hear(PROVIDER, &Note::now(NoteKind::Finished, 12, "").of_unit(8)), None);
        let verbose = ProviderLog::new(folder.path(), Detail::of(true));
        assert!(verbose.hear(PROVIDER, &Note::now(NoteKind::Finished, 12, "").of_unit(9)).is_some());
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            (text.lines().count(), text.matches("says: finished a unit, ms=12 unit=").count()),
            (3, 2),
            "{text}"
        );
        let facts = facts(&died, ("order", json!("1")));
        assert_eq!((&facts["kind"], &facts["order"]), (&json!("worker-ended"), &json!("1")));
    }

    #[test]
    fn a_person_reads_a_line_a_second_and_who_asks_for_all_of_them_all() {
        let shown = |detail: Detail| {
            let log = ProviderLog::new(Path::new("nowhere"), detail);
            (0..500).filter(|_| log.hear(PROVIDER, &Note::now(NoteKind::Retry, 1, "again")).is_some()).count()
        };
        assert_eq!((shown(Detail::Grave), shown(Detail::All)), (60, 500));
    }

    /// It would begin a line of its own on a terminal that is so wide.
    #[test]
    fn words_behind_many_blanks_stay_behind_who_says_them() {
        let log = ProviderLog::new(Path::new("nowhere"), Detail::Grave);
        let words = format!("x{}Every unit is done", " ".repeat(150));
        let line = log.hear(PROVIDER, &Note::now(NoteKind::Retry, 0, &words)).unwrap();
        assert_eq!(line, format!("{PROVIDER} says: tries again: x Every unit is done"));
    }

    /// So another process finds what else its job told in the part of the file that it reads again.
    #[test]
    fn what_programs_are_told_by_one_process_takes_less_than_a_mib_whatever_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let log = EventLog::open(Some(&path)).unwrap();
        let mut note =
            Note::now(NoteKind::WorkerEnded, u64::MAX, &"\"".repeat(200)).of_unit(u32::MAX).of_lease(u64::MAX);
        note.at_ms = u64::MAX;
        let facts = facts(&note, ("lease", note.lease.into()));
        log.tell(&Happened { event: EVENT, provider: Some(PROVIDER), detail: note.words(), facts });
        let bytes = fs::metadata(&path).unwrap().len();
        assert!(bytes > 600 && bytes * u64::from(EVENTS_MAX) < 1 << 20, "{bytes}");
    }

    #[test]
    fn programs_are_told_so_many_and_why_nothing_moves_longest() {
        let log = ProviderLog::new(Path::new("nowhere"), Detail::Grave);
        let told = |kind: NoteKind| (0..10_000).filter(|_| log.is_event(&Note::now(kind, 1, ""))).count();
        assert_eq!((told(NoteKind::Finished), told(NoteKind::Paused), told(NoteKind::Paused)), (750, 750, 0));
    }

    #[test]
    fn a_full_log_becomes_the_one_before_and_both_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let log = ProviderLog::new(folder.path(), Detail::Grave);
        let note = Note::now(NoteKind::Finished, 1, &"x".repeat(200));
        (0..12_000).for_each(|_| drop(log.hear(PROVIDER, &note)));
        let size = |name: &str| fs::metadata(folder.path().join(name)).unwrap().len();
        assert!(size(FILE) <= LOG_BYTES_MAX && size(FILE_BEFORE) <= LOG_BYTES_MAX);
        assert!(size(FILE_BEFORE) > LOG_BYTES_MAX / 2);
        // A process that goes on appends.
        let before = size(FILE);
        drop(ProviderLog::new(folder.path(), Detail::Grave).hear(PROVIDER, &note));
        assert!(size(FILE) > before);
    }

    #[test]
    fn a_log_that_cannot_be_written_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let log = ProviderLog::new(&folder.path().join("none"), Detail::All);
        assert!(log.hear(PROVIDER, &Note::now(NoteKind::Resumed, 0, "")).is_some());
    }
}
