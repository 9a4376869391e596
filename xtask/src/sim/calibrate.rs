//! `cargo xtask sim --calibrate`: the same orders, kills and restarts by real processes on a real network and by the simulator, side by side.
//!
//! # Design
//! What the simulator is given is measured on one network (`measure`): its blocks, single orders one after the other, starts of a provider. Then another
//! network, with other providers, runs the plan of `keystead-sim-market`: orders that arrive at random, providers that are wrong in one unit, and kills. The
//! error of the simulator is that of the plan, of which it is given nothing.
//!
//! # Invariants
//! No process outlives this task. A run that lost an order fails.

mod blocks;
mod machine;
mod measure;
mod page;

use super::Length;
use crate::{
    network::Network,
    parties::{Customer, Line, Offer, Provider, Ran, cpu_of_machine, ms, must_say, proteins, said},
    process::{build_workspace, quiet, show},
};
use eyre::{Context as _, Result, ensure, eyre};
use measure::Measured;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// Block interval, ms: the default.
const INTERVAL_MS: u64 = 200;
const VALIDATORS: usize = 4;
/// The ten funded test accounts are the customers.
const CUSTOMERS: u32 = 10;
/// No order takes longer, kills and queues included.
const ORDER_MAX: Duration = Duration::from_secs(300);
/// How long the whole plan may take.
const PLAN_MAX: Duration = Duration::from_secs(1_200);
const POLL: Duration = Duration::from_millis(2);
/// Residues of a sequence: a pair makes a unit of its own, as two pairs have more cells than a unit may.
const RESIDUES: usize = 720;
/// What the processes log: as they do by themselves, and when transactions are sent and found and a customer goes on.
const LOG: &str = "info,commonware=warn,fjall=warn,lsm_tree=warn,iroh=warn,noq=error,keystead::compute::account=debug,keystead::compute::customer::follow=debug";
/// How far the prediction may be off: the goal.
pub(super) const GOAL_PERCENT: f64 = 15.0;

/// What is run. The words are those of `keystead-sim-market plan`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    seed: u64,
    providers: u32,
    faulty: u32,
    orders: u32,
    orders_per_second: f64,
    kills: u32,
    customers: u32,
    units: u32,
    sample: u32,
}

/// 24 providers; a quarter of them wrong, half of whose wrong units a sample holds.
const FULL: Shape = Shape {
    seed: 20_261_128,
    providers: 24,
    faulty: 8,
    orders: 300,
    orders_per_second: 0.8,
    kills: 20,
    customers: CUSTOMERS,
    units: 96,
    sample: 48,
};
/// Shows that it works.
const QUICK: Shape = Shape { providers: 4, faulty: 1, orders: 12, kills: 2, ..FULL };

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Plan {
    shape: Shape,
    gap_ms: u64,
    orders: Vec<Arrival>,
    kills: Vec<Arrival>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Arrival {
    at_ms: u64,
    provider: usize,
}

#[derive(Serialize)]
struct Question<'q> {
    plan: &'q Plan,
    measured: &'q Measured,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Prediction {
    plays: u64,
    wait_p50: f64,
    wait_p99: f64,
    whole_p50: f64,
    whole_p99: f64,
    caught: f64,
    lost: u64,
    load: f64,
    between_blocks: f64,
    parts: Vec<[f64; 2]>,
}

/// What the real run gave, ms.
#[derive(Debug, Default)]
struct Real {
    waits: Vec<f64>,
    wholes: Vec<f64>,
    wrong: u32,
    caught: u32,
    load: f64,
    /// Mean time from one block to the next, ms.
    between_blocks: f64,
    kills: usize,
    /// From each moment of an order to the next one, as far as they were said.
    parts: [Vec<f64>; PARTS.len()],
}

/// From each moment of an order to the next one.
const PARTS: [&str; 7] = [
    "start of the command until the customer sees the order's number",
    "until the lease is seen",
    "until the first unit",
    "until the last unit",
    "until the commitment is seen",
    "until the customer sees the delivery",
    "until the command ends",
];

/// Runs everything; gives the section of the page.
pub(super) fn run(root: &Path, length: Length) -> Result<String> {
    let debug = build_workspace(root)?;
    let (shape, singles) = match length {
        Length::Full => (FULL, 40),
        Length::Short => (QUICK, 3),
    };
    let simulator = debug.join("keystead-sim-market");
    let folder = tempfile::Builder::new().prefix("keystead-calibrate-").tempdir()?;
    let plan: Plan = ask(&simulator, "plan", folder.path(), &shape)?;
    let keystead = debug.join("keystead");
    // Before anything else runs.
    let together = machine::together(thread::available_parallelism()?.get())?;
    let measured = Stage::open(&keystead, folder.path().join("singles"), shape)?.measure(singles, together)?;
    let mut stage = Stage::open(&keystead, folder.path().join("plan"), shape)?;
    stage.start_all()?;
    let real = stage.play(&plan)?;
    drop(stage);
    let prediction: Prediction =
        ask(&simulator, "predict", folder.path(), &Question { plan: &plan, measured: &measured })?;
    Ok(page::section(&plan, &measured, &real, &prediction))
}

/// A question to the simulator, and its answer.
fn ask<A: for<'de> Deserialize<'de>>(
    simulator: &Path,
    command: &str,
    folder: &Path,
    question: &impl Serialize,
) -> Result<A> {
    let file = folder.join(format!("{command}.json"));
    fs::write(&file, serde_json::to_vec(question)?)?;
    let mut command = Command::new(simulator);
    command.arg(file.file_stem().unwrap_or_default()).arg(&file);
    println!("$ {}", show(&command));
    let answer = quiet(&mut command).ok_or_else(|| eyre!("`{}` failed: run it to see why", show(&command)))?;
    serde_json::from_str(&answer).wrap_err("the simulator's answer has another form")
}

/// A provider's place, and the process that runs in it now.
struct Place {
    folder: PathBuf,
    account: String,
    faulty: bool,
    process: Option<Provider>,
}

struct Stage {
    keystead: PathBuf,
    folder: PathBuf,
    shape: Shape,
    network: Network,
    places: Vec<Place>,
}

impl Stage {
    /// The network, and places for providers.
    fn open(keystead: &Path, folder: PathBuf, shape: Shape) -> Result<Self> {
        fs::create_dir_all(&folder)?;
        let accounts = wallets(keystead, &folder, shape.providers)?;
        let network = Network::start_funded(keystead, VALIDATORS, INTERVAL_MS, &accounts)?;
        let place = |(number, account): (u32, String)| Place {
            folder: place_of(&folder, number),
            account,
            faulty: number < shape.faulty,
            process: None,
        };
        let places = (0..).zip(accounts).map(place).collect();
        proteins(&folder.join("q.faa"), 1, RESIDUES)?;
        proteins(&folder.join("t.faa"), usize::try_from(shape.units)?, RESIDUES)?;
        Ok(Self { keystead: keystead.to_owned(), folder, shape, network, places })
    }

    /// Starts all providers, and waits until they take orders.
    fn start_all(&mut self) -> Result<()> {
        for number in 0..self.places.len() {
            self.start(number)?;
            self.process(number)?.ready()?;
        }
        println!("{} providers take orders", self.places.len());
        Ok(())
    }

    /// The node that everybody asks.
    fn node(&self) -> Result<SocketAddr> {
        self.network.rpc.first().copied().ok_or_else(|| eyre!("a network without validators"))
    }

    fn place(&mut self, number: usize) -> Result<&mut Place> {
        self.places.get_mut(number).ok_or_else(|| eyre!("no provider {number}"))
    }

    fn process(&mut self, number: usize) -> Result<&mut Provider> {
        let process = self.place(number)?.process.as_mut();
        process.ok_or_else(|| eyre!("provider {number} does not run"))
    }

    fn start(&mut self, number: usize) -> Result<()> {
        let (url, keystead) = (self.network.url(0)?, self.keystead.clone());
        let place = self.place(number)?;
        let mut more = ["--compute", "always", "--log", LOG].map(str::to_owned).to_vec();
        if place.faulty {
            more.extend(["--fault-seed".to_owned(), number.to_string()]);
        }
        let offer = Offer { keystead: &keystead, url: &url, account: None, more };
        place.process = Some(Provider::spawn(&offer, &place.folder)?);
        Ok(())
    }

    /// An order of so many units for a provider, by one of the customers. Pairs that score low: their records are bare scores, whose error only the
    /// sample can see.
    fn order(&mut self, number: usize, customer: u32, name: &str) -> Result<Customer> {
        let file = |name: &str| self.folder.join(format!("{name}.faa")).display().to_string();
        let mut command = Command::new(&self.keystead);
        command.args(["--log", LOG, "run", "align", "--set", "cells-per-unit=1000000", "--set", "score-min=1000000"]);
        command.arg(format!("--input=queries={}", file("q"))).arg(format!("--input=targets={}", file("t")));
        command.args(["--sample", &self.shape.sample.to_string(), "--rpc", &self.network.url(0)?]);
        command.args(["--dev-account", &customer.to_string(), "--out"]).arg(self.folder.join(name));
        let account = self.place(number)?.account.clone();
        command.args(["--provider", &account]);
        Customer::spawn(command)
    }

    /// The plan by real processes.
    fn play(&mut self, plan: &Plan) -> Result<Real> {
        let mut real = Real::default();
        // As while single orders were measured.
        let noted = machine::sample();
        let (begin, before, first) = (Instant::now(), cpu_of_machine()?, blocks::head(self.node()?)?);
        let due = |at_ms: u64| begin.elapsed() >= Duration::from_millis(at_ms);
        let (mut orders, mut kills) = (plan.orders.iter().enumerate().peekable(), plan.kills.iter().peekable());
        let mut free: Vec<u32> = (0..self.shape.customers).collect();
        let mut under_way: Vec<(usize, u32, Customer)> = Vec::new();
        let mut away: Vec<(usize, Duration)> = Vec::new();
        let mut ended: Vec<(usize, Ran)> = Vec::new();
        while orders.peek().is_some() || !under_way.is_empty() {
            ensure!(begin.elapsed() < PLAN_MAX, "the plan did not end within {PLAN_MAX:?}: {} orders did", ended.len());
            while let Some(kill) = kills.next_if(|kill| due(kill.at_ms)) {
                // One that is away already dies no second time.
                if !away.iter().any(|(number, _)| *number == kill.provider)
                    && self.process(kill.provider)?.is_ready()?
                {
                    self.process(kill.provider)?.kill();
                    let gap = Duration::from_millis(plan.gap_ms);
                    away.push((kill.provider, begin.elapsed().saturating_add(gap)));
                    real.kills = real.kills.saturating_add(1);
                }
            }
            if let Some(at) = away.iter().position(|(_, back)| begin.elapsed() >= *back) {
                let (number, _) = away.swap_remove(at);
                self.start(number)?;
            }
            if orders.peek().is_some_and(|(_, order)| due(order.at_ms))
                && let Some(customer) = free.pop()
                && let Some((number, order)) = orders.next()
            {
                let process = self.order(order.provider, customer, &format!("order-{number}"))?;
                under_way.push((order.provider, customer, process));
            }
            if let Some(at) = first_ended(&mut under_way)? {
                let (provider, customer, process) = under_way.swap_remove(at);
                free.push(customer);
                ended.push((provider, process.finish(ORDER_MAX)?));
            }
            thread::sleep(POLL);
        }
        let took = begin.elapsed().as_secs_f64();
        real.load = (cpu_of_machine()? - before) / took / thread::available_parallelism()?.get() as f64;
        real.between_blocks = took * 1_000.0 / blocks::head(self.node()?)?.saturating_sub(first).max(1) as f64;
        noted.finish()?;
        for (provider, ran) in &ended {
            self.count(&mut real, *provider, ran)?;
        }
        Ok(real)
    }

    /// Adds an order that ended.
    fn count(&mut self, real: &mut Real, provider: usize, ran: &Ran) -> Result<()> {
        let (_, order) = ran.placed()?;
        let log = self.process(provider)?.log()?;
        real.waits.push(ms(ran.begun, must_say(&log, "run begins", order)?));
        real.wholes.push(ms(ran.begun, ran.ended));
        real.add(order, ran, &log);
        let faulty = self.place(provider)?.faulty;
        let rejected = ran.text().contains("is rejected");
        real.wrong = real.wrong.saturating_add(u32::from(faulty));
        real.caught = real.caught.saturating_add(u32::from(faulty && rejected));
        ensure!(ran.status.success() || (faulty && rejected), "an order was lost:\n{}", ran.text());
        Ok(())
    }
}

impl Real {
    /// Adds the parts of an order. One whose provider was killed may lack a moment: a log may have missed it.
    fn add(&mut self, order: u64, ran: &Ran, log: &[Line]) {
        let provider = |words: &str| said(log, words, order);
        let moments = [
            Some(ran.begun),
            ran.placed().ok().map(|(placed, _)| placed),
            provider("order leased"),
            provider("run begins"),
            provider("run finished"),
            provider("result committed"),
            said(&ran.lines, "check begins", order),
            Some(ran.ended),
        ];
        for (part, pair) in self.parts.iter_mut().zip(moments.windows(2)) {
            if let [Some(from), Some(to)] = pair {
                part.push(ms(*from, *to));
            }
        }
    }
}

fn first_ended(under_way: &mut [(usize, u32, Customer)]) -> Result<Option<usize>> {
    for (at, (_, _, process)) in under_way.iter_mut().enumerate() {
        if process.has_ended()? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

fn place_of(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("provider-{number}"))
}

/// Makes the wallets of the providers: each says its address when it finds that it has no money, on a network that is for nothing else.
fn wallets(keystead: &Path, folder: &Path, providers: u32) -> Result<Vec<String>> {
    let network = Network::start(keystead, 1, INTERVAL_MS)?;
    let url = network.url(0)?;
    let mut accounts = Vec::new();
    for number in 0..providers {
        let mut command = Command::new(keystead);
        command.args(["provide", "--rpc", &url, "--dir"]).arg(place_of(folder, number));
        let output = command.output().wrap_err_with(|| format!("cannot start `{}`", show(&command)))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let account = text.lines().find_map(|line| line.strip_prefix("A new wallet for this provider: "));
        let account = account.and_then(|rest| rest.split(' ').next());
        accounts.push(account.ok_or_else(|| eyre!("a provider made no wallet:\n{text}"))?.to_owned());
    }
    Ok(accounts)
}

/// A quantile as the simulator takes it.
fn at(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1) as f64;
    // LOSSY: an index of a short list.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let index = (last * share).round() as usize;
    sorted.get(index).copied().unwrap_or_default()
}

/// How far a prediction is off, percent of what was measured.
fn error(real: f64, predicted: f64) -> f64 {
    (predicted - real) / real.max(f64::MIN_POSITIVE) * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_a_sign_and_quantiles_are_those_of_the_simulator() {
        assert!((error(200.0, 230.0) - GOAL_PERCENT).abs() < 1e-9);
        assert!((error(200.0, 170.0) + GOAL_PERCENT).abs() < 1e-9);
        assert!(
            (at(&[3.0, 1.0, 2.0], 0.5) - 2.0).abs() < f64::EPSILON
                && (at(&[3.0, 1.0], 0.99) - 3.0).abs() < f64::EPSILON
        );
    }
}
