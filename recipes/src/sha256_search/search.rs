//! The layouts of the search and its reference: every nonce of a unit hashed on this CPU.
#![allow(
    clippy::arithmetic_side_effects,
    reason = "counts are at most 2^28 nonces and indices below the blobs' fixed lengths; nonces are added wrapping"
)]

use super::sha256::{Block, Cut, ROUND_CONSTANTS, State, compress, cut};
use crate::{
    Error,
    words::{push, words},
};

/// Nonces of one workgroup; each gives one record.
pub(super) const RANGE: u32 = 16_384;
/// Most nonces of a unit: 16,384 workgroups.
pub(super) const UNIT_NONCES_MAX: u32 = 1 << 28;
/// Buckets of the histogram: 0 to 31 leading zero bits, and 32 or more.
pub(super) const BUCKETS: usize = 33;
/// Bytes of the nonce in a message.
pub(super) const SUFFIX_BYTES: usize = 16;
/// Words of a record: nonce low, nonce high, digest.
pub(super) const RECORD_WORDS: usize = 10;

const FORMAT: u32 = 1;
const TEMPLATE_WORDS: usize = 32;
const COMMON_WORDS: usize = 12 + TEMPLATE_WORDS + ROUND_CONSTANTS.len();

/// The common input of a message prefix.
pub(super) fn encode_common(prefix: &[u8]) -> Vec<u8> {
    let cut = cut(prefix, SUFFIX_BYTES);
    let mut bytes = Vec::with_capacity(4 * COMMON_WORDS);
    // LOSSY: at most 2 blocks, and an offset below 64.
    push(&mut bytes, FORMAT);
    push(&mut bytes, u32::try_from(cut.template.len()).unwrap_or(u32::MAX));
    let at = u32::try_from(cut.suffix_at).unwrap_or(u32::MAX);
    push(&mut bytes, at / 4);
    push(&mut bytes, at % 4 * 8);
    cut.midstate.iter().for_each(|word| push(&mut bytes, *word));
    let template = cut.template.as_flattened();
    template.iter().chain(core::iter::repeat(&0)).take(TEMPLATE_WORDS).for_each(|word| push(&mut bytes, *word));
    ROUND_CONSTANTS.iter().for_each(|word| push(&mut bytes, *word));
    bytes
}

/// The unit input of a range: `first` and `count` are multiples of [`RANGE`].
pub(super) fn encode_unit(first: u64, count: u32) -> Vec<u8> {
    let mut bytes = first.to_le_bytes().to_vec();
    push(&mut bytes, count);
    bytes
}

/// What the common input says, ready to hash.
pub(super) struct Searched(Cut);

impl Searched {
    /// A message prefix.
    pub(super) fn new(prefix: &[u8]) -> Self {
        Self(cut(prefix, SUFFIX_BYTES))
    }

    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let wrong = |what| Error::Blob { blob: "common", what };
        let words = words(bytes).filter(|words| words.len() == COMMON_WORDS).ok_or_else(|| wrong("wrong length"))?;
        let (head, rest) = words.split_at(12);
        let (template, constants) = rest.split_at(TEMPLATE_WORDS);
        let (blocks, word, shift) = (head[1], head[2], head[3]);
        if head[0] != FORMAT || !(1..=2).contains(&blocks) || constants != ROUND_CONSTANTS {
            return Err(wrong("unknown format, number of blocks or constants"));
        }
        if word > 15 || shift > 24 || !shift.is_multiple_of(8) {
            return Err(wrong("position of the nonce out of range"));
        }
        let (template, _) = template.as_chunks::<16>();
        let template: Vec<Block> = template.iter().copied().take(if blocks == 1 { 1 } else { 2 }).collect();
        let suffix_at = (4 * word + shift / 8) as usize;
        if suffix_at + SUFFIX_BYTES > 64 * template.len() {
            return Err(wrong("position of the nonce out of range"));
        }
        let midstate = core::array::from_fn(|at| head[4 + at]);
        Ok(Self(Cut { midstate, template, suffix_at }))
    }

    /// The digest of prefix and nonce.
    pub(super) fn digest(&self, nonce: u64) -> State {
        let mut template = self.0.template.clone();
        let words = template.as_flattened_mut();
        for (offset, digit) in suffix(nonce).bytes().enumerate() {
            let at = self.0.suffix_at + offset;
            words[at / 4] |= u32::from(digit) << (24 - 8 * (at % 4));
        }
        template.iter().fold(self.0.midstate, |state, block| compress(&state, block))
    }
}

/// A nonce as it stands in a message.
pub(super) fn suffix(nonce: u64) -> String {
    format!("{nonce:016x}")
}

/// The bucket of a digest.
pub(super) const fn bucket(digest: &State) -> usize {
    digest[0].leading_zeros() as usize
}

/// The output of one unit.
pub(super) fn run(common: &[u8], unit: &[u8]) -> Result<Vec<u8>, Error> {
    let searched = Searched::decode(common)?;
    let wrong = |what| Error::Blob { blob: "unit", what };
    let unit = words(unit).ok_or_else(|| wrong("length is not 12 bytes"))?;
    let &[low, high, count] = unit.as_slice() else { return Err(wrong("length is not 12 bytes")) };
    let whole = low.is_multiple_of(RANGE) && count.is_multiple_of(RANGE);
    if !whole || !(RANGE..=UNIT_NONCES_MAX).contains(&count) {
        return Err(wrong("range of nonces is not whole or too large"));
    }
    let first = u64::from(low) | (u64::from(high) << 32);
    let mut histogram = [0_u32; BUCKETS];
    let mut records = Vec::new();
    for range in 0..count / RANGE {
        let begin = first.wrapping_add(u64::from(range * RANGE));
        let mut best = ([u32::MAX; 8], u64::MAX);
        for step in 0..RANGE {
            let nonce = begin.wrapping_add(u64::from(step));
            let digest = searched.digest(nonce);
            histogram[bucket(&digest)] += 1;
            best = best.min((digest, nonce));
        }
        records.push(best);
    }
    let mut bytes = Vec::new();
    histogram.iter().for_each(|count| push(&mut bytes, *count));
    for (digest, nonce) in records {
        bytes.extend_from_slice(&nonce.to_le_bytes());
        digest.iter().for_each(|word| push(&mut bytes, *word));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn common_inputs_round_trip_and_every_changed_word_that_matters_is_refused() {
        for length in 0..200 {
            let prefix = vec![b'x'; length];
            let bytes = encode_common(&prefix);
            assert_eq!(bytes.len(), 432);
            assert_eq!(Searched::decode(&bytes).unwrap().0, cut(&prefix, SUFFIX_BYTES));
        }
        let bytes = encode_common(b"x");
        for (word, value) in [(0, 2), (1, 0), (1, 3), (2, 16), (2, 14), (3, 4), (3, 32), (44, 0), (107, 0)] {
            let mut bad = bytes.clone();
            bad[4 * word..4 * word + 4].copy_from_slice(&u32::to_le_bytes(value));
            assert!(Searched::decode(&bad).is_err(), "{word} {value}");
        }
        assert!((0..bytes.len()).all(|length| Searched::decode(&bytes[..length]).is_err()));
    }

    #[test]
    fn the_million_letters_of_the_standard_are_one_nonce_of_a_search() {
        // The last 16 of a million letters `a` are a nonce in hexadecimal digits.
        let searched = Searched::new(&vec![b'a'; 999_984]);
        let digest = searched.digest(0xaaaa_aaaa_aaaa_aaaa);
        assert_eq!((digest[0], digest[7]), (0xcdc7_6e5c, 0xc711_2cd0));
    }

    #[test]
    fn ranges_that_are_not_whole_are_refused() {
        let common = encode_common(b"x");
        assert_eq!(run(&common, &encode_unit(0, RANGE)).unwrap().len(), 4 * (BUCKETS + RECORD_WORDS));
        for (first, count) in [(1, RANGE), (0, 0), (0, RANGE + 1), (0, UNIT_NONCES_MAX + RANGE)] {
            assert!(run(&common, &encode_unit(first, count)).is_err(), "{first} {count}");
        }
        assert!(run(&common, &encode_unit(0, RANGE)[..8]).is_err());
    }
}
