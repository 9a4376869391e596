//! Cuts a file of RLP blocks, one after the other, into blocks: what `geth export` writes.

use crate::error::FileError;
use keystead_types::ETHEREUM_BLOCK_BYTES_MAX;
use std::io::{ErrorKind, Read};

/// First byte of a list of up to 55 bytes; the bytes after it up to 0xf7 are such lists too.
const SHORT_LIST: u8 = 0xc0;
/// First byte of a list whose length has one byte; 0xff says eight.
const LONG_LIST: u8 = 0xf8;

/// The encodings of a file's blocks, in order. It ends with the file, or after the first error.
///
/// Trust: the file may be hostile. Nothing is allocated beyond the longest block.
#[derive(Debug)]
pub struct ChainFile<R> {
    reader: R,
    offset: u64,
    ended: bool,
}

impl<R: Read> ChainFile<R> {
    /// Reads blocks from `reader`, which should be buffered.
    pub const fn new(reader: R) -> Self {
        Self { reader, offset: 0, ended: false }
    }

    fn block(&mut self) -> Result<Option<Vec<u8>>, FileError> {
        let offset = self.offset;
        let mut first = [0];
        if self.read(&mut first)? == 0 {
            return Ok(None);
        }
        let [byte] = first;
        let mut block = vec![byte];
        let got_bytes = match byte {
            ..SHORT_LIST => return Err(FileError::NotList { offset, byte }),
            SHORT_LIST..LONG_LIST => u64::from(byte.wrapping_sub(SHORT_LIST)),
            LONG_LIST.. => {
                let mut length = [0; 8];
                let count = usize::from(byte.wrapping_sub(LONG_LIST)).saturating_add(1);
                let skipped = length.len().saturating_sub(count);
                let digits = length.get_mut(skipped..).unwrap_or_default();
                self.fill(digits, offset)?;
                block.extend_from_slice(digits);
                u64::from_be_bytes(length)
            }
        };
        let length = usize::try_from(got_bytes).ok().filter(|length| *length <= ETHEREUM_BLOCK_BYTES_MAX);
        let Some(length) = length else {
            return Err(FileError::TooLarge { offset, got_bytes, max_bytes: ETHEREUM_BLOCK_BYTES_MAX });
        };
        let head = block.len();
        block.resize(head.saturating_add(length), 0);
        self.fill(block.get_mut(head..).unwrap_or_default(), offset)?;
        Ok(Some(block))
    }

    fn fill(&mut self, buffer: &mut [u8], start: u64) -> Result<(), FileError> {
        let wanted = buffer.len();
        if self.read(buffer)? < wanted { Err(FileError::Truncated { offset: start }) } else { Ok(()) }
    }

    /// Reads until the buffer is full or the file ends; says how much.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, FileError> {
        let mut filled = 0_usize;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.reader.read(rest) {
                Ok(0) => break,
                Ok(count) => filled = filled.saturating_add(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.offset = self.offset.saturating_add(filled as u64);
        Ok(filled)
    }
}

impl<R: Read> Iterator for ChainFile<R> {
    type Item = Result<Vec<u8>, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let block = self.block();
        self.ended = !matches!(block, Ok(Some(_)));
        block.transpose()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    #[test]
    fn lists_of_every_length_are_cut_where_they_end() {
        let short = vec![0xc2, 1, 2];
        let long = [vec![0xf8, 60], vec![7; 60]].concat();
        let longer = [vec![0xf9, 1, 0], vec![7; 256]].concat();
        let file = [short.clone(), long.clone(), longer.clone(), vec![0xc0]].concat();
        let blocks: Vec<_> = ChainFile::new(file.as_slice()).map(Result::unwrap).collect();
        assert_eq!(blocks, [short, long, longer, vec![0xc0]]);
    }

    #[test]
    fn a_bad_file_ends_with_one_error_that_says_where() {
        let errors = |bytes: &[u8]| ChainFile::new(bytes).collect::<Vec<_>>();
        let cut = errors(&[0xc0, 0xc2, 1]);
        assert!(matches!(cut.as_slice(), [Ok(_), Err(FileError::Truncated { offset: 1 })]));
        let text = errors(b"text");
        assert!(matches!(text.as_slice(), [Err(FileError::NotList { offset: 0, byte: b't' })]));
        let huge = errors(&[&[0xff][..], &[0xff; 8]].concat());
        assert!(matches!(huge.as_slice(), [Err(FileError::TooLarge { got_bytes: u64::MAX, .. })]));
        let half = errors(&[0xf9, 1]);
        assert!(matches!(half.as_slice(), [Err(FileError::Truncated { offset: 0 })]));
    }
}
