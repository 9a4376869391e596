//! What a simulation pretends: other balances, code and storage, moved precompiled contracts, another block.
//!
//! # Design
//! As geth does it: state overrides act like a transaction before the first call; a precompiled contract at an
//! overridden address is gone unless it was moved. Accounts are taken in the order of their addresses, so that the
//! same request always gives the same answer or the same error.

use crate::{
    env::BlockEnv,
    error::{Error, OverrideError},
    overlay::Overlay,
    precompiles::Precompiles,
};
use alloy_primitives::{Address, U256};
use alloy_rpc_types_eth::{
    BlockOverrides,
    state::{AccountOverride, StateOverride},
};

/// Overrides of one call or of one simulated block.
///
/// Trust: hostile. Bounded by the size of the request that they came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// By account.
    pub state: StateOverride,
    /// Fields of the block. `difficulty` and `beaconRoot` have no effect on a call; withdrawals are not taken.
    pub block: BlockOverrides,
}

impl Overrides {
    /// The environment with the block's overrides.
    ///
    /// # Errors
    /// [`OverrideError::TooLarge`].
    pub(crate) fn environment(&self, env: &BlockEnv) -> Result<BlockEnv, OverrideError> {
        let block = &self.block;
        Ok(BlockEnv {
            number: narrow(block.number, "number")?.unwrap_or(env.number),
            timestamp: block.time.unwrap_or(env.timestamp),
            beneficiary: block.coinbase.unwrap_or(env.beneficiary),
            gas_limit: block.gas_limit.unwrap_or(env.gas_limit),
            base_fee: narrow(block.base_fee, "baseFeePerGas")?.unwrap_or(env.base_fee),
            prev_randao: block.random.unwrap_or(env.prev_randao),
            ..*env
        })
    }

    /// What `BLOBBASEFEE` returns, if that is overridden.
    pub(crate) fn blob_base_fee(&self) -> Result<Option<u128>, OverrideError> {
        Ok(narrow(self.block.blob_base_fee, "blobBaseFee")?.map(u128::from))
    }

    /// Makes the state's overrides.
    pub(crate) fn apply(&self, overlay: &mut Overlay<'_>, precompiles: &mut Precompiles) -> Result<(), Error> {
        if let Some(hashes) = &self.block.block_hash {
            for (number, hash) in hashes {
                overlay.name_block(*number, *hash);
            }
        }
        let mut accounts: Vec<(&Address, &AccountOverride)> = self.state.iter().collect();
        accounts.sort_unstable_by_key(|(address, _)| **address);
        for (address, account) in accounts {
            self.move_precompile(address, account, precompiles)?;
            write(address, account, overlay)?;
        }
        Ok(())
    }

    fn move_precompile(
        &self,
        address: &Address,
        account: &AccountOverride,
        precompiles: &mut Precompiles,
    ) -> Result<(), OverrideError> {
        let Some(target) = account.move_precompile_to else {
            // Only what is there is taken away: an ordinary account must not cost a copy of the map.
            if precompiles.answers_at(address) {
                precompiles.take(address);
            }
            return Ok(());
        };
        if !precompiles.answers_at(address) {
            return Err(OverrideError::NotPrecompile { address: *address });
        }
        if self.state.contains_key(&target) {
            return Err(OverrideError::AlreadyOverridden { address: target });
        }
        if let Some(contract) = precompiles.take(address) {
            precompiles.put(target, contract);
        }
        Ok(())
    }
}

fn write(address: &Address, wanted: &AccountOverride, overlay: &mut Overlay<'_>) -> Result<(), Error> {
    if wanted.state.is_some() && wanted.state_diff.is_some() {
        return Err(OverrideError::StateAndDiff { address: *address }.into());
    }
    let mut account = overlay.account(address)?.unwrap_or_default();
    if let Some(nonce) = wanted.nonce {
        account.nonce = nonce;
    }
    if let Some(code) = &wanted.code {
        account.code_hash = overlay.add_code(code.clone());
    }
    if let Some(balance) = wanted.balance {
        account.balance = balance;
    }
    overlay.set_account(address, account)?;
    if let Some(slots) = &wanted.state {
        overlay.wipe_storage(address)?;
        for (key, value) in slots {
            overlay.set_slot(address, (*key).into(), (*value).into())?;
        }
    }
    for (key, value) in wanted.state_diff.iter().flatten() {
        overlay.set_slot(address, (*key).into(), (*value).into())?;
    }
    Ok(())
}

fn narrow(value: Option<U256>, field: &'static str) -> Result<Option<u64>, OverrideError> {
    value.map(|value| u64::try_from(value).map_err(|_| OverrideError::TooLarge { field })).transpose()
}
