//! How fast bytes went to and from providers' nodes in this user's own orders and maps, in a small file beside the capability records: a plan goes by it, in
//! place of what providers claim.
//!
//! # Design
//! A moving average for each node and direction, with count and age. The file is read, changed and replaced atomically under a lock that nobody waits for: a
//! measurement that comes while another process writes is lost, and so is one of a node that was written down a moment ago. A file that cannot be read says
//! nothing, and is written anew. What is here ranks providers and authorises nothing: a provider can only be slower than it is.
//!
//! Spec: specs/0010-capability.md §10.

use super::shelf;
use crate::compute::{
    amount::bytes,
    files::{self, Lock},
};
use alloy_primitives::B256;
use eyre::{Context as _, Result};
use keystead_market::table::{Bandwidth, Direction, TRANSFER_BYTES_MIN};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// The file, and the lock of whoever writes it. No record has such a name.
const FILE: &str = "transfers.json";
const LOCK_FILE: &str = "transfers.lock";
const VERSION: u32 = 1;
/// Nodes that are remembered: the ones of many large maps, about 250 bytes each. The one that was measured longest ago gives way.
const NODES_MAX: usize = 1_024;
/// A measurement that is older says nothing: lines change.
const AGE_MAX: Duration = Duration::from_secs(7 * 86_400);
/// A node's direction is written down again after so long: each time costs a file.
const NOTED_AGAIN: Duration = Duration::from_secs(10);

/// What was seen of a node: down (to it) and up (from it).
pub(crate) type Seen = [Bandwidth; 2];

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stored {
    version: u32,
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Node {
    node: B256,
    down: Option<Average>,
    up: Option<Average>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Average {
    bytes_per_s: u64,
    transfers: u32,
    unix_ms: u64,
}

impl Average {
    fn of(bandwidth: Bandwidth) -> Option<Self> {
        let Bandwidth { bytes_per_s, count, at_ms } = bandwidth;
        (count > 0).then_some(Self { bytes_per_s, transfers: count, unix_ms: at_ms })
    }

    /// Nothing of one that is too old, or of a time to come.
    fn at(self, now_ms: u64) -> Bandwidth {
        let age = now_ms.checked_sub(self.unix_ms).map(Duration::from_millis);
        if age.is_none_or(|age| age > AGE_MAX) {
            return Bandwidth::default();
        }
        Bandwidth { bytes_per_s: self.bytes_per_s.max(1), count: self.transfers, at_ms: self.unix_ms }
    }
}

/// The memory; without a folder there is none.
#[derive(Debug)]
pub(crate) struct Links {
    folder: Option<PathBuf>,
    /// When this process wrote what down last.
    noted: Mutex<BTreeMap<(B256, Direction), Instant>>,
}

impl Links {
    /// In the folder of the records that was given, or in the usual one. It is made when something is written down.
    pub(crate) fn open(records: Option<&Path>) -> Self {
        Self { folder: shelf::folder(records), noted: Mutex::default() }
    }

    /// What is remembered of all nodes.
    pub(super) fn read(&self) -> BTreeMap<B256, Seen> {
        self.folder.as_ref().map(|folder| read(&folder.join(FILE), now_ms())).unwrap_or_default()
    }

    /// So many verified bytes went to a node, or came from it, in that time. Few bytes, and those that came at once, say nothing.
    pub(crate) fn note(&self, node: B256, direction: Direction, bytes: u64, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if bytes < TRANSFER_BYTES_MIN || took_us == 0 || !self.is_due((node, direction)) {
            return;
        }
        let Some(folder) = &self.folder else { return };
        if let Err(error) = write(folder, (node, direction), (bytes, took_us), now_ms()) {
            tracing::debug!(error = format!("{error:#}"), "a transfer is not remembered");
        }
    }

    fn is_due(&self, which: (B256, Direction)) -> bool {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.get(&which).is_some_and(|at| at.elapsed() < NOTED_AGAIN) {
            return false;
        }
        if noted.len() >= NODES_MAX {
            noted.clear();
        }
        noted.insert(which, Instant::now());
        true
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// What a file says now; nothing, if it cannot be read.
fn read(path: &Path, now_ms: u64) -> BTreeMap<B256, Seen> {
    let stored = match files::read(path) {
        Ok(Some(text)) => serde_json::from_str::<Stored>(&text).wrap_err("it is damaged"),
        Ok(None) => return BTreeMap::new(),
        Err(error) => Err(error),
    };
    match stored {
        Ok(stored) if stored.version == VERSION && stored.nodes.len() <= NODES_MAX => {
            let seen = |average: Option<Average>| average.map(|average| average.at(now_ms)).unwrap_or_default();
            let nodes = stored.nodes.into_iter().map(|node| (node.node, [seen(node.down), seen(node.up)]));
            nodes.filter(|(_, seen)| last_ms(seen) > 0).collect()
        }
        Ok(stored) => {
            tracing::debug!(version = stored.version, nodes = stored.nodes.len(), "remembered transfers are not read");
            BTreeMap::new()
        }
        Err(error) => {
            tracing::debug!(error = format!("{error:#}"), "remembered transfers are not read");
            BTreeMap::new()
        }
    }
}

/// When a node was measured last; 0 if nothing is remembered of it.
fn last_ms(seen: &Seen) -> u64 {
    seen.iter().filter(|one| one.count > 0).map(|one| one.at_ms).max().unwrap_or_default()
}

fn write(folder: &Path, (node, direction): (B256, Direction), (bytes, took_us): (u64, u64), now_ms: u64) -> Result<()> {
    fs::create_dir_all(folder).wrap_err_with(|| format!("cannot make the folder {}", folder.display()))?;
    let Some(_held) = Lock::take(&folder.join(LOCK_FILE))? else { return Ok(()) };
    let path = folder.join(FILE);
    let mut nodes = read(&path, now_ms);
    let [down, up] = nodes.entry(node).or_default();
    match direction {
        Direction::Down => down.transferred(bytes, took_us, now_ms),
        Direction::Up => up.transferred(bytes, took_us, now_ms),
    };
    // One came; one goes.
    if nodes.len() > NODES_MAX
        && let Some(oldest) = nodes.iter().min_by_key(|(_, seen)| last_ms(seen)).map(|(node, _)| *node)
    {
        nodes.remove(&oldest);
    }
    let node = |(node, [down, up]): (B256, Seen)| Node { node, down: Average::of(down), up: Average::of(up) };
    let stored = Stored { version: VERSION, nodes: nodes.into_iter().map(node).collect() };
    files::replace(&path, &serde_json::to_vec(&stored)?)
}

/// For a person: which of the two was measured; `None` if neither was.
pub(super) fn words([down, up]: &Seen) -> Option<String> {
    let one = |seen: &Bandwidth, where_to: &str| {
        let transfers = if seen.count == 1 { "transfer" } else { "transfers" };
        (seen.count > 0).then(|| format!("{}/s {where_to} it ({} {transfers})", bytes(seen.bytes_per_s), seen.count))
    };
    let both: Vec<String> = [one(down, "to"), one(up, "from")].into_iter().flatten().collect();
    (!both.is_empty()).then(|| both.join(", "))
}

/// For a program: `transfers` is 0 of what a plan believes of the claim.
pub(super) fn to_json([down, up]: &Seen) -> Value {
    let one = |seen: &Bandwidth| {
        let unix_ms = (seen.count > 0).then_some(seen.at_ms);
        json!({"bytesPerS": seen.bytes_per_s, "transfers": seen.count, "unixMs": unix_ms})
    };
    json!({"down": one(down), "up": one(up)})
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;

    const NODE: B256 = B256::repeat_byte(1);
    const SECOND: Duration = Duration::from_secs(1);
    const MUCH: u64 = TRANSFER_BYTES_MIN * 2;

    fn age_max_ms() -> u64 {
        u64::try_from(AGE_MAX.as_millis()).unwrap()
    }

    #[test]
    fn what_was_measured_is_there_for_the_next_process_and_little_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let records = folder.path().join("records");
        let links = Links::open(Some(&records));
        assert!(links.read().is_empty());
        links.note(NODE, Direction::Down, TRANSFER_BYTES_MIN - 1, SECOND);
        links.note(NODE, Direction::Down, MUCH, Duration::ZERO);
        assert!(!records.exists());
        links.note(NODE, Direction::Up, MUCH, SECOND);
        // Again at once: that would cost a file for each of many windows.
        links.note(NODE, Direction::Up, MUCH * 9, SECOND);
        let [down, up] = Links::open(Some(&records)).read()[&NODE];
        assert_eq!((down.count, up.count, up.bytes_per_s), (0, 1, MUCH));
        Links::open(Some(&records)).note(NODE, Direction::Up, MUCH * 5, SECOND);
        Links::open(Some(&records)).note(NODE, Direction::Down, MUCH, SECOND * 2);
        let [down, up] = links.read()[&NODE];
        assert_eq!((down.count, down.bytes_per_s), (1, MUCH / 2));
        assert_eq!((up.count, up.bytes_per_s), (2, MUCH * 2), "a quarter of the new one");
        assert_eq!(words(&[down, up]).unwrap(), "4 MiB/s to it (1 transfer), 16 MiB/s from it (2 transfers)");
        assert_eq!(words(&Seen::default()), None);
        assert_eq!(
            to_json(&[down, Bandwidth::default()])["up"],
            json!({"bytesPerS": 0, "transfers": 0, "unixMs": null})
        );
    }

    #[test]
    fn what_is_old_is_forgotten_and_the_oldest_of_too_many_gives_way() {
        let folder = tempfile::tempdir().unwrap();
        let (path, start_ms) = (folder.path().join(FILE), 1_000_000);
        let node = |number: usize| B256::left_padding_from(&number.to_be_bytes());
        for number in 0..3 {
            let at_ms = start_ms + u64::try_from(number).unwrap();
            write(folder.path(), (node(number), Direction::Up), (MUCH, 1_000_000), at_ms).unwrap();
        }
        let counts = |now_ms: u64| read(&path, now_ms).len();
        let last_ms = start_ms + age_max_ms();
        assert_eq!((counts(last_ms), counts(last_ms + 1), counts(last_ms + 3)), (3, 2, 0));
        assert_eq!(counts(start_ms), 1, "what is of a time to come says nothing");
        // A full file.
        let average = |unix_ms: u64| Some(Average { bytes_per_s: 1, transfers: 1, unix_ms });
        let nodes = (0..NODES_MAX).map(|number| {
            let unix_ms = if number == 7 { start_ms } else { start_ms + 1 };
            Node { node: node(number), down: None, up: average(unix_ms) }
        });
        let stored = Stored { version: VERSION, nodes: nodes.collect() };
        fs::write(&path, serde_json::to_vec(&stored).unwrap()).unwrap();
        write(folder.path(), (node(NODES_MAX), Direction::Down), (MUCH, 1), start_ms + 2).unwrap();
        let kept = read(&path, start_ms + 2);
        assert!(kept.len() == NODES_MAX && !kept.contains_key(&node(7)) && kept.contains_key(&node(NODES_MAX)));
    }

    #[test]
    fn a_damaged_file_says_nothing_and_is_written_anew_and_nobody_waits_for_a_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let too_many: Vec<Node> = (0..=NODES_MAX).map(|_| Node { node: NODE, down: None, up: None }).collect();
        let too_many = serde_json::to_string(&Stored { version: VERSION, nodes: too_many }).unwrap();
        for text in ["", "{\"version\":1,\"nodes\":[{\"no", "{\"version\":2,\"nodes\":[]}", too_many.as_str()] {
            fs::write(&path, text).unwrap();
            assert!(read(&path, 1).is_empty(), "{text:.40}");
        }
        let links = Links::open(Some(folder.path()));
        let held = Lock::take(&folder.path().join(LOCK_FILE)).unwrap().unwrap();
        links.note(NODE, Direction::Up, MUCH, SECOND);
        assert!(links.read().is_empty());
        drop(held);
        links.note(B256::repeat_byte(2), Direction::Up, MUCH, SECOND);
        assert_eq!(links.read().len(), 1);
    }
}
