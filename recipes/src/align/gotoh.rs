//! The CPU reference of the alignment kernel, equal to it bit by bit, written for clarity: two full score rows and one mark a cell.
#![allow(
    clippy::arithmetic_side_effects,
    reason = "scores stay below 2^30: 65,535 residues x 127, penalties x 65,535 <= 1000"
)]

use super::{
    blob::{Common, ENDS_TARGET_MAX, Record, Scheme, Unit},
    fasta::LENGTH_MAX,
};
use crate::{Error, words::push};

/// Most cells of one pair: the kernel marks each with a byte, and 128 MiB is what the recipe's memory limit leaves for that.
pub(super) const CELLS_MAX: u64 = 1 << 27;

const NEVER: i32 = -1_000_000_000;

/// Where a cell's value came from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Zero,
    Diagonal,
    /// A gap in the target: consumes a query residue.
    Insertion,
    /// A gap in the query: consumes a target residue.
    Deletion,
}

#[derive(Clone, Copy)]
struct Mark {
    from: From,
    insertion_extends: bool,
    deletion_extends: bool,
}

/// The best cell: its score, and the ends there, one past the last residue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Best {
    pub(super) score: i32,
    pub(super) query_end: usize,
    pub(super) target_end: usize,
}

/// The output of one unit.
pub(super) fn run(common: &[u8], unit: &[u8]) -> Result<Vec<u8>, Error> {
    let common = Common::decode(common)?;
    let unit = Unit::decode(unit, &common)?;
    // Inside: `decode` has compared the range with the number of targets.
    let first = usize::try_from(unit.target_first).unwrap_or(usize::MAX);
    let count = usize::try_from(unit.target_count).unwrap_or(usize::MAX);
    let targets = common.targets.get(first..first.saturating_add(count)).unwrap_or_default();
    let longest = |all: &[&[u8]]| all.iter().map(|one| one.len()).max().unwrap_or(0);
    if wide(longest(&unit.queries)).saturating_mul(wide(longest(targets))) > CELLS_MAX {
        return Err(Error::Blob { blob: "unit", what: "pair with too many cells" });
    }
    let pairs = unit.queries.iter().flat_map(|query| targets.iter().map(move |target| (*query, *target)));
    let mut bytes = Vec::new();
    let Some(slots) = common.slots else {
        pairs.for_each(|(query, target)| align(&common.scheme, query, target).encode_into(&mut bytes));
        return Ok(bytes);
    };
    let slots = usize::try_from(slots).unwrap_or(usize::MAX);
    if longest(targets) > ENDS_TARGET_MAX || unit.queries.len().saturating_mul(targets.len()) > slots {
        return Err(Error::Blob { blob: "unit", what: "target too long or more pairs than slots" });
    }
    for (query, target) in pairs {
        let best = ends(&common.scheme, query, target);
        push(&mut bytes, best.score.cast_unsigned());
        push(&mut bytes, position(best.query_end));
        push(&mut bytes, position(best.target_end));
    }
    bytes.resize(12 * slots, 0);
    Ok(bytes)
}

fn wide(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

/// LOSSY: a position in a sequence is at most [`LENGTH_MAX`].
fn position(position: usize) -> u32 {
    u32::try_from(position.min(LENGTH_MAX)).unwrap_or(u32::MAX)
}

/// Only where the best alignment of a pair ends, and its score.
fn ends(scheme: &Scheme, query: &[u8], target: &[u8]) -> Best {
    fill(scheme, query, target, |_| ())
}

/// The best alignment of a pair; only the score if that is below the least.
pub(super) fn align(scheme: &Scheme, query: &[u8], target: &[u8]) -> Record {
    let mut marks = Vec::with_capacity(query.len() * target.len());
    let best = fill(scheme, query, target, |mark| marks.push(mark));
    if best.score < scheme.score_min {
        return Record { score: best.score.cast_unsigned(), ..Record::default() };
    }
    walk(query, target, best, &marks)
}

/// Fills the matrix row by row. Ties: a value prefers diagonal, then insertion, then deletion; a gap prefers extending over opening;
/// the best cell is the one with the least target end, among these the one reached first.
fn fill(scheme: &Scheme, query: &[u8], target: &[u8], mut keep: impl FnMut(Mark)) -> Best {
    let mut above = vec![0; target.len()];
    let mut insertions = vec![NEVER; target.len()];
    let mut best = Best::default();
    for (row, &query_code) in query.iter().enumerate() {
        let (mut diagonal, mut left, mut deletion) = (0, 0, NEVER);
        for (column, &target_code) in target.iter().enumerate() {
            let insertion_open = above[column] - scheme.gap_open;
            let insertion_extend = insertions[column] - scheme.gap_extend;
            let deletion_open = left - scheme.gap_open;
            let deletion_extend = deletion - scheme.gap_extend;
            let insertion = insertion_open.max(insertion_extend);
            deletion = deletion_open.max(deletion_extend);
            let matched = diagonal + i32::from(scheme.matrix[usize::from(query_code)][usize::from(target_code)]);
            let value = matched.max(insertion).max(deletion).max(0);
            let from = match value {
                0 => From::Zero,
                _ if value == matched => From::Diagonal,
                _ if value == insertion => From::Insertion,
                _ => From::Deletion,
            };
            keep(Mark {
                from,
                insertion_extends: insertion_extend >= insertion_open,
                deletion_extends: deletion_extend >= deletion_open,
            });
            (diagonal, above[column], insertions[column], left) = (above[column], value, insertion, value);
            if value > best.score || (value == best.score && column + 1 < best.target_end) {
                best = Best { score: value, query_end: row + 1, target_end: column + 1 };
            }
        }
    }
    best
}

/// Walks back from the best cell to where the score began.
fn walk(query: &[u8], target: &[u8], best: Best, marks: &[Mark]) -> Record {
    let (mut row, mut column, mut state) = (best.query_end, best.target_end, From::Zero);
    let mut operations: Vec<u32> = Vec::new();
    while row > 0 && column > 0 {
        let mark = marks[(row - 1) * target.len() + column - 1];
        if state == From::Zero {
            state = mark.from;
        }
        let operation = match state {
            From::Zero => break,
            From::Diagonal => {
                (row, column, state) = (row - 1, column - 1, From::Zero);
                if query[row] == target[column] { 7 } else { 8 }
            }
            From::Insertion => {
                (row, state) = (row - 1, if mark.insertion_extends { From::Insertion } else { From::Zero });
                1
            }
            From::Deletion => {
                (column, state) = (column - 1, if mark.deletion_extends { From::Deletion } else { From::Zero });
                2
            }
        };
        match operations.last_mut() {
            Some(run) if *run & 15 == operation => *run += 16,
            _ => operations.push(16 | operation),
        }
    }
    operations.reverse();
    Record {
        score: best.score.cast_unsigned(),
        query_begin: position(row),
        query_end: position(best.query_end),
        target_begin: position(column),
        target_end: position(best.target_end),
        operations,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::needless_range_loop, reason = "tests")]
    use super::*;
    use crate::align::{assembly::check_record, scoring::BLOSUM62};
    use proptest::prelude::*;

    fn scheme(gap_open: i32, gap_extend: i32) -> Scheme {
        Scheme { gap_open, gap_extend, score_min: 1, matrix: BLOSUM62 }
    }

    fn codes(text: &str) -> Vec<u8> {
        text.bytes().map(|letter| crate::align::scoring::code(letter).unwrap()).collect()
    }

    fn cigar(record: &Record) -> String {
        let letter = |run: u32| ["", "I", "D", "", "", "", "", "=", "X"][(run & 15) as usize];
        record.operations.iter().map(|run| format!("{}{}", run >> 4, letter(*run))).collect()
    }

    /// The best score by the textbook's general recurrence (Waterman, Smith and Beyer): every gap length is tried in every cell, so
    /// nothing is shared with Gotoh's three states. Cubic time.
    fn textbook(scheme: &Scheme, query: &[u8], target: &[u8]) -> i32 {
        let gap = |length: usize| scheme.gap_open + scheme.gap_extend * (i32::try_from(length).unwrap() - 1);
        let mut value = vec![vec![0_i32; target.len() + 1]; query.len() + 1];
        let mut best = 0;
        for i in 1..=query.len() {
            for j in 1..=target.len() {
                let score = scheme.matrix[usize::from(query[i - 1])][usize::from(target[j - 1])];
                let mut cell = (value[i - 1][j - 1] + i32::from(score)).max(0);
                for k in 1..=i {
                    cell = cell.max(value[i - k][j] - gap(k));
                }
                for k in 1..=j {
                    cell = cell.max(value[i][j - k] - gap(k));
                }
                value[i][j] = cell;
                best = best.max(cell);
            }
        }
        best
    }

    #[test]
    fn gap_open_includes_the_first_residue_as_in_parasail() {
        let record = align(&scheme(11, 1), &codes("MKTAYIAKQR"), &codes("MKTAIAKQR"));
        // 10 residues without the Y: 5+5+5+4 + 4+4+5+5+5 = 42, minus 11 for a gap of one.
        assert_eq!((record.score, cigar(&record)), (31, "4=1I5=".to_owned()));
        let record = align(&scheme(11, 1), &codes(&"W".repeat(20)), &codes(&format!("{0}AAA{0}", "W".repeat(10))));
        assert_eq!((record.score, cigar(&record)), (220 - 11 - 2, "10=3D10=".to_owned()));
    }

    #[test]
    fn ties_are_broken_as_parasail_breaks_them() {
        // Expected values printed by parasail 1.3.4 `sw_trace`, leading gap runs removed (README.md).
        for (query, target, open, extend, score, cigar_expected) in [
            ("ARNNNRRNRRNRR", "AARNNRRRNAR", 1, 0, 44, "2=1I3=2I3=1D1="),
            ("ANRAA", "NRRNRNNAN", 1, 0, 14, "2=5D1="),
            ("KBACISXXTMAKWN", "GHSTBKIQ", 1, 0, 11, "1=2I1=1D2I1="),
        ] {
            let record = align(&scheme(open, extend), &codes(query), &codes(target));
            assert_eq!((record.score, cigar(&record)), (score, cigar_expected.to_owned()));
        }
    }

    #[test]
    fn pairs_below_the_least_score_get_no_alignment() {
        let limited = Scheme { score_min: 32, ..scheme(11, 1) };
        let record = align(&limited, &codes("MKTAYIAKQR"), &codes("MKTAIAKQR"));
        assert_eq!(record, Record { score: 31, ..Record::default() });
        let reached = Scheme { score_min: 31, ..scheme(11, 1) };
        assert_eq!(cigar(&align(&reached, &codes("MKTAYIAKQR"), &codes("MKTAIAKQR"))), "4=1I5=");
        assert_eq!(align(&scheme(11, 1), &codes("W"), &codes("P")), Record::default());
    }

    proptest! {
        #[test]
        fn score_is_the_textbooks_and_the_alignment_scores_what_it_claims(
            query in prop::collection::vec(prop::sample::select(vec![0_u8, 1, 2, 9, 17, 22, 23]), 1..30),
            target in prop::collection::vec(prop::sample::select(vec![0_u8, 1, 2, 9, 17, 22, 23]), 1..30),
            gap_open in 1..14_i32,
            gap_extend in 0..5_i32,
        ) {
            let scheme = scheme(gap_open, gap_extend.min(gap_open));
            let record = align(&scheme, &query, &target);
            prop_assert_eq!(record.score.cast_signed(), textbook(&scheme, &query, &target));
            prop_assert_eq!(check_record(&scheme, &query, &target, &record), Ok(()));
        }
    }
}
