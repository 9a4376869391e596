//! The words of the challenge, as specs/0010-capability.md §6.2 has them. All wrap at 2^32.

/// A bijection of words: the finaliser of MurmurHash3.
pub(crate) const fn mix(word: u32) -> u32 {
    let word = (word ^ (word >> 16)).wrapping_mul(0x85eb_ca6b);
    let word = (word ^ (word >> 13)).wrapping_mul(0xc2b2_ae35);
    word ^ (word >> 16)
}

/// Fills a row with the words of a key.
pub(crate) fn seed_row(key: &[u32; 8], row: u32, out: &mut [u32]) {
    let row_key = mix(mix(row ^ key[0]) ^ key[1]);
    for (column, word) in (0u32..).zip(out) {
        *word = mix(mix(column ^ row_key) ^ key[2]).wrapping_add(key[3]);
    }
}

/// Words as bytes, little-endian, into a buffer that is used again.
pub(crate) fn bytes_of(words: &[u32], out: &mut Vec<u8>) {
    out.clear();
    out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
}
