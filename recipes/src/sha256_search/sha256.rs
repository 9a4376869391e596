//! SHA-256 with its inner state in the open: the recipe continues from the state after a prefix.
//!
//! # Design
//! FIPS 180-4. The round constants are checked against their definition (fractions of the cube roots of the first 64 primes), the whole
//! against digests that the standard publishes.
#![allow(
    clippy::arithmetic_side_effects,
    reason = "indices of arrays of fixed length, and lengths of a message that lies in memory"
)]

/// The chaining value.
pub(super) type State = [u32; 8];
/// One block as big-endian words.
pub(super) type Block = [u32; 16];

/// Bytes of a block.
pub(super) const BLOCK_BYTES: usize = 64;

/// FIPS 180-4, 5.3.3.
pub(super) const START: State =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// FIPS 180-4, 4.2.2.
#[rustfmt::skip]
pub(super) const ROUND_CONSTANTS: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

/// One application of the compression function.
pub(super) fn compress(state: &State, block: &Block) -> State {
    let mut words = [0_u32; 64];
    words[..16].copy_from_slice(block);
    for at in 16..64 {
        let (two, fifteen) = (words[at - 2], words[at - 15]);
        let small_1 = two.rotate_right(17) ^ two.rotate_right(19) ^ (two >> 10);
        let small_0 = fifteen.rotate_right(7) ^ fifteen.rotate_right(18) ^ (fifteen >> 3);
        words[at] = small_1.wrapping_add(words[at - 7]).wrapping_add(small_0).wrapping_add(words[at - 16]);
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for (word, constant) in words.iter().zip(&ROUND_CONSTANTS) {
        let big_1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let choice = (e & f) ^ (!e & g);
        let t1 = h.wrapping_add(big_1).wrapping_add(choice).wrapping_add(*constant).wrapping_add(*word);
        let big_0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let majority = (a & b) ^ (a & c) ^ (b & c);
        let t2 = big_0.wrapping_add(majority);
        (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(t1), c, b, a, t1.wrapping_add(t2));
    }
    let rounds = [a, b, c, d, e, f, g, h];
    core::array::from_fn(|at| state[at].wrapping_add(rounds[at]))
}

/// The words of 64 bytes.
pub(super) fn block(bytes: &[u8; BLOCK_BYTES]) -> Block {
    core::array::from_fn(|at| {
        let byte = |offset: usize| bytes[4 * at + offset];
        u32::from_be_bytes([byte(0), byte(1), byte(2), byte(3)])
    })
}

/// A message cut where a search needs it: the state after the whole blocks of its beginning, and the last one or two blocks, padded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) midstate: State,
    /// The tail of the prefix, zeros in place of `suffix_bytes` bytes, the padding of the whole message.
    pub(super) template: Vec<Block>,
    /// Where the suffix begins in the template, bytes.
    pub(super) suffix_at: usize,
}

/// Cuts a message of `prefix` and `suffix_bytes` (at most 55) further bytes.
pub(super) fn cut(prefix: &[u8], suffix_bytes: usize) -> Cut {
    let (blocks, tail) = prefix.as_chunks::<BLOCK_BYTES>();
    let midstate = blocks.iter().fold(START, |state, bytes| compress(&state, &block(bytes)));
    let mut bytes = tail.to_vec();
    bytes.resize(tail.len() + suffix_bytes, 0);
    bytes.push(0x80);
    let padded = (bytes.len() + 8).next_multiple_of(BLOCK_BYTES);
    bytes.resize(padded - 8, 0);
    let bits = u64::try_from(prefix.len() + suffix_bytes).unwrap_or(u64::MAX).saturating_mul(8);
    bytes.extend_from_slice(&bits.to_be_bytes());
    let (template, _) = bytes.as_chunks::<BLOCK_BYTES>();
    Cut { midstate, template: template.iter().map(block).collect(), suffix_at: tail.len() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests")]
    use super::*;

    fn hex(message: &[u8]) -> String {
        let cut = cut(message, 0);
        let state = cut.template.iter().fold(cut.midstate, |state, block| compress(&state, block));
        state.iter().map(|word| format!("{word:08x}")).collect()
    }

    #[test]
    fn digests_are_those_that_the_standard_publishes() {
        let long = "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu";
        for (message, digest) in [
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
            ),
            (long, "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"),
        ] {
            assert_eq!(hex(message.as_bytes()), digest, "{message}");
        }
        assert_eq!(hex(&vec![b'a'; 1_000_000]), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    }

    #[test]
    fn round_constants_are_the_fractions_of_cube_roots_of_primes() {
        let primes = (2_u64..).filter(|n| (2..*n).all(|d| n % d != 0)).take(64);
        for (prime, constant) in primes.zip(ROUND_CONSTANTS) {
            // The largest x with x^3 <= prime * 2^96 is the cube root in Q.32.
            let cube = |x: u128| x.checked_mul(x).and_then(|square| square.checked_mul(x));
            let target = u128::from(prime) << 96;
            let (mut low, mut high) = (0_u128, 1 << 36);
            while high - low > 1 {
                let middle = u128::midpoint(low, high);
                if cube(middle).is_some_and(|cube| cube <= target) { low = middle } else { high = middle }
            }
            assert_eq!(low as u32, constant, "{prime}");
        }
    }

    #[test]
    fn a_cut_message_has_two_blocks_where_the_padding_needs_them() {
        // 55 bytes of message fit with the padding into one block, 56 do not.
        for (tail, blocks) in [(0, 1), (39, 1), (40, 2), (63, 2)] {
            for whole in [0, 64, 640] {
                let cut = cut(&vec![7; whole + tail], 16);
                assert_eq!((cut.template.len(), cut.suffix_at), (blocks, tail), "{whole} {tail}");
            }
        }
    }
}
