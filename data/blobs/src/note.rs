//! Notes: what a provider tells its customer of its own side while a job is under way. Short, bounded, and the provider's word alone.
//!
//! # Design
//! Whoever works puts notes into [`Notes`], which never waits: when it is full, the oldest gives way and is counted. Whoever has the connection takes them
//! out, no faster and no more than a [`Pace`] allows. So notes hold no work up, and cost a customer that does not want them a known number of bytes.
//!
//! # Invariants
//! The words are printable ASCII in both directions: they end no line and move no terminal. Nothing is decided by a note.
//!
//! Spec: specs/0005-transfer.md §4.1.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};
use tokio::sync::Notify;

use crate::{
    error::Violation,
    wire::{Reason, codes, decode},
};

/// Longest words of a note in bytes (inclusive): a line of a terminal, twice.
pub const NOTE_WORDS_MAX: usize = 200;
/// Most notes of one session: some MiB at most, whatever the job. One more breaks the protocol.
pub const NOTES_MAX: u32 = 16_384;
/// Notes that wait to be told: what happened while the customer was away, as far as a person reads it. As many lines of a program wait beside them, all that one run may say, and
/// as many counts of those that its runs left out.
const WAITING_MAX: usize = 64;
/// Lines of programs, and counts of those left out, that a session tells: the other half of its notes is its provider's own.
const SAID_MAX: u32 = NOTES_MAX / 2;
/// Notes that may go at once after a quiet time.
const BURST: u32 = 16;
/// One note goes so often in the long run: 8 a second.
const EACH: Duration = Duration::from_millis(125);
/// What happens all the time, as the end of a unit, is told no more often than this: a session's notes then last for a day.
const SPARING: Duration = Duration::from_secs(5);

codes! {
    /// What a note is about. What its number counts stands behind it.
    NoteKind {
        /// Inputs are being fetched: so many blobs.
        Fetching = 1: "fetches inputs, blobs",
        /// All inputs are there.
        Fetched = 2: "has the inputs",
        /// It waits for the machine, behind so many others.
        Waiting = 3: "waits for the machine, others before it",
        /// The program is compiled and passed its self-test: so many milliseconds.
        Prepared = 4: "has the program ready, ms",
        /// A unit begins: the first segment of it that is run.
        Began = 5: "begins a unit, at segment",
        /// A unit is done: so many milliseconds.
        Finished = 6: "finished a unit, ms",
        /// The owner has the machine: the words say why.
        Paused = 7: "is paused by its owner",
        /// The work goes on.
        Resumed = 8: "goes on",
        /// Something is tried again: the words say why.
        Retry = 9: "tries again",
        /// The process that ran a unit ended, for so many times by now; the unit runs again.
        WorkerEnded = 10: "lost a worker, times",
        /// What is done is on the disk: so many segments.
        Saved = 11: "saved what is done, segments",
        /// So many notes before this one were left out.
        Dropped = 12: "left out notes",
        /// Others have the machine now: so many.
        GivesWay = 13: "gives way to others",
        /// The customer's program says a line while it runs a unit: the words are the program's.
        Said = 14: "its program says",
    }
}

impl NoteKind {
    /// The word for machines; it never changes its meaning.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fetching => "fetching",
            Self::Fetched => "fetched",
            Self::Waiting => "waiting",
            Self::Prepared => "prepared",
            Self::Began => "began",
            Self::Finished => "finished",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Retry => "retry",
            Self::WorkerEnded => "worker-ended",
            Self::Saved => "saved",
            Self::Dropped => "dropped",
            Self::GivesWay => "gives-way",
            Self::Said => "said",
        }
    }

    /// Whether a person who did not ask for more wants to read it: it explains why nothing moves, or what went wrong.
    #[must_use]
    pub const fn is_grave(self) -> bool {
        matches!(self, Self::Waiting | Self::Paused | Self::Resumed | Self::Retry | Self::WorkerEnded | Self::GivesWay)
    }
}

/// One thing that a provider says of its side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// When, by the provider's clock, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// For programs.
    pub kind: NoteKind,
    /// The lease that it is about, in a stream.
    pub lease: Option<u64>,
    /// The unit, if it is about one.
    pub unit: Option<u32>,
    /// What the kind counts; 0 if it counts nothing.
    pub number: u64,
    /// For people; may be empty. At most [`NOTE_WORDS_MAX`] bytes of printable ASCII.
    words: Reason,
}

impl Note {
    /// A note that happens now. Other characters than printable ASCII become `?`, the rest of what is too long is cut.
    #[must_use]
    pub fn now(kind: NoteKind, number: u64, words: &str) -> Self {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        let words: String = words.chars().take(NOTE_WORDS_MAX).collect();
        Self { at_ms, kind, lease: None, unit: None, number, words: Reason::new(&words) }
    }

    /// The same, about a unit.
    #[must_use]
    pub const fn of_unit(mut self, unit: u32) -> Self {
        self.unit = Some(unit);
        self
    }

    /// The same, about a lease.
    #[must_use]
    pub const fn of_lease(mut self, lease: u64) -> Self {
        self.lease = Some(lease);
        self
    }

    /// The words for people.
    #[must_use]
    pub fn words(&self) -> &str {
        self.words.as_str()
    }

    fn body(&self) -> NoteBody {
        NoteBody {
            at_ms: self.at_ms,
            kind: self.kind,
            lease: self.lease.into_iter().collect(),
            unit: self.unit.into_iter().collect(),
            number: self.number,
            words: self.words.clone(),
        }
    }

    /// Decodes a hostile body.
    pub(crate) fn decode_body(body: &[u8]) -> Result<Self, Violation> {
        let NoteBody { at_ms, kind, lease, unit, number, words } = decode("note", body)?;
        if lease.len() > 1 || unit.len() > 1 || words.as_str().len() > NOTE_WORDS_MAX {
            return Err(Violation::Malformed { what: "note" });
        }
        let (lease, unit) = (lease.first().copied(), unit.first().copied());
        Ok(Self { at_ms, kind, lease, unit, number, words })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if self.number > 0 {
            write!(f, "={}", self.number)?;
        }
        if let Some(lease) = self.lease {
            write!(f, " lease={lease}")?;
        }
        if let Some(unit) = self.unit {
            write!(f, " unit={unit}")?;
        }
        if self.words().is_empty() { Ok(()) } else { write!(f, ": {}", self.words()) }
    }
}

impl Encodable for Note {
    fn encode(&self, out: &mut dyn alloy_rlp::BufMut) {
        self.body().encode(out);
    }

    fn length(&self) -> usize {
        self.body().length()
    }
}

/// As it travels: what is absent is an empty list.
#[derive(RlpEncodable, RlpDecodable)]
struct NoteBody {
    at_ms: u64,
    kind: NoteKind,
    lease: Vec<u64>,
    unit: Vec<u32>,
    number: u64,
    words: Reason,
}

/// How many notes a session may still say, and how fast. The clock is a parameter.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    left: u32,
    /// Lines of programs that went, and counts of those left out.
    said: u32,
    /// Notes that may go now.
    ready: u32,
    /// When the next one is added.
    next: Option<Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { left: NOTES_MAX, said: 0, ready: BURST, next: None }
    }
}

impl Pace {
    /// How long the next note must wait; `None`: for ever.
    fn wait(&mut self, now: Instant) -> Option<Duration> {
        while let Some(next) = self.next.filter(|next| *next <= now) {
            self.ready = self.ready.saturating_add(1);
            let is_full = self.ready >= BURST;
            self.next = if is_full { None } else { next.checked_add(EACH) };
        }
        if self.left == 0 {
            return None;
        }
        let until = self.next.filter(|_| self.ready == 0);
        Some(until.map_or(Duration::ZERO, |next| next.saturating_duration_since(now)))
    }

    /// One goes.
    fn spend(&mut self, now: Instant) {
        self.left = self.left.saturating_sub(1);
        self.ready = self.ready.saturating_sub(1);
        self.next = self.next.or_else(|| now.checked_add(EACH));
    }
}

/// Notes of one order or channel that wait to be told. Whoever puts one in never waits.
#[derive(Debug, Default)]
pub struct Notes {
    queue: Mutex<Queue>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Note>,
    /// Left out since the last one that was taken.
    dropped: u64,
    /// When a kind was told last that is told sparingly, by its number.
    told: BTreeMap<u16, Instant>,
}

impl Queue {
    fn push(&mut self, note: Note) {
        // A program that says much takes no place of what its provider says.
        let is_alike = |other: &Note| of_program(other) == of_program(&note);
        if self.waiting.iter().filter(|&other| is_alike(other)).count() >= WAITING_MAX
            && let Some(oldest) = self.waiting.iter().position(is_alike)
        {
            self.waiting.remove(oldest);
            self.dropped = self.dropped.saturating_add(1);
        }
        self.waiting.push_back(note);
    }

    /// Whether it is time for another one of this kind.
    fn is_due(&mut self, kind: NoteKind, now: Instant) -> bool {
        let last = self.told.get(&kind.code());
        if last.is_some_and(|last| now.saturating_duration_since(*last) < SPARING) {
            return false;
        }
        self.told.insert(kind.code(), now);
        true
    }

    /// What was left out comes before what was not.
    fn pop(&mut self) -> Option<Note> {
        match std::mem::take(&mut self.dropped) {
            0 => self.waiting.pop_front(),
            dropped => Some(Note::now(NoteKind::Dropped, dropped, "")),
        }
    }

    fn is_empty(&self) -> bool {
        self.dropped == 0 && self.waiting.is_empty()
    }
}

/// The kind of a note that there is because of what a program says: a line, or how many were left out, as often as the program likes.
fn of_program(note: &Note) -> Option<NoteKind> {
    let is_count = note.kind == NoteKind::Dropped && note.unit.is_some();
    (note.kind == NoteKind::Said || is_count).then_some(note.kind)
}

impl Notes {
    /// Puts one in.
    pub fn say(&self, note: Note) {
        self.lock().push(note);
        self.bell.notify_one();
    }

    /// Puts one in, unless one of its kind was told a moment ago: for what happens all the time.
    pub fn say_sparingly(&self, note: Note) {
        let is_due = self.lock().is_due(note.kind, Instant::now());
        if is_due {
            self.say(note);
        }
    }

    /// The next one, if there is one and the session may say one now.
    pub fn take(&self, pace: &mut Pace) -> Option<Note> {
        let now = Instant::now();
        if pace.wait(now) != Some(Duration::ZERO) {
            return None;
        }
        let mut queue = self.lock();
        if pace.said >= SAID_MAX {
            queue.waiting.retain(|note| of_program(note).is_none());
        }
        let note = queue.pop()?;
        pace.spend(now);
        pace.said = pace.said.saturating_add(of_program(&note).is_some().into());
        Some(note)
    }

    /// The next one, as soon as there is one and the session may say it; never, once it may say none any more. May be dropped and called again without
    /// losing one. One caller at a time.
    pub async fn next(&self, pace: &mut Pace) -> Note {
        loop {
            let is_empty = self.lock().is_empty();
            match pace.wait(Instant::now()) {
                None => std::future::pending().await,
                Some(_) if is_empty => self.bell.notified().await,
                Some(wait) => {
                    if let Some(note) = self.take(pace) {
                        return note;
                    }
                    tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code panics while it holds this lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many notes a peer may still say in a session: none in one of version 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance(u32);

impl Allowance {
    /// Of a session whose protocol has notes, or has none.
    pub(crate) const fn new(has_notes: HasNotes) -> Self {
        match has_notes {
            HasNotes::Yes => Self(NOTES_MAX),
            HasNotes::No => Self(0),
        }
    }

    /// One more came.
    pub(crate) fn spend(&mut self) -> Result<(), Violation> {
        self.0 = self.0.checked_sub(1).ok_or(Violation::OutOfOrder { what: "a note too many" })?;
        Ok(())
    }
}

/// Whether the version of a protocol that two ends speak has notes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HasNotes {
    Yes,
    No,
}

impl HasNotes {
    /// Of a connection that speaks `spoken`, where `current` is the version that has them.
    pub(crate) fn of(spoken: &[u8], current: &[u8]) -> Self {
        if spoken == current { Self::Yes } else { Self::No }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)] // A test: a panic is a failure.
mod tests {
    use super::*;
    use crate::wire::encode;
    use proptest::prelude::*;

    const KIND: u8 = 0x1d;

    fn note() -> Note {
        let note = Note::now(NoteKind::WorkerEnded, 2, "exit code 139: it will run again");
        Note { at_ms: 1_796_000_000_000, ..note }.of_unit(7).of_lease(1 << 32)
    }

    fn body(note: &Note) -> Vec<u8> {
        encode(KIND, note).split_off(1)
    }

    #[test]
    fn a_note_round_trips_and_its_cut_or_longer_forms_do_not() {
        for note in [note(), Note::now(NoteKind::Resumed, 0, ""), Note::now(NoteKind::Saved, u64::MAX, "x").of_unit(0)]
        {
            let bytes = body(&note);
            assert_eq!(Note::decode_body(&bytes).unwrap(), note);
            assert!((0..bytes.len()).all(|length| Note::decode_body(&bytes[..length]).is_err()));
            assert!(Note::decode_body(&[bytes.as_slice(), &[0x80]].concat()).is_err());
        }
        for kind in NoteKind::ALL {
            assert_eq!(NoteKind::from_code(kind.code()), Some(*kind));
            assert!(!kind.name().is_empty());
        }
    }

    #[test]
    fn words_are_printable_and_short_whoever_made_them() {
        let hostile = "\u{1b}[2J\r\n\u{2028}paid\u{9b}";
        assert_eq!(Note::now(NoteKind::Retry, 1, hostile).words(), "?[2J???paid?");
        let long = Note::now(NoteKind::Retry, 1, &"é".repeat(1_000));
        assert_eq!(long.words().len(), NOTE_WORDS_MAX);
        assert_eq!(Note::decode_body(&body(&long)).unwrap(), long);
        let with = |words: Vec<u8>| {
            let mut out = Vec::new();
            let text = String::from_utf8(words).unwrap();
            let fields: [&dyn Encodable; 6] = [&1_u64, &9_u16, &Vec::<u64>::new(), &Vec::<u32>::new(), &1_u64, &text];
            let payload_length = fields.iter().map(|field| field.length()).sum();
            alloy_rlp::Header { list: true, payload_length }.encode(&mut out);
            fields.iter().for_each(|field| field.encode(&mut out));
            Note::decode_body(&out)
        };
        assert!(with(vec![b'a'; NOTE_WORDS_MAX]).is_ok());
        assert!(with(vec![b'a'; NOTE_WORDS_MAX + 1]).is_err());
        for words in [b"\n".to_vec(), b"\x1b[2J".to_vec(), b"\x7f".to_vec(), "\u{2028}".into(), "\u{9b}".into()] {
            assert!(with(words).is_err());
        }
    }

    #[test]
    fn two_units_two_leases_and_unknown_kinds_are_refused() {
        let with = |kind: u16, leases: Vec<u64>, units: Vec<u32>| {
            let mut out = Vec::new();
            let words = String::new();
            let fields: [&dyn Encodable; 6] = [&1_u64, &kind, &leases, &units, &1_u64, &words];
            let payload_length = fields.iter().map(|field| field.length()).sum();
            alloy_rlp::Header { list: true, payload_length }.encode(&mut out);
            fields.iter().for_each(|field| field.encode(&mut out));
            Note::decode_body(&out)
        };
        assert!(with(1, vec![1], vec![1]).is_ok());
        assert!(with(1, vec![1, 2], vec![1]).is_err() && with(1, vec![1], vec![1, 2]).is_err());
        assert!(with(0, vec![], vec![]).is_err() && with(15, vec![], vec![]).is_err());
    }

    proptest! {
        /// One changed byte of a real note: it decodes to something whose one encoding it is, or not at all.
        #[test]
        fn a_changed_note_decodes_canonically_or_not_at_all(position in 0_usize..100, value: u8) {
            let mut bytes = body(&note());
            let place = position % bytes.len();
            bytes[place] = value;
            if let Ok(decoded) = Note::decode_body(&bytes) {
                prop_assert_eq!(body(&decoded), bytes);
            }
        }
    }

    #[test]
    fn a_full_queue_gives_up_its_oldest_and_says_how_many() {
        let mut queue = Queue::default();
        let count = u64::try_from(WAITING_MAX).unwrap() + 5;
        (0..count).for_each(|number| queue.push(Note::now(NoteKind::Saved, number, "")));
        let first = queue.pop().unwrap();
        assert_eq!((first.kind, first.number), (NoteKind::Dropped, 5));
        let rest: Vec<u64> = std::iter::from_fn(|| queue.pop()).map(|note| note.number).collect();
        assert_eq!(rest, (5..count).collect::<Vec<_>>());
        assert!(queue.is_empty());
    }

    #[test]
    fn a_program_that_says_much_takes_no_place_of_what_its_provider_says() {
        let mut queue = Queue::default();
        queue.push(Note::now(NoteKind::Paused, 0, "the owner is back"));
        let count = u64::try_from(WAITING_MAX).unwrap() + 5;
        (0..count).for_each(|line| queue.push(Note::now(NoteKind::Said, 0, &line.to_string())));
        queue.push(Note::now(NoteKind::Resumed, 0, ""));
        let told: Vec<Note> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!((told[0].kind, told[0].number), (NoteKind::Dropped, 5));
        assert_eq!(told[1].kind, NoteKind::Paused);
        let lines: Vec<String> = told[2..told.len() - 1].iter().map(|note| note.words().to_owned()).collect();
        assert_eq!(lines, (5..count).map(|line| line.to_string()).collect::<Vec<_>>());
        assert_eq!(told.last().unwrap().kind, NoteKind::Resumed);
    }

    #[test]
    fn a_session_tells_so_many_lines_of_programs_and_then_only_what_its_provider_says() {
        let (notes, mut pace) = (Notes::default(), Pace { said: SAID_MAX - 1, ..Pace::default() });
        for words in ["the last", "one more"] {
            notes.say(Note::now(NoteKind::Said, 0, words));
        }
        notes.say(Note::now(NoteKind::Paused, 0, "the owner is back"));
        let told: Vec<Note> = std::iter::from_fn(|| notes.take(&mut pace)).collect();
        let told: Vec<&str> = told.iter().map(Note::words).collect();
        assert_eq!(told, ["the last", "the owner is back"]);
    }

    #[test]
    fn counts_of_lines_left_out_take_no_place_of_what_their_provider_says() {
        let count = || Note::now(NoteKind::Dropped, 9, "lines of its program").of_unit(1);
        let mut queue = Queue::default();
        queue.push(Note::now(NoteKind::Paused, 0, "the owner is back"));
        (0..=WAITING_MAX).for_each(|_| queue.push(count()));
        let told: Vec<NoteKind> = std::iter::from_fn(|| queue.pop()).map(|note| note.kind).collect();
        assert_eq!((&told[..2], told.len()), (&[NoteKind::Dropped, NoteKind::Paused][..], WAITING_MAX + 2));
        let (notes, mut pace) = (Notes::default(), Pace { said: SAID_MAX, ..Pace::default() });
        notes.say(count());
        assert_eq!(notes.take(&mut pace), None, "the other half of the session is its provider's");
    }

    #[test]
    fn what_happens_all_the_time_is_told_now_and_then() {
        let (mut queue, start) = (Queue::default(), Instant::now());
        assert!(queue.is_due(NoteKind::Finished, start) && queue.is_due(NoteKind::Began, start));
        assert!(!queue.is_due(NoteKind::Finished, start + SPARING - Duration::from_millis(1)));
        assert!(queue.is_due(NoteKind::Finished, start + SPARING));
    }

    #[test]
    fn a_session_says_so_many_at_once_then_one_each_eighth_of_a_second_and_no_more_than_so_many_in_all() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let mut said = 0;
        let mut now = start;
        while pace.wait(now) == Some(Duration::ZERO) {
            pace.spend(now);
            said += 1;
        }
        assert_eq!(said, BURST);
        assert_eq!(pace.wait(now), Some(EACH));
        now += EACH;
        assert_eq!(pace.wait(now), Some(Duration::ZERO));
        pace.spend(now);
        assert_eq!(pace.wait(now), Some(EACH));
        // A long quiet time gives no more than one burst.
        now += Duration::from_secs(3_600);
        for _ in 0..BURST {
            assert_eq!(pace.wait(now), Some(Duration::ZERO));
            pace.spend(now);
        }
        assert!(pace.wait(now) > Some(Duration::ZERO));
        let mut left = pace.left;
        while left > 0 {
            now += EACH;
            assert_eq!(pace.wait(now), Some(Duration::ZERO));
            pace.spend(now);
            left -= 1;
        }
        assert_eq!(pace.wait(now + Duration::from_secs(9)), None);
    }

    #[test]
    fn a_peer_may_say_so_many_notes_and_one_of_version_1_none() {
        let mut allowance = Allowance::new(HasNotes::of(b"x/2", b"x/2"));
        assert!((0..NOTES_MAX).all(|_| allowance.spend().is_ok()));
        assert!(allowance.spend().is_err());
        assert!(Allowance::new(HasNotes::of(b"x/1", b"x/2")).spend().is_err());
    }

    #[tokio::test]
    async fn a_note_that_is_put_in_wakes_who_waits_and_none_is_lost() {
        let notes = std::sync::Arc::new(Notes::default());
        let mut pace = Pace::default();
        notes.say(Note::now(NoteKind::Fetching, 1, ""));
        assert_eq!(notes.next(&mut pace).await.kind, NoteKind::Fetching);
        assert!(notes.take(&mut pace).is_none());
        let teller = std::sync::Arc::clone(&notes);
        let told = tokio::spawn(async move { teller.say(Note::now(NoteKind::Fetched, 0, "")) });
        let heard = tokio::time::timeout(Duration::from_secs(10), notes.next(&mut pace)).await.unwrap();
        assert_eq!(heard.kind, NoteKind::Fetched);
        told.await.unwrap();
    }
}
