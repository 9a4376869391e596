//! Little-endian 32-bit words, in which every blob of the recipes is written.

/// Appends one word.
pub(crate) fn push(bytes: &mut Vec<u8>, word: u32) {
    bytes.extend_from_slice(&word.to_le_bytes());
}

/// The word at a byte offset; `None` if it does not lie inside.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let chunk = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*chunk))
}

/// All words of a blob; `None` if its length is not a multiple of 4.
pub(crate) fn words(bytes: &[u8]) -> Option<Vec<u32>> {
    let (chunks, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| chunks.iter().map(|chunk| u32::from_le_bytes(*chunk)).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn words_are_little_endian_and_bounded() {
        let mut bytes = Vec::new();
        push(&mut bytes, 0x0102_0304);
        push(&mut bytes, u32::MAX);
        assert_eq!(bytes, [4, 3, 2, 1, 255, 255, 255, 255]);
        assert_eq!((word(&bytes, 0), word(&bytes, 4), word(&bytes, 5)), (Some(0x0102_0304), Some(u32::MAX), None));
        assert_eq!(word(&bytes, usize::MAX), None);
        assert_eq!(words(&bytes).unwrap(), [0x0102_0304, u32::MAX]);
        assert_eq!(words(&bytes[..7]), None);
    }
}
