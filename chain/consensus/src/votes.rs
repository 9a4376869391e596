//! Whether this validator still knows how it voted, and when it may vote again if it does not.
//!
//! # Design
//! A vote is on disk before it is sent, in the engine's journal. The engine cuts off what it cannot read of that journal and goes on: a
//! validator whose last vote was cut off, or whose engine folder was deleted, would vote a second time in the same view. Peers block who
//! does that, and enough of them at once could finalize two blocks at one height. So before the engine opens its journal, [`recall`]
//! reads it strictly, without changing it, and compares it with a [`Record`] that lies beside the keys, outside of the data folder.
//!
//! A validator in doubt follows without signing until the others have passed every view in which it can have voted. It voted in no
//! view that began after it stopped, and a block whose time is later than this process's start was proposed in a later view, but for
//! clocks and messages under way: [`Abstention`] adds a margin for both. The finalization that ends the doubt becomes the floor
//! below which the engine never votes, and is kept in the record.
//!
//! # Not here
//! A single file of the journal that was deleted, or replaced by an older copy together with the record, is not noticed.

use commonware_codec::{Copying, DecodeExt as _, varint::UInt};
use commonware_cryptography::Crc32;
use commonware_runtime::{Blob as _, ReadOptions, Storage};
use std::{
    fs, io,
    io::Write as _,
    num::NonZeroU16,
    path::{Path, PathBuf},
    time::Duration,
};

/// Views after the first that began after the start: room for a view that this validator had entered before its peers.
const VIEWS_MARGIN: u64 = 8;
/// Bytes after each page of the engine's journals: two slots of (big-endian `u16` length, big-endian `u32` CRC-32).
const FOOTER_BYTES: usize = 12;
/// Largest file of one view that is read: some hundred votes and certificates.
const SECTION_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// First words of the record's two states.
const KEPT: &str = "kept";
const DOUBTFUL: &str = "doubtful";
/// What the record's file begins with.
const TITLE: &str = "keystead votes 1";
/// Largest record that is read.
const RECORD_BYTES_MAX: u64 = 64 * 1024;

/// What a validator knows of its own votes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// Everything it ever signed is in the journal or below the floor (an encoded finalization), if there is one.
    Whole { floor: Option<Vec<u8>> },
    /// It may have signed what it does not know of.
    Doubtful { reason: String },
}

/// The engine's journal of votes, read strictly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Journal {
    /// There is none, or nothing was written to it.
    Empty,
    /// Every byte is as it was written.
    Whole,
    /// A file is torn or has a wrong bit.
    Damaged { reason: String },
}

/// The file that outlives the data folder.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    path: PathBuf,
    /// A file in the engine's folder: shows whether the folder is still the one that the record is about.
    begun: PathBuf,
}

/// What stands in the record.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    /// This validator never voted, or an older version kept no record.
    Absent,
    Kept {
        floor: Option<Vec<u8>>,
    },
    Doubtful {
        reason: String,
    },
}

impl Record {
    pub(crate) const fn new(path: PathBuf, begun: PathBuf) -> Self {
        Self { path, begun }
    }

    /// Notes that every vote is known, above `floor` at least.
    pub(crate) fn keep(&self, floor: Option<&[u8]>) -> io::Result<()> {
        if let Some(folder) = self.begun.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&self.begun, format!("{TITLE}\n"))?;
        let floor = floor.map(|floor| format!(" {}", hex(floor))).unwrap_or_default();
        self.write(&format!("{TITLE}\n{KEPT}{floor}\n"))
    }

    fn doubt(&self, reason: &str) -> io::Result<()> {
        self.write(&format!("{TITLE}\n{DOUBTFUL} {}\n", reason.replace('\n', " ")))
    }

    /// Replaces the file: after a crash it holds the old text or the new one.
    fn write(&self, text: &str) -> io::Result<()> {
        let next = self.path.with_extension("new");
        let mut file = fs::File::create(&next)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&next, &self.path)?;
        let folder =
            self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        fs::File::open(folder)?.sync_all()
    }

    fn read(&self) -> io::Result<Entry> {
        match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Entry::Absent),
            Err(error) => return Err(error),
            Ok(metadata) if metadata.len() > RECORD_BYTES_MAX => return Ok(damaged()),
            Ok(_) => {}
        }
        let bytes = fs::read(&self.path)?;
        Ok(std::str::from_utf8(&bytes).ok().and_then(parse).unwrap_or_else(damaged))
    }
}

/// A record that cannot be read says nothing, so nothing is sure.
fn damaged() -> Entry {
    Entry::Doubtful { reason: "the record of votes is damaged".to_owned() }
}

fn parse(text: &str) -> Option<Entry> {
    let line = text.strip_prefix(TITLE)?.strip_prefix('\n')?.strip_suffix('\n')?;
    let (word, rest) = line.split_once(' ').map_or((line, None), |(word, rest)| (word, Some(rest)));
    match (word, rest) {
        (KEPT, None) => Some(Entry::Kept { floor: None }),
        (KEPT, Some(floor)) => Some(Entry::Kept { floor: Some(unhex(floor)?) }),
        (DOUBTFUL, reason) => Some(Entry::Doubtful { reason: reason.unwrap_or_default().to_owned() }),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at.checked_add(2)?)?, 16).ok()).collect()
}

/// Reads record and journal before the engine does. A doubt is written down before this returns, since the engine then cuts off
/// what shows it.
///
/// # Errors
/// A sentence: the record or the journal cannot be read or written.
pub(crate) async fn recall<S: Storage>(
    storage: &S,
    partition: &str,
    page_bytes: NonZeroU16,
    record: &Record,
) -> Result<Memory, String> {
    let unwritten = |error| format!("cannot write {}: {error}", record.path.display());
    let entry = record.read().map_err(|error| format!("cannot read {}: {error}", record.path.display()))?;
    let journal = inspect(storage, partition, page_bytes).await?;
    let reason = match (entry, journal) {
        (Entry::Doubtful { reason }, _) => reason,
        (_, Journal::Damaged { reason }) => reason,
        (Entry::Kept { .. }, Journal::Empty) if !record.begun.is_file() => {
            "the engine's folder was deleted or is another one".to_owned()
        }
        (Entry::Kept { floor }, _) => return Ok(Memory::Whole { floor }),
        (Entry::Absent, _) => {
            record.keep(None).map_err(unwritten)?;
            return Ok(Memory::Whole { floor: None });
        }
    };
    record.doubt(&reason).map_err(unwritten)?;
    Ok(Memory::Doubtful { reason })
}

/// Reads every file of the journal as the engine wrote it: pages with checksums, and in them items with their lengths.
///
/// # Errors
/// A sentence: the storage cannot be read.
async fn inspect<S: Storage>(storage: &S, partition: &str, page_bytes: NonZeroU16) -> Result<Journal, String> {
    let sections = match storage.scan(partition).await {
        Ok(sections) => sections,
        Err(commonware_runtime::Error::PartitionMissing(_)) => return Ok(Journal::Empty),
        Err(error) => return Err(format!("cannot list the journal of votes: {error}")),
    };
    let mut seen = Journal::Empty;
    for name in sections {
        let broken = |error| format!("cannot read the journal of votes: section={}: {error}", hex(&name));
        let (blob, size) = match storage.open(partition, &name).await {
            Err(error @ commonware_runtime::Error::BlobCorrupt(..)) => {
                return Ok(Journal::Damaged { reason: format!("the journal of votes is damaged: {error}") });
            }
            opened => opened.map_err(broken)?,
        };
        if size == 0 {
            continue;
        }
        let bytes = match usize::try_from(size) {
            Ok(length) if size <= SECTION_BYTES_MAX => {
                blob.read_at(0, length, ReadOptions::default()).await.map_err(broken)?.coalesce()
            }
            _ => return Ok(Journal::Damaged { reason: format!("a section has {size} bytes") }),
        };
        let logical = pages(bytes.as_ref(), usize::from(page_bytes.get()));
        if logical.is_none_or(|logical| items_end(&logical) != Some(logical.len())) {
            let reason = format!("the journal of votes is torn or has a wrong bit: section={}", hex(&name));
            return Ok(Journal::Damaged { reason });
        }
        seen = Journal::Whole;
    }
    Ok(seen)
}

/// The bytes that the pages hold; `None` if the newest state of a page is not there in full.
fn pages(bytes: &[u8], page_bytes: usize) -> Option<Vec<u8>> {
    let size = page_bytes.checked_add(FOOTER_BYTES)?;
    let mut logical = Vec::with_capacity(bytes.len());
    let mut chunks = bytes.chunks(size).peekable();
    while let Some(page) = chunks.next() {
        let footer: &[u8; FOOTER_BYTES] = page.get(page_bytes..)?.try_into().ok()?;
        let [l0, l1, a, b, c, d, m0, m1, e, f, g, h] = *footer;
        let first = (u16::from_be_bytes([l0, l1]), u32::from_be_bytes([a, b, c, d]));
        let second = (u16::from_be_bytes([m0, m1]), u32::from_be_bytes([e, f, g, h]));
        // The longer slot is the newer one. The engine would fall back to the other, and forget what came between.
        let (length, checksum) = if first.0 >= second.0 { first } else { second };
        let held = page.get(..usize::from(length)).filter(|held| !held.is_empty() && held.len() <= page_bytes)?;
        if Crc32::checksum(held) != checksum || (chunks.peek().is_some() && held.len() != page_bytes) {
            return None;
        }
        logical.extend_from_slice(held);
    }
    Some(logical)
}

/// Where the last whole item ends: each is a varint length and so many bytes.
fn items_end(logical: &[u8]) -> Option<usize> {
    let mut rest = logical;
    while !rest.is_empty() {
        let width = rest.iter().position(|byte| byte & 0x80 == 0)?.checked_add(1)?;
        let (length, after) = rest.split_at_checked(width)?;
        let UInt(length) = UInt::<u32>::decode(Copying(length)).ok()?;
        rest = after.get(usize::try_from(length).ok()?..)?;
    }
    Some(logical.len())
}

/// Decides when forgotten votes can no longer do harm.
#[derive(Clone, Debug)]
pub(crate) struct Abstention {
    /// Unix milliseconds after which a block must be to have been proposed after this process's start.
    after_ms: u64,
    /// View of the first such block.
    first: Option<u64>,
}

impl Abstention {
    /// A validator that starts at `now_ms`, in a network whose clocks differ by at most `drift`.
    pub(crate) fn new(now_ms: u64, drift: Duration) -> Self {
        let drift_ms = u64::try_from(drift.as_millis()).unwrap_or(u64::MAX);
        Self { after_ms: now_ms.saturating_add(drift_ms.saturating_mul(2)), first: None }
    }

    /// Takes a final block of that time and view; true if this validator cannot have voted in a later view.
    pub(crate) fn ends_with(&mut self, time_ms: u64, view: u64) -> bool {
        if time_ms <= self.after_ms {
            return false;
        }
        view >= self.first.get_or_insert(view).saturating_add(VIEWS_MARGIN)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;
    use commonware_runtime::{Runner as _, Supervisor as _, buffer::paged::CacheRef, deterministic, tokio as threads};
    use commonware_storage::journal::segmented::variable::{Config, Journal as Sections};
    use commonware_utils::{NZU16, NZUsize};

    const PAGE: NonZeroU16 = NZU16!(64);
    const PARTITION: &str = "votes";

    /// Writes items through the engine's own journal, several synced states per page, and reads the files back strictly.
    fn written(items: &[(u64, Vec<u8>)], then: impl Fn(u64, Vec<u8>) -> Vec<u8> + Send + 'static) -> Journal {
        let items = items.to_vec();
        deterministic::Runner::default().start(|context| async move {
            let config = Config {
                partition: PARTITION.to_owned(),
                compression: None,
                codec_config: ((..).into(), ()),
                page_cache: CacheRef::new(PAGE, NZUsize!(16)),
                write_buffer: NZUsize!(1024),
            };
            let mut journal = Sections::<_, Vec<u8>>::init(context.child("journal"), config).await.unwrap();
            for (section, item) in &items {
                (journal, _, _) = journal.append(*section, item).await.unwrap();
                journal = journal.sync(*section).await.unwrap();
            }
            drop(journal);
            for name in context.scan(PARTITION).await.unwrap_or_default() {
                let section = u64::from_be_bytes(name.as_slice().try_into().unwrap());
                let (blob, size) = context.open(PARTITION, &name).await.unwrap();
                let bytes = blob.read_at(0, size.try_into().unwrap(), ReadOptions::default()).await.unwrap().coalesce();
                let changed = then(section, bytes.as_ref().to_vec());
                blob.resize(changed.len() as u64).await.unwrap();
                blob.write_at(0, changed, Default::default()).await.unwrap();
                blob.sync().await.unwrap();
            }
            inspect(&context, PARTITION, PAGE).await.unwrap()
        })
    }

    fn samples() -> Vec<(u64, Vec<u8>)> {
        (0..9u8).map(|item| (u64::from(item / 3), vec![item; 10 + usize::from(item) * 7])).collect()
    }

    #[test]
    fn a_journal_as_the_engine_wrote_it_is_whole() {
        assert_eq!(written(&samples(), |_, bytes| bytes), Journal::Whole);
        assert_eq!(written(&[], |_, bytes| bytes), Journal::Empty);
    }

    #[test]
    fn every_wrong_bit_in_what_was_written_and_every_cut_is_noticed() {
        let length = std::sync::Arc::new(std::sync::Mutex::new(0));
        let seen = std::sync::Arc::clone(&length);
        assert_eq!(
            written(&samples(), move |at, bytes| {
                if at == 2 {
                    *seen.lock().unwrap() = bytes.len();
                }
                bytes
            }),
            Journal::Whole
        );
        let length = *length.lock().unwrap();
        assert!(length > 128, "several pages: bytes={length}");
        let mut harmless = 0;
        for at in 0..length {
            let flipped = written(&samples(), move |section, mut bytes| {
                if section == 2 {
                    bytes[at] ^= 0x10;
                }
                bytes
            });
            harmless += usize::from(flipped == Journal::Whole);
            let cut = written(&samples(), move |section, mut bytes| {
                if section == 2 {
                    bytes.truncate(at);
                }
                bytes
            });
            // Of a file that is cut between two pages, the item that goes on is missing. An empty one was never written.
            assert!(at == 0 || matches!(cut, Journal::Damaged { .. }), "cut to {at}: {cut:?}");
        }
        // The padding of the last page and the older of two checksums do not matter.
        assert!(harmless < 64 + 12 * 4, "harmless bytes: {harmless} of {length}");
    }

    fn recalled(record: &Record, journal: Option<Vec<u8>>) -> Memory {
        let folder = tempfile::tempdir().unwrap();
        let record = record.clone();
        let runner = threads::Runner::new(threads::Config::new().with_storage_directory(folder.path()));
        runner.start(|context| async move {
            if let Some(bytes) = journal {
                let (blob, _) = context.open(PARTITION, &[0; 8]).await.unwrap();
                blob.write_at(0, bytes, Default::default()).await.unwrap();
            }
            recall(&context, PARTITION, PAGE, &record).await.unwrap()
        })
    }

    /// One page that holds one item of five bytes.
    fn page() -> Vec<u8> {
        let item = [5, 1, 2, 3, 4, 5];
        let mut page = vec![0; usize::from(PAGE.get())];
        page[..6].copy_from_slice(&item);
        page.extend_from_slice(&6u16.to_be_bytes());
        page.extend_from_slice(&Crc32::checksum(&item).to_be_bytes());
        page.extend_from_slice(&[0; 6]);
        page
    }

    #[test]
    fn doubt_stays_until_it_is_lifted_and_survives_the_engines_folder() {
        let folder = tempfile::tempdir().unwrap();
        let begun = folder.path().join("engine").join("begun");
        let record = Record::new(folder.path().join("votes"), begun.clone());
        let whole = Memory::Whole { floor: None };
        assert_eq!(recalled(&record, None), whole, "a new validator");
        assert_eq!(recalled(&record, None), whole, "killed before its first vote");
        assert_eq!(recalled(&record, Some(page())), whole);
        let mut flipped = page();
        flipped[3] ^= 1;
        assert!(matches!(recalled(&record, Some(flipped)), Memory::Doubtful { .. }));
        assert!(matches!(recalled(&record, Some(page())), Memory::Doubtful { .. }), "after the engine cut it off");
        record.keep(Some(&[1, 0xab])).unwrap();
        assert_eq!(recalled(&record, Some(page())), Memory::Whole { floor: Some(vec![1, 0xab]) });
        fs::remove_file(&begun).unwrap();
        assert!(matches!(recalled(&record, None), Memory::Doubtful { .. }), "the engine's folder is gone");
        fs::write(folder.path().join("votes"), "keystead votes 1\nkept a\n").unwrap();
        assert!(matches!(recalled(&record, Some(page())), Memory::Doubtful { .. }), "a damaged record");
    }

    #[test]
    fn an_abstention_ends_some_views_after_the_first_block_that_is_surely_new() {
        let mut abstention = Abstention::new(10_000, Duration::from_millis(500));
        assert!(!abstention.ends_with(9_000, 100), "an old block");
        assert!(!abstention.ends_with(11_000, 200), "within the drift of two clocks");
        assert!(!abstention.ends_with(11_001, 200));
        assert!(!abstention.ends_with(12_000, 207));
        assert!(abstention.ends_with(12_500, 208));
    }
}
