//! Coarse powers, so that a measurement says no more than it can: half octaves of a positive integer.
//!
//! # Design
//! Band `b` holds the values `v` with `2^b <= v^2 < 2^(b+1)`: each band begins at `2^(b/2)`, rounded up, about 1.41 times the one below.
//! The square makes that exact with integers. Spec: specs/0010-capability.md §4.

use alloy_rlp::{BufMut, Decodable, Encodable};
use serde::{Deserialize, Serialize};

/// The highest band: that of `u64::MAX`.
pub const BAND_MAX: u8 = 127;

/// A half octave, 0 to [`BAND_MAX`]; ordered like the values that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Band(u8);

/// A number that is no band.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such band: got={got} max={BAND_MAX}")]
pub struct NoSuchBand {
    /// The number given.
    pub got: u8,
}

impl Band {
    /// The band of a value; zero has none.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // LOSSY: never, the logarithm of a u128 is at most 127.
    pub fn of(value: u64) -> Option<Self> {
        let square = u128::from(value).saturating_mul(u128::from(value));
        square.checked_ilog2().map(|exponent| Self(exponent as u8))
    }

    /// The band with this number.
    ///
    /// # Errors
    /// [`NoSuchBand`] above [`BAND_MAX`].
    pub const fn new(number: u8) -> Result<Self, NoSuchBand> {
        if number > BAND_MAX { Err(NoSuchBand { got: number }) } else { Ok(Self(number)) }
    }

    /// The number, 0 to [`BAND_MAX`].
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The least value of this band: what "in this band" promises.
    #[must_use]
    pub fn at_least(self) -> u64 {
        let square = 1u128.checked_shl(u32::from(self.0)).unwrap_or(u128::MAX);
        let root = square.isqrt();
        let ceiling = if root.saturating_mul(root) == square { root } else { root.saturating_add(1) };
        u64::try_from(ceiling).unwrap_or(u64::MAX)
    }

    /// The number plus one, so that zero can mean "none".
    #[must_use]
    pub fn code(band: Option<Self>) -> u8 {
        band.map_or(0, |band| band.0.saturating_add(1))
    }

    /// The inverse of [`Band::code`].
    ///
    /// # Errors
    /// [`NoSuchBand`] above [`BAND_MAX`] plus one.
    pub const fn from_code(code: u8) -> Result<Option<Self>, NoSuchBand> {
        match code.checked_sub(1) {
            None => Ok(None),
            Some(number) if number > BAND_MAX => Err(NoSuchBand { got: number }),
            Some(number) => Ok(Some(Self(number))),
        }
    }
}

impl TryFrom<u8> for Band {
    type Error = NoSuchBand;

    fn try_from(number: u8) -> Result<Self, NoSuchBand> {
        Self::new(number)
    }
}

impl From<Band> for u8 {
    fn from(band: Band) -> Self {
        band.0
    }
}

/// What a challenge measured, or what a job asks for at least; none means not measured, or not asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bands {
    /// Multiplications with addition of 32-bit integers, millions a second.
    pub throughput: Option<Band>,
    /// Memory that was filled, MiB.
    pub memory: Option<Band>,
    /// Bytes of the opening over the network, KiB a second.
    pub bandwidth: Option<Band>,
}

impl Bands {
    /// Whether every band that `least` names is reached.
    #[must_use]
    pub fn reach(self, least: Self) -> bool {
        self.throughput >= least.throughput && self.memory >= least.memory && self.bandwidth >= least.bandwidth
    }

    /// The lower of both, each for itself.
    #[must_use]
    pub fn lower(self, other: Self) -> Self {
        Self {
            throughput: self.throughput.min(other.throughput),
            memory: self.memory.min(other.memory),
            bandwidth: self.bandwidth.min(other.bandwidth),
        }
    }
}

impl Encodable for Bands {
    fn encode(&self, out: &mut dyn BufMut) {
        [self.throughput, self.memory, self.bandwidth].map(Band::code).map(u16::from).to_vec().encode(out);
    }

    fn length(&self) -> usize {
        [self.throughput, self.memory, self.bandwidth].map(Band::code).map(u16::from).to_vec().length()
    }
}

impl Decodable for Bands {
    fn decode(bytes: &mut &[u8]) -> alloy_rlp::Result<Self> {
        let codes = Vec::<u16>::decode(bytes)?;
        let band = |code: u16| {
            u8::try_from(code).ok().and_then(|code| Band::from_code(code).ok()).ok_or(alloy_rlp::Error::Custom("band"))
        };
        let [throughput, memory, bandwidth] = codes[..] else {
            return Err(alloy_rlp::Error::Custom("three bands"));
        };
        Ok(Self { throughput: band(throughput)?, memory: band(memory)?, bandwidth: band(bandwidth)? })
    }
}

// A test: a panic is a failure, and numbers are small.
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    #[test]
    fn every_band_begins_where_its_least_value_says() {
        for number in 0..=BAND_MAX {
            let band = Band::new(number).unwrap();
            let least = band.at_least();
            // Band 0 and 1 share the value 1 to 2: nothing lies between 1 and 1.41 but 1 itself.
            assert!(Band::of(least).unwrap() >= band, "{number}");
            assert!(least == 1 || Band::of(least - 1).unwrap() < band, "{number}");
        }
        assert_eq!(Band::new(128), Err(NoSuchBand { got: 128 }));
    }

    #[test]
    fn values_at_the_edges_have_the_bands_of_the_definition() {
        assert_eq!(Band::of(0), None);
        let numbers = [1, 2, 3, 4, 5, 6, 8, 11, 12, 16, u64::MAX].map(|v| Band::of(v).unwrap().number());
        assert_eq!(numbers, [0, 2, 3, 4, 4, 5, 6, 6, 7, 8, 127]);
    }

    #[test]
    fn no_band_is_below_every_band() {
        let some = Bands { throughput: Band::of(1), ..Bands::default() };
        assert!(some.reach(Bands::default()) && some.reach(some) && !Bands::default().reach(some));
        assert_eq!(Band::from_code(0), Ok(None));
        assert_eq!(Band::from_code(128), Ok(Band::new(127).ok()));
        assert!(Band::from_code(129).is_err());
    }
}
