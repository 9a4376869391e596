//! Cuts "every query with every target" into units of about equal work.

use super::{
    assembly::{self, Pairs},
    blob::{Common, Scheme, Unit},
    fasta::{self, Sequence},
    gotoh,
    scoring::BLOSUM62,
};
use crate::{CustomerSide, Error, Inputs, Plan, ResultFile};
use core::ops::Range;
use keystead_job::{limits::UNIT_COUNT_MAX, parameter::Parameters};

/// Most pairs of one job: the table has a line for each and is made in memory.
const PAIRS_MAX: u64 = 8_000_000;
/// Largest output that a unit may have, bytes; a unit of several pairs is closed before it. One pair needs at most 0.6 MB.
const OUTPUT_BYTES_TARGET: u64 = 33_554_432;
/// Work of a pair besides its cells, in cells: reading lengths, writing the record.
const PAIR_OVERHEAD_CELLS: u64 = 500;
/// Memory of the kernel besides blobs, rows, marks and output: its stack, data and the rounding of allocations.
const KERNEL_BYTES: u64 = 1_048_576;
const PAGE_BYTES: u64 = 65_536;
/// Fuel of a cell, twice what was measured (113 with marks, 88 without): the engine's count may change with its version.
const FUEL_PER_CELL: u64 = 256;
/// Fuel of a byte of blobs and output.
const FUEL_PER_BYTE: u64 = 64;

/// The recipe `align`.
#[derive(Clone, Copy, Debug)]
pub struct Align;

/// The pairs of one unit: each of these queries with each of these targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) queries: Range<usize>,
    pub(super) targets: Range<usize>,
}

/// What a block costs at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cost {
    pairs: u64,
    cells: u64,
    output_bytes: u64,
}

/// What a unit may cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) cells_max: u64,
    pub(super) pairs_max: u64,
}

impl Cost {
    fn of_pair(query: usize, target: usize) -> Self {
        let (query, target) = (wide(query), wide(target));
        Self {
            pairs: 1,
            cells: query.saturating_mul(target).saturating_add(PAIR_OVERHEAD_CELLS),
            // Six words, and at most one operation for each residue.
            output_bytes: query.saturating_add(target).saturating_add(6).saturating_mul(4),
        }
    }

    /// Costs of one query with targets, from their number and residues.
    fn of_query(query: usize, targets: usize, residues: u64) -> Self {
        let (query, targets) = (wide(query), wide(targets));
        let output_words = query.saturating_add(6).saturating_mul(targets).saturating_add(residues);
        Self {
            pairs: targets,
            cells: query.saturating_mul(residues).saturating_add(PAIR_OVERHEAD_CELLS.saturating_mul(targets)),
            output_bytes: output_words.saturating_mul(4),
        }
    }

    const fn plus(self, other: Self) -> Self {
        Self {
            pairs: self.pairs.saturating_add(other.pairs),
            cells: self.cells.saturating_add(other.cells),
            output_bytes: self.output_bytes.saturating_add(other.output_bytes),
        }
    }

    const fn fits(self, bounds: Bounds) -> bool {
        self.cells <= bounds.cells_max && self.pairs <= bounds.pairs_max && self.output_bytes <= OUTPUT_BYTES_TARGET
    }
}

fn wide(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

/// Everything that plan and assembly both derive from files and parameters.
pub(super) struct Work {
    pub(super) queries: Vec<Sequence>,
    pub(super) targets: Vec<Sequence>,
    pub(super) scheme: Scheme,
    pub(super) blocks: Vec<Block>,
}

impl Work {
    /// Reads and cuts; a unit has at most `pairs_max` pairs.
    pub(super) fn new(inputs: &Inputs, parameters: &Parameters, pairs_max: u64) -> Result<Self, Error> {
        let scheme = scheme(parameters)?;
        let queries = fasta::read(inputs.file("queries")?)?;
        let targets = fasta::read(inputs.file("targets")?)?;
        check_size(&queries, &targets)?;
        let cells_max = u64::try_from(integer(parameters, "cells-per-unit")?).unwrap_or(0);
        let blocks = blocks(&queries, &targets, Bounds { cells_max, pairs_max });
        if blocks.len() > usize::try_from(UNIT_COUNT_MAX).unwrap_or(usize::MAX) {
            return Err(Error::TooLarge {
                what: "units",
                got: wide(blocks.len()),
                max: u64::from(UNIT_COUNT_MAX),
                advice: "set cells-per-unit higher or split the queries into several jobs",
            });
        }
        Ok(Self { queries, targets, scheme, blocks })
    }

    /// The unit input of a block.
    pub(super) fn unit(&self, block: &Block) -> Unit<'_> {
        let range = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let queries = self.queries[block.queries.clone()].iter().map(|query| query.residues.as_slice()).collect();
        Unit { target_first: range(block.targets.start), target_count: range(block.targets.len()), queries }
    }
}

fn integer(parameters: &Parameters, name: &'static str) -> Result<i64, Error> {
    parameters.integer(name).ok_or_else(|| Error::Setting { name, what: "a whole number is needed".to_owned() })
}

/// The kernel checks the same ranges; recipe.toml has narrower ones.
fn scheme(parameters: &Parameters) -> Result<Scheme, Error> {
    let number = |name, max: i32| {
        let got = integer(parameters, name)?;
        let fits = i32::try_from(got).ok().filter(|value| (0..=max).contains(value));
        fits.ok_or_else(|| Error::Setting { name, what: format!("must be 0 to {max}, got {got}") })
    };
    let (gap_open, gap_extend) = (number("gap-open", 1_000)?, number("gap-extend", 1_000)?);
    if gap_open < 1 || gap_extend > gap_open {
        let what =
            format!("must be at most gap-open, and gap-open at least 1: gap-extend={gap_extend} gap-open={gap_open}");
        return Err(Error::Setting { name: "gap-extend", what });
    }
    let score_min = number("score-min", 1_000_000)?.max(1);
    Ok(Scheme { gap_open, gap_extend, score_min, matrix: BLOSUM62 })
}

fn check_size(queries: &[Sequence], targets: &[Sequence]) -> Result<(), Error> {
    let pairs = wide(queries.len()).saturating_mul(wide(targets.len()));
    if pairs > PAIRS_MAX {
        let advice = "split the queries into several jobs";
        return Err(Error::TooLarge { what: "pairs of sequences", got: pairs, max: PAIRS_MAX, advice });
    }
    let longest = |all: &[Sequence]| all.iter().map(|one| wide(one.residues.len())).max().unwrap_or(0);
    let cells = longest(queries).saturating_mul(longest(targets));
    if cells > gotoh::CELLS_MAX {
        let advice = "cut the longest sequences into domains";
        let what = "length of the longest query times length of the longest target";
        return Err(Error::TooLarge { what, got: cells, max: gotoh::CELLS_MAX, advice });
    }
    Ok(())
}

/// Blocks that cover every pair once. Whole queries against all targets are put together while they fit; a query that does not fit
/// alone is cut by targets.
fn blocks(queries: &[Sequence], targets: &[Sequence], bounds: Bounds) -> Vec<Block> {
    let residues = targets.iter().map(|target| wide(target.residues.len())).sum();
    let mut blocks = Vec::new();
    let mut open: Option<(Range<usize>, Cost)> = None;
    for (index, query) in queries.iter().enumerate() {
        let next = index.saturating_add(1);
        let cost = Cost::of_query(query.residues.len(), targets.len(), residues);
        open = match open {
            Some((range, sum)) if sum.plus(cost).fits(bounds) => Some((range.start..next, sum.plus(cost))),
            before => {
                blocks.extend(before.map(|(queries, _)| Block { queries, targets: 0..targets.len() }));
                if cost.fits(bounds) {
                    Some((index..next, cost))
                } else {
                    cut_by_targets(index, query, targets, bounds, &mut blocks);
                    None
                }
            }
        };
    }
    blocks.extend(open.map(|(queries, _)| Block { queries, targets: 0..targets.len() }));
    blocks
}

fn cut_by_targets(index: usize, query: &Sequence, targets: &[Sequence], bounds: Bounds, blocks: &mut Vec<Block>) {
    let queries = index..index.saturating_add(1);
    let (mut start, mut sum) = (0, Cost::default());
    for (at, target) in targets.iter().enumerate() {
        let cost = Cost::of_pair(query.residues.len(), target.residues.len());
        if at > start && !sum.plus(cost).fits(bounds) {
            blocks.push(Block { queries: queries.clone(), targets: start..at });
            (start, sum) = (at, Cost::default());
        }
        sum = sum.plus(cost);
    }
    blocks.push(Block { queries, targets: start..targets.len() });
}

/// The most that any unit can need.
struct Needs {
    output_bytes: u64,
    memory_bytes: u64,
    fuel: u64,
}

fn needs(work: &Work, common: &[u8], units: &[Vec<u8>]) -> Needs {
    let mut needs = Needs { output_bytes: 4, memory_bytes: PAGE_BYTES, fuel: 1 };
    for (block, unit) in work.blocks.iter().zip(units) {
        let targets = &work.targets[block.targets.clone()];
        let residues: u64 = targets.iter().map(|target| wide(target.residues.len())).sum();
        let longest_target = targets.iter().map(|target| wide(target.residues.len())).max().unwrap_or(0);
        let (mut cost, mut longest_query) = (Cost::default(), 0);
        for query in &work.queries[block.queries.clone()] {
            cost = cost.plus(Cost::of_query(query.residues.len(), targets.len(), residues));
            longest_query = longest_query.max(wide(query.residues.len()));
        }
        let work_bytes = longest_query.saturating_add(8).saturating_mul(longest_target);
        let blobs = wide(common.len()).saturating_add(wide(unit.len())).saturating_add(cost.output_bytes);
        let memory_bytes = blobs.saturating_add(work_bytes).saturating_add(KERNEL_BYTES).next_multiple_of(PAGE_BYTES);
        let fuel = cost.cells.saturating_mul(FUEL_PER_CELL).saturating_add(blobs.saturating_mul(FUEL_PER_BYTE));
        needs = Needs {
            output_bytes: needs.output_bytes.max(cost.output_bytes),
            memory_bytes: needs.memory_bytes.max(memory_bytes),
            fuel: needs.fuel.max(fuel),
        };
    }
    needs
}

impl CustomerSide for Align {
    fn name(&self) -> &'static str {
        "align"
    }

    fn manifest(&self) -> &'static str {
        include_str!("../../align/recipe.toml")
    }

    fn program(&self) -> &'static [u8] {
        include_bytes!("../../align/kernel/align.wasm")
    }

    fn plan(&self, inputs: &Inputs, parameters: &Parameters) -> Result<Plan, Error> {
        let work = Work::new(inputs, parameters, PAIRS_MAX)?;
        let targets = work.targets.iter().map(|target| target.residues.as_slice()).collect();
        let common = Common { scheme: work.scheme, slots: None, targets }.encode();
        let units: Vec<Vec<u8>> = work.blocks.iter().map(|block| work.unit(block).encode()).collect();
        let mut limits = self.recipe()?.limits([0; 3]);
        let needs = needs(&work, &common, &units);
        if needs.memory_bytes > limits.memory_bytes_max {
            return Err(Error::TooLarge {
                what: "bytes of memory for a unit",
                got: needs.memory_bytes,
                max: limits.memory_bytes_max,
                advice: "split the targets into several jobs",
            });
        }
        limits.memory_bytes_max = needs.memory_bytes;
        limits.output_bytes_max = limits.output_bytes_max.min(needs.output_bytes);
        limits.fuel_max = limits.fuel_max.min(needs.fuel);
        Ok(Plan { common, units, segment_count: 1, limits })
    }

    fn reference(&self, common: &[u8], unit: &[u8]) -> Result<Vec<u8>, Error> {
        gotoh::run(common, unit)
    }

    fn assemble(
        &self,
        inputs: &Inputs,
        parameters: &Parameters,
        outputs: &[Vec<u8>],
    ) -> Result<Vec<ResultFile>, Error> {
        let work = Work::new(inputs, parameters, PAIRS_MAX)?;
        let pairs = Pairs { scheme: &work.scheme, queries: &work.queries, targets: &work.targets };
        let text = assembly::table(&pairs, assembly::rows(&pairs, &work.blocks, outputs)?);
        Ok(vec![ResultFile { name: "alignments.tsv".to_owned(), bytes: text.into_bytes() }])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;
    use crate::InputFile;
    use proptest::prelude::*;

    fn inputs(queries: &str, targets: &str) -> Inputs {
        let file = |path: &str, text: &str| InputFile { path: path.to_owned(), bytes: text.as_bytes().to_vec() };
        Inputs::default().with("queries", file("q.faa", queries)).with("targets", file("t.faa", targets))
    }

    fn parameters(given: &[(&str, &str)]) -> Parameters {
        let given: Vec<_> = given.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Align.recipe().unwrap().parameters(&given).unwrap()
    }

    fn sequences(lengths: &[usize]) -> Vec<Sequence> {
        let one = |(index, length): (usize, &usize)| Sequence { name: index.to_string(), residues: vec![0; *length] };
        lengths.iter().enumerate().map(one).collect()
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let files = inputs(">a\nMK\n", ">b\nMK\n");
        let error = Align.plan(&files, &parameters(&[("gap-open", "2"), ("gap-extend", "3")])).unwrap_err();
        assert!(matches!(error, Error::Setting { name: "gap-extend", .. }), "{error}");
        assert!(Align.plan(&files, &parameters(&[("gap-open", "3"), ("gap-extend", "3")])).is_ok());
    }

    #[test]
    fn a_missing_input_and_a_pair_that_is_too_large_are_named() {
        let only = Inputs::default().with("queries", InputFile { path: "q".to_owned(), bytes: b">a\nMK\n".to_vec() });
        assert!(
            matches!(Align.plan(&only, &parameters(&[])), Err(Error::InputMissing { name, .. }) if name == "targets")
        );
        // 2^27 cells are allowed, one row more is not.
        let (long, wide) = ("M".repeat(2_048), "K".repeat(65_535));
        assert!(Align.plan(&inputs(&format!(">a\n{long}\n"), &format!(">b\n{wide}\n")), &parameters(&[])).is_ok());
        let error =
            Align.plan(&inputs(&format!(">a\n{long}MM\n"), &format!(">b\n{wide}\n")), &parameters(&[])).unwrap_err();
        assert!(matches!(error, Error::TooLarge { got: 134_346_750, .. }), "{error}");
    }

    #[test]
    fn too_many_pairs_are_refused() {
        let many = sequences(&[1; 2_829]);
        assert!(matches!(check_size(&many, &many), Err(Error::TooLarge { got: 8_003_241, .. })));
        assert!(check_size(&many[1..], &many[1..]).is_ok());
    }

    #[test]
    fn the_table_does_not_depend_on_how_the_work_was_cut() {
        let text: String = [("a", "MKTAYIAKQRWWWW", 50), ("b", "MKTAIAKQR", 70), ("c", "WWWWAAAAWWWW", 40)]
            .map(|(name, part, count)| format!(">{name}\n{}\n", part.repeat(count)))
            .concat();
        let files = inputs(&text, &text);
        let (mut tables, mut counts) = (Vec::new(), Vec::new());
        for cells in ["1000000", "2000000000"] {
            let settings = parameters(&[("cells-per-unit", cells)]);
            let plan = Align.plan(&files, &settings).unwrap();
            counts.push(plan.units.len());
            let outputs: Vec<_> = plan.units.iter().map(|unit| Align.reference(&plan.common, unit).unwrap()).collect();
            tables.push(Align.assemble(&files, &settings, &outputs).unwrap());
        }
        assert_eq!(tables[0], tables[1]);
        assert_eq!(counts, [5, 1]);
    }

    proptest! {
        #[test]
        fn blocks_cover_every_pair_once_and_stay_inside_the_bounds(
            queries in prop::collection::vec(1..3_000_usize, 1..12),
            targets in prop::collection::vec(1..3_000_usize, 1..12),
            cells_max in 1_000..20_000_000_u64,
            pairs_max in 1..200_u64,
        ) {
            let (queries, targets) = (sequences(&queries), sequences(&targets));
            let mut seen = vec![0; queries.len() * targets.len()];
            let bounds = Bounds { cells_max, pairs_max };
            for block in blocks(&queries, &targets, bounds) {
                let mut cost = Cost::default();
                for q in block.queries.clone() {
                    for t in block.targets.clone() {
                        seen[q * targets.len() + t] += 1;
                        cost = cost.plus(Cost::of_pair(queries[q].residues.len(), targets[t].residues.len()));
                    }
                }
                prop_assert!(cost.fits(bounds) || block.queries.len() * block.targets.len() == 1);
            }
            prop_assert!(seen.iter().all(|count| *count == 1));
        }
    }
}
