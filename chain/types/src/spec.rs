//! The numbers in which Keystead's chain differs from Ethereum's, each with its reason.
//!
//! Spec: specs/0000-chain.md §3.

use crate::forks::Forks;
use alloy_consensus::Header;
use alloy_eips::{
    eip1559::{BaseFeeParams, INITIAL_BASE_FEE, calc_next_block_base_fee},
    eip7840::BlobParams,
};

/// Milliseconds in a second: `timestamp` is in seconds, the time in `extraData` in milliseconds.
pub const MILLIS_PER_SECOND: u64 = 1_000;

/// Length of `extraData`: Unix milliseconds as a big-endian `u64`.
pub const EXTRA_DATA_BYTES: usize = 8;

/// Largest encoded block (header, transactions, context, requests) in bytes.
///
/// 4 MiB travel to three peers in well under a block interval on a 1 Gbit/s line; the gas limit alone would allow three
/// times as much in zero bytes of calldata.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Largest encoded block of a foreign chain in bytes. Osaka allows 8 MiB (EIP-7934), earlier forks whatever fits the gas
/// limit: 16 MiB of zero bytes cost 67 million gas, more than any block that the main network had before Osaka.
pub const ETHEREUM_BLOCK_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Rules of one chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainSpec {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Gas limit of every block. It is constant: no vote moves it.
    pub gas_limit: u64,
    /// Gas limit over gas target, as EIP-1559's elasticity multiplier.
    pub elasticity: u64,
    /// EIP-1559's `BASE_FEE_MAX_CHANGE_DENOMINATOR`, scaled to the block rate.
    pub base_fee_denominator: u64,
    /// Base fee of block 1, in wei per gas.
    pub base_fee_initial: u64,
    /// How far a block's time may run ahead of a validator's clock before the validator waits, in milliseconds.
    pub drift_ms_max: u64,
    /// Whether an account with code may send transactions, which EIP-3607 forbids. Only a development node says yes, for
    /// contracts that it impersonates.
    pub code_sends: bool,
    /// The forks of a foreign chain, which runs under Ethereum's own rules; `None` for Keystead's.
    pub ethereum: Option<Forks>,
}

impl ChainSpec {
    /// Chain id of the development network.
    pub const DEVELOPMENT_CHAIN_ID: u64 = 19_283;

    /// The rules of every Keystead chain; only the chain id differs.
    ///
    /// Denominator: Ethereum allows 1/8 per 12 s. At the nominal five blocks a second that is 1/8 per 60 blocks, so
    /// 480 per block. Gas limit: 7,142 plain transfers in a block, which two cores execute and hash in about half a
    /// second.
    #[must_use]
    pub const fn keystead(chain_id: u64) -> Self {
        Self {
            chain_id,
            gas_limit: 150_000_000,
            elasticity: 2,
            base_fee_denominator: 480,
            base_fee_initial: 1_000_000_000,
            drift_ms_max: 500,
            code_sends: false,
            ethereum: None,
        }
    }

    /// Ethereum's own rules, for a chain that is imported. `gas_limit` is that of the genesis block; votes move it.
    #[must_use]
    pub const fn ethereum(chain_id: u64, gas_limit: u64, forks: Forks) -> Self {
        Self {
            chain_id,
            gas_limit,
            elasticity: 2,
            base_fee_denominator: 8,
            base_fee_initial: INITIAL_BASE_FEE,
            drift_ms_max: 0,
            code_sends: false,
            ethereum: Some(forks),
        }
    }

    /// Number and price of blobs in a block; `None` on a chain of ours and before Cancun.
    #[must_use]
    pub fn blob_params(&self, header: &Header) -> Option<BlobParams> {
        let forks = self.ethereum.as_ref()?;
        forks.blobs(forks.fork(header.number, header.timestamp, header.difficulty), header.timestamp)
    }

    /// Price of blob gas in a block in wei; `None` where there are no blobs.
    #[must_use]
    pub fn blob_price(&self, header: &Header) -> Option<u128> {
        header.blob_fee(self.blob_params(header)?)
    }

    /// Base fee of the child of a block, in wei per gas (EIP-1559 with this chain's denominator).
    #[must_use]
    pub fn next_base_fee(&self, parent: &Header) -> u64 {
        let Some(base_fee) = parent.base_fee_per_gas else { return self.base_fee_initial };
        let params = BaseFeeParams::new(u128::from(self.base_fee_denominator), u128::from(self.elasticity));
        calc_next_block_base_fee(parent.gas_used, parent.gas_limit, base_fee, params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(gas_used: u64) -> Header {
        Header { gas_used, gas_limit: 150_000_000, base_fee_per_gas: Some(1_000_000_000), ..Header::default() }
    }

    #[test]
    fn base_fee_stands_still_at_the_target() {
        let spec = ChainSpec::keystead(1);
        assert_eq!(spec.next_base_fee(&parent(75_000_000)), 1_000_000_000);
    }

    #[test]
    fn sixty_full_blocks_raise_the_base_fee_like_one_of_ethereum() {
        let spec = ChainSpec::keystead(1);
        let mut header = parent(150_000_000);
        for _ in 0..60 {
            header.base_fee_per_gas = Some(spec.next_base_fee(&header));
        }
        let fee = header.base_fee_per_gas.unwrap_or_default();
        // (1 + 1/480)^60 = 1.1330; one Ethereum block allows 1.125.
        assert!((1_125_000_000..1_140_000_000).contains(&fee), "fee={fee}");
    }

    #[test]
    fn an_empty_block_lowers_the_base_fee_by_the_denominator() {
        let spec = ChainSpec::keystead(1);
        assert_eq!(spec.next_base_fee(&parent(0)), 1_000_000_000 - 1_000_000_000 / 480);
    }
}
