//! What a customer's program says while it runs, as notes for that customer.
//!
//! # Not here
//! A log of it: the words are between a program and its customer, and stand neither in the provider's log nor on its disk.
//!
//! Spec: specs/0003-job.md §6.1, specs/0005-transfer.md §4.1.

use keystead_blobs::{Note, NoteKind};
use keystead_runner::Said;

/// The note of one line, or of those that were left out.
pub(super) fn note(said: &Said) -> Note {
    match said {
        Said::Line(_) => Note::now(NoteKind::Said, 0, &said.text()),
        Said::LeftOut(lines) => Note::now(NoteKind::Dropped, *lines, "lines of its program"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_the_programs_words_and_those_left_out_are_counted() {
        let line = note(&Said::Line(b"step 3\x1b[2J of 7\n".to_vec())).of_unit(4);
        assert_eq!(line.to_string(), "its program says unit=4: step 3?[2J of 7");
        assert_eq!(note(&Said::LeftOut(9)).to_string(), "left out notes=9: lines of its program");
    }
}
