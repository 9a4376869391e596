//! The WGSL alignment kernel against the WebAssembly program, their reference, and the other recipe's table.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::print_stderr, reason = "tests")]
#![allow(missing_docs, clippy::cast_possible_truncation, clippy::indexing_slicing, reason = "tests")]

mod wasm_runner;
mod wgsl_runner;

use keystead_job::blob_hash;
use keystead_recipes::{CustomerSide, Error, InputFile, Inputs, Plan, find};
use proptest::prelude::*;
use std::{fs, path::Path, sync::LazyLock};
use wasm_runner::{Outcome, Program};
use wgsl_runner::{Kernel, kernel_of};

/// The program of the recipe `align`, which does the same work when its input asks for ends.
static WASM: LazyLock<Program> = LazyLock::new(|| Program::new(find("align").unwrap().program()));
static KERNEL: LazyLock<Option<Kernel>> = LazyLock::new(|| kernel_of(side()));

fn side() -> &'static dyn CustomerSide {
    find("align-wgsl").unwrap()
}

fn file(name: &str, sequences: &[String]) -> InputFile {
    let text: String = sequences.iter().enumerate().map(|(at, text)| format!(">{name}{at}\n{text}\n")).collect();
    InputFile { path: format!("{name}.faa"), bytes: text.into_bytes() }
}

fn inputs(queries: &[String], targets: &[String]) -> Inputs {
    Inputs::default().with("queries", file("q", queries)).with("targets", file("t", targets))
}

fn golden() -> Inputs {
    let read = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("align/golden").join(name);
        InputFile { path: name.to_owned(), bytes: fs::read(path).unwrap() }
    };
    Inputs::default().with("queries", read("queries.faa")).with("targets", read("targets.faa"))
}

fn settings(given: &[(&str, &str)]) -> Vec<(String, String)> {
    given.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn planned(inputs: &Inputs, given: &[(&str, &str)]) -> Plan {
    side().plan(inputs, &side().recipe().unwrap().parameters(&settings(given)).unwrap()).unwrap()
}

/// Every unit by reference, WebAssembly and, where there is an adapter, WGSL: their hashes must be equal.
fn outputs(plan: &Plan) -> Vec<Vec<u8>> {
    let run = |unit: &Vec<u8>| {
        let expected = side().reference(&plan.common, unit).unwrap();
        match WASM.run(&plan.common, unit, 1 << 40, 1 << 29) {
            Outcome::Done { output, .. } => assert_eq!(blob_hash(&output), blob_hash(&expected), "wasm"),
            other => panic!("{other:?}"),
        }
        if let Some(kernel) = KERNEL.as_ref() {
            let output = kernel.run(&plan.common, unit, plan.limits.output_bytes_max, plan.limits.workgroups);
            assert_eq!(blob_hash(&output), blob_hash(&expected), "wgsl");
        }
        expected
    };
    plan.units.iter().map(run).collect()
}

fn table(name: &str, inputs: &Inputs, given: &[(&str, &str)], outputs: &[Vec<u8>]) -> Result<String, Error> {
    let side = find(name).unwrap();
    let parameters = side.recipe().unwrap().parameters(&settings(given)).unwrap();
    let mut files = side.assemble(inputs, &parameters, outputs)?;
    assert_eq!(files.len(), 1);
    Ok(String::from_utf8(files.remove(0).bytes).unwrap())
}

#[test]
fn golden_input_gives_the_table_of_the_other_recipe() {
    let given = [("score-min", "1")];
    let outputs = outputs(&planned(&golden(), &given));
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("align/golden/alignments.tsv");
    assert_eq!(table("align-wgsl", &golden(), &given, &outputs).unwrap(), fs::read_to_string(expected).unwrap());
}

fn residues(count: usize, seed: usize) -> String {
    (0..count).map(|at| char::from(b"ARNDCQEGHILKMFPSTWYV"[(at * at * 7 + at / 3 + seed) % 20])).collect()
}

#[test]
fn queries_of_every_number_of_blocks_and_targets_up_to_the_longest_are_aligned() {
    let queries = [1, 3, 4, 5, 511, 512, 513, 1_025].map(|length| residues(length, 5));
    let mut targets = [1, 2, 127, 128, 129].map(|length| residues(length, 9)).to_vec();
    // A part of the longest query, so that an alignment runs through several blocks.
    targets.push(residues(1_025, 5)[300..900].to_owned());
    outputs(&planned(&inputs(&queries, &targets), &[("score-min", "1")]));
    let longest = inputs(&[residues(1_025, 5)], &[residues(3_072, 11)]);
    outputs(&planned(&longest, &[]));
}

#[test]
fn a_target_or_a_pair_that_is_too_long_for_the_kernel_is_named() {
    let plan = |query: usize, target: usize| {
        let inputs = inputs(&[residues(query, 1)], &[residues(target, 2)]);
        side().plan(&inputs, &side().recipe().unwrap().parameters(&[]).unwrap())
    };
    assert!(matches!(plan(1, 3_073), Err(Error::TooLarge { what: "residues of a target", got: 3_073, .. })));
    // Ten blocks of queries take 32,269 iterations, eleven 35,495.
    let loops = plan(5_120, 3_072).unwrap().limits.loop_iterations_max;
    assert_eq!(loops, 10 + 1 + 10 * (25 + 3_072 + 128) + 8);
    assert!(matches!(plan(5_121, 3_072), Err(Error::TooLarge { got: 35_495, max: 32_768, .. })));
    assert!(plan(5_121, 2_700).is_ok());
}

#[test]
fn outputs_that_the_program_cannot_have_written_are_refused() {
    let given = [("score-min", "1")];
    let plan = planned(&golden(), &given);
    let right = outputs(&plan);
    assert_eq!(right.len(), 1);
    for at in 0..right[0].len() {
        let mut bad = right.clone();
        bad[0][at] ^= 1;
        // Low bits of a score may hide a pair or lower it below what is reported; everything else is noticed.
        let got = table("align-wgsl", &golden(), &given, &bad);
        assert!(matches!(got, Err(Error::Output { unit: 0, .. })), "byte {at}");
    }
    let mut padded = right;
    padded[0].extend([0; 12]);
    assert!(matches!(table("align-wgsl", &golden(), &given, &padded), Err(Error::Output { unit: 0, .. })));
    assert!(matches!(table("align-wgsl", &golden(), &given, &[]), Err(Error::OutputCount { .. })));
}

#[test]
fn the_wasm_program_refuses_exactly_what_the_reference_refuses() {
    let plan = planned(&golden(), &[]);
    let (common, unit) = (&plan.common, &plan.units[0]);
    let same = |common: &[u8], unit: &[u8]| {
        let outcome = WASM.run(common, unit, 1 << 40, 1 << 29);
        match side().reference(common, unit) {
            Ok(expected) => assert!(matches!(outcome, Outcome::Done { output, .. } if output == expected)),
            Err(error) => {
                let code = if error.to_string().contains("common") { -1 } else { -2 };
                assert_eq!(outcome, Outcome::Refused(code), "{error}");
            }
        }
    };
    for at in (0..20).chain(592..640).chain(common.len() - 8..common.len()) {
        for change in [1, 0x80, 0xff] {
            let mut bad = common.clone();
            bad[at] ^= change;
            same(&bad, unit);
        }
    }
    for at in (0..40).chain(unit.len() - 8..unit.len()) {
        for change in [1, 0x80, 0xff] {
            let mut bad = unit.clone();
            bad[at] ^= change;
            same(common, &bad);
        }
    }
    (0..common.len()).step_by(7).for_each(|length| same(&common[..length], unit));
    (0..unit.len()).step_by(3).for_each(|length| same(common, &unit[..length]));
    same(&[common.as_slice(), &[0; 4]].concat(), unit);
    same(common, &[unit.as_slice(), &[0; 4]].concat());
    // Fewer slots than pairs, and one slot more than a dispatch has.
    for slots in [0_u32, 1, 19, 20, 21, 65_535, 65_536] {
        let mut other = common.clone();
        other[596..600].copy_from_slice(&slots.to_le_bytes());
        same(&other, unit);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]
    #[test]
    fn all_programs_agree_on_random_sequences_and_give_the_other_recipes_table(
        queries in prop::collection::vec("[ARNW]{1,40}|[ARNDCQEGHILKMFPSTWYVBZX]{1,90}", 1..4),
        targets in prop::collection::vec("[ARNW]{1,40}|[ARNDCQEGHILKMFPSTWYVBZX]{1,150}", 1..4),
        gap_open in 1..20_i64,
        gap_extend in 0..6_i64,
        score_min in 1..40_i64,
    ) {
        let complete = |all: &[String]| all.iter().map(|text| format!("{text}Y")).collect::<Vec<_>>();
        let inputs = inputs(&complete(&queries), &complete(&targets));
        let values = [gap_open, gap_extend.min(gap_open), score_min].map(|value| value.to_string());
        let given = [("gap-open", values[0].as_str()), ("gap-extend", &values[1]), ("score-min", &values[2])];
        let got = table("align-wgsl", &inputs, &given, &outputs(&planned(&inputs, &given))).unwrap();
        let other = find("align").unwrap();
        let plan = other.plan(&inputs, &other.recipe().unwrap().parameters(&settings(&given)).unwrap()).unwrap();
        let outputs: Vec<_> = plan.units.iter().map(|unit| other.reference(&plan.common, unit).unwrap()).collect();
        prop_assert_eq!(got, table("align", &inputs, &given, &outputs).unwrap());
    }
}
