//! What can be said about a transaction without looking at accounts or other transactions.

use crate::{error::PoolError, limits::Limits};
use alloy_consensus::{Transaction as _, TxType};
use alloy_eips::{
    eip2718::Encodable2718 as _, eip7702::constants::PER_EMPTY_ACCOUNT_COST, eip7825::MAX_TX_GAS_LIMIT_OSAKA,
};
use keystead_types::{Recovered, TRANSACTION_BYTES_MAX};

/// Gas of every transaction (yellow paper).
const BASE_GAS: u64 = 21_000;
/// Gas of a creation on top (EIP-2).
const CREATE_GAS: u64 = 32_000;
/// Gas of a zero byte of calldata (EIP-2028); a non-zero byte counts as four zero bytes (EIP-7623's tokens).
const TOKEN_GAS: u64 = 4;
/// Zero bytes that a non-zero byte counts as.
const NON_ZERO_TOKENS: u64 = 4;
/// Least gas per token, whatever is executed (EIP-7623).
const TOKEN_FLOOR_GAS: u64 = 10;
/// Gas of 32 bytes of init code (EIP-3860).
const INIT_CODE_WORD_GAS: u64 = 2;
/// Gas of an address in the access list (EIP-2930).
const ACCESS_ADDRESS_GAS: u64 = 2_400;
/// Gas of a storage key in the access list (EIP-2930).
const ACCESS_KEY_GAS: u64 = 1_900;
/// Longest init code in bytes (EIP-3860).
const INIT_CODE_BYTES_MAX: usize = 49_152;

/// The rules that do not depend on any state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) chain_id: u64,
    pub(crate) block_gas_limit: u64,
}

/// Checks everything that needs no account, cheapest first. Returns the encoded bytes.
pub(crate) fn check(transaction: &Recovered, rules: Rules, limits: &Limits) -> Result<usize, PoolError> {
    let kind = transaction.tx_type();
    if kind == TxType::Eip4844 {
        return Err(PoolError::TypeNotSupported { kind: kind as u8 });
    }
    match transaction.chain_id() {
        None if !limits.takes_any_chain => return Err(PoolError::ChainIdMissing { want: rules.chain_id }),
        Some(got) if got != rules.chain_id => {
            return Err(PoolError::WrongChainId { got, want: rules.chain_id });
        }
        None | Some(_) => (),
    }
    if transaction.nonce() == u64::MAX {
        return Err(PoolError::NonceMax { nonce: u64::MAX });
    }
    if let Some(list) = transaction.authorization_list() {
        match list.len() {
            0 => return Err(PoolError::AuthorizationsMissing),
            got if got > Limits::AUTHORIZATIONS_MAX => {
                return Err(PoolError::AuthorizationsTooMany { got, max: Limits::AUTHORIZATIONS_MAX });
            }
            _ => (),
        }
    }
    check_price(transaction, limits)?;
    let bytes = transaction.encode_2718_len();
    if bytes > TRANSACTION_BYTES_MAX {
        return Err(PoolError::Oversized { got_bytes: bytes, max_bytes: TRANSACTION_BYTES_MAX });
    }
    if transaction.is_create() && transaction.input().len() > INIT_CODE_BYTES_MAX {
        return Err(PoolError::InitCodeTooLarge {
            got_bytes: transaction.input().len(),
            max_bytes: INIT_CODE_BYTES_MAX,
        });
    }
    check_gas(transaction, rules)?;
    Ok(bytes)
}

fn check_price(transaction: &Recovered, limits: &Limits) -> Result<(), PoolError> {
    let max_fee = transaction.max_fee_per_gas();
    // A legacy gas price is fee cap and priority fee in one.
    let priority_fee = transaction.max_priority_fee_per_gas().unwrap_or(max_fee);
    if priority_fee > max_fee {
        return Err(PoolError::TipAboveFee { priority_fee, max_fee });
    }
    if priority_fee < limits.priority_fee_min {
        return Err(PoolError::Underpriced { priority_fee, needed: limits.priority_fee_min });
    }
    Ok(())
}

fn check_gas(transaction: &Recovered, rules: Rules) -> Result<(), PoolError> {
    let gas_limit = transaction.gas_limit();
    if gas_limit > rules.block_gas_limit {
        return Err(PoolError::GasAboveBlock { gas_limit, max: rules.block_gas_limit });
    }
    if gas_limit > MAX_TX_GAS_LIMIT_OSAKA {
        return Err(PoolError::GasAboveCap { gas_limit, max: MAX_TX_GAS_LIMIT_OSAKA });
    }
    let (intrinsic, floor) = gas_needed(transaction);
    if gas_limit < intrinsic {
        return Err(PoolError::IntrinsicGas { gas_limit, needed: intrinsic });
    }
    if gas_limit < floor {
        return Err(PoolError::FloorGas { gas_limit, needed: floor });
    }
    Ok(())
}

/// Gas that is due before the first instruction, and the least gas in all. Inputs are bounded by
/// [`TRANSACTION_BYTES_MAX`], so nothing comes near the end of the range; saturating only satisfies the lint.
fn gas_needed(transaction: &Recovered) -> (u64, u64) {
    let input = transaction.input();
    // LOSSY: none, a length fits into 64 bits on every platform that we build for.
    let count = |value: usize| value as u64;
    let zeros = count(input.iter().filter(|byte| **byte == 0).count());
    let others = count(input.len()).saturating_sub(zeros);
    let tokens = zeros.saturating_add(others.saturating_mul(NON_ZERO_TOKENS));
    let mut gas = BASE_GAS.saturating_add(tokens.saturating_mul(TOKEN_GAS));
    if transaction.is_create() {
        let words = count(input.len().div_ceil(32));
        gas = gas.saturating_add(CREATE_GAS).saturating_add(words.saturating_mul(INIT_CODE_WORD_GAS));
    }
    if let Some(list) = transaction.access_list() {
        let keys = count(list.storage_keys_count());
        gas = gas
            .saturating_add(count(list.len()).saturating_mul(ACCESS_ADDRESS_GAS))
            .saturating_add(keys.saturating_mul(ACCESS_KEY_GAS));
    }
    let authorizations = count(transaction.authorization_list().map_or(0, <[_]>::len));
    gas = gas.saturating_add(authorizations.saturating_mul(PER_EMPTY_ACCOUNT_COST));
    (gas, BASE_GAS.saturating_add(tokens.saturating_mul(TOKEN_FLOOR_GAS)))
}
