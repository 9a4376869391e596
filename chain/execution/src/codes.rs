//! Analysed contract code, kept between blocks.
//!
//! # Design
//! Finding the jump destinations of a contract costs more than a transfer, and the same few contracts are called in
//! every block. The analysis depends on nothing but the code, and the code on nothing but its hash, so one bounded
//! process-wide memory serves all views and chains; whether something is in it can change time only. Two generations
//! approximate least-recently-used: when the young one is full it becomes the old one, and what is used again moves up.

use alloy_primitives::{B256, Bytes, keccak256, map::B256Map};
use keystead_types::{StateView, ViewError};
use revm::bytecode::Bytecode;
use std::sync::{LazyLock, Mutex, PoisonError};

/// Code bytes per generation, so the whole is bounded by twice this and the analysis (an eighth more): about 2,700
/// contracts of the largest size, or all that most chains ever call in an hour.
const GENERATION_BYTES_MAX: usize = 32 * 1024 * 1024;

static CODES: LazyLock<Mutex<Generations>> = LazyLock::new(|| Mutex::new(Generations::new(GENERATION_BYTES_MAX)));

/// The analysed code with this hash, from memory or from the view.
///
/// # Errors
/// [`ViewError`] if the view fails, or returns code that does not have this hash.
pub(crate) fn load(view: &dyn StateView, hash: &B256) -> Result<Bytecode, ViewError> {
    // A panic while the lock was held cannot leave the maps inconsistent: a poisoned lock is still good.
    if let Some(code) = CODES.lock().unwrap_or_else(PoisonError::into_inner).find(hash) {
        return Ok(code);
    }
    let bytes = view.code(hash)?;
    let got = keccak256(&bytes);
    if got != *hash {
        return Err(ViewError(format!("code does not match its hash: want={hash} got={got}")));
    }
    let code = analyse(bytes);
    CODES.lock().unwrap_or_else(PoisonError::into_inner).keep(*hash, code.clone());
    Ok(code)
}

/// Code that begins like an EIP-7702 delegation but is none (possible before EIP-3541) is ordinary code.
pub(crate) fn analyse(bytes: Bytes) -> Bytecode {
    Bytecode::new_raw_checked(bytes.clone()).unwrap_or_else(|_| Bytecode::new_legacy(bytes))
}

struct Generations {
    young: B256Map<Bytecode>,
    old: B256Map<Bytecode>,
    young_bytes: usize,
    bytes_max: usize,
}

impl Generations {
    fn new(bytes_max: usize) -> Self {
        Self { young: B256Map::default(), old: B256Map::default(), young_bytes: 0, bytes_max }
    }

    fn find(&mut self, hash: &B256) -> Option<Bytecode> {
        if let Some(code) = self.young.get(hash) {
            return Some(code.clone());
        }
        let code = self.old.remove(hash)?;
        self.keep(*hash, code.clone());
        Some(code)
    }

    fn keep(&mut self, hash: B256, code: Bytecode) {
        let bytes = code.len();
        if self.young_bytes.saturating_add(bytes) > self.bytes_max {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if self.young.insert(hash, code).is_none() {
            self.young_bytes = self.young_bytes.saturating_add(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    fn code(seed: u8, bytes: usize) -> (B256, Bytecode) {
        let bytes = Bytes::from(vec![seed; bytes]);
        (keccak256(&bytes), analyse(bytes))
    }

    #[test]
    fn memory_is_bounded_by_two_generations_and_keeps_what_is_used() {
        let mut codes = Generations::new(100);
        let (hot, bytecode) = code(1, 30);
        codes.keep(hot, bytecode);
        for seed in 2..100 {
            let (hash, bytecode) = code(seed, 30);
            codes.keep(hash, bytecode);
            assert!(codes.find(&hot).is_some(), "used code was dropped at {seed}");
            let bytes: usize = codes.young.values().chain(codes.old.values()).map(Bytecode::len).sum();
            assert!(bytes <= 200, "bytes={bytes}");
        }
        let (cold, _) = code(2, 30);
        assert!(codes.find(&cold).is_none());
    }

    #[test]
    fn a_view_that_returns_other_code_is_refused() {
        struct Liar;
        impl StateView for Liar {
            fn account(&self, _: &alloy_primitives::Address) -> Result<Option<keystead_types::Account>, ViewError> {
                Ok(None)
            }
            fn storage(
                &self,
                _: &alloy_primitives::Address,
                _: &alloy_primitives::U256,
            ) -> Result<alloy_primitives::U256, ViewError> {
                Ok(alloy_primitives::U256::ZERO)
            }
            fn code(&self, _: &B256) -> Result<Bytes, ViewError> {
                Ok(Bytes::from_static(b"other"))
            }
            fn block_hash(&self, _: u64) -> Result<B256, ViewError> {
                Ok(B256::ZERO)
            }
        }
        let error = load(&Liar, &B256::repeat_byte(7)).unwrap_err();
        assert!(error.0.contains("does not match its hash"), "{error}");
    }

    #[test]
    fn code_that_only_looks_like_a_delegation_is_ordinary_code() {
        assert!(analyse(Bytes::from_static(&[0xef, 0x01])).is_legacy());
        let mut delegation = vec![0xef, 0x01, 0x00];
        delegation.extend([7; 20]);
        assert!(analyse(delegation.into()).is_eip7702());
    }
}
