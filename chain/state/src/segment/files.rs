//! The sealed files of a store: which there are, and the handles to them.

use super::{
    CHECK_BYTES,
    read::{Record, Segment, damage},
};
use crate::{
    cache::lock,
    error::{Corruption, Error},
    record,
    tables::{TIP, Tables, malformed, meta},
};
use fjall::OwnedWriteBatch;
use std::{
    collections::VecDeque,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};
use zstd::bulk::Decompressor;

/// Files that are kept open: an ordinary limit is 1,024 descriptors for the whole process.
const OPEN_MAX: usize = 128;
/// Idle contexts that are kept: as many as RPC has reading threads.
const UNPACKERS_MAX: usize = 32;

/// What the table says about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) bytes: u64,
    pub(crate) check: [u8; CHECK_BYTES],
}

impl Listed {
    fn encode(&self) -> Vec<u8> {
        [self.last.to_be_bytes(), self.bytes.to_be_bytes(), self.check].concat()
    }

    fn decode(key: &[u8], value: &[u8]) -> Option<Self> {
        let (last, rest) = value.split_first_chunk::<8>()?;
        let (bytes, check) = rest.split_first_chunk::<8>()?;
        let (last, bytes) = (u64::from_be_bytes(*last), u64::from_be_bytes(*bytes));
        Some(Self { first: record::decode_height(key)?, last, bytes, check: check.try_into().ok()? })
    }

    /// Lists the file, as the last one.
    pub(crate) fn put(&self, batch: &mut OwnedWriteBatch, tables: &Tables) {
        batch.insert(&tables.segments, self.first.to_be_bytes(), self.encode());
        batch.insert(&tables.meta, meta::SEALED, self.last.to_be_bytes());
    }
}

struct Sorted {
    /// Ascending, without gaps.
    segments: Vec<Arc<Segment>>,
    /// Height of the last sealed block; 0 if none is: the genesis block never leaves the tables.
    sealed: u64,
}

/// All sealed files.
pub(crate) struct Segments {
    dir: PathBuf,
    sorted: RwLock<Sorted>,
    /// Handles by first height, used last at the back.
    open: Mutex<VecDeque<(u64, Arc<File>)>>,
    /// Contexts of zstd: making one costs more than unpacking a frame.
    unpackers: Mutex<Vec<Decompressor<'static>>>,
}

impl Segments {
    /// Opens the files that the table lists.
    ///
    /// # Errors
    /// [`Corruption::Segment`] names a file that is gone, cut or not the one that was sealed.
    pub(crate) fn open(dir: PathBuf, tables: &Tables) -> Result<Self, Error> {
        fs::create_dir_all(&dir)?;
        let mut sorted = Sorted { segments: Vec::new(), sealed: sealed(tables)? };
        for listed in listed(tables)? {
            let gap = sorted.segments.last().is_some_and(|last| last.last.checked_add(1) != Some(listed.first));
            let segment = load(&dir, &listed)?;
            if gap || (segment.first, segment.last) != (listed.first, listed.last) {
                return Err(damage(&segment.name, "its blocks do not follow the ones before".to_owned()));
            }
            sorted.segments.push(Arc::new(segment));
        }
        if sorted.segments.last().is_some_and(|last| last.last != sorted.sealed) {
            return Err(malformed(&tables.meta, meta::SEALED.as_bytes()));
        }
        Ok(Self { dir, sorted: RwLock::new(sorted), open: Mutex::default(), unpackers: Mutex::default() })
    }

    fn sorted<T>(&self, read: impl FnOnce(&Sorted) -> T) -> T {
        read(&self.sorted.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Height of the last sealed block, 0 if there is none.
    pub(crate) fn sealed(&self) -> u64 {
        self.sorted(|sorted| sorted.sealed)
    }

    /// Height of the lowest block after the genesis block whose body is kept.
    pub(crate) fn oldest(&self) -> u64 {
        self.sorted(|sorted| {
            sorted.segments.first().map_or_else(|| sorted.sealed.saturating_add(1), |first| first.first)
        })
    }

    /// All files, ascending.
    pub(crate) fn all(&self) -> Vec<Arc<Segment>> {
        self.sorted(|sorted| sorted.segments.clone())
    }

    /// The file that has a block.
    pub(crate) fn find(&self, number: u64) -> Option<Arc<Segment>> {
        self.sorted(|sorted| {
            let at = sorted.segments.partition_point(|segment| segment.last < number);
            sorted.segments.get(at).filter(|segment| segment.first <= number).cloned()
        })
    }

    /// A record of a sealed block; `None` if no file has the block.
    pub(crate) fn record(&self, number: u64, record: Record) -> Result<Option<Vec<u8>>, Error> {
        let Some(segment) = self.find(number) else { return Ok(None) };
        segment.record(self, number, record).map(Some)
    }

    /// Where the file of a segment that begins at a height lies.
    pub(crate) fn path(&self, first: u64) -> PathBuf {
        self.dir.join(name(first))
    }

    /// Makes a file visible that was just written.
    pub(crate) fn push(&self, listed: &Listed) -> Result<Arc<Segment>, Error> {
        let segment = Arc::new(load(&self.dir, listed)?);
        let mut sorted = self.sorted.write().unwrap_or_else(PoisonError::into_inner);
        sorted.sealed = segment.last;
        sorted.segments.push(Arc::clone(&segment));
        Ok(segment)
    }

    /// Takes the last file back, because it could not be listed.
    pub(crate) fn pop(&self) {
        let mut sorted = self.sorted.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(segment) = sorted.segments.pop() {
            sorted.sealed = segment.first.saturating_sub(1);
        }
    }

    /// Forgets the files all of whose blocks lie below a height, and returns them.
    pub(crate) fn drop_below(&self, number: u64) -> Vec<Arc<Segment>> {
        let mut sorted = self.sorted.write().unwrap_or_else(PoisonError::into_inner);
        let count = sorted.segments.partition_point(|segment| segment.last < number);
        sorted.segments.drain(..count).collect()
    }

    /// Unpacks a frame to `bytes` at most; `None` if it is not zstd's, or longer.
    pub(super) fn unpack(&self, packed: &[u8], bytes: usize) -> Option<Vec<u8>> {
        let idle = lock(&self.unpackers).pop();
        let mut unpacker = idle.or_else(|| Decompressor::new().ok())?;
        let unpacked = unpacker.decompress(packed, bytes).ok();
        let mut idle = lock(&self.unpackers);
        if idle.len() < UNPACKERS_MAX {
            idle.push(unpacker);
        }
        drop(idle);
        unpacked
    }

    /// A handle to a file, opened if need be.
    pub(super) fn file(&self, segment: &Segment) -> Result<Arc<File>, Error> {
        let mut open = lock(&self.open);
        if let Some(at) = open.iter().position(|(first, _)| *first == segment.first)
            && let Some(found) = open.remove(at)
        {
            let file = Arc::clone(&found.1);
            open.push_back(found);
            return Ok(file);
        }
        let file = Arc::new(File::open(self.path(segment.first)).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => damage(&segment.name, "it is gone".to_owned()),
            _ => error.into(),
        })?);
        open.push_back((segment.first, Arc::clone(&file)));
        if open.len() > OPEN_MAX {
            open.pop_front();
        }
        Ok(file)
    }
}

/// Name of a file by its first height; names sort by height.
fn name(first: u64) -> String {
    format!("{first:012}.blocks")
}

fn load(dir: &Path, listed: &Listed) -> Result<Segment, Error> {
    let name = name(listed.first);
    let path = dir.join(&name);
    Segment::load(name, &path, listed.bytes, listed.check)
}

/// What the table lists, ascending.
fn listed(tables: &Tables) -> Result<Vec<Listed>, Error> {
    let mut out = Vec::new();
    for entry in tables.segments.iter() {
        let (key, value) = entry.into_inner()?;
        if key.as_ref() != TIP {
            out.push(Listed::decode(&key, &value).ok_or_else(|| malformed(&tables.segments, &key))?);
        }
    }
    Ok(out)
}

/// The last sealed height that the tables name.
fn sealed(tables: &Tables) -> Result<u64, Error> {
    let Some(bytes) = tables.meta(meta::SEALED)? else { return Ok(0) };
    let corrupt = || {
        Error::from(Corruption::Record {
            table: "meta",
            key: meta::SEALED.to_owned(),
            reason: "not a height".to_owned(),
        })
    };
    record::decode_height(&bytes).ok_or_else(corrupt)
}
