//! What a checker must not forget: one file for each check, and one for how far it has followed the chain.
//!
//! # Invariants
//! What is committed is written first and never changed: whoever comes back after a crash reveals exactly what it committed, or nothing.

use crate::compute::{
    files, place, random,
    windows::{Case, Finding, Sealed, Which, Window},
};
use alloy_primitives::{Address, B256};
use eyre::{Context as _, Result};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};
use tokio::time::Instant;

/// Version of both file formats.
const VERSION: u32 = 1;

/// A check's file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Record {
    version: u32,
    pub(super) which: Which,
    /// The window's job.
    pub(super) job_hash: B256,
    /// A block not after the window's.
    pub(super) from_block: u64,
    /// Whom a private job names, in order, which the contract asks for; empty if checkers are drawn. Older programs wrote a flag.
    #[serde(deserialize_with = "names")]
    pub(super) named: Vec<Address>,
    /// The window is a channel's: its units are steps.
    #[serde(default)]
    pub(super) of_channel: bool,
    /// What was or will be committed.
    pub(super) prepared: Option<Prepared>,
    /// What the comparison with the opened value said.
    pub(super) judged: Option<Finding>,
}

/// What stands in the commitment.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Prepared {
    /// Hash of this machine's own output.
    pub(super) own: B256,
    nonce: B256,
    /// There is none: the program trapped, or met a limit, or nobody served the input.
    pub(super) nothing: bool,
}

impl Prepared {
    /// `own` is `None` if nothing could be found out.
    pub(super) fn new(own: Option<B256>) -> Result<Self> {
        Ok(Self { own: own.unwrap_or_default(), nonce: random::word()?, nothing: own.is_none() })
    }

    /// What is hashed.
    pub(super) const fn sealed(&self, exact: bool) -> Sealed {
        let finding = if exact && self.nothing { Finding::Inconclusive as u8 } else { 0 };
        Sealed { finding, own: self.own, nonce: self.nonce }
    }
}

impl Record {
    pub(super) const fn new(which: Which, seen: Seen, named: Vec<Address>) -> Self {
        let Seen { job_hash, from_block, of_channel } = seen;
        Self { version: VERSION, which, job_hash, from_block, named, of_channel, prepared: None, judged: None }
    }

    /// Whether a node at this height, which sees the window and the unit so, has not come yet to what this file is about: it began anew, or is another one than
    /// before. Rounds only go up, and a window that is over needs nothing.
    pub(super) const fn is_before(&self, window: &Window, case: &Case, height: u64) -> bool {
        // Where the height was passed and there is no such window, the chain is another, and the folder was reused.
        if window.exists() { !window.is_over() && case.round < self.which.round } else { height < self.from_block }
    }

    /// What is revealed: for class exact the contract compares; for the others what was judged, or nothing.
    pub(super) fn finding(&self, exact: bool) -> Finding {
        let nothing = self.prepared.is_none_or(|prepared| prepared.nothing);
        match (exact, nothing) {
            (true, false) => Finding::Compare,
            (false, false) => self.judged.unwrap_or(Finding::Inconclusive),
            (_, true) => Finding::Inconclusive,
        }
    }
}

/// How far the chain has been followed, and what is to be looked at again.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Journal {
    pub(super) version: u32,
    /// The first block that was not looked at.
    pub(super) next_block: u64,
    /// Places of the list of seats that this account has or had.
    pub(super) places: BTreeSet<u32>,
    /// Open windows.
    pub(super) windows: BTreeMap<B256, Seen>,
    /// Draws whose height was not reached.
    pub(super) draws: Vec<Awaited>,
    /// When this process wrote it last.
    #[serde(skip)]
    pub(super) saved: Option<Instant>,
}

impl Journal {
    /// What to go on with at a node of this height, whose events are read from `first` on if nothing tells more. A height above the node's belongs to another
    /// network, whose folder was reused, or the node is behind: everything is read again, and what was known of open windows stays, since they may be older
    /// than `first`. Windows of another network say nothing here; its places would point to seats of others.
    pub(super) fn resumed(left: Option<Self>, head: u64, first: u64) -> Self {
        match left {
            Some(journal) if journal.next_block <= head.saturating_add(1) => journal,
            Some(journal) => Self { version: 0, next_block: first, places: BTreeSet::new(), ..journal },
            None => Self { next_block: first, ..Self::default() },
        }
    }
}

/// What only a window's first event says.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Seen {
    pub(super) job_hash: B256,
    pub(super) from_block: u64,
    /// A channel opened it.
    #[serde(default)]
    pub(super) of_channel: bool,
}

/// A draw to come.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Awaited {
    pub(super) window: B256,
    /// Zero in round 0, whose draw is for all units.
    pub(super) unit: u32,
    pub(super) round: u8,
    pub(super) height: u64,
}

/// The folder of both.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    folder: PathBuf,
}

impl Folder {
    pub(super) fn open(folder: &Path) -> Result<Self> {
        files::private_folder(&folder.join("checks"))?;
        Ok(Self { folder: folder.to_owned() })
    }

    fn journal_path(&self) -> PathBuf {
        self.folder.join("journal.json")
    }

    fn path(&self, which: Which) -> PathBuf {
        self.folder.join("checks").join(file_of(which))
    }

    /// `None` if this folder never followed the chain.
    pub(super) fn journal(&self) -> Result<Option<Journal>> {
        files::read_versioned(&self.journal_path(), VERSION)
    }

    pub(super) fn save_journal(&self, journal: &mut Journal) -> Result<()> {
        journal.version = VERSION;
        files::replace(&self.journal_path(), &serde_json::to_vec(journal)?)?;
        journal.saved = Some(Instant::now());
        Ok(())
    }

    /// Saves a journal of which nothing but the height has changed: once a minute, so that a disk that rests stays at rest. What is read again after a
    /// restart says nothing again.
    pub(super) fn pass_journal(&self, journal: &mut Journal) -> Result<()> {
        if place::is_old(journal.saved) { self.save_journal(journal) } else { Ok(()) }
    }

    pub(super) fn save(&self, record: &Record) -> Result<()> {
        files::replace(&self.path(record.which), &serde_json::to_vec(record)?)
    }

    /// The check is over.
    pub(super) fn forget(&self, which: Which) -> Result<()> {
        let path = self.path(which);
        fs::remove_file(&path).wrap_err_with(|| format!("cannot remove {}", path.display()))
    }

    /// Every check that is not over, in no order.
    pub(super) fn all(&self) -> Result<Vec<Record>> {
        files::read_all_versioned(&self.folder.join("checks"), VERSION)
    }
}

/// The name of a file about one check.
pub(super) fn file_of(which: Which) -> String {
    let Which { window, unit, round, slot } = which;
    format!("{window}-{unit}-{round}-{slot}.json")
}

/// A flag of an older program names nobody whom the contract would take.
fn names<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Address>, D::Error> {
    match Value::deserialize(from)? {
        Value::Bool(_) => Ok(Vec::new()),
        list => serde_json::from_value(list).map_err(D::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::compute::windows::{Stage, WindowStatus, tests::drawn};

    const WHICH: Which = Which { window: B256::ZERO, unit: 1, round: 0, slot: 2 };
    const SEEN: Seen = Seen { job_hash: B256::ZERO, from_block: 9, of_channel: false };

    #[test]
    fn a_check_survives_the_disk_with_what_it_committed() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Folder::open(folder.path()).unwrap();
        let names = vec![Address::repeat_byte(1), Address::repeat_byte(2)];
        let mut record = Record::new(WHICH, SEEN, names.clone());
        record.prepared = Some(Prepared::new(Some(B256::repeat_byte(5))).unwrap());
        kept.save(&record).unwrap();
        let again = kept.all().unwrap().remove(0);
        let hash = |record: &Record| record.which.commitment(Address::ZERO, record.prepared.unwrap().sealed(true));
        assert_eq!((hash(&again), &again.named), (hash(&record), &names));
        assert_ne!(hash(&again), record.which.commitment(Address::ZERO, Prepared::new(None).unwrap().sealed(true)));
        kept.forget(WHICH).unwrap();
        assert!(kept.all().unwrap().is_empty());
        assert!(kept.journal().unwrap().is_none());
        let mut journal = Journal { next_block: 7, places: [3].into(), ..Journal::default() };
        kept.save_journal(&mut journal).unwrap();
        assert_eq!(kept.journal().unwrap().unwrap().next_block, 7);
    }

    #[test]
    fn a_height_alone_is_written_at_a_start_and_then_once_a_minute() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Folder::open(folder.path()).unwrap();
        let mut journal = Journal { next_block: 7, ..Journal::default() };
        kept.pass_journal(&mut journal).unwrap();
        journal.next_block = 8;
        kept.pass_journal(&mut journal).unwrap();
        let mut read = kept.journal().unwrap().unwrap();
        assert_eq!((read.next_block, journal.version), (7, VERSION), "the first time alone");
        // A new process of the same folder writes it at its first look.
        read.next_block = 9;
        kept.pass_journal(&mut read).unwrap();
        assert_eq!(kept.journal().unwrap().unwrap().next_block, 9);
        journal.next_block = 10;
        kept.save_journal(&mut journal).unwrap();
        assert_eq!(kept.journal().unwrap().unwrap().next_block, 10, "what was found is written at once");
    }

    #[test]
    fn a_node_that_is_behind_forgets_no_window_and_another_network_brings_none_of_its_places() {
        let window = B256::repeat_byte(1);
        let draws = vec![Awaited { window, unit: 4, round: 1, height: 90 }];
        let left = || Journal {
            version: VERSION,
            next_block: 92,
            places: [3].into(),
            windows: [(window, SEEN)].into(),
            draws: draws.clone(),
            saved: None,
        };
        let goes_on = Journal::resumed(Some(left()), 91, 50);
        assert_eq!((goes_on.version, goes_on.next_block, goes_on.places.len()), (VERSION, 92, 1));
        // Seats are read from the beginning again, as in a new folder; the window is older than what is read again.
        let behind = Journal::resumed(Some(left()), 90, 50);
        assert_eq!((behind.version, behind.next_block, behind.places.len()), (0, 50, 0));
        assert!(behind.windows.contains_key(&window), "its later rounds are still to come");
        assert_eq!(behind.draws, draws);
        let new = Journal::resumed(None, 90, 50);
        assert_eq!((new.version, new.next_block, new.windows.len()), (0, 50, 0));
    }

    #[test]
    fn a_check_is_about_what_a_node_that_is_behind_does_not_see() {
        // The window's event is in block 9.
        let record = |round| Record::new(Which { round, ..WHICH }, SEEN, Vec::new());
        let with = |status| Window { status, ..drawn().window };
        let case = |round| Case::of(Stage::Checking, round);
        assert!(record(0).is_before(&with(WindowStatus::None), &case(0), 8));
        assert!(!record(0).is_before(&with(WindowStatus::None), &case(0), 9), "another network's");
        assert!(!record(0).is_before(&with(WindowStatus::Open), &case(0), 9));
        assert!(record(1).is_before(&with(WindowStatus::Open), &case(0), 9));
        assert!(record(2).is_before(&with(WindowStatus::Open), &case(1), 9));
        for (now, status) in [(2, WindowStatus::Open), (3, WindowStatus::Open), (1, WindowStatus::Closed)] {
            assert!(!record(2).is_before(&with(status), &case(now), 9), "{now} {status:?}");
        }
    }

    #[test]
    fn the_flag_of_an_older_program_names_nobody() {
        let mut old = serde_json::to_value(Record::new(WHICH, SEEN, vec![Address::ZERO])).unwrap();
        for flag in [true, false] {
            old["named"] = flag.into();
            assert!(serde_json::from_value::<Record>(old.clone()).unwrap().named.is_empty());
        }
        old["named"] = "somebody".into();
        assert!(serde_json::from_value::<Record>(old).is_err());
    }

    #[test]
    fn what_was_not_found_out_is_never_revealed_as_anything_else() {
        let record = |own: Option<B256>, judged| {
            let prepared = Some(Prepared::new(own).unwrap());
            Record { prepared, judged, ..Record::new(WHICH, SEEN, Vec::new()) }
        };
        let own = Some(B256::repeat_byte(5));
        assert_eq!(record(own, None).finding(true), Finding::Compare);
        assert_eq!(record(None, None).finding(true), Finding::Inconclusive);
        assert_eq!(record(own, Some(Finding::Wrong)).finding(false), Finding::Wrong);
        assert_eq!(record(own, None).finding(false), Finding::Inconclusive);
        assert_eq!(record(None, Some(Finding::Wrong)).finding(false), Finding::Inconclusive);
        assert_eq!(Record::new(WHICH, SEEN, Vec::new()).finding(true), Finding::Inconclusive);
        assert_eq!(record(None, None).prepared.unwrap().sealed(true).finding, 4);
        assert_eq!(record(None, None).prepared.unwrap().sealed(false).finding, 0);
    }
}
