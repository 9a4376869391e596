//! Measures what the project promises and writes docs/BENCHMARKS.md, or compares a short run with what stands there.
//!
//! # Design
//! Each figure is a row with a goal where there is one. docs/benchmarks.json holds the rows of the last measurement, by
//! group; the page is written from it, so a group can be measured alone. `--quick` runs everything shortly and fails on a
//! missing row or a figure that is more than twice as bad as the committed one, after both were put in proportion to the
//! speed of the machine they come from.

mod builds;
mod market;
mod page;
mod peer;
mod printed;
mod speed;
mod state;

use crate::{
    network::Network,
    process::{build_workspace, quiet, show},
};
use eyre::{Context as _, Result, eyre};
use page::{Figures, Row};
use serde_json::Value;
pub(crate) use state::Size;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

/// Clock ticks per second of `/proc/PID/stat` (Linux: always 100 for user space).
const TICKS_PER_SECOND: f64 = 100.0;

/// Whether to publish or to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Write,
    Quick,
}

/// The group of the rows that `run` measures.
const GROUP: &str = "network and proofs";
/// The group of the rows that `peer` measures.
const PEER_GROUP: &str = "throughput beside anvil 1.7.1";

/// Measures the network and the verifiers. A short run that looks worse than the committed figures is repeated once: whatever
/// else the machine did meanwhile slows a few seconds down, and what really got worse stays so.
pub(crate) fn run(root: &Path, mode: Mode) -> Result<()> {
    let binaries = Binaries::build(root)?;
    match once(root, &binaries, mode) {
        Err(error) if mode == Mode::Quick => {
            println!("once more, since {error:#}");
            once(root, &binaries, mode)
        }
        outcome => outcome,
    }
}

fn once(root: &Path, binaries: &Binaries, mode: Mode) -> Result<()> {
    let seconds = if mode == Mode::Quick { 5 } else { 20 };
    let speed = speed::measure();
    println!("speed of this machine: {speed:.0} rounds/ms");
    let mut rows = Vec::new();
    paced(&binaries.keystead, seconds, &mut rows)?;
    throughput(&binaries.keystead, seconds, &mut rows)?;
    idle(&binaries.keystead, seconds, &mut rows)?;
    verify(root, binaries, &mut rows)?;
    rows.iter().for_each(Row::print);
    let mut figures = Figures::read(root)?;
    match mode {
        Mode::Write => {
            figures.set(root, GROUP, "cargo xtask bench", speed, rows)?;
            figures.write(root)
        }
        Mode::Quick => {
            figures.compare(GROUP, speed, &rows)?;
            market::guard(root, &binaries.debug, speed)
        }
    }
}

/// Measures how long a fresh clone takes to build and run `demo` and `test`, or one of them, going on in the folder of a run that failed.
pub(crate) fn builds(root: &Path, only: Option<&str>, folder: Option<&Path>) -> Result<()> {
    let speed = speed::measure();
    let mut figures = Figures::read(root)?;
    for task in builds::TASKS.into_iter().filter(|task| only.is_none_or(|only| *task == only)) {
        let (name, command) = (format!("fresh clone: {task}"), format!("cargo xtask bench --builds {task}"));
        builds::measure(root, task, folder, |rows| {
            figures.set(root, &name, &command, speed, rows.to_vec())?;
            figures.write(root)
        })?;
    }
    Ok(())
}

/// Measures one node and four beside anvil. All scenarios together are published; those whose name contains `only` are
/// printed.
pub(crate) fn peer(root: &Path, only: Option<&str>) -> Result<()> {
    let binaries = Binaries::build(root)?;
    let speed = speed::measure();
    let rows = peer::measure(root, &binaries.keystead, only)?;
    rows.iter().for_each(Row::print);
    if only.is_some() {
        return Ok(());
    }
    let mut figures = Figures::read(root)?;
    figures.set(root, PEER_GROUP, "cargo xtask bench --peer", speed, rows)?;
    figures.write(root)
}

/// Measures the state engine and the import.
pub(crate) fn state(root: &Path, size: Size) -> Result<()> {
    state::run(root, size)
}

/// Measures the figures of the compute market: all parts, or those whose name contains `only`.
pub(crate) fn market(root: &Path, mode: Mode, only: Option<&str>) -> Result<()> {
    market::run(root, mode, only)
}

/// Writes the page anew from what is committed, after its notes were changed.
pub(crate) fn page(root: &Path) -> Result<()> {
    Figures::read(root)?.write(root)
}

/// Adds to the findings what the committed page says otherwise than figures and notes do.
pub(crate) fn check_page(root: &Path, findings: &mut Vec<String>) -> Result<()> {
    page::check(root, findings)
}

/// The programs that are measured, as the tests build them.
struct Binaries {
    /// Where all programs lie; examples are below it.
    debug: PathBuf,
    keystead: PathBuf,
    verify_time: PathBuf,
}

impl Binaries {
    fn build(root: &Path) -> Result<Self> {
        let debug = build_workspace(root)?;
        let (keystead, verify_time) = (debug.join("keystead"), debug.join("examples").join("verify_time"));
        Ok(Self { debug, keystead, verify_time })
    }
}

/// `keystead bench load` against a network; returns its report and the validators' CPU seconds meanwhile.
fn load(keystead: &Path, network: &Network, rate: u64, seconds: u64, senders: u64) -> Result<(Value, f64)> {
    let before = cpu_seconds(&network.validators)?;
    let mut command = Command::new(keystead);
    command.args(["bench", "load", "--rate", &rate.to_string(), "--seconds", &seconds.to_string()]);
    command.args(["--senders", &senders.to_string()]);
    for index in 0..network.rpc.len() {
        command.args(["--rpc", &network.url(index)?]);
    }
    println!("$ {}", show(&command));
    let printed = quiet(&mut command).ok_or_else(|| eyre!("`keystead bench load` failed"))?;
    let spent = cpu_seconds(&network.validators)? - before;
    let report: Value = serde_json::from_str(&printed).wrap_err("`keystead bench load` printed no JSON")?;
    println!("{report}");
    Ok((report, spent))
}

fn figure(report: &Value, path: &str) -> Result<f64> {
    report.pointer(path).and_then(Value::as_f64).ok_or_else(|| eyre!("no {path} in the report"))
}

fn spread(report: &Value, key: &str) -> Result<String> {
    let at = |name: &str| figure(report, &format!("/{key}/{name}"));
    Ok(format!("p95 {:.0}, p99 {:.0}, max {:.0}, n={:.0}", at("p95")?, at("p99")?, at("max")?, at("count")?))
}

/// Latencies at a modest rate with the default block interval of 200 ms.
fn paced(keystead: &Path, seconds: u64, rows: &mut Vec<Row>) -> Result<()> {
    let network = Network::start(keystead, 4, 200)?;
    let (report, _) = load(keystead, &network, 100, seconds, 50)?;
    rows.push(
        Row::new(
            "proposal to final, p50, 4 validators, 100 tx/s, 5 blocks/s",
            figure(&report, "/finality_ms/p50")?,
            "ms",
        )
        .spread(spread(&report, "finality_ms")?)
        .goal("<= 150")
        .less_is_better(true),
    );
    rows.push(
        Row::new("submit to receipt, p50, 4 validators, 100 tx/s", figure(&report, "/latency_ms/p50")?, "ms")
            .spread(spread(&report, "latency_ms")?)
            .goal("<= 500")
            .less_is_better(true),
    );
    Ok(())
}

/// As many plain transfers as the network takes.
fn throughput(keystead: &Path, seconds: u64, rows: &mut Vec<Row>) -> Result<()> {
    let network = Network::start(keystead, 4, 200)?;
    let (report, cpu) = load(keystead, &network, 1_500, seconds, 200)?;
    let included = figure(&report, "/included")?;
    let summary = format!("sent {}, refused {}", report["sent"], report["refused"]);
    rows.push(
        Row::new(
            "plain transfers included per second, 4 validators, 1,500 tx/s offered",
            figure(&report, "/included_per_s")?,
            "tx/s",
        )
        .spread(summary)
        .goal("-")
        .less_is_better(false),
    );
    rows.push(
        Row::new(
            "plain transfers per validator-CPU-second, all 4 together",
            if cpu > 0.0 { included / cpu } else { 0.0 },
            "tx",
        )
        .spread(format!("{cpu:.1} CPU-s"))
        .goal("-")
        .less_is_better(false),
    );
    Ok(())
}

/// What a validator costs when there is nothing to do.
fn idle(keystead: &Path, seconds: u64, rows: &mut Vec<Row>) -> Result<()> {
    let network = Network::start(keystead, 4, 200)?;
    let (before, start) = (cpu_seconds(&network.validators)?, Instant::now());
    // The measurement itself is a span of time.
    thread::sleep(Duration::from_secs(seconds));
    let spent = cpu_seconds(&network.validators)? - before;
    let share = spent / start.elapsed().as_secs_f64() / network.validators.len() as f64 * 100.0;
    let memory: Vec<f64> = network.validators.iter().map(memory_mib).collect::<Result<_>>()?;
    let largest = memory.iter().copied().fold(0.0, f64::max);
    rows.push(
        Row::new("idle validator, share of one core", share, "%")
            .spread(format!("mean of 4 over {seconds} s"))
            .goal("-")
            .less_is_better(true),
    );
    rows.push(
        Row::new("idle validator, memory (RSS)", largest, "MiB")
            .spread("largest of 4".to_owned())
            .goal("<= 200")
            .less_is_better(true),
    );
    Ok(())
}

/// The verifiers, each measured by its own program.
fn verify(root: &Path, binaries: &Binaries, rows: &mut Vec<Row>) -> Result<()> {
    let mut rust = Command::new(&binaries.verify_time);
    rows.push(verifier("keystead verify in Rust, without file I/O", &mut rust, "<= 5")?);
    crate::tools::npm_packages(&root.join("web"))?;
    let mut node = Command::new("npm");
    node.args(["run", "--silent", "bench"]).current_dir(root.join("web"));
    rows.push(verifier("bundle verification in Node", &mut node, "<= 150")?);
    Ok(())
}

/// Reads lines `proof::verify/bundle=NAME median (10 % .. 90 %)`; the slowest kind counts.
fn verifier(name: &'static str, command: &mut Command, goal: &'static str) -> Result<Row> {
    println!("$ {}", show(command));
    let printed = quiet(command).ok_or_else(|| eyre!("`{}` failed", show(command)))?;
    let mut slowest: Option<(f64, String)> = None;
    for line in printed.lines().filter_map(|line| line.trim().strip_prefix("proof::verify/bundle=")) {
        let mut words = line.split_whitespace();
        let kind = words.next().unwrap_or_default();
        let median: f64 = words.next().unwrap_or_default().parse().wrap_err_with(|| format!("odd line: {line}"))?;
        if slowest.as_ref().is_none_or(|(most, _)| median > *most) {
            let spread =
                line.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or("", |(spread, _)| spread);
            slowest = Some((median, format!("slowest kind: {kind}; 10 % .. 90 %: {spread}")));
        }
    }
    let (value, spread) = slowest.ok_or_else(|| eyre!("`{}` printed no times", show(command)))?;
    Ok(Row::new(name, value, "ms").spread(spread).goal(goal).less_is_better(true))
}

/// User and system CPU seconds of processes so far.
fn cpu_seconds(processes: &[Child]) -> Result<f64> {
    let mut ticks = 0.0;
    for process in processes {
        let stat = fs::read_to_string(format!("/proc/{}/stat", process.id())).wrap_err("a validator has ended")?;
        // The name in parentheses may hold spaces; the numbers follow it. Fields 14 and 15 are utime and stime.
        let (_, numbers) = stat.rsplit_once(')').ok_or_else(|| eyre!("odd /proc/PID/stat"))?;
        ticks += numbers.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>();
    }
    Ok(ticks / TICKS_PER_SECOND)
}

fn memory_mib(process: &Child) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).wrap_err("a validator has ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or_else(|| eyre!("no VmRSS"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().wrap_err("odd VmRSS")?;
    Ok(kib / 1_024.0)
}
