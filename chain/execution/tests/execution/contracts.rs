//! Contracts: creation, failure, storage, refunds, destruction.

use crate::{code, world::*};
use alloy_primitives::keccak256;
use keystead_execution::{Outcome, execute};
use keystead_types::{Address, Receipt, U256};

fn run(world: &mut World, transactions: &[Tx]) -> Outcome {
    let outcome = execute(world, &SPEC, &env(), &recovered(transactions)).unwrap();
    world.apply(&outcome.changes);
    outcome
}

fn word(address: Address) -> U256 {
    U256::from_be_slice(address.as_slice())
}

fn set(from: u8, nonce: u64, contract: Address, slot: u64, value: u64) -> Tx {
    Tx::call(from, nonce, contract, words(&[U256::from(slot), U256::from(value)]))
}

#[test]
fn a_created_contract_has_its_code_nonce_and_value() {
    let mut world = World::new();
    let outcome = run(&mut world, &[Tx { value: 9, ..Tx::create(1, 0, code::deploy(code::STORE)) }]);
    let contract = user(1).create(0);
    assert_eq!(world.code_of(contract).unwrap().as_ref(), code::STORE);
    assert_eq!(world.accounts[&contract].nonce, 1);
    assert_eq!(world.balance(contract), U256::from(9));
    assert_eq!(outcome.changes.code.len(), 1);
    assert!(!outcome.changes.accounts[&contract].storage_cleared);
    let outcome = run(&mut world, &[set(2, 0, contract, 3, 4)]);
    assert_eq!(world.slot(contract, 3), U256::from(4));
    assert!(outcome.changes.code.is_empty(), "code that was there before is listed again");
}

#[test]
fn code_deployed_and_called_in_one_block_runs() {
    let mut world = World::new();
    let contract = user(1).create(0);
    run(&mut world, &[Tx::create(1, 0, code::deploy(code::STORE)), set(2, 0, contract, 3, 4)]);
    assert_eq!(world.slot(contract, 3), U256::from(4));
}

#[test]
fn a_revert_pays_for_its_gas_and_changes_nothing_else() {
    let mut world = World::new();
    world.contract(user(0xc0), code::REVERT);
    let outcome = run(&mut world, &[Tx { value: 5, ..Tx::call(1, 0, user(0xc0), vec![]) }]);
    assert!(!outcome.receipts[0].is_success());
    assert!(outcome.gas_used > 21_000 && outcome.gas_used < 22_000, "gas={}", outcome.gas_used);
    assert_eq!(world.balance(user(0xc0)), U256::ZERO);
    assert_eq!(world.accounts[&user(1)].nonce, 1);
    assert_eq!(world.balance(BENEFICIARY), U256::from(u128::from(outcome.gas_used) * TIP));
    assert!(!outcome.changes.accounts.contains_key(&user(0xc0)));
}

#[test]
fn running_out_of_gas_or_into_a_bad_opcode_takes_all_gas() {
    for runtime in [code::LOOP, code::INVALID] {
        let mut world = World::new();
        world.contract(user(0xc0), runtime);
        let outcome = run(&mut world, &[Tx { gas: 50_000, ..Tx::call(1, 0, user(0xc0), vec![]) }]);
        assert_eq!((outcome.gas_used, outcome.receipts[0].is_success()), (50_000, false));
    }
}

#[test]
fn a_failed_creation_keeps_the_nonce_and_leaves_no_account() {
    let mut world = World::new();
    let outcome = run(&mut world, &[Tx { value: 5, ..Tx::create(1, 0, code::REVERT.to_vec()) }]);
    assert!(!outcome.receipts[0].is_success());
    assert_eq!(world.accounts[&user(1)].nonce, 1);
    assert!(!world.accounts.contains_key(&user(1).create(0)));
}

/// Code that clears slots 1 to `count`.
fn clear(count: u8) -> Vec<u8> {
    // PUSH0, PUSH1 slot, SSTORE
    (1..=count).flat_map(|slot| [0x5f, 0x60, slot, 0x55]).collect()
}

#[test]
fn clearing_slots_refunds_4800_each_and_at_most_a_fifth() {
    // A cold slot costs 2,100 to look at and 2,900 to change (EIP-2929), and two pushes cost 5.
    for (count, want) in [(1, 21_000 + 5_005 - 4_800), (3, 36_015 - 36_015 / 5)] {
        let mut world = World::new();
        let contract = user(0xc0);
        world.contract(contract, &clear(count));
        for slot in 1..=count {
            world.storage.insert((contract, U256::from(slot)), U256::from(5));
        }
        let outcome = run(&mut world, &[Tx::call(1, 0, contract, vec![])]);
        assert_eq!(outcome.gas_used, want, "slots={count}");
        assert_eq!(outcome.changes.accounts[&contract].storage.len(), usize::from(count));
        assert!(world.storage.is_empty());
    }
}

#[test]
fn a_refund_does_not_go_below_the_calldata_floor() {
    let mut world = World::new();
    let contract = user(0xc0);
    world.contract(contract, code::STORE);
    world.storage.insert((contract, U256::from(1)), U256::from(5));
    let outcome = run(&mut world, &[set(1, 0, contract, 1, 0)]);
    // 63 zero bytes and one other are 67 tokens of 10 gas (EIP-7623).
    assert_eq!(outcome.gas_used, 21_000 + 67 * 10);
}

#[test]
fn a_contract_from_an_earlier_block_survives_selfdestruct_without_its_balance() {
    let mut world = World::new();
    let contract = user(0xc0);
    world.contract(contract, code::DESTROY);
    world.fund(contract, 7);
    world.storage.insert((contract, U256::from(1)), U256::from(5));
    let outcome = run(&mut world, &[Tx::call(1, 0, contract, words(&[word(user(0xd0))]))]);
    assert!(outcome.receipts[0].is_success());
    assert_eq!(world.balance(user(0xd0)), U256::from(7));
    assert_eq!(world.balance(contract), U256::ZERO);
    assert_eq!(world.code_of(contract).unwrap().as_ref(), code::DESTROY);
    assert_eq!(world.slot(contract, 1), U256::from(5));
}

#[test]
fn a_contract_that_pays_itself_on_selfdestruct_keeps_its_balance_if_it_is_old() {
    let mut world = World::new();
    let contract = user(0xc0);
    world.contract(contract, code::DESTROY);
    world.fund(contract, 7);
    let outcome = run(&mut world, &[Tx::call(1, 0, contract, words(&[word(contract)]))]);
    assert_eq!(world.balance(contract), U256::from(7));
    assert!(!outcome.changes.accounts.contains_key(&contract));
}

#[test]
fn a_contract_destroyed_in_its_own_transaction_leaves_nothing() {
    let mut world = World::new();
    world.contract(user(0xc0), code::FACTORY);
    let outcome = run(&mut world, &[Tx { value: 5, ..Tx::call(1, 0, user(0xc0), code::BORN_DEAD.to_vec()) }]);
    let child = user(0xc0).create2_from_code([0; 32], code::BORN_DEAD);
    assert!(outcome.receipts[0].is_success());
    assert_eq!(world.slot(user(0xc0), 0), word(child), "it was created");
    assert!(!outcome.changes.accounts.contains_key(&child));
    assert_eq!(world.balance(user(0xc0)), U256::from(5), "the value came back");
}

#[test]
fn a_funded_address_loses_its_account_if_a_contract_there_destroys_itself_at_birth() {
    let mut world = World::new();
    world.contract(user(0xc0), code::FACTORY);
    let child = user(0xc0).create2_from_code([0; 32], code::BORN_DEAD);
    world.fund(child, 11);
    let outcome = run(&mut world, &[Tx::call(1, 0, user(0xc0), code::BORN_DEAD.to_vec())]);
    assert_eq!(outcome.changes.accounts[&child].account, None);
    assert_eq!(world.balance(user(0xc0)), U256::from(11));
}

#[test]
fn an_address_can_be_created_again_in_the_same_block_after_its_contract_is_gone() {
    let mut world = World::new();
    world.contract(user(0xc0), code::FACTORY);
    let born_dead = code::BORN_DEAD.to_vec();
    let child = user(0xc0).create2_from_code([0; 32], code::BORN_DEAD);
    let outcome = run(
        &mut world,
        &[
            Tx::call(1, 0, user(0xc0), born_dead.clone()),
            Tx::transfer(2, 0, child, 3),
            Tx::call(1, 1, user(0xc0), born_dead),
            Tx::transfer(2, 1, child, 4),
        ],
    );
    assert!(outcome.receipts.iter().all(Receipt::is_success));
    assert_eq!(world.balance(child), U256::from(4));
    assert_eq!(world.balance(user(0xc0)), U256::from(3));
    assert_eq!(world.slot(child, 1), U256::ZERO);
}

#[test]
fn a_contract_created_in_one_transaction_survives_selfdestruct_in_the_next() {
    let mut world = World::new();
    let contract = user(1).create(0);
    let outcome = run(
        &mut world,
        &[
            Tx { value: 5, ..Tx::create(1, 0, code::deploy(code::DESTROY)) },
            Tx::call(1, 1, contract, words(&[word(user(0xd0))])),
        ],
    );
    assert!(outcome.receipts.iter().all(Receipt::is_success));
    assert_eq!(world.code_of(contract).unwrap().as_ref(), code::DESTROY);
    assert_eq!(world.balance(user(0xd0)), U256::from(5));
}

#[test]
fn a_contract_on_a_funded_address_keeps_the_funds_and_starts_with_empty_storage() {
    let mut world = World::new();
    let contract = user(1).create(0);
    world.fund(contract, 11);
    let outcome = run(&mut world, &[Tx::create(1, 0, code::deploy(code::STORE)), set(2, 0, contract, 1, 2)]);
    assert!(outcome.changes.accounts[&contract].storage_cleared);
    assert_eq!(world.balance(contract), U256::from(11));
    assert_eq!(world.slot(contract, 1), U256::from(2));
}

#[test]
fn a_second_create2_at_a_living_contract_fails() {
    let mut world = World::new();
    world.contract(user(0xc0), code::FACTORY);
    let init_code = code::deploy(code::STORE);
    let child = user(0xc0).create2_from_code([0; 32], &init_code);
    run(&mut world, &[Tx::call(1, 0, user(0xc0), init_code.clone())]);
    assert_eq!(world.slot(user(0xc0), 0), word(child));
    run(&mut world, &[Tx::call(1, 1, user(0xc0), init_code)]);
    assert_eq!(world.slot(user(0xc0), 0), U256::ZERO, "CREATE2 returned zero");
    assert_eq!(world.code_of(child).unwrap().as_ref(), code::STORE);
}

#[test]
fn an_inner_revert_undoes_the_inner_change_and_its_logs() {
    let mut world = World::new();
    // Logs, then reverts: STORE's first bytes would stop, so the log code without its STOP is followed by REVERT.
    let log_then_revert = [&code::LOG[..code::LOG.len() - 1], code::REVERT].concat();
    world.contract(user(0xc0), &log_then_revert);
    world.contract(user(0xc1), &code::forward(user(0xc0)));
    world.contract(user(0xc2), &code::forward(user(0xc3)));
    world.contract(user(0xc3), code::LOG);
    let outcome = run(
        &mut world,
        &[Tx::call(1, 0, user(0xc1), words(&[U256::from(1)])), Tx::call(1, 1, user(0xc2), words(&[U256::from(1)]))],
    );
    assert!(!outcome.receipts[0].is_success() && outcome.receipts[0].logs().is_empty());
    assert!(outcome.receipts[1].is_success() && outcome.receipts[1].logs().len() == 1);
}

#[test]
fn two_accounts_with_the_same_new_code_list_it_once() {
    let mut world = World::new();
    let outcome =
        run(&mut world, &[Tx::create(1, 0, code::deploy(code::STORE)), Tx::create(2, 0, code::deploy(code::STORE))]);
    assert_eq!(outcome.changes.code.keys().collect::<Vec<_>>(), [&keccak256(code::STORE)]);
}
