//! Hostile jobs and hostile workers: each has a name and an expected end, the host is the same before and after, and an honest job runs right
//! afterwards. The table is docs/sandbox.md; a test compares its names with these.
//!
//! This target has its own `main` because it is also the worker binary: `<this> worker <runtime>` is an honest worker, or, if the variable `HOSTILE` names
//! an attack, a worker that confines itself as an honest one does and then attacks with system calls of its own: what a job could do that broke out
//! of its engine.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)] // Tests: a panic is a failure.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)] // A test harness prints and starts processes.

#[cfg(target_os = "linux")]
#[path = "hostile_jobs/attacks.rs"]
mod attacks;
#[path = "hostile_jobs/host.rs"]
mod host;
#[path = "workers/machine.rs"]
#[allow(dead_code)] // Shared with the target `workers`, which uses all of it.
mod machine;
#[cfg(target_os = "linux")]
#[path = "hostile_jobs/native.rs"]
mod native;
#[path = "hostile_jobs/paper.rs"]
mod paper;
#[path = "hostile_jobs/wasm.rs"]
mod wasm;
#[path = "hostile_jobs/wgsl.rs"]
mod wgsl;

use std::{panic::catch_unwind, process::ExitCode, time::Instant};

/// A test's name and body.
type Test = (String, Box<dyn Fn() + std::panic::UnwindSafe + std::panic::RefUnwindSafe>);

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|first| first == keystead_runner::WORKER_SUBCOMMAND).is_some() {
        #[cfg(target_os = "linux")]
        if let Some(attack) = std::env::var_os("HOSTILE") {
            attacks::main(&attack.into_string().unwrap(), arguments);
        }
        return ExitCode::from(keystead_runner::worker_main(arguments));
    }
    let words: Vec<String> = arguments.filter_map(|word| word.into_string().ok()).collect();
    let filter = words.iter().find(|word| !word.starts_with('-'));
    let mut all: Vec<Test> = Vec::new();
    all.extend(paper::tests());
    #[cfg(target_os = "linux")]
    all.extend(native::tests());
    all.extend(wasm::tests());
    all.extend(wgsl::tests());
    let total = all.len();
    all.retain(|(name, _)| filter.is_none_or(|filter| name.contains(filter.as_str())));
    if words.iter().any(|word| word == "--list") {
        all.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", all.len());
    let mut failed = Vec::new();
    for (name, test) in &all {
        let started = Instant::now();
        let outcome = catch_unwind(test);
        let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("test {name} ... {verdict} ({} ms)", started.elapsed().as_millis());
        if outcome.is_err() {
            failed.push(name);
        }
    }
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    failed.iter().for_each(|name| println!("failed: {name}"));
    println!(
        "\ntest result: {verdict}. {} passed; {} failed; 0 ignored; 0 measured; {} filtered out",
        all.len() - failed.len(),
        failed.len(),
        total - all.len()
    );
    ExitCode::from(u8::from(!failed.is_empty()))
}
