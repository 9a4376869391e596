//! `cargo xtask sim`: runs the market's simulation and writes what came out to docs/SIMULATION.md.

use crate::process::{build_workspace, show};
use eyre::{Context as _, Result, ensure};
use std::{fs, path::Path, process::Command};

const PAGE: &str = "docs/SIMULATION.md";
const HEAD: &str = "\
# The compute market, simulated

Written by `cargo xtask sim`; not edited by hand. The program is `sim/market`: a function of its seed, so the same command gives the same
figures on every machine. Its verdicts are those of `keystead-audit` (specs/0008-audit.md), draw by draw and finding by finding.

**How to read it.** The first table has honest providers who come and go: whatever is slashed or lost there is an error of the protocol. The second
plays each cheat of specs/0008-audit.md section 15: *measured* beside the *formula*, off by so many *sigmas* of the binomial; *gain* is what the cheat earns per window of 64 units
(lazy checker: per check) in units' prices, *honest* what honesty earns in its place, with a bond of 100 and work that costs half of its price.

**What it is not.** Units cost 1 and nobody bargains; latencies of the network are constants; a checker is another account's machine of the same speed. It is not yet
calibrated against real processes.
";

pub(crate) fn run(root: &Path) -> Result<()> {
    let mut command = Command::new(build_workspace(root)?.join("keystead-sim-market"));
    println!("{}", show(&command));
    let output = command.current_dir(root).output().wrap_err("cannot run the simulation")?;
    let tables = String::from_utf8(output.stdout).wrap_err("the simulation printed no text")?;
    print!("{tables}");
    ensure!(!tables.is_empty(), "the simulation printed nothing: {}", String::from_utf8_lossy(&output.stderr));
    fs::write(root.join(PAGE), format!("{HEAD}\n{tables}")).wrap_err("cannot write the page")?;
    ensure!(
        output.status.success(),
        "something was lost, paid twice, slashed wrongly, or not caught as the formula says"
    );
    Ok(())
}
