//! Every WGSL program of the recipes is admitted by the rules of its class, and its first unit runs inside of the loops that its plan declares, in the
//! interpreter: on every machine, with or without an adapter.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_precision_loss, reason = "tests")]
#![allow(missing_docs, clippy::float_cmp, reason = "tests")]

use keystead_job::{Checker, Class, JobSpec, Runtime, blob_hash, hash_list, spec::Draft};
use keystead_kernel::{Dispatch, Kernel, Profile};
use keystead_recipes::{InputFile, Inputs, Plan, all, find};
use std::{fs, path::Path};

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|chunk| u32::from_le_bytes(*chunk)).collect()
}

fn input(inputs: Inputs, name: &str, path: &str) -> Inputs {
    let bytes = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    inputs.with(name, InputFile { path: path.to_owned(), bytes })
}

/// A small job of a recipe.
fn small(name: &str) -> Plan {
    let none = Inputs::default();
    let (inputs, given): (Inputs, &[(&str, &str)]) = match name {
        "align-wgsl" => {
            let queries = input(none, "queries", "align/golden/queries.faa");
            (input(queries, "targets", "align/golden/targets.faa"), &[])
        }
        "matmul" => (none, &[("rows", "3"), ("inner", "290"), ("columns", "70"), ("rows-per-unit", "64")]),
        "nbody" => (none, &[("system", "plummer"), ("bodies", "70"), ("steps", "20")]),
        "render" => (none, &[("width", "9"), ("height", "8"), ("samples", "4")]),
        "sha256-search" => (none, &[("nonces", "1"), ("nonces-per-unit", "16384")]),
        "value-at-risk" => {
            let given = &[("holdings", "AAA=500000,CCC=-200000"), ("paths", "65536"), ("paths-per-unit", "16384")];
            (input(none, "prices", "value-at-risk/golden/prices.csv"), given)
        }
        other => panic!("no small job of {other}: add one"),
    };
    let side = find(name).unwrap();
    let given: Vec<_> = given.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    side.plan(&inputs, &side.recipe().unwrap().parameters(&given).unwrap()).unwrap()
}

/// Runs the first unit (one segment) with this bound of loops.
fn interpreted(name: &str, plan: &Plan, loop_iterations_max: u32) -> Result<Vec<u32>, keystead_kernel::execute::Error> {
    let side = find(name).unwrap();
    let exact = side.recipe().unwrap().class == Class::Exact;
    let profile = if exact { Profile::Exact } else { Profile::Float };
    let program = Kernel::admit(side.program(), profile).unwrap().program().unwrap();
    let (common, unit) = (words(&plan.common), words(plan.units.first().unwrap()));
    program.run(&Dispatch {
        common: &common,
        unit: &unit,
        output_words: usize::try_from(plan.limits.output_bytes_max / 4).unwrap(),
        workgroups: plan.limits.workgroups,
        loop_iterations_max,
        steps_max: 20_000_000_000,
    })
}

/// Share of the numbers that are further apart than absolute + relative * the larger one.
fn far(got: &[u32], expected: &[u32], absolute: f64, relative: f64) -> f64 {
    assert_eq!(got.len(), expected.len());
    let far = got.iter().zip(expected).filter(|(a, b)| {
        let (a, b) = (f64::from(f32::from_bits(**a)), f64::from(f32::from_bits(**b)));
        (a - b).abs() > absolute + relative * a.abs().max(b.abs())
    });
    far.count() as f64 / got.len() as f64
}

#[test]
fn every_wgsl_program_is_admitted_and_runs_inside_of_its_declared_loops() {
    for side in all().iter().filter(|side| side.recipe().unwrap().runtime == Runtime::Wgsl1) {
        let plan = small(side.name());
        let got = interpreted(side.name(), &plan, plan.limits.loop_iterations_max);
        let got = got.unwrap_or_else(|error| panic!("{}: {error}", side.name()));
        let expected = words(&side.reference(&plan.common, plan.units.first().unwrap()).unwrap());
        let recipe = side.recipe().unwrap();
        match (recipe.class, recipe.tolerance.as_ref()) {
            // Exact programs give the reference's bytes here too.
            (Class::Exact, _) => assert!(got == expected, "{}", side.name()),
            (_, Some(agreement)) => {
                let tolerance = agreement.tolerance();
                let far = far(&got, &expected, tolerance.absolute.to_f64(), tolerance.relative.to_f64());
                assert!(far * 1e6 <= f64::from(tolerance.outliers_ppm), "{}: {far}", side.name());
            }
            // The product: the same sums in the same order, each rounded once.
            _ => assert!(far(&got, &expected, 1e-5, 1e-5) == 0.0, "{}", side.name()),
        }
    }
}

#[test]
fn every_small_job_is_a_valid_job_spec_within_the_recipes_limits() {
    for side in all().iter().filter(|side| side.recipe().unwrap().runtime == Runtime::Wgsl1) {
        let (recipe, plan) = (side.recipe().unwrap(), small(side.name()));
        assert!((1..=recipe.limits.segments_max).contains(&plan.segment_count), "{}", side.name());
        let checker = recipe.checker.as_ref().zip(side.checker());
        let names: Vec<_> = plan.units.iter().map(|unit| blob_hash(unit)).collect();
        let spec = JobSpec::new(Draft {
            recipe: recipe.name.clone(),
            runtime: recipe.runtime,
            class: recipe.class,
            program_hash: blob_hash(side.program()),
            common_hash: blob_hash(&plan.common),
            units_hash: hash_list(&names),
            unit_count: u32::try_from(names.len()).unwrap(),
            segment_count: plan.segment_count,
            limits: plan.limits,
            checker: checker
                .map(|(declared, program)| Checker { program_hash: blob_hash(program), fuel_max: declared.fuel_max }),
            tolerance: recipe.tolerance.as_ref().map(keystead_job::recipe::Agreement::tolerance),
        });
        assert!(spec.is_ok(), "{}: {:?}", side.name(), spec.err());
        if plan.segment_count > 1 {
            // What one segment writes is what the next one reads.
            assert_eq!(plan.limits.output_bytes_max, plan.units.first().unwrap().len() as u64, "{}", side.name());
        }
    }
}

/// The bounds that the plans compute are the true counts, not guesses far above them.
#[test]
fn one_loop_less_than_the_plan_declares_is_too_few() {
    for name in ["align-wgsl", "nbody"] {
        let plan = small(name);
        let loops = plan.limits.loop_iterations_max;
        assert!(interpreted(name, &plan, loops).is_ok(), "{name} {loops}");
        assert!(interpreted(name, &plan, loops.checked_sub(1).unwrap()).is_err(), "{name} {loops}");
    }
}
