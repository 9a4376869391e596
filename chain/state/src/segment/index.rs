//! The index of a segment file: where its frames and buckets lie.

/// Names an item of a frame: height, and part of the block. Parts of bodies are 0 for the block and 1 for its senders;
/// those of receipts are the indices of the first receipt in them.
pub(super) type Key = (u64, u64);

/// Where a frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameAt {
    /// Its first item.
    pub(super) first: Key,
    /// Offset in the file.
    pub(super) offset: u64,
    /// Length with header and check.
    pub(super) bytes: u64,
}

/// The index of a file. All its numbers have eight bytes, big-endian.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    pub(super) first: u64,
    pub(super) last: u64,
    /// Postings in the file.
    pub(super) postings: u64,
    pub(super) bodies: Vec<FrameAt>,
    pub(super) receipts: Vec<FrameAt>,
    /// Offsets of the buckets, and the end of the last: a power of two, and one.
    pub(super) buckets: Vec<u64>,
}

impl Index {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut numbers = vec![self.first, self.last, self.postings];
        for frames in [&self.bodies, &self.receipts] {
            numbers.push(frames.len() as u64);
            numbers.extend(frames.iter().flat_map(|frame| [frame.first.0, frame.first.1, frame.offset, frame.bytes]));
        }
        numbers.push(self.buckets.len() as u64);
        numbers.extend(&self.buckets);
        numbers.into_iter().flat_map(u64::to_be_bytes).collect()
    }

    /// `None` unless the bytes are an index whose parts fit each other.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let [first, last, postings] = [take(&mut rest)?, take(&mut rest)?, take(&mut rest)?];
        let mut frames = || -> Option<Vec<FrameAt>> {
            let mut out = Vec::new();
            for _ in 0..take(&mut rest)? {
                let first = (take(&mut rest)?, take(&mut rest)?);
                out.push(FrameAt { first, offset: take(&mut rest)?, bytes: take(&mut rest)? });
            }
            let ascending = out.is_sorted_by(|a, b| a.first < b.first);
            (ascending && out.first().is_some_and(|frame| frame.first == (first, 0))).then_some(out)
        };
        let (bodies, receipts) = (frames()?, frames()?);
        let mut buckets = Vec::new();
        for _ in 0..take(&mut rest)? {
            buckets.push(take(&mut rest)?);
        }
        let whole = rest.is_empty() && first <= last && buckets.is_sorted();
        let count = buckets.len().checked_sub(1)?;
        (whole && count.is_power_of_two()).then_some(Self { first, last, postings, bodies, receipts, buckets })
    }

    /// Buckets in the file: a power of two.
    const fn bucket_count(&self) -> usize {
        self.buckets.len().saturating_sub(1)
    }

    /// The bucket of a term: its offset and end.
    pub(super) fn bucket(&self, term: u64) -> Option<(u64, u64)> {
        let at = bucket_of(term, self.bucket_count().trailing_zeros())?;
        Some((*self.buckets.get(at)?, *self.buckets.get(at.checked_add(1)?)?))
    }
}

/// The number of the bucket that a term is in: its first bits.
pub(super) fn bucket_of(term: u64, bits: u32) -> Option<usize> {
    // No bits leave nothing of the term, which is bucket 0.
    usize::try_from(term.checked_shr(64_u32.saturating_sub(bits)).unwrap_or(0)).ok()
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let (number, tail) = rest.split_first_chunk::<8>()?;
    *rest = tail;
    Some(u64::from_be_bytes(*number))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test stops where an assumption fails")]

    use super::*;

    #[test]
    fn an_index_round_trips_and_no_prefix_or_extension_of_one_is_read() {
        let frame = |first| FrameAt { first: (first, 0), offset: first * 10, bytes: 10 };
        let index = Index {
            first: 5,
            last: 9,
            postings: 3,
            bodies: vec![frame(5), frame(7)],
            receipts: vec![frame(5)],
            buckets: vec![100, 100, 130],
        };
        let bytes = index.encode();
        assert_eq!(Index::decode(&bytes), Some(index));
        for length in 0..bytes.len() {
            assert_eq!(Index::decode(&bytes[..length]), None);
        }
        assert_eq!(Index::decode(&[bytes, vec![0]].concat()), None);
    }

    #[test]
    fn terms_fall_into_buckets_by_their_first_bits() {
        for (term, bits, bucket) in [(0, 0, 0), (u64::MAX, 0, 0), (u64::MAX, 1, 1), (1 << 62, 2, 1), (u64::MAX, 8, 255)]
        {
            assert_eq!(bucket_of(term, bits), Some(bucket));
        }
    }
}
