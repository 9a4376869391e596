//! What `--events` writes: a line of JSON for each thing that happens to a job, for `tail -f` or for a program.
//!
//! # Design
//! One envelope for all commands: when, what, at which provider, why, and the numbers that a program would otherwise read out of sentences. A line is
//! written in one piece and appended, so that processes that go on with one job tell one story. Who tells what an earlier process may have told already
//! ([`EventLog::tell_once`]) looks at what stands in the file of its job since that was planned ([`EventLog::recall`]): other jobs may have been told of in
//! between. A file is held while it is written to: two
//! jobs that tell their stories through each other could not tell what of it was theirs, and a command that another one is in the way of would end its story.
//!
//! # Invariants
//! A log that cannot be written to, since its disk is full or its reader left, never stops a job. A line is printable ASCII, whatever a peer said: nothing in
//! it ends a line for any reader, or moves a terminal.
//!
//! # Not here
//! A reader that stays and does not read: it holds the job up, as any pipe does.
//!
//! Spec: specs/0011-stream.md §10.

use super::provider_log;
use alloy_primitives::{Address, B256};
use eyre::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _, stdout},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// The event with which a job begins. It names the job, and what follows is of that one.
pub(in crate::compute) const PLANNED: &str = "planned";
/// The event with which another process goes on with a job, which it names likewise.
pub(in crate::compute) const RESUMED: &str = "resumed";
/// The name of standard output.
const STDOUT: &str = "-";
/// So much of a file's end is read again, bytes: some ten thousand lines, more than one job tells, with its providers' words in eight processes.
const RECALLED_BYTES_MAX: u64 = 8 << 20;
/// Things that are remembered as told, at most. Beyond, all are forgotten: a thing that is told twice is better than memory without a bound.
const TOLD_MAX: usize = 16_384;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::compute) struct Happened<'a> {
    /// Its name, which does not change from version to version.
    pub(in crate::compute) event: &'a str,
    /// Whom it is about, if it is about one.
    pub(in crate::compute) provider: Option<Address>,
    /// The reason, or another word for a person; may be empty.
    pub(in crate::compute) detail: &'a str,
    /// Its numbers by name, as a JSON object; null if it has none. Amounts are decimal text.
    pub(in crate::compute) facts: Value,
}

impl Happened<'_> {
    fn line(&self, unix_ms: u64) -> String {
        let mut line =
            json!({"unixMs": unix_ms, "event": self.event, "provider": self.provider, "detail": self.detail});
        if let (false, Some(members)) = (self.facts.is_null(), line.as_object_mut()) {
            members.insert("facts".to_owned(), self.facts.clone());
        }
        ascii(&line.to_string())
    }
}

/// The same JSON without other characters than printable ASCII. Serde escapes what is below it; what is above can only stand in a string, and there a reader
/// that ends lines at U+0085 or U+2028 would take what a peer said for a line of its own.
fn ascii(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    for symbol in json.chars() {
        if matches!(symbol, ' '..='~') {
            plain.push(symbol);
            continue;
        }
        for unit in symbol.encode_utf16(&mut [0; 2]).iter() {
            // A string takes whatever is written to it.
            let _ = write!(plain, "\\u{unit:04x}");
        }
    }
    plain
}

/// Where events go.
#[derive(Debug)]
enum Sink {
    Nowhere,
    File { file: File, path: PathBuf },
    Output,
}

/// The log of one command.
#[derive(Debug)]
pub(in crate::compute) struct EventLog {
    sink: Sink,
    /// The last line may lack its end: a crash, or a full disk, cut it short.
    is_torn: AtomicBool,
    told: Mutex<BTreeSet<String>>,
}

impl EventLog {
    /// To this file, which is appended to; `-` is standard output, and without a name nothing is written.
    ///
    /// # Errors
    /// The file cannot be written to, or another process writes to it.
    pub(in crate::compute) fn open(path: Option<&Path>) -> Result<Self> {
        let (sink, is_torn) = match path {
            None => (Sink::Nowhere, false),
            Some(path) if path == Path::new(STDOUT) => (Sink::Output, false),
            Some(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path);
                let file = file.wrap_err_with(|| format!("cannot write events to {}", path.display()))?;
                hold(&file, path)?;
                let is_torn = tail(path, 1).is_ok_and(|last| last.last().is_some_and(|byte| *byte != b'\n'));
                (Sink::File { file, path: path.to_owned() }, is_torn)
            }
        };
        Ok(Self { sink, is_torn: AtomicBool::new(is_torn), told: Mutex::default() })
    }

    /// From now on knows what was told of this job, with which this process goes on. Standard output has no memory: a process that writes there tells again how
    /// far the job is.
    pub(in crate::compute) fn recall(&self, job: B256) {
        let Sink::File { path, .. } = &self.sink else { return };
        match tail(path, RECALLED_BYTES_MAX) {
            Ok(text) => *self.told.lock().unwrap_or_else(PoisonError::into_inner) = told_in(&text, job),
            Err(error) => {
                tracing::warn!(%error, "the events that were told before cannot be read: some are told again")
            }
        }
    }

    /// Writes it down.
    pub(in crate::compute) fn tell(&self, happened: &Happened<'_>) {
        if matches!(self.sink, Sink::Nowhere) {
            return;
        }
        let ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let line = happened.line(u64::try_from(ms).unwrap_or(u64::MAX));
        // A blank line at most, which readers pass over.
        let lead = if self.is_torn.load(Ordering::Relaxed) { "\n" } else { "" };
        let written = self.write(&format!("{lead}{line}\n"));
        let was_torn = self.is_torn.swap(written.is_err(), Ordering::Relaxed);
        if let (Err(error), false) = (written, was_torn) {
            tracing::warn!(%error, "an event was not written");
        }
    }

    /// Writes it down, unless the same, with the same numbers, was told already.
    pub(in crate::compute) fn tell_once(&self, happened: &Happened<'_>) {
        if matches!(self.sink, Sink::Nowhere) {
            return;
        }
        let is_new = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.len() >= TOLD_MAX {
                told.clear();
            }
            told.insert(key(happened.event, happened.provider, &happened.facts))
        };
        if is_new {
            self.tell(happened);
        }
    }

    /// A line of the command's answer: on standard output, unless events go there; then on standard error.
    #[allow(clippy::print_stdout, clippy::print_stderr, reason = "the answer to the command")]
    pub(in crate::compute) fn answer(&self, line: &str) {
        match self.sink {
            Sink::Output => eprintln!("{line}"),
            Sink::Nowhere | Sink::File { .. } => println!("{line}"),
        }
    }

    fn write(&self, text: &str) -> io::Result<()> {
        match &self.sink {
            Sink::Nowhere => Ok(()),
            Sink::File { file, .. } => {
                let mut file = file;
                file.write_all(text.as_bytes())
            }
            Sink::Output => {
                let mut output = stdout().lock();
                output.write_all(text.as_bytes())?;
                output.flush()
            }
        }
    }
}

/// Holds a file until this process ends, however it ends. What is none, such as a pipe, may have several writers.
fn hold(file: &File, path: &Path) -> Result<()> {
    if !file.metadata().is_ok_and(|known| known.is_file()) {
        return Ok(());
    }
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            bail!("another process writes events to {}: wait for it, or name another file", path.display())
        }
        // A file system without locks is no reason to do without events.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// How far something is, told at its first word and at each further percent, over all conversations: a job of any size takes as many lines, and so does one
/// whose provider says something else each time.
#[derive(Clone, Copy, Debug)]
pub(in crate::compute) struct Pace {
    /// All that there is to do.
    of: u64,
    /// The last percent that was told.
    told: Option<u64>,
}

impl Pace {
    /// Before the first word about so much work.
    pub(in crate::compute) const fn new(of: u64) -> Self {
        Self { of, told: None }
    }

    /// Whether this is worth a line: never if it is about another amount of work.
    pub(in crate::compute) fn is_news(&mut self, done: u64, of: u64) -> bool {
        let percent = done.saturating_mul(100).checked_div(of).unwrap_or(100);
        let is_news = of == self.of && self.told.is_none_or(|told| percent > told);
        if is_news {
            self.told = Some(percent);
        }
        is_news
    }
}

/// What makes it the same thing.
fn key(event: &str, provider: Option<Address>, facts: &Value) -> String {
    format!("{event} {provider:?} {facts}")
}

/// What was told of a job, since it was planned last, in a log whose first line may be half of one.
fn told_in(text: &[u8], job: B256) -> BTreeSet<String> {
    #[derive(Deserialize)]
    struct Line {
        event: String,
        #[serde(default)]
        provider: Option<Address>,
        #[serde(default)]
        facts: Value,
    }
    let job = json!(job);
    // Where the log is cut in the middle of a story, it is most likely this one.
    let (mut told, mut is_ours) = (BTreeSet::new(), true);
    for line in text.split(|byte| *byte == b'\n') {
        let Ok(Line { event, provider, facts }) = serde_json::from_slice(line) else { continue };
        let begins = event == PLANNED || event == RESUMED;
        if let (true, Some(named)) = (begins, facts.get("job")) {
            is_ours = *named == job;
        }
        if !is_ours {
            continue;
        }
        if event == PLANNED {
            told.clear();
        } else if event == provider_log::EVENT {
            // Never told once, and many.
        } else if told.len() < TOLD_MAX {
            told.insert(key(&event, provider, &facts));
        }
    }
    told
}

/// The end of a file; nothing of what is none, such as a pipe.
fn tail(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Ok(Vec::new());
    }
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes_max)))?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const JOB: B256 = B256::repeat_byte(7);

    fn happened(event: &str, facts: Value) -> Happened<'_> {
        Happened { event, provider: None, detail: "", facts }
    }

    /// Each line as it can be read; what cannot be is left out.
    fn lines(path: &Path) -> Vec<Value> {
        let text = fs::read_to_string(path).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    fn names(path: &Path) -> Vec<String> {
        lines(path).iter().map(|line| line["event"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn a_line_has_the_same_four_members_always_and_facts_where_there_are_some() {
        let provider = Some(Address::repeat_byte(0xab));
        let plain = Happened { event: "lost", provider, detail: "no \"word\"\nof it", facts: Value::Null };
        let line = plain.line(7);
        assert!(!line.contains('\n'), "{line}");
        let expected = json!({
            "unixMs": 7,
            "event": "lost",
            "provider": "0xabababababababababababababababababababab",
            "detail": "no \"word\"\nof it",
        });
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), expected);
        let paid = happened("paid", json!({"order": "1", "wei": "20000000000000000"}));
        let line: Value = serde_json::from_str(&paid.line(8)).unwrap();
        let expected = json!({
            "unixMs": 8,
            "event": "paid",
            "provider": null,
            "detail": "",
            "facts": {"order": "1", "wei": "20000000000000000"},
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn a_process_that_goes_on_appends_and_tells_nothing_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let of = |number: u32| json!({"order": number.to_string()});
        let log = EventLog::open(Some(&path)).unwrap();
        // Of a job before, on another chain perhaps: its first order has the same number.
        log.tell_once(&happened("paid", of(1)));
        log.tell(&happened(PLANNED, json!({"job": JOB, "units": 3})));
        log.tell_once(&happened("ordered", of(1)));
        log.tell_once(&happened("ordered", of(1)));
        log.tell_once(&happened("ordered", of(2)));
        drop(log);
        // The process dies in the middle of a line.
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"unixMs\":1,\"eve").unwrap();

        let log = EventLog::open(Some(&path)).unwrap();
        log.recall(JOB);
        log.tell(&happened(RESUMED, of(1)));
        log.tell_once(&happened("ordered", of(1)));
        log.tell_once(&happened("paid", of(1)));
        log.tell_once(&happened("paid", json!({"order": "1", "wei": "2"})));
        assert_eq!(names(&path), ["paid", PLANNED, "ordered", "ordered", "resumed", "paid", "paid"]);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 8, "half a line stays, and takes no other with it: {text}");
    }

    #[test]
    fn a_job_that_goes_on_after_another_one_in_the_same_file_tells_nothing_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let other = B256::repeat_byte(9);
        let begins = |event: &'static str, job: B256| happened(event, json!({"job": job}));
        let of = |number: u32| json!({"order": number.to_string()});
        let process = |job: B256, first: &'static str, order: u32| {
            let log = EventLog::open(Some(&path)).unwrap();
            if first == RESUMED {
                log.recall(job);
            }
            log.tell(&begins(first, job));
            log.tell_once(&happened("ordered", of(order)));
        };
        process(JOB, PLANNED, 1);
        process(other, PLANNED, 2);
        process(JOB, RESUMED, 1);
        process(other, RESUMED, 2);
        process(JOB, RESUMED, 1);
        let all = [PLANNED, "ordered", PLANNED, "ordered", RESUMED, RESUMED, RESUMED];
        assert_eq!(names(&path), all);
        // The same once more is another order, of another chain perhaps.
        process(JOB, PLANNED, 1);
        assert_eq!(names(&path), [&all[..], &[PLANNED, "ordered"]].concat());
    }

    #[test]
    fn what_a_peer_says_ends_no_line_and_moves_no_terminal() {
        let said = "a\u{2028}{\"event\":\"done\"}\u{85}\u{7f}\u{9b}2J\u{202e}\u{1b}[2J\r\n\u{1f600} \u{e9}";
        let line = Happened { event: "lost", provider: None, detail: said, facts: json!({"path": said}) }.line(1);
        assert!(line.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{line}");
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&read["detail"], &read["facts"]["path"]), (&said.into(), &said.into()));
    }

    #[test]
    fn a_file_has_one_writer_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let log = EventLog::open(Some(&path)).unwrap();
        log.tell(&happened(PLANNED, Value::Null));
        let error = EventLog::open(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("another process writes events to") && error.contains("events.jsonl"), "{error}");
        assert_eq!(names(&path), [PLANNED], "the story of the first goes on");
        drop(log);
        EventLog::open(Some(&path)).unwrap().tell(&happened("resumed", Value::Null));
        assert_eq!(names(&path), [PLANNED, "resumed"]);
    }

    #[test]
    fn the_same_numbers_of_another_provider_are_another_thing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let joined = |number: u8| Happened {
            provider: Some(Address::repeat_byte(number)),
            ..happened("joined", json!({"priceWeiPerStep": "7"}))
        };
        let log = EventLog::open(Some(&path)).unwrap();
        log.tell_once(&joined(1));
        drop(log);
        let log = EventLog::open(Some(&path)).unwrap();
        log.recall(JOB);
        [1, 2, 2, 1].iter().for_each(|number| log.tell_once(&joined(*number)));
        let providers: Vec<Value> = lines(&path).iter().map(|line| line["provider"].clone()).collect();
        assert_eq!(providers, [1, 2].map(|number| json!(Address::repeat_byte(number))));
    }

    #[test]
    fn progress_is_told_at_its_beginning_and_at_each_percent() {
        let mut pace = Pace::new(10_000);
        let told: Vec<u64> = (0..=10_000).filter(|done| pace.is_news(*done, 10_000)).collect();
        assert_eq!((told.len(), told.first(), told.get(1), told.last()), (101, Some(&0), Some(&100), Some(&10_000)));
        let mut pace = Pace::new(3);
        assert_eq!((0..=3).filter(|done| pace.is_news(*done, 3)).count(), 4);
        assert!(!pace.is_news(1, 3), "it does not go back");
        assert!(Pace::new(0).is_news(0, 0));
    }

    #[test]
    fn a_provider_that_speaks_of_other_work_or_begins_anew_makes_no_more_lines() {
        let mut pace = Pace::new(10_000);
        let words = (1..=20_000_u64).flat_map(|of| [(0, of), (of.div_ceil(2), of), (of, of)]);
        assert_eq!(
            words.filter(|(done, of)| pace.is_news(*done, *of)).count(),
            3,
            "three of this job, none of another"
        );
        assert!((0..=10_000).all(|done| !pace.is_news(done, 10_000)), "in a conversation after the end");
    }

    #[test]
    fn no_log_tells_nothing_and_one_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let log = EventLog::open(None).unwrap();
        log.recall(JOB);
        log.tell(&happened(PLANNED, Value::Null));
        log.tell_once(&happened("paid", Value::Null));
        assert!(log.told.lock().unwrap().is_empty());
        let error = EventLog::open(Some(&folder.path().join("none").join("events"))).unwrap_err().to_string();
        assert!(error.contains("cannot write events to") && error.contains("none"), "{error}");
    }

    #[test]
    fn only_the_end_of_a_long_log_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        fs::write(&path, b"0123456789").unwrap();
        assert_eq!(tail(&path, 4).unwrap(), b"6789");
        assert_eq!(tail(&path, 40).unwrap(), b"0123456789");
        assert!(tail(folder.path(), 4).unwrap().is_empty(), "no file");
    }
}
