//! How often honest work of another vendor is judged wrong or unpaid by the recipes' own rules, and how often cheats are: many real units on the
//! reference interpreter and on its perturbed twin.
//!
//! `cargo run -p keystead-recipes --example second_vendor -- [--units N] [--cheat-units N] [--seed N]` (10,000, 100 and 20261128 if absent). All cores;
//! a function of its arguments. Exits with 1 if an honest unit was wrong.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a measuring program: it prints, and a panic is a failure"
)]

#[path = "../tests/vendors/mod.rs"]
mod vendors;
#[path = "../tests/wasm_runner/mod.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod wasm_runner;

use keystead_audit::Judgement;
use std::{
    collections::{BTreeMap, VecDeque},
    env,
    error::Error,
    process::ExitCode,
    sync::Mutex,
    thread,
    time::Instant,
};
use vendors::{CLUSTER, Count, EIGHT, PICTURE, PRODUCT, Work, cheats, honest, mixed};

/// What is run, and its parts of a hundred of all units: by what a unit costs.
const WORKS: [(Work, u64); 4] = [(EIGHT, 46), (CLUSTER, 5), (PICTURE, 3), (PRODUCT, 46)];
/// Units that one thread takes at once: each such chunk has vendors of its own.
const CHUNK: u64 = 16;

/// A part of the work for one thread.
#[derive(Clone, Copy)]
enum Task {
    Honest { work: usize, seed: u64, units: u64 },
    Cheats { work: usize, seed: u64, units: u64 },
}

/// What came out of a work.
#[derive(Clone, Default)]
struct Outcome {
    units: u64,
    honest: Count,
    /// The first honest units that were not right.
    odd: Vec<String>,
    cheats: Vec<(&'static str, Count)>,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let (mut units, mut cheat_units, mut seed) = (10_000_u64, 100_u64, 20_261_128_u64);
    let mut arguments = env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?.parse()?;
        match name.as_str() {
            "--units" => units = value,
            "--cheat-units" => cheat_units = value,
            "--seed" => seed = value,
            _ => return Err(format!("unknown option {name}").into()),
        }
    }
    let begin = Instant::now();
    let outcomes = all(&tasks(units, cheat_units, seed));
    Ok(report(&outcomes, seed, begin))
}

fn tasks(units: u64, cheat_units: u64, seed: u64) -> VecDeque<Task> {
    let mut tasks = VecDeque::new();
    for (work, (_, share)) in WORKS.iter().enumerate() {
        for (kind, mut left) in [(0, (units * share).div_ceil(100)), (1, cheat_units)] {
            for chunk in 0.. {
                let units = left.min(CHUNK);
                if units == 0 {
                    break;
                }
                left -= units;
                let seed = mixed(&[seed, work as u64, kind, chunk]);
                tasks.push_back(if kind == 0 {
                    Task::Honest { work, seed, units }
                } else {
                    Task::Cheats { work, seed, units }
                });
            }
        }
    }
    tasks
}

fn all(tasks: &VecDeque<Task>) -> Vec<Outcome> {
    let (queue, outcomes) = (Mutex::new(tasks.clone()), Mutex::new(vec![Outcome::default(); WORKS.len()]));
    let next = || queue.lock().unwrap().pop_front();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                while let Some(task) = next() {
                    match task {
                        Task::Honest { work, seed, units } => {
                            let mut odd = Vec::new();
                            let count = honest(WORKS[work].0, seed, units, &mut |_, judgement| {
                                if !matches!(judgement, Judgement::Right) {
                                    odd.push(format!("{judgement:?}"));
                                }
                            });
                            let outcome = &mut outcomes.lock().unwrap()[work];
                            outcome.units += units;
                            outcome.honest.join(&count);
                            outcome.odd.extend(odd);
                            outcome.odd.truncate(3);
                        }
                        Task::Cheats { work, seed, units } => {
                            let counts = cheats(WORKS[work].0, seed, units);
                            let outcome = &mut outcomes.lock().unwrap()[work];
                            outcome.cheats.resize(counts.len(), ("", Count::default()));
                            for ((name, sum), (cheat, count)) in outcome.cheats.iter_mut().zip(&counts) {
                                *name = cheat.name;
                                sum.join(count);
                            }
                        }
                    }
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}

fn share(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

fn report(outcomes: &[Outcome], seed: u64, begin: Instant) -> ExitCode {
    println!("| work | who | units | judged | right | unpaid | wrong | inconclusive |");
    println!("|---|---|---|---|---|---|---|---|");
    let line = |work: &Work, who: &str, units: u64, count: &Count| {
        let Count { right, unpaid, wrong, inconclusive } = count;
        let all = count.all();
        println!(
            "| {}: {} | {who} | {units} | {all} | {right} | {unpaid} | {wrong} | {inconclusive} |",
            work.recipe, work.what
        );
    };
    let (mut units, mut honest) = (0, Count::default());
    let mut cheats: BTreeMap<&str, (Count, Vec<&str>)> = BTreeMap::new();
    for ((work, _), outcome) in WORKS.iter().zip(outcomes) {
        line(work, "honest, another vendor", outcome.units, &outcome.honest);
        units += outcome.units;
        honest.join(&outcome.honest);
        for (name, count) in &outcome.cheats {
            line(work, name, count.all(), count);
            let (sum, of) = cheats.entry(*name).or_default();
            sum.join(count);
            of.push(work.what);
        }
    }
    for (outcome, (work, _)) in outcomes.iter().zip(WORKS) {
        outcome.odd.iter().for_each(|odd| println!("not right: {} ({}): {odd}", work.recipe, work.what));
    }
    println!("seed {seed}, {} s", begin.elapsed().as_secs());
    println!(
        "row\thonest units of another vendor judged wrong\t{}\tunits\tof {units} real units judged {} times; unpaid {:.3} %; seed {seed}\t0\tless",
        honest.wrong,
        honest.all(),
        share(honest.unpaid, honest.all())
    );
    report_cheats(&cheats);
    if honest.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All cheats together, with those that the rules do not see by name, and each one.
fn report_cheats(cheats: &BTreeMap<&str, (Count, Vec<&str>)>) {
    let of_all = |number: fn(&Count) -> u64| cheats.values().map(|(count, _)| number(count)).sum::<u64>();
    let (all, wrong) = (of_all(Count::all), of_all(|count| count.wrong));
    let missed = cheats.iter().filter(|(_, (count, _))| count.wrong < count.all()).map(|(name, _)| *name);
    let missed: Vec<&str> = missed.collect();
    let missed = if missed.is_empty() { "none".to_owned() } else { missed.join(", ") };
    println!(
        "row\tcheap units judged wrong\t{:.2}\t%\t{wrong} of {all}; not always seen: {missed}\t-\tmore",
        share(wrong, all)
    );
    for (name, (count, of)) in cheats {
        let (wrong, all) = (count.wrong, count.all());
        println!(
            "row\tjudged wrong: {name}\t{:.2}\t%\t{wrong} of {all}; {}\t-\tmore",
            share(wrong, all),
            of.join(", ")
        );
    }
}
