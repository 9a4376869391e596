//! Reads the console blocks of a guide, and compares what was printed with what it shows.
//!
//! A line that begins with `$ ` is a command, with `> ` its continuation. What follows is its output: `...` alone stands for any lines, `...` inside
//! of a line for any text. A command without output is not compared. `# exit code N` at its end: it must end so.

/// What stands for anything.
const ANY: &str = "...";
const EXIT: &str = "# exit code ";
/// Stands in a guide where what a new user came for has happened.
const PATH_ENDS: &str = "<!-- the new user's path ends here -->";
/// Guides with such a line.
pub(super) const PATHS: [&str; 2] = ["earn.md", "run-a-job.md"];
/// Commands until there, at most: the guides begin by promising so many.
const PATH_COMMANDS_MAX: usize = 5;

/// A fenced block whose first word is `console`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Line of the fence, from 1.
    pub(super) line: usize,
    pub(super) marks: Vec<Mark>,
    pub(super) commands: Vec<Run>,
}

/// What is said of a block behind `console`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Starts a network, which runs to the guide's end.
    Network,
    /// Keeps running.
    Background,
    /// Only where this program is.
    Needs(String),
}

impl Mark {
    pub(super) fn needed(&self) -> Option<&str> {
        match self {
            Self::Needs(program) => Some(program),
            Self::Network | Self::Background => None,
        }
    }
}

/// A command with what it shall print.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) line: usize,
    pub(super) text: String,
    /// How it must end.
    pub(super) code: i32,
    /// Empty: anything.
    pub(super) expected: Vec<String>,
}

/// The console blocks of a guide; the error begins with the line.
pub(super) fn blocks(text: &str) -> Result<Vec<Block>, String> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().zip(1_usize..);
    while let Some((line, number)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let body: Vec<(&str, usize)> = lines.by_ref().take_while(|(line, _)| !line.starts_with("```")).collect();
        let mut words = info.split_whitespace();
        if words.next() != Some("console") {
            continue;
        }
        let marks = words.map(|word| mark(word).ok_or_else(|| format!("{number}: unknown mark {word:?}")));
        let marks = marks.collect::<Result<Vec<_>, _>>()?;
        blocks.push(Block { line: number, marks, commands: commands(&body)? });
    }
    Ok(blocks)
}

/// Fails if a new user types more commands than are promised before that line, or if there is none.
pub(super) fn is_short(text: &str, blocks: &[Block]) -> Result<(), String> {
    let end = text.lines().position(|line| line == PATH_ENDS).ok_or_else(|| format!("no line {PATH_ENDS:?}"))?;
    // Commands are counted from line 1.
    let commands = blocks.iter().flat_map(|block| &block.commands).filter(|command| command.line <= end).count();
    match commands {
        0 => Err("no command before the end of the new user's path".to_owned()),
        1..=PATH_COMMANDS_MAX => Ok(()),
        _ => Err(format!("{commands} commands in the new user's path, at most {PATH_COMMANDS_MAX}")),
    }
}

fn mark(word: &str) -> Option<Mark> {
    match word {
        "network" => Some(Mark::Network),
        "background" => Some(Mark::Background),
        _ => word.strip_prefix("needs=").map(|program| Mark::Needs(program.to_owned())),
    }
}

fn commands(body: &[(&str, usize)]) -> Result<Vec<Run>, String> {
    let mut commands: Vec<Run> = Vec::new();
    for &(line, number) in body {
        if let Some(text) = line.strip_prefix("$ ") {
            commands.push(Run { line: number, text: text.to_owned(), code: 0, expected: Vec::new() });
            continue;
        }
        let Some(last) = commands.last_mut() else {
            return Err(format!("{number}: output before the first command"));
        };
        match line.strip_prefix("> ") {
            Some(more) if last.expected.is_empty() => {
                last.text.push('\n');
                last.text.push_str(more);
            }
            _ => last.expected.push(line.trim_end().to_owned()),
        }
    }
    for command in &mut commands {
        if let Some((text, code)) = command.text.rsplit_once(EXIT) {
            command.code = code.trim().parse().map_err(|_| format!("{}: no exit code: {code:?}", command.line))?;
            command.text = text.trim_end().to_owned();
        }
    }
    if commands.is_empty() { Err("a console block without a command".to_owned()) } else { Ok(commands) }
}

/// Whether all that was printed is what the guide shows. `more`: other lines may follow.
pub(super) fn compare(expected: &[String], printed: &str, more: bool) -> Result<(), String> {
    if expected.is_empty() {
        return Ok(());
    }
    let printed: Vec<&str> = printed.trim_end().lines().map(str::trim_end).collect();
    let mut wanted: Vec<&str> = expected.iter().map(String::as_str).collect();
    if more {
        wanted.push(ANY);
    }
    // reach[p]: the expected lines so far can stand for the first p printed ones.
    let mut reach = vec![false; printed.len().saturating_add(1)];
    if let Some(first) = reach.first_mut() {
        *first = true;
    }
    for want in &wanted {
        let next = step(&reach, want, &printed);
        if !next.contains(&true) {
            let at = reach.iter().position(|here| *here).unwrap_or_default();
            let got = printed.get(at).copied().unwrap_or("the end");
            return Err(format!("the guide shows {want:?}, the command printed {got:?}"));
        }
        reach = next;
    }
    match reach.last() {
        Some(true) => Ok(()),
        _ => Err("it printed more than the guide shows".to_owned()),
    }
}

fn step(reach: &[bool], want: &str, printed: &[&str]) -> Vec<bool> {
    if want == ANY {
        let mut seen = false;
        return reach
            .iter()
            .map(|here| {
                seen |= here;
                seen
            })
            .collect();
    }
    let matched = reach.iter().zip(printed).map(|(here, line)| *here && line_matches(want, line));
    std::iter::once(false).chain(matched).collect()
}

/// Whether the parts between the wildcards stand in the line in their order, the first at its begin, the last at its end.
fn line_matches(want: &str, line: &str) -> bool {
    let mut parts = want.split(ANY);
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn blocks_are_read_with_their_marks_commands_and_outputs() {
        let text = "# Guide\n```\n$ not this\n```\n```console background needs=cast\n$ one \\\n> two\nout\n\nmore ...\n$ false # exit code 1\n```\n";
        let commands = vec![
            Run { line: 6, text: "one \\\ntwo".to_owned(), code: 0, expected: expected(&["out", "", "more ..."]) },
            Run { line: 11, text: "false".to_owned(), code: 1, expected: Vec::new() },
        ];
        let marks = vec![Mark::Background, Mark::Needs("cast".to_owned())];
        assert_eq!(blocks(text), Ok(vec![Block { line: 5, marks, commands }]));
        assert!(blocks("```console sometimes\n$ x\n```").is_err_and(|error| error.contains("sometimes")));
        assert!(blocks("```console\nx\n```").is_err());
        assert!(blocks("```console\n```").is_err());
    }

    #[test]
    fn a_new_user_types_no_more_than_five_commands() {
        for (name, text) in [
            ("earn.md", include_str!("../../../docs/guides/earn.md")),
            ("run-a-job.md", include_str!("../../../docs/guides/run-a-job.md")),
        ] {
            assert!(PATHS.contains(&name));
            assert_eq!(blocks(text).and_then(|blocks| is_short(text, &blocks)), Ok(()), "{name}");
        }
        let guide = |before: usize, after: usize| {
            let commands = |count| "$ one \\\n> more\nout\n".repeat(count);
            let text =
                format!("```console\n{}```\n{PATH_ENDS}\n```console\n{}```\n", commands(before), commands(after));
            blocks(&text).and_then(|blocks| is_short(&text, &blocks))
        };
        assert_eq!(guide(5, 9), Ok(()));
        assert!(guide(6, 1).is_err_and(|error| error.contains("6 commands")));
        let none = "```console\n$ one\n```\n";
        assert!(blocks(none).and_then(|blocks| is_short(none, &blocks)).is_err_and(|error| error.contains("no line")));
        assert!(is_short(PATH_ENDS, &[]).is_err());
    }

    #[test]
    fn wildcards_stand_for_lines_and_for_text() {
        let compare = |lines: &[&str], printed: &str| compare(&expected(lines), printed, false).is_ok();
        assert!(compare(&[], "anything\n"));
        assert!(compare(&["a", "...", "z"], "a\nb\nc\nz\n"));
        assert!(compare(&["a", "...", "z"], "a\nz\n"));
        assert!(compare(&["...", "b", "...", "c"], "b\nb\nx\nc"));
        assert!(compare(&["paid ... KST to 0x..."], "paid 0.004 KST to 0xabc"));
        assert!(compare(&["price: ..."], "price: 1"));
        for (lines, printed) in [
            (&["a"][..], "a\nb"),
            (&["a", "b"], "a"),
            (&["a"], "b"),
            (&["a ... c"], "a b d"),
            (&["a ... c"], "b c"),
            (&["...", "z"], "z\ny"),
        ] {
            assert!(!compare(lines, printed), "{lines:?} {printed:?}");
        }
    }

    #[test]
    fn more_lines_may_follow_what_keeps_running() {
        assert!(compare(&expected(&["ready"]), "ready\nlater", true).is_ok());
        assert!(compare(&expected(&["ready"]), "later", true).is_err());
    }
}
