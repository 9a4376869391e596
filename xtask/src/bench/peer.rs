//! Keystead beside anvil, the node that developers use today: the same load from the same program, in turns.
//!
//! # Design
//! Each scenario runs [`ROUNDS`] times, Keystead and anvil in turns, each time on a new chain, so that whatever else the
//! machine does meanwhile meets both. Medians are published, with every run. Both write as they do by default: Keystead
//! syncs each block to disk, anvil keeps everything in memory.

use super::{Row, figure};
use crate::{
    network::{Network, block_number},
    process::{quiet, show},
    tools::npm_packages,
};
use eyre::{Context as _, Result, ensure, eyre};
use serde_json::Value;
use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Runs of each scenario on each side.
const ROUNDS: usize = 3;
/// Transactions of a run: about ten seconds.
const TRANSACTIONS: u64 = 80_000;
/// How many times the sustained rate is offered in the overload.
const OVERLOAD: f64 = 3.0;
/// For how long, in seconds, if the node takes what it sustains.
const OVERLOAD_SECONDS: f64 = 12.0;
/// Connections in the overload: enough that waiting for answers does not lower the rate.
const OVERLOAD_CONNECTIONS: u64 = 48;
/// How long anvil may take to answer.
const START_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);
/// Block interval of Keystead in milliseconds: its default.
const INTERVAL_MS: u64 = 200;

/// What is sent by both.
struct Duel {
    name: &'static str,
    asset: &'static str,
    recipients: &'static str,
}

const DUELS: [Duel; 3] = [
    Duel { name: "plain transfers to fresh recipients", asset: "coin", recipients: "fresh" },
    Duel { name: "plain transfers to known recipients", asset: "coin", recipients: "known" },
    Duel { name: "OpenZeppelin ERC-20 transfers", asset: "token", recipients: "known" },
];
/// The duel whose peak the overload and the four validators are compared with.
const PLAIN: &Duel = &DUELS[0];

/// One run of a load.
#[derive(Clone, Copy)]
struct Run {
    per_s: f64,
    per_cpu_s: f64,
    read_p95_us: f64,
}

/// Measures everything, or the scenarios whose name contains `only`.
pub(super) fn measure(root: &Path, keystead: &Path, only: Option<&str>) -> Result<Vec<Row>> {
    let wanted = |name: &str| only.is_none_or(|only| name.contains(only));
    let folder = root.join("xtask").join("peer");
    npm_packages(&folder)?;
    let anvil = folder.join("node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil");
    let version = quiet(Command::new(&anvil).arg("--version")).ok_or_else(|| eyre!("anvil does not start"))?;
    println!("{}", version.lines().next().unwrap_or_default());
    let bench = Bench { keystead, anvil: &anvil };
    let mut rows = Vec::new();
    let mut plain = None;
    for duel in DUELS.iter().filter(|duel| wanted(duel.name)) {
        let (ours, theirs) = bench.duel(duel)?;
        if duel.name == PLAIN.name {
            plain = Some((median(&ours, |run| run.per_s), median(&theirs, |run| run.per_s)));
        }
        let name = format!("{}, one validator, included per second", duel.name);
        rows.push(compared(&name, "tx/s", ">= 1.5x anvil", [&ours, &theirs], |run| run.per_s));
        let name = format!("{}, one validator, per CPU-second of the node", duel.name);
        rows.push(compared(&name, "tx", ">= 2x anvil", [&ours, &theirs], |run| run.per_cpu_s));
    }
    if let Some((peak, anvil)) = plain {
        rows.push(bench.four(anvil)?);
        rows.extend(bench.overload(peak)?);
    }
    if wanted("submit to receipt") {
        rows.extend(bench.latency()?);
    }
    ensure!(!rows.is_empty(), "no scenario is called so");
    Ok(rows)
}

struct Bench<'b> {
    keystead: &'b Path,
    anvil: &'b PathBuf,
}

impl Bench<'_> {
    /// The runs of both, in turns.
    fn duel(&self, duel: &Duel) -> Result<(Vec<Run>, Vec<Run>)> {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let arguments = ["--asset", duel.asset, "--recipients", duel.recipients];
        for _ in 0..ROUNDS {
            let network = Network::start(self.keystead, 1, INTERVAL_MS)?;
            ours.push(self.peak(&urls(&network)?, &network.validators, TRANSACTIONS, &arguments)?);
            drop(network);
            let anvil = Anvil::start(self.anvil)?;
            theirs.push(self.peak(&[anvil.url()], std::slice::from_ref(&anvil.process), TRANSACTIONS, &arguments)?);
        }
        Ok((ours, theirs))
    }

    /// Four validators on the same machine, each of which does all the work.
    fn four(&self, anvil: f64) -> Result<Row> {
        let mut runs = Vec::new();
        for _ in 0..ROUNDS {
            let network = Network::start(self.keystead, 4, INTERVAL_MS)?;
            let arguments = ["--asset", PLAIN.asset, "--recipients", PLAIN.recipients];
            runs.push(self.peak(&urls(&network)?, &network.validators, TRANSACTIONS / 2, &arguments)?);
        }
        let value = median(&runs, |run| run.per_s);
        let name = format!("{}, four validators on one machine, included per second", PLAIN.name);
        Ok(Row::new(&name, value, "tx/s")
            .spread(format!("{:.2}x anvil; runs {}", value / anvil, list(&runs, |run| run.per_s)))
            .goal(">= 0.4x anvil"))
    }

    /// Three times what one validator sustains.
    fn overload(&self, peak: f64) -> Result<[Row; 2]> {
        let mut runs = Vec::new();
        let (rate, connections) = (format!("{:.0}", peak * OVERLOAD), OVERLOAD_CONNECTIONS.to_string());
        let arguments =
            ["--asset", PLAIN.asset, "--recipients", PLAIN.recipients, "--rate", &rate, "--connections", &connections];
        // LOSSY: a count of transactions, far below 2^53.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let transactions = (peak * OVERLOAD_SECONDS) as u64;
        for _ in 0..ROUNDS {
            let network = Network::start(self.keystead, 1, INTERVAL_MS)?;
            runs.push(self.peak(&urls(&network)?, &network.validators, transactions, &arguments)?);
        }
        let value = median(&runs, |run| run.per_s);
        let share = value / peak * 100.0;
        let included = Row::new("plain transfers included per second at 3x the sustained rate", value, "tx/s")
            .spread(format!("{share:.0} % of the peak; runs {}", list(&runs, |run| run.per_s)))
            .goal(">= 90 % of the peak");
        let reads = median(&runs, |run| run.read_p95_us) / 1_000.0;
        let reads = Row::new("balance reads meanwhile, p95", reads, "ms")
            .spread(format!("runs in us: {}", list(&runs, |run| run.read_p95_us)))
            .goal("<= 200")
            .less_is_better(true);
        Ok([included, reads])
    }

    /// A modest rate, as users see it.
    fn latency(&self) -> Result<[Row; 2]> {
        let (mut p50, mut p95) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let network = Network::start(self.keystead, 4, INTERVAL_MS)?;
            let (report, _) = super::load(self.keystead, &network, 200, 15, 200)?;
            p50.push(figure(&report, "/latency_ms/p50")?);
            p95.push(figure(&report, "/latency_ms/p95")?);
        }
        let row = |name: &str, mut values: Vec<f64>, goal: &str| {
            let shown: Vec<String> = values.iter().map(|value| format!("{value:.0}")).collect();
            values.sort_by(f64::total_cmp);
            let value = values.get(values.len() / 2).copied().unwrap_or_default();
            Row::new(name, value, "ms").spread(format!("runs {}", shown.join(", "))).goal(goal).less_is_better(true)
        };
        Ok([
            row("submit to receipt at 200 tx/s, four validators, p50", p50, "<= 150"),
            row("submit to receipt at 200 tx/s, four validators, p95", p95, "<= 300"),
        ])
    }

    /// One run of `keystead bench peak`.
    fn peak(&self, urls: &[String], processes: &[Child], transactions: u64, arguments: &[&str]) -> Result<Run> {
        let mut command = Command::new(self.keystead);
        command.args(["bench", "peak", "--transactions", &transactions.to_string()]).args(arguments);
        urls.iter().for_each(|url| {
            command.args(["--rpc", url]);
        });
        processes.iter().for_each(|process| {
            command.args(["--pid", &process.id().to_string()]);
        });
        println!("$ {}", show(&command));
        let printed = quiet(&mut command).ok_or_else(|| eyre!("`{}` failed: run it to see why", show(&command)))?;
        let report: Value = serde_json::from_str(&printed).wrap_err("`keystead bench peak` printed no JSON")?;
        println!("{report}");
        Ok(Run {
            per_s: figure(&report, "/included_per_s")?,
            per_cpu_s: figure(&report, "/included_per_node_cpu_s")?,
            read_p95_us: figure(&report, "/read_us/p95")?,
        })
    }
}

fn urls(network: &Network) -> Result<Vec<String>> {
    (0..network.rpc.len()).map(|index| network.url(index)).collect()
}

/// A row of ours beside anvil's.
fn compared(name: &str, unit: &str, goal: &str, runs: [&[Run]; 2], of: fn(&Run) -> f64) -> Row {
    let [ours, theirs] = runs;
    let (value, anvil) = (median(ours, of), median(theirs, of));
    let ratio = value / anvil.max(f64::MIN_POSITIVE);
    Row::new(name, value, unit)
        .spread(format!("{ratio:.2}x anvil; runs {}; anvil {}", list(ours, of), list(theirs, of)))
        .goal(goal)
}

fn median(runs: &[Run], of: fn(&Run) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn list(runs: &[Run], of: fn(&Run) -> f64) -> String {
    runs.iter().map(|run| format!("{:.0}", of(run))).collect::<Vec<_>>().join(", ")
}

/// A running anvil; killed when dropped.
struct Anvil {
    process: Child,
    address: SocketAddr,
}

impl Anvil {
    /// Blocks of one second and of 3 Ggas: by default its gas limit allows 1,428 transfers per block.
    fn start(anvil: &Path) -> Result<Self> {
        // Taken and given back: anvil does not say which port it took if it is quiet.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(anvil);
        command.args(["--silent", "--block-time", "1", "--gas-limit", "3000000000"]);
        command.args(["--port", &address.port().to_string()]);
        println!("$ {}", show(&command));
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let anvil = Self { process, address };
        let start = Instant::now();
        while block_number(anvil.address).is_none() {
            ensure!(start.elapsed() < START_MAX, "anvil did not answer within {START_MAX:?}");
            thread::sleep(POLL);
        }
        Ok(anvil)
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        // Already ended is as good as killed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(per_s: f64) -> Run {
        Run { per_s, per_cpu_s: per_s / 2.0, read_p95_us: 1.0 }
    }

    #[test]
    fn the_median_of_three_runs_is_the_middle_one_whatever_their_order() {
        let runs = [run(30.0), run(10.0), run(20.0)];
        assert!((median(&runs, |run| run.per_s) - 20.0).abs() < f64::EPSILON);
        assert!((median(&runs, |run| run.per_cpu_s) - 10.0).abs() < f64::EPSILON);
        assert_eq!(list(&runs, |run| run.per_s), "30, 10, 20");
    }
}
