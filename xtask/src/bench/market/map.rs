//! One map over some thousand units with eight real providers: how many units a second, what a unit costs its customer's own processor, how much longer it takes
//! than the work alone, and how soon a customer goes on that was killed in the middle.
//!
//! # Design
//! A turn is a network of its own: the same units first as one order at one provider, which says how long they run, then as a map, then as a map whose customer
//! is killed. What happened when is read from `--events`; the time of a map ends with the pay of its last window, not with the end of its channels.

use super::{
    Bench, Row, at,
    live::{INTERVAL_MS, PROVIDERS, always, order},
};
use crate::{
    network::Network,
    parties::{Customer, Micros, Provider, cpu_seconds, ms, now, proteins, wait_for},
};
use eyre::{Context as _, Result, ensure, eyre};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// Providers of a map: the test accounts 1 to 8.
const PROVIDER_COUNT: u32 = 8;
/// The test account that orders.
const CUSTOMER: usize = 9;
/// Sequences of each file: a unit is one pair of them.
const SIDE: usize = 64;
/// Residues of each: a pair has four million cells, some twenty milliseconds.
const RESIDUES: usize = 2_000;
/// No order and no map here takes longer.
const MAP_MAX: Duration = Duration::from_secs(900);
/// How often a customer's processor time is read.
const CPU_POLL: Duration = Duration::from_millis(20);

/// What one turn gave.
#[derive(Clone, Copy, Debug)]
struct Turn {
    units: f64,
    /// How long the units run, one after the other.
    work_ms: f64,
    wall_ms: f64,
    /// Processor time of the customer's own process.
    cpu_ms: f64,
    /// From the start of the second customer to the first window that it paid.
    resume_ms: f64,
}

/// A line of `--events`.
struct Told {
    at: Micros,
    event: String,
    facts: Value,
}

/// Where a turn takes place.
struct Scene<'b> {
    bench: &'b Bench,
    url: &'b str,
    folder: &'b Path,
    units: u64,
}

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let turns = (0..bench.many(3, 1)).map(|_| turn(bench)).collect::<Result<Vec<Turn>>>()?;
    let cores = thread::available_parallelism()?.get();
    // LOSSY: a few cores.
    let lanes = cores.min(PROVIDER_COUNT as usize) as f64;
    let of = |value: &dyn Fn(&Turn) -> f64| turns.iter().map(value).collect::<Vec<f64>>();
    let rate = of(&|turn| turn.units * 1_000.0 / turn.wall_ms);
    let cpu = of(&|turn| turn.cpu_ms / turn.units);
    let overhead = of(&|turn| (turn.wall_ms * lanes / turn.work_ms - 1.0) * 100.0);
    let resume = of(&|turn| turn.resume_ms);
    let each = of(&|turn| turn.work_ms / turn.units);
    let all = |values: &[f64]| values.iter().map(|value| format!("{value:.2}")).collect::<Vec<_>>().join(", ");
    let units = turns.first().map_or(0.0, |turn| turn.units);
    let what = format!(
        "{units:.0} units of {:.1} ms, {PROVIDER_COUNT} providers, 4 validators, one machine with {cores} cores",
        at(&each, 0.5)
    );
    Ok(vec![
        Row::new("units of one map, paid", at(&rate, 0.5), "units/s").spread(format!("turns {}; {what}", all(&rate))),
        Row::new("a map's customer, own processor time of a unit", at(&cpu, 0.5), "ms")
            .spread(format!("turns {}; its own process, without the workers of its checks", all(&cpu)))
            .less_is_better(true),
        Row::new("a map beyond the sum of its work", at(&overhead, 0.5), "%")
            .spread(format!(
                "turns {}; wall time from its start to its last pay, against the run of the same units at one provider divided by {lanes:.0} cores, which validators, customer and its checks use too",
                all(&overhead)
            ))
            .less_is_better(true),
        Row::new("a map's customer killed in the middle, start to the next pay", at(&resume, 0.5), "ms")
            .spread(format!("turns {}", all(&resume)))
            .less_is_better(true),
    ])
}

fn turn(bench: &Bench) -> Result<Turn> {
    let folder = tempfile::Builder::new().prefix("keystead-map-").tempdir()?;
    let network = Network::start(&bench.keystead, 4, INTERVAL_MS)?;
    let url = network.url(0)?;
    let mut providers = Vec::new();
    for account in 1..=PROVIDER_COUNT {
        let mut offer = always(bench, &url, account);
        offer.more.extend(["--watch-seconds".to_owned(), "2".to_owned()]);
        providers.push(Provider::spawn(&offer, &folder.path().join(format!("provider-{account}")))?);
    }
    providers.iter_mut().try_for_each(Provider::ready)?;
    let side = bench.many(SIDE, 8);
    for name in ["q", "t"] {
        proteins(&folder.path().join(format!("{name}.faa")), side, RESIDUES)?;
    }
    let units = u64::try_from(side.saturating_mul(side))?;
    let scene = Scene { bench, url: &url, folder: folder.path(), units };
    let first = providers.first().ok_or_else(|| eyre!("there is no provider"))?;
    let work_ms = scene.work(first)?;
    let (wall_ms, cpu_ms) = scene.whole()?;
    let resume_ms = scene.killed()?;
    // LOSSY: some thousand.
    Ok(Turn { units: units as f64, work_ms, wall_ms, cpu_ms, resume_ms })
}

impl Scene<'_> {
    fn with_job(&self, mut command: Command) -> Command {
        let file = |name: &str| self.folder.join(format!("{name}.faa")).display().to_string();
        command.arg(format!("--input=queries={}", file("q"))).arg(format!("--input=targets={}", file("t")));
        let cells = RESIDUES.saturating_mul(RESIDUES);
        command.args(["--set", &format!("cells-per-unit={cells}")]);
        command
    }

    /// How long one provider runs the units of one order, milliseconds.
    fn work(&self, provider: &Provider) -> Result<f64> {
        let mut command = self.with_job(order(self.bench, self.url, "align", CUSTOMER, &self.folder.join("order")));
        command.args(["--provider", PROVIDERS.first().copied().unwrap_or_default()]);
        let ran = Customer::spawn(command)?.finish(MAP_MAX)?;
        ensure!(ran.status.success(), "an order failed:\n{}", ran.text());
        let log = provider.log()?;
        let line = log.iter().rev().find(|line| line.text.contains("run finished"));
        let line = line.ok_or_else(|| eyre!("the provider's log does not say when the run was finished"))?;
        let word = |name: &str| line.text.split_whitespace().find_map(|word| word.strip_prefix(name));
        let number = |name: &str| {
            let number = word(name).and_then(|number| number.parse::<f64>().ok());
            number.ok_or_else(|| eyre!("no {name} in the provider's log: {}", line.text))
        };
        // LOSSY: some thousand.
        ensure!((number("units=")? - self.units as f64).abs() < 0.5, "another number of units: {}", line.text);
        number("ms=")
    }

    fn map(&self, name: &str) -> Result<(Customer, PathBuf)> {
        let events = self.folder.join(format!("{name}.jsonl"));
        let mut command = Command::new(&self.bench.keystead);
        command.args(["map", "align", "--rpc", self.url, "--dev-account", &CUSTOMER.to_string()]);
        command.args(["--providers", &PROVIDER_COUNT.to_string(), "--out"]).arg(self.folder.join(name));
        command.arg("--events").arg(&events);
        Ok((Customer::spawn(self.with_job(command))?, events))
    }

    /// A map that nothing disturbs: from its start to its last pay, and its customer's own processor time, milliseconds.
    fn whole(&self) -> Result<(f64, f64)> {
        let begun = now();
        let (mut customer, events) = self.map("map")?;
        let (start, mut cpu) = (Instant::now(), 0.0);
        loop {
            // Who has ended is still there until it is looked for.
            cpu = cpu_seconds(customer.id()).unwrap_or(cpu);
            if customer.has_ended()? {
                break;
            }
            ensure!(start.elapsed() < MAP_MAX, "a map did not end within {MAP_MAX:?}");
            thread::sleep(CPU_POLL);
        }
        let ran = customer.finish(MAP_MAX)?;
        ensure!(ran.status.success(), "a map failed:\n{}", ran.text());
        let last = self.all_paid(&told(&events)?)?;
        Ok((ms(begun, last), cpu * 1_000.0))
    }

    /// A map whose customer is killed with half of the units done: from the start of the next one to the first window that it pays, milliseconds.
    fn killed(&self) -> Result<f64> {
        let (mut customer, events) = self.map("killed")?;
        wait_for("half of the units are done", MAP_MAX, || {
            ensure!(!customer.has_ended()?, "a map ended before its half");
            let all = told(&events).unwrap_or_default();
            let done =
                all.iter().filter(|told| told.event == "progress").filter_map(|told| told.facts["done"].as_u64());
            Ok((done.max().unwrap_or_default().saturating_mul(2) >= self.units).then_some(()))
        })?;
        // Kill -9.
        drop(customer);
        let begun = now();
        let (customer, events) = self.map("killed")?;
        let ran = customer.finish(MAP_MAX)?;
        ensure!(ran.status.success(), "a map failed after its customer was killed:\n{}", ran.text());
        let all = told(&events)?;
        self.all_paid(&all)?;
        let resumed = all.iter().skip_while(|told| told.event != "resumed");
        // What the first one paid and could not tell any more is told at once by the second, and is no new pay.
        let leased: Vec<&Told> = resumed.skip_while(|told| told.event != "connected").collect();
        let paid = leased.iter().find(|told| told.event == "paid");
        let paid = paid.ok_or_else(|| eyre!("the second customer paid nothing: the first was killed too late"))?;
        Ok(ms(begun, paid.at))
    }

    /// Every unit was paid exactly once; when the last one was.
    fn all_paid(&self, all: &[Told]) -> Result<Micros> {
        let paid: Vec<&Told> = all.iter().filter(|told| told.event == "paid").collect();
        let steps = paid.iter().filter_map(|told| told.facts["steps"].as_u64()).fold(0, u64::saturating_add);
        ensure!(steps == self.units, "{steps} steps were paid of {}", self.units);
        paid.last().map(|told| told.at).ok_or_else(|| eyre!("nothing was paid"))
    }
}

/// What `--events` holds by now; a line that is being written is left out.
fn told(events: &Path) -> Result<Vec<Told>> {
    let text = fs::read_to_string(events).wrap_err("the map tells no events")?;
    let told = |line: &str| {
        let mut line: Value = serde_json::from_str(line).ok()?;
        let at = line["unixMs"].as_u64()?.saturating_mul(1_000);
        Some(Told { at, event: line["event"].as_str()?.to_owned(), facts: line["facts"].take() })
    };
    Ok(text.lines().filter_map(told).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn events_are_read_up_to_the_line_that_is_being_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("events.jsonl");
        let line = r#"{"detail":"","event":"paid","facts":{"steps":3},"provider":null,"unixMs":7}"#;
        fs::write(&file, format!("{line}\n{line}\n{{\"unixMs\":8,\"ev")).unwrap();
        let all = told(&file).unwrap();
        assert_eq!((all.len(), all.first().unwrap().at), (2, 7_000));
        assert_eq!(all.first().unwrap().facts["steps"], 3);
    }
}
