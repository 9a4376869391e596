//! `cargo xtask sim`: runs the market's simulation and writes what came out to docs/SIMULATION.md. With `--calibrate` the same orders are run by real
//! processes, and the page says how far the simulation is off.

mod calibrate;

use crate::process::{build_workspace, quiet, show};
use eyre::{Context as _, Result, ensure};
use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

const PAGE: &str = "docs/SIMULATION.md";
const HEAD: &str = "\
# The compute market, simulated

Written by `cargo xtask sim` and `cargo xtask sim --calibrate`; not edited by hand. The program is `sim/market`: a function of its seed, so the same command gives the same
figures on every machine whose mathematical library rounds logarithms alike. Its verdicts are those of `keystead-audit` (specs/0008-audit.md), draw by draw and finding by finding.

**How to read it.** The first table has providers who come and go. In two of its worlds all are honest: whatever is slashed or lost there is an error of the protocol. In the third every
fifth provider cheats, messages and blocks take their time (as in the second table), and a third of the seats is one ring's: it covers for its own, accuses 3 of 10,000 honest units that it checks, and three in ten of its seats say *right* to whatever they see. In the fourth
1.6 times as much is ordered as all machines would bear if each were as fast as the mean (as fast ones do more in theirs, they bear 1.28), so windows wait. *All in* is what a customer spends for a unit that it pays
for: its price of 1, fees of checks of 1 each, ten more to each who finds a canary (in the third world 1 % of the checks of honest units), and the gas of its transactions by contracts/snapshots (also of steps that anybody may send), with a unit at the price of a million gas: 0.001 KST at 1 gwei. Half of the providers are new, so
they are checked far more than later; what the audit costs once they are known says *providers from 1,000 verified units*.

The second table has the usual world once more with latency, with customers that cheat besides, and the third world of the first table. The other three of the first have no latency. Machines are in six regions, with median round trips of 5 to 250 ms between them and a log-normal spread of
0.35, and one message of 64 takes 4 to 20 times as long (all assumptions, without a source and not measured here); a transaction goes to a validator nearby, waits for one of five blocks a second and for two rounds of votes; inputs of 4 KiB to 8 MiB go at the slower of two lines of 2 Mbit/s to 1 Gbit/s, also assumed; outputs are not timed. *Order to running* is from the customer's command: the order, the choice of a
provider, dialling, the inputs, the lease. The third has what these customers did, beside honest orders from the same providers: of each trial the *measured* mean beside its *formula*, off by so many *sigmas* (standard errors); gas is that of placing orders and of taking them back, fees are those of ballots that the losing accuser pays. Who gives way in a flood and how panels rule is played. That no machine is kept from others, and that who says
nothing pays after the 60 s that are set here, are rules of the model: their zeros show that it keeps to them, and no more; real processes do in the test `crooks`.

The fourth table has the cheats of the third world, among churn and latency: *formula* is the sum of each trial's own probability, at the rate that its provider had, and *sigmas* how far it is off. Trials are wrong units, or windows where it says so; of a fake GPU its rounds, of a card that is sold many
times its epochs with at least two accounts online (a proof is due for one of eight; it counts with the statements of two of three seats). *Gain* is per lease (seats: per canary that was called right, per accusation), *honest* that of this world's honest providers. Who deals with itself has its record at once and pays for it what the formula says. Who is convicted goes on as a newcomer without a bond;
customers have no memory, which is in the cheats' favour, but they order from proved devices only: what `keystead run` and `map` do by default for jobs that ask for graphics cards alone, and for others if told to (`--proved-speed`).

The fifth plays each cheat of specs/0008-audit.md section 15 by itself, without churn, among 3,000 seats: *measured* beside the *formula*, off by so many *sigmas* of the binomial; *gain* is what the cheat earns per window of 64 units
(lazy checker: per check) in units' prices, *honest* what honesty earns in its place. In all tables a bond is 100, work costs half of its price, and gains are before gas.

**What it is not.** Units cost 1 and nobody bargains; times of drawn checkers are constants beside their computing, and latency is in the three worlds that say so alone; a checker is another account's machine of the same speed, and checks take nobody's time from orders. How far
its model of orders on one machine is from real processes: last section.
";
/// The section of the page that `--calibrate` writes.
const CALIBRATION: &str = "## Beside real processes\n\n";

pub(crate) fn run(root: &Path) -> Result<()> {
    let mut command = Command::new(build_workspace(root)?.join("keystead-sim-market"));
    println!("{}", show(&command));
    let begun = Instant::now();
    let output = command.current_dir(root).output().wrap_err("cannot run the simulation")?;
    let tables = String::from_utf8(output.stdout).wrap_err("the simulation printed no text")?;
    print!("{tables}");
    ensure!(!tables.is_empty(), "the simulation printed nothing: {}", String::from_utf8_lossy(&output.stderr));
    write(root, &timed(&tables, begun.elapsed()), &kept(root)?.1)?;
    ensure!(
        output.status.success(),
        "something was lost, paid twice, slashed wrongly, or not caught as the formula says"
    );
    Ok(())
}

/// The tables, and how long they took.
fn timed(tables: &str, took: Duration) -> String {
    format!("{}\n\nAll of this took {} s on the machine of docs/BENCHMARKS.md.\n", tables.trim(), took.as_secs())
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
        // How long the tables took belongs to them.
        let tables = timed("\nSeed 1\n\n| a |\n", Duration::from_secs(7));
        assert!(tables.ends_with("| a |\n\nAll of this took 7 s on the machine of docs/BENCHMARKS.md.\n"), "{tables}");
        assert_eq!(parts(&format!("{HEAD}\n{}\n\n{CALIBRATION}text\n", tables.trim())).0, tables);
        let (tables, last) = parts(&format!("{HEAD}\nSeed 1\n"));
        assert_eq!((tables.as_str(), last.as_str()), ("Seed 1\n", ""));
    }
}
