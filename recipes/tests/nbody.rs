//! The simulation's kernel against its reference, segment by segment, and the laws of motion.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::print_stderr, reason = "tests")]
#![allow(missing_docs, clippy::cast_precision_loss, clippy::indexing_slicing, reason = "tests")]

mod wgsl_runner;

use keystead_recipes::{CustomerSide, Error, InputFile, Inputs, Plan, find};
use std::{fs, path::Path, path::PathBuf};
use wgsl_runner::kernel_of;

fn side() -> &'static dyn CustomerSide {
    find("nbody").unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("nbody")
}

fn pairs(given: &[(&str, &str)]) -> Vec<(String, String)> {
    given.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn plan_of(inputs: &Inputs, given: &[(&str, &str)]) -> Result<Plan, Error> {
    side().plan(inputs, &side().recipe().unwrap().parameters(&pairs(given)).unwrap())
}

/// All segments of all units, one after another.
fn last_states(plan: &Plan, mut run: impl FnMut(&[u8]) -> Vec<u8>) -> Vec<Vec<u8>> {
    let mut chain = |unit: &Vec<u8>| (0..plan.segment_count).fold(unit.clone(), |state, _| run(&state));
    plan.units.iter().map(&mut chain).collect()
}

fn numbers(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
}

/// Elements that disagree by specs/0003-job.md section 9, with the bounds of the manifest times a factor.
fn disagreeing(a: &[u8], b: &[u8], factor: f64) -> usize {
    let tolerance = side().recipe().unwrap().tolerance.as_ref().unwrap().tolerance();
    let (absolute, relative) = (factor * tolerance.absolute.to_f64(), factor * tolerance.relative.to_f64());
    let far = |(a, b): (f32, f32)| {
        let (a, b) = (f64::from(a), f64::from(b));
        (a - b).abs() > absolute + relative * a.abs().max(b.abs())
    };
    assert_eq!(a.len(), b.len());
    numbers(a).into_iter().zip(numbers(b)).filter(|pair| far(*pair)).count()
}

const GOLDEN: [(&str, &str); 4] =
    [("system", "figure-8"), ("members", "3"), ("members-per-unit", "2"), ("spread-millionths", "1000")];
const CLUSTER: [(&str, &str); 5] = [
    ("system", "plummer"),
    ("bodies", "200"),
    ("steps", "60"),
    ("step-millionths", "5000"),
    ("softening-millionths", "20000"),
];

fn reference(plan: &Plan) -> Vec<Vec<u8>> {
    last_states(plan, |state| side().reference(&plan.common, state).unwrap())
}

#[test]
fn golden_settings_give_the_committed_states_and_energies() {
    let plan = plan_of(&Inputs::default(), &GOLDEN).unwrap();
    assert_eq!((plan.units.len(), plan.segment_count), (2, 14));
    let parameters = side().recipe().unwrap().parameters(&pairs(&GOLDEN)).unwrap();
    for file in side().assemble(&Inputs::default(), &parameters, &reference(&plan)).unwrap() {
        let path = folder().join("golden").join(&file.name);
        if std::env::var_os("KEYSTEAD_BLESS").is_some() {
            fs::write(&path, &file.bytes).unwrap();
        }
        assert_eq!(String::from_utf8(file.bytes).unwrap(), fs::read_to_string(&path).unwrap(), "{}", file.name);
    }
}

#[test]
fn every_segment_of_the_kernel_is_within_the_tolerance_of_the_reference() {
    let Some(kernel) = kernel_of(side()) else { return };
    for given in [GOLDEN.as_slice(), &CLUSTER, &[("system", "plummer"), ("bodies", "1"), ("steps", "5")]] {
        let plan = plan_of(&Inputs::default(), given).unwrap();
        let run = |state: &[u8]| kernel.run(&plan.common, state, plan.limits.output_bytes_max, plan.limits.workgroups);
        let mut worst = 0;
        last_states(&plan, |state| {
            let (got, expected) = (run(state), side().reference(&plan.common, state).unwrap());
            worst = worst.max(disagreeing(&got, &expected, 0.25));
            got
        });
        // A quarter of the bound, and no outlier: an honest device has room.
        assert_eq!(worst, 0, "{given:?}");
    }
}

/// A provider that takes fewer, longer steps, or leaves out a body, or does nothing, is wrong even by the wider bound.
#[test]
fn shortcuts_are_beyond_the_wider_bound() {
    let plan = plan_of(&Inputs::default(), &[("steps", "1000"), ("step-millionths", "2000")]).unwrap();
    let (unit, factor) = (&plan.units[0], f64::from(side().recipe().unwrap().tolerance.as_ref().unwrap().sound_factor));
    let right = side().reference(&plan.common, unit).unwrap();
    let with = |at: usize, word: u32| {
        let mut common = plan.common.clone();
        common[at..at + 4].copy_from_slice(&word.to_le_bytes());
        side().reference(&common, unit).unwrap()
    };
    let allowed = numbers(&right).len() * 20_000 / 1_000_000;
    for (name, cheat) in [
        ("half of the steps", with(8, 167)),
        ("no gravity", with(12, 0)),
        ("strong softening", with(16, 0.25_f32.to_bits())),
        ("the state unchanged", unit.clone()),
    ] {
        assert!(disagreeing(&cheat, &right, factor) > allowed, "{name}");
    }
}

#[test]
fn a_figure_of_eight_returns_and_a_cluster_keeps_its_energy() {
    let plan = plan_of(&Inputs::default(), &[]).unwrap();
    let last = reference(&plan);
    let (first, last) = (numbers(&plan.units[0]), numbers(&last[0]));
    let distance = first[4..].iter().zip(&last[4..]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    // The steps are rounded up to whole segments, 0.002 more than the period.
    assert!(distance < 4e-3, "{distance}");
    let plan = plan_of(&Inputs::default(), &CLUSTER).unwrap();
    let parameters = side().recipe().unwrap().parameters(&pairs(&CLUSTER)).unwrap();
    let files = side().assemble(&Inputs::default(), &parameters, &reference(&plan)).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&files[1].bytes).unwrap();
    assert!(report["largest_relative_energy_error"].as_f64().unwrap() < 1e-3, "{report}");
}

#[test]
fn states_that_the_program_cannot_have_written_are_refused() {
    let plan = plan_of(&Inputs::default(), &GOLDEN).unwrap();
    let parameters = side().recipe().unwrap().parameters(&pairs(&GOLDEN)).unwrap();
    let right = reference(&plan);
    let assembled = |outputs: &[Vec<u8>]| side().assemble(&Inputs::default(), &parameters, outputs);
    assert!(assembled(&right).is_ok());
    assert!(matches!(assembled(&right[..1]), Err(Error::OutputCount { .. })));
    let with = |at: usize, number: f32| {
        let mut bad = right.clone();
        bad[1][at..at + 4].copy_from_slice(&number.to_le_bytes());
        bad
    };
    // Steps, mass of the first body, and numbers that are none.
    for (at, number) in [(0, 1.0), (28, 1.5), (28, -1.0), (16, f32::NAN), (40, f32::INFINITY)] {
        assert!(matches!(assembled(&with(at, number)), Err(Error::Output { unit: 1, .. })), "{at} {number}");
    }
    let mut short = right;
    short[0].truncate(100);
    assert!(matches!(assembled(&short), Err(Error::Output { unit: 0, .. })));
}

#[test]
fn jobs_that_are_too_large_are_named_and_a_table_of_bodies_is_taken() {
    let none = Inputs::default();
    let large = plan_of(&none, &[("system", "plummer"), ("bodies", "512"), ("steps", "1000000")]);
    assert!(matches!(large, Err(Error::TooLarge { what: "segments of a unit", got: 166_667, .. })));
    let many = plan_of(&none, &[("members", "1048576"), ("system", "plummer"), ("bodies", "5")]);
    assert!(matches!(many, Err(Error::TooLarge { what: "bodies of all members", .. })));
    let table = "name,mass,x,y,z,vx,vy,vz\nSun,1,0,0,0,0,0,0\nEarth,3.003e-6,1,0,0,0,6.283185,0\n";
    let file = InputFile { path: "bodies.csv".to_owned(), bytes: table.as_bytes().to_vec() };
    let inputs = Inputs::default().with("bodies", file);
    // A year in steps of half a day brings the Earth back.
    let given = [("gravity", "solar"), ("steps", "730"), ("step-millionths", "1370")];
    let plan = plan_of(&inputs, &given).unwrap();
    let earth = numbers(&reference(&plan)[0])[12..15].to_vec();
    assert!((earth[0] - 1.0).abs() < 1e-3 && earth[1].abs() < 2e-3, "{earth:?}");
}
