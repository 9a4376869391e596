//! What a transaction can learn about the block it runs in.

use crate::beacon::BeaconWrite;
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, U256};
use keystead_types::{BeaconBatch, Block};

/// What execution depends on beside transactions: header fields, and the beacon values of the body.
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
    /// Base fee in wei per gas; burnt. Zero before London.
    pub base_fee: u64,
    /// What the `DIFFICULTY` opcode returns before the merge; zero after it and on a chain of ours.
    pub difficulty: U256,
    /// `mixHash`, which the `PREVRANDAO` opcode returns.
    pub prev_randao: B256,
    /// Excess of blob gas, which gives the price of blobs; zero on a chain of ours.
    pub excess_blob_gas: u64,
    /// What the EIP-4788 system call writes.
    pub parent_beacon_block_root: B256,
    /// What the EIP-2935 system call writes and `BLOCKHASH` returns for the parent.
    pub parent_hash: B256,
    /// What the beacon's system call writes; none on a foreign chain.
    pub beacon: BeaconWrite,
}

/// The environment that calls *after* a block see. To execute a block, take that of the block: its system calls depend on its
/// body.
impl From<&Header> for BlockEnv {
    fn from(header: &Header) -> Self {
        Self {
            number: header.number,
            timestamp: header.timestamp,
            beneficiary: header.beneficiary,
            gas_limit: header.gas_limit,
            base_fee: header.base_fee_per_gas.unwrap_or_default(),
            difficulty: header.difficulty,
            prev_randao: header.mix_hash,
            excess_blob_gas: header.excess_blob_gas.unwrap_or_default(),
            parent_beacon_block_root: header.parent_beacon_block_root.unwrap_or_default(),
            parent_hash: header.parent_hash,
            beacon: BeaconWrite::NONE,
        }
    }
}

/// The environment that a block is executed in. Beacon values in a form that no valid block has count as none.
impl From<&Block> for BlockEnv {
    fn from(block: &Block) -> Self {
        let batch = BeaconBatch::among(block.requests()).ok().flatten();
        let beacon = batch.as_ref().map(BeaconWrite::from).unwrap_or_default();
        Self { beacon, ..Self::from(block.header()) }
    }
}
