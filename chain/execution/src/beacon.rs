//! What a block hands to the contract `Beacon`: the randomness of consecutive heights.
//!
//! Spec: specs/0007-beacon.md §5.

use alloy_primitives::{B256, Bytes, U256};
use keystead_types::{BEACON_VALUES_MAX, BeaconBatch};

/// First four bytes of keccak256("record(uint256,bytes32[])"); a test of the node compares it with the contract's.
const RECORD_SELECTOR: [u8; 4] = [0xb6, 0x05, 0xa7, 0xa8];
/// Distance from the first argument to the array.
const ARRAY_OFFSET: u64 = 64;

/// Randomness of consecutive heights, none by default.
///
/// Trust: the block's beacon values were checked by whoever decides on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BeaconWrite {
    first: u64,
    count: usize,
    randomness: [B256; BEACON_VALUES_MAX],
}

impl BeaconWrite {
    /// Nothing to write.
    pub const NONE: Self = Self { first: 0, count: 0, randomness: [B256::ZERO; BEACON_VALUES_MAX] };

    /// The randomness to write; empty if there is none.
    #[must_use]
    pub fn randomness(&self) -> &[B256] {
        self.randomness.get(..self.count).unwrap_or_default()
    }

    /// The call of the contract; `None` if there is nothing to write.
    pub(crate) fn call(&self) -> Option<Bytes> {
        let words = self.randomness();
        if words.is_empty() {
            return None;
        }
        let mut out = RECORD_SELECTOR.to_vec();
        for number in [self.first, ARRAY_OFFSET, words.len() as u64] {
            out.extend_from_slice(&U256::from(number).to_be_bytes::<32>());
        }
        words.iter().for_each(|word| out.extend_from_slice(word.as_slice()));
        Some(out.into())
    }
}

impl From<&BeaconBatch> for BeaconWrite {
    fn from(batch: &BeaconBatch) -> Self {
        let mut randomness = [B256::ZERO; BEACON_VALUES_MAX];
        randomness.iter_mut().zip(batch.values()).for_each(|(to, value)| *to = value.randomness());
        Self { first: batch.first(), count: batch.values().len(), randomness }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;
    use alloy_primitives::keccak256;
    use keystead_types::BeaconValue;

    #[test]
    fn the_call_is_the_written_functions() {
        assert_eq!(keccak256("record(uint256,bytes32[])")[..4], RECORD_SELECTOR);
        assert_eq!(BeaconWrite::NONE.call(), None);
        assert_eq!(BeaconWrite::NONE, BeaconWrite::default());
        let values = vec![BeaconValue([1; 48]), BeaconValue([2; 48])];
        let call = BeaconWrite::from(&BeaconBatch::new(9, values.clone()).unwrap()).call().unwrap();
        let word = |index: usize| B256::from_slice(&call[4 + 32 * index..36 + 32 * index]);
        assert_eq!(call.len(), 4 + 5 * 32);
        assert_eq!([word(0), word(1), word(2)], [9u64, 64, 2].map(|it| B256::from(U256::from(it))));
        assert_eq!([word(3), word(4)], [values[0].randomness(), values[1].randomness()]);
    }
}
