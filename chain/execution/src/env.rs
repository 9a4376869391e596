//! What a transaction can learn about the block it runs in.

use alloy_primitives::{Address, B256};

/// The header fields that execution depends on.
///
/// Trust: the caller checked them against the parent (time, fee, limit); they are used as they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockEnv {
    /// Height.
    pub number: u64,
    /// Unix time in seconds.
    pub timestamp: u64,
    /// Account that gets the priority fees.
    pub beneficiary: Address,
    /// Gas that all transactions together may ask for and use.
    pub gas_limit: u64,
    /// Base fee in wei per gas; burnt.
    pub base_fee: u64,
    /// `mixHash`, which the `PREVRANDAO` opcode returns.
    pub prev_randao: B256,
    /// What the EIP-4788 system call writes.
    pub parent_beacon_block_root: B256,
    /// What the EIP-2935 system call writes and `BLOCKHASH` returns for the parent.
    pub parent_hash: B256,
}
