//! Half-precision floats as bits.

/// Rounds to the nearest half, ties to even; beyond the largest to infinity.
// LOSSY: each cast keeps the bits that the half has.
#[allow(clippy::cast_possible_truncation)]
pub(crate) fn to_half(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = (bits.wrapping_shr(16) & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return sign | 0x7e00;
    }
    // 65,520 and more round to infinity.
    if magnitude >= 0x477f_f000 {
        return sign | 0x7c00;
    }
    if magnitude < 0x3880_0000 {
        // Below the smallest normal half: a multiple of 2^-24. Adding 0.5 moves its bits to the end, rounded as floats round.
        let moved = (f32::from_bits(magnitude) + 0.5).to_bits();
        return sign | (moved.wrapping_sub(0x3f00_0000) as u16);
    }
    let odd = magnitude.wrapping_shr(13) & 1;
    let rounded = magnitude.wrapping_add(0x0fff).wrapping_add(odd);
    sign | (rounded.wrapping_sub(0x3800_0000).wrapping_shr(13) as u16)
}

/// Exact.
pub(crate) fn from_half(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000).wrapping_shl(16);
    let magnitude = u32::from(half & 0x7fff);
    let value = if magnitude >= 0x7c00 {
        f32::from_bits(magnitude.wrapping_shl(13) | 0x7f80_0000)
    } else if magnitude < 0x0400 {
        // A multiple of 2^-24.
        f32::from_bits(0x3f00_0000 | magnitude) - 0.5
    } else {
        f32::from_bits(magnitude.wrapping_shl(13).wrapping_add(0x3800_0000))
    };
    f32::from_bits(value.to_bits() | sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_the_way_to_a_float_and_back() {
        for half in 0..=u16::MAX {
            let x = from_half(half);
            if x.is_nan() {
                assert_eq!(to_half(x) & 0x7e00, 0x7e00);
            } else {
                assert_eq!(to_half(x), half, "{x}");
            }
        }
    }

    #[test]
    fn halves_are_rounded_to_the_nearest_and_ties_to_even() {
        for (x, half) in [
            (1.0, 0x3c00),
            (1.0 + 1.0 / 2048.0, 0x3c00),
            (1.0 + 3.0 / 2048.0, 0x3c02),
            (65_519.9, 0x7bff),
            (65_520.0, 0x7c00),
            (f32::NEG_INFINITY, 0xfc00),
            (1.0 / 33_554_432.0, 0x0000),
            (1.5 / 33_554_432.0 * 1.0001, 0x0001),
            (-1.0 / 16_777_216.0, 0x8001),
        ] {
            assert_eq!(to_half(x), half, "{x}");
        }
    }
}
