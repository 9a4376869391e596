//! Recipes in folders: the ones that `keystead recipe new` writes run, agree with their references and give their golden results; what is wrong with
//! a folder is said at once.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
#![allow(missing_docs, clippy::cast_possible_truncation, reason = "tests")]

mod wasm_runner;

use keystead_job::{Class, Runtime, spec::RecipeName};
use keystead_kernel::{Dispatch, Kernel, Profile};
use keystead_recipes::{CustomerSide as _, Error, Fault, Folder, InputFile, Inputs, Plan, template};
use std::{fs, path::Path};
use wasm_runner::{Outcome, Program};

/// Fuel and memory that no test needs.
const PLENTY: (u64, u64) = (1 << 40, 1 << 28);

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn new(runtime: Runtime, class: Class) -> (tempfile::TempDir, Folder) {
    let home = tempfile::tempdir().unwrap();
    for file in template::files(&RecipeName::new("my-roots").unwrap(), runtime, class).unwrap() {
        write(home.path(), &file.name, &file.bytes);
    }
    let folder = Folder::open(home.path()).unwrap();
    (home, folder)
}

fn done(outcome: Outcome) -> Vec<u8> {
    match outcome {
        Outcome::Done { output, .. } => output,
        other => panic!("{other:?}"),
    }
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|chunk| u32::from_le_bytes(*chunk)).collect()
}

/// All outputs of a plan by the recipe's program, in the interpreter or in the engine.
fn outputs(folder: &Folder, plan: &Plan) -> Vec<Vec<u8>> {
    let keys = folder.manifest_keys();
    if keys.runtime == Runtime::Wasm1 {
        let program = Program::new(folder.program());
        return plan.units.iter().map(|unit| done(program.run(&plan.common, unit, PLENTY.0, PLENTY.1))).collect();
    }
    let profile = if keys.class == Class::Exact { Profile::Exact } else { Profile::Float };
    let program = Kernel::admit(folder.program(), profile).unwrap().program().unwrap();
    let common = words(&plan.common);
    let run = |unit: &Vec<u8>| {
        let dispatch = Dispatch {
            common: &common,
            unit: &words(unit),
            output_words: (plan.limits.output_bytes_max / 4) as usize,
            workgroups: plan.limits.workgroups,
            loop_iterations_max: plan.limits.loop_iterations_max,
            ..Dispatch::default()
        };
        program.run(&dispatch).unwrap().iter().flat_map(|word| word.to_le_bytes()).collect()
    };
    plan.units.iter().map(run).collect()
}

fn golden_plan(folder: &Folder) -> (Plan, keystead_job::parameter::Parameters) {
    let golden = folder.manifest_keys().golden.clone().unwrap();
    let parameters = folder.manifest_keys().parameters(&golden.set.into_iter().collect::<Vec<_>>()).unwrap();
    (folder.plan(&Inputs::default(), &parameters).unwrap(), parameters)
}

const KINDS: [(Runtime, Class); 6] = [
    (Runtime::Wasm1, Class::Exact),
    (Runtime::Wasm1, Class::SelfChecking),
    (Runtime::Wasm1, Class::Tolerance),
    (Runtime::Wgsl1, Class::Exact),
    (Runtime::Wgsl1, Class::SelfChecking),
    (Runtime::Wgsl1, Class::Tolerance),
];

#[test]
fn every_new_recipe_gives_its_golden_result_and_agrees_with_its_reference() {
    for (runtime, class) in KINDS {
        let (_home, folder) = new(runtime, class);
        let (plan, parameters) = golden_plan(&folder);
        assert_eq!(plan.units.len(), 2, "{runtime} {class}");
        let outputs = outputs(&folder, &plan);
        let files = folder.assemble(&Inputs::default(), &parameters, &outputs).unwrap();
        let golden = folder.golden_file("roots.tsv").unwrap().unwrap();
        assert_eq!(String::from_utf8(files[0].bytes.clone()), String::from_utf8(golden), "{runtime} {class}");
        let reference = Program::new(folder.reference_program().unwrap());
        for (unit, output) in plan.units.iter().zip(&outputs) {
            let expected = done(reference.run(&plan.common, unit, PLENTY.0, PLENTY.1));
            assert_eq!(output[..expected.len()], expected, "{runtime} {class}");
            // The last unit of a WGSL job is shorter than its output.
            assert!(output[expected.len()..].iter().all(|byte| *byte == 0));
        }
    }
}

#[test]
fn the_checker_of_a_new_recipe_finds_every_changed_word_and_takes_what_is_right() {
    for runtime in [Runtime::Wasm1, Runtime::Wgsl1] {
        let (_home, folder) = new(runtime, Class::SelfChecking);
        let (plan, _) = golden_plan(&folder);
        let checker = Program::new(folder.checker().unwrap());
        for (unit, output) in plan.units.iter().zip(outputs(&folder, &plan)) {
            let verdict = |output: &[u8]| {
                let length = (unit.len() as u32).to_le_bytes();
                let input = [&[9; 32][..], &length, unit, output].concat();
                done(checker.run(&plan.common, &input, PLENTY.0, PLENTY.1))
            };
            assert_eq!(verdict(&output), [0]);
            for at in 0..output.len() {
                let mut wrong = output.clone();
                wrong[at] ^= 1;
                assert_eq!(verdict(&wrong), [1], "byte {at}");
            }
            assert_eq!(verdict(&output[..output.len() - 1]), [1]);
            assert_eq!(verdict(&[]), [1]);
            assert_eq!(verdict(&[&output[..], &[0; 4]].concat()), [1]);
        }
    }
}

#[test]
fn large_numbers_have_the_right_roots_in_both_programs() {
    let (_home, folder) = new(Runtime::Wasm1, Class::Exact);
    let programs = [folder.program(), folder.reference_program().unwrap()].map(Program::new);
    for first in [0_u64, u64::from(u32::MAX) - 2, (1 << 52) - 3, u64::MAX - 5] {
        let unit = [&first.to_le_bytes()[..], &[5, 0, 0, 0, 0, 0, 0, 0]].concat();
        let expected: Vec<u8> = (0..5).flat_map(|at| ((first + at).isqrt() as u32).to_le_bytes()).collect();
        for program in &programs {
            assert_eq!(done(program.run(&[], &unit, PLENTY.0, PLENTY.1)), expected, "{first}");
        }
    }
}

/// Outputs are hostile: what the manifest does not declare is refused by unit.
#[test]
fn outputs_of_another_length_or_with_something_behind_the_items_are_refused() {
    let (_home, folder) = new(Runtime::Wgsl1, Class::Exact);
    let (plan, parameters) = golden_plan(&folder);
    let right = outputs(&folder, &plan);
    let refused = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut outputs = right.clone();
        change(&mut outputs);
        folder.assemble(&Inputs::default(), &parameters, &outputs).unwrap_err()
    };
    assert!(matches!(refused(&|outputs| drop(outputs.pop())), Error::OutputCount { got: 1, expected: 2 }));
    assert!(matches!(refused(&|outputs| outputs[0].push(0)), Error::Output { unit: 0, .. }));
    assert!(matches!(refused(&|outputs| *outputs[1].last_mut().unwrap() = 1), Error::Output { unit: 1, .. }));
}

const LINES: &str = r#"
name = "lines"
title = "Lines"
summary = "Copies lines."
runtime = "wasm/1"
class = "exact"
program = "copy.wat"
limits = { wall_ms_max = 1000, fuel_max = 1000000, memory_bytes_max = 1048576, output_bytes_max = 65536 }
plan = { units = "lines", input = "text", size = 2 }
assembly = { files = "join" }
golden = { folder = "golden", inputs = { text = "golden/text.txt" } }

[[inputs]]
name = "text"
kinds = ["txt"]
help = "A text."

[[inputs]]
name = "words"
kinds = ["txt"]
help = "Words."
optional = true

[[parameters]]
name = "mode"
type = "choice"
default = "b"
choices = ["a", "b", "c"]
help = "Mode."

[[parameters]]
name = "note"
type = "text"
default = "hello"
bytes_max = 10
help = "Note."

[[outputs]]
file = "out.txt"
help = "The text."
"#;

/// Gives common input and unit input back, one after the other.
const COPY: &str = r#"(module (memory (export "memory") 4) (global $at (mut i32) (i32.const 1024))
  (func (export "alloc") (param i32) (result i32)
    (global.get $at) (global.set $at (i32.add (global.get $at) (local.get 0))))
  (func (export "run") (param i32 i32 i32 i32) (result i64)
    (i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32))
      (i64.extend_i32_u (i32.add (local.get 1) (local.get 3))))))"#;

#[test]
fn settings_files_and_lines_lie_where_the_spec_says() {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), "recipe.toml", LINES.as_bytes());
    write(home.path(), "copy.wat", COPY.as_bytes());
    write(home.path(), "golden/text.txt", b"one\ntwo\nthree");
    let folder = Folder::open(home.path()).unwrap();
    let inputs = folder.golden_inputs().unwrap().unwrap();
    let parameters = folder.manifest_keys().parameters(&[]).unwrap();
    let absent = folder.plan(&inputs, &parameters).unwrap();
    let words = |list: &[u32]| list.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    assert_eq!(absent.common, [&words(&[1, 0, 24, 5, u32::MAX, 0])[..], b"hello\0\0\0"].concat());
    let given = inputs.with("words", InputFile { path: "w.txt".to_owned(), bytes: b"abcde".to_vec() });
    let plan = folder.plan(&given, &parameters).unwrap();
    assert_eq!(plan.common, [&words(&[1, 0, 24, 5, 32, 5])[..], b"hello\0\0\0abcde\0\0\0"].concat());
    assert_eq!(plan.units[0], [&words(&[0, 0, 2, 6, 0, 3, 6])[..], b"onetwo\0\0"].concat());
    assert_eq!(plan.units[1], [&words(&[2, 0, 1, 5, 0, 5])[..], b"three\0\0\0"].concat());
    let outputs = outputs(&folder, &plan);
    let files = folder.assemble(&given, &parameters, &outputs).unwrap();
    assert_eq!(files[0].bytes, [&plan.common[..], &plan.units[0], &plan.common, &plan.units[1]].concat());
}

/// A planner that plans two units of a word, and an assembler that gives its input back as a file.
#[test]
fn a_recipe_can_plan_and_assemble_by_programs_of_its_own() {
    let home = tempfile::tempdir().unwrap();
    let manifest = LINES
        .replace(
            "{ units = \"lines\", input = \"text\", size = 2 }",
            "{ units = \"program\", program = \"plan.wat\", fuel_max = 9000 }",
        )
        .replace("{ files = \"join\" }", "{ files = \"program\", program = \"join.wat\", fuel_max = 9000 }");
    write(home.path(), "recipe.toml", manifest.as_bytes());
    write(home.path(), "copy.wat", COPY.as_bytes());
    write(home.path(), "golden/text.txt", b"x");
    // Status, segments, workgroups, output bytes, loops, common input, two units.
    let answer = [0_u32, 1, 0, 0, 0, 0, 0, 4, 77, 2, 4, 1, 4, 2];
    let data: String = answer.iter().flat_map(|word| word.to_le_bytes()).map(|byte| format!("\\{byte:02x}")).collect();
    let constant = format!(
        "(data (i32.const 0) \"{data}\") (func (export \"run\") (param i32 i32 i32 i32) (result i64) (i64.const {}))",
        data.len() / 3
    );
    let begin = COPY.find("(func (export \"run\")").unwrap();
    write(home.path(), "plan.wat", format!("{}{constant})", &COPY[..begin]).as_bytes());
    let join = r#"(func (export "run") (param i32 i32 i32 i32) (result i64)
        (i64.store (i32.const 0) (i64.shl (i64.extend_i32_u (local.get 3)) (i64.const 32)))
        (memory.copy (i32.const 8) (local.get 2) (local.get 3))
        (i64.extend_i32_u (i32.add (local.get 3) (i32.const 8)))))"#;
    write(home.path(), "join.wat", format!("{}{join}", &COPY[..begin]).as_bytes());
    let folder = Folder::open(home.path()).unwrap();
    let inputs = folder.golden_inputs().unwrap().unwrap();
    let parameters = folder.manifest_keys().parameters(&[]).unwrap();
    let run = |step: &keystead_recipes::Step| {
        done(Program::new(&step.program).run(&step.common, &step.unit, step.fuel_max, PLENTY.1))
    };
    let plan = folder.planned(&run(&folder.planner(&inputs, &parameters).unwrap().unwrap())).unwrap();
    assert_eq!((&plan.common[..], &plan.units[..]), (&[77, 0, 0, 0][..], &[vec![1, 0, 0, 0], vec![2, 0, 0, 0]][..]));
    let outputs = outputs(&folder, &plan);
    let step = folder.assembler(&inputs, &parameters, &outputs).unwrap().unwrap();
    let files = folder.assembled(&run(&step)).unwrap();
    assert_eq!((files.len(), files[0].name.as_str(), &files[0].bytes), (1, "out.txt", &step.unit));
}

#[test]
fn everything_that_is_wrong_with_a_folder_is_said_at_once() {
    let home = tempfile::tempdir().unwrap();
    let open = || Folder::open(home.path()).unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>();
    assert!(open()[0].contains("keystead recipe new"), "{:?}", open());
    let (_other, folder) = new(Runtime::Wasm1, Class::SelfChecking);
    let manifest = folder.manifest();
    write(home.path(), "recipe.toml", manifest.as_bytes());
    let missing = open();
    assert_eq!(missing.len(), 3, "{missing:?}");
    assert!(missing.iter().any(|fault| fault.contains("checker.program")), "{missing:?}");
    write(
        home.path(),
        "recipe.toml",
        manifest
            .replace("title = \"Square roots\"", "title = \"\"")
            .replace("size = \"numbers-per-unit\"", "size = 0")
            .as_bytes(),
    );
    let broken = open();
    assert!(broken.len() == 2 && broken[0].contains("title") && broken[1].contains("plan.size"), "{broken:?}");
    write(home.path(), "recipe.toml", &[0xff, 0xfe]);
    assert_eq!(open().len(), 1);
    // Text that is no program names the place.
    write(home.path(), "recipe.toml", LINES.as_bytes());
    write(home.path(), "copy.wat", b"(module (func (export \"run\") (oops)))");
    let text = open();
    assert!(text.len() == 1 && text[0].contains("copy.wat") && text[0].contains("oops"), "{text:?}");
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_out_of_the_folder_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("recipe");
    write(home.path(), "secret", COPY.as_bytes());
    write(&folder, "recipe.toml", LINES.as_bytes());
    std::os::unix::fs::symlink(home.path().join("secret"), folder.join("copy.wat")).unwrap();
    let faults = Folder::open(&folder).unwrap_err();
    assert!(matches!(&faults[..], [Fault::Outside { key: "program", .. }]), "{faults:?}");
    fs::remove_file(folder.join("copy.wat")).unwrap();
    write(&folder, "real.wat", COPY.as_bytes());
    std::os::unix::fs::symlink("real.wat", folder.join("copy.wat")).unwrap();
    assert!(Folder::open(&folder).is_ok());
}

/// A pipe has its reader wait until somebody writes into it, and a stranger's folder may hold some.
#[cfg(unix)]
#[test]
fn pipes_in_a_folder_are_faults_and_are_not_waited_for() {
    use std::{process::Command, sync::mpsc, thread, time::Duration};
    let home = tempfile::tempdir().unwrap();
    let pipe = |name: &str| {
        let path = home.path().join(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    };
    let open = || {
        let (sender, receiver) = mpsc::channel();
        let path = home.path().to_owned();
        // Not joined: if it waits, it does so until this process ends.
        thread::spawn(move || drop(sender.send(Folder::open(&path))));
        receiver.recv_timeout(Duration::from_secs(10)).expect("it waits").unwrap_err()
    };
    let manifest = pipe("recipe.toml");
    let faults = open();
    assert!(matches!(&faults[..], [Fault::NoManifest { why, .. }] if why.contains("no plain file")), "{faults:?}");
    fs::remove_file(manifest).unwrap();
    write(home.path(), "recipe.toml", LINES.as_bytes());
    pipe("copy.wat");
    let faults = open();
    assert!(
        matches!(&faults[..], [Fault::File { key: "program", why, .. }] if why.contains("no plain file")),
        "{faults:?}"
    );
}
