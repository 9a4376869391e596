//! A false second vendor: every answer is one that WGSL permits, few are those of the reference. **Only for trying a tolerance.**
//!
//! # Design
//! A vendor's translator fuses and reorders (done when the code is written), its processor flushes subnormals and may round toward zero, its
//! functions have errors of their own. All of it is a function of seed, operation and operands: the same vendor gives the same answer twice, in
//! any order of workgroups. Integers, copies and bits are untouched. The bounds are those of WGSL's table of accuracy for `f32`.
//!
//! # Invariants
//! No result has a larger error than the table allows: each bound here leaves room for the error of the function that it starts from. The one
//! exception is [`Perturbation::cheap`]: no vendor but a cheat, which computes with shorter numbers than WGSL asks for.

use crate::{
    admit::Kernel,
    compile::{self, Freedom},
    execute::{
        Dispatch, Error, Sample,
        scalar::{self, Arithmetic, canonical},
    },
    program::{One, Program, Three, Two},
};

/// Which freedoms the false vendor takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Perturbation {
    /// Chooses orders of sums and errors of functions.
    pub seed: u64,
    /// `a * b + c` becomes one operation.
    pub contract: bool,
    /// Terms of a sum change their order.
    pub reassociate: bool,
    /// Subnormal operands and results become zero.
    pub flush: bool,
    /// Sums, differences and products are rounded toward zero.
    pub truncate: bool,
    /// Division, roots and transcendental functions err.
    pub inaccurate: bool,
    /// Bits of a significand, 2 to 24; 24 is single precision. Operands and results of every operation are rounded to it.
    pub significand_bits: u32,
}

/// Bits of the significand of an `f32`, the hidden one included.
const SIGNIFICAND_BITS: u32 = 24;

impl Perturbation {
    /// A vendor with every freedom.
    #[must_use]
    pub const fn all(seed: u64) -> Self {
        Self { contract: true, reassociate: true, flush: true, truncate: true, inaccurate: true, ..Self::none(seed) }
    }

    /// A vendor with none: the reference, through the same path.
    #[must_use]
    pub const fn none(seed: u64) -> Self {
        Self {
            seed,
            contract: false,
            reassociate: false,
            flush: false,
            truncate: false,
            inaccurate: false,
            significand_bits: SIGNIFICAND_BITS,
        }
    }

    /// A cheat that saves work by shorter numbers: 11 bits are those of half precision and TF32, 8 those of bfloat16.
    #[must_use]
    pub const fn cheap(significand_bits: u32) -> Self {
        Self { significand_bits, ..Self::none(0) }
    }
}

/// A kernel on the false vendor's device.
#[derive(Clone, Debug)]
pub struct PerturbedProgram {
    program: Program,
    vendor: Vendor,
}

impl PerturbedProgram {
    /// Writes the code as the vendor's translator would.
    ///
    /// # Errors
    /// As [`Kernel::program`].
    pub fn new(kernel: &Kernel, perturbation: Perturbation) -> Result<Self, compile::Error> {
        let Perturbation { seed, contract, reassociate, .. } = perturbation;
        let program = kernel.rearranged(Freedom::Seeded { seed, contract, reassociate })?;
        Ok(Self { program, vendor: Vendor { perturbation } })
    }

    /// As [`Program::run`].
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn run(&self, dispatch: &Dispatch<'_>) -> Result<Vec<u32>, Error> {
        Ok(self.program.run_all(dispatch, self.vendor)?.output)
    }

    /// As [`Program::run_workgroups`].
    ///
    /// # Errors
    /// As [`Program::run_workgroups`].
    pub fn run_workgroups(&self, dispatch: &Dispatch<'_>, workgroups: &[[u32; 3]]) -> Result<Sample, Error> {
        self.program.run_some(dispatch, workgroups, self.vendor)
    }
}

#[derive(Clone, Copy, Debug)]
struct Vendor {
    perturbation: Perturbation,
}

/// How far a result may lie from the right one.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    /// So many neighbours in each direction.
    Steps(u32),
    /// So much in each direction.
    Absolute(f32),
}

impl Vendor {
    const fn flushed(self, word: u32) -> u32 {
        let subnormal = word & 0x7f80_0000 == 0;
        if self.perturbation.flush && subnormal { word & 0x8000_0000 } else { self.shortened(word) }
    }

    /// Rounded to the nearest number with so many bits, halves away from zero.
    const fn shortened(self, word: u32) -> u32 {
        let cut = SIGNIFICAND_BITS.saturating_sub(self.perturbation.significand_bits);
        let is_number = word & 0x7f80_0000 != 0x7f80_0000;
        if cut == 0 || cut >= SIGNIFICAND_BITS || !is_number {
            return word;
        }
        // A carry goes into the exponent, as it should.
        let unit = 1_u32 << cut;
        word.wrapping_add(unit >> 1) & !unit.wrapping_sub(1)
    }

    /// A number that depends on the seed, the function and its operands.
    fn chance(self, fun: u32, a: u32, b: u32) -> u64 {
        let mut state = self.perturbation.seed ^ u64::from(fun).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for word in [a, b] {
            state = (state ^ u64::from(word)).wrapping_mul(0xff51_afd7_ed55_8ccd);
            state ^= state >> 32;
        }
        state
    }

    /// Moves a right result by a part of what is allowed.
    fn erring(self, right: f32, bound: Bound, chance: u64) -> u32 {
        if !self.perturbation.inaccurate || !right.is_normal() {
            return self.flushed(canonical(right));
        }
        let moved = match bound {
            Bound::Steps(most) => {
                let range = u64::from(most).wrapping_mul(2).wrapping_add(1);
                // LOSSY: the remainder is below 2^33, and the number of steps far below 2^31.
                #[allow(clippy::cast_possible_wrap)]
                let steps = (chance >> 16).checked_rem(range).unwrap_or(0) as i64;
                let steps = steps.wrapping_sub(i64::from(most));
                let bits = i64::from(right.to_bits()).wrapping_add(steps);
                let moved = f32::from_bits(u32::try_from(bits).unwrap_or(0));
                if moved.is_normal() && moved.is_sign_positive() == right.is_sign_positive() { moved } else { right }
            }
            Bound::Absolute(most) => {
                // LOSSY: a fraction of 16 bits.
                #[allow(clippy::cast_precision_loss)]
                let fraction = ((chance >> 16) & 0xffff) as f32 / 32_768.0 - 1.0;
                right + most * fraction
            }
        };
        self.flushed(canonical(moved))
    }

    /// The neighbour toward zero, if rounding to the nearest went away from zero. `excess` is the rounded result less the right one.
    fn truncated(self, rounded: f32, excess: f64) -> u32 {
        let away = (rounded > 0.0 && excess > 0.0) || (rounded < 0.0 && excess < 0.0);
        let word = canonical(rounded);
        let word = if self.perturbation.truncate && away && rounded.is_normal() { word.wrapping_sub(1) } else { word };
        self.flushed(word)
    }
}

/// Of the results of one word, those whose error WGSL bounds.
fn bound_of_one(fun: One, x: f32) -> Option<Bound> {
    Some(match fun {
        One::InverseSqrt => Bound::Steps(1),
        One::Sqrt => Bound::Steps(2),
        // 3 + 2 |x| ULP, and every function here is right within one.
        One::Exp | One::Exp2 => Bound::Steps(2),
        One::Log | One::Log2 if (0.5..=2.0).contains(&x) => Bound::Absolute(1.0 / 4_194_304.0),
        One::Log | One::Log2 => Bound::Steps(2),
        One::Sin | One::Cos if x.abs() <= core::f32::consts::PI => Bound::Absolute(1.0 / 4_096.0),
        One::Tan | One::Sinh | One::Cosh | One::Tanh | One::Asinh | One::Acosh | One::Atanh => Bound::Steps(2),
        One::Atan => Bound::Steps(2_048),
        One::Asin | One::Acos => Bound::Steps(1_024),
        _ => return None,
    })
}

impl Arithmetic for Vendor {
    fn one(&self, fun: One, a: u32) -> u32 {
        let takes_float = !matches!(
            fun,
            One::NegateI
                | One::NotI
                | One::NotB
                | One::AbsI
                | One::SignI
                | One::LeadingZeros
                | One::TrailingZeros
                | One::Ones
                | One::Reverse
                | One::FirstTrailing
                | One::FirstLeadingU
                | One::FirstLeadingI
                | One::UToF
                | One::IToF
                | One::UToB
                | One::BToF
        );
        if !takes_float {
            return scalar::one(fun, a);
        }
        let a = self.flushed(a);
        let x = f32::from_bits(a);
        let right = match fun {
            // Rounded once, so that one step stays within 2 ULP.
            One::InverseSqrt if self.perturbation.inaccurate => nearest(1.0 / f64::from(x).sqrt()),
            fun => f32::from_bits(scalar::one(fun, a)),
        };
        match bound_of_one(fun, x) {
            Some(bound) => self.erring(right, bound, self.chance(fun as u32, a, 0)),
            None => scalar::one(fun, a),
        }
    }

    fn two(&self, fun: Two, a: u32, b: u32) -> u32 {
        let is_float = matches!(
            fun,
            Two::AddF
                | Two::SubtractF
                | Two::MultiplyF
                | Two::DivideF
                | Two::ModuloF
                | Two::Atan2
                | Two::Pow
                | Two::EqualF
                | Two::NotEqualF
                | Two::LessF
                | Two::LessEqualF
                | Two::MinF
                | Two::MaxF
        );
        if !is_float {
            return scalar::two(fun, a, b);
        }
        let (a, b) = (self.flushed(a), self.flushed(b));
        let (x, y) = (f32::from_bits(a), f32::from_bits(b));
        let rounded = f32::from_bits(scalar::two(fun, a, b));
        let chance = || self.chance((fun as u32).wrapping_add(1_000), a, b);
        match fun {
            Two::AddF => self.truncated(rounded, excess_of_sum(x, y, rounded)),
            Two::SubtractF => self.truncated(rounded, excess_of_sum(x, -y, rounded)),
            // The product of two floats is exact as an f64, and so is the difference to its rounding.
            Two::MultiplyF => self.truncated(rounded, f64::from(rounded) - f64::from(x) * f64::from(y)),
            // 2.5 ULP for divisors of this size; without a bound for others, nothing is changed there.
            Two::DivideF if (f32::MIN_POSITIVE..=8.507_059e37).contains(&y.abs()) => {
                self.erring(rounded, Bound::Steps(2), chance())
            }
            Two::Atan2 => self.erring(rounded, Bound::Steps(2_048), chance()),
            Two::Pow => self.erring(rounded, Bound::Steps(2), chance()),
            _ => scalar::two(fun, a, b),
        }
    }

    fn three(&self, fun: Three, a: u32, b: u32, c: u32) -> u32 {
        match fun {
            Three::Fma => self.flushed(scalar::three(fun, self.flushed(a), self.flushed(b), self.flushed(c))),
            _ => scalar::three(fun, a, b, c),
        }
    }
}

// LOSSY: rounded to the nearest, which is the point.
#[allow(clippy::cast_possible_truncation)]
const fn nearest(x: f64) -> f32 {
    x as f32
}

/// What the rounded sum has too much. Exact in sign: both differences are of floats that lie near each other.
fn excess_of_sum(x: f32, y: f32, rounded: f32) -> f64 {
    let (large, small) = if x.abs() >= y.abs() { (x, y) } else { (y, x) };
    f64::from(rounded) - f64::from(large) - f64::from(small)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects, clippy::cast_precision_loss)] // A test.
mod tests {
    use super::*;

    fn vendor(seed: u64) -> Vendor {
        Vendor { perturbation: Perturbation::all(seed) }
    }

    /// The distance of neighbouring floats at `x`.
    fn ulp(x: f64) -> f64 {
        let x = nearest(x.abs());
        f64::from(f32::from_bits(x.to_bits() + 1)) - f64::from(x)
    }

    /// Normal numbers of many sizes.
    fn numbers() -> impl Iterator<Item = f32> {
        (0u32..4_000).map(|n| {
            let word = n.wrapping_mul(2_654_435_761);
            // Exponents 107 to 146: 2^-20 to 2^19.
            f32::from_bits((word & 0x807f_ffff) | ((107 + n % 40) << 23))
        })
    }

    #[test]
    fn sums_and_products_are_one_of_the_two_neighbours_of_the_right_one() {
        let (mut differing, mut all) = (0, 0);
        for (x, y) in numbers().zip(numbers().skip(7)) {
            for (fun, right) in [
                (Two::AddF, f64::from(x) + f64::from(y)),
                (Two::SubtractF, f64::from(x) - f64::from(y)),
                (Two::MultiplyF, f64::from(x) * f64::from(y)),
            ] {
                let word = vendor(1).two(fun, x.to_bits(), y.to_bits());
                let got = f64::from(f32::from_bits(word));
                assert!((got - right).abs() < ulp(right), "{fun:?} {x} {y}: {got} {right}");
                assert!(got.abs() <= right.abs(), "toward zero: {fun:?} {x} {y}");
                all += 1;
                differing += i32::from(word != scalar::two(fun, x.to_bits(), y.to_bits()));
            }
        }
        assert!(differing > all / 5, "a vendor that rounds like the reference shows nothing: {differing} of {all}");
    }

    #[test]
    fn functions_err_within_the_table_of_accuracy_and_not_less_than_a_bit() {
        /// A function, its right value, and the error allowed at an operand and a value.
        type Row = (One, fn(f64) -> f64, fn(f64, f64) -> f64);
        let functions: [Row; 9] = [
            (One::InverseSqrt, |x| 1.0 / x.sqrt(), |_, y| 2.0 * ulp(y)),
            (One::Sqrt, f64::sqrt, |_, y| 4.5 * ulp(y)),
            (One::Exp, f64::exp, |x, y| (3.0 + 2.0 * x.abs()) * ulp(y)),
            (One::Exp2, f64::exp2, |x, y| (3.0 + 2.0 * x.abs()) * ulp(y)),
            (One::Log, f64::ln, |x, y| if (0.5..=2.0).contains(&x) { 1.0 / 2_097_152.0 } else { 3.0 * ulp(y) }),
            (One::Log2, f64::log2, |x, y| if (0.5..=2.0).contains(&x) { 1.0 / 2_097_152.0 } else { 3.0 * ulp(y) }),
            (One::Sin, f64::sin, |_, _| 1.0 / 2_048.0),
            (One::Cos, f64::cos, |_, _| 1.0 / 2_048.0),
            (One::Atan, f64::atan, |_, y| 4_096.0 * ulp(y)),
        ];
        for (fun, right, bound) in functions {
            let mut differing = 0;
            for n in 1..3_000u16 {
                let x = f32::from(n) / 1_000.0;
                let word = vendor(5).one(fun, x.to_bits());
                let (got, right) = (f64::from(f32::from_bits(word)), right(f64::from(x)));
                let most = bound(f64::from(x), right);
                assert!((got - right).abs() <= most, "{fun:?}({x}): {got} {right} {most}");
                differing += i32::from(word != scalar::one(fun, x.to_bits()));
            }
            assert!(differing > 1_000, "{fun:?} {differing}");
        }
        for (x, y) in numbers().zip(numbers().skip(3)) {
            let got = f64::from(f32::from_bits(vendor(2).two(Two::DivideF, x.to_bits(), y.to_bits())));
            let right = f64::from(x) / f64::from(y);
            assert!((got - right).abs() <= 2.5 * ulp(right), "{x} / {y}: {got} {right}");
        }
    }

    #[test]
    fn a_cheat_keeps_so_many_bits_and_is_off_by_half_of_the_last_at_most() {
        let cheat = Vendor { perturbation: Perturbation::cheap(11) };
        for (x, y) in numbers().zip(numbers().skip(5)) {
            let word = cheat.two(Two::MultiplyF, x.to_bits(), y.to_bits());
            assert_eq!(word & 0x1fff, 0, "11 of 24 bits are left");
            let (x, y) = (f32::from_bits(cheat.shortened(x.to_bits())), f32::from_bits(cheat.shortened(y.to_bits())));
            let (got, right) = (f64::from(f32::from_bits(word)), f64::from(x) * f64::from(y));
            assert!((got - right).abs() <= 4_097.0 * ulp(right), "{x} * {y}: {got}");
        }
        for word in [f32::INFINITY.to_bits(), f32::NAN.to_bits(), 0, 0x8000_0000, 1.5f32.to_bits()] {
            assert_eq!(cheat.shortened(word), word);
        }
        assert_eq!(vendor(1).shortened(0x3f80_0001), 0x3f80_0001, "a vendor keeps them all");
    }

    #[test]
    fn subnormals_become_zero_with_their_sign_and_integers_are_untouched() {
        let tiny = (-1e-40f32).to_bits();
        assert_eq!(vendor(1).two(Two::AddF, tiny, 0), 0);
        assert_eq!(vendor(1).two(Two::MultiplyF, tiny, 1f32.to_bits()), (-0f32).to_bits());
        assert_eq!(vendor(1).two(Two::Add, tiny, 5), tiny.wrapping_add(5));
        assert_eq!(vendor(1).three(Three::Select, 1, tiny, 0), tiny);
        assert_eq!(vendor(1).one(One::Ones, 1), 1);
    }
}
