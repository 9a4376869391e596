//! One path in integer arithmetic: the CPU reference of the kernel, equal to it bit by bit.
//!
//! # Design
//! All arithmetic is on 32-bit words with wrap-around, 64-bit where the kernel uses two words. Rounding is "add half, shift right"
//! (ties towards plus infinity) where a step says *round*, and "shift right" (towards minus infinity) otherwise.
#![allow(
    clippy::arithmetic_side_effects,
    reason = "64-bit sums cannot overflow: `model` bounds every factor before it is quantised"
)]

use super::blob::{ASSETS_MAX, Common, Unit};
use crate::Error;

/// Largest growth of an asset that a path can hold: just below 128 in Q7.24.
const GROWTH_MAX: u32 = 0x7fff_ffff;
const ONE_Q24: i32 = 1 << 24;
/// log2(e), Q1.30.
const LOG2_E: i32 = 1_549_082_005;
/// ln 2, Q0.32.
const LN_2: u32 = 2_977_044_472;

/// The losses of a unit's paths, one word each: Q7.24 of gross value, little-endian.
pub(super) fn run(common: &[u8], unit: &[u8]) -> Result<Vec<u8>, Error> {
    let (common, unit) = (Common::decode(common)?, Unit::decode(unit)?);
    let paths = (0..unit.path_count).map(|index| unit.first_path.wrapping_add(u64::from(index)));
    Ok(paths.flat_map(|path| loss(&common, path).to_le_bytes()).collect())
}

/// Loss of one path as a share of gross value, Q7.24; negative is a gain.
pub(super) fn loss(common: &Common, path: u64) -> i32 {
    let normals = normals(common, path);
    let mut gain = 0_i64;
    let mut at = 0;
    for asset in 0..common.assets {
        // Q7.56.
        let mut sum = i64::from(common.means[asset]) << 30;
        for normal in &normals[..=asset] {
            sum += i64::from(common.factor[at]) * i64::from(*normal);
            at += 1;
        }
        let log_return = round_shift(sum, 30);
        let growth = growth(&common.tables.powers, log_return).cast_signed();
        gain += i64::from(common.weights[asset]) * i64::from(growth - ONE_Q24);
    }
    round_shift(-gain, 30)
}

/// Round and shift right; the result fits by the model's bounds. LOSSY: only out of these bounds, and then as the kernel wraps.
#[allow(clippy::cast_possible_truncation, reason = "the kernel keeps the low word")]
const fn round_shift(value: i64, bits: u32) -> i32 {
    (value.wrapping_add(1 << (bits - 1)) >> bits) as i32
}

/// Standard normals of a path, Q3.28: four for each block of the generator.
fn normals(common: &Common, path: u64) -> [i32; ASSETS_MAX] {
    let mut normals = [0; ASSETS_MAX];
    let key = split(common.seed);
    for (block, four) in (0_u32..).zip(normals[..common.assets].chunks_mut(4)) {
        let [low, high] = split(path);
        for (normal, word) in four.iter_mut().zip(philox([low, high, block, 0], key)) {
            *normal = normal_of(common, word);
        }
    }
    normals
}

/// LOSSY: into halves, on purpose.
#[allow(clippy::cast_possible_truncation, reason = "the halves are wanted")]
const fn split(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

/// High word of a product.
const fn high(a: u32, b: u32) -> u32 {
    split(a as u64 * b as u64)[1]
}

/// Philox4x32 with 10 rounds (Salmon, Moraes, Dror, Shaw 2011): a bijection of the counter for each key.
fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let ([mut a, mut b, mut c, mut d], [mut k, mut l]) = (counter, key);
    for _ in 0..10 {
        let (first, second) = (a, c);
        (a, b) = (high(second, 0xCD9E_8D57) ^ b ^ k, second.wrapping_mul(0xCD9E_8D57));
        (c, d) = (high(first, 0xD251_1F53) ^ d ^ l, first.wrapping_mul(0xD251_1F53));
        (k, l) = (k.wrapping_add(0x9E37_79B9), l.wrapping_add(0xBB67_AE85));
    }
    [a, b, c, d]
}

/// The normal quantile of a word: the top bit is the sign, the others v are the probability (v + 1/2) / 2^32 of the tail.
fn normal_of(common: &Common, word: u32) -> i32 {
    let v = word & 0x7fff_ffff;
    let depth = if v < 128 {
        common.tables.tail[v as usize]
    } else {
        let octave = 31 - v.leading_zeros();
        let width_bits = octave - 6;
        let segment = (v >> width_bits) & 63;
        // The position inside the segment, Q0.32, at the middle of the value's own interval.
        let t = (v << (32 - width_bits)) | (1 << (31 - width_bits));
        let [c0, c1, c2] = common.tables.segments[((octave - 7) * 64 + segment) as usize];
        c0.wrapping_sub(high(c1.wrapping_sub(high(c2, t)), t))
    }
    .cast_signed();
    if word >> 31 == 1 { depth } else { -depth }
}

/// `exp` of a log return in Q5.26, as Q7.24, at most [`GROWTH_MAX`].
fn growth(powers: &[u32], log_return: i32) -> u32 {
    // Q7.56: whole part, then fraction.
    let exponent = i64::from(log_return) * i64::from(LOG2_E);
    let whole = exponent >> 56;
    let fraction = split(exponent.cast_unsigned() >> 24)[0];
    let power = powers[(fraction >> 24) as usize];
    // 2^x - 1 = X + X^2/2 with X = x ln 2, for the x < 1/256 that the table leaves; everything times 256, Q0.32.
    let x = high(fraction << 8, LN_2);
    let rest = x.wrapping_add(high(x, x) >> 9);
    let mantissa = power.wrapping_add(high(power, rest) >> 8);
    // Q1.31 times 2^whole to Q7.24.
    match 7 - whole {
        ..=0 => GROWTH_MAX,
        shift @ 1..=31 => (mantissa >> shift) + ((mantissa >> (shift - 1)) & 1),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests")]
    use super::*;
    use crate::value_at_risk::{math, tables::Tables};

    fn common() -> Common {
        Common { assets: 1, seed: 7, means: [0; 16], weights: [0; 16], factor: [0; 136], tables: Tables::new() }
    }

    #[test]
    fn philox_gives_the_published_known_answers() {
        // The three vectors for philox4x32 with 10 rounds in the Random123 distribution (kat_vectors).
        for (counter, key, expected) in [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ] {
            assert_eq!(philox(counter, key), expected);
        }
    }

    #[test]
    fn normals_are_within_a_ten_millionth_of_the_exact_quantile() {
        let common = common();
        let mut words: Vec<u32> = (0..400_000_u32).map(|index| philox([index, 0, 0, 0], [1, 2])[0]).collect();
        // All small values, both edges of every octave, and the middle of the distribution.
        words.extend(0..2_000);
        words.extend((7..31).flat_map(|octave| [(1 << octave) - 1, 1 << octave, (1 << octave) + 1]));
        words.extend(0x7fff_ff00..0x8000_0100);
        for word in words {
            let v = word & 0x7fff_ffff;
            let exact = -math::normal_quantile_low((f64::from(v) + 0.5) / 4_294_967_296.0);
            let exact = if word >> 31 == 1 { exact } else { -exact };
            let got = f64::from(normal_of(&common, word)) / 268_435_456.0;
            assert!((got - exact).abs() < 1e-7, "{word:#x}: {got} {exact}");
        }
    }

    #[test]
    fn growth_is_the_exponential_to_half_a_unit_and_saturates() {
        let powers = Tables::new().powers;
        for step in -200_000..165_000_i32 {
            let log_return = step * 1_973;
            let exact = (f64::from(log_return) / 67_108_864.0).exp() * 16_777_216.0;
            let got = f64::from(growth(&powers, log_return));
            if exact < 2_147_483_000.0 {
                assert!((got - exact).abs() <= 0.51 + exact * 5e-9, "{log_return}: {got} {exact}");
            } else {
                assert_eq!(growth(&powers, log_return), GROWTH_MAX);
            }
        }
        assert_eq!((growth(&powers, i32::MIN), growth(&powers, i32::MAX)), (0, GROWTH_MAX));
    }

    #[test]
    fn normals_of_many_paths_have_the_moments_of_independent_normals() {
        let common = Common { assets: 16, ..common() };
        let count = 100_000;
        let (mut sums, mut squares, mut products) = ([0.0; 16], [0.0; 16], [0.0; 15]);
        for path in 0..count {
            let z = normals(&common, path).map(|normal| f64::from(normal) / 268_435_456.0);
            for at in 0..16 {
                sums[at] += z[at];
                squares[at] += z[at] * z[at];
            }
            for at in 0..15 {
                products[at] += z[at] * z[at + 1];
            }
        }
        // Five standard errors: 1/sqrt(n) for mean and correlation, sqrt(2/n) for the variance.
        let n = count as f64;
        for at in 0..16 {
            assert!((sums[at] / n).abs() < 5.0 / n.sqrt(), "{at}");
            assert!((squares[at] / n - 1.0).abs() < 5.0 * (2.0 / n).sqrt(), "{at}");
        }
        assert!(products.iter().all(|product| (product / n).abs() < 5.0 / n.sqrt()));
    }

    #[test]
    fn a_path_does_not_depend_on_the_unit_that_it_is_in() {
        let common = Common { weights: [1 << 26; 16], factor: [1 << 24; 136], assets: 16, ..common() };
        let blob = common.encode();
        let start = u64::from(u32::MAX) - 1;
        let whole = run(&blob, &Unit { first_path: start, path_count: 4 }.encode()).unwrap();
        let late = run(&blob, &Unit { first_path: start + 2, path_count: 2 }.encode()).unwrap();
        assert_eq!(whole[8..], late);
        assert_ne!(whole[..4], whole[4..8]);
    }
}
