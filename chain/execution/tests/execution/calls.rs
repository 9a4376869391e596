//! Calls that are tried and forgotten, and the gas they are said to need.

use crate::{code, world::*};
use keystead_execution::{
    CallOutcome, CallPrice, CallRequest, CallStatus, Error, EstimateError, InvalidTransaction, Overrides, call,
    estimate_gas, execute,
};
use keystead_types::{Address, Bytes, U256};
use proptest::prelude::*;

const GAS_CAP: u64 = 50_000_000;

fn request(to: Address, input: impl Into<Bytes>) -> CallRequest {
    CallRequest { from: user(1), to: Some(to), input: input.into(), ..CallRequest::default() }
}

fn try_call(world: &World, request: CallRequest) -> Result<CallOutcome, Error> {
    call(world, &SPEC, &env(), &Overrides::default(), request, GAS_CAP)
}

fn estimate(world: &World, request: CallRequest) -> Result<u64, EstimateError> {
    estimate_gas(world, &SPEC, &env(), &Overrides::default(), request, GAS_CAP)
}

#[test]
fn a_free_call_needs_no_funds_and_sees_no_base_fee() {
    let mut world = World::new();
    world.contract(user(0xc0), code::BASE_FEE);
    let poor = CallRequest { from: user(0x70), ..request(user(0xc0), vec![]) };
    assert_eq!(try_call(&world, poor).unwrap().output, words(&[U256::ZERO]));
    let priced = CallRequest { price: CallPrice::Legacy { gas_price: MAX_FEE }, ..request(user(0xc0), vec![]) };
    assert_eq!(try_call(&world, priced).unwrap().output, words(&[U256::from(BASE_FEE)]));
}

#[test]
fn a_call_that_offers_a_price_must_reach_the_base_fee_and_have_the_funds() {
    let world = World::new();
    let with = |price| try_call(&world, CallRequest { price, gas: Some(21_000), ..request(user(2), vec![]) });
    assert!(matches!(
        with(CallPrice::Legacy { gas_price: 1 }),
        Err(Error::Request(InvalidTransaction::FeeBelowBase { .. }))
    ));
    assert!(matches!(
        with(CallPrice::Dynamic { max_fee: 1 << 100, max_priority_fee: 0 }),
        Err(Error::Request(InvalidTransaction::InsufficientFunds { .. }))
    ));
    assert!(with(CallPrice::Dynamic { max_fee: MAX_FEE, max_priority_fee: 1 }).is_ok());
}

#[test]
fn a_call_may_send_what_the_caller_has_and_not_a_wei_more() {
    let world = World::new();
    let with = |value| try_call(&world, CallRequest { value, ..request(user(2), vec![]) });
    assert!(with(world.balance(user(1))).is_ok());
    assert!(matches!(
        with(world.balance(user(1)) + U256::from(1)),
        Err(Error::Request(InvalidTransaction::InsufficientFunds { .. }))
    ));
}

#[test]
fn a_call_tells_success_revert_lack_of_gas_and_failure_apart() {
    let mut world = World::new();
    let runtimes: [(u8, &[u8]); 4] =
        [(0xc0, code::LOG), (0xc1, code::REVERT), (0xc2, code::LOOP), (0xc3, code::INVALID)];
    for (seed, runtime) in runtimes {
        world.contract(user(seed), runtime);
    }
    let at = |seed| try_call(&world, CallRequest { gas: Some(100_000), ..request(user(seed), vec![]) }).unwrap();
    assert_eq!((at(0xc0).status, at(0xc0).logs.len()), (CallStatus::Success, 1));
    assert_eq!((at(0xc1).status, at(0xc1).output), (CallStatus::Reverted, words(&[U256::from(42)])));
    assert_eq!((at(0xc2).status, at(0xc2).gas_used), (CallStatus::OutOfGas, 100_000));
    assert!(matches!(at(0xc3).status, CallStatus::Halted(_)));
}

#[test]
fn a_call_can_create_and_come_from_a_contract() {
    let mut world = World::new();
    world.contract(user(1), code::STORE);
    let create = CallRequest { to: None, ..request(user(2), code::deploy(code::STORE)) };
    let outcome = try_call(&world, create).unwrap();
    assert_eq!(outcome.output.as_ref(), code::STORE);
    assert_eq!(outcome.created, Some(user(1).create(1)));
}

#[test]
fn gas_is_bounded_by_the_cap_and_may_exceed_that_of_a_transaction() {
    let mut world = World::new();
    world.contract(user(0xc0), code::LOOP);
    let with = |gas| try_call(&world, CallRequest { gas, ..request(user(0xc0), vec![]) }).unwrap().gas_used;
    assert_eq!(with(None), GAS_CAP);
    assert_eq!(with(Some(u64::MAX)), GAS_CAP);
    assert_eq!(with(Some(20_000_000)), 20_000_000);
}

#[test]
fn a_transfer_needs_21000_gas() {
    assert_eq!(estimate(&World::new(), request(user(2), vec![])).unwrap(), 21_000);
    let poor = CallRequest { from: user(0x70), value: U256::from(1), ..request(user(2), vec![]) };
    assert!(matches!(
        estimate(&World::new(), poor),
        Err(EstimateError::Execution(Error::Request(InvalidTransaction::InsufficientFunds { .. })))
    ));
}

#[test]
fn what_reverts_fails_or_never_ends_has_no_estimate() {
    let mut world = World::new();
    for (seed, runtime) in [(0xc1, code::REVERT), (0xc2, code::LOOP), (0xc3, code::INVALID)] {
        world.contract(user(seed), runtime);
    }
    let at = |seed| estimate(&world, request(user(seed), vec![])).unwrap_err();
    let EstimateError::Reverted { output } = at(0xc1) else { panic!("reverts") };
    assert_eq!(output, words(&[U256::from(42)]));
    // EIP-7825 bounds what a transaction may use, whatever the cap of the node.
    assert_eq!(at(0xc2).to_string(), "gas required exceeds allowance (16777216)");
    assert!(matches!(at(0xc3), EstimateError::Halted { .. }));
}

#[test]
fn an_estimate_is_bounded_by_the_request_and_by_what_the_balance_pays_for() {
    let mut world = World::new();
    world.contract(user(0xc0), code::STORE);
    let store = request(user(0xc0), words(&[U256::from(1), U256::from(1)]));
    let needed = estimate(&world, store.clone()).unwrap();
    let asked = CallRequest { gas: Some(30_000), ..store.clone() };
    assert!(matches!(estimate(&world, asked), Err(EstimateError::AllowanceExceeded { allowance: 30_000 })));
    let price = CallPrice::Dynamic { max_fee: MAX_FEE, max_priority_fee: 0 };
    world.fund(user(1), 30_000 * MAX_FEE);
    let error = estimate(&world, CallRequest { price, ..store.clone() }).unwrap_err();
    assert!(matches!(error, EstimateError::AllowanceExceeded { allowance: 30_000 }), "{error}");
    world.fund(user(1), u128::from(needed) * MAX_FEE);
    assert_eq!(estimate(&world, CallRequest { price, ..store.clone() }).unwrap(), needed);
    let error = estimate(&world, CallRequest { price, value: world.balance(user(1)), ..store }).unwrap_err();
    assert!(matches!(error, EstimateError::InsufficientFunds { .. }), "{error}");
}

#[test]
fn an_estimate_can_be_made_for_a_creation_and_below_the_calldata_floor() {
    let world = World::new();
    let create = CallRequest { to: None, ..request(user(2), code::deploy(&[0; 1_000])) };
    let gas = estimate(&world, create).unwrap();
    let outcome =
        execute(&world, &SPEC, &env(), &recovered(&[Tx { gas, ..Tx::create(1, 0, code::deploy(&[0; 1_000])) }]));
    assert!(outcome.unwrap().receipts[0].status());
    // 1,000 non-zero bytes to an account without code: the floor of EIP-7623 decides.
    let floor = 21_000 + 4_000 * 10;
    let gas = estimate(&world, request(user(2), vec![1; 1_000])).unwrap();
    assert!((floor..=floor + floor * 15 / 1_000).contains(&gas), "gas={gas}");
}

/// A contract that writes `slots` slots and forwards to another that does the same, so that the 63/64 rule matters.
fn nested(world: &mut World, slots: u8, depth: u8) -> Address {
    let mut next = Vec::new();
    let mut address = user(0xa0);
    for level in 0..=depth {
        let mut runtime = Vec::new();
        for slot in 0..slots {
            // PUSH1 1, PUSH1 slot, SSTORE
            runtime.extend([0x60, 1, 0x60, slot, 0x55]);
        }
        let offset = runtime.len();
        runtime.extend(&next);
        if !next.is_empty() {
            // The jump destination of `forward` is absolute.
            let target = runtime.len() - 7;
            runtime[target] += offset as u8;
        } else {
            runtime.push(0x00);
        }
        address = user(0xa0 + level);
        world.contract(address, &runtime);
        next = code::forward(address);
    }
    address
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_transaction_with_the_estimated_gas_succeeds_and_one_and_a_half_percent_less_fails(
        slots in 1_u8..12,
        depth in 0_u8..4,
        input in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut world = World::new();
        let contract = nested(&mut world, slots, depth);
        let gas = estimate(&world, request(contract, input.clone())).unwrap();
        let with = |gas| {
            let transaction = Tx { gas, ..Tx::call(1, 0, contract, input.clone()) };
            execute(&world, &SPEC, &env(), &recovered(&[transaction])).is_ok_and(|o| o.receipts[0].status())
        };
        prop_assert!(with(gas), "estimate {gas} fails");
        let less = gas - gas * 15 / 1_000 - 1;
        prop_assert!(!with(less), "{less} succeeds, estimate was {gas}");
    }
}
