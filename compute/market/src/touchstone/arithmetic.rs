//! The words of the challenge: all wrap at 2^32, as `u32` does in WGSL.
//!
//! Spec: specs/0010-capability.md §6.2.

/// Eight words that a hash gives, little-endian.
pub type Key = [u32; 8];

/// A bijection of words that is far from linear: the finaliser of MurmurHash3.
#[must_use]
pub const fn mix(word: u32) -> u32 {
    let mut word = word;
    word ^= word >> 16;
    word = word.wrapping_mul(0x85eb_ca6b);
    word ^= word >> 13;
    word = word.wrapping_mul(0xc2b2_ae35);
    word ^ (word >> 16)
}

/// What all words of one row share.
#[must_use]
pub const fn row_key(key: &Key, row: u32) -> u32 {
    mix(mix(row ^ key[0]) ^ key[1])
}

/// The word of a column in the row of this key.
#[must_use]
pub const fn word(key: &Key, row_key: u32, column: u32) -> u32 {
    mix(mix(column ^ row_key) ^ key[2]).wrapping_add(key[3])
}

/// A whole row of so many words.
#[must_use]
pub fn seeded_row(key: &Key, row: u32, side: u32) -> Vec<u32> {
    let row_key = row_key(key, row);
    (0..side).map(|column| word(key, row_key, column)).collect()
}

/// The sum of products, modulo 2^32. The longer slice counts as long as the shorter.
#[must_use]
pub fn dot(a: &[u32], b: &[u32]) -> u32 {
    a.iter().zip(b).fold(0u32, |sum, (a, b)| sum.wrapping_add(a.wrapping_mul(*b)))
}

/// Words as bytes, little-endian.
#[must_use]
pub fn to_bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Bytes as words; bytes after the last whole word are left out.
#[must_use]
pub fn to_words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()
}

/// The key that a hash gives.
#[must_use]
pub fn key_of(hash: alloy_primitives::B256) -> Key {
    let mut key = [0u32; 8];
    for (word, bytes) in key.iter_mut().zip(hash.0.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    key
}
