//! The orders from which one with a canary is drawn: lines of a file, each the arguments of `keystead run`.

use super::words::split;
use crate::{
    cli::{Cli, Run},
    compute::{files, random},
};
use clap::{CommandFactory as _, FromArgMatches as _, parser::ValueSource};
use eyre::{Context as _, Result, ensure, eyre};
use std::path::Path;

/// Lines of a file, at most.
const LINES_MAX: usize = 1_000;
/// Of a line, at most.
const LINE_BYTES_MAX: usize = 4_096;
/// Options of `keystead run`, by their names in the program, that no line has, and why.
const OTHERS: [(&str, &str, &str); 11] = [
    ("canary", "--canary", "`keystead canary keep --canary` says it for all lines"),
    ("out", "--out", "each order gets a folder of its own"),
    ("events", "--events", "each order gets a file of its own beside its folder"),
    ("max_price", "--max-price", "give it, or --max-total, to `keystead canary keep`"),
    ("key", "--key", "`keystead canary keep` says who orders"),
    ("dev_account", "--dev-account", "`keystead canary keep` says who orders"),
    ("dir", "--dir", "`keystead canary keep` says who orders"),
    ("chain_id", "--chain-id", "`keystead canary keep` says on which chain"),
    ("rpc", "--rpc", "`keystead canary keep` says which node is asked"),
    ("token", "--token", "--max-total is in KST"),
    ("private", "--private", "nobody is drawn for a private order"),
];

/// The lines, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Jobs(Vec<Vec<String>>);

impl Jobs {
    /// Reads a file.
    ///
    /// # Errors
    /// It is not there or too long, or a line, which is named, is no order that can have a canary.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let named = || format!("cannot use {}", path.display());
        let text = files::read(path)?.ok_or_else(|| {
            eyre!("there is no {}: write one order a line, in the arguments of `keystead run`", path.display())
        })?;
        Self::parse(&text).wrap_err_with(named)
    }

    fn parse(text: &str) -> Result<Self> {
        let count = text.lines().take(LINES_MAX.saturating_add(1)).count();
        ensure!(count <= LINES_MAX, "it has too many lines: lines_max={LINES_MAX}");
        let mut command = Cli::command();
        let mut jobs = Vec::new();
        for (place, line) in text.lines().enumerate() {
            let named = || format!("line {}", place.saturating_add(1));
            let bytes = line.len();
            ensure!(bytes <= LINE_BYTES_MAX, "{} is too long: bytes={bytes} max={LINE_BYTES_MAX}", named());
            let words = split(line).wrap_err_with(named)?;
            if !words.is_empty() {
                check(&mut command, &words).wrap_err_with(named)?;
                jobs.push(words);
            }
        }
        ensure!(!jobs.is_empty(), "it has no order: write one a line, in the arguments of `keystead run`");
        Ok(Self(jobs))
    }

    /// One of them, each as likely as any other.
    ///
    /// # Errors
    /// The system has no randomness.
    pub(super) fn draw(&self) -> Result<&[String]> {
        let count = u64::try_from(self.0.len()).unwrap_or(u64::MAX);
        let place = usize::try_from(below(count)?).unwrap_or_default();
        self.0.get(place).map(Vec::as_slice).ok_or_else(|| eyre!("there is no order to draw"))
    }
}

/// A number below another one that nobody knew before; 0 if there is none. Of so few numbers each is as likely as any other, but for 2^-40.
///
/// # Errors
/// The system has no randomness.
pub(super) fn below(count: u64) -> Result<u64> {
    let word = random::word()?.iter().take(8).fold(0_u64, |word, byte| (word << 8) | u64::from(*byte));
    Ok(word.checked_rem(count).unwrap_or_default())
}

/// Whether words that an earlier process drew are still those of an order that can have a canary.
pub(super) fn check_again(words: &[String]) -> Result<()> {
    check(&mut Cli::command(), words)
}

/// Reads words as `keystead run` itself would.
fn check(command: &mut clap::Command, words: &[String]) -> Result<()> {
    let line = ["keystead", "run"].into_iter().chain(words.iter().map(String::as_str));
    let matches = command.try_get_matches_from_mut(line).map_err(|error| {
        let said = error.render().to_string();
        let first: Vec<&str> = said.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        let first = first.join(" ");
        eyre!("{}; see `keystead run --help`", first.strip_prefix("error: ").unwrap_or(&first))
    })?;
    let given = matches.subcommand_matches("run").ok_or_else(|| eyre!("these are no arguments of `keystead run`"))?;
    for (id, name, why) in OTHERS {
        ensure!(given.value_source(id) != Some(ValueSource::CommandLine), "leave {name} out: {why}");
    }
    let run = Run::from_arg_matches(given).wrap_err("these are no arguments of `keystead run`")?;
    ensure!(run.audit.is_wanted(), "nobody is asked to check it: add --audit");
    ensure!(
        run.provider.is_some(),
        "a canary is of a provider that has the same file: add --provider ADDRESS of one that runs with `keystead provide --canaries`"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;
    use keystead_types::Address;

    fn order() -> String {
        format!("align --input 'queries=my file.faa' --audit --provider {}", Address::repeat_byte(7))
    }

    #[test]
    fn lines_are_orders_but_for_comments_and_what_is_empty() {
        let order = order();
        let text = format!("# what this account orders\n\n{order}\r\n  {order} --audit-rate 100 # all of it\n");
        let Jobs(jobs) = Jobs::parse(&text).unwrap();
        assert_eq!(jobs.len(), 2);
        assert_eq!(jobs[0], split(&order).unwrap());
        assert_eq!(jobs[1].last().unwrap(), "100");
        let jobs = Jobs(jobs);
        let drawn: Vec<_> = (0..64).map(|_| jobs.draw().unwrap()).collect();
        assert!(drawn.iter().all(|words| jobs.0.iter().any(|job| job == words)));
        assert!(
            jobs.0.iter().all(|job| drawn.iter().any(|words| job == words)),
            "each is drawn, but for one time in 2^63"
        );
        assert!(check_again(jobs.draw().unwrap()).is_ok());
    }

    #[test]
    fn a_line_that_is_no_such_order_is_named_with_the_next_step() {
        let order = order();
        let provider = format!("--provider {}", Address::repeat_byte(7));
        let mut table = vec![
            ("align --audit".to_owned(), "add --provider ADDRESS"),
            (format!("align {provider}"), "add --audit"),
            (format!("{order} --nonsense"), "--nonsense"),
            (format!("--audit {provider}"), "<RECIPE>"),
            (format!("{order} --audit-rate 2"), "--audit-rate"),
            (format!("{order} 'x"), "a quote is not closed"),
            (format!("{order} --help"), "keystead run"),
            (format!("{order} {}", "x".repeat(LINE_BYTES_MAX)), "too long"),
            (format!("align {provider} --private"), "leave --private out"),
        ];
        let with =
            ["--canary c", "--out o", "--events e", "--max-price 1", "--key k", "--dir d", "--rpc r", "--chain-id 1"];
        table.extend(with.map(|more| (format!("{order} {more}"), more.split_once(' ').unwrap().0)));
        table.push((format!("{order} --dev-account 1"), "leave --dev-account out"));
        let token = Address::repeat_byte(9);
        table.push((format!("{order} --token {token} --unit-value 1"), "leave --token out"));
        for (line, words) in table {
            let said = format!("{:#}", Jobs::parse(&format!("# first\n{order}\n{line}\n")).unwrap_err());
            assert!(said.contains("line 3") && said.contains(words), "no {words:?} in: {said}");
        }
    }

    #[test]
    fn a_file_has_at_least_one_order_and_a_most_of_lines() {
        for empty in ["", "\n\n", "# nothing\n"] {
            assert!(Jobs::parse(empty).unwrap_err().to_string().contains("no order"), "{empty:?}");
        }
        let text = format!("{}\n{}", order(), "\n".repeat(LINES_MAX - 1));
        assert!(Jobs::parse(&text).is_ok());
        assert!(Jobs::parse(&format!("{text}#\n")).unwrap_err().to_string().contains("too many lines"));
        assert!(Jobs::read(Path::new("/nowhere/jobs")).unwrap_err().to_string().contains("one order a line"));
    }

    #[test]
    fn what_is_drawn_is_below_the_most_and_nothing_of_nothing() {
        assert_eq!((below(0).unwrap(), below(1).unwrap()), (0, 0));
        assert!((0..100).all(|_| below(3).unwrap() < 3));
    }
}
