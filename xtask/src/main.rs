//! `cargo xtask`: every task that a developer or CI runs on this repository.
//!
//! # Design
//! Each task is a module with a `run`. Tasks call ordinary tools (cargo, npm, python) as a person would and say each
//! command before they run it. Nothing here is needed to build the product.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks to its user")]

mod attacks;
mod bench;
mod contracts;
mod demo;
mod docs;
mod lint;
mod measure;
mod network;
mod parties;
mod process;
mod recipes;
mod sim;
mod tally;
mod test;
mod tidy;
mod tools;
mod up;
mod vectors;

use eyre::{Result, bail};
use std::{path::Path, process::ExitCode};

const HELP: &str = "\
cargo xtask TASK

  demo [--keep]       the whole market once, in about six minutes: four validators, eight providers of whom one cheats, one dies and
                      one is an owner who comes back; every recipe, every certificate, every wei. --keep leaves the results' folder;
                      --keystead FILE uses this program instead of building one
  up                  start a development network of four validators and keep it running; --free-ports takes ports that are free,
                      --keystead FILE uses this program instead of building one, --until-eof ends it with its standard input
  test [--all]        everything that CI runs; ends with `N passed, N failed`; --all also runs the long suites and the demo
  test --only STEP    the steps whose name contains STEP, for instance `recipes` or `rust`, or `demo`
  test --vectors      the outside vectors of Ethereum alone, with counts per suite
  ci                  the same as test
  docs [NAME]         run every console block of the guides (whose name contains NAME) and compare what it prints
  lint                rustfmt and clippy, with and without the feature `validator`
  tidy                the tree's own rules: edges, sizes, names, module docs
  bench [--quick]     measure this machine and write docs/BENCHMARKS.md; --quick compares with the committed figures
  bench --page        write docs/BENCHMARKS.md anew, after its notes were changed
  bench --builds [demo|test [FOLDER]]
                      measure how long they take in a fresh clone, cold and warm (an hour and a half for both);
                      FOLDER: go on where a run failed
  bench --state [--quick]
                      measure the state engine with ten million accounts and the import of blocks (a quarter of an hour);
                      --quick with few, and without keeping the figures
  bench --peer [NAME] measure throughput beside anvil, in turns (a quarter of an hour); scenarios whose name contains NAME
                      are only printed
  bench --market [--quick] [PART]
                      measure the compute market (eleven minutes); PART: only the parts whose name contains it, of planner, voucher,
                      overhead, audit, rest, start, units, owner, and, where they are named, map (4,096 units by eight providers, a
                      quarter of an hour) and vendors (10,000 real units, half an hour); --quick shows that they run, and keeps
                      no figures
  sim                 simulate the compute market and write docs/SIMULATION.md (three minutes)
  sim --calibrate [--quick]
                      run the same orders, kills and restarts by 24 real providers and by the simulation, and write how far it is
                      off (a quarter of an hour); --quick shows that it works
  contracts [--check] build the Solidity artifacts, or check that the committed ones are what the sources give
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  because: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Result<ExitCode> {
    let root = process::root()?;
    match words {
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        ["demo", options @ ..] => demo::run(&root, &demo::Options::parse(options)?).map(|()| ExitCode::SUCCESS),
        ["up", options @ ..] => up::run(&root, up::Options::parse(options)?),
        ["test" | "ci"] => test::run(&root, test::Scope::Usual, None),
        ["test" | "ci", "--all"] => test::run(&root, test::Scope::All, None),
        ["test" | "ci", "--vectors"] => vectors::run(&root),
        ["test", "--only", step] => test::run(&root, test::Scope::Usual, Some(step)),
        ["docs"] => guides(&root, None),
        ["docs", name] => guides(&root, Some(name)),
        ["lint"] => lint::run(&root).map(|()| ExitCode::SUCCESS),
        ["tidy"] => tidy::run(&root).map(|()| ExitCode::SUCCESS),
        ["bench"] => bench::run(&root, bench::Mode::Write).map(|()| ExitCode::SUCCESS),
        ["bench", "--quick"] => bench::run(&root, bench::Mode::Quick).map(|()| ExitCode::SUCCESS),
        ["bench", "--page"] => bench::page(&root).map(|()| ExitCode::SUCCESS),
        ["bench", "--builds"] => bench::builds(&root, None, None).map(|()| ExitCode::SUCCESS),
        ["bench", "--builds", task @ ("demo" | "test")] => {
            bench::builds(&root, Some(task), None).map(|()| ExitCode::SUCCESS)
        }
        ["bench", "--builds", task @ ("demo" | "test"), folder] => {
            bench::builds(&root, Some(task), Some(Path::new(folder))).map(|()| ExitCode::SUCCESS)
        }
        ["bench", "--state"] => bench::state(&root, bench::Size::Full).map(|()| ExitCode::SUCCESS),
        ["bench", "--state", "--quick"] => bench::state(&root, bench::Size::Quick).map(|()| ExitCode::SUCCESS),
        ["bench", "--market"] => bench::market(&root, bench::Mode::Write, None).map(|()| ExitCode::SUCCESS),
        ["bench", "--market", "--quick"] => bench::market(&root, bench::Mode::Quick, None).map(|()| ExitCode::SUCCESS),
        ["bench", "--market", "--quick", part] => {
            bench::market(&root, bench::Mode::Quick, Some(part)).map(|()| ExitCode::SUCCESS)
        }
        ["bench", "--market", part] => bench::market(&root, bench::Mode::Write, Some(part)).map(|()| ExitCode::SUCCESS),
        ["bench", "--peer"] => bench::peer(&root, None).map(|()| ExitCode::SUCCESS),
        ["bench", "--peer", name] => bench::peer(&root, Some(name)).map(|()| ExitCode::SUCCESS),
        ["sim"] => sim::run(&root).map(|()| ExitCode::SUCCESS),
        ["sim", "--calibrate"] => sim::calibrate(&root, sim::Length::Full).map(|()| ExitCode::SUCCESS),
        ["sim", "--calibrate", "--quick"] => sim::calibrate(&root, sim::Length::Short).map(|()| ExitCode::SUCCESS),
        ["contracts"] => contracts::run(&root, contracts::Mode::Write).map(|()| ExitCode::SUCCESS),
        ["contracts", "--check"] => contracts::run(&root, contracts::Mode::Check).map(|()| ExitCode::SUCCESS),
        other => bail!("unknown task `{}`: `cargo xtask help` lists the tasks", other.join(" ")),
    }
}

fn guides(root: &Path, only: Option<&str>) -> Result<ExitCode> {
    let tally = docs::run(root, only)?;
    println!("{tally}");
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
