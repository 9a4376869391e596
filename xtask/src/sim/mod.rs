//! `cargo xtask sim`: runs the market's simulation and writes what came out to docs/SIMULATION.md. With `--calibrate` the same orders are run by real
//! processes, and the page says how far the simulation is off.

mod calibrate;

use crate::process::{build_workspace, quiet, show};
use eyre::{Context as _, Result, ensure};
use std::{fs, path::Path, process::Command};

const PAGE: &str = "docs/SIMULATION.md";
const HEAD: &str = "\
# The compute market, simulated

Written by `cargo xtask sim` and `cargo xtask sim --calibrate`; not edited by hand. The program is `sim/market`: a function of its seed, so the same command gives the same
figures on every machine. Its verdicts are those of `keystead-audit` (specs/0008-audit.md), draw by draw and finding by finding.

**How to read it.** The first table has honest providers who come and go: whatever is slashed or lost there is an error of the protocol. The second
plays each cheat of specs/0008-audit.md section 15: *measured* beside the *formula*, off by so many *sigmas* of the binomial; *gain* is what the cheat earns per window of 64 units
(lazy checker: per check) in units' prices, *honest* what honesty earns in its place, with a bond of 100 and work that costs half of its price.

**What it is not.** Units cost 1 and nobody bargains; latencies of the network are constants; a checker is another account's machine of the same speed. How far
its model of orders on one machine is from real processes: last section.
";
/// The section of the page that `--calibrate` writes.
const CALIBRATION: &str = "## Beside real processes\n\n";

pub(crate) fn run(root: &Path) -> Result<()> {
    let mut command = Command::new(build_workspace(root)?.join("keystead-sim-market"));
    println!("{}", show(&command));
    let output = command.current_dir(root).output().wrap_err("cannot run the simulation")?;
    let tables = String::from_utf8(output.stdout).wrap_err("the simulation printed no text")?;
    print!("{tables}");
    ensure!(!tables.is_empty(), "the simulation printed nothing: {}", String::from_utf8_lossy(&output.stderr));
    write(root, &tables, &kept(root)?.1)?;
    ensure!(
        output.status.success(),
        "something was lost, paid twice, slashed wrongly, or not caught as the formula says"
    );
    Ok(())
}

/// How much is run for the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// What is published.
    Full,
    /// Shows that it works; only printed.
    Short,
}

/// Runs the same market by real processes and by the simulator.
pub(crate) fn calibrate(root: &Path, length: Length) -> Result<()> {
    let section = calibrate::run(root, length)?;
    println!("\n{section}\ngoal: at most {} % off", calibrate::GOAL_PERCENT);
    if length == Length::Short {
        return Ok(());
    }
    let (tables, _) = kept(root)?;
    let commit =
        quiet(Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(root)).unwrap_or_default();
    let head = format!("`cargo xtask sim --calibrate`, commit {commit}, on the machine of docs/BENCHMARKS.md.\n\n");
    write(root, &tables, &format!("{CALIBRATION}{head}{section}"))
}

/// The tables of the page as it is, and its last section with its title; empty where there is none.
fn kept(root: &Path) -> Result<(String, String)> {
    let page = fs::read_to_string(root.join(PAGE)).wrap_err_with(|| format!("cannot read {PAGE}"))?;
    Ok(parts(&page))
}

fn parts(page: &str) -> (String, String) {
    let at = page.find(CALIBRATION).unwrap_or(page.len());
    let (first, last) = page.split_at(at);
    let tables = first.find("\nSeed ").map_or("", |at| first.get(at..).unwrap_or_default());
    (tables.trim().to_owned() + "\n", last.to_owned())
}

fn write(root: &Path, tables: &str, calibration: &str) -> Result<()> {
    let gap = if calibration.is_empty() { "" } else { "\n" };
    let page = format!("{HEAD}\n{}\n{gap}{calibration}", tables.trim());
    fs::write(root.join(PAGE), page).wrap_err("cannot write the page")?;
    println!("wrote {PAGE}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_keeps_what_the_other_wrote() {
        let page = format!("{HEAD}\nSeed 1, 2 providers.\n\n| a |\n\n{CALIBRATION}text\n");
        assert_eq!(parts(&page), ("Seed 1, 2 providers.\n\n| a |\n".to_owned(), format!("{CALIBRATION}text\n")));
        let (tables, last) = parts(&format!("{HEAD}\nSeed 1\n"));
        assert_eq!((tables.as_str(), last.as_str()), ("Seed 1\n", ""));
    }
}
