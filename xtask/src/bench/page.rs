//! The committed figures: docs/benchmarks.json, and the page that is written from it.

use crate::process::quiet;
use eyre::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, process::Command, thread};

const FILE: &str = "docs/benchmarks.json";
const PAGE: &str = "docs/BENCHMARKS.md";
/// Text below the tables: profiles, what was done about them, goals out of reach.
const NOTES: &str = "docs/benchmark-notes.md";
/// A figure may be this many times worse than the committed one before `--quick` fails.
const WORSE_MAX: f64 = 2.0;
/// Milliseconds below this are noise on a shared machine: `--quick` does not compare them.
const NOISE_MS: f64 = 20.0;

/// One figure.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    name: String,
    value: f64,
    unit: String,
    spread: String,
    goal: String,
    /// What others publish about the same, with its source; empty if nothing is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    beside: String,
    less_is_better: bool,
    /// A count of bad events, or a difference: nothing is wrong with it if it is not positive.
    #[serde(skip)]
    may_be_zero: bool,
}

impl Row {
    pub(super) fn new(name: &str, value: f64, unit: &str) -> Self {
        let (name, unit) = (name.to_owned(), unit.to_owned());
        let (spread, goal, beside) = (String::new(), "-".to_owned(), String::new());
        Self { name, value, unit, spread, goal, beside, less_is_better: false, may_be_zero: false }
    }

    pub(super) fn beside(self, beside: &str) -> Self {
        Self { beside: beside.to_owned(), ..self }
    }

    pub(super) fn may_be_zero(self) -> Self {
        Self { may_be_zero: true, ..self }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn spread(self, spread: impl Into<String>) -> Self {
        Self { spread: spread.into(), ..self }
    }

    pub(super) fn goal(self, goal: &str) -> Self {
        Self { goal: goal.to_owned(), ..self }
    }

    pub(super) fn less_is_better(self, less_is_better: bool) -> Self {
        Self { less_is_better, ..self }
    }

    pub(super) fn print(&self) {
        println!("{:<70} {:>10.2} {:<6} {} (goal {})", self.name, self.value, self.unit, self.spread, self.goal);
    }

    /// What is wrong with this figure, if it is more than [`WORSE_MAX`] times worse than `committed`; `slower` says how
    /// many times slower this machine is than the one of the committed figure.
    fn worse_than(&self, committed: &Self, slower: f64) -> Option<String> {
        let ratio = if self.less_is_better {
            self.value / committed.value
        } else {
            committed.value / self.value.max(f64::MIN_POSITIVE)
        };
        let noise = self.less_is_better && self.unit == "ms" && self.value < NOISE_MS;
        let (name, unit) = (&self.name, &self.unit);
        (ratio / slower > WORSE_MAX && !noise)
            .then(|| format!("{name}: {:.2} {unit}, committed {:.2} {unit}", self.value, committed.value))
    }
}

/// Rows of one command.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Group {
    command: String,
    commit: String,
    date: String,
    machine: String,
    /// See `speed`.
    rounds_per_ms: f64,
    rows: Vec<Row>,
}

/// Everything that is committed, by group.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub(super) struct Figures {
    groups: BTreeMap<String, Group>,
}

impl Figures {
    pub(super) fn read(root: &Path) -> Result<Self> {
        let text = fs::read_to_string(root.join(FILE)).wrap_err_with(|| format!("cannot read {FILE}"))?;
        serde_json::from_str(&text).wrap_err_with(|| format!("{FILE} is malformed"))
    }

    /// Replaces a group by what was just measured.
    pub(super) fn set(&mut self, root: &Path, name: &str, command: &str, speed: f64, rows: Vec<Row>) -> Result<()> {
        let git = |arguments: &[&str]| quiet(Command::new("git").args(arguments).current_dir(root));
        let mut commit = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_default();
        // Its own files change with every group that is measured.
        let (json, page) = (format!(":!{FILE}"), format!(":!{PAGE}"));
        if git(&["status", "--porcelain", "--", ".", &json, &page]).is_none_or(|changes| !changes.is_empty()) {
            commit.push_str(" and what was not committed then");
        }
        let date = quiet(Command::new("date").args(["-u", "+%Y-%m-%d"])).unwrap_or_default();
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
        let cores = thread::available_parallelism().map_or(0, usize::from);
        let machine = format!("{}, {cores} cores", model.trim_start_matches(['\t', ' ', ':']));
        for row in &rows {
            ensure!(row.value.is_finite() && (row.value > 0.0 || row.may_be_zero), "not positive: {}", row.name);
        }
        let group = Group { command: command.to_owned(), commit, date, machine, rounds_per_ms: speed, rows };
        self.groups.insert(name.to_owned(), group);
        Ok(())
    }

    /// Writes the file and the page.
    pub(super) fn write(&self, root: &Path) -> Result<()> {
        fs::write(root.join(PAGE), self.page(&notes(root))?)?;
        fs::write(root.join(FILE), serde_json::to_string_pretty(self)? + "\n")?;
        println!("wrote {PAGE}");
        Ok(())
    }

    /// The page of these figures, with these notes below.
    fn page(&self, notes: &str) -> Result<String> {
        let mut page = String::from(
            "# Benchmarks\n\nWritten by the commands below; do not edit. Every table is measured by its command on one machine in one run, with the\n`dev` profile that tests and demo use (`Cargo.toml`).\n",
        );
        for (name, group) in &self.groups {
            let Group { command, commit, date, machine, rows, .. } = group;
            writeln!(page, "\n## {}{}\n", name[..1].to_uppercase(), &name[1..])?;
            writeln!(page, "`{command}`. Machine: {machine}. Date: {date}. Commit: {commit}.\n")?;
            let others = rows.iter().any(|row| !row.beside.is_empty());
            let (head, line) = if others { (" published by others |", "---|") } else { ("", "") };
            writeln!(page, "| figure | value | spread | goal |{head}\n|---|---|---|---|{line}")?;
            for row in rows {
                let beside = if others { format!(" {} |", row.beside) } else { String::new() };
                writeln!(
                    page,
                    "| {} | {:.2} {} | {} | {} |{beside}",
                    row.name, row.value, row.unit, row.spread, row.goal
                )?;
            }
        }
        if !notes.is_empty() {
            page.push('\n');
            page.push_str(notes);
        }
        Ok(page)
    }

    /// Fails if a committed row of the group is missing in `rows`, or much better than the one there.
    pub(super) fn compare(&self, group: &str, speed: f64, rows: &[Row]) -> Result<()> {
        let Some(committed) = self.groups.get(group) else { bail!("no committed figures of {group}") };
        // A faster machine is not expected to be better, only not to be worse.
        let slower = (committed.rounds_per_ms / speed).max(1.0);
        let mut findings = Vec::new();
        for old in &committed.rows {
            match rows.iter().find(|row| row.name == old.name) {
                Some(row) => findings.extend(row.worse_than(old, slower)),
                None => findings.push(format!("{}: missing", old.name)),
            }
        }
        if findings.is_empty() {
            println!(
                "no figure is more than {WORSE_MAX} times worse than the committed one (this machine is {slower:.2} times slower)"
            );
            return Ok(());
        }
        bail!("figures got worse (this machine is {slower:.2} times slower): {}", findings.join("; "))
    }
}

fn notes(root: &Path) -> String {
    fs::read_to_string(root.join(NOTES)).unwrap_or_default()
}

/// Adds what is wrong with the committed page: it must be what the file of figures and the notes give.
pub(super) fn check(root: &Path, findings: &mut Vec<String>) -> Result<()> {
    let page = fs::read_to_string(root.join(PAGE)).wrap_err_with(|| format!("cannot read {PAGE}"))?;
    findings.extend(fault(&page, &Figures::read(root)?.page(&notes(root))?));
    Ok(())
}

/// The first line in which the page is another than it should be.
fn fault(page: &str, expected: &str) -> Option<String> {
    if page == expected {
        return None;
    }
    let same = page.lines().zip(expected.lines()).take_while(|(one, other)| one == other);
    let line = same.count().saturating_add(1);
    Some(format!("{PAGE}:{line}: not what {FILE} and {NOTES} give: `cargo xtask bench --page` writes it anew"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn figures(rows: Vec<Row>) -> Figures {
        let text = String::new;
        let group =
            Group { command: text(), commit: text(), date: text(), machine: text(), rounds_per_ms: 1_000.0, rows };
        Figures { groups: BTreeMap::from([("g".to_owned(), group)]) }
    }

    fn time(value: f64) -> Row {
        Row::new("time", value, "ms").less_is_better(true)
    }

    fn rate(value: f64) -> Row {
        Row::new("rate", value, "1/s")
    }

    #[test]
    fn a_missing_row_fails() {
        let error = figures(vec![time(50.0), rate(10.0)]).compare("g", 1_000.0, &[time(50.0)]).unwrap_err();
        assert!(error.to_string().contains("rate: missing"), "{error}");
    }

    #[test]
    fn twice_as_bad_passes_and_worse_fails_in_both_directions() {
        let committed = figures(vec![time(50.0), rate(10.0)]);
        assert!(committed.compare("g", 1_000.0, &[time(100.0), rate(5.0)]).is_ok());
        assert!(committed.compare("g", 1_000.0, &[time(101.0), rate(5.0)]).is_err());
        assert!(committed.compare("g", 1_000.0, &[time(100.0), rate(4.9)]).is_err());
    }

    #[test]
    fn a_slower_machine_is_given_its_time_and_a_faster_one_none_less() {
        let committed = figures(vec![time(50.0)]);
        assert!(committed.compare("g", 500.0, &[time(200.0)]).is_ok());
        assert!(committed.compare("g", 500.0, &[time(201.0)]).is_err());
        assert!(committed.compare("g", 2_000.0, &[time(100.0)]).is_ok());
    }

    #[test]
    fn a_count_may_be_zero_and_a_figure_that_was_not_measured_may_not() {
        let root = crate::process::root().unwrap();
        let mut figures = figures(Vec::new());
        let mut set = |row: Row| figures.set(&root, "g", "c", 1.0, vec![row]);
        assert!(set(Row::new("false slashes", 0.0, "units").may_be_zero()).is_ok());
        assert!(set(Row::new("slower", -0.2, "%").may_be_zero()).is_ok());
        assert!(set(rate(0.0)).is_err());
        assert!(set(Row::new("slower", f64::NAN, "%").may_be_zero()).is_err());
    }

    #[test]
    fn a_page_that_says_what_no_figure_says_is_found_by_its_line() {
        let page = figures(vec![time(50.0)]).page("## Notes\n\nfifty\n").unwrap();
        assert!(page.ends_with("| time | 50.00 ms |  | - |\n\n## Notes\n\nfifty\n"), "{page}");
        assert_eq!(fault(&page, &page), None);
        let old = page.replace("fifty", "sixty");
        let found = fault(&old, &page).unwrap();
        let line = page.lines().count();
        assert!(found.starts_with(&format!("{PAGE}:{line}: ")), "{found}");
        assert!(fault(page.strip_suffix('\n').unwrap(), &page).is_some());
    }

    #[test]
    fn milliseconds_in_the_noise_are_not_compared() {
        assert!(figures(vec![time(1.0)]).compare("g", 1_000.0, &[time(19.0)]).is_ok());
    }
}
