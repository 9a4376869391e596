//! What happened, one line each, appended: a process that starts again reads it and is where the other was.
//!
//! # Design
//! A line is 16 hexadecimal digits, a space and JSON; the digits are the first 8 bytes of keccak256 over the JSON. A power cut may leave the
//! end of the file torn, since only [`Journal::sync`] forces it to the disk: what follows the last good line is cut then. A bad line
//! before a good one is damage, and nothing goes on. Spec: specs/0011-stream.md section 8.

use super::{promise::Promise, window::Verdict};
use crate::compute::files;
use alloy_primitives::{Address, B256, Bytes, hex, keccak256};
use eyre::{Context as _, Result, ensure, eyre};
use keystead_lease::{End, Lease, Out, Provider};
use serde::{Deserialize, Serialize};
use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Digits before a line.
const SUM_DIGITS: usize = 16;
/// Largest journal that is read: a job of 2^20 steps leaves some 200 MB.
pub(super) const BYTES_MAX: u64 = 1 << 30;
/// So much of it is kept for what ends windows and channels, and takes back what was wrong.
const RESERVE: u64 = 1 << 24;
/// More than any line takes: a journal with less room is full, whatever did not fit.
pub(super) const LINE_MAX: u64 = 1 << 20;

/// One event.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", deny_unknown_fields)]
pub(super) enum Entry {
    /// A process began; numbers of its leases begin here.
    Began { first_lease: u64 },
    /// A provider takes part; they are numbered in the order of these lines.
    Joined { account: Address, node_id: B256, price_wei: u128 },
    /// What the map may cost at most, as it was said, before the first channel is opened; or as the person limits it from now on.
    Promised(Promise),
    /// The transaction that opens its channel, before it is sent.
    Opening { provider: Provider, raw: Bytes, hash: B256, nonce: u64 },
    /// It is in a block.
    Opened { provider: Provider, channel: B256 },
    /// It came to nothing.
    NotOpened { provider: Provider },
    /// Granted, before it is sent.
    Leased { lease: Lease },
    /// The seed of the check of a report.
    Drawn { lease: u64, root: B256, seed: B256 },
    /// Checked, and to be paid: the payer's record with the voucher.
    Settled(Settled),
    /// A lease ended unpaid.
    Ended { lease: u64, why: End },
    /// A unit failed at a provider.
    Failed { provider: Provider, unit: u32, reason: String },
    /// A provider gets nothing any more.
    LeftOut { provider: Provider, why: Out },
    /// A provider was caught; the payer's record says so.
    Convicted {
        provider: Provider,
        payer: Bytes,
        #[serde(default = "wrong")]
        why: Out,
    },
    /// The audit of a paid window is over, or nobody waits for its announcement any more.
    WindowOver { id: B256, verdict: Verdict },
    /// A channel is final.
    Closed { provider: Provider, claimed_wei: u128 },
    /// The result's files are written.
    Done,
}

impl Entry {
    /// Whether a journal that is full has a place for it: what is open must come to its end, and what is wrong must be taken back.
    const fn may_be_last(&self) -> bool {
        matches!(
            self,
            Self::Began { .. }
                | Self::Opened { .. }
                | Self::NotOpened { .. }
                | Self::Convicted { .. }
                | Self::WindowOver { .. }
                | Self::Closed { .. }
                | Self::Done
        )
    }
}

/// A window that is paid.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Settled {
    pub(super) lease: u64,
    pub(super) provider: Provider,
    pub(super) steps: u32,
    /// Steps that were run again, or seen by the checker program, and found right.
    pub(super) checked: u32,
    /// Whether the check could decide nothing.
    pub(super) unchecked: bool,
    /// The states with which it ended, as they lie in the outputs; of an audited window those after each step, in the order of the report.
    pub(super) states: Vec<Place>,
    /// The payer's record.
    pub(super) payer: Bytes,
    /// In an audited channel: what its checkers are told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) window: Option<Audited>,
}

/// A paid window of an audited channel.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Audited {
    /// What the audit knows it by.
    pub(super) id: B256,
    pub(super) channel: B256,
    /// Its number in the channel.
    pub(super) number: u64,
    /// A block before its announcement.
    pub(super) since_block: u64,
    /// What its checks take from the channel, as far as that is known before the announcement.
    pub(super) budget_wei: u128,
    /// What each step began with, by name, in the order of the report.
    pub(super) inputs: Vec<B256>,
    /// From which the salts of its commitment follow: a certificate opens it. Older programs did not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) secret: Option<B256>,
}

/// Where a state lies.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Place {
    pub(crate) unit: u32,
    /// Segments that lead to it.
    pub(crate) done: u32,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) name: B256,
}

/// The file; clones append to the same one.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    file: Arc<Mutex<Tail>>,
    path: PathBuf,
}

/// The open file and how far its good lines go.
#[derive(Debug)]
struct Tail {
    file: File,
    bytes: u64,
    /// A line was cut short and could not be taken back: nothing may follow it.
    torn: bool,
}

impl Journal {
    /// Opens or makes the file, and reads what it holds.
    ///
    /// # Errors
    /// It is damaged, or of another program.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<Entry>)> {
        let named = || format!("cannot open {}", path.display());
        let is_new = !path.exists();
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path).wrap_err_with(named)?;
        let bytes = file.metadata().wrap_err_with(named)?.len();
        ensure!(bytes <= BYTES_MAX, "{} is too large: got_bytes={bytes} max_bytes={BYTES_MAX}", path.display());
        let mut text = Vec::new();
        (&mut file).take(BYTES_MAX).read_to_end(&mut text).wrap_err_with(named)?;
        let (entries, good) = read(&text).wrap_err_with(|| format!("{} is damaged", path.display()))?;
        if good < text.len() {
            tracing::warn!(path = %path.display(), bytes = text.len().saturating_sub(good), "the journal's torn end is cut");
            file.set_len(u64::try_from(good).unwrap_or(u64::MAX)).wrap_err_with(named)?;
        }
        file.seek(SeekFrom::End(0)).wrap_err_with(named)?;
        if is_new {
            files::sync_folder(path.parent().unwrap_or(path))?;
        }
        let tail = Tail { file, bytes: u64::try_from(good).unwrap_or(u64::MAX), torn: false };
        Ok((Self { file: Arc::new(Mutex::new(tail)), path: path.to_owned() }, entries))
    }

    /// Appends a line; a kill does not lose it, a power cut may until [`Journal::sync`].
    ///
    /// # Errors
    /// The disk's, or the file has all that may be read again. The line is not there then.
    pub(super) fn append(&self, entry: &Entry) -> Result<()> {
        let json = serde_json::to_string(entry)?;
        let line = format!("{} {json}\n", sum(json.as_bytes()));
        let max = if entry.may_be_last() { BYTES_MAX } else { BYTES_MAX.saturating_sub(RESERVE) };
        let mut tail = self.file();
        let bytes = tail.bytes.saturating_add(u64::try_from(line.len()).unwrap_or(u64::MAX));
        ensure!(
            bytes <= max && !tail.torn,
            "{} takes no further line: bytes={} max_bytes={max}; run the same command again to end what is open",
            self.path.display(),
            tail.bytes
        );
        let written = tail.file.write_all(line.as_bytes());
        if written.is_err() {
            // What follows a torn line would be damage.
            let good = tail.bytes;
            let cut = tail.file.set_len(good).and_then(|()| tail.file.seek(SeekFrom::Start(good)));
            tail.torn = cut.is_err();
        } else {
            tail.bytes = bytes;
        }
        written.wrap_err_with(|| format!("cannot write {}", self.path.display()))
    }

    /// Whether it takes no more of what work leaves: only what is open can be ended.
    pub(super) fn is_full(&self) -> bool {
        self.file().bytes.saturating_add(LINE_MAX) > BYTES_MAX.saturating_sub(RESERVE)
    }

    /// Forces everything that was appended to the disk.
    pub(super) fn sync(&self) -> Result<()> {
        self.file().file.sync_data().wrap_err_with(|| format!("cannot write {}", self.path.display()))
    }

    fn file(&self) -> MutexGuard<'_, Tail> {
        // No code panics while it holds this lock.
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn wrong() -> Out {
    Out::Wrong
}

/// The digits before a line.
pub(super) fn sum(json: &[u8]) -> String {
    let hash = keccak256(json);
    let mut digits = hex::encode(hash);
    digits.truncate(SUM_DIGITS);
    digits
}

/// The good lines, and how many bytes they take.
fn read(text: &[u8]) -> Result<(Vec<Entry>, usize)> {
    let mut entries = Vec::new();
    let (mut good, mut at, mut number) = (0_usize, 0_usize, 0_usize);
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        at = at.saturating_add(line.len());
        number = number.saturating_add(1);
        match whole(line) {
            Some(json) => {
                let entry = serde_json::from_slice(json).wrap_err_with(|| format!("line {number} is unknown"))?;
                entries.push(entry);
                good = at;
            }
            // An append that was cut short has no end of line.
            None if line.ends_with(b"\n") => return Err(eyre!("line {number} is not what was written")),
            None => {}
        }
    }
    Ok((entries, good))
}

/// The JSON of a line whose sum is right.
pub(super) fn whole(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\n")?;
    let (digits, rest) = line.split_at_checked(SUM_DIGITS)?;
    let json = rest.strip_prefix(b" ")?;
    (digits == sum(json).as_bytes()).then_some(json)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;
    use std::fs;

    fn count(path: &Path) -> usize {
        Journal::open(path).unwrap().1.len()
    }

    #[test]
    fn a_torn_end_is_cut_and_a_changed_middle_stops_everything() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (journal, entries) = Journal::open(&path).unwrap();
        assert!(entries.is_empty());
        for first_lease in 1..=3 {
            journal.append(&Entry::Began { first_lease }).unwrap();
        }
        journal.sync().unwrap();
        let whole = fs::read(&path).unwrap();
        let line = whole.len() / 3;
        // Torn anywhere in the last line.
        for length in line * 2..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(count(&path), 2);
            assert_eq!(fs::metadata(&path).unwrap().len(), line as u64 * 2);
        }
        // What a power cut leaves of blocks that were never written.
        fs::write(&path, [&whole[..line], &[0; 300]].concat()).unwrap();
        assert_eq!(count(&path), 1);
        // Every flipped bit of the middle line.
        for at in line..line * 2 {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).unwrap();
            let Err(error) = Journal::open(&path) else { panic!("byte {at} was changed unnoticed") };
            assert!(format!("{error:#}").contains("damaged"), "{error:#}");
        }
        fs::write(&path, &whole).unwrap();
        let (journal, entries) = Journal::open(&path).unwrap();
        assert!(matches!(entries[..], [.., Entry::Began { first_lease: 3 }]));
        journal.append(&Entry::Done).unwrap();
        drop(journal);
        assert_eq!(count(&path), 4);
    }

    /// So whoever goes on after a kill keeps to what was said.
    #[test]
    fn what_was_said_of_the_price_comes_back_from_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let said = Promise { step_wei: 7, work_wei: u128::MAX, most_wei: u128::MAX, asked_wei: None };
        let (journal, _) = Journal::open(&path).unwrap();
        journal.append(&Entry::Promised(said)).unwrap();
        journal.append(&Entry::Promised(Promise::asked(9))).unwrap();
        drop(journal);
        let (_, entries) = Journal::open(&path).unwrap();
        let [Entry::Promised(first), Entry::Promised(last)] = &entries[..] else { panic!("{entries:?}") };
        assert_eq!((*first, *last), (said, Promise::asked(9)));
    }

    #[test]
    fn a_settlement_of_a_journal_without_audits_is_still_read() {
        let old = r#"{"settled":{"lease":4294967296,"provider":0,"steps":1,"checked":1,"unchecked":false,"states":[],"payer":"0x01"}}"#;
        let Entry::Settled(settled) = serde_json::from_str(old).unwrap() else { panic!("no settlement") };
        assert!(settled.window.is_none());
        assert_eq!(serde_json::to_string(&Entry::Settled(settled)).unwrap(), old);
    }

    #[test]
    fn a_window_of_a_journal_without_secrets_is_still_read_and_a_secret_comes_back() {
        let zero = B256::ZERO;
        let old = format!(
            r#"{{"id":"{zero}","channel":"{zero}","number":1,"sinceBlock":2,"budgetWei":3,"inputs":["{zero}"]}}"#
        );
        let read = |text: &str| serde_json::from_str::<Audited>(text).unwrap();
        let audited = read(&old);
        assert_eq!((audited.secret, serde_json::to_string(&audited).unwrap()), (None, old));
        let kept = Audited { secret: Some(B256::repeat_byte(7)), ..audited };
        assert_eq!(read(&serde_json::to_string(&kept).unwrap()), kept);
    }

    #[test]
    fn a_line_that_the_disk_did_not_take_is_taken_back_and_a_full_journal_still_ends_its_channels() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (journal, _) = Journal::open(&path).unwrap();
        journal.append(&Entry::Began { first_lease: 1 }).unwrap();
        let good = fs::metadata(&path).unwrap().len();
        // A file that cannot be written: what the disk says when it is full, without filling one.
        let read_only = File::open(&path).unwrap();
        let writable = std::mem::replace(&mut journal.file().file, read_only);
        assert!(journal.append(&Entry::Done).is_err());
        let refused = journal.append(&Entry::Done).unwrap_err().to_string();
        assert!(refused.contains("takes no further line"), "{refused}");
        *journal.file() = Tail { file: writable, bytes: good, torn: false };
        journal.append(&Entry::Began { first_lease: 2 }).unwrap();
        assert_eq!(count(&path), 2);
        assert!(!journal.is_full());
        journal.file().bytes = BYTES_MAX - RESERVE;
        assert!(journal.is_full() && journal.append(&Entry::NotOpened { provider: Provider(0) }).is_ok());
        let lease = Lease { number: 1, provider: Provider(0), items: Vec::new(), limit: std::time::Duration::ZERO };
        assert!(journal.append(&Entry::Leased { lease }).is_err());
        journal.append(&Entry::Began { first_lease: 3 }).unwrap();
        journal.append(&Entry::Convicted { provider: Provider(0), payer: Bytes::new(), why: Out::Wrong }).unwrap();
        journal.append(&Entry::Closed { provider: Provider(0), claimed_wei: 1 }).unwrap();
        assert_eq!(count(&path), 6);
    }
}
