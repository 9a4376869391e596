//! The word layouts of the value-at-risk kernel: common input and unit input. Offsets and formats in README.md.

use super::tables::{EXP_WORDS, SEGMENT_WORDS, TAIL_WORDS, Tables};
use crate::{
    Error,
    words::{push, words},
};

/// Most assets of a portfolio: the kernel keeps them in registers.
pub(super) const ASSETS_MAX: usize = 16;
/// Entries of a lower triangle of [`ASSETS_MAX`] rows.
pub(super) const TRIANGLE: usize = 136;
/// Most paths of one unit: 65,535 workgroups of 64, rounded down to a power of two.
pub(super) const UNIT_PATHS_MAX: u32 = 2_097_152;

const FORMAT: u32 = 1;
const HEAD_WORDS: usize = 4;
const COMMON_WORDS: usize = HEAD_WORDS + 2 * ASSETS_MAX + TRIANGLE + TAIL_WORDS + SEGMENT_WORDS + EXP_WORDS;

/// The model in fixed point. Entries beyond the number of assets are 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Common {
    /// 1 to [`ASSETS_MAX`].
    pub(super) assets: usize,
    /// The generator's key.
    pub(super) seed: u64,
    /// Mean log return over the horizon, Q5.26.
    pub(super) means: [i32; ASSETS_MAX],
    /// Share of gross value, negative if sold short, Q1.30.
    pub(super) weights: [i32; ASSETS_MAX],
    /// Cholesky factor of the covariance over the horizon, row by row, Q3.28.
    pub(super) factor: [i32; TRIANGLE],
    /// Function tables.
    pub(super) tables: Tables,
}

/// A range of paths, numbered through the whole job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) first_path: u64,
    /// 1 to [`UNIT_PATHS_MAX`].
    pub(super) path_count: u32,
}

impl Common {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(COMMON_WORDS.saturating_mul(4));
        push(&mut bytes, FORMAT);
        push(&mut bytes, u32::try_from(self.assets).unwrap_or(u32::MAX));
        bytes.extend_from_slice(&self.seed.to_le_bytes());
        for value in self.means.iter().chain(&self.weights).chain(&self.factor) {
            push(&mut bytes, value.cast_unsigned());
        }
        for value in self.tables.tail.iter().chain(self.tables.segments.as_flattened()).chain(&self.tables.powers) {
            push(&mut bytes, *value);
        }
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let wrong = |what| Error::Blob { blob: "common", what };
        let words = words(bytes).ok_or_else(|| wrong("length is not a multiple of 4"))?;
        if words.len() != COMMON_WORDS || words[0] != FORMAT {
            return Err(wrong("unknown format or wrong length"));
        }
        let assets = usize::try_from(words[1]).ok().filter(|assets| (1..=ASSETS_MAX).contains(assets));
        let seed = u64::from(words[2]) | (u64::from(words[3]) << 32);
        let mut rest = words.into_iter().skip(HEAD_WORDS);
        let mut next = || rest.next().unwrap_or(0);
        Ok(Self {
            assets: assets.ok_or_else(|| wrong("number of assets out of range"))?,
            seed,
            means: core::array::from_fn(|_| next().cast_signed()),
            weights: core::array::from_fn(|_| next().cast_signed()),
            factor: core::array::from_fn(|_| next().cast_signed()),
            tables: Tables {
                tail: core::iter::repeat_with(&mut next).take(TAIL_WORDS).collect(),
                segments: core::iter::repeat_with(|| [next(), next(), next()]).take(SEGMENT_WORDS / 3).collect(),
                powers: core::iter::repeat_with(&mut next).take(EXP_WORDS).collect(),
            },
        })
    }
}

impl Unit {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut bytes = self.first_path.to_le_bytes().to_vec();
        push(&mut bytes, self.path_count);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let wrong = |what| Error::Blob { blob: "unit", what };
        match words(bytes).as_deref() {
            Some(&[low, high, path_count]) if (1..=UNIT_PATHS_MAX).contains(&path_count) => {
                Ok(Self { first_path: u64::from(low) | (u64::from(high) << 32), path_count })
            }
            Some(&[_, _, _]) => Err(wrong("number of paths out of range")),
            _ => Err(wrong("length is not 12 bytes")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::cast_possible_wrap, clippy::cast_possible_truncation, reason = "tests")]
    use super::*;

    #[test]
    fn blobs_round_trip_and_wrong_lengths_are_refused() {
        let common = Common {
            assets: 3,
            seed: 0x0123_4567_89ab_cdef,
            means: core::array::from_fn(|at| at as i32 - 5),
            weights: core::array::from_fn(|at| 7 - at as i32),
            factor: core::array::from_fn(|at| -(at as i32)),
            tables: Tables::new(),
        };
        let bytes = common.encode();
        assert_eq!(bytes.len(), 20_656);
        assert_eq!(Common::decode(&bytes).unwrap(), common);
        assert!(Common::decode(&bytes[4..]).is_err() && Common::decode(&bytes[..bytes.len() - 1]).is_err());
        for assets in [0, 17] {
            let mut bad = bytes.clone();
            bad[4] = assets;
            assert!(Common::decode(&bad).is_err());
        }
        let unit = Unit { first_path: u64::MAX - 5, path_count: UNIT_PATHS_MAX };
        assert_eq!(Unit::decode(&unit.encode()).unwrap(), unit);
        assert!(Unit::decode(&Unit { path_count: 0, ..unit }.encode()).is_err());
        assert!(Unit::decode(&Unit { path_count: UNIT_PATHS_MAX + 1, ..unit }.encode()).is_err());
        assert!(Unit::decode(&unit.encode()[..8]).is_err());
    }
}
