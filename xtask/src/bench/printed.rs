//! Figures that the measuring programs of our packages print: lines that begin with `row`.

use super::Row;
use crate::process::{show, tee};
use eyre::{Context as _, Result, ensure, eyre};
use std::process::Command;

/// Runs a program, shows what it prints as it comes, and reads the rows.
pub(super) fn rows(command: &mut Command) -> Result<Vec<Row>> {
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
    let row = Row::new(name, value, unit).spread(spread).goal(goal).less_is_better(better == "less");
    // A goal of none at all can be met.
    Ok(if goal == "0" { row.may_be_zero() } else { row })
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
