//! The system call that writes beacon values, with the real contract.

use crate::world::*;
use alloy_primitives::keccak256;
use keystead_execution::{BeaconWrite, BlockEnv, CallOutcome, CallRequest, CallStatus, Overrides, call, execute};
use keystead_types::{
    Address, B256, BEACON_ADDRESS, BEACON_RING, BEACON_VALUES_MAX, BeaconBatch, BeaconValue, Bytes, ChainSpec, Fork,
    Forks, U256, beacon_slot,
};

fn world() -> World {
    let artifact: serde_json::Value =
        serde_json::from_str(include_str!("../../../../contracts/artifacts/Beacon.json")).unwrap();
    let code: Bytes = artifact["deployedBytecode"].as_str().unwrap().parse().unwrap();
    let mut world = World::with_system_contracts();
    world.contract(BEACON_ADDRESS, &code);
    world
}

fn value(height: u64) -> BeaconValue {
    let mut value = [7; 48];
    value[..8].copy_from_slice(&height.to_be_bytes());
    BeaconValue(value)
}

/// The environment of a block that carries these heights.
fn carrying(first: u64, count: usize) -> BlockEnv {
    let batch = BeaconBatch::new(first, (first..).take(count).map(value).collect()).unwrap();
    BlockEnv { beacon: BeaconWrite::from(&batch), ..env() }
}

fn write(world: &mut World, first: u64, count: usize) -> usize {
    let outcome = execute(world, &SPEC, &carrying(first, count), &[]).unwrap();
    assert_eq!((outcome.gas_used, outcome.receipts.len(), outcome.logs_bloom.is_zero()), (0, 0, true));
    world.apply(&outcome.changes);
    outcome.changes.accounts.get(&BEACON_ADDRESS).map_or(0, |change| change.storage.len())
}

fn calldata(name: &str, word: u64) -> Bytes {
    [&keccak256(name)[..4], &U256::from(word).to_be_bytes::<32>()].concat().into()
}

fn ask(world: &World, name: &str, word: u64) -> CallOutcome {
    let request = CallRequest { to: Some(BEACON_ADDRESS), input: calldata(name, word), ..CallRequest::default() };
    call(world, &SPEC, &env(), &Overrides::default(), request, 1_000_000).unwrap()
}

fn newest(world: &World) -> U256 {
    U256::from_be_slice(&ask(world, "newest()", 0).output)
}

#[test]
fn values_are_read_from_the_block_on_that_carries_them() {
    let mut world = world();
    assert_eq!(write(&mut world, 1, 2), 3, "two words and the newest height");
    assert_eq!(newest(&world), U256::from(2));
    for height in [1, 2] {
        let answer = ask(&world, "randomness(uint256)", height);
        assert_eq!(B256::from_slice(&answer.output), value(height).randomness());
        let slot = beacon_slot(height).to::<u64>();
        assert_eq!(world.slot(BEACON_ADDRESS, slot), U256::from_be_bytes(value(height).randomness().0));
    }
    let answer = ask(&world, "randomness(uint256)", 3);
    assert_eq!(answer.status, CallStatus::Reverted);
    assert_eq!(answer.output[..4], keccak256("NotYet(uint256,uint256)")[..4]);
}

#[test]
fn a_transaction_sees_what_its_own_block_carries() {
    let world = world();
    let asks = Tx::call(1, 0, BEACON_ADDRESS, calldata("randomness(uint256)", 1));
    let succeeds = |env: &BlockEnv| {
        let outcome = execute(&world, &SPEC, env, &[asks.recovered()]).unwrap();
        outcome.receipts[0].status()
    };
    assert!(succeeds(&carrying(1, 1)));
    assert!(!succeeds(&env()));
}

#[test]
fn a_full_batch_fits_and_the_ring_comes_round_without_growing() {
    let mut world = world();
    let mut height = 1;
    while height <= BEACON_RING {
        assert_eq!(write(&mut world, height, BEACON_VALUES_MAX), BEACON_VALUES_MAX + 1);
        height += BEACON_VALUES_MAX as u64;
    }
    let before = world.slots(BEACON_ADDRESS);
    assert_eq!(before, BEACON_RING as usize + 1);
    assert_eq!(write(&mut world, height, 1), 2);
    assert_eq!(world.slots(BEACON_ADDRESS), before);
    assert_eq!(ask(&world, "randomness(uint256)", 1).output[..4], keccak256("TooOld(uint256,uint256)")[..4]);
    assert_eq!(ask(&world, "randomness(uint256)", 2).status, CallStatus::Success);
}

#[test]
fn a_call_that_does_not_fit_changes_nothing_and_stops_nothing() {
    let mut world = world();
    write(&mut world, 1, 3);
    for first in [1, 3, 5] {
        assert_eq!(write(&mut world, first, 1), 0, "{first}");
    }
    let mut bare = World::with_system_contracts();
    let outcome = execute(&bare, &SPEC, &carrying(1, 1), &recovered(&[Tx::default()])).unwrap();
    assert_eq!(outcome.receipts.len(), 1);
    assert!(!outcome.changes.accounts.contains_key(&BEACON_ADDRESS), "no contract, no account");
    assert_eq!(write(&mut bare, 1, 1), 0);
}

#[test]
fn nobody_but_the_system_writes() {
    let world = world();
    let words = [U256::from(1), U256::from(64), U256::from(1), U256::from(7)];
    let input = [&keccak256("record(uint256,bytes32[])")[..4], &*words_of(&words)].concat();
    for from in [user(1), Address::ZERO, BEACON_ADDRESS] {
        let request = CallRequest { from, to: Some(BEACON_ADDRESS), input: input.clone().into(), ..Default::default() };
        let answer = call(&world, &SPEC, &env(), &Overrides::default(), request, 1_000_000).unwrap();
        assert_eq!(answer.output[..4], keccak256("NotSystem(address)")[..4], "{from}");
    }
}

fn words_of(words: &[U256]) -> Vec<u8> {
    crate::world::words(words).to_vec()
}

#[test]
fn a_foreign_chain_makes_no_such_call() {
    let world = world();
    let spec = ChainSpec::ethereum(1, 30_000_000, Forks::always(Fork::Osaka));
    let outcome = execute(&world, &spec, &carrying(1, 1), &[]).unwrap();
    assert!(!outcome.changes.accounts.contains_key(&BEACON_ADDRESS));
}
