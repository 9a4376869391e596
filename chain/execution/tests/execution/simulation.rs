//! Blocks of calls that never were: places, defaults, state that is carried on, and their bounds.
//!
//! The cases of the official suite are compared where they are rendered: chain/rpc/src/methods/eth/simulate.rs.

use crate::{code, world::*};
use alloy_consensus::{Header, Transaction as _, Typed2718 as _};
use alloy_rpc_types_eth::state::AccountOverride;
use keystead_execution::{
    BlockRequest, CallPrice, CallRequest, CallStatus, HeaderStyle, InvalidTransaction, SimulateError, SimulateOptions,
    SimulatedBlock, SimulatedCall, TraceError, TraceLimits, simulate,
};
use keystead_types::{Address, B256, Bytes, ChainSpec, ChangeSet, Fork, Forks, U256};

const LIMITS: TraceLimits<'static> = TraceLimits { steps_max: 50_000_000, bytes_max: 64 << 20, stop: &|| false };
const OPTIONS: SimulateOptions =
    SimulateOptions { validation: false, trace_transfers: false, gas_max: 50_000_000, style: HeaderStyle::Keystead };

fn base() -> Header {
    Header {
        number: 100,
        timestamp: 1_700_000_000,
        gas_limit: SPEC.gas_limit,
        base_fee_per_gas: Some(BASE_FEE),
        beneficiary: BENEFICIARY,
        extra_data: Bytes::copy_from_slice(&1_700_000_000_999_u64.to_be_bytes()),
        ..Header::default()
    }
}

fn run(
    world: &World,
    blocks: Vec<BlockRequest>,
    options: SimulateOptions,
) -> Result<Vec<SimulatedBlock>, SimulateError> {
    // Counts instead of hashing: that each block asks once, with all changes so far.
    let mut asked = 0;
    let mut root = |_: ChangeSet| {
        asked += 1;
        Ok(B256::with_last_byte(asked))
    };
    simulate(world, &SPEC, &base(), blocks, &options, &mut root, &LIMITS)
}

fn call(from: u8, to: Address, input: impl Into<Bytes>) -> SimulatedCall {
    let request = CallRequest { from: user(from), to: Some(to), input: input.into(), ..CallRequest::default() };
    SimulatedCall { request, ..SimulatedCall::default() }
}

fn block(calls: Vec<SimulatedCall>) -> BlockRequest {
    BlockRequest { calls, ..BlockRequest::default() }
}

#[test]
fn headers_are_those_of_the_chain_and_link() {
    let world = World::with_system_contracts();
    let blocks = run(&world, vec![block(vec![call(1, user(2), vec![])]), block(vec![])], OPTIONS).unwrap();
    let (first, second) = (&blocks[0].header, &blocks[1].header);
    assert_eq!((first.number, first.parent_hash), (101, base().hash_slow()));
    assert_eq!((second.number, second.parent_hash), (102, first.hash_slow()));
    // Keystead: a second later, and strictly later in milliseconds than a parent in the last one of its second.
    assert_eq!((first.timestamp, second.timestamp), (1_700_000_001, 1_700_000_002));
    assert_eq!(first.extra_data.as_ref(), 1_700_000_001_000_u64.to_be_bytes());
    assert_eq!((first.beneficiary, first.gas_limit, first.base_fee_per_gas), (BENEFICIARY, SPEC.gas_limit, Some(0)));
    assert_eq!((first.gas_used, second.gas_used), (21_000, 0));
    assert_eq!((first.state_root, second.state_root), (B256::with_last_byte(1), B256::with_last_byte(2)));
    let ethereum = SimulateOptions { style: HeaderStyle::Ethereum, validation: true, ..OPTIONS };
    let blocks = run(&world, vec![block(vec![])], ethereum).unwrap();
    let header = &blocks[0].header;
    assert_eq!((header.timestamp, header.extra_data.len()), (1_700_000_012, 0));
    assert_eq!(header.base_fee_per_gas, Some(SPEC.next_base_fee(&base())));
}

#[test]
fn what_a_block_does_is_there_in_the_next() {
    let mut world = World::with_system_contracts();
    world.contract(user(0xc0), code::STORE);
    world.contract(user(0xc1), code::BLOCK_HASH);
    let store = |value: u64| call(1, user(0xc0), words(&[U256::from(7), U256::from(value)]));
    let mut read =
        block(vec![call(1, user(0xc0), words(&[U256::from(7)])), call(2, user(0xc1), words(&[U256::from(101)]))]);
    // SLOAD, returned
    let load = vec![0x5f, 0x35, 0x54, 0x5f, 0x52, 0x60, 0x20, 0x5f, 0xf3];
    read.overrides.state.insert(user(0xc0), AccountOverride::default().with_code(load));
    let blocks = run(&world, vec![block(vec![store(8), store(9)]), read], OPTIONS).unwrap();
    let results = &blocks[1].results;
    assert_eq!(results[0].output, words(&[U256::from(9)]));
    assert_eq!(results[1].output.as_ref(), blocks[0].header.hash_slow().as_slice());
    // Nonces follow each other over blocks.
    let nonces: Vec<_> = blocks.iter().flat_map(|it| &it.transactions).map(|it| it.nonce()).collect();
    assert_eq!(nonces, [0, 1, 2, 0]);
}

#[test]
fn logs_are_counted_and_transfers_are_shown_only_if_asked() {
    let mut world = World::with_system_contracts();
    world.contract(user(0xc1), code::LOG);
    world.contract(user(0xc2), code::REVERT);
    let pay = |to: u8| {
        let mut call = call(1, user(to), words(&[U256::from(1)]));
        call.request.value = U256::from(5);
        call
    };
    let blocks = || vec![block(vec![pay(0xc1), pay(0xc2), pay(0xdd), pay(0xc1)])];
    let plain = run(&world, blocks(), OPTIONS).unwrap().remove(0);
    let indices = |block: &SimulatedBlock| -> Vec<Vec<u64>> {
        block.results.iter().map(|result| result.logs.iter().map(|(index, _)| *index).collect()).collect()
    };
    assert_eq!(indices(&plain), [vec![0], vec![], vec![], vec![1]]);
    let traced = run(&world, blocks(), SimulateOptions { trace_transfers: true, ..OPTIONS }).unwrap().remove(0);
    // The transfer that was undone takes an index with it.
    assert_eq!(indices(&traced), [vec![0, 1], vec![], vec![3], vec![4, 5]]);
    let (_, transfer) = &traced.results[2].logs[0];
    assert_eq!(transfer.topics()[1..], [user(1).into_word(), user(0xdd).into_word()]);
    assert_eq!(transfer.data.data, words(&[U256::from(5)]));
    // Receipts and bloom know nothing of it.
    assert_eq!(traced.header.logs_bloom, plain.header.logs_bloom);
    assert_eq!(traced.header.receipts_root, plain.header.receipts_root);
    assert_eq!(plain.results[1].status, CallStatus::Reverted);
}

#[test]
fn validation_checks_nonces_and_fees_and_nothing_else_does() {
    let world = World::with_system_contracts();
    let validated = SimulateOptions { validation: true, ..OPTIONS };
    let with = |nonce: Option<u64>, price: CallPrice, gas: Option<u64>, options: SimulateOptions| {
        let mut call = call(1, user(2), vec![]);
        (call.nonce, call.request.price, call.request.gas) = (nonce, price, gas);
        run(&world, vec![block(vec![call])], options)
    };
    let paid = CallPrice::Dynamic { max_fee: MAX_FEE, max_priority_fee: TIP };
    let refused = |result: Result<Vec<SimulatedBlock>, SimulateError>| match result {
        Err(SimulateError::Call { refused, .. }) => *refused,
        other => panic!("{other:?}"),
    };
    assert!(with(Some(0), paid, None, validated).is_ok());
    assert!(matches!(refused(with(None, CallPrice::Free, None, validated)), InvalidTransaction::FeeBelowBase { .. }));
    assert!(matches!(refused(with(Some(1), paid, None, validated)), InvalidTransaction::NonceTooHigh { .. }));
    assert!(with(Some(1), CallPrice::Free, None, OPTIONS).is_ok());
    assert!(matches!(
        refused(with(None, CallPrice::Free, Some(20_999), OPTIONS)),
        InvalidTransaction::IntrinsicGas { .. }
    ));
    let mut rich = call(0x70, user(2), vec![]);
    rich.request.value = U256::from(1);
    assert!(matches!(
        refused(run(&world, vec![block(vec![rich])], OPTIONS)),
        InvalidTransaction::InsufficientFunds { .. }
    ));
    let mut blob = call(1, user(2), vec![]);
    blob.request.blob_hashes = vec![B256::repeat_byte(1)];
    assert!(matches!(
        refused(run(&world, vec![block(vec![blob])], OPTIONS)),
        InvalidTransaction::TypeNotSupported { kind: 3 }
    ));
}

#[test]
fn a_call_with_a_gas_price_is_a_transaction_of_type_0_with_nine_fields() {
    let world = World::with_system_contracts();
    let mut priced = call(1, user(2), vec![]);
    priced.request.price = CallPrice::Legacy { gas_price: MAX_FEE };
    priced.request.gas = Some(21_000);
    let block = run(&world, vec![block(vec![priced])], OPTIONS).unwrap().remove(0);
    // nonce, price, gas, to, value, input, and a v, r and s of zero
    let mut fields = vec![0x80, 0x84, 0x77, 0x35, 0x94, 0x00, 0x82, 0x52, 0x08, 0x94];
    fields.extend(user(2));
    fields.extend([0x80; 5]);
    fields.insert(0, 0xc0 + fields.len() as u8);
    let transaction = &block.transactions[0];
    assert!(transaction.is_legacy());
    assert_eq!(*transaction.tx_hash(), alloy_primitives::keccak256(&fields));
    let root = alloy_consensus::proofs::ordered_trie_root_encoded(&[fields]);
    assert_eq!(block.header.transactions_root, root);
}

#[test]
fn gas_is_shared_by_the_block_and_by_the_request() {
    let mut world = World::with_system_contracts();
    world.contract(user(0xc3), code::LOOP);
    let mut small = block(vec![call(1, user(0xc3), vec![]), call(1, user(2), vec![])]);
    small.overrides.block.gas_limit = Some(100_000);
    // The first takes all that the block has.
    assert!(matches!(run(&world, vec![small], OPTIONS), Err(SimulateError::Call { gas_limit: 0, .. })));
    let mut greedy = call(1, user(2), vec![]);
    greedy.request.gas = Some(SPEC.gas_limit + 1);
    let error = run(&world, vec![block(vec![greedy])], OPTIONS).unwrap_err();
    assert!(matches!(error, SimulateError::BlockGas { left: 150_000_000, gas_limit: 150_000_001 }), "{error}");
    // The request's gas is gone after the first block.
    let poor = SimulateOptions { gas_max: 1_000_000, ..OPTIONS };
    let blocks = || vec![block(vec![call(1, user(0xc3), vec![])]), block(vec![call(1, user(2), vec![])])];
    assert!(matches!(run(&world, blocks(), poor), Err(SimulateError::Call { .. })));
    assert_eq!(run(&world, blocks(), SimulateOptions { gas_max: 1 << 40, ..OPTIONS }).unwrap().len(), 2);
}

#[test]
fn the_last_nonce_begins_again_unless_nonces_are_checked() {
    let world = World::with_system_contracts();
    let blocks = || {
        let mut last = block(vec![call(1, user(2), vec![]), call(1, user(2), vec![])]);
        last.overrides.state.insert(user(1), AccountOverride::default().with_nonce(u64::MAX));
        vec![last]
    };
    let block = run(&world, blocks(), OPTIONS).unwrap().remove(0);
    let nonces: Vec<_> = block.transactions.iter().map(|it| it.nonce()).collect();
    assert_eq!(nonces, [u64::MAX, 0]);
    let validated = SimulateOptions { validation: true, ..OPTIONS };
    assert!(matches!(run(&world, blocks(), validated), Err(SimulateError::Call { .. })));
}

#[test]
fn a_simulation_stops_when_it_is_told_to() {
    let mut world = World::with_system_contracts();
    world.contract(user(0xc3), code::LOOP);
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let stop = || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 10;
    let limits = TraceLimits { stop: &stop, ..LIMITS };
    let mut root = |_: ChangeSet| Ok(B256::ZERO);
    let blocks = vec![block(vec![call(1, user(0xc3), vec![])])];
    let error = simulate(&world, &SPEC, &base(), blocks, &OPTIONS, &mut root, &limits).unwrap_err();
    assert!(matches!(error, SimulateError::Run(TraceError::Stopped)), "{error}");
}

#[test]
fn a_simulated_block_under_proof_of_work_pays_its_beneficiary_and_one_after_it_does_not() {
    let paid = |fork| {
        let spec = ChainSpec::ethereum(1, 30_000_000, Forks::always(fork));
        let mut paid = None;
        let mut root = |changes: ChangeSet| {
            paid = changes.accounts.get(&BENEFICIARY).and_then(|change| change.account).map(|it| it.balance);
            Ok(B256::ZERO)
        };
        let blocks = vec![block(vec![]), block(vec![])];
        simulate(&World::default(), &spec, &base(), blocks, &OPTIONS, &mut root, &LIMITS).unwrap();
        paid
    };
    // Two ether for each of two blocks.
    assert_eq!(paid(Fork::London), Some(U256::from(4_000_000_000_000_000_000_u64)));
    assert_eq!(paid(Fork::Paris), None);
}
