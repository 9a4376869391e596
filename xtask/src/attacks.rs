//! The list of attacks (docs/attacks.md): every row that must be there is, and every test that a row names exists.

use eyre::{Context as _, Result};
use std::{fs, path::Path};

const PAGE: &str = "docs/attacks.md";
/// The first line of the list; the page's other table, above it, says how to run the tests.
const HEADER: &str = "| attack | what stops it | tests |";
/// The attacks that must have a row.
const ROWS: [&str; 30] = [
    "junk, cheaper precision, smaller model",
    "copy another's result",
    "predict the sample, grind",
    "abort when drawn",
    "one slash, big batch",
    "build trust, then leave",
    "lazy checker",
    "provider = checker",
    "self-conviction",
    "bad program",
    "withheld input",
    "refused pay",
    "wrong input hash",
    "dust orders",
    "order floods",
    "a customer that ends an order to have its work for nothing",
    "cancelling another customer's order",
    "garbage and floods of connections",
    "customer gains from slashing",
    "newcomers and Sybils in probation",
    "chaos, other hardware",
    "griefing by appeals, accusations",
    "self-dealing for reputation",
    "fake GPU",
    "one GPU sold many times",
    "pre-fill attack on language models",
    "beacon partial for a height that is not final",
    "beacon partial of another chain",
    "beacon partial replayed",
    "beacon partial withheld by f members",
];

/// Adds what is wrong with the list.
pub(crate) fn check(root: &Path, findings: &mut Vec<String>) -> Result<()> {
    let page = fs::read_to_string(root.join(PAGE)).wrap_err_with(|| format!("cannot read {PAGE}"))?;
    findings.extend(faults(&page, |path| fs::read_to_string(root.join(path)).ok()));
    Ok(())
}

fn faults(page: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let rows: Vec<Vec<&str>> = page
        .lines()
        .skip_while(|line| *line != HEADER)
        .skip(1)
        .filter(|line| line.starts_with("| "))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let name = |cells: &[&str]| cells.first().map_or_else(String::new, |first| (*first).to_owned());
    let mut faults: Vec<String> = ROWS
        .iter()
        .filter(|wanted| rows.iter().all(|cells| name(cells) != **wanted))
        .map(|wanted| format!("{PAGE}: no row for the attack `{wanted}`"))
        .collect();
    for cells in &rows {
        let tests: Vec<&str> = cells.get(2).copied().unwrap_or_default().split('`').skip(1).step_by(2).collect();
        if tests.is_empty() {
            faults.push(format!("{PAGE}: the attack `{}` has no test", name(cells)));
        }
        faults.extend(tests.into_iter().filter_map(|test| missing(test, &read)));
    }
    faults
}

/// What is wrong with `FILE::NAME`, if anything is.
fn missing(test: &str, read: impl Fn(&str) -> Option<String>) -> Option<String> {
    let Some((path, name)) = test.split_once("::") else {
        return Some(format!("{PAGE}: `{test}` is not FILE::NAME"));
    };
    let Some(text) = read(path) else { return Some(format!("{PAGE}: there is no file {path}")) };
    // A test, or a row of the simulation.
    let forms = [format!("fn {name}("), format!("function {name}("), format!("\"{name}\"")];
    (!forms.iter().any(|form| text.contains(form))).then(|| format!("{PAGE}: {path} has no `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_and_a_test_that_are_missing_are_found() {
        let rows: String = ROWS.iter().map(|name| format!("| {name} | why | `a.rs::it_holds` |\n")).collect();
        // The table above the list has no tests, and the rows that must be there are not all.
        let whole =
            format!("| others | a command |\n{HEADER}\n|---|---|---|\n{rows}| one more | why | `a.rs::it_holds` |\n");
        let read = |path: &str| (path == "a.rs").then(|| "fn it_holds() {} \"a row\"".to_owned());
        assert_eq!(faults(&whole, read), Vec::<String>::new());
        let less = whole.replacen("| lazy checker |", "| busy checker |", 1);
        assert_eq!(faults(&less, read), [format!("{PAGE}: no row for the attack `lazy checker`")]);
        assert_eq!(faults(&rows, read).len(), ROWS.len());
        for (bad, why) in [
            ("`a.rs::it_hold`", "has no"),
            ("`b.rs::it_holds`", "no file"),
            ("`a.rs`", "not FILE::NAME"),
            ("none", "no test"),
        ] {
            // A row that must be there, and one that need not.
            for row in [ROWS[0], "one more"] {
                let good = format!("| {row} | why | `a.rs::it_holds` |");
                let page = whole.replacen(&good, &format!("| {row} | why | {bad} |"), 1);
                let found = faults(&page, read);
                assert!(found.len() == 1 && found.iter().all(|fault| fault.contains(why)), "{row}, {bad}: {found:?}");
            }
        }
        assert!(missing("a.rs::a row", read).is_none());
    }
}
