//! Recipes of strangers: made, checked, and run through the market from their folders.

use crate::{
    market::job,
    network::{KEYSTEAD, Network, usual, wait_until},
    parties::{MARKET, Provider, balance, text, verify},
};
use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

fn keystead(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(KEYSTEAD).args(arguments).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

fn new(home: &Path, name: &str, runtime: &str, class: &str) {
    let made = keystead(home, &["recipe", "new", name, "--runtime", runtime, "--class", class]);
    assert!(made.status.success(), "{}", text(&made));
}

#[test]
fn a_list_that_nobody_reads_on_ends_without_a_word() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let listing = Command::new(KEYSTEAD).args(["recipe", "list"]).stdout(writer).stderr(Stdio::piped()).spawn();
    let output = listing.unwrap().wait_with_output().unwrap();
    assert!(output.status.code() == Some(141) && output.stderr.is_empty(), "{}", text(&output));
}

/// Changes a file of a recipe, which must hold what is changed.
fn change(home: &Path, file: &str, from: &str, to: &str) {
    let path = home.join(file);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} does not hold {from:?}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// `recipe check` of a folder below `home`: whether it passed, and what it said.
fn check(home: &Path, name: &str) -> (bool, String) {
    let output = keystead(home, &["recipe", "check", &format!("./{name}")]);
    let said = text(&output);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{said}");
    (output.status.success(), said)
}

/// A failure with this word, which says this, followed by what to do.
fn assert_fails(home: &Path, name: &str, what: &str, why: &str) {
    let (passed, said) = check(home, name);
    assert!(!passed, "{said}");
    let mut lines =
        said.lines().skip_while(|line| !(line.starts_with(&format!("FAILED  {what} ")) && line.contains(why)));
    assert!(lines.next().is_some(), "no failure of {what} with {why:?} in:\n{said}");
    assert!(lines.any(|line| line.trim_start().starts_with("next: ")), "{said}");
}

#[test]
fn every_kind_of_new_recipe_passes_its_check_without_a_tool() {
    let _machine = usual();
    let home = tempfile::tempdir().unwrap();
    for (runtime, class) in [
        ("wasm", "exact"),
        ("wasm", "self-checking"),
        ("wasm", "tolerance"),
        ("wgsl", "exact"),
        ("wgsl", "self-checking"),
        ("wgsl", "tolerance"),
    ] {
        let name = format!("{runtime}-{class}");
        new(home.path(), &name, runtime, class);
        let (passed, said) = check(home.path(), &name);
        assert!(passed && said.contains(" 0 failed"), "{name}\n{said}");
        assert!(said.contains("golden result  roots.tsv is equal"), "{name}\n{said}");
        let shown = keystead(home.path(), &["recipe", "show", &format!("./{name}")]);
        assert!(text(&shown).contains(&format!("keystead run ./{name} --dir wallet")), "{}", text(&shown));
    }
    let_it_speak(home.path(), "wasm-exact");
    let (passed, said) = check(home.path(), "wasm-exact");
    assert!(passed && said.contains("\nsays    unit 0         good news?\n"), "{said}");
    let again = keystead(home.path(), &["recipe", "new", "wasm-exact", "--runtime", "wasm"]);
    assert!(text(&again).contains("exists already: choose another name"), "{}", text(&again));
    let taken = keystead(home.path(), &["recipe", "new", "align", "--runtime", "wasm"]);
    assert!(text(&taken).contains("is a recipe of this program"), "{}", text(&taken));
    let list = keystead(home.path(), &["recipe", "list"]);
    assert!(text(&list).contains("value-at-risk"), "{}", text(&list));
}

#[test]
fn a_check_finds_wrong_programs_and_rules_that_find_nothing() {
    let _machine = usual();
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    // The program gives other numbers than the reference, the checker and the golden result.
    new(home, "wrong", "wasm", "self-checking");
    change(home, "wrong/kernel/program.wat", "(i64.const 2147483648)", "(i64.const 255)");
    assert_fails(home, "wrong", "own reference", "unit 0 differs");
    assert_fails(home, "wrong", "check", "calls a right output wrong");
    assert_fails(home, "wrong", "golden result", "line 2");
    // A checker that looks at nothing.
    new(home, "blind", "wasm", "self-checking");
    change(
        home,
        "blind/kernel/checker.wat",
        "(local.set $end (i32.add (local.get $unit) (local.get $unit_len)))",
        "(return (call $verdict (i32.const 0)))",
    );
    assert_fails(home, "blind", "check", "a wrong output passes: zeros");
    // A checker that gives up.
    new(home, "mute", "wgsl", "self-checking");
    change(
        home,
        "mute/kernel/checker.wat",
        "(local.set $end (i32.add (local.get $unit) (local.get $unit_len)))",
        "(return (i64.const -7))",
    );
    assert_fails(home, "mute", "check", "error code -7");
    // A tolerance within which everything lies.
    new(home, "wide", "wgsl", "tolerance");
    change(home, "wide/recipe.toml", "absolute = 1e-5", "absolute = 1e9");
    assert_fails(home, "wide", "check", "a wrong output passes: zeros");
    // One that an honest vendor breaks.
    new(home, "narrow", "wgsl", "tolerance");
    change(home, "narrow/recipe.toml", "absolute = 1e-5\nrelative = 1e-5", "absolute = 0\nrelative = 0");
    assert_fails(home, "narrow", "tolerance", "an honest vendor may give another result");
    // Limits that a unit of ordinary size does not keep.
    new(home, "tight", "wasm", "exact");
    change(home, "tight/recipe.toml", "fuel_max = 2000000000", "fuel_max = 500000");
    assert_fails(home, "tight", "limits", "limit hit: fuel");
}

#[test]
fn a_check_names_every_broken_rule_of_a_kernel_at_once() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    new(home, "rules", "wgsl", "exact");
    change(home, "rules/kernel/program.wgsl", "@workgroup_size(64)", "@workgroup_size(512)");
    change(home, "rules/kernel/program.wgsl", "output[id.x] = item", "output[id.x] = u32(f32(id.y)) + item");
    let (passed, said) = check(home, "rules");
    assert!(!passed && said.contains("workgroup too large") && said.contains("no floating-point values"), "{said}");
    assert!(said.contains("next: change the program at the place named"), "{said}");
    fs::remove_file(home.join("rules/kernel/program.wgsl")).unwrap();
    fs::remove_file(home.join("rules/reference/reference.wat")).unwrap();
    let (_, said) = check(home, "rules");
    assert!(said.contains("kernel/program.wgsl") && said.contains("reference/reference.wat"), "{said}");
    assert_eq!(said.matches("FAILED").count(), 2, "{said}");
    let none = keystead(home, &["recipe", "check", "nothing"]);
    assert!(text(&none).contains("keystead recipe new NAME"), "{}", text(&none));
}

#[test]
fn a_changed_golden_result_is_written_when_its_author_says_so() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    new(home, "mine", "wasm", "exact");
    change(home, "mine/recipe.toml", "count = \"100\"", "count = \"90\"");
    assert_fails(home, "mine", "golden result", "roots.tsv differs");
    let written = keystead(home, &["recipe", "check", "./mine", "--write-golden"]);
    assert!(written.status.success() && text(&written).contains("written"), "{}", text(&written));
    assert!(check(home, "mine").0);
    assert_eq!(fs::read_to_string(home.join("mine/golden/roots.tsv")).unwrap().lines().count(), 91);
}

/// Recipes of a folder through the market: one that the manifest plans, one whose planner and assembler are programs.
#[test]
fn recipes_in_folders_are_ordered_run_checked_and_paid() {
    let network = Network::start(1);
    let provider = Provider::start(&network, &network.directory.join("provider"));
    let home = &network.directory;
    let run = |recipe: &str, out: &str, more: &[&str]| {
        let url = network.url(0);
        let mut arguments = vec!["run", recipe, "--dev-account", "2", "--rpc", &url, "--out", out];
        arguments.extend(more);
        keystead(home, &arguments)
    };
    for (name, runtime, class) in
        [("plain", "wasm", "exact"), ("near", "wgsl", "tolerance"), ("sure", "wgsl", "self-checking")]
    {
        new(home, name, runtime, class);
        if name == "plain" {
            let_it_speak(home, name);
        }
        let set = ["-v", "--set", "first=1000000", "--set", "count=25000", "--set", "numbers-per-unit=10000"];
        let done = run(&format!("./{name}"), &format!("{name}-result"), &set);
        assert_eq!(done.status.code(), Some(0), "{}", text(&done));
        let out = home.join(format!("{name}-result"));
        let job = job(&out);
        assert_eq!((&job["status"], &job["spec"]["unitCount"]), (&"accepted".into(), &3.into()), "{job}");
        let table = fs::read_to_string(out.join("roots.tsv")).unwrap();
        assert_eq!(table.lines().count(), 25_001);
        assert!(table.starts_with("number\troot\n1000000\t1000\n"), "{}", &table[..60]);
        assert!(verify(&network, &out).status.success());
        if name == "plain" {
            // Each unit said its line once, which its customer read live; checks that ran it again, and the provider's own log, told nobody.
            let log = fs::read_to_string(out.join("provider.log")).unwrap();
            for unit in 0..3 {
                let says = format!("says: its program says unit={unit}: good news?");
                assert_eq!(log.matches(&says).count(), 1, "{says:?} in: {log}");
                assert!(text(&done).contains(&says), "no {says:?} in: {}", text(&done));
            }
            assert!(!provider.text().contains("good news"), "{}", provider.text());
        }
    }
    write_programmed(home, "programmed", 0, 1);
    fs::write(home.join("words.txt"), "some words").unwrap();
    let done = run("./programmed", "programmed-result", &["--input", "text=words.txt"]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done));
    // Count of the outputs, and each with its length: what the assembler was given.
    let joined = fs::read(home.join("programmed-result/out.bin")).unwrap();
    assert_eq!(joined[..8], [2, 0, 0, 0, 8, 0, 0, 0], "{joined:?}");
    // A planner that refuses: its words reach the person, and nothing was ordered.
    write_programmed(home, "refusing", 1, 1);
    let refused = run("./refusing", "refused-result", &["--input", "text=words.txt"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains("the recipe's planner refuses: "), "{}", text(&refused));
    assert!(!home.join("refused-result").exists());
    // The table that the assembly makes needs rows of another length than the program writes: nobody's fault but the recipe's.
    new(home, "torn", "wasm", "exact");
    change(home, "torn/recipe.toml", "[items]\noutput_bytes = 4 ", "[items]\noutput_bytes = 8 ");
    change(home, "torn/recipe.toml", "type = \"u32\"", "type = \"u64\"");
    let torn = run("./torn", "torn-result", &["--set", "count=10"]);
    assert_eq!(torn.status.code(), Some(3), "{}", text(&torn));
    assert!(!home.join("torn-result/roots.tsv").exists());
    wait_until("no order is open", || {
        (balance(&network, MARKET) == 0 || home.join("torn-result/order.json").exists()).then_some(())
    });
}

/// Has the program of a new recipe say a line in each unit.
fn let_it_speak(home: &Path, name: &str) {
    let file = format!("{name}/kernel/program.wat");
    let import = "(module\n  (import \"keystead\" \"log\" (func $log (param i32 i32)))\n";
    change(home, &file, "(module\n", import);
    let memory = "  (memory (export \"memory\") 1)\n";
    change(home, &file, memory, &format!("{memory}  (data (i32.const 16) \"good news\\1b\")\n"));
    let first = "    (local.set $number (i64.load (local.get $unit)))\n";
    change(home, &file, first, &format!("    (call $log (i32.const 16) (i32.const 10))\n{first}"));
}

/// A recipe with a planner that plans two units of a word each (or refuses, with status 1), and an assembler that gives its input back. With several segments
/// each puts the common input before what it begins with.
pub(crate) fn write_programmed(home: &Path, name: &str, status: u32, segments: u32) {
    let folder = home.join(name);
    fs::create_dir(&folder).unwrap();
    let manifest = format!(
        r#"name = "{name}"
title = "Programs"
summary = "Plans and assembles by programs of its own."
runtime = "wasm/1"
class = "exact"
program = "copy.wat"
limits = {{ wall_ms_max = 10000, fuel_max = 1000000, memory_bytes_max = 1048576, output_bytes_max = 65536, segments_max = 64 }}
plan = {{ units = "program", program = "plan.wat", fuel_max = 1000000 }}
assembly = {{ files = "program", program = "join.wat", fuel_max = 1000000 }}
inputs = [{{ name = "text", kinds = ["txt"], help = "A text." }}]
outputs = [{{ file = "out.bin", help = "Outputs." }}]
"#
    );
    let head = r#"(module (memory (export "memory") 4) (global $at (mut i32) (i32.const 1024))
        (func (export "alloc") (param i32) (result i32)
          (global.get $at) (global.set $at (i32.add (global.get $at) (local.get 0))))"#;
    let run = r#"(func (export "run") (param i32 i32 i32 i32) (result i64)"#;
    let copy = format!(
        "{head}{run} (i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32)) (i64.extend_i32_u (i32.add (local.get 1) (local.get 3))))))"
    );
    let answer = [status, segments, 0, 0, 0, 0, 0, 4, 77, 2, 4, 1, 4, 2];
    let data: String =
        answer.iter().flat_map(|word: &u32| word.to_le_bytes()).map(|byte| format!("\\{byte:02x}")).collect();
    let plan = format!("{head}(data (i32.const 0) \"{data}\"){run} (i64.const {})))", answer.len() * 4);
    let join = format!(
        "{head}{run} (i64.store (i32.const 0) (i64.shl (i64.extend_i32_u (local.get 3)) (i64.const 32)))
          (memory.copy (i32.const 8) (local.get 2) (local.get 3)) (i64.extend_i32_u (i32.add (local.get 3) (i32.const 8)))))"
    );
    for (file, text) in [("recipe.toml", manifest), ("copy.wat", copy), ("plan.wat", plan), ("join.wat", join)] {
        fs::write(folder.join(file), text).unwrap();
    }
}
