//! How long a fresh clone takes, from nothing and again.
//!
//! # Design
//! The clone gets a target folder of its own; what cargo and npm have downloaded before is used, since a download measures the network.

use super::Row;
use crate::process::{cargo, quiet, run};
use eyre::{Context as _, Result, ensure};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

/// The tasks that are timed.
pub(super) const TASKS: [&str; 2] = ["demo", "test"];

/// Gives `keep` all figures so far after each run: a run takes up to an hour, and the next may fail.
pub(super) fn measure(root: &Path, task: &str, mut keep: impl FnMut(&[Row]) -> Result<()>) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("keystead-builds-").tempdir()?;
    let clone = folder.path().join("clone");
    run(Command::new("git").arg("clone").arg("--quiet").arg(root).arg(&clone))?;
    let shared = root.join("..").join("shared");
    if let Ok(shared) = fs::canonicalize(shared) {
        std::os::unix::fs::symlink(shared, folder.path().join("shared"))?;
    }
    ensure!(
        quiet(Command::new("git").args(["status", "--porcelain"]).current_dir(root)).is_some(),
        "git does not work"
    );
    let mut rows = Vec::new();
    let target = folder.path().join("target");
    for state in ["cold", "warm"] {
        let seconds = time(&clone, &target, task)?;
        let name = format!("`cargo xtask {task}` in a fresh clone, {state}");
        let row = Row::new(&name, seconds, "s").spread("one run: build and run").less_is_better(true);
        row.print();
        rows.push(row);
        keep(&rows)?;
    }
    Ok(())
}

/// Seconds of one run.
fn time(clone: &Path, target: &Path, task: &str) -> Result<f64> {
    let mut command = cargo();
    command.args(["xtask", task]).current_dir(clone).env("CARGO_TARGET_DIR", target).env("CARGO_INCREMENTAL", "0");
    let log = fs::File::create(clone.with_extension(format!("{task}.txt")))?;
    println!("$ cargo xtask {task}");
    let start = Instant::now();
    let status = command.stdout(log.try_clone()?).stderr(log).stdin(Stdio::null()).status();
    let status = status.wrap_err("cannot start cargo")?;
    if !status.success() {
        let text = fs::read_to_string(clone.with_extension(format!("{task}.txt"))).unwrap_or_default();
        let from = text.lines().count().saturating_sub(40);
        text.lines().skip(from).for_each(|line| println!("{line}"));
    }
    ensure!(status.success(), "`cargo xtask {task}` failed in a fresh clone: {status}");
    Ok(start.elapsed().as_secs_f64())
}
