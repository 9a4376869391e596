//! Writes one segment file, block after block, aside; it takes its name when it is whole and synced.

use super::{
    Kind, MAGIC, MAGIC_END, check,
    files::Listed,
    index::{FrameAt, Index, Key, bucket_of},
};
use crate::{
    error::Error,
    logs::{Posting, Run, put_list},
};
use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
};
use zstd::bulk::Compressor;

/// Raw bytes after which a frame of bodies ends: large enough to compress, small enough to read one block.
const BODIES_BYTES: usize = 32 * 1024;
/// The same for receipts: a search for logs reads one frame per hit.
const RECEIPTS_BYTES: usize = 4 * 1024;
/// zstd's default: about 300 MB/s.
const LEVEL: i32 = 3;
/// Bytes of a list up to which it lies in its bucket.
const INLINE_BYTES_MAX: usize = 256;
/// Bytes that a bucket has about.
const BUCKET_BYTES: usize = 4_096;
/// Bits of a term that choose its bucket, at most: 2^20 buckets of 4 KiB are far more than a segment has.
const BUCKET_BITS_MAX: u32 = 20;

/// The receipts of a block in parts: index of the first receipt, record.
pub(super) type Parts = [(u32, Vec<u8>)];

/// The frame that is being filled.
struct Open {
    kind: Kind,
    bytes_max: usize,
    /// Its first item.
    first: Option<Key>,
    raw: Vec<u8>,
    written: Vec<FrameAt>,
}

impl Open {
    const fn new(kind: Kind, bytes_max: usize) -> Self {
        Self { kind, bytes_max, first: None, raw: Vec::new(), written: Vec::new() }
    }
}

/// A file that is being written.
pub(super) struct Writer {
    draft: PathBuf,
    path: PathBuf,
    out: BufWriter<File>,
    at: u64,
    compressor: Compressor<'static>,
    first: u64,
    next: u64,
    bodies: Open,
    receipts: Open,
    postings: Vec<Posting>,
}

impl Writer {
    /// Begins a file whose first block has height `first`.
    pub(super) fn create(path: PathBuf, first: u64) -> Result<Self, Error> {
        let draft = path.with_extension("new");
        let mut out = BufWriter::new(File::create(&draft)?);
        out.write_all(&MAGIC)?;
        Ok(Self {
            draft,
            path,
            out,
            at: MAGIC.len() as u64,
            compressor: Compressor::new(LEVEL)?,
            first,
            next: first,
            bodies: Open::new(Kind::Bodies, BODIES_BYTES),
            receipts: Open::new(Kind::Receipts, RECEIPTS_BYTES),
            postings: Vec::new(),
        })
    }

    /// Postings so far.
    pub(super) const fn postings(&self) -> usize {
        self.postings.len()
    }

    /// Adds the next block.
    pub(super) fn add(&mut self, block: &[u8], senders: &[u8], parts: &Parts, of: &Run) -> Result<(), Error> {
        let number = self.next;
        self.next = self.next.saturating_add(1);
        self.postings.extend(of.entries.iter());
        let Self { out, at, compressor, bodies, receipts, .. } = self;
        let mut frames = Frames { out, at, compressor };
        Frames::item(bodies, (number, 0), block);
        Frames::item(bodies, (number, 1), senders);
        frames.end_if_large(bodies)?;
        for (first, part) in parts {
            Frames::item(receipts, (number, u64::from(*first)), part);
            frames.end_if_large(receipts)?;
        }
        Ok(())
    }

    /// Ends the file, syncs it, and gives it its name.
    pub(super) fn finish(mut self) -> Result<Listed, Error> {
        let mut frames = Frames { out: &mut self.out, at: &mut self.at, compressor: &mut self.compressor };
        frames.end(&mut self.bodies)?;
        frames.end(&mut self.receipts)?;
        let buckets = self.write_postings()?;
        let index = Index {
            first: self.first,
            last: self.next.saturating_sub(1),
            postings: self.postings.len() as u64,
            bodies: std::mem::take(&mut self.bodies.written),
            receipts: std::mem::take(&mut self.receipts.written),
            buckets,
        };
        let bytes = index.encode();
        let check = check(&bytes);
        self.write(&bytes)?;
        self.write(&check)?;
        self.write(&(bytes.len() as u64).to_be_bytes())?;
        self.write(&MAGIC_END)?;
        let file = self.out.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.sync_all()?;
        fs::rename(&self.draft, &self.path)?;
        File::open(self.path.parent().unwrap_or_else(|| Path::new(".")))?.sync_all()?;
        Ok(Listed { first: index.first, last: index.last, bytes: self.at, check })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        put(&mut self.out, &mut self.at, bytes)
    }

    /// Writes the long lists and the buckets; returns the offsets of the buckets.
    fn write_postings(&mut self) -> Result<Vec<u64>, Error> {
        let mut postings = std::mem::take(&mut self.postings);
        postings.sort_unstable();
        let terms = || postings.chunk_by(|a, b| a.term == b.term);
        let about = terms().count().saturating_mul(20).saturating_add(postings.len().saturating_mul(3));
        let bits = (about / BUCKET_BYTES).next_power_of_two().trailing_zeros().min(BUCKET_BITS_MAX);
        let count = 1_usize.checked_shl(bits).expect("invariant: at most 20 bits");
        let mut buckets = vec![Vec::new(); count];
        for group in terms() {
            let Some(term) = group.first().map(|posting| posting.term) else { continue };
            let mut list = Vec::new();
            put_list(&mut list, self.first, group.iter().map(|posting| posting.place));
            let at = bucket_of(term, bits).expect("invariant: at most 20 bits");
            let bucket = buckets.get_mut(at).expect("invariant: there are as many buckets as bits say");
            bucket.extend_from_slice(&term.to_be_bytes());
            bucket.extend_from_slice(&(group.len() as u64).to_be_bytes());
            let inline = list.len() <= INLINE_BYTES_MAX;
            bucket.push(u8::from(inline));
            bucket.extend_from_slice(&(list.len() as u64).to_be_bytes());
            if inline {
                bucket.extend_from_slice(&list);
            } else {
                bucket.extend_from_slice(&self.at.to_be_bytes());
                bucket.extend_from_slice(&check(&list));
                self.write(&list)?;
            }
        }
        let mut offsets = Vec::with_capacity(count.saturating_add(1));
        for bucket in buckets {
            offsets.push(self.at);
            self.write(&bucket)?;
            self.write(&check(&bucket))?;
        }
        offsets.push(self.at);
        self.postings = postings;
        Ok(offsets)
    }
}

fn put(out: &mut BufWriter<File>, at: &mut u64, bytes: &[u8]) -> Result<(), Error> {
    out.write_all(bytes)?;
    *at = at.saturating_add(bytes.len() as u64);
    Ok(())
}

/// Where frames go.
struct Frames<'w> {
    out: &'w mut BufWriter<File>,
    at: &'w mut u64,
    compressor: &'w mut Compressor<'static>,
}

impl Frames<'_> {
    /// Adds an item to the open frame.
    fn item(open: &mut Open, key: Key, record: &[u8]) {
        open.first.get_or_insert(key);
        open.raw.extend_from_slice(&key.0.to_be_bytes());
        open.raw.extend_from_slice(&key.1.to_be_bytes());
        open.raw.extend_from_slice(&four(record.len()));
        open.raw.extend_from_slice(record);
    }

    fn end_if_large(&mut self, open: &mut Open) -> Result<(), Error> {
        if open.raw.len() < open.bytes_max { Ok(()) } else { self.end(open) }
    }

    fn end(&mut self, open: &mut Open) -> Result<(), Error> {
        let Some(first) = open.first.take() else { return Ok(()) };
        let packed = self.compressor.compress(&open.raw)?;
        let mut frame = Vec::with_capacity(packed.len().saturating_add(32));
        frame.push(open.kind.byte());
        frame.extend_from_slice(&four(open.raw.len()));
        frame.extend_from_slice(&four(packed.len()));
        frame.extend_from_slice(&packed);
        let sum = check(&frame);
        frame.extend_from_slice(&sum);
        open.written.push(FrameAt { first, offset: *self.at, bytes: frame.len() as u64 });
        open.raw.clear();
        put(self.out, self.at, &frame)
    }
}

fn four(length: usize) -> [u8; 4] {
    u32::try_from(length).expect("invariant: a block and its receipts are far below 4 GiB").to_be_bytes()
}
