//! The search kernel against its reference, the standard's vectors and its golden result.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::print_stderr, reason = "tests")]
#![allow(missing_docs, clippy::cast_possible_truncation, reason = "tests")]

mod wgsl_runner;

use keystead_recipes::{CustomerSide, Error, InputFile, Inputs, Plan, find};
use std::{fs, path::Path, path::PathBuf};
use wgsl_runner::kernel_of;

fn side() -> &'static dyn CustomerSide {
    find("sha256-search").unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sha256-search")
}

fn pairs(given: &[(&str, &str)]) -> Vec<(String, String)> {
    given.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn planned(inputs: &Inputs, given: &[(&str, &str)]) -> Plan {
    side().plan(inputs, &side().recipe().unwrap().parameters(&pairs(given)).unwrap()).unwrap()
}

fn message(bytes: Vec<u8>) -> Inputs {
    Inputs::default().with("message", InputFile { path: "message.bin".to_owned(), bytes })
}

fn reference(plan: &Plan) -> Vec<Vec<u8>> {
    plan.units.iter().map(|unit| side().reference(&plan.common, unit).unwrap()).collect()
}

const SMALL: [(&str, &str); 4] =
    [("text", "golden message of 29 bytes: "), ("nonces", "98304"), ("nonces-per-unit", "32768"), ("list", "5")];

#[test]
fn golden_settings_give_the_committed_files() {
    let plan = planned(&Inputs::default(), &SMALL);
    let parameters = side().recipe().unwrap().parameters(&pairs(&SMALL)).unwrap();
    let files = side().assemble(&Inputs::default(), &parameters, &reference(&plan)).unwrap();
    assert_eq!(files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["search.json", "best.tsv"]);
    for file in files {
        let path = folder().join("golden").join(&file.name);
        if std::env::var_os("KEYSTEAD_BLESS").is_some() {
            fs::write(&path, &file.bytes).unwrap();
        }
        assert_eq!(String::from_utf8(file.bytes).unwrap(), fs::read_to_string(&path).unwrap(), "{}", file.name);
    }
}

#[test]
fn kernel_equals_reference_wherever_the_nonce_begins_in_a_block() {
    let Some(kernel) = kernel_of(side()) else { return };
    for length in (0..=67).chain([127, 128, 4_095]) {
        let given = [("nonces", "1"), ("nonces-per-unit", "16384"), ("first-nonce", "81985529216486895")];
        let plan = planned(&message((0..length).map(|at| at as u8).collect()), &given);
        let output = kernel.run(&plan.common, &plan.units[0], plan.limits.output_bytes_max, plan.limits.workgroups);
        assert!(output == side().reference(&plan.common, &plan.units[0]).unwrap(), "{length} bytes");
    }
}

#[test]
fn kernel_equals_reference_over_several_workgroups_and_across_the_carry_of_the_nonce() {
    let Some(kernel) = kernel_of(side()) else { return };
    let given = [("nonces", "262144"), ("nonces-per-unit", "131072"), ("first-nonce", "4294901760")];
    let plan = planned(&Inputs::default(), &given);
    assert_eq!((plan.units.len(), plan.limits.workgroups), (2, [8, 1, 1]));
    for unit in &plan.units {
        let output = kernel.run(&plan.common, unit, plan.limits.output_bytes_max, plan.limits.workgroups);
        assert!(output == side().reference(&plan.common, unit).unwrap());
    }
}

/// FIPS 180-4's million letters `a`: the last 16 are a nonce. Its range has no better digest than the kernel finds, so the histogram and
/// the best record of the range are compared, and the letter message's own digest by the reference (a unit test).
#[test]
fn kernel_searches_around_the_standards_million_letters() {
    let Some(kernel) = kernel_of(side()) else { return };
    let mut plan = planned(&message(vec![b'a'; 999_984]), &[("nonces", "1"), ("nonces-per-unit", "16384")]);
    let first = 0xaaaa_aaaa_aaaa_aaaa_u64 & !0x3fff;
    plan.units[0][..8].copy_from_slice(&first.to_le_bytes());
    let output = kernel.run(&plan.common, &plan.units[0], plan.limits.output_bytes_max, plan.limits.workgroups);
    assert!(output == side().reference(&plan.common, &plan.units[0]).unwrap());
}

#[test]
fn loops_of_an_invocation_stay_inside_the_declared_bound() {
    // 256 nonces, each with two blocks of four quarters, and the six steps of the comparison; every loop counts one entry more.
    let most = 255 + 1 + 256 * (2 + 1 + 2 * (4 + 1)) + 6 + 1;
    assert!(most <= side().recipe().unwrap().limits.loop_iterations_max, "{most}");
}

#[test]
fn outputs_that_the_program_cannot_have_written_are_refused() {
    let plan = planned(&Inputs::default(), &SMALL);
    let parameters = side().recipe().unwrap().parameters(&pairs(&SMALL)).unwrap();
    let right = reference(&plan);
    let assembled = |outputs: &[Vec<u8>]| side().assemble(&Inputs::default(), &parameters, outputs);
    assert!(assembled(&right).is_ok());
    assert!(matches!(assembled(&right[1..]), Err(Error::OutputCount { got: 2, expected: 3 })));
    for word in (0..right[1].len()).step_by(4) {
        let mut bad = right.clone();
        bad[1][word] ^= 1;
        let refused = matches!(assembled(&bad), Err(Error::Output { unit: 1, .. }));
        assert!(refused, "byte {word}");
    }
    for length in [0, 3, right[0].len() - 4, right[0].len() + 4] {
        let mut bad = right.clone();
        bad[0].resize(length, 0);
        assert!(matches!(assembled(&bad), Err(Error::Output { unit: 0, .. })), "{length} bytes");
    }
}

#[test]
fn settings_and_messages_outside_the_bounds_are_named() {
    let plan = |inputs: &Inputs, given: &[(&str, &str)]| {
        side().plan(inputs, &side().recipe().unwrap().parameters(&pairs(given)).unwrap())
    };
    let none = Inputs::default();
    assert!(matches!(
        plan(&none, &[("nonces-per-unit", "16385")]),
        Err(Error::Setting { name: "nonces-per-unit", .. })
    ));
    assert!(matches!(plan(&none, &[("text", "tab\there")]), Err(Error::Setting { name: "text", .. })));
    let many = [("nonces", "68719476736"), ("nonces-per-unit", "16384")];
    assert!(matches!(plan(&none, &many), Err(Error::TooLarge { what: "units", .. })));
    assert!(plan(&none, &[("nonces", "68719476736"), ("nonces-per-unit", "1048576")]).is_ok());
    assert!(matches!(plan(&message(vec![0; 16_777_217]), &[]), Err(Error::InputTooLarge { .. })));
}
