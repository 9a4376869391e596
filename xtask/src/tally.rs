//! Adds up what the test runners counted.

use std::fmt;

/// Tests by outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// The reasons that tests gave for not running.
    pub(crate) skipped: Vec<String>,
    /// What failed, each in a line or two.
    pub(crate) failures: Vec<String>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.passed = self.passed.saturating_add(other.passed);
        self.failed = self.failed.saturating_add(other.failed);
        self.skipped.extend(other.skipped);
        self.failures.extend(other.failures);
    }

    /// One step that is a test as a whole.
    pub(crate) fn step(success: bool) -> Self {
        Self { passed: u64::from(success), failed: u64::from(!success), ..Self::default() }
    }

    /// Reads the output of `cargo test -- --show-output`.
    pub(crate) fn from_cargo(lines: &[String], success: bool) -> Self {
        let mut tally = Self::default();
        for line in lines {
            if let Some(counts) = line.strip_prefix("test result: ") {
                tally.passed = tally.passed.saturating_add(count_before(counts, " passed"));
                tally.failed = tally.failed.saturating_add(count_before(counts, " failed"));
            } else if let Some(reason) = line.trim().strip_prefix("skipped: ") {
                tally.skipped.push(reason.to_owned());
            }
        }
        tally.failures = failures(lines);
        // A crate that does not compile, or a process that dies, fails without a count.
        if !success && tally.failed == 0 {
            tally.failed = 1;
        }
        tally
    }
}

/// The names of the tests that failed, each with where it stopped and why, and the lines with which a build or a process ended.
fn failures(lines: &[String]) -> Vec<String> {
    let mut found: Vec<String> = lines
        .iter()
        .filter(|line| {
            line.starts_with("error: could not compile") || line.contains("process didn't exit successfully")
        })
        .cloned()
        .collect();
    let failed = |line: &String| Some(line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?.to_owned());
    for name in lines.iter().filter_map(failed) {
        let heading = format!("---- {name} stdout ----");
        let own =
            lines.iter().skip_while(|line| **line != heading).skip(1).take_while(|line| !line.starts_with("---- "));
        let mut why = own.skip_while(|line| !line.contains(" panicked at ")).take(2).map(|line| line.trim());
        let place = why.next().and_then(|line| line.split_once(" panicked at ")).map_or("", |(_, place)| place);
        found.push(format!("{name}: {place} {}", why.next().unwrap_or_default()));
    }
    found
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// The number that stands directly before `word`.
pub(crate) fn count_before(text: &str, word: &str) -> u64 {
    let Some((before, _)) = text.split_once(word) else { return 0 };
    before.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn several_crates_are_added_up_with_their_skips() {
        let text = "test result: ok. 14 passed; 0 failed; 0 ignored\n  skipped: no Vulkan adapter\ntest result: FAILED. 3 passed; 2 failed; 0 ignored";
        let tally = Tally::from_cargo(&lines(text), false);
        assert_eq!((tally.passed, tally.failed), (17, 2));
        assert_eq!(tally.skipped, ["no Vulkan adapter"]);
    }

    #[test]
    fn failed_tests_are_named_with_their_reasons() {
        let text = "test a::b ... ok\ntest a::c ... FAILED\n\nfailures:\n\n---- a::c stdout ----\nnoise\nthread 'a::c' (7) panicked at x.rs:1:2:\nno answer\nnote: more\n\n---- a::d stdout ----\n";
        assert_eq!(Tally::from_cargo(&lines(text), false).failures, ["a::c: x.rs:1:2: no answer"]);
    }

    #[test]
    fn a_crate_that_does_not_compile_is_a_failure() {
        assert_eq!(Tally::from_cargo(&lines("error: could not compile"), false).failed, 1);
        assert_eq!(Tally::from_cargo(&lines(""), true).failed, 0);
    }
}
