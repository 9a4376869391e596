//! Building blocks: what enters, what does not, and that it executes again to the same outcome.

use crate::{code, world::*};
use alloy_eips::eip2718::Encodable2718 as _;
use keystead_execution::{BlockEnv, BuildLimits, Built, InvalidTransaction, build, execute};
use keystead_types::{Recovered, U256};
use proptest::prelude::*;
use std::{cell::Cell, sync::Arc};

const LIMITS: BuildLimits = BuildLimits { bytes_max: 4_000_000, transactions_max: 10_000 };

fn build_from(world: &World, env: &BlockEnv, candidates: &[Tx], limits: BuildLimits) -> Built {
    let mut candidates = candidates.iter().map(|tx| Arc::new(tx.recovered()));
    build(world, &SPEC, env, &mut candidates, limits, &|| false).unwrap()
}

fn executes_to_the_same(world: &World, env: &BlockEnv, built: &Built) {
    let transactions: Vec<Recovered> = built.transactions.iter().map(|tx| tx.as_ref().clone()).collect();
    assert_eq!(execute(world, &SPEC, env, &transactions).unwrap(), built.outcome);
}

fn taken(built: &Built) -> Vec<(u8, u64)> {
    use alloy_consensus::Transaction as _;
    built.transactions.iter().map(|tx| (tx.signer()[0], tx.nonce())).collect()
}

#[test]
fn a_bad_candidate_is_skipped_with_all_later_ones_of_its_sender() {
    let world = World::new();
    let bad = Tx { max_fee: 1, tip: 0, ..Tx::transfer(1, 1, user(9), 1) };
    let candidates = [
        Tx::transfer(1, 0, user(9), 1),
        bad.clone(),
        Tx::transfer(2, 0, user(9), 1),
        Tx::transfer(1, 1, user(9), 1),
        Tx::transfer(1, 2, user(9), 1),
        Tx::transfer(2, 1, user(9), 1),
    ];
    let built = build_from(&world, &env(), &candidates, LIMITS);
    assert_eq!(taken(&built), [(1, 0), (2, 0), (2, 1)]);
    let [(hash, why)] = built.refused.as_slice() else { panic!("one is refused") };
    assert_eq!(hash, bad.recovered().tx_hash());
    assert_eq!(*why, InvalidTransaction::FeeBelowBase { max_fee: 1, base_fee: BASE_FEE });
    assert!(!why.is_permanent());
    executes_to_the_same(&world, &env(), &built);
}

#[test]
fn a_used_nonce_is_skipped_alone_and_not_reported() {
    let mut world = World::new();
    world.accounts.get_mut(&user(1)).unwrap().nonce = 2;
    let candidates: Vec<Tx> = (0..4).map(|nonce| Tx::transfer(1, nonce, user(9), 1)).collect();
    let built = build_from(&world, &env(), &candidates, LIMITS);
    assert_eq!(taken(&built), [(1, 2), (1, 3)]);
    assert!(built.refused.is_empty());
}

#[test]
fn a_candidate_that_no_state_makes_valid_is_reported_as_permanent() {
    let built = build_from(&World::new(), &env(), &[Tx { gas: 16_777_217, ..Tx::default() }], LIMITS);
    assert!(built.refused[0].1.is_permanent());
    assert!(built.transactions.is_empty());
}

#[test]
fn what_does_not_fit_is_left_and_smaller_ones_still_enter() {
    let world = World::new();
    let env = BlockEnv { gas_limit: 100_000, ..env() };
    let candidates = [
        Tx::transfer(1, 0, user(9), 1),
        Tx { gas: 90_000, ..Tx::transfer(2, 0, user(9), 1) },
        Tx::transfer(2, 1, user(9), 1),
        Tx::transfer(3, 0, user(9), 1),
        Tx { gas: 58_000, ..Tx::transfer(3, 1, user(9), 1) },
        Tx { gas: 37_000, ..Tx::transfer(4, 0, user(9), 1) },
        Tx { gas: 37_001, ..Tx::transfer(5, 0, user(9), 1) },
    ];
    let built = build_from(&world, &env, &candidates, LIMITS);
    assert_eq!(taken(&built), [(1, 0), (3, 0), (3, 1), (4, 0)]);
    assert!(built.refused.is_empty(), "a misfit is not refused");
    assert_eq!(built.outcome.gas_used, 84_000);
    executes_to_the_same(&world, &env, &built);
}

#[test]
fn bytes_and_count_are_bounded_on_both_sides_of_the_edge() {
    let world = World::new();
    let candidates: Vec<Tx> = (0..5).map(|nonce| Tx::transfer(1, nonce, user(9), 1)).collect();
    let bytes = candidates[0].recovered().encode_2718_len() + 4;
    let with = |limits| build_from(&world, &env(), &candidates, limits).transactions.len();
    assert_eq!(with(BuildLimits { bytes_max: 3 * bytes, ..LIMITS }), 3);
    assert_eq!(with(BuildLimits { bytes_max: 3 * bytes - 1, ..LIMITS }), 2);
    assert_eq!(with(BuildLimits { transactions_max: 4, ..LIMITS }), 4);
    assert_eq!(with(BuildLimits { transactions_max: 0, ..LIMITS }), 0);
}

#[test]
fn building_stops_when_it_is_told_to_with_what_it_has() {
    let world = World::new();
    let asked = Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() > 3
    };
    let mut candidates = (0..).map(|nonce| Arc::new(Tx::transfer(1, nonce, user(9), 1).recovered()));
    let built = build(&world, &SPEC, &env(), &mut candidates, LIMITS, &stop).unwrap();
    assert_eq!(built.transactions.len(), 3);
    executes_to_the_same(&world, &env(), &built);
}

#[test]
fn a_full_block_ends_the_search_although_candidates_never_end() {
    let world = World::new();
    let env = BlockEnv { gas_limit: 100_000, ..env() };
    let endless = (0_u64..).map(|index| {
        let from = keystead_types::Address::left_padding_from(&index.to_be_bytes());
        Arc::new(Tx { from, gas: 100_000, ..Tx::default() }.recovered())
    });
    let mut candidates = std::iter::once(Arc::new(Tx::default().recovered())).chain(endless);
    let built = build(&world, &SPEC, &env, &mut candidates, LIMITS, &|| false).unwrap();
    assert_eq!(built.transactions.len(), 1);
}

/// A random transaction: often valid, sometimes not.
fn any_transaction() -> impl Strategy<Value = Tx> {
    let targets = prop_oneof![
        Just(Some(user(2))),
        Just(Some(user(0xc0))),
        Just(Some(user(0xc1))),
        Just(Some(user(0xc2))),
        Just(Some(user(0xc3))),
        Just(Some(user(0xc4))),
        Just(None),
        (1_u8..40).prop_map(|seed| Some(user(seed))),
    ];
    let inputs = prop_oneof![
        Just(vec![]),
        Just(code::BORN_DEAD.to_vec()),
        Just(code::deploy(code::DESTROY).to_vec()),
        Just(code::deploy(code::STORE).to_vec()),
        (0_u64..3, 0_u64..3).prop_map(|(slot, value)| words(&[U256::from(slot), U256::from(value)]).to_vec()),
        proptest::collection::vec(any::<u8>(), 0..80),
    ];
    let gas = prop_oneof![8 => 60_000_u64..400_000, 1 => Just(21_000_u64), 1 => Just(20_000_u64)];
    let fee = prop_oneof![9 => Just(MAX_FEE), 1 => Just(1_u128)];
    (0_u8..3, 1_u8..5, targets, inputs, gas, fee, 0_u128..1_000, 0_u64..20).prop_map(
        |(kind, from, to, input, gas, max_fee, value, skip)| Tx {
            kind,
            from: user(from),
            // The real nonce is put in later; one in twenty is wrong.
            nonce: u64::from(skip == 0),
            to,
            value,
            input: input.into(),
            gas,
            max_fee,
            tip: TIP.min(max_fee),
            chain_id: CHAIN_ID,
        },
    )
}

fn full_world() -> World {
    let mut world = World::with_system_contracts();
    let runtimes: [(u8, &[u8]); 5] =
        [(0xc0, code::STORE), (0xc1, code::FACTORY), (0xc2, code::DESTROY), (0xc3, code::LOG), (0xc4, code::REVERT)];
    for (seed, runtime) in runtimes {
        world.contract(user(seed), runtime);
        world.fund(user(seed), 1_000);
        world.storage.insert((user(seed), U256::from(1)), U256::from(1));
    }
    world
}

fn with_nonces(transactions: &[Tx]) -> Vec<Tx> {
    let mut next = [0_u64; 256];
    let number = |tx: &Tx| {
        let wrong = tx.nonce;
        let nonce = &mut next[usize::from(tx.from[0])];
        let tx = Tx { nonce: *nonce + wrong, ..tx.clone() };
        *nonce += 1 - wrong;
        tx
    };
    transactions.iter().map(number).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_is_built_executes_to_the_identical_outcome(
        transactions in proptest::collection::vec(any_transaction(), 0..40),
    ) {
        let mut world = full_world();
        let env = BlockEnv { gas_limit: 3_000_000, ..env() };
        let built = build_from(&world, &env, &with_nonces(&transactions), LIMITS);
        executes_to_the_same(&world, &env, &built);
        prop_assert!(built.outcome.gas_used <= env.gas_limit);
        world.apply(&built.outcome.changes);
    }

    // Goal: an oracle for the overlay that shares none of its memory between transactions. Method: the same
    // transactions in one block and in a block each must end in the same world.
    #[test]
    fn one_block_of_many_and_many_blocks_of_one_end_in_the_same_world(
        transactions in proptest::collection::vec(any_transaction(), 0..40),
    ) {
        let start = full_world();
        let built = build_from(&start, &env(), &with_nonces(&transactions), LIMITS);
        let mut at_once = start.clone();
        at_once.apply(&built.outcome.changes);
        let mut one_by_one = start;
        let mut gas_used = 0;
        for transaction in &built.transactions {
            let transaction = std::slice::from_ref(transaction.as_ref());
            let outcome = execute(&one_by_one, &SPEC, &env(), transaction).unwrap();
            gas_used += outcome.gas_used;
            one_by_one.apply(&outcome.changes);
        }
        if built.transactions.is_empty() {
            let outcome = execute(&one_by_one, &SPEC, &env(), &[]).unwrap();
            one_by_one.apply(&outcome.changes);
        }
        prop_assert_eq!(gas_used, built.outcome.gas_used);
        prop_assert_eq!(&at_once.accounts, &one_by_one.accounts);
        prop_assert_eq!(&at_once.storage, &one_by_one.storage);
    }
}
