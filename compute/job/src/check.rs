//! What a job brings along so that its results can be checked: a checker program, or the bound within which results agree.
//!
//! # Design
//! Both are part of the job hash, so provider, customer, checker and referee judge by the same rule. Bounds are single-precision
//! numbers kept as their bits: equal bounds have one encoding, and nothing is rounded on the way. Spec: specs/0003-job.md §2, §9.

use crate::limits::{self, FUEL_MAX, range};
use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

/// Largest `sound_factor`: three orders of magnitude between "agrees" and "certainly wrong".
pub const SOUND_FACTOR_MAX: u32 = 1_000;
/// Most elements that may disagree, parts per million: above one in ten, a comparison says nothing.
pub const OUTLIERS_PPM_MAX: u32 = 100_000;

/// A program that tells right outputs from wrong ones; only for class *self-checking*. It runs as a `wasm/1` program with the
/// job's memory and wall limits, and with an output of one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Checker {
    /// Blob name of the program; not zero.
    pub program_hash: B256,
    /// Fuel of one check, 1 to [`FUEL_MAX`].
    pub fuel_max: u64,
}

/// The type of the elements of an output; little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Element {
    /// IEEE 754 binary32, 4 bytes.
    F32 = 1,
    /// IEEE 754 binary64, 8 bytes.
    F64 = 2,
}

impl Element {
    /// Bytes of one element.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// A bound: a finite binary32 number, not negative and not minus zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "f32", into = "f32")]
pub struct Bound {
    /// Bits of the number; for numbers that are not negative their order is that of the numbers.
    bits: u32,
}

impl Bound {
    /// The bound 0.
    pub const ZERO: Self = Self { bits: 0 };

    /// Reads the bits of a binary32 number.
    ///
    /// # Errors
    /// [`Error::Bound`] if it is negative (minus zero included), infinite or not a number.
    pub const fn from_bits(bits: u32) -> Result<Self, Error> {
        // Infinity has the smallest bits of all that are not finite, apart from the sign.
        if bits < f32::INFINITY.to_bits() { Ok(Self { bits }) } else { Err(Error::Bound { bits }) }
    }

    /// The bits, as they stand in a job spec.
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        self.bits
    }

    /// The number, exactly.
    #[must_use]
    pub const fn to_f64(self) -> f64 {
        f32::from_bits(self.bits) as f64
    }
}

impl TryFrom<f32> for Bound {
    type Error = Error;

    fn try_from(number: f32) -> Result<Self, Error> {
        Self::from_bits(number.to_bits())
    }
}

impl From<Bound> for f32 {
    fn from(bound: Bound) -> Self {
        Self::from_bits(bound.bits)
    }
}

/// When two outputs of a job of class *tolerance* agree: `|a - b| <= absolute + relative * max(|a|, |b|)` element by element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tolerance {
    /// What the output is an array of.
    pub element: Element,
    /// The absolute part, in the unit of the elements.
    pub absolute: Bound,
    /// The part that grows with the elements.
    pub relative: Bound,
    /// Elements that may disagree, parts per million of all, rounded down; at most [`OUTLIERS_PPM_MAX`].
    pub outliers_ppm: u32,
    /// A result that disagrees within the bound times this is not paid; beyond it is wrong. 1 to [`SOUND_FACTOR_MAX`].
    pub sound_factor: u32,
}

/// Why a checker or a tolerance is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A bound that is no bound.
    #[error("a bound must be a finite number from 0: bits={bits:#010x}")]
    Bound {
        /// The bits received.
        bits: u32,
    },
    /// An element number outside the table.
    #[error("unknown element type: {got}")]
    Element {
        /// The number received.
        got: u8,
    },
    /// A number outside its range.
    #[error(transparent)]
    Limit(#[from] limits::Error),
    /// The checker's name is zero.
    #[error("a checker needs a program: its hash is zero")]
    NoProgram,
    /// The output cannot be an array of the elements.
    #[error(
        "output is not a whole number of elements: output_bytes_max={output_bytes_max} element_bytes={element_bytes}"
    )]
    OutputNotElements {
        /// The job's output limit.
        output_bytes_max: u64,
        /// Bytes of one element.
        element_bytes: usize,
    },
}

impl TryFrom<u8> for Element {
    type Error = Error;

    fn try_from(number: u8) -> Result<Self, Error> {
        match number {
            1 => Ok(Self::F32),
            2 => Ok(Self::F64),
            got => Err(Error::Element { got }),
        }
    }
}

impl Checker {
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.program_hash.is_zero() {
            return Err(Error::NoProgram);
        }
        Ok(range("checker_fuel_max", self.fuel_max, 1, FUEL_MAX)?)
    }
}

impl Tolerance {
    pub(crate) fn check(&self, output_bytes_max: u64) -> Result<(), Error> {
        range("outliers_ppm", u64::from(self.outliers_ppm), 0, u64::from(OUTLIERS_PPM_MAX))?;
        range("sound_factor", u64::from(self.sound_factor), 1, u64::from(SOUND_FACTOR_MAX))?;
        let element_bytes = self.element.bytes();
        if !output_bytes_max.is_multiple_of(element_bytes as u64) {
            return Err(Error::OutputNotElements { output_bytes_max, element_bytes });
        }
        Ok(())
    }
}

// A test: a panic is a failure, and numbers are small.
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    const AGREE: Tolerance = Tolerance {
        element: Element::F32,
        absolute: Bound::ZERO,
        relative: Bound::ZERO,
        outliers_ppm: 0,
        sound_factor: 1,
    };

    #[test]
    fn bounds_are_finite_and_not_negative() {
        for good in [0.0, f32::from_bits(1), 1e-6, f32::MAX] {
            let bound = Bound::try_from(good).unwrap();
            assert_eq!(bound.to_bits(), good.to_bits());
            assert_eq!(bound.to_f64(), f64::from(good));
        }
        for bad in [-0.0, -1.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            assert_eq!(Bound::try_from(bad), Err(Error::Bound { bits: bad.to_bits() }));
        }
        assert!(serde_json::from_str::<Bound>("1e-5").is_ok());
        assert!(serde_json::from_str::<Bound>("-1e-5").is_err());
        assert!(serde_json::from_str::<Bound>("1e39").is_err());
    }

    #[test]
    fn a_tolerance_is_tested_at_both_sides_of_each_edge() {
        assert_eq!(AGREE.check(4), Ok(()));
        let most = Tolerance { outliers_ppm: OUTLIERS_PPM_MAX, sound_factor: SOUND_FACTOR_MAX, ..AGREE };
        assert_eq!(most.check(8), Ok(()));
        for beyond in [
            Tolerance { outliers_ppm: OUTLIERS_PPM_MAX + 1, ..AGREE },
            Tolerance { sound_factor: SOUND_FACTOR_MAX + 1, ..AGREE },
            Tolerance { sound_factor: 0, ..AGREE },
        ] {
            assert!(matches!(beyond.check(4), Err(Error::Limit(_))), "{beyond:?}");
        }
        let wide = Tolerance { element: Element::F64, ..AGREE };
        assert_eq!(wide.check(4), Err(Error::OutputNotElements { output_bytes_max: 4, element_bytes: 8 }));
        assert_eq!(AGREE.check(6), Err(Error::OutputNotElements { output_bytes_max: 6, element_bytes: 4 }));
    }

    #[test]
    fn a_checker_needs_a_program_and_fuel() {
        let good = Checker { program_hash: B256::repeat_byte(1), fuel_max: 1 };
        assert_eq!(good.check(), Ok(()));
        assert_eq!(Checker { fuel_max: FUEL_MAX, ..good }.check(), Ok(()));
        assert!(Checker { fuel_max: FUEL_MAX + 1, ..good }.check().is_err());
        assert!(Checker { fuel_max: 0, ..good }.check().is_err());
        assert_eq!(Checker { program_hash: B256::ZERO, ..good }.check(), Err(Error::NoProgram));
    }
}
