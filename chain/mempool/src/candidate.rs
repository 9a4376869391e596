//! A transaction that asks to be taken, with what its signatures say.

use crate::limits::Limits;
use alloy_consensus::Transaction as _;
use alloy_primitives::Address;
use keystead_types::{Recovered, authorities};
use std::sync::Arc;

/// A transaction with the accounts that its authorizations name (EIP-7702).
///
/// Making one recovers the signers of the authorizations, about 40 us each: do it before the pool is locked.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub(crate) transaction: Arc<Recovered>,
    /// Ascending, each once, with the highest nonce that it signed for.
    authorities: Vec<(Address, u64)>,
}

impl Candidate {
    /// Leaves out accounts that have used the nonce that they signed for, as `nonce_of` knows them at the head: such an
    /// authorization cannot take effect any more. Otherwise anybody could take one from the chain, and keep its signer
    /// from sending by sending it again.
    ///
    /// # Errors
    /// Those of `nonce_of`; then all are kept.
    pub fn forget_used<E>(&mut self, mut nonce_of: impl FnMut(&Address) -> Result<u64, E>) -> Result<(), E> {
        let mut open = Vec::with_capacity(self.authorities.len());
        for (authority, nonce) in &self.authorities {
            if nonce_of(authority)? <= *nonce {
                open.push((*authority, *nonce));
            }
        }
        self.authorities = open;
        Ok(())
    }

    /// The accounts whose code it may change.
    pub(crate) fn authorities(&self) -> Box<[Address]> {
        self.authorities.iter().map(|(authority, _)| *authority).collect()
    }
}

impl From<Arc<Recovered>> for Candidate {
    fn from(transaction: Arc<Recovered>) -> Self {
        let count = transaction.authorization_list().map_or(0, <[_]>::len);
        // One with more is refused; its signatures are not worth a look.
        let few = (1..=Limits::AUTHORIZATIONS_MAX).contains(&count);
        let authorities = if few { authorities(&transaction) } else { Vec::new() };
        Self { transaction, authorities }
    }
}
