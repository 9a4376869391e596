//! What a block gives its transactions: system contracts, block hashes, randomness, precompiles.

use crate::{code, world::*};
use alloy_eips::{eip2935::HISTORY_STORAGE_ADDRESS, eip4788::BEACON_ROOTS_ADDRESS};
use alloy_primitives::hex;
use keystead_execution::{BlockEnv, CallOutcome, CallRequest, CallStatus, Overrides, call, execute};
use keystead_types::{Address, B256, Bytes, U256};

fn ask(world: &World, env: &BlockEnv, to: Address, input: impl Into<Bytes>) -> CallOutcome {
    let request = CallRequest { to: Some(to), input: input.into(), ..CallRequest::default() };
    call(world, &SPEC, env, &Overrides::default(), request, 1_000_000).unwrap()
}

fn word(outcome: &CallOutcome) -> B256 {
    B256::from_slice(&outcome.output)
}

#[test]
fn the_system_contracts_answer_with_beacon_root_and_parent_hash_in_the_same_block() {
    let mut world = World::with_system_contracts();
    let outcome = execute(&world, &SPEC, &env(), &[]).unwrap();
    world.apply(&outcome.changes);
    // EIP-4788: timestamp and root in two rings of 8,191; EIP-2935: one ring.
    assert_eq!(outcome.changes.accounts[&BEACON_ROOTS_ADDRESS].storage.len(), 2);
    assert_eq!(outcome.changes.accounts[&HISTORY_STORAGE_ADDRESS].storage.len(), 1);
    assert_eq!(outcome.changes.accounts.len(), 2, "the system address is no account");
    let time = words(&[U256::from(env().timestamp)]);
    assert_eq!(word(&ask(&world, &env(), BEACON_ROOTS_ADDRESS, time)), B256::repeat_byte(0xbb));
    let parent = words(&[U256::from(env().number - 1)]);
    assert_eq!(word(&ask(&world, &env(), HISTORY_STORAGE_ADDRESS, parent)), B256::repeat_byte(0x99));
}

#[test]
fn two_blocks_in_one_second_keep_the_later_beacon_root() {
    let mut world = World::with_system_contracts();
    for (number, root) in [(100, 1), (101, 2)] {
        let env = BlockEnv { number, parent_beacon_block_root: B256::repeat_byte(root), ..env() };
        let outcome = execute(&world, &SPEC, &env, &[]).unwrap();
        world.apply(&outcome.changes);
    }
    let time = words(&[U256::from(env().timestamp)]);
    assert_eq!(word(&ask(&world, &env(), BEACON_ROOTS_ADDRESS, time)), B256::repeat_byte(2));
}

#[test]
fn system_calls_cost_no_gas_and_leave_no_receipt_and_the_genesis_block_has_none() {
    let world = World::with_system_contracts();
    let outcome = execute(&world, &SPEC, &env(), &[]).unwrap();
    assert_eq!((outcome.gas_used, outcome.receipts.len()), (0, 0));
    let genesis = BlockEnv { number: 0, ..env() };
    assert!(execute(&world, &SPEC, &genesis, &[]).unwrap().changes.accounts.is_empty());
}

#[test]
fn a_system_contract_that_reverts_changes_nothing_and_stops_nothing() {
    let mut world = World::new();
    world.contract(BEACON_ROOTS_ADDRESS, code::REVERT);
    world.contract(HISTORY_STORAGE_ADDRESS, code::LOOP);
    let outcome = execute(&world, &SPEC, &env(), &recovered(&[Tx::default()])).unwrap();
    assert_eq!(outcome.receipts.len(), 1);
    assert!(!outcome.changes.accounts.contains_key(&BEACON_ROOTS_ADDRESS));
}

#[test]
fn blockhash_is_the_headers_parent_hash_the_views_answer_or_zero() {
    let mut world = World::new();
    world.contract(user(0xc0), code::BLOCK_HASH);
    let env = BlockEnv { number: 1_000, ..env() };
    let hash = |number: u64| word(&ask(&world, &env, user(0xc0), words(&[U256::from(number)])));
    assert_eq!(hash(999), B256::repeat_byte(0x99));
    assert_eq!(hash(998), hash_of(998));
    assert_eq!(hash(744), hash_of(744));
    assert_eq!(hash(743), B256::ZERO, "older than 256 blocks");
    assert_eq!(hash(1_000), B256::ZERO, "the block itself");
}

#[test]
fn prevrandao_is_the_headers_mix_hash() {
    let mut world = World::new();
    world.contract(user(0xc0), code::RANDOM);
    assert_eq!(word(&ask(&world, &env(), user(0xc0), vec![])), B256::repeat_byte(0x4d));
}

#[test]
fn the_p256_precompile_at_0x100_accepts_a_valid_signature_and_not_a_changed_one() {
    // Hash, r, s, x, y of a signature from the test vectors of RIP-7212 (EIP-7951 takes them over).
    let valid = hex!(
        "4cee90eb86eaa050036147a12d49004b6b9c72bd725d39d4785011fe190f0b4d
         a73bd4903f0ce3b639bbbf6e8e80d16931ff4bcf5993d58468e8fb19086e8cac
         36dbcd03009df8c59286b162af3bd7fcc0450c9aa81be5d10d312af6c66b1d60
         4aebd3099c618202fcfe16ae7770b0c49ab5eadf74b754204a3bb6060e44eff3
         7618b065f9832de4ca6ca971a7a1adc826d0f7c00181a5fb2ddf79ae00b4e10e"
    );
    let address = Address::from_word(B256::from(U256::from(0x100)));
    let outcome = ask(&World::new(), &env(), address, valid.to_vec());
    assert_eq!(word(&outcome), B256::with_last_byte(1));
    // 6,900 for the check (EIP-7951) on top of the calldata's floor or price.
    assert_eq!(outcome.status, CallStatus::Success);
    assert!(outcome.gas_used >= 21_000 + 6_900, "gas={}", outcome.gas_used);
    let mut changed = valid;
    changed[40] ^= 1;
    let outcome = ask(&World::new(), &env(), address, changed.to_vec());
    assert_eq!((outcome.status, outcome.output), (CallStatus::Success, Bytes::new()));
}
