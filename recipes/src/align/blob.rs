//! The byte layouts of the alignment kernel: common input, unit input, output records. Little-endian; offsets in README.md.

use super::scoring::Matrix;
use crate::{
    Error,
    words::{push, word},
};

/// First word of the common input: the output is alignments.
const ALIGNMENTS: u32 = 1;
/// First word of the common input: the output is scores and ends, a slot for each pair, and residues are filled up to whole words.
const ENDS: u32 = 2;
/// Bytes before the target offsets; with slots, their number stands between.
const COMMON_HEAD_BYTES: usize = 596;
/// Most slots: workgroups in one dimension.
pub(super) const SLOTS_MAX: u32 = 65_535;
/// Longest target where only ends are asked for: the WGSL program keeps a row of it in workgroup memory.
pub(super) const ENDS_TARGET_MAX: usize = 3_072;
/// Greatest entry of a matrix there, so that a score fits into 16 bits.
const ENDS_SCORE_MAX: i8 = 21;
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
    /// Pairs that an output has room for, if only scores and ends are asked for.
    pub(super) slots: Option<u32>,
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
        push(&mut bytes, if self.slots.is_some() { ENDS } else { ALIGNMENTS });
        for value in [self.scheme.gap_open, self.scheme.gap_extend, self.scheme.score_min] {
            push(&mut bytes, value.cast_unsigned());
        }
        bytes.extend(self.scheme.matrix.iter().flatten().map(|score| score.cast_unsigned()));
        push(&mut bytes, count(self.targets.len()));
        if let Some(slots) = self.slots {
            push(&mut bytes, slots);
        }
        push_sequences(&mut bytes, &self.targets);
        if self.slots.is_some() {
            fill_up(&mut bytes);
        }
        bytes
    }
}

impl<'a> Common<'a> {
    /// Reads a blob with exactly the checks of the kernel.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<Self, Error> {
        let wrong = |what| Error::Blob { blob: "common", what };
        let (head, rest) = bytes.split_at_checked(COMMON_HEAD_BYTES).ok_or_else(|| wrong("too short"))?;
        let at = |at| word(head, at).ok_or_else(|| wrong("too short"));
        let format = at(0)?;
        let (slots, rest) = match format {
            ALIGNMENTS => (None, rest),
            ENDS => {
                let (slots, rest) = rest.split_first_chunk::<4>().ok_or_else(|| wrong("too short"))?;
                (Some(u32::from_le_bytes(*slots)), rest)
            }
            _ => return Err(wrong("unknown format")),
        };
        let (open, extend, score_min) = (at(4)?, at(8)?, at(12)?);
        if !(1..=1_000).contains(&open) || extend > open || !(1..=1_000_000).contains(&score_min) {
            return Err(wrong("penalty or score out of range"));
        }
        let mut matrix: Matrix = [[0; 24]; 24];
        for (to, from) in matrix.iter_mut().flatten().zip(&head[MATRIX_AT..TARGET_COUNT_AT]) {
            *to = from.cast_signed();
        }
        if slots.is_some_and(|slots| !(1..=SLOTS_MAX).contains(&slots)) {
            return Err(wrong("number of slots out of range"));
        }
        if slots.is_some() && matrix.as_flattened().iter().any(|&score| score > ENDS_SCORE_MAX) {
            return Err(wrong("matrix entry too large"));
        }
        let scheme = Scheme {
            gap_open: open.cast_signed(),
            gap_extend: extend.cast_signed(),
            score_min: score_min.cast_signed(),
            matrix,
        };
        let targets = read_sequences(at(TARGET_COUNT_AT)?, slots.is_some(), rest);
        Ok(Self { scheme, slots, targets: targets.ok_or_else(|| wrong("bad target sequences"))? })
    }
}

impl Unit<'_> {
    /// The blob's bytes, filled up to whole words, as the common input with slots is.
    pub(super) fn encode_in_words(&self) -> Vec<u8> {
        let mut bytes = self.encode();
        fill_up(&mut bytes);
        bytes
    }

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
    pub(super) fn decode(bytes: &'a [u8], common: &Common<'_>) -> Result<Self, Error> {
        let wrong = |what| Error::Blob { blob: "unit", what };
        let (head, rest) = bytes.split_at_checked(UNIT_HEAD_BYTES).ok_or_else(|| wrong("too short"))?;
        let at = |at| word(head, at).ok_or_else(|| wrong("too short"));
        let (target_first, target_count) = (at(4)?, at(8)?);
        let end = u64::from(target_first).saturating_add(u64::from(target_count));
        if usize::try_from(end).map_or(true, |end| end > common.targets.len()) {
            return Err(wrong("targets out of range"));
        }
        let queries = read_sequences(at(0)?, common.slots.is_some(), rest);
        let queries = queries.ok_or_else(|| wrong("bad query sequences"))?;
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

fn fill_up(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn read_sequences(count: u32, in_words: bool, bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let table_bytes = usize::try_from(count).ok()?.checked_add(1)?.checked_mul(4)?;
    let (table, residues) = bytes.split_at_checked(table_bytes)?;
    let offsets: Vec<usize> =
        crate::words::words(table)?.into_iter().map(|offset| usize::try_from(offset).ok()).collect::<Option<_>>()?;
    let end = *offsets.last()?;
    let (residues, rest) = residues.split_at_checked(end)?;
    let filled = if in_words { end.next_multiple_of(4) } else { end };
    let whole = offsets.first() == Some(&0) && filled.checked_sub(end) == Some(rest.len());
    let whole = whole && rest.iter().all(|&byte| byte == 0);
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
        for slots in [None, Some(1), Some(SLOTS_MAX)] {
            let common = Common { scheme: SCHEME, slots, targets: vec![&[1, 2, 3], &[23, 2]] };
            let bytes = common.encode();
            assert_eq!(Common::decode(&bytes).unwrap(), common);
            assert!((0..bytes.len()).all(|length| Common::decode(&bytes[..length]).is_err()));
            assert!(Common::decode(&[bytes.as_slice(), &[0; 4]].concat()).is_err());
            let fewer = Common { targets: vec![&[1]], ..common.clone() };
            let unit = Unit { target_first: 1, target_count: 1, queries: vec![&[4], &[5, 6]] };
            let bytes = if slots.is_some() { unit.encode_in_words() } else { unit.encode() };
            assert_eq!(Unit::decode(&bytes, &common).unwrap(), unit);
            assert!(Unit::decode(&bytes, &fewer).is_err());
            assert!((0..bytes.len()).all(|length| Unit::decode(&bytes[..length], &common).is_err()));
            assert!(Unit::decode(&[bytes.as_slice(), &[0]].concat(), &common).is_err());
        }
    }

    #[test]
    fn slots_scores_and_fillings_outside_their_ranges_are_refused() {
        let with = |slots, scheme| Common { scheme, slots: Some(slots), targets: vec![&[1, 2, 3]] }.encode();
        for slots in [0, SLOTS_MAX + 1] {
            assert!(Common::decode(&with(slots, SCHEME)).is_err());
        }
        let mut matrix = BLOSUM62;
        matrix[3][4] = 21;
        assert!(Common::decode(&with(1, Scheme { matrix, ..SCHEME })).is_ok());
        matrix[3][4] = 22;
        assert!(Common::decode(&with(1, Scheme { matrix, ..SCHEME })).is_err());
        let mut filled = with(1, SCHEME);
        *filled.last_mut().unwrap() = 1;
        assert!(Common::decode(&filled).is_err());
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
