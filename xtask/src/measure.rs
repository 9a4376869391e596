//! How long a Rust file's production code is, and each of its functions: all of them, wherever they stand.
//!
//! # Design
//! Strings, characters and comments become blanks; in what is left braces match, whatever macro a function stands in and however it is indented. Items
//! behind `#[cfg(test)]` become blanks, too, wherever they stand: what follows them is measured like what stands before.
//!
//! # Not here
//! A grammar. Of a field or a variant for tests only the rest of its type counts as for tests: there are no functions in it.

/// What marks an item that is built for tests only.
const FOR_TESTS: &str = "#[cfg(test)]";
/// The same for a whole file.
const FILE_FOR_TESTS: &str = "#![cfg(test)]";

/// Production code: as long as the file, with blanks for everything else.
pub(crate) struct Production {
    code: Vec<char>,
    /// Lines that are not those of an item for tests.
    pub(crate) lines: usize,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Where `fn` stands, from 1.
    pub(crate) line: usize,
    /// From there to the closing brace, both included.
    pub(crate) lines: usize,
}

impl Production {
    pub(crate) fn of(text: &str) -> Self {
        let mut code = blanked(text);
        let mut lines = text.lines().count();
        if find(&code, FILE_FOR_TESTS, 0).is_some() {
            return Self { code: Vec::new(), lines: 0 };
        }
        let mut from = 0;
        while let Some(start) = find(&code, FOR_TESTS, from) {
            let end = item_end(&code, start.saturating_add(FOR_TESTS.len()));
            lines = lines.saturating_sub(line_breaks(&code, start, end).saturating_add(1));
            for char in code.iter_mut().take(end).skip(start).filter(|char| **char != '\n') {
                *char = ' ';
            }
            from = end;
        }
        Self { code, lines }
    }

    /// Every function with a body, in the order of the file.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        let mut from = 0;
        while let Some(at) = find(&self.code, "fn ", from) {
            from = at.saturating_add(3);
            let is_word = at.checked_sub(1).and_then(|before| self.code.get(before)).is_some_and(|c| joins(*c));
            let name: String = self.code.iter().skip(from).take_while(|c| joins(**c)).collect();
            if is_word || name.is_empty() {
                continue;
            }
            let Some(open) = body(&self.code, from) else { continue };
            let close = closing(&self.code, open);
            let line = line_breaks(&self.code, 0, at).saturating_add(1);
            found.push(Function { name, line, lines: line_breaks(&self.code, at, close).saturating_add(1) });
        }
        found
    }
}

/// Letters of a name; `$` begins one in a macro.
fn joins(char: char) -> bool {
    char.is_alphanumeric() || char == '_' || char == '$'
}

fn line_breaks(code: &[char], from: usize, to: usize) -> usize {
    code.iter().take(to).skip(from).filter(|char| **char == '\n').count()
}

/// Where a word begins next.
fn find(code: &[char], word: &str, from: usize) -> Option<usize> {
    let word: Vec<char> = word.chars().collect();
    let rest = code.get(from..)?;
    rest.windows(word.len()).position(|here| here == word.as_slice()).map(|at| at.saturating_add(from))
}

/// Where the body of a function begins whose signature goes on here; none if it has none.
fn body(code: &[char], from: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, char) in code.iter().enumerate().skip(from) {
        match char {
            '(' | '[' => depth = depth.saturating_add(1),
            ')' | ']' => depth = depth.checked_sub(1)?,
            '{' if depth == 0 => return Some(at),
            ';' | '}' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Where the brace closes that opens here, or the file ends.
fn closing(code: &[char], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, char) in code.iter().enumerate().skip(open) {
        match char {
            '{' => depth = depth.saturating_add(1),
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    code.len()
}

/// Where an item ends that goes on here: behind its body or its semicolon, or before the end of what it stands in.
fn item_end(code: &[char], from: usize) -> usize {
    let mut depth = 0_usize;
    for (at, char) in code.iter().enumerate().skip(from) {
        match char {
            '(' | '[' => depth = depth.saturating_add(1),
            ')' | ']' if depth == 0 => return at,
            ')' | ']' => depth = depth.saturating_sub(1),
            '{' if depth == 0 => return closing(code, at).saturating_add(1).min(code.len()),
            '}' if depth == 0 => return at,
            ';' if depth == 0 => return at.saturating_add(1),
            _ => {}
        }
    }
    code.len()
}

/// The text with a blank for each character of a comment, a string or a character; its lines stay.
fn blanked(text: &str) -> Vec<char> {
    let chars: Vec<char> = text.chars().collect();
    let mut code: Vec<char> = Vec::with_capacity(chars.len());
    while let Some(rest) = chars.get(code.len()..).filter(|rest| !rest.is_empty()) {
        let length = literal(rest, code.last().copied());
        let blank = |char: &char| if *char == '\n' { '\n' } else { ' ' };
        match (length, rest.first()) {
            (0, Some(char)) => code.push(*char),
            _ => code.extend(rest.iter().take(length).map(blank)),
        }
    }
    code
}

/// How many characters the comment, string or character has that begins here; zero if none does.
fn literal(rest: &[char], before: Option<char>) -> usize {
    let is_word = before.is_some_and(joins);
    match rest {
        ['/', '/', ..] => rest.iter().position(|char| *char == '\n').unwrap_or(rest.len()),
        ['/', '*', ..] => comment(rest),
        ['"', ..] => string(rest),
        ['r', '"' | '#', ..] if !is_word => raw(rest, 1),
        ['b' | 'c', 'r', '"' | '#', ..] if !is_word => raw(rest, 2),
        ['\'', '\\', _, more @ ..] => more.iter().position(|char| *char == '\'').map_or(0, |at| at.saturating_add(4)),
        ['\'', _, '\'', ..] => 3,
        _ => 0,
    }
}

/// A comment between `/*` and `*/`, with those in it.
fn comment(rest: &[char]) -> usize {
    let (mut at, mut depth) = (0_usize, 0_usize);
    while let Some(pair) = rest.get(at..at.saturating_add(2)) {
        match pair {
            ['/', '*'] => depth = depth.saturating_add(1),
            ['*', '/'] => depth = depth.saturating_sub(1),
            _ => {
                at = at.saturating_add(1);
                continue;
            }
        }
        at = at.saturating_add(2);
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn string(rest: &[char]) -> usize {
    let mut at = 1_usize;
    while let Some(char) = rest.get(at) {
        at = at.saturating_add(if *char == '\\' { 2 } else { 1 });
        if *char == '"' {
            return at;
        }
    }
    rest.len()
}

/// A raw string, whose `r` and what stands before it have so many characters; zero if it is a raw name.
fn raw(rest: &[char], prefix: usize) -> usize {
    let hashes = rest.iter().skip(prefix).take_while(|char| **char == '#').count();
    let quote = prefix.saturating_add(hashes);
    if rest.get(quote) != Some(&'"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    find(rest, &end, quote.saturating_add(1)).map_or(rest.len(), |at| at.saturating_add(end.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<(String, usize, usize)> {
        let functions = Production::of(text).functions();
        functions.into_iter().map(|function| (function.name, function.line, function.lines)).collect()
    }

    #[test]
    fn functions_of_every_kind_are_measured_wherever_they_stand() {
        let heads = [
            "fn f() {",
            "pub(super) fn f() {",
            "pub(in crate::a) async fn f<const N: usize>(a: [u8; 4]) -> [u8; { 2 }] {",
            "unsafe extern \"C\" fn f(_: fn(u8) -> u8) {",
            "mod a { impl<T> A for B<T> where T: C { #[inline] default const fn f(&self) {",
            "macro_rules! m { ($f:ident) => { fn f() {",
        ];
        for head in heads {
            let close = "}".repeat(head.matches('{').count().saturating_sub(head.matches("{ 2 }").count()));
            let text = format!("//! A file.\n\n{head}\n    work();\n{close}\n");
            assert_eq!(names(&text), [("f".to_owned(), 3, 3)], "{head}");
        }
        assert!(names("trait A {\n    fn f(&self, a: [u8; 4]);\n    type B = fn (u8);\n}\n").is_empty());
    }

    #[test]
    fn what_stands_in_strings_comments_and_characters_is_no_code() {
        let texts = [
            "// fn no() {\n",
            "/* fn no() { /* } */ */\n",
            "const A: &str = \"fn no() { \\\" {\";\n",
            "const A: &[u8] = br#\"fn no() {\n\" {\"#;\n",
            "const A: [char; 3] = ['{', '\\'', '\\u{7b}'];\n",
        ];
        for text in texts {
            let whole = format!("{text}fn yes<'a>(r#in: &'a str) -> &'a str {{\n    r#in\n}}\n");
            let line = text.lines().count().saturating_add(1);
            assert_eq!(names(&whole), [("yes".to_owned(), line, 3)], "{text}");
        }
    }

    #[test]
    fn items_for_tests_are_left_out_and_what_follows_them_is_not() {
        let text = "#[cfg(test)]\nuse self::tests::fault;\n\nimpl A {\n    #[cfg(test)]\n    #[must_use]\n    fn no(\n        &self,\n    ) -> [u8; 4] {\n        x()\n    }\n\n    fn yes() {\n    }\n}\n\n#[cfg(test)]\nmod tests {\n    const TEXT: &str = \"\n}\n\";\n    fn no() {\n    }\n}\n\nfn last() {\n}\n";
        assert_eq!(names(text), [("yes".to_owned(), 13, 2), ("last".to_owned(), 26, 2)]);
        // Of 27 lines 2, 7 and 8 are for tests.
        assert_eq!(Production::of(text).lines, 10);
        assert_eq!(Production::of("//! Tests.\n#![cfg(test)]\nfn no() {\n}\n").lines, 0);
        assert_eq!(Production::of("//! Speaks of `#[cfg(test)]` alone.\nfn yes() {}\n").lines, 2);
    }
}
