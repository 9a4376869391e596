//! What a call sees when the caller overrides accounts, precompiled contracts and the block.

use crate::{code, world::*};
use alloy_rpc_types_eth::{
    BlockOverrides,
    state::{AccountOverride, StateOverride},
};
use keystead_execution::{
    Bundle, CallLimits, CallOutcome, CallRequest, CallStatus, Error, InvalidTransaction, OverrideError, Overrides,
    call, call_many, estimate_gas,
};
use keystead_types::{Address, B256, Bytes, U256};

const GAS_CAP: u64 = 5_000_000;
/// Returns slot `calldata[0..32]`.
const LOAD: &[u8] = &[0x5f, 0x35, 0x54, 0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3];
/// Returns number, time, coinbase, gas limit, blob base fee, each a word.
const BLOCK: &[u8] = &[
    0x43, 0x5f, 0x52, 0x42, 0x60, 0x20, 0x52, 0x41, 0x60, 0x40, 0x52, 0x45, 0x60, 0x60, 0x52, 0x4a, 0x60, 0x80, 0x52,
    0x60, 0xa0, 0x5f, 0xf3,
];

fn accounts<const N: usize>(accounts: [(Address, AccountOverride); N]) -> Overrides {
    Overrides { state: accounts.into_iter().collect::<StateOverride>(), block: BlockOverrides::default() }
}

fn at(address: Address, input: impl Into<Bytes>) -> CallRequest {
    CallRequest { from: user(1), to: Some(address), input: input.into(), ..CallRequest::default() }
}

fn run(world: &World, overrides: &Overrides, request: CallRequest) -> Result<CallOutcome, Error> {
    call(world, &SPEC, &env(), overrides, request, GAS_CAP)
}

fn word(number: u64) -> Bytes {
    words(&[U256::from(number)])
}

#[test]
fn balance_nonce_and_code_are_what_the_caller_says() {
    let world = World::new();
    let (poor, contract) = (user(0x70), user(0x71));
    let rich = accounts([(poor, AccountOverride::default().with_balance(U256::from(5)))]);
    let send = |value: u64| CallRequest { from: poor, value: U256::from(value), ..at(user(2), vec![]) };
    assert!(run(&world, &rich, send(5)).is_ok());
    assert!(matches!(run(&world, &rich, send(6)), Err(Error::Request(InvalidTransaction::InsufficientFunds { .. }))));
    let coded = accounts([(contract, AccountOverride::default().with_code(code::REVERT.to_vec()))]);
    assert_eq!(run(&world, &coded, at(contract, vec![])).unwrap().status, CallStatus::Reverted);
    assert_eq!(run(&world, &Overrides::default(), at(contract, vec![])).unwrap().status, CallStatus::Success);
    let numbered = accounts([(user(1), AccountOverride::default().with_nonce(9))]);
    let create = CallRequest { to: None, ..at(user(2), code::deploy(code::STORE)) };
    assert_eq!(run(&world, &numbered, create).unwrap().created, Some(user(1).create(9)));
}

#[test]
fn a_diff_keeps_the_other_slots_and_a_state_replaces_them_all() {
    let mut world = World::new();
    world.contract(user(0xc0), LOAD);
    for slot in [1, 2] {
        world.storage.insert((user(0xc0), U256::from(slot)), U256::from(slot * 10));
    }
    let slots = || [(B256::with_last_byte(2), B256::with_last_byte(99))];
    let read = |overrides: &Overrides, slot: u64| run(&world, overrides, at(user(0xc0), word(slot))).unwrap().output;
    let diff = accounts([(user(0xc0), AccountOverride::default().with_state_diff(slots()))]);
    assert_eq!((read(&diff, 1), read(&diff, 2), read(&diff, 3)), (word(10), word(99), word(0)));
    let state = accounts([(user(0xc0), AccountOverride::default().with_state(slots()))]);
    assert_eq!((read(&state, 1), read(&state, 2), read(&state, 3)), (word(0), word(99), word(0)));
    let both = accounts([(user(0xc0), AccountOverride::default().with_state(slots()).with_state_diff(slots()))]);
    let error = run(&world, &both, at(user(0xc0), word(1))).unwrap_err();
    assert!(matches!(error, Error::Overrides(OverrideError::StateAndDiff { address }) if address == user(0xc0)));
}

#[test]
fn a_precompiled_contract_moves_and_leaves_nothing_behind() {
    let world = World::new();
    // Identity.
    let old = Address::with_last_byte(4);
    let new = user(0x99);
    let moved = |target: Address| AccountOverride { move_precompile_to: Some(target), ..AccountOverride::default() };
    let overrides = accounts([(old, moved(new))]);
    let said = |to: Address, overrides: &Overrides| run(&world, overrides, at(to, vec![1, 2, 3])).unwrap().output;
    assert_eq!(said(old, &Overrides::default()).as_ref(), [1, 2, 3]);
    assert_eq!(said(new, &overrides).as_ref(), [1, 2, 3]);
    assert!(said(old, &overrides).is_empty());
    let replaced = accounts([(old, moved(new).with_code(code::BASE_FEE.to_vec()))]);
    assert_eq!((said(old, &replaced).len(), said(new, &replaced).len()), (32, 3));
    // An overridden account is an ordinary one.
    assert!(said(old, &accounts([(old, AccountOverride::default().with_balance(U256::ZERO))])).is_empty());

    let refused = |overrides: Overrides| match run(&world, &overrides, at(new, vec![])) {
        Err(Error::Overrides(error)) => error,
        other => panic!("{other:?}"),
    };
    let error = refused(accounts([(user(3), moved(new))]));
    assert_eq!(error, OverrideError::NotPrecompile { address: user(3) });
    let error = refused(accounts([(old, moved(new)), (new, AccountOverride::default())]));
    assert_eq!(error, OverrideError::AlreadyOverridden { address: new });
}

#[test]
fn the_block_is_what_the_caller_says() {
    let mut world = World::new();
    world.contract(user(0xc0), BLOCK);
    world.contract(user(0xc1), code::BLOCK_HASH);
    let block = BlockOverrides::default()
        .with_number(U256::from(500))
        .with_time(77)
        .with_coinbase(user(0xcb))
        .with_gas_limit(123)
        .with_blob_base_fee(U256::from(9))
        .append_block_hash(499, B256::repeat_byte(0x49));
    let overrides = Overrides { state: StateOverride::default(), block };
    let want = words(&[U256::from(500), U256::from(77), user(0xcb).into_word().into(), U256::from(123), U256::from(9)]);
    assert_eq!(run(&world, &overrides, at(user(0xc0), vec![])).unwrap().output, want);
    let hash = run(&world, &overrides, at(user(0xc1), word(499))).unwrap().output;
    assert_eq!(hash.as_ref(), B256::repeat_byte(0x49).as_slice());
    let huge = BlockOverrides::default().with_base_fee(U256::MAX);
    let error = run(&world, &Overrides { block: huge, ..Overrides::default() }, at(user(0xc0), vec![]));
    assert!(matches!(error, Err(Error::Overrides(OverrideError::TooLarge { field: "baseFeePerGas" }))));
}

#[test]
fn an_estimate_takes_overrides_too() {
    let world = World::new();
    let overrides = accounts([(user(0x71), AccountOverride::default().with_code(code::STORE.to_vec()))]);
    let request = at(user(0x71), words(&[U256::from(1), U256::from(1)]));
    let estimate = |overrides| estimate_gas(&world, &SPEC, &env(), overrides, request.clone(), GAS_CAP).unwrap();
    assert!(estimate(&overrides) > estimate(&Overrides::default()) + 20_000);
}

#[test]
fn many_calls_build_on_each_other_and_share_their_gas() {
    let mut world = World::new();
    world.contract(user(0xc0), code::STORE);
    world.contract(user(0xc2), code::LOOP);
    let overrides = accounts([(user(0xc1), AccountOverride::default().with_code(LOAD.to_vec()))]);
    let many = |requests: Vec<CallRequest>, gas_max: u64, stop: &(dyn Fn() -> bool + Sync)| {
        let bundles = vec![Bundle { requests, block: BlockOverrides::default() }];
        call_many(&world, &SPEC, &env(), overrides.state.clone(), bundles, CallLimits { gas_max, stop }).unwrap()
    };
    let create = || CallRequest { to: None, ..at(user(2), code::deploy(LOAD)) };
    let outcomes = many(vec![create(), create(), at(user(0xc1), word(1))], GAS_CAP, &|| false).remove(0);
    let created: Vec<_> = outcomes.iter().map(|outcome| outcome.as_ref().unwrap().created).collect();
    assert_eq!(created, [Some(user(1).create(0)), Some(user(1).create(1)), None]);
    let outcomes = many(vec![at(user(0xc2), vec![]), at(user(2), vec![])], 100_000, &|| false).remove(0);
    assert_eq!(outcomes[0].as_ref().unwrap().status, CallStatus::OutOfGas);
    assert!(matches!(outcomes[1], Err(InvalidTransaction::IntrinsicGas { .. })), "{outcomes:?}");
    assert!(many(vec![create()], GAS_CAP, &|| true).is_empty());
}

#[test]
fn each_bundle_is_in_its_own_block() {
    let mut world = World::new();
    world.contract(user(0xc0), BLOCK);
    let bundle = |block| Bundle { requests: vec![at(user(0xc0), vec![])], block };
    let bundles = vec![bundle(BlockOverrides::default().with_time(5)), bundle(BlockOverrides::default())];
    let limits = CallLimits { gas_max: GAS_CAP, stop: &|| false };
    let outcomes = call_many(&world, &SPEC, &env(), StateOverride::default(), bundles, limits).unwrap();
    let time = |index: usize| U256::from_be_slice(&outcomes[index][0].as_ref().unwrap().output[32..64]);
    assert_eq!((time(0), time(1)), (U256::from(5), U256::from(env().timestamp)));
}
