//! The name of a blob: the BLAKE3-256 hash of its bytes, and lists of such names.
//!
//! Spec: specs/0005-transfer.md §1.

use std::fmt;

use alloy_primitives::B256;

/// Bytes of one hash in a format.
pub const HASH_BYTES: usize = 32;

/// The BLAKE3-256 hash (default mode, 32 bytes of output) that names a blob.
///
/// A type of its own, so that it cannot be exchanged for the keccak256 hashes (orders, commitments) beside it.
/// Printed as 64 lowercase hexadecimal digits without prefix. A hash is a name, never a permission.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hash(B256);

impl Hash {
    /// The name of `bytes`. Costs about 0.3 ms per MiB on one core.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self::from(blake3::hash(bytes))
    }

    /// The 32 bytes, in the order in which BLAKE3 outputs them.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; HASH_BYTES] {
        &self.0.0
    }
}

impl From<B256> for Hash {
    fn from(bytes: B256) -> Self {
        Self(bytes)
    }
}

impl From<Hash> for B256 {
    fn from(hash: Hash) -> Self {
        hash.0
    }
}

impl From<[u8; HASH_BYTES]> for Hash {
    fn from(bytes: [u8; HASH_BYTES]) -> Self {
        Self(B256::from(bytes))
    }
}

impl From<blake3::Hash> for Hash {
    fn from(hash: blake3::Hash) -> Self {
        Self::from(*hash.as_bytes())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `{:x}` of B256 prints all 64 digits and no prefix.
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The bytes are not a list of hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// The length is not a multiple of 32: the blob is something else.
    #[error("list of hashes is cut: got_bytes={got_bytes}")]
    Cut {
        /// Length of the input in bytes.
        got_bytes: usize,
    },
    /// The list has more or fewer entries than the caller knows it must have.
    #[error("list of hashes has the wrong length: got={got} expected={expected}")]
    WrongCount {
        /// Hashes in the input.
        got: usize,
        /// Hashes that the caller expects.
        expected: usize,
    },
}

/// Encodes a list of hashes as the blob that stands for it: the 32-byte hashes one after the other, nothing else.
///
/// The hash of this blob is the `units` hash of a job's specification, and the result root of a run, so whoever
/// knows the root can fetch the list by it.
#[must_use]
pub fn encode_list(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// Decodes what [`encode_list`] wrote.
///
/// `expected` is the number of entries that the caller knows (the job's unit count). The input may be hostile; the
/// work is linear in its length.
///
/// # Errors
/// [`ListError`]: the bytes are not such a list. The caller treats the job as malformed.
pub fn parse_list(bytes: &[u8], expected: usize) -> Result<Vec<Hash>, ListError> {
    let (entries, rest) = bytes.as_chunks::<HASH_BYTES>();
    if !rest.is_empty() {
        return Err(ListError::Cut { got_bytes: bytes.len() });
    }
    if entries.len() != expected {
        return Err(ListError::WrongCount { got: entries.len(), expected });
    }
    Ok(entries.iter().map(|entry| Hash::from(*entry)).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_blob_has_the_published_blake3_name() {
        // The value stands in the BLAKE3 paper's test vectors (input length 0).
        let name = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(Hash::of(b"").to_string(), name);
        assert_eq!(format!("{:?}", Hash::of(b"")), name);
    }

    #[test]
    fn a_list_round_trips_and_refuses_cut_or_wrong_count() {
        let hashes = vec![Hash::of(b"a"), Hash::of(b"b"), Hash::of(b"a")];
        let bytes = encode_list(&hashes);
        assert_eq!(bytes.len(), 96);
        assert_eq!(parse_list(&bytes, 3).unwrap(), hashes);
        assert_eq!(parse_list(&bytes[..95], 3), Err(ListError::Cut { got_bytes: 95 }));
        assert_eq!(parse_list(&bytes, 2), Err(ListError::WrongCount { got: 3, expected: 2 }));
        assert_eq!(parse_list(&[], 0).unwrap(), vec![]);
    }
}
