//! The chain of one process that `keystead dev` runs: the ledger of a validator, and in place of the engine a producer that
//! makes a block when a transaction comes, when time has passed, or when it is told to.
//!
//! # Design
//! [`Producer`] owns everything that can change: one lock is held from a transaction's arrival to its block, so each
//! block follows from the one before. Blocks are built and committed by [`crate::chain::Chain`], as a validator's are. What
//! only development needs (amending the head's state, going back) is done by the store, which was opened for it. See
//! ADR 6.

mod accounts;
mod clock;
mod control;
mod producer;

pub(crate) use accounts::Accounts;
pub(crate) use producer::{Producer, Start};
