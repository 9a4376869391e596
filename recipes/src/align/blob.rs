//! The byte layouts of the alignment kernel: common input, unit input, output records. Little-endian; offsets in README.md.

use super::scoring::Matrix;
use crate::{
    Error,
    words::{push, word},
};

/// Version of the layouts, first word of the common input.
const FORMAT: u32 = 1;
/// Bytes before the target offsets.
const COMMON_HEAD_BYTES: usize = 596;
const UNIT_HEAD_BYTES: usize = 12;
const MATRIX_AT: usize = 16;
const TARGET_COUNT_AT: usize = 592;

/// How pairs are scored. Ranges as the kernel checks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scheme {
    /// Cost of a gap's first residue, 1 to 1,000.
    pub(super) gap_open: i32,
    /// Cost of each further residue, 0 to `gap_open`.
    pub(super) gap_extend: i32,
    /// Pairs below this get a score and no alignment; 1 to 1,000,000.
    pub(super) score_min: i32,
    /// Scores by residue codes.
    pub(super) matrix: Matrix,
}

/// A common input: scheme and all targets as lists of codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Common<'a> {
    pub(super) scheme: Scheme,
    pub(super) targets: Vec<&'a [u8]>,
}

/// A unit input: each query is aligned with the targets `target_first .. target_first + target_count`, queries outermost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit<'a> {
    pub(super) target_first: u32,
    pub(super) target_count: u32,
    pub(super) queries: Vec<&'a [u8]>,
}

/// One output record. Ends are one past the last residue, all counted from 0. Without alignment all but the score is 0 or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) score: u32,
    pub(super) query_begin: u32,
    pub(super) query_end: u32,
    pub(super) target_begin: u32,
    pub(super) target_end: u32,
    /// Runs of operations, `length << 4 | operation`, operations numbered as in BAM (1 = I, 2 = D, 7 = `=`, 8 = X).
    pub(super) operations: Vec<u32>,
}

impl Common<'_> {
    /// The blob's bytes. Targets are at most 65,535 residues each and 128 MiB together: the plan has checked that.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        push(&mut bytes, FORMAT);
        for value in [self.scheme.gap_open, self.scheme.gap_extend, self.scheme.score_min] {
            push(&mut bytes, value.cast_unsigned());
        }
        bytes.extend(self.scheme.matrix.iter().flatten().map(|score| score.cast_unsigned()));
        push(&mut bytes, count(self.targets.len()));
        push_sequences(&mut bytes, &self.targets);
        bytes
    }
}

impl<'a> Common<'a> {
    /// Reads a blob with exactly the checks of the kernel.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, Error> {
        let wrong = |what| Error::Blob { blob: "common", what };
        let (head, rest) = bytes.split_at_checked(COMMON_HEAD_BYTES).ok_or_else(|| wrong("too short"))?;
        let at = |at| word(head, at).ok_or_else(|| wrong("too short"));
        if at(0)? != FORMAT {
            return Err(wrong("unknown format"));
        }
        let (open, extend, score_min) = (at(4)?, at(8)?, at(12)?);
        if !(1..=1_000).contains(&open) || extend > open || !(1..=1_000_000).contains(&score_min) {
            return Err(wrong("penalty or score out of range"));
        }
        let mut matrix: Matrix = [[0; 24]; 24];
        for (to, from) in matrix.iter_mut().flatten().zip(&head[MATRIX_AT..TARGET_COUNT_AT]) {
            *to = from.cast_signed();
        }
        let scheme = Scheme {
            gap_open: open.cast_signed(),
            gap_extend: extend.cast_signed(),
            score_min: score_min.cast_signed(),
            matrix,
        };
        let targets = read_sequences(at(TARGET_COUNT_AT)?, rest).ok_or_else(|| wrong("bad target sequences"))?;
        Ok(Self { scheme, targets })
    }
}

impl Unit<'_> {
    /// The blob's bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        push(&mut bytes, count(self.queries.len()));
        push(&mut bytes, self.target_first);
        push(&mut bytes, self.target_count);
        push_sequences(&mut bytes, &self.queries);
        bytes
    }
}

impl<'a> Unit<'a> {
    /// Reads a blob with exactly the checks of the kernel.
    pub(super) fn decode(bytes: &'a [u8], target_total: usize) -> Result<Self, Error> {
        let wrong = |what| Error::Blob { blob: "unit", what };
        let (head, rest) = bytes.split_at_checked(UNIT_HEAD_BYTES).ok_or_else(|| wrong("too short"))?;
        let at = |at| word(head, at).ok_or_else(|| wrong("too short"));
        let (target_first, target_count) = (at(4)?, at(8)?);
        let end = u64::from(target_first).saturating_add(u64::from(target_count));
        if usize::try_from(end).map_or(true, |end| end > target_total) {
            return Err(wrong("targets out of range"));
        }
        let queries = read_sequences(at(0)?, rest).ok_or_else(|| wrong("bad query sequences"))?;
        Ok(Self { target_first, target_count, queries })
    }
}

impl Record {
    /// Appends the record to an output.
    pub(super) fn encode_into(&self, bytes: &mut Vec<u8>) {
        let head = [self.score, self.query_begin, self.query_end, self.target_begin, self.target_end];
        for value in head.into_iter().chain([count(self.operations.len())]).chain(self.operations.iter().copied()) {
            push(bytes, value);
        }
    }

    /// Takes one record from the front of an output's words; `None` if they end too early.
    pub(super) fn decode(words: &mut &[u32]) -> Option<Self> {
        let (&[score, query_begin, query_end, target_begin, target_end, operations], rest) =
            words.split_first_chunk()?;
        let (operations, rest) = rest.split_at_checked(usize::try_from(operations).ok()?)?;
        *words = rest;
        Some(Self { score, query_begin, query_end, target_begin, target_end, operations: operations.to_vec() })
    }
}

/// LOSSY: counts in blobs are bounded by the blobs' 128 MiB.
fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn push_sequences(bytes: &mut Vec<u8>, sequences: &[&[u8]]) {
    let mut offset = 0_u32;
    push(bytes, offset);
    for sequence in sequences {
        offset = offset.saturating_add(count(sequence.len()));
        push(bytes, offset);
    }
    for sequence in sequences {
        bytes.extend_from_slice(sequence);
    }
}

fn read_sequences(count: u32, bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let table_bytes = usize::try_from(count).ok()?.checked_add(1)?.checked_mul(4)?;
    let (table, residues) = bytes.split_at_checked(table_bytes)?;
    let offsets: Vec<usize> =
        crate::words::words(table)?.into_iter().map(|offset| usize::try_from(offset).ok()).collect::<Option<_>>()?;
    let whole = offsets.first() == Some(&0) && offsets.last() == Some(&residues.len());
    if !whole || residues.iter().any(|&code| code >= 24) {
        return None;
    }
    let sequence = |pair: &[usize; 2]| {
        let sequence = residues.get(pair[0]..pair[1])?;
        (1..=super::fasta::LENGTH_MAX).contains(&sequence.len()).then_some(sequence)
    };
    offsets.array_windows().map(sequence).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::align::scoring::BLOSUM62;

    const SCHEME: Scheme = Scheme { gap_open: 11, gap_extend: 1, score_min: 1, matrix: BLOSUM62 };

    #[test]
    fn blobs_round_trip_and_every_truncation_is_refused() {
        let common = Common { scheme: SCHEME, targets: vec![&[1, 2, 3], &[23]] };
        let bytes = common.encode();
        assert_eq!(Common::decode(&bytes).unwrap(), common);
        assert!((0..bytes.len()).all(|length| Common::decode(&bytes[..length]).is_err()));
        let unit = Unit { target_first: 1, target_count: 1, queries: vec![&[4], &[5, 6]] };
        let bytes = unit.encode();
        assert_eq!(Unit::decode(&bytes, 2).unwrap(), unit);
        assert!(Unit::decode(&bytes, 1).is_err());
        assert!((0..bytes.len()).all(|length| Unit::decode(&bytes[..length], 2).is_err()));
        assert!(Unit::decode(&[bytes.as_slice(), &[0]].concat(), 2).is_err());
    }

    #[test]
    fn records_round_trip_one_after_another() {
        let records = [
            Record { score: 9, query_end: 1, target_end: 1, operations: vec![0x17], ..Record::default() },
            Record::default(),
        ];
        let mut bytes = Vec::new();
        records.iter().for_each(|record| record.encode_into(&mut bytes));
        let words = crate::words::words(&bytes).unwrap();
        let mut rest = words.as_slice();
        assert_eq!([Record::decode(&mut rest).unwrap(), Record::decode(&mut rest).unwrap()], records);
        assert!(rest.is_empty() && Record::decode(&mut rest).is_none());
    }
}
