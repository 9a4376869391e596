//! Simulates the compute market and prints what came out: `keystead-sim-market [--seed N] [--providers N] [--hours H] [--scale N] [--json FILE]`.
//!
//! # Design
//! Two halves. [`world`] has many providers who come and go, in one of its runs with cheats among them; [`attacks`] plays the cheats of the attack
//! table one by one, many times. Both take their verdicts from `keystead_audit`, draw by draw and finding by finding; the formulas beside them come
//! from its `economics` and from the textbook. [`money`] adds up what a paid unit costs. [`loopback`] is the market of one machine, for the comparison
//! with real processes. A run is a function of its arguments.
//!
//! # Not here
//! Real processes, sockets, chains: those are in the end-to-end tests of `node`. Bargaining: units cost 1.

// Figures for people: nothing here enters a price, a verdict or a hash of the product.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::float_arithmetic,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod attacks;
mod loopback;
mod money;
mod random;
mod report;
mod seats;
mod world;

use std::process::ExitCode;

/// The share of providers that cheat in the run that has cheats.
const CHEATING: f64 = 0.2;

/// What was asked for.
struct Options {
    seed: u64,
    providers: u32,
    hours: f64,
    scale: u64,
    json: Option<String>,
}

const USAGE: &str = "\
usage: keystead-sim-market [--seed N] [--providers N] [--hours H] [--scale N] [--json FILE]
  --seed N        of everything random (default 20261128)
  --providers N   machines that offer work, 1 to 1000000 (default 100000)
  --hours H       simulated hours, above 0 to 48 (default 1)
  --scale N       multiplies the trials of each attack, 1 to 1000 (default 10)
  --json FILE     also write the results there
or:    keystead-sim-market plan FILE | predict FILE
  what `cargo xtask sim --calibrate` asks: the plan of the shape in a JSON file; a prediction for the plan and the measured delays in one";

/// What the two commands for calibration read.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    plan: loopback::Plan,
    measured: loopback::Measured,
}

/// Answers `plan FILE` and `predict FILE` on standard output, in JSON; `None` for other arguments.
fn calibration(arguments: &[String]) -> Option<Result<String, String>> {
    let [command, path] = arguments else { return None };
    let read = || std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"));
    let odd = |error: serde_json::Error| format!("{path}: {error}");
    match command.as_str() {
        "plan" => Some(read().and_then(|text| {
            let plan = loopback::plan(serde_json::from_str(&text).map_err(odd)?)?;
            serde_json::to_string(&plan).map_err(odd)
        })),
        "predict" => Some(read().and_then(|text| {
            let Question { plan, measured } = serde_json::from_str(&text).map_err(odd)?;
            serde_json::to_string(&loopback::predict(&plan, &measured)?).map_err(odd)
        })),
        _ => None,
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match calibration(&arguments) {
        Some(Ok(answer)) => {
            println!("{answer}");
            return ExitCode::SUCCESS;
        }
        Some(Err(problem)) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
        None => {}
    }
    let options = match options(arguments.into_iter()) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let report = match simulate(&options) {
        Ok(report) => report,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::FAILURE;
        }
    };
    println!("{}", report.markdown());
    if let Some(path) = options.json
        && let Err(error) = std::fs::write(&path, report.json())
    {
        eprintln!("cannot write {path}: {error}");
        return ExitCode::FAILURE;
    }
    if report.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs everything.
fn simulate(options: &Options) -> Result<report::Report, String> {
    let gas = money::Gas::measured()?;
    let usual = world::Scenario::new(options.seed, options.providers, options.hours);
    let scenarios = [
        usual,
        world::Scenario { session_hours: 0.4, away_hours: 0.2, ..usual },
        world::Scenario { cheating: CHEATING, latency: true, ..usual },
        world::Scenario { load: world::OVERLOAD, ..usual },
    ];
    let [world, churn, cheats, overload] = scenarios.map(world::run);
    let far = world::Scenario { latency: true, ..usual };
    let [latency, crooks] = [far, world::Scenario { crooked: true, ..far }].map(world::run);
    let bills = [&world, &churn, &cheats, &overload].map(|outcome| money::Bill::new(outcome, &gas));
    let attacks = attacks::all(options.seed, options.scale);
    let Options { seed, providers, hours, .. } = *options;
    Ok(report::Report { seed, providers, hours, world, churn, cheats, overload, latency, crooks, gas, bills, attacks })
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { seed: 20_261_128, providers: 100_000, hours: 1.0, scale: 10, json: None };
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        let bad = || format!("{name}: {value:?} is not a number in its range");
        match name.as_str() {
            "--seed" => options.seed = value.parse().map_err(|_| bad())?,
            "--providers" => options.providers = in_range(&value, 1, 1_000_000).ok_or_else(bad)?,
            "--scale" => options.scale = in_range(&value, 1, 1_000).map(u64::from).ok_or_else(bad)?,
            "--hours" => {
                let hours = value.parse::<f64>().ok().filter(|hours| *hours > 0.0 && *hours <= 48.0);
                options.hours = hours.ok_or_else(bad)?;
            }
            "--json" => options.json = Some(value),
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(options)
}

fn in_range(text: &str, least: u32, most: u32) -> Option<u32> {
    text.parse().ok().filter(|number| (least..=most).contains(number))
}
