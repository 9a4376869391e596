//! What nobody can guess, from the system.

use alloy_primitives::B256;
use eyre::{Context as _, Result};
use rand::{TryRngCore as _, rngs::OsRng};

/// A word that nobody knew before.
///
/// # Errors
/// The system has no randomness.
pub(crate) fn word() -> Result<B256> {
    let mut word = [0; 32];
    OsRng.try_fill_bytes(&mut word).wrap_err("the system gives no randomness")?;
    Ok(B256::new(word))
}
