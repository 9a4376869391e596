//! The same alignments with a GPU: the kernel finds scores and ends, this machine traces what is reported.
//!
//! # Design
//! A `wgsl/1` program has no memory for the marks that a walk back needs, and its output has a fixed length; so its output is three words a pair. The
//! walk is done here, inside the ends that were delivered, for the pairs that are reported: that proves their scores, and costs little
//! beside the search. Tables are equal to those of the recipe `align`.
#![allow(
    clippy::arithmetic_side_effects,
    reason = "sequences have at most 65,535 residues and a unit 65,535 pairs: sums stay far below 2^64"
)]

use super::{
    assembly::{self, Pairs, Row},
    blob::{Common, ENDS_TARGET_MAX, SLOTS_MAX, Scheme},
    gotoh,
    plan::{Block, Work},
};
use crate::{CustomerSide, Error, Inputs, Plan, ResultFile, settings::count, words::words};
use keystead_job::parameter::Parameters;

/// Query rows of a block of the kernel: 128 lanes of 4.
const BLOCK_ROWS: u64 = 512;
/// Words of a pair's slot.
const SLOT_WORDS: usize = 3;

/// The recipe `align-wgsl`.
#[derive(Clone, Copy, Debug)]
pub struct AlignWgsl;

/// Entries into loop bodies of one invocation of the kernel, as its head says.
const fn loop_iterations(query: usize, target: usize) -> u64 {
    let blocks = (query as u64).div_ceil(BLOCK_ROWS);
    blocks + 1 + blocks * (25 + target as u64 + 128) + 8
}

fn check_lengths(work: &Work, loops_max: u32) -> Result<u32, Error> {
    let longest = |lengths: &mut dyn Iterator<Item = usize>| lengths.max().unwrap_or(0);
    let query = longest(&mut work.queries.iter().map(|one| one.residues.len()));
    let target = longest(&mut work.targets.iter().map(|one| one.residues.len()));
    let advice = "use the recipe align, or cut the longest sequences into domains";
    let loops = loop_iterations(query, target);
    let sizes = [
        ("residues of a target", target as u64, ENDS_TARGET_MAX as u64),
        ("loop iterations for the longest query and the longest target", loops, u64::from(loops_max)),
    ];
    match sizes.into_iter().find(|(_, got, max)| got > max) {
        Some((what, got, max)) => Err(Error::TooLarge { what, got, max, advice }),
        None => Ok(u32::try_from(loops).unwrap_or(loops_max)),
    }
}

fn slots(blocks: &[Block]) -> usize {
    blocks.iter().map(|block| block.queries.len() * block.targets.len()).max().unwrap_or(1)
}

/// Reads one output and traces the pairs that reach the least score.
fn unit_rows(pairs: &Pairs<'_>, block: &Block, slots: usize, output: &[u8]) -> Result<Vec<Row>, String> {
    let words = words(output).filter(|words| words.len() == SLOT_WORDS * slots);
    let words = words.ok_or_else(|| format!("{} bytes, expected {}", output.len(), 4 * SLOT_WORDS * slots))?;
    let (mut slots, _) = words.as_chunks::<SLOT_WORDS>();
    // Within the ends every alignment is traced, whatever its score; the least one has been looked at.
    let scheme = Scheme { score_min: 1, ..*pairs.scheme };
    let mut rows = Vec::new();
    for query in block.queries.clone() {
        for target in block.targets.clone() {
            let Some((&[score, query_end, target_end], rest)) = slots.split_first() else {
                return Err("fewer slots than pairs".to_owned());
            };
            slots = rest;
            if score == 0 && (query_end, target_end) != (0, 0) {
                return Err(format!("query {query}, target {target}: ends without a score"));
            }
            if score < pairs.scheme.score_min.cast_unsigned() {
                continue;
            }
            let (query_part, target_part) = (
                &pairs.queries[query].residues.get(..query_end as usize),
                &pairs.targets[target].residues.get(..target_end as usize),
            );
            let (Some(query_part), Some(target_part)) = (query_part, target_part) else {
                return Err(format!("ends outside of query {query} or target {target}: {query_end}, {target_end}"));
            };
            let record = gotoh::align(&scheme, query_part, target_part);
            if (record.score, record.query_end, record.target_end) != (score, query_end, target_end) {
                return Err(format!("query {query}, target {target}: score {score} delivered, {} found", record.score));
            }
            rows.push((query, target, record));
        }
    }
    if slots.as_flattened().iter().any(|word| *word != 0) {
        return Err("an unused slot is not zero".to_owned());
    }
    Ok(rows)
}

impl CustomerSide for AlignWgsl {
    fn name(&self) -> &'static str {
        "align-wgsl"
    }

    fn manifest(&self) -> &'static str {
        include_str!("../../align-wgsl/recipe.toml")
    }

    fn program(&self) -> &'static [u8] {
        include_bytes!("../../align-wgsl/kernel/align.wgsl")
    }

    fn plan(&self, inputs: &Inputs, parameters: &Parameters) -> Result<Plan, Error> {
        let recipe = self.recipe()?;
        let work = Work::new(inputs, parameters, u64::from(SLOTS_MAX))?;
        let loops = check_lengths(&work, recipe.limits.loop_iterations_max)?;
        let slots = slots(&work.blocks);
        let groups = u32::try_from(slots).unwrap_or(u32::MAX);
        let targets = work.targets.iter().map(|target| target.residues.as_slice()).collect();
        let common = Common { scheme: work.scheme, slots: Some(groups), targets }.encode();
        let units: Vec<Vec<u8>> = work.blocks.iter().map(|block| work.unit(block).encode_in_words()).collect();
        let mut limits = recipe.limits([groups, 1, 1]);
        limits.output_bytes_max = (4 * SLOT_WORDS * slots) as u64;
        limits.loop_iterations_max = loops;
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
        let work = Work::new(inputs, parameters, u64::from(SLOTS_MAX))?;
        count(outputs.len(), work.blocks.len())?;
        let pairs = Pairs { scheme: &work.scheme, queries: &work.queries, targets: &work.targets };
        let slots = slots(&work.blocks);
        let mut rows = Vec::new();
        for (unit, (block, output)) in work.blocks.iter().zip(outputs).enumerate() {
            rows.extend(unit_rows(&pairs, block, slots, output).map_err(|what| Error::Output { unit, what })?);
        }
        let bytes = assembly::table(&pairs, rows).into_bytes();
        Ok(vec![ResultFile { name: "alignments.tsv".to_owned(), bytes }])
    }
}
