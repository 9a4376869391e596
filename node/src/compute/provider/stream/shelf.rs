//! The windows of an audited channel that are paid and not over: a file for each, in the channel's folder.
//!
//! # Invariants
//! - A window's blobs are on the disk before its file is, and its file before its voucher: so whatever is announced can be opened.
//! - A file without a voucher is of a window that was not paid; it is removed at the start.

use super::{
    record::{Begun, Reported},
    window::{Origin, PaidWindow},
};
use crate::compute::{channels::Agreed, files, provider::window::expected, windows::window_of_channel};
use alloy_primitives::{B256, U256};
use eyre::{Context as _, Result, ensure};
use keystead_job::Step;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

/// Version of the file format.
const VERSION: u32 = 1;
/// Parts per million in a whole.
const PPM: u32 = 1_000_000;
/// The folder in the channel's.
const FOLDER: &str = "windows";
const EXTENSION: &str = "json";

/// A window's file.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Record {
    version: u32,
    window: u64,
    steps: Vec<Begun>,
    outputs: Vec<B256>,
    secret: B256,
}

/// What this provider has of an audited channel's windows.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) agreed: Agreed,
    origin: Origin,
    folder: PathBuf,
    windows: Mutex<BTreeMap<u64, Arc<PaidWindow>>>,
    /// At which steps are drawn, as far as it is known.
    rate_ppm: AtomicU32,
}

impl Shelf {
    /// Opens the channel's folder. `last` is the last window that was paid.
    pub(super) fn open(channel_folder: &Path, agreed: Agreed, origin: Origin, last: u64) -> Result<Self> {
        let folder = channel_folder.join(FOLDER);
        if !folder.exists() {
            files::private_folder(&folder)?;
            files::sync_folder(channel_folder)?;
        }
        let mut windows = BTreeMap::new();
        for entry in fs::read_dir(&folder).wrap_err_with(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            // What is no record is scratch of a process that died.
            let is_record = path.extension().is_some_and(|extension| extension == EXTENSION);
            let record = if is_record { Some(read(&path)?) } else { None };
            match record.filter(|record| record.window <= last) {
                Some(record) => {
                    let steps = record.steps.into_iter().map(Step::from).collect();
                    let (number, outputs) = (record.window, record.outputs);
                    let window = PaidWindow::new(origin.clone(), number, steps, outputs, record.secret);
                    windows.insert(number, Arc::new(window));
                }
                None => fs::remove_file(&path).wrap_err_with(|| format!("cannot remove {}", path.display()))?,
            }
        }
        Ok(Self { agreed, origin, folder, windows: Mutex::new(windows), rate_ppm: AtomicU32::new(PPM) })
    }

    /// Steps are drawn at another rate from now on.
    pub(super) fn draws_at(&self, rate_ppm: u32) {
        self.rate_ppm.store(rate_ppm, Ordering::Relaxed);
    }

    /// How many of so many steps are expected to be drawn.
    pub(super) fn drawn_of(&self, steps: u32) -> u64 {
        expected(steps, self.rate_ppm.load(Ordering::Relaxed))
    }

    /// Openings that are still expected of all windows here.
    pub(super) fn openings(&self) -> u64 {
        let rate_ppm = self.rate_ppm.load(Ordering::Relaxed);
        self.locked().values().fold(0, |sum, window| sum.saturating_add(window.openings(rate_ppm)))
    }

    /// The bond behind each window, wei.
    pub(super) fn bond_wei(&self) -> U256 {
        U256::from(self.agreed.terms.bondWei)
    }

    /// The audit's name of a window of this channel.
    pub(super) fn audit_id(&self, window: u64) -> B256 {
        window_of_channel(self.origin.number, window)
    }

    /// Keeps a window whose voucher is about to be written, with all its blobs.
    pub(super) fn keep(&self, number: u64, reported: &Reported) -> Result<()> {
        self.origin.store.settle()?;
        let (outputs, secret) = (reported.names.clone(), reported.secret);
        let window = PaidWindow::new(self.origin.clone(), number, reported.steps(), outputs, secret);
        let record = Record {
            version: VERSION,
            window: number,
            steps: window.steps().iter().copied().map(Begun::from).collect(),
            outputs: window.outputs().to_vec(),
            secret: window.secret(),
        };
        files::replace(&self.path(number), &serde_json::to_vec(&record)?)?;
        self.locked().insert(number, Arc::new(window));
        Ok(())
    }

    /// A window is over: its file goes. What it was, so that its blobs can go, too.
    pub(super) fn take(&self, number: u64) -> Option<Arc<PaidWindow>> {
        let window = self.locked().remove(&number)?;
        if let Err(error) = fs::remove_file(self.path(number)) {
            tracing::warn!(window = number, %error, "the file of a window that is over stays on disk");
        }
        Some(window)
    }

    pub(super) fn get(&self, number: u64) -> Option<Arc<PaidWindow>> {
        self.locked().get(&number).cloned()
    }

    /// By the audit's name.
    pub(super) fn find(&self, id: B256) -> Option<Arc<PaidWindow>> {
        self.locked().values().find(|window| window.id == id).cloned()
    }

    /// All numbers, in order.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.locked().keys().copied().collect()
    }

    /// Blobs that some window needs.
    pub(super) fn needed(&self) -> BTreeSet<B256> {
        self.locked().values().flat_map(|window| window.blobs()).collect()
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number}.{EXTENSION}"))
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<PaidWindow>>> {
        // No code panics while it holds this lock.
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> Result<Record> {
    let text = files::read(path)?.unwrap_or_default();
    let record: Record = serde_json::from_str(&text).wrap_err_with(|| format!("cannot read {}", path.display()))?;
    ensure!(
        record.version == VERSION && record.steps.len() == record.outputs.len(),
        "{} has version {} with {} steps and {} outputs, this program reads {VERSION} with as many of both",
        path.display(),
        record.version,
        record.steps.len(),
        record.outputs.len()
    );
    Ok(record)
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::{super::window::tests::origin, *};
    use crate::compute::samples::TERMS;
    use keystead_blobs::stream::{End, EndCode};
    use keystead_contracts::bindings::market::IAuditTypes::Terms;

    pub(crate) const fn agreed() -> Agreed {
        let terms = Terms { revealSeconds: 30, bondWei: 100, ..TERMS };
        Agreed { job_hash: B256::repeat_byte(1), price_wei_per_step: 10, terms }
    }

    fn reported(byte: u8) -> Reported {
        let steps = [Step { unit: byte.into(), segment: 0, input: B256::repeat_byte(byte) }];
        let names = vec![B256::repeat_byte(byte.saturating_add(100))];
        let end = End::new(EndCode::Done, "");
        Reported::new(1, B256::repeat_byte(3), names, (B256::ZERO, 4), &end, true).with_steps(&steps)
    }

    #[test]
    fn a_paid_window_survives_the_disk_until_it_is_over_and_one_without_a_voucher_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let open = |last| Shelf::open(folder.path(), agreed(), origin(), last).unwrap();
        let shelf = open(0);
        for number in [1, 2, 3] {
            shelf.keep(number, &reported(u8::try_from(number).unwrap())).unwrap();
        }
        fs::write(folder.path().join(FOLDER).join("4.json.new"), b"{").unwrap();
        drop(shelf);
        // The voucher of window 3 never reached the disk.
        let shelf = open(2);
        assert_eq!(shelf.numbers(), [1, 2]);
        assert_eq!(fs::read_dir(folder.path().join(FOLDER)).unwrap().count(), 2);
        let second = shelf.get(2).unwrap();
        assert_eq!(second.steps(), [Step { unit: 2, segment: 0, input: B256::repeat_byte(2) }]);
        assert_eq!((second.outputs(), second.secret()), (&[B256::repeat_byte(102)][..], B256::repeat_byte(3)));
        assert_eq!(shelf.find(shelf.audit_id(2)).unwrap().number, 2);
        assert!(shelf.find(shelf.audit_id(3)).is_none());
        let first = shelf.take(1).unwrap();
        let needed = shelf.needed();
        assert!(first.blobs().iter().all(|name| !needed.contains(name)));
        assert!(second.blobs().iter().all(|name| needed.contains(name)));
        drop(shelf);
        assert_eq!(open(2).numbers(), [2]);
    }

    #[test]
    fn a_file_that_says_something_impossible_stops_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(folder.path(), agreed(), origin(), 0).unwrap();
        shelf.keep(1, &reported(1)).unwrap();
        let path = folder.path().join(FOLDER).join("1.json");
        let text = fs::read_to_string(&path).unwrap();
        for (from, to) in [("\"version\":1", "\"version\":2"), ("\"outputs\":[", "\"outputs\":[\"0x\",")] {
            assert!(text.contains(from), "{text}");
            fs::write(&path, text.replacen(from, to, 1)).unwrap();
            assert!(Shelf::open(folder.path(), agreed(), origin(), 1).is_err(), "{to}");
        }
    }
}
