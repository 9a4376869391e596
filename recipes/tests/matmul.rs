//! The product's kernel and its checker: honest results pass, every cheat of the list is found.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::print_stderr, reason = "tests")]
#![allow(missing_docs, clippy::cast_possible_truncation, clippy::indexing_slicing, reason = "tests")]

mod wasm_runner;
mod wgsl_runner;

use keystead_recipes::{CustomerSide, Error, InputFile, Inputs, Plan, find};
use std::{fs, path::Path, path::PathBuf, sync::LazyLock};
use wasm_runner::{Outcome, Program};
use wgsl_runner::kernel_of;

static CHECKER: LazyLock<Program> = LazyLock::new(|| Program::new(side().checker().unwrap()));

fn side() -> &'static dyn CustomerSide {
    find("matmul").unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("matmul")
}

fn pairs(given: &[(&str, &str)]) -> Vec<(String, String)> {
    given.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn planned(inputs: &Inputs, given: &[(&str, &str)]) -> Plan {
    side().plan(inputs, &side().recipe().unwrap().parameters(&pairs(given)).unwrap()).unwrap()
}

/// The unit input of the checker: specs/0003-job.md section 9.
fn question(seed: u8, unit: &[u8], output: &[u8]) -> Vec<u8> {
    let length = u32::try_from(unit.len()).unwrap().to_le_bytes();
    [&[seed; 32], length.as_slice(), unit, output].concat()
}

fn verdict(plan: &Plan, seed: u8, output: &[u8]) -> Outcome {
    let recipe = side().recipe().unwrap();
    let fuel_max = recipe.checker.as_ref().unwrap().fuel_max;
    CHECKER.run(&plan.common, &question(seed, &plan.units[0], output), fuel_max, plan.limits.memory_bytes_max)
}

fn is(outcome: &Outcome, expected: u8) -> bool {
    matches!(outcome, Outcome::Done { output, .. } if *output == [expected])
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
}

fn bytes(floats: &[f32]) -> Vec<u8> {
    floats.iter().flat_map(|float| float.to_le_bytes()).collect()
}

/// A number with its significand rounded to this many bits (11 is half precision and TF32, 8 is bfloat16).
const fn rounded(number: f32, bits: u32) -> f32 {
    let cut = 24 - bits;
    let half = 1 << (cut - 1);
    f32::from_bits((number.to_bits() + half) & !((1 << cut) - 1))
}

/// The first unit with all elements of both matrices rounded first.
fn with_rounded_inputs(plan: &Plan, bits: u32) -> Vec<u8> {
    let round = |blob: &[u8], head: usize| {
        let rounded: Vec<f32> = floats(&blob[head..]).iter().map(|number| rounded(*number, bits)).collect();
        [&blob[..head], &bytes(&rounded)].concat()
    };
    side().reference(&round(&plan.common, 16), &round(&plan.units[0], 8)).unwrap()
}

const SMALL: [(&str, &str); 4] = [("rows", "130"), ("inner", "333"), ("columns", "97"), ("rows-per-unit", "64")];

#[test]
fn golden_settings_give_the_committed_product() {
    let plan = planned(&Inputs::default(), &SMALL);
    assert_eq!((plan.units.len(), plan.limits.workgroups), (3, [2, 1, 1]));
    let outputs: Vec<_> = plan.units.iter().map(|unit| side().reference(&plan.common, unit).unwrap()).collect();
    let parameters = side().recipe().unwrap().parameters(&pairs(&SMALL)).unwrap();
    let files = side().assemble(&Inputs::default(), &parameters, &outputs).unwrap();
    let text = format!("product.npy {}\n", keystead_job::blob_hash(&files[0].bytes));
    let path = folder().join("golden/hashes.txt");
    if std::env::var_os("KEYSTEAD_BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(path).unwrap());
}

#[test]
fn the_kernels_product_is_right_by_the_checker_at_every_border_of_its_tiles() {
    let Some(kernel) = kernel_of(side()) else { return };
    for (rows, inner, columns) in [(1, 1, 1), (64, 16, 64), (65, 17, 63), (63, 255, 65), (70, 257, 130), (3, 4_097, 5)]
    {
        let sizes = [rows, inner, columns].map(|size: i32| size.to_string());
        let given =
            [("rows", sizes[0].as_str()), ("inner", &sizes[1]), ("columns", &sizes[2]), ("rows-per-unit", "128")];
        let plan = planned(&Inputs::default(), &given);
        let output = kernel.run(&plan.common, &plan.units[0], plan.limits.output_bytes_max, plan.limits.workgroups);
        for seed in 0..4 {
            let outcome = verdict(&plan, seed, &output);
            assert!(is(&outcome, 0), "{rows} {inner} {columns}: {outcome:?}");
        }
        // Against the reference: the same sums, so at most their few roundings apart.
        let expected = floats(&side().reference(&plan.common, &plan.units[0]).unwrap());
        let far = floats(&output).iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far <= 1e-4, "{far}");
    }
}

#[test]
fn a_single_wrong_element_is_found_by_every_seed_unless_it_is_within_rounding() {
    let plan = planned(&Inputs::default(), &[("rows", "256"), ("inner", "512"), ("columns", "512")]);
    let right = side().reference(&plan.common, &plan.units[0]).unwrap();
    for seed in 0..8 {
        assert!(is(&verdict(&plan, seed, &right), 0));
        for at in [0, 511, 512 * 100 + 7, 512 * 256 - 1] {
            let mut wrong = floats(&right);
            // A tenth of a typical element of this product, whose deviation is 7.5.
            wrong[at] += 0.75;
            assert!(is(&verdict(&plan, seed, &bytes(&wrong)), 1), "element {at}");
        }
    }
    // One unit in the last place of one element is an honest difference.
    let mut near = floats(&right);
    near[5] = f32::from_bits(near[5].to_bits() + 1);
    assert!(is(&verdict(&plan, 1, &bytes(&near)), 0));
}

#[test]
fn products_in_half_precision_or_with_other_shortcuts_are_wrong() {
    let plan = planned(&Inputs::default(), &[]);
    assert_eq!(plan.limits.output_bytes_max, 4 * 512 * 1_024);
    let right = floats(&side().reference(&plan.common, &plan.units[0]).unwrap());
    let half = rounded(1.0 + 1.0 / 1_024.0, 11);
    assert!(half > 1.0 && rounded(1.0 + 1.0 / 8_192.0, 11) <= 1.0, "the rounding keeps 11 bits");
    let mut swapped = right.clone();
    swapped.swap(3, 4);
    let mut infinite = right.clone();
    infinite[77] = f32::INFINITY;
    let mut nan = right.clone();
    nan[1_024 * 512 - 1] = f32::NAN;
    let cheats = [
        ("half precision or TF32 inputs", with_rounded_inputs(&plan, 11)),
        ("bfloat16 inputs", with_rounded_inputs(&plan, 8)),
        ("outputs rounded to bfloat16", bytes(&right.iter().map(|x| rounded(*x, 8)).collect::<Vec<_>>())),
        ("zeros", vec![0; 4 * right.len()]),
        ("two elements exchanged", bytes(&swapped)),
        ("infinity", bytes(&infinite)),
        ("not a number", bytes(&nan)),
        ("too short", bytes(&right[1..])),
        ("empty", Vec::new()),
        ("too long", [bytes(&right), vec![0]].concat()),
    ];
    for seed in [0, 1, 255] {
        assert!(is(&verdict(&plan, seed, &bytes(&right)), 0));
        for (name, output) in &cheats {
            let outcome = verdict(&plan, seed, output);
            assert!(is(&outcome, 1), "{name}: {outcome:?}");
        }
    }
}

/// The worst honest case: equal elements, whose rounding errors all point the same way, summed one after another as no kernel of ours does.
#[test]
fn honest_products_of_equal_elements_are_never_wrong() {
    let file = |rows: usize, columns: usize, value: f32| {
        let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}\n");
        let mut npy = b"\x93NUMPY\x01\x00".to_vec();
        npy.extend(u16::try_from(header.len()).unwrap().to_le_bytes());
        npy.extend(header.bytes());
        npy.extend(bytes(&vec![value; rows * columns]));
        InputFile { path: "x.npy".to_owned(), bytes: npy }
    };
    for value in [0.1, 1.0 / 3.0, 16_777_215.0, 1e-30] {
        let inputs = Inputs::default().with("a", file(64, 2_048, value)).with("b", file(2_048, 256, value));
        let plan = planned(&inputs, &[("rows-per-unit", "64")]);
        let output = side().reference(&plan.common, &plan.units[0]).unwrap();
        for seed in 0..16 {
            assert!(is(&verdict(&plan, seed, &output), 0), "{value}");
        }
    }
}

#[test]
fn the_checker_answers_malformed_questions_with_error_codes_not_with_verdicts() {
    let plan = planned(&Inputs::default(), &SMALL);
    let output = side().reference(&plan.common, &plan.units[0]).unwrap();
    let run = |common: &[u8], unit: &[u8]| CHECKER.run(common, unit, 1 << 36, plan.limits.memory_bytes_max);
    let good = question(1, &plan.units[0], &output);
    assert!(is(&run(&plan.common, &good), 0));
    for (at, word) in [(0, 2_u32), (4, 0), (4, 16_385), (4, 332), (8, 0), (8, 98), (8, u32::MAX)] {
        let mut common = plan.common.clone();
        common[at..at + 4].copy_from_slice(&word.to_le_bytes());
        assert_eq!(run(&common, &good), Outcome::Refused(-1), "{at} {word}");
    }
    for (at, word) in [(32, 0_u32), (32, u32::MAX), (32, 12), (36, 0), (36, 16_385), (36, 65), (40, 332)] {
        let mut unit = good.clone();
        unit[at..at + 4].copy_from_slice(&word.to_le_bytes());
        assert_eq!(run(&plan.common, &unit), Outcome::Refused(-2), "{at} {word}");
    }
    for length in [0, 31, 32, 43, 44, 36 + plan.units[0].len() - 1] {
        assert_eq!(run(&plan.common, &good[..length]), Outcome::Refused(-2), "{length} bytes");
    }
    assert_eq!(run(&plan.common[..plan.common.len() - 4], &good), Outcome::Refused(-1));
}

#[test]
fn files_that_do_not_fit_together_and_units_that_are_too_large_are_named() {
    let plan = |given: &[(&str, &str)]| {
        side().plan(&Inputs::default(), &side().recipe().unwrap().parameters(&pairs(given)).unwrap())
    };
    let setting = plan(&[("rows-per-unit", "65")]);
    assert!(matches!(setting, Err(Error::Setting { name: "rows-per-unit", .. })));
    let large = plan(&[("rows", "16384"), ("columns", "16384"), ("inner", "64"), ("rows-per-unit", "1088")]);
    assert!(matches!(large, Err(Error::TooLarge { what: "bytes of output of a unit", .. })));
    // Only zeros are added to the last unit, and they are dropped again.
    let parameters = side().recipe().unwrap().parameters(&pairs(&SMALL)).unwrap();
    let assembled = |outputs: &[Vec<u8>]| side().assemble(&Inputs::default(), &parameters, outputs);
    let right = vec![vec![0; 64 * 97 * 4]; 3];
    assert!(assembled(&right).is_ok());
    assert!(matches!(assembled(&right[1..]), Err(Error::OutputCount { .. })));
    let mut short = right.clone();
    short[2].pop();
    assert!(matches!(assembled(&short), Err(Error::Output { unit: 2, .. })));
    let mut nan = right;
    nan[1][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(matches!(assembled(&nan), Err(Error::Output { unit: 1, .. })));
}
