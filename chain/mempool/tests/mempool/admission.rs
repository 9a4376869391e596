//! Every reason for which a single transaction is refused, from both sides of its edge, in the words that tools match.

use crate::sample::*;
use alloy_consensus::{SignableTransaction as _, TxEip4844};
use alloy_eips::eip2930::{AccessList, AccessListItem};
use alloy_primitives::{B256, Signature};
use keystead_mempool::{Limits, PoolError};
use keystead_types::{Recovered, U256};
use std::sync::Arc;

/// Refused by an otherwise empty pool, with a message that begins so.
fn refused(tx: &Tx, phrase: &str) -> PoolError {
    let mut pool = pool();
    let error = put(&mut pool, tx).unwrap_err();
    assert!(error.to_string().starts_with(phrase), "{error}");
    assert!(pool.is_empty() && pool.bytes() == 0, "a refused transaction left something");
    error
}

fn taken(tx: &Tx) {
    put(&mut pool(), tx).unwrap();
}

#[test]
fn the_same_transaction_is_already_known() {
    let mut pool = pool();
    put(&mut pool, &Tx::default()).unwrap();
    let error = put(&mut pool, &Tx::default()).unwrap_err();
    assert!(error.to_string().starts_with("already known"), "{error}");
    assert_eq!(pool.len(), 1);
}

#[test]
fn a_nonce_that_the_account_used_is_too_low() {
    let at = |nonce| pool().insert(Tx::new(1, nonce, 1).recovered(), &account(5, u128::MAX), BASE_FEE);
    assert!(at(5).is_ok());
    let error = at(4).unwrap_err();
    assert_eq!(error, PoolError::NonceTooLow { nonce: 4, expected: 5 });
    assert_eq!(error.to_string(), "nonce too low: next nonce 5, tx nonce 4");
}

#[test]
fn a_nonce_may_lie_a_bounded_way_ahead_of_the_first_missing_one() {
    let mut pool = with_limits(Limits { nonce_gap_max: 3, ..Limits::default() });
    assert!(put(&mut pool, &Tx::new(1, 3, 1)).is_ok());
    let error = put(&mut pool, &Tx::new(1, 4, 1)).unwrap_err();
    assert_eq!(error, PoolError::NonceGap { nonce: 4, expected: 0, gap_max: 3 });
    put(&mut pool, &Tx::new(1, 0, 1)).unwrap();
    assert!(put(&mut pool, &Tx::new(1, 4, 1)).is_ok(), "the first missing nonce moved on");
}

#[test]
fn the_last_nonce_of_all_is_refused() {
    refused(&Tx { nonce: u64::MAX, ..Tx::default() }, "nonce has max value");
}

#[test]
fn the_chain_id_must_be_there_and_ours() {
    for kind in 0..=2 {
        taken(&Tx { kind, ..Tx::default() });
        let error = refused(&Tx { kind, chain_id: Some(1), ..Tx::default() }, "invalid chain id for signer: have 1");
        assert_eq!(error, PoolError::WrongChainId { got: 1, want: CHAIN_ID });
    }
    refused(&Tx { kind: 0, chain_id: None, ..Tx::default() }, "only replay-protected (EIP-155) transactions allowed");
}

#[test]
fn a_pool_may_take_transactions_of_any_chain_but_none_of_another() {
    let mut pool = with_limits(Limits { takes_any_chain: true, ..Limits::default() });
    put(&mut pool, &Tx { kind: 0, chain_id: None, ..Tx::default() }).unwrap();
    let error = put(&mut pool, &Tx { kind: 0, from: 2, chain_id: Some(1), ..Tx::default() }).unwrap_err();
    assert_eq!(error, PoolError::WrongChainId { got: 1, want: CHAIN_ID });
}

#[test]
fn blob_transactions_are_refused_by_type() {
    let signature = Signature::test_signature();
    let blob = TxEip4844 { chain_id: CHAIN_ID, ..TxEip4844::default() }.into_signed(signature).into();
    let recovered = Arc::new(Recovered::new_unchecked(blob, sender(1)));
    let error = pool().insert(recovered, &RICH, BASE_FEE).unwrap_err();
    assert_eq!(error, PoolError::TypeNotSupported { kind: 3 });
    assert!(error.to_string().starts_with("transaction type not supported"), "{error}");
}

#[test]
fn gas_must_pay_for_data_creation_and_access_list() {
    let item = AccessListItem { address: sender(9), storage_keys: vec![B256::ZERO; 2] };
    let cases = [
        (Tx::default(), 21_000),
        (Tx { input: vec![0; 7].into(), ..Tx::default() }, 21_000 + 7 * 10),
        (Tx { create: true, input: vec![1; 33].into(), ..Tx::default() }, 53_000 + 33 * 16 + 2 * 2),
        (Tx { access_list: AccessList(vec![item]), ..Tx::default() }, 21_000 + 2_400 + 2 * 1_900),
    ];
    for (tx, needed) in cases {
        taken(&Tx { gas: needed, ..tx.clone() });
        let error = put(&mut pool(), &Tx { gas: needed - 1, ..tx }).unwrap_err();
        let (PoolError::IntrinsicGas { needed: got, .. } | PoolError::FloorGas { needed: got, .. }) = error else {
            panic!("{error}")
        };
        assert_eq!(got, needed);
    }
    refused(&Tx { gas: 20_999, ..Tx::default() }, "intrinsic gas too low: gas 20999, minimum needed 21000");
    let data = Tx { input: vec![1; 100].into(), gas: 24_999, ..Tx::default() };
    refused(&data, "insufficient gas for floor data gas cost: gas 24999, minimum needed 25000");
}

#[test]
fn gas_is_bounded_by_the_cap_of_a_transaction_and_by_the_block() {
    taken(&Tx { gas: 16_777_216, ..Tx::default() });
    refused(&Tx { gas: 16_777_217, ..Tx::default() }, "transaction gas limit too high");
    let mut small = keystead_mempool::Pool::new(Limits::default(), CHAIN_ID, 30_000);
    assert!(put(&mut small, &Tx { gas: 30_000, ..Tx::default() }).is_ok());
    let error = put(&mut small, &Tx { nonce: 1, gas: 30_001, ..Tx::default() }).unwrap_err();
    assert_eq!(error, PoolError::GasAboveBlock { gas_limit: 30_001, max: 30_000 });
    assert!(error.to_string().starts_with("exceeds block gas limit"), "{error}");
}

#[test]
fn sizes_are_bounded() {
    let create = |bytes| Tx { create: true, input: vec![0; bytes].into(), gas: 5_000_000, ..Tx::default() };
    taken(&create(49_152));
    refused(&create(49_153), "max initcode size exceeded: code size 49153, limit 49152");
    let call = |bytes| Tx { input: vec![0; bytes].into(), gas: 5_000_000, ..Tx::default() };
    taken(&call(130_900));
    refused(&call(131_072), "oversized data: transaction size");
}

#[test]
fn a_tip_above_the_fee_cap_or_below_the_minimum_is_refused() {
    taken(&Tx { max_fee: 5_000, tip: 5_000, ..Tx::default() });
    refused(
        &Tx { max_fee: 5_000, tip: 5_001, ..Tx::default() },
        "max priority fee per gas higher than max fee per gas",
    );
    let mut pool = with_limits(Limits { priority_fee_min: 3, ..Limits::default() });
    let error = put(&mut pool, &Tx::new(1, 0, 2)).unwrap_err();
    assert_eq!(error.to_string(), "transaction underpriced: gas tip cap 2, minimum needed 3");
    assert!(put(&mut pool, &Tx::new(1, 0, 3)).is_ok());
}

#[test]
fn the_balance_must_cover_this_and_all_executable_ones_to_the_wei() {
    // As geth counts: every executable transaction of the sender is reserved, a queued one is not.
    let mut pool = pool();
    let cost = 21_000 * 10_000 + 7;
    let tx = |nonce| Tx { value: 7, ..Tx::new(1, nonce, 10) }.recovered();
    let rich = account(0, 3 * cost - 1);
    assert!(pool.insert(tx(0), &rich, BASE_FEE).unwrap().executable);
    assert!(!pool.insert(tx(5), &rich, BASE_FEE).unwrap().executable);
    assert!(pool.insert(tx(1), &rich, BASE_FEE).unwrap().executable);
    let error = pool.insert(tx(2), &rich, BASE_FEE).unwrap_err();
    assert_eq!(
        error,
        PoolError::InsufficientFunds {
            balance: U256::from(3 * cost - 1),
            queued: U256::from(2 * cost),
            cost: U256::from(cost),
        }
    );
    assert!(error.to_string().starts_with("insufficient funds for gas * price + value"), "{error}");
    assert!(error.to_string().ends_with("overshot 1"), "{error}");
    pool.on_block(BASE_FEE, [(sender(1), account(0, 3 * cost))]);
    assert!(pool.insert(tx(2), &account(0, 3 * cost), BASE_FEE).unwrap().executable);
}

#[test]
fn a_cost_beyond_256_bits_is_lack_of_funds() {
    let tx = Tx { gas: 16_777_216, max_fee: u128::MAX, tip: 0, ..Tx::default() };
    let mut pool = pool();
    let broke = pool.insert(tx.recovered(), &account(0, u128::MAX), BASE_FEE).unwrap_err();
    assert!(matches!(broke, PoolError::InsufficientFunds { .. }), "{broke}");
}

#[test]
fn a_fee_cap_below_the_base_fee_waits_and_is_not_proposed() {
    let mut pool = pool();
    put(&mut pool, &Tx { max_fee: u128::from(BASE_FEE) - 1, tip: 0, ..Tx::default() }).unwrap();
    assert!(best(&pool).is_empty() && !pool.has_executable(BASE_FEE));
    assert!(pool.has_executable(BASE_FEE - 1));
    assert_eq!(pool.best(BASE_FEE - 1).count(), 1);
}
