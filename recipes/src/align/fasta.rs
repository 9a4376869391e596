//! Reads protein FASTA files as people have them, and says file, line and remedy where they are wrong.
//!
//! # Design
//! Accepted: CRLF or LF, lower case, blank lines, spaces inside sequence lines, a byte order mark, one `*` at a sequence's end (a
//! translated stop; dropped). A `*` elsewhere is the matrix' stop letter; J, O and U count as X. Refused, because a silent guess
//! would give wrong scores: gap characters, digits, nucleotide sequences, repeated names.

use super::scoring::code;
use crate::{Error, InputFile};
use std::collections::BTreeMap;

/// Most sequences in one file: more than any reference proteome.
pub(super) const SEQUENCES_MAX: usize = 100_000;
/// Longest sequence, residues: above the longest known protein (titin, about 36,000).
pub(super) const LENGTH_MAX: usize = 65_535;
/// Longest name, bytes.
const NAME_BYTES_MAX: usize = 255;
/// A file of at least this many residues that are all nucleotide letters is taken for nucleotides; proteins never look like that.
const NUCLEOTIDES_MIN: usize = 60;

/// A named sequence of residue codes, 1 to [`LENGTH_MAX`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sequence {
    /// The header's first word.
    pub(super) name: String,
    /// Codes as in [`super::scoring::LETTERS`].
    pub(super) residues: Vec<u8>,
}

/// Reads all sequences of a file, at least one, names all different.
///
/// # Errors
/// `InputLine` and `InputWhole` say what to change; `InputEmpty`; `TooLarge` for too many sequences.
pub(super) fn read(file: &InputFile) -> Result<Vec<Sequence>, Error> {
    let bytes = file.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&file.bytes);
    check_whole(file, bytes)?;
    let mut reader = Reader { file, sequences: Vec::new(), lines: BTreeMap::new(), header_line: 0 };
    for (line, text) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
        reader.line(line, text.trim_ascii())?;
    }
    reader.end_sequence()?;
    if reader.sequences.is_empty() {
        return Err(Error::InputEmpty { path: file.path.clone(), expected: "protein sequences in FASTA format" });
    }
    Ok(reader.sequences)
}

/// Refuses what is plainly another format, before any line is blamed.
fn check_whole(file: &InputFile, bytes: &[u8]) -> Result<(), Error> {
    let wrong = |what: &str| Err(Error::InputWhole { path: file.path.clone(), what: what.to_owned() });
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return wrong("the file is compressed with gzip; decompress it first (gzip -d)");
    }
    if bytes.contains(&0) {
        return wrong("the file is binary; protein sequences in FASTA format (text) are needed");
    }
    if bytes.first() == Some(&b'@') {
        return wrong("this looks like FASTQ reads; protein sequences in FASTA format are needed");
    }
    let residues = || {
        let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.starts_with(b">"));
        lines.flatten().filter(|byte| !byte.is_ascii_whitespace())
    };
    let nucleotide = |byte: &u8| b"ACGTUN".contains(&byte.to_ascii_uppercase());
    if residues().take(NUCLEOTIDES_MIN).count() == NUCLEOTIDES_MIN && residues().all(nucleotide) {
        return wrong("the sequences are nucleotides (only A, C, G, T, U, N); translate them to protein first");
    }
    Ok(())
}

struct Reader<'a> {
    file: &'a InputFile,
    sequences: Vec<Sequence>,
    /// Names seen, with the line of their header.
    lines: BTreeMap<String, usize>,
    /// Line of the header of the sequence that is being read; 0 before the first.
    header_line: usize,
}

impl Reader<'_> {
    fn wrong(&self, line: usize, what: String) -> Error {
        Error::InputLine { path: self.file.path.clone(), line, what }
    }

    fn line(&mut self, line: usize, text: &[u8]) -> Result<(), Error> {
        if let Some(header) = text.strip_prefix(b">") {
            self.end_sequence()?;
            return self.header(line, header);
        }
        if text.is_empty() {
            return Ok(());
        }
        if self.header_line == 0 {
            return Err(
                self.wrong(line, "text before the first header; a FASTA file begins with a line >name".to_owned())
            );
        }
        for &byte in text {
            if byte.is_ascii_whitespace() {
                continue;
            }
            let Some(residue) = code(byte) else {
                return Err(self.wrong(line, bad_letter(byte)));
            };
            if let Some(sequence) = self.sequences.last_mut() {
                sequence.residues.push(residue);
            }
        }
        match self.sequences.last() {
            // One more is let in here, for the `*` that the end drops.
            Some(sequence) if sequence.residues.len() > LENGTH_MAX.saturating_add(1) => Err(self.too_long(line)),
            _ => Ok(()),
        }
    }

    fn too_long(&self, line: usize) -> Error {
        self.wrong(line, format!("sequence longer than {LENGTH_MAX} residues; split it into domains"))
    }

    fn header(&mut self, line: usize, header: &[u8]) -> Result<(), Error> {
        let word = header.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        let name = match core::str::from_utf8(word) {
            Ok("") => return Err(self.wrong(line, "header without a name; write >name".to_owned())),
            Ok(name) if name.len() > NAME_BYTES_MAX => {
                return Err(
                    self.wrong(line, format!("name longer than {NAME_BYTES_MAX} bytes; shorten its first word"))
                );
            }
            Ok(name) if !name.chars().any(char::is_control) => name.to_owned(),
            _ => return Err(self.wrong(line, "name is not UTF-8 text".to_owned())),
        };
        if let Some(first) = self.lines.insert(name.clone(), line) {
            return Err(self.wrong(line, format!("name {name} was already used in line {first}; make names different")));
        }
        if self.sequences.len() >= SEQUENCES_MAX {
            return Err(Error::TooLarge {
                what: "sequences in one file",
                got: u64::try_from(self.sequences.len()).unwrap_or(u64::MAX).saturating_add(1),
                max: 100_000,
                advice: "split the file and run the parts one after another",
            });
        }
        self.header_line = line;
        self.sequences.push(Sequence { name, residues: Vec::new() });
        Ok(())
    }

    /// Drops one `*` at the end and checks the length.
    fn end_sequence(&mut self) -> Result<(), Error> {
        const STOP: Option<u8> = Some(23);
        let Some(sequence) = self.sequences.last_mut() else { return Ok(()) };
        if sequence.residues.last().copied() == STOP {
            sequence.residues.pop();
        }
        let length = sequence.residues.len();
        if length == 0 {
            let what = format!("sequence {} is empty; remove its header", sequence.name);
            return Err(self.wrong(self.header_line, what));
        }
        if length > LENGTH_MAX { Err(self.too_long(self.header_line)) } else { Ok(()) }
    }
}

fn bad_letter(byte: u8) -> String {
    match byte {
        b'-' | b'.' => "gap character in a sequence; give unaligned sequences".to_owned(),
        b'0'..=b'9' => "digit in a sequence; plain FASTA is needed, not GenBank or UniProt text".to_owned(),
        _ => format!("character '{}' is no amino acid letter", byte.escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::align::scoring::LETTERS;

    fn parse(text: impl AsRef<[u8]>) -> Result<Vec<Sequence>, Error> {
        read(&InputFile { path: "x.faa".to_owned(), bytes: text.as_ref().to_vec() })
    }

    fn letters(sequence: &Sequence) -> String {
        sequence.residues.iter().map(|&code| char::from(LETTERS[usize::from(code)])).collect()
    }

    #[test]
    fn names_letters_and_line_ends_are_read_as_documented() {
        let sequences = parse("\u{feff}>a first\r\nmk T\r\n\r\nWX*\r\n>b\nU*oJ\n").unwrap();
        assert_eq!(sequences[0].name, "a");
        assert_eq!(letters(&sequences[0]), "MKTWX");
        assert_eq!((sequences[1].name.as_str(), letters(&sequences[1])), ("b", "X*XX".to_owned()));
    }

    #[test]
    fn wrong_lines_are_named_with_their_number_and_a_remedy() {
        for (text, line, part) in [
            ("MKT\n", 1, "begins with a line >name"),
            (">a\nMK\n>a\nMK\n", 3, "already used in line 1"),
            (">\nMK\n", 1, "header without a name"),
            (">a\n>b\nMK\n", 1, "sequence a is empty"),
            (">a\nMK\n>b\n*\n", 3, "sequence b is empty"),
            (">a\nMK\nM-K\n", 3, "gap character"),
            (">a\n1 MK\n", 2, "digit"),
            (">a\nMK!\n", 2, "'!' is no amino acid"),
        ] {
            match parse(text).unwrap_err() {
                Error::InputLine { line: got, what, path } => {
                    assert_eq!((got, path.as_str()), (line, "x.faa"), "{text}");
                    assert!(what.contains(part), "{what}");
                }
                other => panic!("{text}: {other}"),
            }
        }
    }

    #[test]
    fn other_formats_are_recognised() {
        assert!(matches!(parse(""), Err(Error::InputEmpty { .. })));
        assert!(matches!(parse("\n\n"), Err(Error::InputEmpty { .. })));
        assert!(parse([0x1f, 0x8b, 8]).unwrap_err().to_string().contains("gzip"));
        assert!(parse(b"\x89PNG\0").unwrap_err().to_string().contains("binary"));
        assert!(parse("@r1\nACGT\n+\n!!!!\n").unwrap_err().to_string().contains("FASTQ"));
        let dna = format!(">a\n{}\n", "acgtn".repeat(12));
        assert!(parse(&dna).unwrap_err().to_string().contains("nucleotides"));
        // One residue below the bound, and one other letter, are proteins.
        assert!(parse(&dna[..dna.len() - 2]).is_ok());
        assert!(parse(format!("{dna}W")).is_ok());
        assert!(matches!(parse(b">\xff\nMK\n"), Err(Error::InputLine { .. })));
    }

    #[test]
    fn length_and_count_are_bounded_at_both_sides() {
        let longest = "M".repeat(LENGTH_MAX);
        assert_eq!(parse(format!(">a\n{longest}*\n")).unwrap()[0].residues.len(), LENGTH_MAX);
        assert!(parse(format!(">a\n{longest}M\n")).unwrap_err().to_string().contains("65535"));
        let many: String = (0..SEQUENCES_MAX).map(|index| format!(">{index}\nW\n")).collect();
        assert_eq!(parse(&many).unwrap().len(), SEQUENCES_MAX);
        assert!(matches!(parse(format!("{many}>z\nW\n")), Err(Error::TooLarge { got: 100_001, .. })));
        assert!(parse(format!(">{}\nMK\n", "n".repeat(255))).is_ok());
        assert!(parse(format!(">{}\nMK\n", "n".repeat(256))).is_err());
    }
}
