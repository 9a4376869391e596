//! Hashes many short messages at once: the node encodings of a block, and the keys of a block.
//!
//! # Design
//! A message lies in a [`Jobs`] buffer already padded to whole 136-byte blocks, so hashing is only absorb and permute.
//! Each job has a *height*: one more than its highest child, 0 without children. Jobs of one height are independent and
//! are hashed eight at a time where the processor has AVX-512. A finished hash is copied into the parent's bytes, at the
//! *hole* that the parent left for it.
//!
//! # Invariants
//! A parent is pushed after its children and is higher than they are. Both paths give the hash of [`keccak256`].
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "offsets into a buffer that `trie::MERGE_CHANGES_MAX` keeps far below 4 GiB; overflow is checked in release as well"
)]

#[cfg(target_arch = "x86_64")]
mod wide;

use alloy_primitives::{B256, keccak256};

/// Bytes that Keccak-256 absorbs per permutation.
const RATE: usize = 136;
/// States that are hashed side by side.
const LANES: usize = 8;
/// Fewer messages of one shape than this are hashed one by one: eight lanes cost about as much as three scalar hashes.
const LANES_MIN: usize = 3;
/// Bits of a job's number in an order: a buffer below 4 GiB holds fewer jobs. Height and blocks stand above.
const SHAPE_SHIFT: u32 = 25;
/// Says that nobody waits for a hash.
const NO_HOLE: u32 = u32::MAX;

/// Which implementation hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Hashing {
    /// Eight lanes where the processor has them.
    #[default]
    Widest,
    /// One message at a time; the tests compare it with the other.
    #[cfg_attr(not(test), allow(dead_code, reason = "the reference path of the tests"))]
    Scalar,
}

/// A place in a message where the hash of an earlier job belongs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hole {
    /// Offset of the 32 bytes in the message.
    pub(crate) offset: usize,
    /// The job whose hash goes there.
    pub(crate) job: u32,
}

struct Job {
    start: usize,
    bytes: usize,
    /// Where the hash is copied to in the buffer, or [`NO_HOLE`].
    hole: u32,
    height: u8,
}

/// Messages that wait to be hashed, and their hashes after [`Jobs::run`].
#[derive(Default)]
pub(crate) struct Jobs {
    bytes: Vec<u8>,
    jobs: Vec<Job>,
    hashes: Vec<B256>,
    /// Shape and number of each job, while they run.
    order: Vec<u64>,
}

impl Jobs {
    /// Adds a message and returns its number.
    pub(crate) fn push(&mut self, message: &[u8], height: u8, holes: &[Hole]) -> u32 {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(message);
        let padded = (message.len() / RATE + 1) * RATE;
        self.bytes.resize(start + padded, 0);
        self.bytes[start + message.len()] = 0x01;
        self.bytes[start + padded - 1] |= 0x80;
        for hole in holes {
            self.jobs[hole.job as usize].hole =
                u32::try_from(start + hole.offset).expect("invariant: a buffer stays below 4 GiB");
        }
        self.jobs.push(Job { start, bytes: message.len(), hole: NO_HOLE, height });
        u32::try_from(self.jobs.len() - 1).expect("invariant: each job takes 136 bytes of a buffer below 4 GiB")
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Forgets all and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.jobs.clear();
        self.hashes.clear();
    }

    /// Height of a job.
    pub(crate) fn height(&self, job: u32) -> u8 {
        self.jobs[job as usize].height
    }

    /// Hash of a job; zero before [`Self::run`].
    pub(crate) fn hash(&self, job: u32) -> B256 {
        self.hashes.get(job as usize).copied().unwrap_or_default()
    }

    /// Hashes everything, lowest height first.
    pub(crate) fn run(&mut self, hashing: Hashing) {
        self.hashes.resize(self.jobs.len(), B256::ZERO);
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        let shape = |job: &Job| u64::from(job.height) << 32 | (job.bytes / RATE) as u64;
        order.extend((0..).zip(&self.jobs).map(|(id, job): (u64, &Job)| shape(job) << SHAPE_SHIFT | id));
        order.sort_unstable();
        let wide = hashing == Hashing::Widest && has_wide();
        for same in order.chunk_by(|a, b| a >> SHAPE_SHIFT == b >> SHAPE_SHIFT) {
            for lanes in same.chunks(LANES) {
                self.run_group(lanes, wide);
            }
        }
        self.order = order;
    }

    /// Hashes up to eight jobs of one shape.
    fn run_group(&mut self, lanes: &[u64], wide: bool) {
        let mut ids = [0; LANES];
        for (id, lane) in ids.iter_mut().zip(lanes) {
            *id = (lane & ((1 << SHAPE_SHIFT) - 1)) as usize;
        }
        let group = &ids[..lanes.len()];
        if wide && group.len() >= LANES_MIN {
            let blocks = self.jobs[group[0]].bytes / RATE + 1;
            return self.run_wide(group, blocks);
        }
        for &id in group {
            let job = &self.jobs[id];
            let hash = keccak256(&self.bytes[job.start..][..job.bytes]);
            self.finish(id, hash);
        }
    }

    fn finish(&mut self, id: usize, hash: B256) {
        let hole = self.jobs[id].hole;
        if hole != NO_HOLE {
            self.bytes[hole as usize..][..32].copy_from_slice(hash.as_slice());
        }
        self.hashes[id] = hash;
    }

    #[cfg(target_arch = "x86_64")]
    fn run_wide(&mut self, group: &[usize], blocks: usize) {
        let last = group.len() - 1;
        let lanes: [&[u8]; LANES] =
            std::array::from_fn(|lane| &self.bytes[self.jobs[group[lane.min(last)]].start..][..blocks * RATE]);
        let digests = wide::hash(&lanes);
        for (&id, digest) in group.iter().zip(digests) {
            self.finish(id, B256::new(digest));
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn run_wide(&mut self, _group: &[usize], _blocks: usize) {
        unreachable!("invariant: `has_wide` is false here")
    }
}

/// Hashes each message by itself; the order is kept.
pub(crate) fn hash_all<'m>(messages: impl Iterator<Item = &'m [u8]>, hashing: Hashing) -> Vec<B256> {
    let mut jobs = Jobs::default();
    messages.for_each(|message| {
        jobs.push(message, 0, &[]);
    });
    jobs.run(hashing);
    jobs.hashes
}

#[cfg(target_arch = "x86_64")]
fn has_wide() -> bool {
    is_x86_feature_detected!("avx512f")
}

#[cfg(not(target_arch = "x86_64"))]
const fn has_wide() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(index: usize) -> Vec<u8> {
        (0..index % 700).map(|at| (index * 31 + at * 7).to_le_bytes()[0]).collect()
    }

    #[test]
    fn both_paths_equal_the_plain_hash_for_every_length_and_lane_count() {
        let messages: Vec<Vec<u8>> = (0..2_803).map(message).collect();
        let want: Vec<B256> = messages.iter().map(keccak256).collect();
        for hashing in [Hashing::Widest, Hashing::Scalar] {
            for count in [0, 1, 2, 3, 7, 8, 9, messages.len()] {
                let got = hash_all(messages.iter().take(count).map(Vec::as_slice), hashing);
                assert_eq!(got, want[..count], "{hashing:?} count={count}");
            }
        }
    }

    #[test]
    fn a_parent_is_hashed_over_the_hashes_of_its_children() {
        for hashing in [Hashing::Widest, Hashing::Scalar] {
            let mut jobs = Jobs::default();
            let children: Vec<u32> = (0..20).map(|index| jobs.push(&message(100 + index), 0, &[])).collect();
            let mut text = vec![7; 32 * 20 + 5];
            let holes: Vec<Hole> =
                children.iter().enumerate().map(|(at, &job)| Hole { offset: 5 + 32 * at, job }).collect();
            let parent = jobs.push(&text, 1, &holes);
            jobs.run(hashing);
            for (at, index) in (0..20).enumerate() {
                text[5 + 32 * at..][..32].copy_from_slice(keccak256(message(100 + index)).as_slice());
            }
            assert_eq!(jobs.hash(parent), keccak256(&text), "{hashing:?}");
            assert_eq!(jobs.height(parent), 1);
        }
    }
}
