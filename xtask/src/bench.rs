//! Measures what the project promises and writes docs/BENCHMARKS.md, or compares a short run with what stands there.
//!
//! # Design
//! Each figure is a row with a goal where there is one. The machine-readable copy is docs/benchmarks.json; the page is
//! written from it. `--quick` runs everything shortly and fails on a missing row or a figure that is more than twice as
//! bad as the committed one.

use crate::{
    network::{Network, build},
    process::{quiet, show},
};
use eyre::{Context as _, Result, bail, ensure, eyre};
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

/// A figure may be this many times worse than the committed one before `--quick` fails.
const WORSE_MAX: f64 = 2.0;
/// Figures below this are noise on a shared machine: `--quick` does not compare them.
const NOISE_MS: f64 = 20.0;
/// Clock ticks per second of `/proc/PID/stat` (Linux: always 100 for user space).
const TICKS_PER_SECOND: f64 = 100.0;

/// Whether to publish or to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Write,
    Quick,
}

/// One figure.
struct Row {
    name: &'static str,
    unit: &'static str,
    value: f64,
    spread: String,
    goal: &'static str,
    /// Whether a smaller value is the better one.
    less_is_better: bool,
}

pub(crate) fn run(root: &Path, mode: Mode) -> Result<()> {
    let keystead = build(root)?;
    let seconds = if mode == Mode::Quick { 5 } else { 20 };
    let mut rows = Vec::new();
    paced(&keystead, seconds, &mut rows)?;
    throughput(&keystead, seconds, &mut rows)?;
    idle(&keystead, seconds, &mut rows)?;
    verify(root, &mut rows)?;
    for row in &rows {
        println!("{:<60} {:>10.2} {:<6} {} (goal {})", row.name, row.value, row.unit, row.spread, row.goal);
    }
    match mode {
        Mode::Write => publish(root, &rows),
        Mode::Quick => compare(root, &rows),
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
    Ok((serde_json::from_str(&printed).wrap_err("`keystead bench load` printed no JSON")?, spent))
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
    rows.push(Row {
        name: "proposal to final, p50, 4 validators, 100 tx/s, 5 blocks/s",
        unit: "ms",
        value: figure(&report, "/finality_ms/p50")?,
        spread: spread(&report, "finality_ms")?,
        goal: "<= 150",
        less_is_better: true,
    });
    rows.push(Row {
        name: "submit to receipt, p50, 4 validators, 100 tx/s",
        unit: "ms",
        value: figure(&report, "/latency_ms/p50")?,
        spread: spread(&report, "latency_ms")?,
        goal: "<= 500",
        less_is_better: true,
    });
    Ok(())
}

/// As many plain transfers as the network takes.
fn throughput(keystead: &Path, seconds: u64, rows: &mut Vec<Row>) -> Result<()> {
    let network = Network::start(keystead, 4, 200)?;
    let (report, cpu) = load(keystead, &network, 1_500, seconds, 200)?;
    let included = figure(&report, "/included")?;
    let summary = format!("sent {}, refused {}", report["sent"], report["refused"]);
    rows.push(Row {
        name: "plain transfers included per second, 4 validators, 1,500 tx/s offered",
        unit: "tx/s",
        value: figure(&report, "/included_per_s")?,
        spread: summary,
        goal: "-",
        less_is_better: false,
    });
    rows.push(Row {
        name: "plain transfers per validator-CPU-second, all 4 together",
        unit: "tx",
        value: if cpu > 0.0 { included / cpu } else { 0.0 },
        spread: format!("{cpu:.1} CPU-s"),
        goal: "-",
        less_is_better: false,
    });
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
    rows.push(Row {
        name: "idle validator, share of one core",
        unit: "%",
        value: share,
        spread: format!("mean of 4 over {seconds} s"),
        goal: "-",
        less_is_better: true,
    });
    rows.push(Row {
        name: "idle validator, memory (RSS)",
        unit: "MiB",
        value: largest,
        spread: "largest of 4".to_owned(),
        goal: "<= 200",
        less_is_better: true,
    });
    Ok(())
}

/// The verifiers, each measured by its own program.
fn verify(root: &Path, rows: &mut Vec<Row>) -> Result<()> {
    let mut rust = crate::process::cargo();
    rust.args(["run", "--quiet", "--package", "keystead-proof", "--example", "verify_time"]).current_dir(root);
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
    Ok(Row { name, unit: "ms", value, spread, goal, less_is_better: true })
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

fn publish(root: &Path, rows: &[Row]) -> Result<()> {
    let git = |arguments: &[&str]| quiet(Command::new("git").args(arguments).current_dir(root)).unwrap_or_default();
    let commit = git(&["rev-parse", "--short", "HEAD"]);
    let date = quiet(Command::new("date").args(["-u", "+%Y-%m-%d"])).unwrap_or_default();
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches(['\t', ' ', ':']);
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let mut page = String::from(
        "# Benchmarks\n\nWritten by `cargo xtask bench`; do not edit. Every row is measured by that command on one machine in one run,\nwith the `dev` profile that tests and demo use (`Cargo.toml`).\n\n",
    );
    writeln!(
        page,
        "Machine: {model}, {cores} cores. Date: {date}. Commit: {commit} (and what was not committed then).\n"
    )?;
    page.push_str("| figure | value | spread | goal |\n|---|---|---|---|\n");
    for row in rows {
        writeln!(page, "| {} | {:.2} {} | {} | {} |", row.name, row.value, row.unit, row.spread, row.goal)?;
    }
    let notes = fs::read_to_string(root.join("docs/benchmark-notes.md")).unwrap_or_default();
    page.push('\n');
    page.push_str(&notes);
    fs::write(root.join("docs/BENCHMARKS.md"), page)?;
    let figures: serde_json::Map<String, Value> =
        rows.iter().map(|row| (row.name.to_owned(), json!(row.value))).collect();
    fs::write(root.join("docs/benchmarks.json"), serde_json::to_string_pretty(&figures)? + "\n")?;
    println!("wrote docs/BENCHMARKS.md");
    Ok(())
}

fn compare(root: &Path, rows: &[Row]) -> Result<()> {
    let committed = fs::read_to_string(root.join("docs/benchmarks.json")).wrap_err("no committed figures")?;
    let committed: serde_json::Map<String, Value> = serde_json::from_str(&committed)?;
    let mut findings = Vec::new();
    for (name, figure) in &committed {
        let Some(row) = rows.iter().find(|row| row.name == name) else {
            findings.push(format!("{name}: missing"));
            continue;
        };
        let figure = figure.as_f64().ok_or_else(|| eyre!("{name}: the committed figure is no number"))?;
        ensure!(figure > 0.0, "{name}: the committed figure is not positive");
        let worse = if row.less_is_better { row.value / figure } else { figure / row.value.max(f64::MIN_POSITIVE) };
        let noise = row.less_is_better && row.unit == "ms" && row.value < NOISE_MS;
        if worse > WORSE_MAX && !noise {
            findings.push(format!("{name}: {:.2}, committed {figure:.2}", row.value));
        }
    }
    if findings.is_empty() {
        println!("no figure is more than {WORSE_MAX} times worse than the committed one");
        return Ok(());
    }
    bail!("figures got worse: {}", findings.join("; "))
}
