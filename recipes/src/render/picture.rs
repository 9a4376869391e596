//! From sums of light to pixels: exposure, a film curve, sRGB.
//!
//! # Design
//! Only `+ - * /` and `sqrt`, so that equal sums give an equal file on every machine.
#![allow(
    clippy::arithmetic_side_effects,
    reason = "floating point; lengths of a picture of at most 16,384 pixels a side"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "LOSSY: to 8 bits, after clamping; lengths below 2^32"
)]

/// A picture's rows of red, green and blue bytes from mean light: scaled, bent by a film curve, encoded as sRGB.
pub(super) fn developed(light: impl Iterator<Item = f64>, exposure: f64) -> Vec<u8> {
    light.map(|light| encoded(film(light * exposure))).collect()
}

/// A film-like curve: straight in the shadows, soft in the lights (Narkowicz's fit of ACES).
fn film(x: f64) -> f64 {
    let x = 0.6 * x;
    (x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)).clamp(0.0, 1.0)
}

/// sRGB in 8 bits (IEC 61966-2-1). x^(1/2.4) is the product of the fourth and the sixth root.
fn encoded(x: f64) -> u8 {
    let value = if x <= 0.003_130_8 {
        12.92 * x
    } else {
        let cube_root = (0..60).fold(1.0_f64, |root, _| root - (root * root * root - x) / (3.0 * root * root));
        1.055 * x.sqrt().sqrt() * cube_root.sqrt() - 0.055
    };
    (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn srgb_is_that_of_the_standard_and_the_curve_rises() {
        for (linear, byte) in [(0.0, 0), (0.002, 7), (0.215_861, 128), (0.5, 188), (1.0, 255), (9.0, 255)] {
            assert_eq!(encoded(linear), byte, "{linear}");
        }
        let steps: Vec<f64> = (0..1_000_u32).map(|at| film(f64::from(at) * 0.02)).collect();
        assert!(steps.array_windows().all(|[a, b]| a <= b));
    }
}
