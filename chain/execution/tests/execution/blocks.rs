//! Transfers, fees, receipts, and errors of the view.

use crate::{code, world::*};
use alloy_consensus::{ReceiptEnvelope, TxReceipt as _};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{keccak256, logs_bloom};
use keystead_execution::{BuildLimits, CallRequest, Error, Overrides, build, call, execute};
use keystead_types::{Account, Address, B256, Receipt, U256};
use std::sync::Arc;

fn run(world: &mut World, transactions: &[Tx]) -> keystead_execution::Outcome {
    let outcome = execute(world, &SPEC, &env(), &recovered(transactions)).unwrap();
    world.apply(&outcome.changes);
    outcome
}

#[test]
fn a_transfer_moves_value_burns_the_base_fee_and_tips_the_beneficiary() {
    let mut world = World::new();
    let before = world.balance(user(1));
    let outcome = run(&mut world, &[Tx::transfer(1, 0, user(2), 5)]);
    assert_eq!(outcome.gas_used, 21_000);
    assert_eq!(world.balance(user(2)), U256::from(1_000 * ETHER + 5));
    assert_eq!(world.balance(BENEFICIARY), U256::from(21_000 * TIP));
    let paid = U256::from(21_000) * U256::from(u128::from(BASE_FEE) + TIP) + U256::from(5);
    assert_eq!(world.balance(user(1)), before - paid);
    assert_eq!(world.accounts[&user(1)].nonce, 1);
    assert_eq!(outcome.changes.accounts.len(), 3);
}

#[test]
fn a_legacy_gas_price_above_the_base_fee_is_all_tip() {
    let mut world = World::new();
    run(&mut world, &[Tx { kind: 0, ..Tx::transfer(1, 0, user(2), 5) }]);
    assert_eq!(world.balance(BENEFICIARY), U256::from(21_000 * (MAX_FEE - u128::from(BASE_FEE))));
}

#[test]
fn a_tip_is_cut_where_the_fee_cap_ends() {
    let mut world = World::new();
    let max_fee = u128::from(BASE_FEE) + 3;
    run(&mut world, &[Tx { max_fee, tip: 5, ..Tx::default() }]);
    assert_eq!(world.balance(BENEFICIARY), U256::from(21_000 * 3));
}

#[test]
fn a_beneficiary_that_sends_and_receives_is_counted_once() {
    let mut world = World::new();
    world.fund(BENEFICIARY, ETHER);
    let before = world.balance(BENEFICIARY);
    run(&mut world, &[Tx { from: BENEFICIARY, ..Tx::transfer(1, 0, BENEFICIARY, 5) }]);
    assert_eq!(world.balance(BENEFICIARY), before - U256::from(21_000) * U256::from(BASE_FEE));
}

#[test]
fn nothing_sent_to_nobody_creates_no_account() {
    let mut world = World::new();
    let outcome = run(&mut world, &[Tx { tip: 0, ..Tx::default() }]);
    assert_eq!(outcome.changes.accounts.keys().collect::<Vec<_>>(), [&user(1)]);
}

#[test]
fn an_account_that_sends_all_it_has_still_exists_by_its_nonce() {
    let mut world = World::new();
    let fee = 21_000 * u128::from(BASE_FEE);
    world.fund(user(1), fee + 9);
    run(&mut world, &[Tx { max_fee: u128::from(BASE_FEE), tip: 0, ..Tx::transfer(1, 0, user(2), 9) }]);
    assert_eq!(world.accounts[&user(1)], Account { nonce: 1, ..Account::default() });
}

#[test]
fn each_type_gets_its_receipt_envelope_with_cumulative_gas() {
    let transactions: Vec<Tx> =
        (0..3).map(|kind| Tx { kind, ..Tx::transfer(1, u64::from(kind), user(2), 1) }).collect();
    let outcome = run(&mut World::new(), &transactions);
    assert!(matches!(
        outcome.receipts.as_slice(),
        [ReceiptEnvelope::Legacy(_), ReceiptEnvelope::Eip2930(_), ReceiptEnvelope::Eip1559(_)]
    ));
    let gas: Vec<u64> = outcome.receipts.iter().map(|receipt| receipt.cumulative_gas_used()).collect();
    assert_eq!(gas, [21_000, 42_000, 63_000]);
    assert_eq!(outcome.gas_used, 63_000);
    assert!(outcome.receipts.iter().all(Receipt::is_success));
}

#[test]
fn an_empty_block_changes_nothing_without_system_contracts() {
    let outcome = run(&mut World::new(), &[]);
    assert!(outcome.changes.accounts.is_empty() && outcome.receipts.is_empty());
    assert_eq!(outcome.receipts_root, alloy_consensus::EMPTY_ROOT_HASH);
}

#[test]
fn logs_are_in_the_receipt_its_bloom_and_the_blocks_bloom() {
    let mut world = World::new();
    let contract = user(0xc0);
    world.contract(contract, code::LOG);
    let data = words(&[U256::from(77)]);
    let outcome = run(&mut world, &[Tx::transfer(2, 0, user(3), 1), Tx::call(1, 0, contract, data.clone())]);
    let [quiet, loud] = outcome.receipts.as_slice() else { panic!("two receipts") };
    assert!(quiet.logs().is_empty());
    assert!(quiet.bloom().is_zero());
    let [log] = loud.logs() else { panic!("one log") };
    assert_eq!((log.address, log.data.data.clone()), (contract, data));
    assert_eq!(log.topics(), [B256::from(U256::from(42))]);
    assert_eq!(loud.bloom(), logs_bloom([log]));
    assert_eq!(outcome.logs_bloom, loud.bloom());
}

#[test]
fn the_root_of_one_receipt_is_the_hash_of_one_leaf() {
    let outcome = run(&mut World::new(), &[Tx::transfer(1, 0, user(2), 1)]);
    // Goal: not by the helper that the executor uses. Method: key 0 is RLP 0x80, so the only leaf is the RLP list of
    // the hex-prefixed path 0x2080 and the receipt; both headers are of the long form with two bytes.
    let receipt = outcome.receipts[0].encoded_2718();
    let long = |base: u8, length: usize| [base, (length >> 8) as u8, length as u8];
    let payload = [&[0x82, 0x20, 0x80][..], &long(0xb9, receipt.len()), &receipt].concat();
    let leaf = [&long(0xf9, payload.len())[..], &payload].concat();
    assert_eq!(outcome.receipts_root, keccak256(leaf));
}

#[test]
fn what_happens_twice_in_a_block_and_ends_as_it_began_is_no_change() {
    let mut world = World::new();
    let contract = user(0xc0);
    world.contract(contract, code::STORE);
    world.storage.insert((contract, U256::from(1)), U256::from(5));
    let set = |nonce, value: u64| Tx::call(1, nonce, contract, words(&[U256::from(1), U256::from(value)]));
    let outcome = run(&mut world, &[set(0, 6), set(1, 0), set(2, 5)]);
    assert!(!outcome.changes.accounts.contains_key(&contract));
    let outcome = run(&mut world, &[set(3, 0)]);
    assert_eq!(outcome.changes.accounts[&contract].storage[&U256::from(1)], U256::ZERO);
    assert_eq!(world.slot(contract, 1), U256::ZERO);
}

fn breaks_everything(broken: Broken, transaction: &Tx) {
    let contract = user(0xc0);
    let mut world = World::new();
    world.contract(contract, code::BLOCK_HASH);
    world.contract(user(0xc1), code::STORE);
    world.broken = Some(broken);
    let recovered = transaction.recovered();
    let error = execute(&world, &SPEC, &env(), std::slice::from_ref(&recovered)).unwrap_err();
    assert!(matches!(error, Error::View(_)), "{broken:?}: {error}");
    let limits = BuildLimits { bytes_max: 1_000_000, transactions_max: 10 };
    let mut candidates = std::iter::once(Arc::new(recovered));
    let error = build(&world, &SPEC, &env(), &mut candidates, limits, &|| false).unwrap_err();
    assert!(matches!(error, Error::View(_)), "{broken:?}: {error}");
    let request = CallRequest {
        from: transaction.from,
        to: transaction.to,
        input: transaction.input.clone(),
        ..CallRequest::default()
    };
    let error = call(&world, &SPEC, &env(), &Overrides::default(), request, 1_000_000).unwrap_err();
    assert!(matches!(error, Error::View(_)), "{broken:?}: {error}");
}

#[test]
fn an_unreadable_view_stops_everything_and_is_never_an_empty_account() {
    let block_hash = Tx::call(1, 0, user(0xc0), words(&[U256::from(90)]));
    let store = Tx::call(1, 0, user(0xc1), words(&[U256::from(1), U256::from(1)]));
    breaks_everything(Broken::Account(user(1)), &store);
    breaks_everything(Broken::Account(user(0xc1)), &store);
    breaks_everything(Broken::Account(BENEFICIARY), &store);
    breaks_everything(Broken::Storage(user(0xc1)), &store);
    breaks_everything(Broken::BlockHash(90), &block_hash);
}

#[test]
fn unreadable_code_stops_the_block() {
    let mut world = World::new();
    // Code that no other test has: what is analysed once is kept for the process.
    world.contract(user(0xc0), b"\x00 read by no other test");
    world.broken = Some(Broken::Code(keccak256(b"\x00 read by no other test")));
    let error = execute(&world, &SPEC, &env(), &recovered(&[Tx::call(1, 0, user(0xc0), vec![])])).unwrap_err();
    assert!(matches!(error, Error::View(_)), "{error}");
    world.broken = None;
    execute(&world, &SPEC, &env(), &recovered(&[Tx::call(1, 0, user(0xc0), vec![])])).unwrap();
}

#[test]
fn an_unreadable_system_contract_stops_the_block() {
    let mut world = World::with_system_contracts();
    world.broken = Some(Broken::Account(alloy_eips::eip4788::BEACON_ROOTS_ADDRESS));
    assert!(matches!(execute(&world, &SPEC, &env(), &[]), Err(Error::View(_))));
}

#[test]
fn one_bad_transaction_refuses_the_block_and_is_named() {
    let transactions = recovered(&[Tx::transfer(1, 0, user(2), 1), Tx::transfer(1, 2, user(2), 1)]);
    let error = execute(&World::new(), &SPEC, &env(), &transactions).unwrap_err();
    let Error::Transaction { index: 1, hash, .. } = error else { panic!("{error}") };
    assert_eq!(hash, *transactions[1].tx_hash());
}

#[test]
fn a_precompile_that_is_sent_value_is_an_account_like_any_other() {
    let mut world = World::new();
    let identity = Address::with_last_byte(4);
    run(&mut world, &[Tx { gas: 30_000, ..Tx::transfer(1, 0, identity, 5) }]);
    assert_eq!(world.balance(identity), U256::from(5));
}
