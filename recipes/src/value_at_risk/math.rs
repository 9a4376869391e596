//! Logarithm, exponential and inverse normal from IEEE 754 basic operations only, so that a plan has the same bytes on every machine.
//!
//! # Design
//! The system's `ln` and `exp` may differ in the last bit between machines; `+ - * /` and `sqrt` may not. The functions here are a few
//! units in the last place from exact, far below the fixed-point formats that they feed.

/// Natural logarithm of a positive, normal number.
pub(super) fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut mantissa = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    // The exponent field of a positive number has 11 bits.
    let mut exponent = f64::from(u16::try_from(bits >> 52).unwrap_or(0)) - 1023.0;
    if mantissa > core::f64::consts::SQRT_2 {
        mantissa /= 2.0;
        exponent += 1.0;
    }
    // ln m = 2 artanh((m - 1) / (m + 1)), |s| <= 0.1716; the last term is below 1e-18.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let mut sum = 0.0;
    let mut divisor = 23.0;
    while divisor >= 1.0 {
        sum = sum * square + 1.0 / divisor;
        divisor -= 2.0;
    }
    exponent * core::f64::consts::LN_2 + 2.0 * s * sum
}

/// Exponential of a number from -700 to 700.
pub(super) fn exp(x: f64) -> f64 {
    let halvings = (x / core::f64::consts::LN_2).round();
    let rest = x - halvings * core::f64::consts::LN_2;
    // |rest| <= 0.35: 18 terms of the series reach 1e-24.
    let mut sum = 1.0;
    let mut divisor = 18.0;
    while divisor >= 1.0 {
        sum = 1.0 + sum * rest / divisor;
        divisor -= 1.0;
    }
    let mut power = sum;
    let factor = if halvings < 0.0 { 0.5 } else { 2.0 };
    let mut left = halvings.abs();
    while left >= 1.0 {
        power *= factor;
        left -= 1.0;
    }
    power
}

const CENTRE: [[f64; 8]; 2] = [
    [
        3.387_132_872_796_366_5,
        133.141_667_891_784_38,
        1_971.590_950_306_551_3,
        13_731.693_765_509_46,
        45_921.953_931_549_87,
        67_265.770_927_008_7,
        33_430.575_583_588_13,
        2_509.080_928_730_122_7,
    ],
    [
        1.0,
        42.313_330_701_600_91,
        687.187_007_492_057_9,
        5_394.196_021_424_751,
        21_213.794_301_586_597,
        39_307.895_800_092_71,
        28_729.085_735_721_943,
        5_226.495_278_852_855,
    ],
];
const TAIL: [[f64; 8]; 2] = [
    [
        1.423_437_110_749_683_5,
        4.630_337_846_156_546,
        5.769_497_221_460_691,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        0.241_780_725_177_450_6,
        0.022_723_844_989_269_184,
        0.000_774_545_014_278_341_4,
    ],
    [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        0.689_767_334_985_1,
        0.148_103_976_427_480_08,
        0.015_198_666_563_616_457,
        0.000_547_593_808_499_534_5,
        1.050_750_071_644_416_9e-9,
    ],
];
const FAR_TAIL: [[f64; 8]; 2] = [
    [
        6.657_904_643_501_104,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        0.296_560_571_828_504_87,
        0.026_532_189_526_576_124,
        0.001_242_660_947_388_078_4,
        2.711_555_568_743_487_6e-5,
        2.010_334_399_292_288_1e-7,
    ],
    [
        1.0,
        0.599_832_206_555_887_9,
        0.136_929_880_922_735_8,
        0.014_875_361_290_850_615,
        0.000_786_869_131_145_613_2,
        1.846_318_317_510_054_8e-5,
        1.421_511_758_316_446e-7,
        2.044_263_103_389_939_8e-15,
    ],
];

/// The standard normal quantile of a probability between 1e-300 and 0.5: Wichura's algorithm AS 241 (1988), relative error 1e-15.
pub(super) fn normal_quantile_low(probability: f64) -> f64 {
    let ratio = |[top, bottom]: &[[f64; 8]; 2], x: f64| {
        let polynomial = |coefficients: &[f64; 8]| coefficients.iter().rev().fold(0.0, |sum, c| sum * x + c);
        polynomial(top) / polynomial(bottom)
    };
    let from_half = probability - 0.5;
    if from_half.abs() <= 0.425 {
        return from_half * ratio(&CENTRE, 0.180_625 - from_half * from_half);
    }
    let depth = (-ln(probability)).sqrt();
    if depth <= 5.0 { -ratio(&TAIL, depth - 1.6) } else { -ratio(&FAR_TAIL, depth - 5.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The normal distribution function by its power series (lower half by symmetry), in f64: exact to 1e-14 for |z| < 3.
    fn distribution(z: f64) -> f64 {
        let (mut term, mut sum) = (z, z);
        for k in 1..200_u8 {
            term *= z * z / (2.0 * f64::from(k) + 1.0);
            sum += term;
        }
        0.5 + sum * (-z * z / 2.0).exp() / (2.0 * core::f64::consts::PI).sqrt()
    }

    #[test]
    fn ln_and_exp_agree_with_the_systems_to_four_units_in_the_last_place() {
        for step in 1..4_000 {
            let x = f64::from(step) * 0.37 + 1e-3;
            for x in [x, 1.0 / x, x * 1e30] {
                assert!((ln(x) - x.ln()).abs() <= 1e-15 * x.ln().abs().max(0.25), "{x}");
            }
            let y = (f64::from(step) - 2_000.0) * 0.011;
            assert!((exp(y) / y.exp() - 1.0).abs() <= 5e-15, "{y}");
        }
    }

    #[test]
    fn quantile_inverts_the_distribution_and_has_the_published_values() {
        for step in 0..3_000 {
            let z = -f64::from(step) * 0.001;
            assert!((normal_quantile_low(distribution(z)) - z).abs() < 2e-12, "{z}");
        }
        // From tables: 1 %, 2.5 %, 1e-6; and the two values that AS 241 itself gives for checking.
        for (probability, z) in [
            (0.01, -2.326_347_874_040_841),
            (0.025, -1.959_963_984_540_054),
            (1e-6, -4.753_424_308_822_899),
            (0.25, -0.674_489_750_196_081_7),
            (0.001, -3.090_232_306_167_813_5),
            (1e-20, -9.262_340_089_798_408),
        ] {
            assert!((normal_quantile_low(probability) / z - 1.0).abs() < 1e-14, "{probability}");
        }
    }
}
