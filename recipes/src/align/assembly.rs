//! Checks alignment records that a provider delivered and writes them as a table.
//!
//! # Design
//! A record proves its own score: the operations are replayed over the two sequences. So a delivered alignment is always one that
//! scores what the table says; only that no better one exists needs the program to be run again.
#![allow(
    clippy::arithmetic_side_effects,
    reason = "operation lengths are compared with sequence lengths, at most 65,535, before use"
)]

use super::{
    blob::{Record, Scheme},
    fasta::Sequence,
    plan::Block,
};
use crate::{Error, settings::count, words::words};
use core::fmt::Write as _;

const HEADER: &str = "query\ttarget\tscore\tquery_begin\tquery_end\tquery_length\ttarget_begin\ttarget_end\ttarget_length\tcolumns\tidentities\tcigar\n";

/// What was aligned with what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pairs<'a> {
    pub(super) scheme: &'a Scheme,
    pub(super) queries: &'a [Sequence],
    pub(super) targets: &'a [Sequence],
}

/// An alignment to report: indices of query and target, and the record.
pub(super) type Row = (usize, usize, Record);

/// The checked alignments of all outputs. `outputs[i]` belongs to `blocks[i]`.
pub(super) fn rows(pairs: &Pairs<'_>, blocks: &[Block], outputs: &[Vec<u8>]) -> Result<Vec<Row>, Error> {
    count(outputs.len(), blocks.len())?;
    let mut rows = Vec::new();
    for (unit, (block, output)) in blocks.iter().zip(outputs).enumerate() {
        unit_rows(pairs, block, output, &mut rows).map_err(|what| Error::Output { unit, what })?;
    }
    Ok(rows)
}

/// The table of alignments. Blocks may cut a query's targets; the table is by query, then target, whatever the block size was.
pub(super) fn table(pairs: &Pairs<'_>, mut rows: Vec<Row>) -> String {
    rows.sort_by_key(|(query, target, _)| (*query, *target));
    let mut text = HEADER.to_owned();
    for (query, target, record) in rows {
        write_row(&mut text, &pairs.queries[query], &pairs.targets[target], &record);
    }
    text
}

fn unit_rows(pairs: &Pairs<'_>, block: &Block, output: &[u8], rows: &mut Vec<Row>) -> Result<(), String> {
    let words = words(output).ok_or_else(|| format!("length is not a multiple of 4: {}", output.len()))?;
    let mut rest = words.as_slice();
    for query in block.queries.clone() {
        for target in block.targets.clone() {
            let record = Record::decode(&mut rest).ok_or("ends in the middle of a record")?;
            check_record(pairs.scheme, &pairs.queries[query].residues, &pairs.targets[target].residues, &record)
                .map_err(|what| format!("{} with {}: {what}", pairs.queries[query].name, pairs.targets[target].name))?;
            if !record.operations.is_empty() {
                rows.push((query, target, record));
            }
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(format!("{} words after the last record", rest.len())) }
}

/// Whether the record can be the program's: either a score below the least one and nothing else, or an alignment inside both
/// sequences whose operations consume exactly the ranges and score exactly the score.
pub(super) fn check_record(scheme: &Scheme, query: &[u8], target: &[u8], record: &Record) -> Result<(), String> {
    if i64::from(record.score) < i64::from(scheme.score_min) {
        let bare = Record { score: record.score, ..Record::default() };
        return if *record == bare { Ok(()) } else { Err("alignment below the least score".to_owned()) };
    }
    let ends_in_column = |run: Option<&u32>| run.is_some_and(|run| matches!(run & 15, 7 | 8));
    if !ends_in_column(record.operations.first()) || !ends_in_column(record.operations.last()) {
        return Err("alignment does not begin and end with a column of two residues".to_owned());
    }
    let range = |begin: u32, end: u32, sequence: &'_ [u8]| {
        let (begin, end) = (usize::try_from(begin).ok()?, usize::try_from(end).ok()?);
        sequence.get(begin..end).map(<[u8]>::to_vec)
    };
    let query = range(record.query_begin, record.query_end, query).ok_or("query range outside the sequence")?;
    let target = range(record.target_begin, record.target_end, target).ok_or("target range outside the sequence")?;
    let score = replay(scheme, &query, &target, &record.operations)?;
    if score == i64::from(record.score) {
        Ok(())
    } else {
        Err(format!("alignment scores {score}, record says {}", record.score))
    }
}

/// The score of operations that must consume both ranges exactly.
fn replay(scheme: &Scheme, mut query: &[u8], mut target: &[u8], operations: &[u32]) -> Result<i64, &'static str> {
    let mut score = 0_i64;
    let mut last = 0;
    for run in operations {
        let (operation, length) = (run & 15, usize::try_from(run >> 4).unwrap_or(usize::MAX));
        if length == 0 || operation == last {
            return Err("operations are not runs");
        }
        last = operation;
        let (take_query, take_target) = match operation {
            1 => (length, 0),
            2 => (0, length),
            7 | 8 => (length, length),
            _ => return Err("unknown operation"),
        };
        let (a, rest_a) = query.split_at_checked(take_query).ok_or("operations run past the query range")?;
        let (b, rest_b) = target.split_at_checked(take_target).ok_or("operations run past the target range")?;
        (query, target) = (rest_a, rest_b);
        if operation <= 2 {
            // Lengths are at most 65,535 now.
            let extended = i64::try_from(length - 1).unwrap_or(i64::MAX);
            score -= i64::from(scheme.gap_open) + i64::from(scheme.gap_extend) * extended;
            continue;
        }
        for (&a, &b) in a.iter().zip(b) {
            if (a == b) != (operation == 7) {
                return Err("a column is called equal or different and is not");
            }
            score += i64::from(scheme.matrix[usize::from(a)][usize::from(b)]);
        }
    }
    if query.is_empty() && target.is_empty() { Ok(score) } else { Err("operations end before the ranges do") }
}

/// Positions in the table count from 1 and include both ends, as biologists write them.
fn write_row(text: &mut String, query: &Sequence, target: &Sequence, record: &Record) {
    let total = |wanted: &dyn Fn(u32) -> bool| -> u64 {
        record.operations.iter().filter(|run| wanted(**run & 15)).map(|run| u64::from(*run >> 4)).sum()
    };
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t",
        query.name,
        target.name,
        record.score,
        record.query_begin + 1,
        record.query_end,
        query.residues.len(),
        record.target_begin + 1,
        record.target_end,
        target.residues.len(),
        total(&|_| true),
        total(&|operation| operation == 7),
    );
    for run in &record.operations {
        let letter = match run & 15 {
            1 => 'I',
            2 => 'D',
            7 => '=',
            _ => 'X',
        };
        let _ = write!(text, "{}{letter}", run >> 4);
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::align::scoring::BLOSUM62;

    const SCHEME: Scheme = Scheme { gap_open: 11, gap_extend: 1, score_min: 1, matrix: BLOSUM62 };
    /// MKTAYIAKQR against MKTAIAKQR: 4=1I5=.
    const QUERY: &[u8] = &[12, 11, 16, 0, 18, 9, 0, 11, 5, 1];
    const TARGET: &[u8] = &[12, 11, 16, 0, 9, 0, 11, 5, 1];

    fn good() -> Record {
        let operations = vec![4 << 4 | 7, 1 << 4 | 1, 5 << 4 | 7];
        Record { score: 31, query_begin: 0, query_end: 10, target_begin: 0, target_end: 9, operations }
    }

    fn check(change: impl FnOnce(&mut Record)) -> Result<(), String> {
        let mut record = good();
        change(&mut record);
        check_record(&SCHEME, QUERY, TARGET, &record)
    }

    #[test]
    fn every_single_lie_in_a_record_is_found() {
        assert_eq!(check(|_| {}), Ok(()));
        for (name, change) in [
            ("score", (|r: &mut Record| r.score = 32) as fn(&mut Record)),
            ("score hidden", |r| r.score = 0),
            ("range outside", |r| r.query_end = 11),
            ("range turned round", |r| (r.target_begin, r.target_end) = (9, 0)),
            ("range shifted", |r| r.query_begin = 1),
            ("kind of column", |r| r.operations[0] = 4 << 4 | 8),
            ("kind of gap", |r| r.operations[1] = 1 << 4 | 2),
            ("unknown kind", |r| r.operations[1] = 1 << 4 | 3),
            ("empty run", |r| r.operations[1] = 1),
            ("run cut in two", |r| r.operations.insert(0, 4 << 4 | 7)),
            ("huge run", |r| r.operations[0] = u32::MAX - 8),
            ("ends in a gap", |r| r.operations.truncate(2)),
            ("no operations", |r| r.operations.clear()),
        ] {
            assert!(check(change).is_err(), "{name}");
        }
    }

    #[test]
    fn outputs_with_missing_or_surplus_bytes_are_refused_by_unit() {
        let sequence = |name: &str, residues: &[u8]| Sequence { name: name.to_owned(), residues: residues.to_vec() };
        let (queries, targets) = ([sequence("q", QUERY)], [sequence("t", TARGET)]);
        let pairs = Pairs { scheme: &SCHEME, queries: &queries, targets: &targets };
        let blocks = [Block { queries: 0..1, targets: 0..1 }];
        let mut output = Vec::new();
        good().encode_into(&mut output);
        let rows = |outputs: &[Vec<u8>]| rows(&pairs, &blocks, outputs);
        let text = table(&pairs, rows(&[output.clone()]).unwrap());
        assert_eq!(text.lines().nth(1), Some("q\tt\t31\t1\t10\t10\t1\t9\t9\t10\t9\t4=1I5="));
        assert_eq!(rows(&[]), Err(Error::OutputCount { got: 0, expected: 1 }));
        for length in 0..output.len() {
            let cut = vec![output[..length].to_vec()];
            assert!(matches!(rows(&cut), Err(Error::Output { unit: 0, .. })), "{length}");
        }
        output.extend([0; 4]);
        assert!(matches!(rows(&[output]), Err(Error::Output { unit: 0, .. })));
    }
}
