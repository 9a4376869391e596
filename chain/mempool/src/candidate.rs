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
    /// Ascending, each once.
    pub(crate) authorities: Box<[Address]>,
}

impl From<Arc<Recovered>> for Candidate {
    fn from(transaction: Arc<Recovered>) -> Self {
        let count = transaction.authorization_list().map_or(0, <[_]>::len);
        // One with more is refused; its signatures are not worth a look.
        let few = (1..=Limits::AUTHORIZATIONS_MAX).contains(&count);
        let authorities = if few { authorities(&transaction) } else { Vec::new() };
        Self { transaction, authorities: authorities.into() }
    }
}
