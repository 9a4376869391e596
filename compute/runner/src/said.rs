//! Lines that a program says while it runs (`keystead.log`): what a worker tells of them, and how many.
//!
//! # Invariants
//! Nothing that a program can observe depends on whether anybody listens: the call gives nothing back, costs the same fuel for every line, and never waits. All lines of a run
//! with their frames fit into the pipe to the parent, so that writing them does not wait for a parent that does not read either.
//!
//! Spec: specs/0003-job.md §6.1.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Bytes of a line that are kept (inclusive): the words of a note (specs/0005-transfer.md §4.1).
pub(crate) const LINE_BYTES_MAX: usize = 200;
/// Lines of one run that are told; further ones are counted.
pub(crate) const LINES_MAX: u32 = 64;
/// Most that a worker says of one run: the lines, and how many were left out.
pub(crate) const SAID_MAX: u32 = LINES_MAX + 1;

/// What a program says, or what of that was left out. Written by a stranger: only [`Self::text`] is for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// A line, at most 200 bytes, as the program wrote them.
    Line(Vec<u8>),
    /// So many lines of this run, all after those that were told.
    LeftOut(u64),
}

impl Said {
    /// For people: printable ASCII of at most 200 characters; whatever else the program wrote is `?`, blanks and line ends around it are cut off.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Line(line) => {
                let kept = line.get(..LINE_BYTES_MAX).unwrap_or(line);
                let printable = |byte: &u8| if matches!(byte, 0x20..=0x7e) { char::from(*byte) } else { '?' };
                kept.trim_ascii().iter().map(printable).collect()
            }
            Self::LeftOut(lines) => format!("{lines} further lines were left out"),
        }
    }
}

/// Who hears what a program says, in the middle of its run.
pub type Hear<'a> = dyn FnMut(Said) + Send + 'a;

/// The same inside the worker.
pub(crate) type Listener = Arc<dyn Fn(Said) + Send + Sync>;

/// The lines of one run.
// A build without `wasm/1` has no program that says something.
#[cfg_attr(not(feature = "wasm"), allow(dead_code))]
pub(crate) struct Voice {
    listener: Listener,
    told: u32,
    left_out: u64,
}

#[cfg_attr(not(feature = "wasm"), allow(dead_code))]
impl Voice {
    pub(crate) const fn new(listener: Listener) -> Self {
        Self { listener, told: 0, left_out: 0 }
    }

    /// The program says a line; what is too long is cut, what is too much counted.
    pub(crate) fn say(&mut self, line: &[u8]) {
        if self.told < LINES_MAX {
            self.told = self.told.saturating_add(1);
            (self.listener)(Said::Line(line.get(..LINE_BYTES_MAX).unwrap_or(line).to_vec()));
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
    }

    /// The run is over.
    pub(crate) fn end(&self) {
        if self.left_out > 0 {
            (self.listener)(Said::LeftOut(self.left_out));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)] // A test: a panic is a failure.
mod tests {
    use super::*;
    use std::sync::{Mutex, PoisonError};

    #[test]
    fn a_run_tells_so_many_lines_in_order_and_counts_the_others() {
        let heard: Arc<Mutex<Vec<Said>>> = Arc::default();
        let listener = Arc::clone(&heard);
        let mut voice =
            Voice::new(Arc::new(move |said| listener.lock().unwrap_or_else(PoisonError::into_inner).push(said)));
        let long = vec![b'x'; LINE_BYTES_MAX + 1];
        voice.say(&long);
        (1..LINES_MAX).for_each(|number| voice.say(number.to_string().as_bytes()));
        voice.end();
        let mut expected = vec![Said::Line(vec![b'x'; LINE_BYTES_MAX])];
        expected.extend((1..LINES_MAX).map(|number| Said::Line(number.to_string().into_bytes())));
        assert_eq!(*heard.lock().unwrap(), expected, "none was left out");
        (0..3).for_each(|_| voice.say(b"more"));
        voice.end();
        expected.push(Said::LeftOut(3));
        assert_eq!(*heard.lock().unwrap(), expected);
        assert_eq!(u32::try_from(expected.len()), Ok(SAID_MAX));
    }

    #[test]
    fn text_is_one_line_of_printable_ascii_whatever_the_program_wrote() {
        let text = |line: &[u8]| Said::Line(line.to_vec()).text();
        assert_eq!(text(b" \x1b[2Jpaid\r\nand \xc3\xa9\0\n"), "?[2Jpaid??and ???");
        assert_eq!(text(b"\n\n"), "");
        assert_eq!(text(&[b'x'; 1_000]).len(), LINE_BYTES_MAX);
    }
}
