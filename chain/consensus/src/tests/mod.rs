//! The whole engine over a stand-in ledger.

pub(crate) mod traitor;
