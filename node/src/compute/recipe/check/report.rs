//! What a check tells a person, line by line as it is found out.

/// Counts of what was told.
#[derive(Debug, Default)]
pub(super) struct Report {
    passed: u32,
    failed: u32,
    noted: u32,
}

impl Report {
    /// Something holds.
    pub(super) fn passed(&mut self, what: &str, detail: &str) {
        self.passed = self.passed.saturating_add(1);
        say("ok", what, detail);
    }

    /// Something does not hold; `next` says what to do.
    pub(super) fn failed(&mut self, what: &str, why: &str, next: &str) {
        self.failed = self.failed.saturating_add(1);
        say("FAILED", what, why);
        if !next.is_empty() {
            say("", "", &format!("next: {next}"));
        }
    }

    /// Something that is worth a look, or could not be found out here.
    pub(super) fn noted(&mut self, what: &str, why: &str) {
        self.noted = self.noted.saturating_add(1);
        say("note", what, why);
    }

    pub(super) const fn has_failed(&self) -> bool {
        self.failed > 0
    }

    /// The last line.
    pub(super) fn end(&self) {
        let Self { passed, failed, noted } = self;
        print(&format!("\n{passed} checks passed, {failed} failed, {noted} notes"));
    }
}

/// A line that the recipe's own program says while it runs; it counts as nothing.
pub(super) fn says(who: &str, line: &str) {
    say("says", who, line);
}

fn say(sign: &str, what: &str, text: &str) {
    let mut lines = text.lines();
    print(format!("{sign:<7} {what:<14} {}", lines.next().unwrap_or_default()).trim_end());
    for line in lines {
        print(&format!("{:<22} {line}", ""));
    }
}

#[allow(clippy::print_stdout, reason = "the answer to the command")]
fn print(line: &str) {
    println!("{line}");
}
