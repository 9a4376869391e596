//! Eight Keccak-f\[1600\] states side by side in AVX-512 registers.
//!
//! Spec: FIPS 202 §3.2; the padding is Keccak's (0x01), applied by the caller.
#![allow(
    unsafe_code,
    reason = "the processor's 512-bit instructions have no safe wrapper; the two uses are proved below"
)]

use super::{LANES, RATE};
use std::arch::x86_64::{
    __m512i, _mm512_rol_epi64, _mm512_set_epi64, _mm512_set1_epi64, _mm512_setzero_si512, _mm512_storeu_si512,
    _mm512_ternarylogic_epi64, _mm512_xor_si512,
};

/// Iota's constants, FIPS 202 §3.2.5.
const ROUND_CONSTANTS: [u64; 24] = [
    0x0000_0000_0000_0001,
    0x0000_0000_0000_8082,
    0x8000_0000_0000_808a,
    0x8000_0000_8000_8000,
    0x0000_0000_0000_808b,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8009,
    0x0000_0000_0000_008a,
    0x0000_0000_0000_0088,
    0x0000_0000_8000_8009,
    0x0000_0000_8000_000a,
    0x0000_0000_8000_808b,
    0x8000_0000_0000_008b,
    0x8000_0000_0000_8089,
    0x8000_0000_0000_8003,
    0x8000_0000_0000_8002,
    0x8000_0000_0000_0080,
    0x0000_0000_0000_800a,
    0x8000_0000_8000_000a,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8080,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8008,
];
const WORDS_PER_BLOCK: usize = RATE / 8;

/// Hashes eight padded messages of equal length, whole blocks each. The caller has seen that AVX-512F is there.
pub(super) fn hash(lanes: &[&[u8]; LANES]) -> [[u8; 32]; LANES] {
    assert!(is_x86_feature_detected!("avx512f"), "invariant: the caller has seen that AVX-512F is there");
    // SAFETY: the assertion above is the only precondition of a function that is safe but for its target feature.
    unsafe { hash_avx512(lanes) }
}

#[target_feature(enable = "avx512f")]
fn hash_avx512(lanes: &[&[u8]; LANES]) -> [[u8; 32]; LANES] {
    let mut state = [_mm512_setzero_si512(); 25];
    let blocks = lanes.iter().map(|lane| lane.len() / RATE).min().unwrap_or_default();
    for block in 0..blocks {
        for (word, value) in state.iter_mut().take(WORDS_PER_BLOCK).enumerate() {
            let at = block * RATE + word * 8;
            let v: [i64; LANES] = std::array::from_fn(|lane| {
                i64::from_le_bytes(lanes[lane][at..at + 8].try_into().expect("invariant: eight bytes"))
            });
            *value = _mm512_xor_si512(*value, _mm512_set_epi64(v[7], v[6], v[5], v[4], v[3], v[2], v[1], v[0]));
        }
        permute(&mut state);
    }
    let mut digests = [[0; 32]; LANES];
    for (word, value) in state.iter().take(4).enumerate() {
        let mut words = [0_i64; LANES];
        // SAFETY: `words` is 64 bytes long, and this store asks for no alignment.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), *value) };
        for (digest, lane) in digests.iter_mut().zip(words) {
            digest[word * 8..word * 8 + 8].copy_from_slice(&lane.to_le_bytes());
        }
    }
    digests
}

/// `a ^ b ^ c`.
#[target_feature(enable = "avx512f")]
#[inline]
fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64::<0x96>(a, b, c)
}

/// `a ^ (!b & c)`.
#[target_feature(enable = "avx512f")]
#[inline]
fn chi(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64::<0xd2>(a, b, c)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn column(a: &[__m512i; 25], x: usize) -> __m512i {
    xor3(xor3(a[x], a[x + 5], a[x + 10]), a[x + 15], a[x + 20])
}

#[target_feature(enable = "avx512f")]
#[inline]
fn permute(state: &mut [__m512i; 25]) {
    let mut a = *state;
    for constant in ROUND_CONSTANTS {
        let c = [column(&a, 0), column(&a, 1), column(&a, 2), column(&a, 3), column(&a, 4)];
        for x in 0..5 {
            let (left, right) = (c[(x + 4) % 5], _mm512_rol_epi64::<1>(c[(x + 1) % 5]));
            for y in 0..5 {
                a[5 * y + x] = xor3(a[5 * y + x], left, right);
            }
        }
        let b = [
            a[0],
            _mm512_rol_epi64::<44>(a[6]),
            _mm512_rol_epi64::<43>(a[12]),
            _mm512_rol_epi64::<21>(a[18]),
            _mm512_rol_epi64::<14>(a[24]),
            _mm512_rol_epi64::<28>(a[3]),
            _mm512_rol_epi64::<20>(a[9]),
            _mm512_rol_epi64::<3>(a[10]),
            _mm512_rol_epi64::<45>(a[16]),
            _mm512_rol_epi64::<61>(a[22]),
            _mm512_rol_epi64::<1>(a[1]),
            _mm512_rol_epi64::<6>(a[7]),
            _mm512_rol_epi64::<25>(a[13]),
            _mm512_rol_epi64::<8>(a[19]),
            _mm512_rol_epi64::<18>(a[20]),
            _mm512_rol_epi64::<27>(a[4]),
            _mm512_rol_epi64::<36>(a[5]),
            _mm512_rol_epi64::<10>(a[11]),
            _mm512_rol_epi64::<15>(a[17]),
            _mm512_rol_epi64::<56>(a[23]),
            _mm512_rol_epi64::<62>(a[2]),
            _mm512_rol_epi64::<55>(a[8]),
            _mm512_rol_epi64::<39>(a[14]),
            _mm512_rol_epi64::<41>(a[15]),
            _mm512_rol_epi64::<2>(a[21]),
        ];
        for row in [0, 5, 10, 15, 20] {
            for x in 0..5 {
                a[row + x] = chi(b[row + x], b[row + (x + 1) % 5], b[row + (x + 2) % 5]);
            }
        }
        a[0] = _mm512_xor_si512(a[0], _mm512_set1_epi64(constant.cast_signed()));
    }
    *state = a;
}
