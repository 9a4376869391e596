//! Parts on a network of four validators with real providers and customers.

use super::{Bench, Row, at};
use crate::{
    network::Network,
    parties::{Customer, Offer, Provider, cpu_seconds, memory_mib, ms, must_say, proteins},
};
use eyre::{Result, ensure};
use std::{
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// Block interval, ms: the default.
pub(super) const INTERVAL_MS: u64 = 200;
/// After its start a provider has this long to come to rest.
const SETTLE: Duration = Duration::from_secs(5);
/// No order here takes longer.
const ORDER_MAX: Duration = Duration::from_secs(180);
/// Units of one order of the throughput.
const ORDER_UNITS: usize = 8_192;
/// Orders of the throughput, in turn for the providers.
const ORDERS: usize = 4;
/// The first well-known test accounts, which provide: numbers 1 and 2.
pub(super) const PROVIDERS: [&str; 2] =
    ["0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"];

/// A provider that works whatever else the machine does.
pub(super) fn always<'o>(bench: &'o Bench, url: &'o str, account: u32) -> Offer<'o> {
    let more = vec!["--compute".to_owned(), "always".to_owned()];
    Offer { keystead: &bench.keystead, url, account: Some(account), more }
}

/// `keystead run` with a test account.
pub(super) fn order(bench: &Bench, url: &str, recipe: &str, account: usize, out: &Path) -> Command {
    let mut command = Command::new(&bench.keystead);
    command.args(["run", recipe, "--rpc", url, "--dev-account", &account.to_string(), "--out"]).arg(out);
    command
}

/// A provider that waits for orders, over a minute.
pub(super) fn rest(bench: &Bench) -> Result<Vec<Row>> {
    let (windows, seconds) = (bench.many(3, 2), bench.many(20, 2) as u64);
    let folder = tempfile::Builder::new().prefix("keystead-rest-").tempdir()?;
    let network = Network::start(&bench.keystead, 4, INTERVAL_MS)?;
    let url = network.url(0)?;
    let offer = Offer { keystead: &bench.keystead, url: &url, account: Some(1), more: Vec::new() };
    let provider = Provider::start(&offer, folder.path())?;
    thread::sleep(SETTLE);
    let (mut shares, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..windows {
        let (before, start) = (cpu_seconds(provider.id())?, Instant::now());
        // The measurement itself is a span of time.
        thread::sleep(Duration::from_secs(seconds));
        shares.push((cpu_seconds(provider.id())? - before) / start.elapsed().as_secs_f64() * 100.0);
        memory.push(memory_mib(provider.id())?);
    }
    ensure!(provider.worker().is_none(), "a provider without orders has a worker");
    let all = |values: &[f64]| values.iter().map(|value| format!("{value:.2}")).collect::<Vec<_>>().join(", ");
    Ok(vec![
        Row::new("a provider at rest, memory (RSS)", at(&memory, 1.0), "MiB")
            .spread(format!("largest of {}", all(&memory)))
            .goal("<= 80")
            .less_is_better(true),
        Row::new("a provider at rest, share of one core", at(&shares, 0.5), "%")
            .spread(format!("{windows} times {seconds} s: {}; blocks come every {INTERVAL_MS} ms", all(&shares)))
            .goal("<= 0.5")
            .less_is_better(true)
            .may_be_zero(),
    ])
}

/// A runtime, how many orders of it, and how one is made for an output folder.
type Kind<'k> = (&'k str, usize, &'k dyn Fn(&Path) -> Command);

/// From the start of `keystead run` until its first unit runs, one order after the other.
pub(super) fn start(bench: &Bench) -> Result<Vec<Row>> {
    let folder = tempfile::Builder::new().prefix("keystead-start-").tempdir()?;
    let network = Network::start(&bench.keystead, 4, INTERVAL_MS)?;
    let url = network.url(0)?;
    let provider = Provider::start(&always(bench, &url, 1), &folder.path().join("provider"))?;
    let (queries, targets) = (folder.path().join("q.faa"), folder.path().join("t.faa"));
    proteins(&queries, 4, 300)?;
    proteins(&targets, 8, 300)?;
    let files = [format!("--input=queries={}", queries.display()), format!("--input=targets={}", targets.display())];
    let wasm = |out: &Path| {
        let mut command = order(bench, &url, "align", 3, out);
        command.args(&files).args(["--set", "cells-per-unit=1000000"]);
        command
    };
    let wgsl = |out: &Path| {
        let mut command = order(bench, &url, "sha256-search", 3, out);
        command.args(["--set", "nonces=16384", "--set", "nonces-per-unit=16384"]);
        command
    };
    let kinds: [Kind<'_>; 2] = [("wasm/1", bench.many(25, 2), &wasm), ("wgsl/1", bench.many(15, 1), &wgsl)];
    let mut rows = Vec::new();
    for (name, count, command) in kinds {
        let mut steps: [Vec<f64>; 4] = Default::default();
        for number in 0..count {
            let out = folder.path().join(format!("{}-{number}", name.replace('/', "-")));
            let ran = Customer::spawn(command(&out))?.finish(ORDER_MAX)?;
            ensure!(ran.status.success(), "an order failed:\n{}", ran.text());
            let ((placed, id), log) = (ran.placed()?, provider.log()?);
            let (leased, runs) = (must_say(&log, "order leased", id)?, must_say(&log, "run begins", id)?);
            let spans = [(ran.begun, runs), (ran.begun, placed), (placed, leased), (leased, runs)];
            steps.iter_mut().zip(spans).for_each(|(step, (from, to))| step.push(ms(from, to)));
        }
        let [whole, placed, leased, runs] = &steps;
        let spread = format!(
            "p95 {:.0}, n={count}; of which until the order's block {:.0}, the lease's {:.0}, the worker is warm {:.0}; 4 validators",
            at(whole, 0.95),
            at(placed, 0.5),
            at(leased, 0.5),
            at(runs, 0.5)
        );
        let row = Row::new(&format!("submit to running, {name}, lease final, p50"), at(whole, 0.5), "ms");
        rows.push(row.spread(spread).goal("< 1000").less_is_better(true));
    }
    Ok(rows)
}

/// Orders of many small units at once, over two providers: units whose commitment is on the chain, by the time since the first order was begun.
/// A square root of the recipe that `keystead recipe new` makes, and a system of stars over one step: the runtimes differ in what a unit costs.
pub(super) fn units(bench: &Bench) -> Result<Vec<Row>> {
    let folder = tempfile::Builder::new().prefix("keystead-units-").tempdir()?;
    let mut made = Command::new(&bench.keystead);
    made.current_dir(folder.path()).args(["recipe", "new", "roots", "--runtime", "wasm"]);
    crate::process::run(&mut made)?;
    let roots = folder.path().join("roots").display().to_string();
    let units = bench.many(ORDER_UNITS, 256);
    let mut rows = Vec::new();
    for (runtime, recipe, set) in [
        (
            "wasm/1",
            roots.as_str(),
            [format!("count={units}"), "numbers-per-unit=1".to_owned(), "first=4000000".to_owned()],
        ),
        ("wgsl/1", "nbody", [format!("members={units}"), "members-per-unit=1".to_owned(), "steps=1".to_owned()]),
    ] {
        let place = folder.path().join(runtime.replace('/', "-"));
        rows.extend(units_of(bench, (runtime, recipe), &set, units, &place)?);
    }
    Ok(rows)
}

fn units_of(
    bench: &Bench,
    (runtime, recipe): (&str, &str),
    set: &[String],
    units: usize,
    folder: &Path,
) -> Result<Vec<Row>> {
    let (mut committed, mut paid, mut own) = (Vec::new(), Vec::new(), Vec::new());
    for repeat in 0..bench.many(3, 1) {
        let network = Network::start(&bench.keystead, 4, INTERVAL_MS)?;
        let url = network.url(0)?;
        let place = folder.join(repeat.to_string());
        let mut providers = Vec::new();
        for account in [1, 2] {
            providers.push(Provider::start(&always(bench, &url, account), &place.join(format!("provider-{account}")))?);
        }
        let before = own_seconds(&providers)?;
        let mut customers = Vec::new();
        for number in 0..ORDERS {
            let provider = PROVIDERS.iter().cycle().nth(number).copied().unwrap_or_default();
            let mut command = order(bench, &url, recipe, number.saturating_add(3), &place.join(number.to_string()));
            command.args(["--provider", provider]);
            for set in set {
                command.args(["--set", set]);
            }
            customers.push(Customer::spawn(command)?);
        }
        let mut ran = Vec::new();
        for customer in customers {
            ran.push(customer.finish(ORDER_MAX)?);
        }
        let mut last = 0;
        for (ran, provider) in ran.iter().zip(providers.iter().cycle()) {
            ensure!(ran.status.success(), "an order failed:\n{}", ran.text());
            last = last.max(must_say(&provider.log()?, "result committed", ran.placed()?.1)?);
        }
        let first = ran.iter().map(|ran| ran.begun).min().unwrap_or_default();
        let ended = ran.iter().map(|ran| ran.ended).max().unwrap_or_default();
        let all = units.saturating_mul(ORDERS) as f64;
        committed.push(all * 1_000.0 / ms(first, last));
        paid.push(all * 1_000.0 / ms(first, ended));
        own.push((own_seconds(&providers)? - before) * 1e6 / all);
    }
    let spread = |values: &[f64]| values.iter().map(|value| format!("{value:.0}")).collect::<Vec<_>>().join(", ");
    let what = format!("{ORDERS} orders of {units} units at once, 2 providers, 4 validators, one machine");
    Ok(vec![
        Row::new(&format!("committed units through one market, {runtime}"), at(&committed, 0.5), "units/s")
            .spread(format!("runs {}; {what}", spread(&committed)))
            .goal(">= 1000"),
        Row::new(&format!("units fetched, checked and accepted, {runtime}"), at(&paid, 0.5), "units/s")
            .spread(format!("runs {}", spread(&paid))),
        Row::new(&format!("a provider's own part of a unit, {runtime}"), at(&own, 0.5), "us")
            .spread(format!(
                "runs {}; processor time of `keystead provide` without its worker: store, disk, notes, transfers, chain",
                spread(&own)
            ))
            .less_is_better(true),
    ])
}

/// Processor time so far of providers themselves, in which what their workers took is not.
fn own_seconds(providers: &[Provider]) -> Result<f64> {
    providers.iter().map(|provider| cpu_seconds(provider.id())).sum()
}
