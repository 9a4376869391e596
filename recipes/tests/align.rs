//! The alignment kernel against its reference, its golden result and, where present, the real input.
#![allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::print_stderr,
    clippy::indexing_slicing,
    reason = "tests"
)]
#![allow(missing_docs, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "tests")]

mod wasm_runner;

use keystead_recipes::{CustomerSide, InputFile, Inputs, Plan, find};
use proptest::prelude::*;
use std::{fs, path::Path, path::PathBuf, sync::LazyLock, time::Instant};
use wasm_runner::{Outcome, Program};

static PROGRAM: LazyLock<Program> = LazyLock::new(|| Program::new(align().program()));

fn align() -> &'static dyn CustomerSide {
    find("align").unwrap()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("align")
}

fn read(queries: &Path, targets: &Path) -> Inputs {
    let given = [("queries".to_owned(), queries.to_owned()), ("targets".to_owned(), targets.to_owned())];
    Inputs::read(&align().recipe().unwrap(), &given).unwrap()
}

/// Runs every unit in the kernel inside the plan's limits and compares each output with the reference.
fn run_and_compare(plan: &Plan) -> Vec<Vec<u8>> {
    let run = |unit: &Vec<u8>| {
        let begin = Instant::now();
        match PROGRAM.run(&plan.common, unit, plan.limits.fuel_max, plan.limits.memory_bytes_max) {
            Outcome::Done { output, fuel } => {
                if fuel > 1_000_000_000 {
                    eprintln!("unit: {fuel} of {} fuel, {} ms", plan.limits.fuel_max, begin.elapsed().as_millis());
                }
                assert!(output.len() as u64 <= plan.limits.output_bytes_max);
                assert_eq!(output, align().reference(&plan.common, unit).unwrap());
                output
            }
            other => panic!("{other:?}"),
        }
    };
    plan.units.iter().map(run).collect()
}

fn table(inputs: &Inputs, given: &[(&str, &str)]) -> Vec<u8> {
    let given: Vec<_> = given.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    let parameters = align().recipe().unwrap().parameters(&given).unwrap();
    let plan = align().plan(inputs, &parameters).unwrap();
    let mut files = align().assemble(inputs, &parameters, &run_and_compare(&plan)).unwrap();
    assert_eq!(files.len(), 1);
    files.remove(0).bytes
}

#[test]
fn golden_input_gives_the_committed_table_in_kernel_and_reference() {
    let inputs = read(&folder().join("golden/queries.faa"), &folder().join("golden/targets.faa"));
    let got = table(&inputs, &[]);
    let path = folder().join("golden/alignments.tsv");
    if std::env::var_os("KEYSTEAD_BLESS").is_some() {
        fs::write(&path, &got).unwrap();
    }
    assert_eq!(String::from_utf8(got).unwrap(), fs::read_to_string(path).unwrap());
}

#[test]
fn kernel_refuses_exactly_what_the_reference_refuses() {
    let inputs = read(&folder().join("golden/queries.faa"), &folder().join("golden/targets.faa"));
    let parameters = align().recipe().unwrap().parameters(&[]).unwrap();
    let plan = align().plan(&inputs, &parameters).unwrap();
    let (common, unit) = (&plan.common, &plan.units[0]);
    let same = |common: &[u8], unit: &[u8]| {
        let outcome = PROGRAM.run(common, unit, plan.limits.fuel_max, plan.limits.memory_bytes_max);
        match align().reference(common, unit) {
            Ok(expected) => assert!(matches!(outcome, Outcome::Done { output, .. } if output == expected)),
            Err(error) => {
                let code = if error.to_string().contains("common") { -1 } else { -2 };
                assert_eq!(outcome, Outcome::Refused(code), "{error}");
            }
        }
    };
    // Every byte of head and offsets is changed, and both blobs are cut at every length.
    for at in (0..16).chain(592..700) {
        for change in [1, 0x80, 0xff] {
            let mut bad = common.clone();
            bad[at] ^= change;
            same(&bad, unit);
        }
    }
    for at in 0..60 {
        for change in [1, 0x80, 0xff] {
            let mut bad = unit.clone();
            bad[at] ^= change;
            same(common, &bad);
        }
    }
    (0..common.len()).step_by(7).for_each(|length| same(&common[..length], unit));
    (0..unit.len()).step_by(3).for_each(|length| same(common, &unit[..length]));
    same(&[common.as_slice(), &[0]].concat(), unit);
    same(common, &[unit.as_slice(), &[0]].concat());
}

#[test]
fn fuel_that_runs_out_stops_the_kernel() {
    let inputs = read(&folder().join("golden/queries.faa"), &folder().join("golden/targets.faa"));
    let parameters = align().recipe().unwrap().parameters(&[]).unwrap();
    let plan = align().plan(&inputs, &parameters).unwrap();
    let outcome = PROGRAM.run(&plan.common, &plan.units[0], 10_000, plan.limits.memory_bytes_max);
    assert!(matches!(&outcome, Outcome::Trapped(why) if why.contains("fuel")), "{outcome:?}");
}

#[test]
fn the_largest_pair_fits_into_the_memory_of_the_plan_and_not_into_less() {
    let residue = |index: usize| char::from(b"ARNDCQEGHILKMFPSTWYV"[index * index % 19]);
    let target: String = (0..65_535).map(residue).collect();
    let file =
        |name: &str, text: &str| InputFile { path: name.to_owned(), bytes: format!(">{name}\n{text}\n").into_bytes() };
    let inputs =
        Inputs::default().with("queries", file("q", &target[30_000..32_048])).with("targets", file("t", &target));
    let parameters = align().recipe().unwrap().parameters(&[]).unwrap();
    let plan = align().plan(&inputs, &parameters).unwrap();
    let run = |memory_bytes_max| PROGRAM.run(&plan.common, &plan.units[0], plan.limits.fuel_max, memory_bytes_max);
    let Outcome::Done { output, .. } = run(plan.limits.memory_bytes_max) else { panic!() };
    let table = align().assemble(&inputs, &parameters, &[output]).unwrap().remove(0).bytes;
    // The letters repeat every 19 positions, so the earliest of the equal matches is taken.
    let row = String::from_utf8(table).unwrap().lines().nth(1).unwrap().to_owned();
    assert!(row.ends_with("\t2048\t2048\t2048="), "{row}");
    assert_eq!(run(plan.limits.memory_bytes_max / 2), Outcome::Refused(-3));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]
    #[test]
    fn kernel_equals_reference_on_random_sequences(
        queries in prop::collection::vec("[ARNW]{1,40}|[ARNDCQEGHILKMFPSTWYVBZX]{1,90}", 1..5),
        targets in prop::collection::vec("[ARNW]{1,40}|[ARNDCQEGHILKMFPSTWYVBZX]{1,90}", 1..5),
        gap_open in 1..20_i64,
        gap_extend in 0..6_i64,
        score_min in 1..60_i64,
    ) {
        let file = |all: &[String]| {
            let bytes: String = all.iter().enumerate().map(|(index, text)| format!(">{index}\n{text}Y\n")).collect();
            InputFile { path: "random.faa".to_owned(), bytes: bytes.into_bytes() }
        };
        let inputs = Inputs::default().with("queries", file(&queries)).with("targets", file(&targets));
        let settings = [gap_open, gap_extend.min(gap_open), score_min].map(|value| value.to_string());
        table(&inputs, &[("gap-open", &settings[0]), ("gap-extend", &settings[1]), ("score-min", &settings[2])]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]
    #[test]
    fn any_bytes_give_a_plan_or_an_error(bytes in prop::collection::vec(prop::sample::select(b">A*-1\n\r x\xff\0".to_vec()), 0..60)) {
        let file = InputFile { path: "any".to_owned(), bytes };
        let inputs = Inputs::default().with("queries", file.clone()).with("targets", file);
        let parameters = align().recipe().unwrap().parameters(&[]).unwrap();
        if let Ok(plan) = align().plan(&inputs, &parameters) {
            plan.limits.check(align().recipe().unwrap().runtime).unwrap();
            run_and_compare(&plan);
        }
    }
}

/// Real files, fetched by `recipes/fetch_inputs.py FOLDER`; `KEYSTEAD_INPUTS` names the folder.
fn real(name: &str) -> Option<PathBuf> {
    let path =
        std::env::var_os("KEYSTEAD_INPUTS").map(|folder| Path::new(&folder).join(name)).filter(|path| path.is_file());
    if path.is_none() {
        eprintln!("skipped: {name} (run recipes/fetch_inputs.py FOLDER and set KEYSTEAD_INPUTS=FOLDER)");
    }
    path
}

/// Hashes of results on the real files, committed in golden/real.txt: a line for each is a file name and BLAKE3.
#[test]
fn real_files_give_the_committed_results() {
    let (Some(insulin), Some(lux)) = (real("insulin.faa"), real("LuxC.faa")) else { return };
    let mut text = String::new();
    for path in [insulin, lux] {
        let got = table(&read(&path, &path), &[]);
        let name = path.file_name().unwrap().to_str().unwrap();
        text += &format!("{name} {}\n", keystead_job::blob_hash(&got));
        if name == "insulin.faa" {
            let table = String::from_utf8(got).unwrap();
            let line =
                table.lines().find(|line| line.starts_with("sp|P01308|INS_HUMAN\tsp|P01325|INS1_MOUSE\t")).unwrap();
            // Printed by parasail 1.3.4: sw_trace(human, mouse, 11, 1, blosum62).
            assert_eq!(line.split('\t').nth(2), Some("441"), "{line}");
        }
    }
    let golden = folder().join("golden/real.txt");
    if std::env::var_os("KEYSTEAD_BLESS").is_some() {
        fs::write(&golden, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(golden).unwrap());
}

#[test]
fn kernel_equals_reference_on_a_part_of_the_real_proteome() {
    let (Some(queries), Some(targets)) = (real("LuxC.faa"), real("938293.PRJEB85.HG003687.faa")) else { return };
    let inputs = read(&queries, &targets);
    let parameters = align().recipe().unwrap().parameters(&[]).unwrap();
    let mut plan = align().plan(&inputs, &parameters).unwrap();
    assert!(plan.units.len() > 50, "{}", plan.units.len());
    let middle = plan.units.len() / 2;
    plan.units = vec![plan.units[0].clone(), plan.units[middle].clone(), plan.units.last().unwrap().clone()];
    run_and_compare(&plan);
}
