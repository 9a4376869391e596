//! Planning and assembling by programs of the recipe: what goes into them and how their answers are read. Spec: specs/0003-job.md §8.4.
//!
//! # Invariants
//! The answers come from a stranger's program: every length is checked before it is used, and nothing may follow the last field.

use crate::{Error, Plan, ResultFile, words::push};
use keystead_job::{
    Limits, Recipe, Runtime,
    limits::{INPUT_BYTES_MAX, UNIT_COUNT_MAX},
};

/// Longest refusal that is shown, characters.
const REFUSAL_CHARS_MAX: usize = 400;

/// A run of a `wasm/1` program that belongs to a recipe, on this machine, in a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it does, for messages: `planner` or `assembler`.
    pub what: &'static str,
    /// The module.
    pub program: Vec<u8>,
    /// Its fuel.
    pub fuel_max: u64,
    /// Settings and all files.
    pub common: Vec<u8>,
    /// Empty for a planner; the outputs for an assembler.
    pub unit: Vec<u8>,
}

/// Number of the outputs, then each with its length before it.
///
/// # Errors
/// [`Error::TooLarge`] if they do not fit into one unit input.
pub(super) fn encode_outputs(outputs: &[Vec<u8>]) -> Result<Vec<u8>, Error> {
    let got = outputs.iter().fold(4_u64, |sum, output| sum.saturating_add(4).saturating_add(output.len() as u64));
    if got > INPUT_BYTES_MAX {
        let advice = "order a part of the work, or let [assembly] join the outputs without a program";
        return Err(Error::TooLarge { what: "bytes of outputs for the assembler", got, max: INPUT_BYTES_MAX, advice });
    }
    let mut bytes = Vec::new();
    // LOSSY: counts and lengths are below 2^27, as just checked.
    #[allow(clippy::cast_possible_truncation)]
    {
        push(&mut bytes, outputs.len() as u32);
        for output in outputs {
            push(&mut bytes, output.len() as u32);
            bytes.extend_from_slice(output);
        }
    }
    Ok(bytes)
}

/// Reads a planner's answer.
///
/// # Errors
/// [`Error::Refused`] with the program's own words; [`Error::Step`] if the answer is none.
pub(super) fn read_plan(recipe: &Recipe, answer: &[u8]) -> Result<Plan, Error> {
    let mut reader = Reader { what: "planner", rest: answer };
    reader.accepted()?;
    let segment_count = reader.word("segments")?;
    let groups = [reader.word("workgroups")?, reader.word("workgroups")?, reader.word("workgroups")?];
    let output_bytes = reader.word("output bytes")?;
    let loops = reader.word("loops")?;
    let common = reader.part("common input")?.to_vec();
    let count = reader.word("unit count")?;
    if !(1..=UNIT_COUNT_MAX).contains(&count) {
        return Err(reader.malformed(&format!("units={count} max={UNIT_COUNT_MAX}")));
    }
    if !(1..=recipe.limits.segments_max).contains(&segment_count) {
        return Err(reader.malformed(&format!("segments={segment_count} max={}", recipe.limits.segments_max)));
    }
    let units: Result<Vec<_>, Error> = (0..count).map(|_| reader.part("unit").map(<[u8]>::to_vec)).collect();
    let units = units?;
    reader.end()?;
    let declared = recipe.limits(if recipe.runtime == Runtime::Wasm1 { [0; 3] } else { groups });
    // A plan may lower the limits, never raise them: 0 leaves them as they are.
    let output_bytes_max = lowered(declared.output_bytes_max, u64::from(output_bytes));
    let loops = lowered(u64::from(declared.loop_iterations_max), u64::from(loops));
    let loop_iterations_max = u32::try_from(loops).unwrap_or(declared.loop_iterations_max);
    let limits = Limits { output_bytes_max, loop_iterations_max, ..declared };
    limits.check(recipe.runtime)?;
    Ok(Plan { common, units, segment_count, limits })
}

const fn lowered(declared: u64, wanted: u64) -> u64 {
    if wanted == 0 || wanted > declared { declared } else { wanted }
}

/// Reads an assembler's answer: one part for each output of the manifest.
///
/// # Errors
/// As [`read_plan`].
pub(super) fn read_files(recipe: &Recipe, answer: &[u8]) -> Result<Vec<ResultFile>, Error> {
    let mut reader = Reader { what: "assembler", rest: answer };
    reader.accepted()?;
    let mut files = Vec::new();
    for output in &recipe.outputs {
        files.push(ResultFile { name: output.file.clone(), bytes: reader.part(&output.file)?.to_vec() });
    }
    reader.end()?;
    Ok(files)
}

struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn malformed(&self, why: &str) -> Error {
        Error::Step { what: self.what, why: format!("its answer is malformed: {why}") }
    }

    fn word(&mut self, field: &str) -> Result<u32, Error> {
        let Some((word, rest)) = self.rest.split_first_chunk::<4>() else {
            return Err(self.malformed(&format!("it ends before {field}")));
        };
        self.rest = rest;
        Ok(u32::from_le_bytes(*word))
    }

    fn part(&mut self, field: &str) -> Result<&'a [u8], Error> {
        let length = self.word(field)? as usize;
        let Some((part, rest)) = self.rest.split_at_checked(length) else {
            return Err(self.malformed(&format!("{field} is cut off: bytes={length} left={}", self.rest.len())));
        };
        self.rest = rest;
        Ok(part)
    }

    /// The first word: 0, or 1 with the program's reason.
    fn accepted(&mut self) -> Result<(), Error> {
        match self.word("its status")? {
            0 => Ok(()),
            1 => {
                let text = String::from_utf8_lossy(self.rest);
                let why = text.chars().filter(|c| !c.is_control()).take(REFUSAL_CHARS_MAX).collect();
                Err(Error::Refused { what: self.what, why })
            }
            other => Err(self.malformed(&format!("status={other}"))),
        }
    }

    fn end(&self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed(&format!("{} bytes follow it", self.rest.len()))) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const RECIPE: &str = r#"
name = "r"
title = "R"
summary = "R."
runtime = "wgsl/1"
class = "exact"
program = "a.wgsl"
limits = { wall_ms_max = 1, memory_bytes_max = 65536, output_bytes_max = 64, loop_iterations_max = 9, segments_max = 3 }
plan = { units = "program", program = "plan.wasm", fuel_max = 1 }
assembly = { files = "program", program = "join.wasm", fuel_max = 1 }
outputs = [{ file = "a", help = "A." }, { file = "b", help = "B." }]
"#;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn a_plan_may_lower_limits_and_never_raise_them() {
        let recipe = Recipe::parse(RECIPE).unwrap();
        let plan = read_plan(&recipe, &words(&[0, 2, 5, 6, 7, 8, 100, 4, 1, 2, 0, 4, 3])).unwrap();
        assert_eq!((plan.segment_count, plan.limits.workgroups), (2, [5, 6, 7]));
        assert_eq!((plan.limits.output_bytes_max, plan.limits.loop_iterations_max), (8, 9));
        assert_eq!((plan.common, plan.units), (words(&[1]), vec![vec![], words(&[3])]));
    }

    #[test]
    fn answers_that_are_cut_off_too_long_or_out_of_bounds_are_refused() {
        let recipe = Recipe::parse(RECIPE).unwrap();
        let good = [0, 2, 5, 6, 7, 8, 9, 4, 1, 2, 0, 4, 3];
        for length in 0..good.len() {
            let error = read_plan(&recipe, &words(good.get(..length).unwrap())).unwrap_err();
            assert!(matches!(error, Error::Step { .. }), "{length}: {error}");
        }
        let with = |at: usize, value: u32| {
            let mut changed = good;
            *changed.get_mut(at).unwrap() = value;
            read_plan(&recipe, &words(&changed))
        };
        for (at, value) in [(0, 2), (1, 0), (1, 4), (7, u32::MAX), (9, 0), (9, 65_537), (9, 3), (11, 0)] {
            assert!(matches!(with(at, value), Err(Error::Step { .. })), "{at} {value}");
        }
        // A length of no whole words is not one of a WGSL output.
        assert!(matches!(with(5, 6), Err(Error::Limit(_))));
    }

    #[test]
    fn a_refusal_is_shown_without_what_could_change_a_terminal() {
        let recipe = Recipe::parse(RECIPE).unwrap();
        let answer = [&words(&[1])[..], b"line 3: no number\x1b[31m"].concat();
        let error = read_plan(&recipe, &answer).unwrap_err();
        assert_eq!(error, Error::Refused { what: "planner", why: "line 3: no number[31m".to_owned() });
    }

    #[test]
    fn an_assembler_gives_one_part_for_each_output() {
        let recipe = Recipe::parse(RECIPE).unwrap();
        let files = read_files(&recipe, &words(&[0, 4, 7, 0])).unwrap();
        let named: Vec<_> = files.iter().map(|file| (file.name.as_str(), file.bytes.len())).collect();
        assert_eq!(named, [("a", 4), ("b", 0)]);
        assert!(read_files(&recipe, &words(&[0, 4, 7])).is_err());
        assert!(read_files(&recipe, &words(&[0, 4, 7, 0, 0])).is_err());
        assert_eq!(encode_outputs(&[vec![1], vec![]]).unwrap(), [2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]);
    }
}
