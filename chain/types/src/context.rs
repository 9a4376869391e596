//! What the engine knew when a block was proposed: place in the protocol, leader, and the seeds of the views since the
//! parent's.
//!
//! Spec: specs/0000-chain.md §4.

use crate::certificate::Seed;
use alloy_primitives::B256;
use sha2::{Digest as _, Sha256};

/// Seeds that one block carries at most. A longer run of failed views drops the later ones: the parent's view, which
/// `mixHash` needs, is always first.
pub const SEEDS_MAX: usize = 4_096;

const SEED_BYTES: usize = 48;
const FIXED_BYTES: usize = 8 + 8 + 8 + 32 + 4;

/// The consensus context of a block; its SHA-256 stands in the header's `parentBeaconBlockRoot`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsensusContext {
    /// Epoch of the engine: one committee.
    pub epoch: u64,
    /// View in which the block was proposed; greater than `parent_view` within an epoch.
    pub view: u64,
    /// View in which the parent was proposed; 0 if the parent is the genesis block.
    pub parent_view: u64,
    /// The proposer's ed25519 public key.
    pub leader: [u8; 32],
    /// Seeds of the views from `max(parent_view, 1)` to `view - 1`, ascending, the first [`SEEDS_MAX`] of them.
    pub seeds: Vec<Seed>,
}

/// Bytes that are no context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// The length does not fit the seed count.
    #[error("consensus context has the wrong length: got_bytes={got_bytes} want_bytes={want_bytes}")]
    Length {
        /// Bytes given.
        got_bytes: usize,
        /// Bytes that the content asks for.
        want_bytes: usize,
    },
    /// More or fewer seeds than the views ask for.
    #[error("consensus context has the wrong number of seeds: got={got} want={want}")]
    Seeds {
        /// Seeds given.
        got: usize,
        /// Seeds that the views ask for.
        want: usize,
    },
}

impl ConsensusContext {
    /// Context of the genesis block: all zero, no seeds.
    #[must_use]
    pub const fn genesis() -> Self {
        Self { epoch: 0, view: 0, parent_view: 0, leader: [0; 32], seeds: Vec::new() }
    }

    /// First view whose seed the block carries.
    #[must_use]
    pub fn first_seed_view(&self) -> u64 {
        self.parent_view.max(1)
    }

    /// How many seeds these views ask for.
    #[must_use]
    pub fn seed_count(&self) -> usize {
        let views = self.view.saturating_sub(self.first_seed_view());
        usize::try_from(views).unwrap_or(usize::MAX).min(SEEDS_MAX)
    }

    /// Seed of the parent's view; `None` for a child of the genesis block proposed in view 1 and for genesis itself.
    #[must_use]
    pub fn parent_seed(&self) -> Option<&Seed> {
        if self.parent_view == 0 { None } else { self.seeds.first() }
    }

    /// Value of the header's `mixHash`: SHA-256 of the seed of the parent's view, zero if there is none.
    #[must_use]
    pub fn mix_hash(&self) -> B256 {
        self.parent_seed().map_or(B256::ZERO, |seed| B256::from_slice(&Sha256::digest(seed.0)))
    }

    /// Value of the header's `parentBeaconBlockRoot`: SHA-256 of [`Self::encode`].
    #[must_use]
    pub fn hash(&self) -> B256 {
        B256::from_slice(&Sha256::digest(self.encode()))
    }

    /// epoch, view, parent view (big-endian `u64`), leader (32 bytes), seed count (big-endian `u32`), seeds.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.encoded_bytes());
        for number in [self.epoch, self.view, self.parent_view] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.leader);
        let count = u32::try_from(self.seeds.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&count.to_be_bytes());
        self.seeds.iter().for_each(|seed| out.extend_from_slice(&seed.0));
        out
    }

    /// Length of [`Self::encode`] in bytes.
    #[must_use]
    pub const fn encoded_bytes(&self) -> usize {
        FIXED_BYTES.saturating_add(self.seeds.len().saturating_mul(SEED_BYTES))
    }

    /// Reads exactly one context.
    ///
    /// # Errors
    /// [`ContextError`] if the length or the number of seeds does not fit. Seeds are not verified here.
    pub fn decode(bytes: &[u8]) -> Result<Self, ContextError> {
        let wrong = |want_bytes| ContextError::Length { got_bytes: bytes.len(), want_bytes };
        let (numbers, rest) = bytes.split_first_chunk::<24>().ok_or_else(|| wrong(FIXED_BYTES))?;
        let (leader, rest) = rest.split_first_chunk::<32>().ok_or_else(|| wrong(FIXED_BYTES))?;
        let (count, rest) = rest.split_first_chunk::<4>().ok_or_else(|| wrong(FIXED_BYTES))?;
        let number = |at: usize| {
            let mut word = [0u8; 8];
            word.iter_mut().zip(numbers.iter().skip(at)).for_each(|(to, from)| *to = *from);
            u64::from_be_bytes(word)
        };
        let count = u32::from_be_bytes(*count) as usize;
        let want_bytes = FIXED_BYTES.saturating_add(count.saturating_mul(SEED_BYTES));
        if bytes.len() != want_bytes {
            return Err(wrong(want_bytes));
        }
        let (epoch, view, parent_view) = (number(0), number(8), number(16));
        let mut context = Self { epoch, view, parent_view, leader: *leader, seeds: Vec::new() };
        if count != context.seed_count() {
            return Err(ContextError::Seeds { got: count, want: context.seed_count() });
        }
        context.seeds = rest.as_chunks::<SEED_BYTES>().0.iter().map(|bytes| Seed(*bytes)).collect();
        Ok(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(view: u64, parent_view: u64) -> ConsensusContext {
        let mut context = ConsensusContext { epoch: 3, view, parent_view, leader: [7; 32], seeds: vec![] };
        context.seeds = (0..context.seed_count()).map(|n| Seed([u8::try_from(n).unwrap_or(u8::MAX); 48])).collect();
        context
    }

    #[test]
    fn a_context_survives_its_encoding() {
        for context in [sample(1, 0), sample(4, 0), sample(9, 8), sample(12, 8), ConsensusContext::genesis()] {
            assert_eq!(ConsensusContext::decode(&context.encode()), Ok(context.clone()));
            assert_eq!(context.encode().len(), context.encoded_bytes());
        }
    }

    #[test]
    fn the_first_view_after_genesis_has_no_seed() {
        assert_eq!(sample(1, 0).seeds.len(), 0);
        assert_eq!(sample(2, 0).seeds.len(), 1);
        assert_eq!(sample(1, 0).mix_hash(), B256::ZERO);
        assert_eq!(sample(2, 0).mix_hash(), B256::ZERO, "genesis has no view, so no parent seed");
        assert_ne!(sample(3, 2).mix_hash(), B256::ZERO);
    }

    #[test]
    fn a_missing_or_extra_seed_or_byte_is_refused() {
        let mut context = sample(12, 8);
        context.seeds.pop();
        assert_eq!(ConsensusContext::decode(&context.encode()), Err(ContextError::Seeds { got: 3, want: 4 }));
        let mut bytes = sample(12, 8).encode();
        bytes.push(0);
        assert!(matches!(ConsensusContext::decode(&bytes), Err(ContextError::Length { .. })));
        bytes.truncate(20);
        assert!(matches!(ConsensusContext::decode(&bytes), Err(ContextError::Length { .. })));
    }

    #[test]
    fn a_claimed_count_of_billions_allocates_nothing() {
        let mut bytes = sample(1, 0).encode();
        bytes.splice(56..60, [0xff; 4]);
        assert!(matches!(ConsensusContext::decode(&bytes), Err(ContextError::Length { .. })));
    }
}
