//! The figures of the state engine, of searches for logs and of the import, measured by programs of their packages.

use super::{Row, page::Figures, speed};
use crate::process::{build_workspace, show, tee};
use eyre::{Context as _, Result, ensure, eyre};
use std::{path::Path, process::Command};

const GROUP: &str = "state engine";

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// Ten million accounts: some minutes. The figures are kept.
    Full,
    /// Shows within seconds that the programs run: the figures of so small a state say nothing, and are not kept.
    Quick,
}

pub(super) fn run(root: &Path, size: Size) -> Result<()> {
    let examples = build_workspace(root)?.join("examples");
    let speed = speed::measure();
    let [mut state, mut logs, mut import] =
        ["figures", "logs", "import_time"].map(|program| Command::new(examples.join(program)));
    // One core, as the goal says.
    import.env("RAYON_NUM_THREADS", "1");
    if size == Size::Quick {
        state.arg("--quick");
        logs.args(["100", "20"]);
        import.arg("3");
    }
    let mut rows = rows(&mut state)?;
    rows.extend(self::rows(&mut logs)?);
    rows.extend(self::rows(&mut import)?);
    rows.iter().for_each(Row::print);
    if size == Size::Quick {
        return Ok(());
    }
    let mut figures = Figures::read(root)?;
    figures.set(root, GROUP, "cargo xtask bench --state", speed, rows)?;
    figures.write(root)
}

/// Runs a program, shows what it prints as it comes, and reads the rows.
fn rows(command: &mut Command) -> Result<Vec<Row>> {
    let printed = tee(command)?;
    ensure!(printed.success, "`{}` failed", show(command));
    let lines = printed.lines.iter().filter_map(|line| line.strip_prefix("row\t"));
    let rows: Vec<Row> = lines.map(row).collect::<Result<_>>()?;
    ensure!(!rows.is_empty(), "`{}` printed no figure", show(command));
    Ok(rows)
}

/// Reads name, value, unit, spread, goal and `less` or `more`, between tabs.
fn row(line: &str) -> Result<Row> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [name, value, unit, spread, goal, better] = fields[..] else { return Err(eyre!("odd row: {line}")) };
    ensure!(matches!(better, "less" | "more"), "odd row: {line}");
    let value = value.parse().wrap_err_with(|| format!("odd row: {line}"))?;
    Ok(Row::new(name, value, unit).spread(spread).goal(goal).less_is_better(better == "less"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_row_is_read_and_a_short_or_odd_one_is_refused() {
        assert!(row("start\t14.250\tCPU-s\t15 s wall\t<= 20\tless").is_ok());
        for odd in ["start\t14.250\tCPU-s\t\t<= 20", "start\tmuch\tCPU-s\t\t<= 20\tless", "start\t1\ts\t\t-\tworse"] {
            assert!(row(odd).is_err(), "{odd}");
        }
    }
}
