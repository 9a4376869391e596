//! Functions of single words: integers as WGSL wraps them, floats rounded once per operation.

use crate::{
    execute::half::{from_half, to_half},
    program::{Atomic, One, Pack, Three, Two},
};

/// How single words are computed: the reference, or a false vendor in tests.
pub(crate) trait Arithmetic {
    fn one(&self, fun: One, a: u32) -> u32;
    fn two(&self, fun: Two, a: u32, b: u32) -> u32;
    fn three(&self, fun: Three, a: u32, b: u32, c: u32) -> u32;
}

/// The reference.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reference;

impl Arithmetic for Reference {
    #[inline(always)]
    fn one(&self, fun: One, a: u32) -> u32 {
        one(fun, a)
    }

    #[inline(always)]
    fn two(&self, fun: Two, a: u32, b: u32) -> u32 {
        two(fun, a, b)
    }

    #[inline(always)]
    fn three(&self, fun: Three, a: u32, b: u32, c: u32) -> u32 {
        three(fun, a, b, c)
    }
}

pub(crate) fn one(fun: One, a: u32) -> u32 {
    let i = a.cast_signed();
    match fun {
        One::NegateI => a.wrapping_neg(),
        One::NotI => !a,
        One::NotB => a ^ 1,
        One::AbsI => i.unsigned_abs(),
        One::SignI => i.signum().cast_unsigned(),
        One::LeadingZeros => a.leading_zeros(),
        One::TrailingZeros => a.trailing_zeros(),
        One::Ones => a.count_ones(),
        One::Reverse => a.reverse_bits(),
        One::FirstTrailing => {
            if a == 0 {
                u32::MAX
            } else {
                a.trailing_zeros()
            }
        }
        One::FirstLeadingU => first_leading(a),
        // Of a negative number, the first bit that is not its sign.
        One::FirstLeadingI => first_leading(if i < 0 { !a } else { a }),
        One::UToB => u32::from(a != 0),
        _ => of_float(fun, a),
    }
}

const fn first_leading(a: u32) -> u32 {
    if a == 0 { u32::MAX } else { 31u32.wrapping_sub(a.leading_zeros()) }
}

/// Largest floats below 2^31 and 2^32: to these a conversion saturates.
const I32_MAX: f32 = 2_147_483_520.0;
const U32_MAX: f32 = 4_294_967_040.0;

// LOSSY: conversions to integers truncate and saturate, conversions to floats round to the nearest, as WGSL says.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
fn of_float(fun: One, a: u32) -> u32 {
    let x = f32::from_bits(a);
    let y = match fun {
        One::UToF => a as f32,
        One::IToF => a.cast_signed() as f32,
        One::BToF => {
            if a == 0 {
                0.0
            } else {
                1.0
            }
        }
        One::FToU => return x.min(U32_MAX) as u32 & not_nan(x),
        One::FToI => return (x.min(I32_MAX) as i32).cast_unsigned() & not_nan(x),
        One::FToB => return u32::from(x != 0.0),
        // Of the bits, so that a NaN keeps its own.
        One::NegateF => return a ^ 0x8000_0000,
        One::AbsF => return a & 0x7fff_ffff,
        One::ExponentPart => return libm::frexpf(finite(x)).1.cast_unsigned(),
        One::FractionPart => {
            if x.is_finite() {
                libm::frexpf(x).0
            } else {
                x
            }
        }
        _ => function(fun, x),
    };
    canonical(y)
}

const fn not_nan(x: f32) -> u32 {
    if x.is_nan() { 0 } else { u32::MAX }
}

const fn finite(x: f32) -> f32 {
    if x.is_finite() { x } else { 0.0 }
}

/// One bit pattern for all NaNs: that of a computed one differs between processors.
pub(crate) const fn canonical(x: f32) -> u32 {
    if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() }
}

fn function(fun: One, x: f32) -> f32 {
    match fun {
        One::SignF => {
            if x > 0.0 {
                1.0
            } else if x < 0.0 {
                -1.0
            } else {
                x
            }
        }
        One::Ceil => x.ceil(),
        One::Floor => x.floor(),
        One::Round => x.round_ties_even(),
        One::Trunc => x.trunc(),
        One::Fract => x - x.floor(),
        One::FractTowardZero => x - x.trunc(),
        One::Sqrt => x.sqrt(),
        One::InverseSqrt => 1.0 / x.sqrt(),
        One::Exp => libm::expf(x),
        One::Exp2 => libm::exp2f(x),
        One::Log => libm::logf(x),
        One::Log2 => libm::log2f(x),
        One::Sin => libm::sinf(x),
        One::Cos => libm::cosf(x),
        One::Tan => libm::tanf(x),
        One::Asin => libm::asinf(x),
        One::Acos => libm::acosf(x),
        One::Atan => libm::atanf(x),
        One::Sinh => libm::sinhf(x),
        One::Cosh => libm::coshf(x),
        One::Tanh => libm::tanhf(x),
        One::Asinh => libm::asinhf(x),
        One::Acosh => libm::acoshf(x),
        One::Atanh => libm::atanhf(x),
        One::Radians => x * (core::f32::consts::PI / 180.0),
        One::Degrees => x * (180.0 / core::f32::consts::PI),
        One::QuantizeToF16 => from_half(to_half(x)),
        // Every other function was computed before.
        _ => x,
    }
}

#[inline(always)]
pub(crate) fn two(fun: Two, a: u32, b: u32) -> u32 {
    let (i, j) = (a.cast_signed(), b.cast_signed());
    match fun {
        Two::Add => a.wrapping_add(b),
        Two::Subtract => a.wrapping_sub(b),
        Two::Multiply => a.wrapping_mul(b),
        Two::DivideU => a.checked_div(b).unwrap_or(a),
        Two::DivideI => i.checked_div(j).unwrap_or(i).cast_unsigned(),
        Two::ModuloU => a.checked_rem(b).unwrap_or(0),
        Two::ModuloI => i.checked_rem(j).unwrap_or(0).cast_unsigned(),
        Two::And => a & b,
        Two::Or => a | b,
        Two::Xor => a ^ b,
        Two::ShiftLeft => a.wrapping_shl(b),
        Two::ShiftRightU => a.wrapping_shr(b),
        Two::ShiftRightI => i.wrapping_shr(b).cast_unsigned(),
        Two::Equal => u32::from(a == b),
        Two::NotEqual => u32::from(a != b),
        Two::LessU => u32::from(a < b),
        Two::LessEqualU => u32::from(a <= b),
        Two::LessI => u32::from(i < j),
        Two::LessEqualI => u32::from(i <= j),
        Two::MinU => a.min(b),
        Two::MaxU => a.max(b),
        Two::MinI => i.min(j).cast_unsigned(),
        Two::MaxI => i.max(j).cast_unsigned(),
        _ => two_floats(fun, a, b),
    }
}

#[inline(always)]
fn two_floats(fun: Two, a: u32, b: u32) -> u32 {
    let (x, y) = (f32::from_bits(a), f32::from_bits(b));
    match fun {
        Two::AddF => canonical(x + y),
        Two::SubtractF => canonical(x - y),
        Two::MultiplyF => canonical(x * y),
        Two::DivideF => canonical(x / y),
        Two::EqualF => u32::from(x == y),
        Two::NotEqualF => u32::from(x != y),
        Two::LessF => u32::from(x < y),
        Two::LessEqualF => u32::from(x <= y),
        Two::MinF => {
            if y < x {
                b
            } else {
                a
            }
        }
        Two::MaxF => {
            if x < y {
                b
            } else {
                a
            }
        }
        _ => two_rare(fun, a, b),
    }
}

fn two_rare(fun: Two, a: u32, b: u32) -> u32 {
    let (x, y) = (f32::from_bits(a), f32::from_bits(b));
    match fun {
        Two::ModuloF => {
            let whole = (x / y).trunc();
            canonical(x - y * whole)
        }
        Two::Atan2 => canonical(libm::atan2f(x, y)),
        Two::Pow => canonical(libm::powf(x, y)),
        Two::Ldexp => canonical(libm::scalbnf(x, b.cast_signed())),
        Two::Dot4U => (0..4).fold(0, |sum: u32, at| sum.wrapping_add(byte(a, at).wrapping_mul(byte(b, at)))),
        Two::Dot4I => {
            (0..4).fold(0, |sum: u32, at| sum.wrapping_add(signed_byte(a, at).wrapping_mul(signed_byte(b, at))))
        }
        Two::UnpackI8 => signed_byte(a, b),
        Two::UnpackU8 => byte(a, b),
        Two::UnpackSnorm8 => canonical((signed_float(signed_byte(a, b)) / 127.0).max(-1.0)),
        Two::UnpackUnorm8 => canonical(signed_float(byte(a, b)) / 255.0),
        Two::UnpackSnorm16 => canonical((signed_float(extend(short(a, b), 16)) / 32_767.0).max(-1.0)),
        Two::UnpackUnorm16 => canonical(signed_float(short(a, b)) / 65_535.0),
        // LOSSY: `short` has 16 bits.
        #[allow(clippy::cast_possible_truncation)]
        Two::UnpackF16 => canonical(from_half(short(a, b) as u16)),
        // Every other function was computed before.
        _ => a,
    }
}

const fn byte(word: u32, index: u32) -> u32 {
    word.wrapping_shr(index.wrapping_mul(8)) & 0xff
}

const fn signed_byte(word: u32, index: u32) -> u32 {
    extend(byte(word, index), 8)
}

const fn short(word: u32, index: u32) -> u32 {
    word.wrapping_shr(index.wrapping_mul(16)) & 0xffff
}

/// Repeats the sign of a number of `bits` bits, 1 to 32.
const fn extend(value: u32, bits: u32) -> u32 {
    let unused = 32u32.wrapping_sub(bits);
    (value.wrapping_shl(unused).cast_signed().wrapping_shr(unused)).cast_unsigned()
}

// LOSSY: at most 16 bits, which a float holds exactly.
#[allow(clippy::cast_precision_loss)]
const fn signed_float(value: u32) -> f32 {
    value.cast_signed() as f32
}

pub(crate) fn three(fun: Three, a: u32, b: u32, c: u32) -> u32 {
    match fun {
        Three::Select => {
            if a == 0 {
                c
            } else {
                b
            }
        }
        Three::Fma => canonical(libm::fmaf(f32::from_bits(a), f32::from_bits(b), f32::from_bits(c))),
        Three::ExtractU | Three::ExtractI => {
            let (offset, count) = bit_range(b, c);
            if count == 0 {
                return 0;
            }
            let low = a.wrapping_shr(offset) & mask(count);
            if fun == Three::ExtractI { extend(low, count) } else { low }
        }
    }
}

/// `offset <= 32` and `offset + count <= 32`.
fn bit_range(offset: u32, count: u32) -> (u32, u32) {
    let offset = offset.min(32);
    (offset, count.min(32u32.wrapping_sub(offset)))
}

/// `count` low bits, 1 to 32.
const fn mask(count: u32) -> u32 {
    u32::MAX.wrapping_shr(32u32.wrapping_sub(count))
}

pub(crate) fn insert(a: u32, b: u32, offset: u32, count: u32) -> u32 {
    let (offset, count) = bit_range(offset, count);
    if count == 0 {
        return a;
    }
    let mask = mask(count).wrapping_shl(offset);
    (a & !mask) | (b.wrapping_shl(offset) & mask)
}

/// Packs two or four words, the first into the lowest bits.
pub(crate) fn pack(fun: Pack, parts: &[u32]) -> u32 {
    let bits: u32 = match fun {
        Pack::Snorm16 | Pack::Unorm16 | Pack::F16 => 16,
        _ => 8,
    };
    // `32 / bits` parts, of which each has its place.
    let count = if bits == 16 { 2 } else { 4 };
    let parts = parts.iter().take(count).zip(0u32..);
    parts.fold(0, |word, (&part, at)| word | (packed(fun, part) & mask(bits)).wrapping_shl(at.wrapping_mul(bits)))
}

// LOSSY: the floats were brought into the range of the integer; NaN becomes its lowest value.
#[allow(clippy::cast_possible_truncation)]
fn packed(fun: Pack, part: u32) -> u32 {
    let x = f32::from_bits(part);
    let scaled = |low: f32, scale: f32| ((0.5 + scale * x.max(low).min(1.0)).floor() as i32).cast_unsigned();
    match fun {
        Pack::Snorm8 => scaled(-1.0, 127.0),
        Pack::Unorm8 => scaled(0.0, 255.0),
        Pack::Snorm16 => scaled(-1.0, 32_767.0),
        Pack::Unorm16 => scaled(0.0, 65_535.0),
        Pack::F16 => u32::from(to_half(x)),
        Pack::I8 | Pack::U8 => part,
        Pack::I8Clamp => part.cast_signed().clamp(-128, 127).cast_unsigned(),
        Pack::U8Clamp => part.min(255),
    }
}

/// The new word of an atomic operation, but for a comparison that fails.
pub(crate) fn atomic(fun: Atomic, old: u32, value: u32) -> u32 {
    match fun {
        Atomic::Add => old.wrapping_add(value),
        Atomic::Subtract => old.wrapping_sub(value),
        Atomic::And => old & value,
        Atomic::Or => old | value,
        Atomic::Xor => old ^ value,
        Atomic::MinU => old.min(value),
        Atomic::MaxU => old.max(value),
        Atomic::MinI => old.cast_signed().min(value.cast_signed()).cast_unsigned(),
        Atomic::MaxI => old.cast_signed().max(value.cast_signed()).cast_unsigned(),
        Atomic::Exchange | Atomic::CompareExchange => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integer_division_has_no_undefined_case() {
        let minimum = i32::MIN.cast_unsigned();
        assert_eq!([two(Two::DivideU, 7, 0), two(Two::ModuloU, 7, 0)], [7, 0]);
        assert_eq!([two(Two::DivideI, minimum, u32::MAX), two(Two::ModuloI, minimum, u32::MAX)], [minimum, 0]);
        let minus = |n: i32| n.cast_unsigned();
        assert_eq!([two(Two::DivideI, minus(-7), 2), two(Two::ModuloI, minus(-7), 2)], [minus(-3), minus(-1)]);
        assert_eq!([two(Two::DivideI, minus(-7), 0), two(Two::ModuloI, minus(-7), 0)], [minus(-7), 0]);
    }

    #[test]
    fn bit_functions_follow_the_specification_at_their_edges() {
        assert_eq!(
            [one(One::FirstLeadingU, 0), one(One::FirstLeadingU, 1), one(One::FirstLeadingU, u32::MAX)],
            [u32::MAX, 0, 31]
        );
        assert_eq!([one(One::FirstLeadingI, u32::MAX), one(One::FirstLeadingI, 0x8000_0000)], [u32::MAX, 30]);
        assert_eq!([one(One::FirstTrailing, 0), one(One::FirstTrailing, 8)], [u32::MAX, 3]);
        assert_eq!([one(One::LeadingZeros, 0), one(One::TrailingZeros, 0)], [32, 32]);
        assert_eq!(three(Three::ExtractU, 0xdead_beef, 8, 8), 0xbe);
        assert_eq!(three(Three::ExtractI, 0xdead_beef, 8, 8), 0xffff_ffbe);
        assert_eq!([three(Three::ExtractU, 5, 0, 0), three(Three::ExtractU, 5, 40, 8)], [0, 0]);
        assert_eq!(three(Three::ExtractI, 0xdead_beef, 0, 32), 0xdead_beef);
        assert_eq!([insert(0, u32::MAX, 4, 8), insert(7, 9, 0, 32), insert(7, 9, 32, 4)], [0xff0, 9, 7]);
    }

    #[test]
    fn packing_and_unpacking_are_inverse() {
        let word = 0x80ff_7f01;
        let parts: Vec<u32> = (0..4).map(|at| two(Two::UnpackI8, word, at)).collect();
        assert_eq!(parts, [1, 127, u32::MAX, 0xffff_ff80]);
        assert_eq!(pack(Pack::I8, &parts), word);
        let floats: Vec<u32> = (0..4).map(|at| two(Two::UnpackUnorm8, word, at)).collect();
        assert_eq!(pack(Pack::Unorm8, &floats), word);
        assert_eq!(pack(Pack::I8Clamp, &[300, 1, (-300i32).cast_unsigned(), 0]), 0x0080_017f);
        assert_eq!(pack(Pack::U8Clamp, &[300, 1, u32::MAX, 0]), 0x00ff_01ff);
        assert_eq!(two(Two::Dot4I, 0x0102_03ff, 0x0101_0102), (1 + 2 + 3 - 2u32));
        assert_eq!(two(Two::Dot4U, 0x0102_03ff, 0x0101_0102), 1 + 2 + 3 + 510);
    }

    #[test]
    fn floats_become_integers_within_the_range_and_nan_becomes_zero() {
        let of = |fun, x: f32| one(fun, x.to_bits());
        assert_eq!([of(One::FToU, -1.5), of(One::FToU, 3.9), of(One::FToU, 1e30)], [0, 3, 4_294_967_040]);
        assert_eq!(of(One::FToI, 1e30).cast_signed(), 2_147_483_520);
        assert_eq!(of(One::FToI, -1e30).cast_signed(), i32::MIN);
        assert_eq!([of(One::FToU, f32::NAN), of(One::FToI, f32::NAN)], [0, 0]);
    }
}
