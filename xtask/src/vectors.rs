//! The outside vectors of Ethereum alone, with counts per suite.

use crate::{
    process::{cargo, tee},
    tally::{Tally, count_before},
};
use eyre::Result;
use std::{path::Path, process::ExitCode};

/// Where the vectors lie beside a checkout, unless `KEYSTEAD_VECTORS` says otherwise.
pub(crate) const FOLDER: &str = "../shared/vectors";
/// How the reason of a skipped suite begins.
pub(crate) const SKIP: &str = "the vectors ";
/// Test targets that run vectors, by package.
const TARGETS: [(&str, &str); 1] = [("keystead-import", "conformance")];

/// Runs the suites and prints what they counted. A suite that is skipped counts as a failure: nothing else was asked for.
pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    let mut total = Tally::default();
    let mut suites = Vec::new();
    for (package, target) in TARGETS {
        let mut command = cargo();
        command.args(["test", "-p", package, "--test", target, "--", "--nocapture"]).current_dir(root);
        let printed = tee(&mut command)?;
        let found: Vec<String> = printed.lines.iter().filter(|line| line.starts_with("suite ")).cloned().collect();
        let skipped = Tally::from_cargo(&printed.lines, printed.success).skipped;
        total.add(count(&found, &skipped, printed.success));
        suites.extend(found);
        suites.extend(skipped.into_iter().map(|reason| format!("skipped: {reason}")));
    }
    println!();
    suites.iter().for_each(|suite| println!("{suite}"));
    // Cases that are known not to pass yet are neither passed nor failed, and must not be overlooked.
    println!("{total}, {} pending", pending(&suites));
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn pending(suites: &[String]) -> u64 {
    suites.iter().map(|suite| count_before(suite, " pending")).sum()
}

/// Adds up the lines of suites; whatever else went wrong is one failure.
fn count(suites: &[String], skipped: &[String], success: bool) -> Tally {
    let mut tally = Tally::default();
    for suite in suites {
        tally.passed = tally.passed.saturating_add(count_before(suite, " passed"));
        tally.failed = tally.failed.saturating_add(count_before(suite, " failed"));
    }
    if tally.failed == 0 && (!success || !skipped.is_empty() || suites.is_empty()) {
        tally.failed = 1;
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_added_up_and_a_silent_or_skipped_run_fails() {
        let lines = ["suite a: 10 passed, 0 failed, 1 inapplicable", "suite b: 5 passed, 2 failed, 0 inapplicable"];
        let lines = lines.map(str::to_owned);
        let tally = count(&lines, &[], false);
        assert_eq!((tally.passed, tally.failed), (15, 2));
        let [green, _] = &lines;
        let green = std::slice::from_ref(green);
        assert_eq!(count(green, &[], true).failed, 0);
        assert_eq!(count(green, &["the vectors x".to_owned()], true).failed, 1);
        assert_eq!(count(green, &[], false).failed, 1, "a suite that dies before it counts");
        assert_eq!(count(&[], &[], true).failed, 1);
        assert_eq!(pending(&["suite c: 1 passed, 0 failed, 76 pending".to_owned()]), 76);
    }
}
