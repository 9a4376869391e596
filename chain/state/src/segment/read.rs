//! Reads of one segment file.

use super::{
    CHECK_BYTES, Kind, MAGIC, MAGIC_END, check,
    files::Segments,
    index::{FrameAt, Index, Key},
};
use crate::{
    error::{Corruption, Error},
    logs::{Lists, Place, take_list},
    receipts,
};
use std::{fs::File, os::unix::fs::FileExt as _, path::Path};

/// Bytes of a frame before what is packed: kind, raw bytes, packed bytes.
const FRAME_HEAD_BYTES: usize = 1 + 4 + 4;
/// Check, length of the index, magic number.
const TRAILER_BYTES: u64 = 24;
/// Largest frame: a body of 4 MiB, or receipts of a block full of logs.
const RAW_BYTES_MAX: usize = 1 << 30;

/// A sealed file.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) bytes: u64,
    pub(crate) name: String,
    index: Index,
}

/// Which record of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Block,
    Senders,
    Receipts,
}

/// A frame that was read.
pub(crate) struct Frame {
    raw: Vec<u8>,
}

impl Frame {
    /// The items in order: key and record; `None` among them if the frame is malformed.
    fn items(&self) -> impl Iterator<Item = Option<(Key, &[u8])>> {
        let mut rest = self.raw.as_slice();
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let item = take(&mut rest);
            if item.is_none() {
                rest = &[];
            }
            Some(item)
        })
    }

    /// The part of a block that begins at or before `part`, if the frame has it, with its own number.
    pub(crate) fn part(&self, number: u64, part: u64) -> Option<(u64, &[u8])> {
        let items = self.items().map_while(|item| item).take_while(|(key, _)| *key <= (number, part));
        items.last().filter(|(key, _)| key.0 == number).map(|(key, record)| (key.1, record))
    }
}

fn take<'b>(rest: &mut &'b [u8]) -> Option<(Key, &'b [u8])> {
    let (number, tail) = rest.split_first_chunk::<8>()?;
    let (part, tail) = tail.split_first_chunk::<8>()?;
    let (length, tail) = tail.split_first_chunk::<4>()?;
    let (record, tail) = tail.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *rest = tail;
    Some(((u64::from_be_bytes(*number), u64::from_be_bytes(*part)), record))
}

impl Segment {
    /// Reads the index of a file of which the table says length and check.
    pub(super) fn load(name: String, path: &Path, bytes: u64, listed: [u8; CHECK_BYTES]) -> Result<Self, Error> {
        let damaged = |reason: &str| damage(&name, reason.to_owned());
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(damaged("it is gone")),
            Err(error) => return Err(error.into()),
        };
        let got = file.metadata()?.len();
        if got != bytes {
            return Err(damage(&name, format!("it has another length: bytes={got} listed_bytes={bytes}")));
        }
        let mut magic = [0; 8];
        file.read_exact_at(&mut magic, 0)?;
        let mut trailer = [0; 24];
        let at = bytes.checked_sub(TRAILER_BYTES).ok_or_else(|| damaged("it is too short"))?;
        file.read_exact_at(&mut trailer, at)?;
        let (sum, rest) = trailer.split_at(CHECK_BYTES);
        let (length, end) = rest.split_at(8);
        if magic != MAGIC || end != MAGIC_END {
            return Err(damaged("its beginning or end is not that of a segment"));
        }
        let length = u64::from_be_bytes(length.try_into().unwrap_or_default());
        let from = at.checked_sub(length).ok_or_else(|| damaged("the length of its index is wrong"))?;
        let mut encoded = vec![0; usize::try_from(length).map_err(|_| damaged("its index is too long"))?];
        file.read_exact_at(&mut encoded, from)?;
        if sum != listed || check(&encoded) != listed {
            return Err(damaged("its index has another checksum"));
        }
        let index = Index::decode(&encoded).ok_or_else(|| damaged("its index is malformed"))?;
        Ok(Self { first: index.first, last: index.last, bytes, name, index })
    }

    /// Postings in the file.
    pub(crate) const fn postings(&self) -> u64 {
        self.index.postings
    }

    /// Reads every bucket and list; returns the postings that they hold.
    pub(crate) fn count_postings(&self, files: &Segments) -> Result<u64, Error> {
        let lists = SegmentLists { segment: self, files };
        let mut total = 0_u64;
        for pair in self.index.buckets.windows(2) {
            let (Some(&from), Some(&to)) = (pair.first(), pair.last()) else { continue };
            let bucket = lists.bucket(from, to)?;
            let mut rest = bucket.as_slice();
            while !rest.is_empty() {
                let entry = Entry::take(&mut rest).ok_or_else(|| lists.malformed())?;
                let mut places = Vec::new();
                lists.read(&entry.list, &mut places)?;
                if places.len() as u64 != entry.count {
                    return Err(lists.malformed());
                }
                total = total.saturating_add(entry.count);
            }
        }
        Ok(total)
    }

    fn frames(&self, kind: Kind) -> &[FrameAt] {
        match kind {
            Kind::Bodies => &self.index.bodies,
            Kind::Receipts => &self.index.receipts,
        }
    }

    /// The number of the frame that a part of a block is in.
    pub(crate) fn find(&self, kind: Kind, number: u64, part: u64) -> Result<usize, Error> {
        let at = self.frames(kind).partition_point(|frame| frame.first <= (number, part)).checked_sub(1);
        let at = at.filter(|_| (self.first..=self.last).contains(&number));
        at.ok_or_else(|| damage(&self.name, format!("block {number} is not in its index")))
    }

    /// The frame with a number.
    pub(crate) fn frame(&self, files: &Segments, kind: Kind, at: usize) -> Result<Frame, Error> {
        let Some(at) = self.frames(kind).get(at) else {
            return Err(damage(&self.name, "its index has no such frame".to_owned()));
        };
        let damaged = |what: &str| damage(&self.name, format!("frame of block {}: {what}", at.first.0));
        let bytes = self.read(files, at.offset, at.bytes)?;
        let (body, sum) = bytes
            .split_at_checked(bytes.len().saturating_sub(CHECK_BYTES))
            .ok_or_else(|| damaged("it is too short"))?;
        if check(body) != sum {
            return Err(damaged("it has another checksum"));
        }
        unpack(files, kind, body).ok_or_else(|| damaged("it is malformed"))
    }

    /// A record of a block.
    pub(crate) fn record(&self, files: &Segments, number: u64, record: Record) -> Result<Vec<u8>, Error> {
        let damaged = || damage(&self.name, format!("records of block {number} are malformed"));
        let part = match record {
            Record::Block => 0,
            Record::Senders => 1,
            Record::Receipts => return self.receipts(files, number),
        };
        let frame = self.frame(files, Kind::Bodies, self.find(Kind::Bodies, number, part)?)?;
        let found = frame.part(number, part).filter(|(found, _)| *found == part);
        found.map(|(_, record)| record.to_vec()).ok_or_else(damaged)
    }

    /// All receipts of a block: from the frame that has the first, and those behind it that go on with the block.
    fn receipts(&self, files: &Segments, number: u64) -> Result<Vec<u8>, Error> {
        let damaged = || damage(&self.name, format!("receipts of block {number} are malformed"));
        let from = self.find(Kind::Receipts, number, 0)?;
        let later = self.index.receipts.iter().skip(from).skip(1).take_while(|frame| frame.first.0 == number);
        let end = from.saturating_add(later.count()).saturating_add(1);
        let frames: Vec<Frame> =
            (from..end).map(|at| self.frame(files, Kind::Receipts, at)).collect::<Result<_, _>>()?;
        let mut parts = Vec::new();
        for item in frames.iter().flat_map(Frame::items) {
            let (key, record) = item.ok_or_else(damaged)?;
            if key.0 == number {
                parts.push(record);
            }
        }
        let whole = (!parts.is_empty()).then(|| receipts::join(parts.into_iter())).flatten();
        whole.ok_or_else(damaged)
    }

    fn read(&self, files: &Segments, offset: u64, bytes: u64) -> Result<Vec<u8>, Error> {
        let within = offset.checked_add(bytes).is_some_and(|end| end <= self.bytes);
        let length = usize::try_from(bytes).ok().filter(|_| within);
        let length = length.ok_or_else(|| damage(&self.name, format!("its index points outside: offset={offset}")))?;
        let mut out = vec![0; length];
        let read = files.file(self)?.read_exact_at(&mut out, offset);
        read.map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => damage(&self.name, "it was cut off".to_owned()),
            _ => error.into(),
        })?;
        Ok(out)
    }
}

fn unpack(files: &Segments, kind: Kind, body: &[u8]) -> Option<Frame> {
    let (head, packed) = body.split_at_checked(FRAME_HEAD_BYTES)?;
    let (&byte, head) = head.split_first()?;
    let (raw, length) = head.split_first_chunk::<4>()?;
    let raw = usize::try_from(u32::from_be_bytes(*raw)).ok().filter(|raw| *raw <= RAW_BYTES_MAX)?;
    let length = usize::try_from(u32::from_be_bytes(length.try_into().ok()?)).ok()?;
    if byte != kind.byte() || length != packed.len() {
        return None;
    }
    files.unpack(packed, raw).filter(|unpacked| unpacked.len() == raw).map(|raw| Frame { raw })
}

/// The error for a damaged file.
pub(super) fn damage(name: &str, reason: String) -> Error {
    Corruption::Segment { file: name.to_owned(), reason }.into()
}

/// The log index of a segment.
pub(crate) struct SegmentLists<'s> {
    pub(crate) segment: &'s Segment,
    pub(crate) files: &'s Segments,
}

/// A list of places in a segment.
pub(crate) enum List {
    /// Its bytes lay in the bucket.
    Here(Vec<u8>),
    /// It lies elsewhere in the file.
    There { offset: u64, bytes: u64, check: [u8; CHECK_BYTES] },
}

struct Entry {
    term: u64,
    count: u64,
    list: List,
}

impl Entry {
    fn take(rest: &mut &[u8]) -> Option<Self> {
        let number = |rest: &mut &[u8]| -> Option<u64> {
            let (number, tail) = rest.split_first_chunk::<8>()?;
            *rest = tail;
            Some(u64::from_be_bytes(*number))
        };
        let (term, count) = (number(rest)?, number(rest)?);
        let (&inline, tail) = rest.split_first()?;
        *rest = tail;
        let bytes = number(rest)?;
        if inline == 0 {
            let list = List::There { offset: number(rest)?, bytes, check: number(rest)?.to_be_bytes() };
            return Some(Self { term, count, list });
        }
        let (list, tail) = rest.split_at_checked(usize::try_from(bytes).ok()?)?;
        *rest = tail;
        Some(Self { term, count, list: List::Here(list.to_vec()) })
    }
}

impl SegmentLists<'_> {
    fn malformed(&self) -> Error {
        damage(&self.segment.name, "its log index is malformed".to_owned())
    }

    fn bucket(&self, from: u64, to: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = self.segment.read(self.files, from, to.saturating_sub(from))?;
        let sum = bytes.split_off(bytes.len().saturating_sub(CHECK_BYTES));
        if check(&bytes) == *sum {
            return Ok(bytes);
        }
        Err(damage(&self.segment.name, format!("bucket of the log index has another checksum: offset={from}")))
    }
}

impl Lists for SegmentLists<'_> {
    type List = List;

    fn find(&self, term: u64) -> Result<Option<(u64, List)>, Error> {
        let (from, to) = self.segment.index.bucket(term).ok_or_else(|| self.malformed())?;
        let bucket = self.bucket(from, to)?;
        let mut rest = bucket.as_slice();
        while !rest.is_empty() {
            let entry = Entry::take(&mut rest).ok_or_else(|| self.malformed())?;
            if entry.term >= term {
                return Ok((entry.term == term).then_some((entry.count, entry.list)));
            }
        }
        Ok(None)
    }

    fn read(&self, list: &List, out: &mut Vec<Place>) -> Result<(), Error> {
        let read;
        let bytes = match list {
            List::Here(bytes) => bytes,
            List::There { offset, bytes, check: sum } => {
                read = self.segment.read(self.files, *offset, *bytes)?;
                if check(&read) != *sum {
                    let reason = format!("list of the log index has another checksum: offset={offset}");
                    return Err(damage(&self.segment.name, reason));
                }
                &read
            }
        };
        take_list(bytes, self.segment.first, out).ok_or_else(|| self.malformed())
    }
}
