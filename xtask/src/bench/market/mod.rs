//! The figures of the compute market: what a unit costs beyond its work, how soon it runs, how many are committed, what the owner feels.
//!
//! # Design
//! Parts, each with a group of rows and a network of its own where it needs one: a part that fails takes nothing from the others, and what was measured is
//! written at once. A part that is named is measured again alone.
//!
//! # Not here
//! Cheats and the formulas beside them: `cargo xtask sim`.

mod live;
mod map;
mod owner;
mod programs;

use super::{Mode, Row, page::Figures, speed};
use crate::process::build_workspace;
use eyre::{Result, bail, ensure};
use std::{
    path::{Path, PathBuf},
    time::Instant,
};

/// A group of figures.
struct Part {
    name: &'static str,
    what: &'static str,
    /// About so long on two idle cores, seconds.
    seconds: u64,
    /// Whether it is measured without being named.
    usual: bool,
    measure: fn(&Bench) -> Result<Vec<Row>>,
}

const PARTS: &[Part] = &[
    Part { name: "planner", what: "plan of a job", seconds: 40, usual: true, measure: programs::planner },
    Part { name: "voucher", what: "verification of a voucher", seconds: 5, usual: true, measure: programs::voucher },
    Part { name: "overhead", what: "a unit beyond its work", seconds: 160, usual: true, measure: programs::overhead },
    Part { name: "audit", what: "share of units that are checked", seconds: 30, usual: true, measure: programs::audit },
    Part { name: "rest", what: "a provider without work", seconds: 80, usual: true, measure: live::rest },
    Part { name: "start", what: "submit to running", seconds: 120, usual: true, measure: live::start },
    Part { name: "units", what: "committed units a second", seconds: 60, usual: true, measure: live::units },
    Part { name: "owner", what: "yield and slow-down", seconds: 180, usual: true, measure: owner::measure },
    Part { name: "map", what: "a map of 4,096 units", seconds: 900, usual: false, measure: map::measure },
    Part {
        name: "vendors",
        what: "10,000 real units of other vendors",
        seconds: 1_500,
        usual: false,
        measure: programs::vendors,
    },
];

/// Parts that `cargo xtask test` compares with what is committed: those that take seconds, and whose short run has the same rows.
const GUARDED: [&str; 1] = ["voucher"];

/// What all parts use.
struct Bench {
    /// Where programs lie; examples are below it.
    debug: PathBuf,
    keystead: PathBuf,
    mode: Mode,
}

impl Bench {
    /// `full`, or `quick` in a run that only shows that everything works.
    const fn many(&self, full: usize, quick: usize) -> usize {
        match self.mode {
            Mode::Write => full,
            Mode::Quick => quick,
        }
    }
}

/// Measures the parts whose name contains `only`, or the usual ones.
pub(super) fn run(root: &Path, mode: Mode, only: Option<&str>) -> Result<()> {
    let wanted = |part: &&Part| only.map_or(part.usual, |only| part.name.contains(only));
    let parts: Vec<&Part> = PARTS.iter().filter(wanted).collect();
    let names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
    ensure!(!parts.is_empty(), "no part is called so: choose of {}", names.join(", "));
    let debug = build_workspace(root)?;
    let bench = Bench { keystead: debug.join("keystead"), debug, mode };
    let speed = speed::measure();
    println!("{} parts, about {} s on two idle cores", parts.len(), parts.iter().map(|part| part.seconds).sum::<u64>());
    let mut failed = Vec::new();
    for part in parts {
        println!("\n== {}: {}", part.name, part.what);
        let begin = Instant::now();
        match (part.measure)(&bench).and_then(|rows| keep(root, part, mode, speed, rows)) {
            Ok(()) => println!("== {}: {} s", part.name, begin.elapsed().as_secs()),
            Err(error) => {
                println!("== {}: failed after {} s: {error:#}", part.name, begin.elapsed().as_secs());
                failed.push(part.name);
            }
        }
    }
    if failed.is_empty() {
        return Ok(());
    }
    let again: Vec<String> = failed.iter().map(|name| format!("cargo xtask bench --market {name}")).collect();
    bail!("these parts failed, the others are kept; again: {}", again.join("; "))
}

/// Measures the guarded parts shortly. Fails if a figure got much worse.
pub(super) fn guard(root: &Path, debug: &Path, speed: f64) -> Result<()> {
    let bench = Bench { keystead: debug.join("keystead"), debug: debug.to_owned(), mode: Mode::Quick };
    for part in PARTS.iter().filter(|part| GUARDED.contains(&part.name)) {
        keep(root, part, Mode::Quick, speed, (part.measure)(&bench)?)?;
    }
    Ok(())
}

/// Shows the rows and writes them down. Those of a short run are only compared with what is committed, if their part is guarded.
fn keep(root: &Path, part: &Part, mode: Mode, speed: f64, rows: Vec<Row>) -> Result<()> {
    let rows: Vec<Row> = rows.into_iter().map(beside).collect();
    rows.iter().for_each(Row::print);
    let (group, command) = (format!("market: {}", part.name), format!("cargo xtask bench --market {}", part.name));
    // Read anew: another group may have been measured meanwhile.
    let mut figures = Figures::read(root)?;
    if mode == Mode::Quick {
        return if GUARDED.contains(&part.name) { figures.compare(&group, speed, &rows) } else { Ok(()) };
    }
    figures.set(root, &group, &command, speed, rows)?;
    figures.write(root)
}

/// Beginnings of our rows' names, and what others publish about the same, each with where.
const PUBLISHED: &[(&str, &str)] = &[
    (
        "submit to running",
        "Salad: first of 100 containers 3 min, half 10 min (service-performance.mdx); Golem up to 20 min (1.5 GB image, yagna#3387)",
    ),
    (
        "committed units",
        "BOINC server: 102 tasks a second on one machine, 273 on three (old hardware; Anderson, Korpela, Walton)",
    ),
    (
        "audit overhead",
        "BOINC 0.2 to 12 % (sched_send.cpp), Gonka 1 to 10 % (README), TAO 0.3 % (arXiv 2510.16028), Truebit 500 to 5,000 % (arXiv 1908.04756)",
    ),
    (
        "honest providers slashed",
        "Gonka: a rate of false positives of 5 % is allowed (params.go); Livepeer: slashing is off (forum 1499)",
    ),
    (
        "honest units of another vendor",
        "TOPLOC: no false positive in its tests (its README); BOINC: about 5 % of jobs fail or time out (GSoC 2013); Gonka: 3.25 % missed (gonka#820)",
    ),
    (
        "cheap units judged wrong",
        "TOPLOC: all changes of model, prompt and precision (its README); TAO: no attack that knew the bound succeeded (arXiv 2510.16028)",
    ),
    ("warm overhead per unit", "H100 in confidential mode: below 7 %, near none for long work (arXiv 2409.03992)"),
    ("verification of a voucher", "Golem: payment phase of 66 s (golem-js#62); x402: one transaction a request"),
    ("owner's input", "Folding@home: idle is 15 s without input; BOINC looks at other load twice in 10 s"),
];

fn beside(row: Row) -> Row {
    match PUBLISHED.iter().find(|(name, _)| row.name().starts_with(name)) {
        Some((_, text)) => row.beside(text),
        None => row,
    }
}

/// The value at a share of the values, 0.5 for the median.
fn at(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    // LOSSY: an index of a short list.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let index = (last as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        let values = [5.0, 1.0, 3.0, 2.0, 4.0];
        for (share, expected) in [(0.0, 1.0), (0.5, 3.0), (0.95, 5.0), (1.0, 5.0)] {
            assert!((at(&values, share) - expected).abs() < f64::EPSILON, "{share}");
        }
        assert!(at(&[], 0.5).abs() < f64::EPSILON);
    }

    #[test]
    fn parts_have_names_of_their_own_and_the_usual_ones_fit_into_a_quarter_of_an_hour() {
        let mut names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PARTS.len());
        assert!(GUARDED.iter().all(|name| names.contains(name)));
        let usual = PARTS.iter().filter(|part| part.usual);
        assert!(usual.map(|part| part.seconds).sum::<u64>() <= 720);
    }
}
