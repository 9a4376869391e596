//! The two function tables of the kernel: normal quantiles by segments of quadratics, and powers of two.

use super::math::normal_quantile_low;

/// Quantiles of the 128 smallest values, which one value of the generator in 2^25 reaches.
pub(super) const TAIL_WORDS: usize = 128;
/// 24 octaves of 64 segments of 3 coefficients.
pub(super) const SEGMENT_WORDS: usize = 24 * 64 * 3;
/// 2^(i/256).
pub(super) const EXP_WORDS: usize = 256;

/// The lowest octave with segments: below 2^7 every value has its own entry.
const OCTAVE_FIRST: i32 = 7;
/// One in Q3.28.
const ONE_Q28: f64 = 268_435_456.0;
/// 2^32: the generator's values are read as (v + 1/2) / 2^32.
const RANGE: f64 = 4_294_967_296.0;

/// Tables as they lie in the common input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tables {
    /// `-quantile((v + 1/2) / 2^32)` for v = 0 .. 127, Q3.28.
    pub(super) tail: Vec<u32>,
    /// For segment s of octave e (v in 2^e + s 2^(e-6) .. + 2^(e-6)), t = position inside, 0 to 1:
    /// `-quantile = c0 - t (c1 - t c2)`, Q3.28.
    pub(super) segments: Vec<[u32; 3]>,
    /// `2^(i/256)`, Q1.31.
    pub(super) powers: Vec<u32>,
}

impl Tables {
    /// The same on every machine: only basic operations and square roots are used.
    pub(super) fn new() -> Self {
        let depth = |v: f64| -normal_quantile_low(v / RANGE);
        let tail = (0..128_u8).map(|v| fixed(depth(f64::from(v) + 0.5) * ONE_Q28)).collect();
        let mut segments = Vec::new();
        let mut octave = two_to(OCTAVE_FIRST);
        for _ in 0..24 {
            for segment in 0..64_u8 {
                let width = octave / 64.0;
                segments.push(quadratic(|t| depth(octave + width * (f64::from(segment) + t))));
            }
            octave *= 2.0;
        }
        // 2^(1/256) by eight square roots; its powers by multiplication, error below 256 units in the last place of f64.
        let step = (0..8).fold(2.0_f64, |root, _| root.sqrt());
        let powers = core::iter::successors(Some(1.0), |power| Some(power * step)).take(EXP_WORDS);
        Self { tail, segments, powers: powers.map(|power| fixed(power * 2_147_483_648.0)).collect() }
    }
}

/// The quadratic through a function's values at the three Chebyshev nodes of 0 to 1, as (c0, c1, c2) with `c0 - t (c1 - t c2)`.
fn quadratic(function: impl Fn(f64) -> f64) -> [u32; 3] {
    let offset = 0.75_f64.sqrt() / 2.0;
    let (low, middle, high) = (function(0.5 - offset), function(0.5), function(0.5 + offset));
    let slope = (high - low) / (2.0 * offset);
    // A normal quantile is convex here; rounding may not make the curvature negative.
    let curvature = ((high - 2.0 * middle + low) / (2.0 * offset * offset)).max(0.0);
    // In t: middle + slope (t - 1/2) + curvature (t - 1/2)^2.
    let c0 = middle - slope / 2.0 + curvature / 4.0;
    let c1 = curvature - slope;
    [c0, c1, curvature].map(|coefficient| fixed(coefficient * ONE_Q28))
}

fn two_to(exponent: i32) -> f64 {
    (0..exponent).fold(1.0, |power, _| power * 2.0)
}

/// Nearest integer, ties away from zero.
// LOSSY: `as` saturates; all tables hold numbers from 0 to 2^32.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturating by the language's definition")]
const fn fixed(value: f64) -> u32 {
    value.round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_the_declared_sizes_and_known_entries() {
        let tables = Tables::new();
        assert_eq!((tables.tail.len(), tables.segments.as_flattened().len(), tables.powers.len()), (128, 4_608, 256));
        assert_eq!((tables.powers[0], tables.powers[128]), (0x8000_0000, 3_037_000_500));
        // The smallest probability, 2^-33, is 6.337957755 standard deviations below the mean.
        assert!(
            (f64::from(tables.tail[0]) / ONE_Q28 - 6.337_957_755).abs() < 1e-8,
            "{}",
            f64::from(tables.tail[0]) / ONE_Q28
        );
    }
}
