//! Real workers: every way in which a unit can end, and that no process stays behind.
//!
//! This target has its own `main` because it is also the worker binary: `<this> worker <runtime>` is a worker, `<this> middle` is a parent that will be
//! killed, anything else runs the tests (an argument without a dash is a filter, as with the usual harness).
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)] // Tests: a panic is a failure.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)] // A test harness prints and starts processes.

#[path = "workers/machine.rs"]
mod machine;
#[path = "workers/process.rs"]
mod process;
#[path = "workers/touchstone.rs"]
mod touchstone;
#[path = "workers/wasm.rs"]
mod wasm;
#[path = "workers/wgsl.rs"]
mod wgsl;

use std::{panic::catch_unwind, process::ExitCode, time::Instant};

/// A test's name and body.
type Test = (&'static str, fn());

/// Lists the tests of a module as `(name, function)` pairs.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub(crate) const TESTS: &[crate::Test] = &[$((concat!(module_path!(), "::", stringify!($name)), $name)),*];
    };
}
pub(crate) use tests;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|first| first == keystead_runner::WORKER_SUBCOMMAND).is_some() {
        return ExitCode::from(keystead_runner::worker_main(arguments));
    }
    if arguments.next_if(|first| first == "middle").is_some() {
        process::middle();
    }
    let words: Vec<String> = arguments.filter_map(|word| word.into_string().ok()).collect();
    let filter = words.iter().find(|word| !word.starts_with('-'));
    let wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter.as_str()));
    let all = [wasm::TESTS, wgsl::TESTS, touchstone::TESTS, process::TESTS].concat();
    let chosen: Vec<Test> = all.into_iter().filter(|(name, _)| wanted(name)).collect();
    if words.iter().any(|word| word == "--list") {
        chosen.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", chosen.len());
    let mut failed = Vec::new();
    for (name, test) in &chosen {
        let started = Instant::now();
        let outcome = catch_unwind(test);
        println!(
            "test {name} ... {} ({} ms)",
            if outcome.is_ok() { "ok" } else { "FAILED" },
            started.elapsed().as_millis()
        );
        if outcome.is_err() {
            failed.push(*name);
        }
    }
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    failed.iter().for_each(|name| println!("failed: {name}"));
    println!(
        "\ntest result: {verdict}. {} passed; {} failed; 0 ignored; 0 measured; 0 filtered out",
        chosen.len() - failed.len(),
        failed.len()
    );
    ExitCode::from(u8::from(!failed.is_empty()))
}
