//! The word layouts of the product: common input, unit input. Offsets in README.md.
#![allow(clippy::arithmetic_side_effects, reason = "sides are at most 16,384")]

use crate::{
    Error,
    words::{push, words},
};

/// Longest side of a matrix: 64 tiles of the kernel's loop bound, and what the checker takes.
pub(super) const SIDE_MAX: usize = 16_384;
/// Bytes before the elements of the common input.
pub(super) const COMMON_HEAD_BYTES: usize = 16;
/// Bytes before the elements of a unit input.
pub(super) const UNIT_HEAD_BYTES: usize = 8;

const FORMAT: u32 = 1;

/// The right factor.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Common {
    pub(super) inner: usize,
    pub(super) columns: usize,
    pub(super) elements: Vec<f32>,
}

/// Some rows of the left factor.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unit {
    pub(super) rows: usize,
    pub(super) elements: Vec<f32>,
}

/// LOSSY: a side of a matrix is at most [`SIDE_MAX`].
fn side(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn push_elements(bytes: &mut Vec<u8>, elements: &[f32]) {
    elements.iter().for_each(|element| bytes.extend_from_slice(&element.to_le_bytes()));
}

fn inside(length: u32) -> Option<usize> {
    usize::try_from(length).ok().filter(|length| (1..=SIDE_MAX).contains(length))
}

impl Common {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(COMMON_HEAD_BYTES + 4 * self.elements.len());
        for word in [FORMAT, side(self.inner), side(self.columns), 0] {
            push(&mut bytes, word);
        }
        push_elements(&mut bytes, &self.elements);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let wrong = |what| Error::Blob { blob: "common", what };
        let words = words(bytes).ok_or_else(|| wrong("length is not a multiple of 4"))?;
        let (&[format, inner, columns, _], rest) = words.split_first_chunk().ok_or_else(|| wrong("too short"))?;
        let (Some(inner), Some(columns)) = (inside(inner), inside(columns)) else {
            return Err(wrong("side out of range"));
        };
        if format != FORMAT || rest.len() != inner * columns {
            return Err(wrong("unknown format or wrong length"));
        }
        Ok(Self { inner, columns, elements: rest.iter().map(|word| f32::from_bits(*word)).collect() })
    }
}

impl Unit {
    pub(super) fn encode(&self, inner: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(UNIT_HEAD_BYTES + 4 * self.elements.len());
        push(&mut bytes, side(self.rows));
        push(&mut bytes, side(inner));
        push_elements(&mut bytes, &self.elements);
        bytes
    }

    pub(super) fn decode(bytes: &[u8], inner: usize) -> Result<Self, Error> {
        let wrong = |what| Error::Blob { blob: "unit", what };
        let words = words(bytes).ok_or_else(|| wrong("length is not a multiple of 4"))?;
        let (&[rows, given], rest) = words.split_first_chunk().ok_or_else(|| wrong("too short"))?;
        let rows = inside(rows).ok_or_else(|| wrong("number of rows out of range"))?;
        if given != side(inner) || rest.len() != rows * inner {
            return Err(wrong("inner side or length differs"));
        }
        Ok(Self { rows, elements: rest.iter().map(|word| f32::from_bits(*word)).collect() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn blobs_round_trip_and_wrong_lengths_are_refused() {
        let common = Common { inner: 2, columns: 3, elements: vec![1.0, 2.0, 3.0, 4.0, 5.0, -0.5] };
        let bytes = common.encode();
        assert_eq!(Common::decode(&bytes).unwrap(), common);
        assert!((0..bytes.len()).all(|length| Common::decode(&bytes[..length]).is_err()));
        let unit = Unit { rows: 1, elements: vec![7.0, 8.0] };
        let bytes = unit.encode(2);
        assert_eq!(Unit::decode(&bytes, 2).unwrap(), unit);
        assert!(Unit::decode(&bytes, 1).is_err());
        assert!((0..bytes.len()).all(|length| Unit::decode(&bytes[..length], 2).is_err()));
        for (at, side) in [(4, 0_u32), (4, 16_385), (8, 0), (8, 16_385)] {
            let mut bad = common.encode();
            bad[at..at + 4].copy_from_slice(&side.to_le_bytes());
            assert!(Common::decode(&bad).is_err(), "{at} {side}");
        }
    }
}
