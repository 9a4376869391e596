//! Parts that programs of our packages measure, without a network.

use super::{Bench, Row};
use crate::{bench::printed, process::run as run_command};
use eyre::{Context as _, Result, ensure, eyre};
use serde_json::Value;
use std::{fs, process::Command};

/// Units of a provider over which the computed overhead is taken: the least of the goal.
const SETTLED_UNITS: u32 = 1_000;
/// Honest units that must be simulated.
const UNITS_MIN: f64 = 1e6;

fn example(bench: &Bench, name: &str) -> Command {
    Command::new(bench.debug.join("examples").join(name))
}

pub(super) fn planner(bench: &Bench) -> Result<Vec<Row>> {
    let mut program = example(bench, "planner");
    program.arg(bench.many(100_000, 10_000).to_string());
    printed::rows(&mut program)
}

pub(super) fn voucher(bench: &Bench) -> Result<Vec<Row>> {
    let mut program = example(bench, "verify");
    program.arg(bench.many(20_000, 1_000).to_string());
    printed::rows(&mut program)
}

pub(super) fn overhead(bench: &Bench) -> Result<Vec<Row>> {
    let mut program = example(bench, "overhead");
    program.args([bench.many(10, 1), bench.many(6, 2)].map(|number| number.to_string()));
    // A difference of two times can come out below zero.
    Ok(printed::rows(&mut program)?.into_iter().map(Row::may_be_zero).collect())
}

/// Honest work of other vendors by the recipes' own rules; a quarter of an hour.
pub(super) fn vendors(bench: &Bench) -> Result<Vec<Row>> {
    let mut program = example(bench, "second_vendor");
    let (units, cheats) = (bench.many(10_000, 60).to_string(), bench.many(100, 2).to_string());
    program.args(["--units", &units, "--cheat-units", &cheats]);
    // There is a cheat that no rule sees.
    Ok(printed::rows(&mut program)?.into_iter().map(Row::may_be_zero).collect())
}

/// What the audit costs: simulated, and by the rule of specs/0008-audit.md section 5.
pub(super) fn audit(bench: &Bench) -> Result<Vec<Row>> {
    let folder = tempfile::Builder::new().prefix("keystead-audit-").tempdir()?;
    let file = folder.path().join("outcome.json");
    let providers = bench.many(28_000, 1_000).to_string();
    let mut program = Command::new(bench.debug.join("keystead-sim-market"));
    program.args(["--providers", &providers, "--hours", "0.5", "--scale", "1", "--json"]).arg(&file);
    run_command(&mut program)?;
    let outcome: Value = serde_json::from_str(&fs::read_to_string(&file)?).wrap_err("the simulation wrote no JSON")?;
    let number = |name: &str| {
        let value = outcome.pointer(&format!("/world/{name}")).and_then(Value::as_f64);
        value.ok_or_else(|| eyre!("the simulation does not say {name}"))
    };
    let (units, slashes) = (number("unitsPaid")?, number("falseSlashes")?);
    ensure!(bench.many(1, 0) == 0 || units >= UNITS_MIN, "too few simulated units: {units}");
    let seed = &outcome["seed"];
    let simulated = Row::new(
        "audit overhead of providers from 1,000 verified units, simulated",
        number("overheadSettled")? * 100.0,
        "%",
    )
    .spread(format!("re-runs per unit paid; {providers} providers, {units} units, seed {seed}"))
    .goal("<= 5")
    .less_is_better(true);
    let computed = Row::new(
        "audit overhead of a provider's first 1,000 units, computed",
        computed(SETTLED_UNITS, 0.03) * 100.0,
        "%",
    )
    .spread("rule of specs/0008-audit.md section 5, p = 3 %, k = 1")
    .goal("<= 5")
    .less_is_better(true);
    let slashed = Row::new("honest providers slashed, simulated", slashes, "providers")
        .spread(format!("of {units} honest units, seed {seed}"))
        .goal("0")
        .less_is_better(true)
        .may_be_zero();
    Ok(vec![simulated, computed, slashed])
}

/// Checks per unit over a provider's first units: the first ten are all checked, then the rate holds, or one in as many as are verified.
fn computed(units: u32, rate: f64) -> f64 {
    let checks = (0..units).map(|verified| if verified < 10 { 1.0 } else { rate.max(1.0 / f64::from(verified)) });
    checks.sum::<f64>() / f64::from(units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_computed_overhead_is_the_rate_and_what_the_beginning_costs() {
        // 10 whole units, harmonic numbers from 10 to 33, then 3 %.
        let beginning: f64 = 10.0 + (10..=33).map(|verified| 1.0 / f64::from(verified)).sum::<f64>();
        let expected = (beginning + 0.03 * 966.0) / 1_000.0;
        assert!((computed(1_000, 0.03) - expected).abs() < 1e-9, "{}", computed(1_000, 0.03));
        assert!((computed(10, 0.03) - 1.0).abs() < 1e-12);
        assert!(computed(1_000_000, 0.03) < 0.0301);
    }
}
