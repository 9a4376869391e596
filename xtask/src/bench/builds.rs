//! How long a fresh clone takes, from nothing and again.
//!
//! # Design
//! The clone gets a target folder of its own; what cargo and npm have downloaded before is used, since a download measures the network.
//! A run takes up to an hour, so a failure keeps the folder with its log, and the same command goes on there.

use super::Row;
use crate::process::{cargo, run};
use eyre::{Context as _, Result, ensure};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};
use tempfile::TempDir;

/// The tasks that are timed.
pub(super) const TASKS: [&str; 2] = ["demo", "test"];

/// Gives `keep` all figures so far after each run. `folder` is that of a run that failed: what it measured is not measured again.
pub(super) fn measure(
    root: &Path,
    task: &str,
    folder: Option<&Path>,
    mut keep: impl FnMut(&[Row]) -> Result<()>,
) -> Result<()> {
    let (folder, temporary) = match folder {
        Some(folder) => (folder.to_owned(), None),
        None => {
            let temporary = tempfile::Builder::new().prefix("keystead-builds-").tempdir()?;
            (temporary.path().to_owned(), Some(temporary))
        }
    };
    let measured = fresh_clone(root, &folder).and_then(|()| halves(&folder, task, &mut keep));
    if measured.is_err() {
        let _kept = temporary.map(TempDir::keep);
        println!("go on with: cargo xtask bench --builds {task} {}", folder.display());
    }
    measured
}

/// A clone of the committed tree, with the folder beside it that tests look for.
fn fresh_clone(root: &Path, folder: &Path) -> Result<()> {
    let clone = folder.join("clone");
    if clone.is_dir() {
        return Ok(());
    }
    run(Command::new("git").arg("clone").arg("--quiet").arg(root).arg(&clone))?;
    if let Ok(shared) = fs::canonicalize(root.join("..").join("shared")) {
        std::os::unix::fs::symlink(shared, folder.join("shared"))?;
    }
    Ok(())
}

/// The run from nothing, and the one after it.
fn halves(folder: &Path, task: &str, keep: &mut impl FnMut(&[Row]) -> Result<()>) -> Result<()> {
    let mut rows = Vec::new();
    for state in ["cold", "warm"] {
        let done = folder.join(format!("{task}.{state}"));
        let seconds = match fs::read_to_string(&done) {
            Ok(text) => text.trim().parse().wrap_err_with(|| format!("{} is not a number", done.display()))?,
            Err(_not_yet) => time(&folder.join("clone"), &folder.join("target"), task)?,
        };
        fs::write(&done, format!("{seconds}\n"))?;
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
        text.lines().filter(|line| line.ends_with("... FAILED")).for_each(|line| println!("{line}"));
        let from = text.lines().count().saturating_sub(40);
        text.lines().skip(from).for_each(|line| println!("{line}"));
    }
    ensure!(status.success(), "`cargo xtask {task}` failed in a fresh clone: {status}");
    Ok(start.elapsed().as_secs_f64())
}
