//! Proves each 64 KiB of a blob against the blob's name as it arrives, instead of only at the end.
//!
//! # Design
//! BLAKE3 is a binary tree over 1 KiB chunks. The subtrees over 64 KiB *groups* are complete but for the last, so their
//! chaining values determine the root: a list of them (32 bytes per 64 KiB, 0.05 %) is checked against the hash
//! before the first byte is stored, and each group is then checked alone. A resumed transfer needs nothing else.
//!
//! Spec: specs/0005-transfer.md §2.

use std::io::{self, Read};

use blake3::{
    Hasher,
    hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root},
};

use crate::hash::{HASH_BYTES, Hash};

/// Size of a group in bytes: the unit of verification and of resumption. 64 KiB is 64 BLAKE3 chunks, enough for its
/// vector code, and bounds what a peer can make us buffer unverified.
pub const GROUP_BYTES: usize = 64 * 1024;

/// [`GROUP_BYTES`] as the type of sizes in formats. LOSSY: not; 65,536 fits.
const GROUP: u64 = GROUP_BYTES as u64;

/// The chaining values of a blob's groups, proved to belong to its hash.
///
/// Trust: a value of this type is consistent with [`Self::hash`]; [`Self::parse`] is the only way to make one from a
/// peer's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    hash: Hash,
    size_bytes: u64,
    /// One per group; empty when there is at most one group, whose hash is the root itself.
    groups: Vec<ChainingValue>,
}

/// The groups a peer sent do not hash to the name that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("outline does not match its hash: hash={hash} size_bytes={size_bytes}")]
pub struct OutlineMismatch {
    /// The blob that was asked for.
    pub hash: Hash,
    /// The size that the peer stated, in bytes.
    pub size_bytes: u64,
}

impl Outline {
    /// Computes the outline of bytes in memory.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut builder = Builder::default();
        for group in bytes.chunks(GROUP_BYTES) {
            builder.push(group);
        }
        builder.finish()
    }

    /// Computes the outline of everything that `reader` yields, in constant memory.
    ///
    /// # Errors
    /// Those of `reader`. Reading stops with `FileTooLarge` one byte after `bytes_max` (inclusive maximum).
    pub fn of_reader(reader: &mut dyn Read, bytes_max: u64) -> io::Result<Self> {
        let mut limited = reader.take(bytes_max.saturating_add(1));
        let mut builder = Builder::default();
        let mut group = Vec::with_capacity(GROUP_BYTES);
        loop {
            group.clear();
            limited.by_ref().take(GROUP).read_to_end(&mut group)?;
            if group.is_empty() {
                break;
            }
            builder.push(&group);
        }
        if builder.size_bytes > bytes_max {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        Ok(builder.finish())
    }

    /// Accepts an outline from a peer, if it hashes to `hash`.
    ///
    /// `groups` is what [`Self::to_bytes`] wrote: 32 bytes per group in order, nothing for a blob of at most one
    /// group. The caller has checked `size_bytes` against its own limit before it read that much.
    ///
    /// # Errors
    /// [`OutlineMismatch`]: the length does not fit the size, or the root differs. The peer is wrong.
    pub fn parse(hash: Hash, size_bytes: u64, groups: &[u8]) -> Result<Self, OutlineMismatch> {
        let mismatch = OutlineMismatch { hash, size_bytes };
        let (entries, rest) = groups.as_chunks::<HASH_BYTES>();
        let listed = if group_count(size_bytes) > 1 { group_count(size_bytes) } else { 0 };
        if !rest.is_empty() || u64::try_from(entries.len()) != Ok(listed) {
            return Err(mismatch);
        }
        let consistent = match entries {
            // No group will follow to be verified, so the name itself must be the empty blob's.
            [] if size_bytes == 0 => hash == Hash::of(b""),
            [] => true,
            _ => root(entries) == hash,
        };
        if consistent { Ok(Self { hash, size_bytes, groups: entries.to_vec() }) } else { Err(mismatch) }
    }

    /// The blob's name.
    #[must_use]
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// The blob's size in bytes. While a blob of at most one group is not verified, this is only the peer's word.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Number of groups; 0 for the empty blob.
    #[must_use]
    pub const fn group_count(&self) -> u64 {
        group_count(self.size_bytes)
    }

    /// Size of group `index` in bytes: 64 KiB for all but the last, 0 beyond it.
    #[must_use]
    pub fn group_bytes(&self, index: u64) -> usize {
        let start = index.saturating_mul(GROUP).min(self.size_bytes);
        // The difference is at most GROUP after `min`, so the conversion cannot fail.
        usize::try_from(self.size_bytes.saturating_sub(start).min(GROUP)).unwrap_or(GROUP_BYTES)
    }

    /// Whether `bytes` are exactly group `index` of the blob.
    #[must_use]
    pub fn verify(&self, index: u64, bytes: &[u8]) -> bool {
        if bytes.len() != self.group_bytes(index) || (bytes.is_empty() && self.size_bytes > 0) {
            return false;
        }
        if self.groups.is_empty() {
            return index == 0 && Hash::of(bytes) == self.hash;
        }
        let expected = usize::try_from(index).ok().and_then(|index| self.groups.get(index));
        expected == Some(&chaining_value(index, bytes))
    }

    /// The groups' chaining values in order, 32 bytes each; empty for a blob of at most one group.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.groups.concat()
    }

    /// Length of [`Self::to_bytes`] for a blob of `size_bytes`, in bytes.
    #[must_use]
    pub const fn encoded_bytes(size_bytes: u64) -> u64 {
        match group_count(size_bytes) {
            0 | 1 => 0,
            count => count.saturating_mul(HASH_BYTES as u64),
        }
    }
}

/// Hashes a blob group by group.
#[derive(Debug, Default)]
struct Builder {
    size_bytes: u64,
    groups: Vec<ChainingValue>,
    /// The root, should the first group turn out to be the only one.
    first: Option<Hash>,
}

impl Builder {
    /// Adds the next group: 64 KiB, but for the last one. Never empty.
    fn push(&mut self, group: &[u8]) {
        let index = u64::try_from(self.groups.len()).unwrap_or(u64::MAX);
        if index == 0 {
            self.first = Some(Hash::of(group));
        }
        self.groups.push(chaining_value(index, group));
        self.size_bytes = self.size_bytes.saturating_add(u64::try_from(group.len()).unwrap_or(u64::MAX));
    }

    fn finish(self) -> Outline {
        let Self { size_bytes, groups, first } = self;
        if groups.len() > 1 {
            return Outline { hash: root(&groups), size_bytes, groups };
        }
        Outline { hash: first.unwrap_or_else(|| Hash::of(b"")), size_bytes, groups: Vec::new() }
    }
}

const fn group_count(size_bytes: u64) -> u64 {
    size_bytes.div_ceil(GROUP)
}

/// The chaining value of a group that is not the whole blob. `bytes` is not empty and at most 64 KiB.
fn chaining_value(index: u64, bytes: &[u8]) -> ChainingValue {
    Hasher::new().set_input_offset(index.saturating_mul(GROUP)).update(bytes).finalize_non_root()
}

/// Where BLAKE3 splits `count >= 2` subtrees: the left side is the largest power of two below `count`.
const fn split(count: usize) -> usize {
    count.div_ceil(2).next_power_of_two()
}

/// The root over two or more groups.
fn root(groups: &[ChainingValue]) -> Hash {
    let (left, right) = groups.split_at(split(groups.len()));
    Hash::from(merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash))
}

/// The chaining value over one or more groups; the depth is the logarithm of their number.
fn subtree(groups: &[ChainingValue]) -> ChainingValue {
    match groups {
        [] => unreachable!("both sides of a split of two or more groups have a group"),
        [only] => *only,
        _ => {
            let (left, right) = groups.split_at(split(groups.len()));
            merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]
mod tests {
    use super::*;

    fn sample(size: usize) -> Vec<u8> {
        (0..size).map(|i| (i * 31 + i / 251) as u8).collect()
    }

    /// The edges of groups and of the tree's shape: blake3's own one-shot hash is the oracle.
    #[test]
    fn the_root_of_the_groups_is_the_blake3_hash() {
        let edges = [1, 1023, 1024, 1025, GROUP_BYTES - 1, GROUP_BYTES, GROUP_BYTES + 1];
        let counts = (2..=9).flat_map(|count| [count * GROUP_BYTES - 1, count * GROUP_BYTES, count * GROUP_BYTES + 1]);
        for size in std::iter::once(0).chain(edges).chain(counts).chain([17 * GROUP_BYTES + 5]) {
            let bytes = sample(size);
            let outline = Outline::of(&bytes);
            assert_eq!(outline.hash(), Hash::of(&bytes), "size={size}");
            assert_eq!(outline.size_bytes(), size as u64);
            let streamed = Outline::of_reader(&mut bytes.as_slice(), size as u64).unwrap();
            assert_eq!(streamed, outline);
            let encoded = outline.to_bytes();
            assert_eq!(encoded.len() as u64, Outline::encoded_bytes(size as u64));
            assert_eq!(Outline::parse(outline.hash(), size as u64, &encoded).unwrap(), outline);
            for (index, group) in bytes.chunks(GROUP_BYTES).enumerate() {
                assert!(outline.verify(index as u64, group), "size={size} index={index}");
            }
        }
    }

    #[test]
    fn a_reader_longer_than_the_maximum_is_refused() {
        let bytes = sample(GROUP_BYTES + 1);
        let error = Outline::of_reader(&mut bytes.as_slice(), GROUP).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(Outline::of_reader(&mut bytes.as_slice(), GROUP + 1).is_ok());
    }

    #[test]
    fn every_altered_outline_is_refused() {
        let bytes = sample(3 * GROUP_BYTES + 7);
        let outline = Outline::of(&bytes);
        let (hash, size, encoded) = (outline.hash(), outline.size_bytes(), outline.to_bytes());
        for position in 0..encoded.len() {
            let mut altered = encoded.clone();
            altered[position] ^= 1;
            assert!(Outline::parse(hash, size, &altered).is_err(), "position={position}");
        }
        let mut swapped = encoded.clone();
        swapped.rotate_left(HASH_BYTES);
        for wrong in [&encoded[..96], &encoded[..127], &swapped, &[encoded.clone(), encoded.clone()].concat(), &[]] {
            assert!(Outline::parse(hash, size, wrong).is_err());
        }
        assert!(Outline::parse(hash, size + GROUP, &encoded).is_err());
        assert!(Outline::parse(hash, 0, &encoded).is_err());
    }

    #[test]
    fn a_group_is_accepted_only_whole_unaltered_and_in_its_place() {
        let bytes = sample(2 * GROUP_BYTES + 9);
        let outline = Outline::of(&bytes);
        let groups: Vec<_> = bytes.chunks(GROUP_BYTES).collect();
        assert!(!outline.verify(1, groups[0]));
        assert!(!outline.verify(2, &groups[2][..8]));
        assert!(!outline.verify(3, &[]));
        assert!(!outline.verify(u64::MAX, &[]));
        let mut altered = groups[1].to_vec();
        altered[GROUP_BYTES - 1] ^= 0x80;
        assert!(!outline.verify(1, &altered));
    }

    /// The size of a small blob is only claimed until its one group is verified.
    #[test]
    fn a_wrong_size_claim_never_verifies() {
        let bytes = sample(100);
        for claimed in [99, 101, GROUP] {
            let outline = Outline::parse(Hash::of(&bytes), claimed, &[]).unwrap();
            assert!(!outline.verify(0, &bytes));
            assert!(!outline.verify(0, &bytes[..99]));
            assert!(!outline.verify(0, &[]));
        }
        // Nothing follows an outline of size 0, so only the empty blob's own name is accepted.
        assert!(Outline::parse(Hash::of(&bytes), 0, &[]).is_err());
        assert!(Outline::parse(Hash::of(b""), 0, &[]).unwrap().verify(0, &[]));
    }
}
