//! What the owner feels, with real providers and workers: how long after the owner's input a worker is gone, and how much slower a benchmark on all
//! cores is while workers compute at idle priority.
//!
//! # Design
//! The owner's input is a terminal that is read (`terminal.rs`). One provider for each core, since a worker of `wasm/1` has one thread. A provider that
//! starts looks at how long terminals were not used, so each return needs a start, not minutes of waiting.

use super::{
    Bench, Row, at,
    live::{INTERVAL_MS, PROVIDERS, order},
};
use crate::{
    network::Network,
    parties::{Customer, Offer, Provider, gone, is_alive, is_idle_class, ms, now, proteins, signal, wait_for},
};
use eyre::{Result, ensure, eyre};
use std::{
    fs,
    hint::black_box,
    thread,
    time::{Duration, Instant},
};
use terminal::{PREFERENCES, Terminal};

/// A worker begins within this after its provider is ready.
const WORK_MAX: Duration = Duration::from_secs(60);
/// Sequences of both files: work for some minutes.
const SEQUENCES: usize = 700;
/// Turns of the benchmark: so many that the median of turns which differ by some percent is known to a few tenths.
const TURNS: usize = 60;
/// One round of the benchmark, milliseconds.
const ROUND_MS: f64 = 1_000.0;

/// A network of one validator, providers with work for minutes, and the owner's terminal.
struct Scene<'b> {
    bench: &'b Bench,
    folder: tempfile::TempDir,
    network: Network,
    terminal: Terminal,
    customers: Vec<Customer>,
}

pub(super) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let mut scene = Scene::new(bench)?;
    let mut yields = Vec::new();
    for round in 0..bench.many(15, 2) {
        yields.extend(scene.one_return(round)?);
    }
    let count = yields.len();
    let row = Row::new("owner's input to the end of the worker, p50", at(&yields, 0.5), "ms")
        .spread(format!(
            "p95 {:.0}, max {:.0}, n={count} real providers with work",
            at(&yields, 0.95),
            at(&yields, 1.0)
        ))
        .goal("<= 1000")
        .less_is_better(true);
    Ok(vec![row, scene.foreground()?])
}

impl<'b> Scene<'b> {
    fn new(bench: &'b Bench) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("keystead-owner-").tempdir()?;
        let terminal = Terminal::open(folder.path())?;
        let network = Network::start(&bench.keystead, 1, INTERVAL_MS)?;
        proteins(&folder.path().join("q.faa"), SEQUENCES, 300)?;
        proteins(&folder.path().join("t.faa"), SEQUENCES, 300)?;
        Ok(Self { bench, folder, network, terminal, customers: Vec::new() })
    }

    /// Starts the providers while the owner is away; returns when each has a worker.
    fn working(&mut self) -> Result<Vec<(Provider, u32)>> {
        self.terminal.read("1 hour ago")?;
        let url = self.network.url(0)?;
        let cores = thread::available_parallelism()?.get();
        let mut providers = Vec::new();
        for account in (1_u32..).take(cores.min(PROVIDERS.len())) {
            let folder = self.folder.path().join(format!("provider-{account}"));
            fs::create_dir_all(&folder)?;
            fs::write(folder.join("owner.toml"), PREFERENCES)?;
            let more = vec!["--compute".to_owned(), "auto".to_owned()];
            let offer = Offer { keystead: &self.bench.keystead, url: &url, account: Some(account), more };
            providers.push(Provider::spawn(&offer, &folder)?);
        }
        providers.iter_mut().try_for_each(Provider::ready)?;
        if self.customers.is_empty() {
            for (number, provider) in (3..).zip(PROVIDERS.iter().take(providers.len())) {
                self.customers.push(self.customer(&url, number, provider)?);
            }
        }
        let mut working = Vec::new();
        for provider in providers {
            let worker = wait_for("a provider works while its owner is away", WORK_MAX, || {
                for customer in &mut self.customers {
                    ensure!(!customer.has_ended()?, "an order ended: there must be work until the end");
                }
                Ok(provider.worker())
            });
            let log = || provider.log().unwrap_or_default().into_iter().map(|line| line.text).collect::<Vec<_>>();
            let worker = worker.map_err(|error| eyre!("{error}\n{}", log().join("\n")))?;
            working.push((provider, worker));
        }
        Ok(working)
    }

    fn customer(&self, url: &str, account: usize, provider: &str) -> Result<Customer> {
        let file = |name: &str| self.folder.path().join(format!("{name}.faa")).display().to_string();
        let out = self.folder.path().join(format!("out-{account}"));
        let mut command = order(self.bench, url, "align", account, &out);
        command.arg(format!("--input=queries={}", file("q"))).arg(format!("--input=targets={}", file("t")));
        command.args(["--set", "cells-per-unit=20000000", "--provider", provider]);
        Customer::spawn(command)
    }

    /// Milliseconds from the input until each worker is gone.
    fn one_return(&mut self, round: usize) -> Result<Vec<f64>> {
        let working = self.working()?;
        // Another moment between two looks each time.
        thread::sleep(Duration::from_millis((round as u64).wrapping_mul(137) % 500));
        let input = now();
        self.terminal.read("now")?;
        working.iter().map(|(_, worker)| Ok(ms(input, gone(*worker)?))).collect()
    }

    /// A benchmark on all cores, in turns beside workers and alone, which stand still then.
    fn foreground(&mut self) -> Result<Row> {
        let working = self.working()?;
        let workers: Vec<u32> = working.iter().map(|(_, worker)| *worker).collect();
        let steps = steps_of_a_round();
        let timed = |name: &str| -> Result<f64> {
            workers.iter().try_for_each(|worker| signal(*worker, name))?;
            Ok(round(steps))
        };
        let mut slower = Vec::new();
        for turn in 0..self.bench.many(TURNS, 2) {
            // What the machine does beside falls on both alike.
            let (alone, beside) = if turn % 2 == 0 {
                let alone = timed("STOP")?;
                (alone, timed("CONT")?)
            } else {
                let beside = timed("CONT")?;
                (timed("STOP")?, beside)
            };
            slower.push((beside / alone - 1.0) * 100.0);
        }
        workers.iter().try_for_each(|worker| signal(*worker, "CONT"))?;
        ensure!(workers.iter().all(|worker| is_alive(*worker)), "a worker ended meanwhile");
        let idle = workers.iter().filter(|worker| is_idle_class(**worker)).count();
        let (low, high) = shares_of_the_median(slower.len());
        let spread = format!(
            "95 % sure between {:.2} and {:.2}; turns {:.2} .. {:.2}, n={}; {} workers, {idle} of them in the kernel's idle class",
            at(&slower, low),
            at(&slower, high),
            at(&slower, 0.0),
            at(&slower, 1.0),
            slower.len(),
            workers.len()
        );
        Ok(Row::new("slow-down of a benchmark on all cores beside workers", at(&slower, 0.5), "%")
            .spread(spread)
            .goal("<= 2")
            .less_is_better(true)
            .may_be_zero())
    }
}

/// Between which shares of the sorted values their median lies 19 times of 20: how many of them are below it is binomial, here by its normal
/// approximation (Conover, Practical Nonparametric Statistics, section 3.2).
fn shares_of_the_median(count: usize) -> (f64, f64) {
    // LOSSY: far below 2^53.
    #[allow(clippy::cast_precision_loss)]
    let half = 1.96 * 0.5 / (count.max(1) as f64).sqrt();
    ((0.5 - half).max(0.0), (0.5 + half).min(1.0))
}

/// Steps of one core in about [`ROUND_MS`].
fn steps_of_a_round() -> u64 {
    let tried = 50_000_000;
    let seconds = round(tried);
    // LOSSY: far below 2^53.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let steps = (tried as f64 * ROUND_MS / 1_000.0 / seconds.max(1e-3)) as u64;
    steps
}

/// Seconds of work on all cores.
fn round(steps: u64) -> f64 {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let start = Instant::now();
    thread::scope(|scope| {
        for seed in (1_u64..).take(cores) {
            scope.spawn(move || {
                let mut state = seed;
                for _ in 0..steps {
                    state = black_box(state.wrapping_mul(6_364_136_223_846_793_005).rotate_left(23) ^ seed);
                }
                black_box(state)
            });
        }
    });
    start.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_known_the_better_the_more_turns_there_are() {
        let (low, high) = shares_of_the_median(60);
        // Of 60 values the 22nd to the 39th hold it: a table of the binomial distribution.
        assert!((low - 0.373).abs() < 0.001 && (high - 0.627).abs() < 0.001, "{low} {high}");
        assert_eq!(shares_of_the_median(1), (0.0, 1.0));
        assert_eq!(shares_of_the_median(0), (0.0, 1.0));
    }
}
