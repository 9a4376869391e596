//! Bytes as people and files write them: in hex.

use eyre::{Context as _, Result, eyre};

/// Decodes hex of a known length.
pub(crate) fn hex_array<const N: usize>(text: &str, what: &str) -> Result<[u8; N]> {
    let bytes = hex_bytes(text, what)?;
    let got = bytes.len();
    bytes.try_into().map_err(|_| eyre!("{what} must have {N} bytes in hex, it has {got}"))
}

/// Decodes hex with or without `0x`.
pub(crate) fn hex_bytes(text: &str, what: &str) -> Result<Vec<u8>> {
    let text = text.trim();
    hex::decode(text.strip_prefix("0x").unwrap_or(text)).wrap_err_with(|| format!("{what} is not hex"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_prefix_and_space_around_do_not_matter_and_the_length_does() {
        assert_eq!(hex_array::<2>(" 0xAb01\n", "it").unwrap(), [0xab, 1]);
        assert_eq!(hex_bytes("", "it").unwrap(), [0; 0]);
        assert!(hex_array::<2>("ab", "it").unwrap_err().to_string().contains("it must have 2 bytes in hex, it has 1"));
        assert!(hex_bytes("0x0", "it").unwrap_err().to_string().contains("it is not hex"));
    }
}
