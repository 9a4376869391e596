//! A line of a file as the words of a command line: pure.
//!
//! # Design
//! A small part of what a shell does, and nothing that depends on where or when it is read: no variables, patterns, commands or home folders.

use std::str::Chars;

/// Words of a line, at most.
pub(super) const WORDS_MAX: usize = 256;

/// Why a line is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsplit {
    /// A quote is not closed.
    #[error("a quote is not closed: {0}")]
    Open(char),
    /// There is nothing behind the last backslash.
    #[error("there is nothing behind the last backslash: write \\\\ for a backslash itself")]
    Backslash,
    /// A character that no terminal shows.
    #[error("there is a control character in it: remove it")]
    Control,
    /// Too many words.
    #[error("it has too many words: words_max={WORDS_MAX}")]
    Many,
}

/// The words of a line. Spaces and tabs part them; `'..'` is as it stands; in `".."` a backslash stands before `"` and `\` alone; outside of quotes
/// it takes the next character as it is. `#` at the beginning of a word makes the rest a comment. A quoted word may be empty.
///
/// # Errors
/// The line has no end, a control character, or more than [`WORDS_MAX`] words.
pub(super) fn split(line: &str) -> Result<Vec<String>, Unsplit> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' | '\t' => words.extend(word.take()),
            '#' if word.is_none() => break,
            '\'' | '"' => quoted(&mut letters, letter, word.get_or_insert_default())?,
            '\\' => word.get_or_insert_default().push(plain(letters.next().ok_or(Unsplit::Backslash)?)?),
            other => word.get_or_insert_default().push(plain(other)?),
        }
        if words.len() > WORDS_MAX {
            return Err(Unsplit::Many);
        }
    }
    words.extend(word);
    if words.len() > WORDS_MAX { Err(Unsplit::Many) } else { Ok(words) }
}

/// What stands up to the closing quote.
fn quoted(letters: &mut Chars<'_>, quote: char, word: &mut String) -> Result<(), Unsplit> {
    loop {
        let letter = letters.next().ok_or(Unsplit::Open(quote))?;
        if letter == quote {
            return Ok(());
        }
        if letter != '\\' || quote != '"' {
            word.push(plain(letter)?);
            continue;
        }
        let next = letters.next().ok_or(Unsplit::Open(quote))?;
        if !matches!(next, '"' | '\\') {
            word.push(letter);
        }
        word.push(plain(next)?);
    }
}

/// A tab may stand in a word that is quoted.
fn plain(letter: char) -> Result<char, Unsplit> {
    if letter != '\t' && letter.is_control() { Err(Unsplit::Control) } else { Ok(letter) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]
    use super::*;

    #[test]
    fn words_are_parted_and_quoted_as_a_shell_does_and_nothing_is_put_in_their_place() {
        let table: [(&str, &[&str]); 12] = [
            ("", &[]),
            ("  \t ", &[]),
            ("# all of it", &[]),
            ("align --audit", &["align", "--audit"]),
            ("\talign   --audit  # why", &["align", "--audit"]),
            ("a#b c", &["a#b", "c"]),
            ("a '' \"\"", &["a", "", ""]),
            ("--input 'a=my file.faa' b\\ c", &["--input", "a=my file.faa", "b c"]),
            (r#""a \"b\" \\ \n" 'c \d'"#, &["a \"b\" \\ \\n", "c \\d"]),
            ("one'two'\"three\"four", &["onetwothreefour"]),
            ("$HOME ~ *.faa `x`", &["$HOME", "~", "*.faa", "`x`"]),
            ("'# no comment' \\# ü", &["# no comment", "#", "ü"]),
        ];
        for (line, words) in table {
            assert_eq!(split(line).unwrap(), words, "{line:?}");
        }
    }

    #[test]
    fn a_line_without_an_end_or_with_hidden_characters_is_refused() {
        let table = [
            ("a 'b", Unsplit::Open('\'')),
            ("a \"b\\\"", Unsplit::Open('"')),
            ("a \"b\\", Unsplit::Open('"')),
            ("a \\", Unsplit::Backslash),
            ("a\0b", Unsplit::Control),
            ("a '\u{1b}[2J'", Unsplit::Control),
            ("a \\\u{7f}", Unsplit::Control),
        ];
        for (line, why) in table {
            assert_eq!(split(line), Err(why), "{line:?}");
        }
    }

    #[test]
    fn a_line_has_a_most_of_words() {
        assert_eq!(split(&"a ".repeat(WORDS_MAX)).unwrap().len(), WORDS_MAX);
        assert_eq!(split(&"a ".repeat(WORDS_MAX + 1)), Err(Unsplit::Many));
        assert_eq!(split(&format!("{}a", "a ".repeat(WORDS_MAX))), Err(Unsplit::Many));
    }
}
