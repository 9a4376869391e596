//! Traces of transactions that ran and of calls that nobody sent, and what they may cost.

use crate::{code, world::*};
use alloy_rpc_types_trace::{
    geth::{DefaultFrame, GethDebugTracingOptions, GethTrace, PreStateFrame},
    otterscan::OperationType,
    parity::{Action, Delta, TraceType},
};
use keystead_execution::{
    CallRequest, CallSite, CallStatus, Error, ExecutedBlock, InvalidTransaction, Overrides, ParityCall, TraceError,
    TraceLimits, access_list, execute, internal_operations, parity_call, parity_results, parity_traces, trace_call,
    trace_transactions,
};
use keystead_types::{Address, B256, Recovered, U256};
use serde_json::{Value, json};

const LIMITS: TraceLimits<'static> = TraceLimits { steps_max: 10_000_000, bytes_max: 64 << 20, stop: &|| false };
const GAS_CAP: u64 = 30_000_000;
const HASH: B256 = B256::repeat_byte(0xb1);

/// A world of small contracts.
fn world() -> World {
    let mut world = World::with_system_contracts();
    let contracts: [(u8, &[u8]); 8] = [
        (0xc0, code::STORE),
        (0xc1, code::LOG),
        (0xc2, code::REVERT),
        (0xc3, code::LOOP),
        (0xc4, code::RECURSE),
        (0xc5, code::HOARD),
        (0xc6, code::FILL),
        (0xc7, code::SHOUT),
    ];
    for (seed, runtime) in contracts {
        world.contract(user(seed), runtime);
    }
    world.contract(user(0xc8), &code::forward(user(0xc1)));
    world.contract(user(0xc9), code::LISTEN);
    world.contract(user(0xca), code::FACTORY);
    world
}

fn block<'a>(world: &'a World, transactions: &'a [Recovered]) -> ExecutedBlock<'a> {
    ExecutedBlock { view: world, spec: &SPEC, env: env(), hash: HASH, transactions }
}

fn options(json: Value) -> GethDebugTracingOptions {
    serde_json::from_value(json).unwrap()
}

fn one(world: &World, transaction: Tx, json: Value, limits: &TraceLimits<'_>) -> Result<GethTrace, TraceError> {
    let transactions = recovered(&[transaction]);
    let traces = trace_transactions(&block(world, &transactions), 0..1, &options(json), limits)?;
    Ok(traces.into_iter().next().unwrap())
}

fn steps(world: &World, transaction: Tx, json: Value) -> DefaultFrame {
    match one(world, transaction, json, &LIMITS).unwrap() {
        GethTrace::Default(frame) => frame,
        other => panic!("{other:?}"),
    }
}

fn json(trace: &GethTrace) -> Value {
    serde_json::to_value(trace).unwrap()
}

#[test]
fn every_transaction_of_a_block_runs_again_as_it_ran() {
    let world = world();
    let transactions = recovered(&[
        Tx::call(1, 0, user(0xc0), words(&[U256::from(7), U256::from(8)])),
        Tx::transfer(2, 0, user(0xdd), 5),
        Tx::call(1, 1, user(0xc2), vec![]),
        Tx::create(1, 2, code::deploy(code::STORE)),
        Tx::call(1, 3, user(1).create(2), words(&[U256::from(1), U256::from(2)])),
    ]);
    let outcome = execute(&world, &SPEC, &env(), &transactions).unwrap();
    let block = block(&world, &transactions);
    let traces = trace_transactions(&block, 0..5, &options(json!({ "tracer": "callTracer" })), &LIMITS).unwrap();
    let mut gas_before = 0;
    for (index, (trace, receipt)) in traces.iter().zip(&outcome.receipts).enumerate() {
        let GethTrace::CallTracer(frame) = trace else { panic!("{trace:?}") };
        let gas_used = receipt.cumulative_gas_used() - gas_before;
        gas_before = receipt.cumulative_gas_used();
        assert_eq!(frame.gas_used, U256::from(gas_used), "transaction {index}");
        assert_eq!(frame.error.is_none(), receipt.status(), "transaction {index}");
        // One alone, after the others ran unwatched, is traced as within the whole block.
        let alone =
            trace_transactions(&block, index..index + 1, &options(json!({ "tracer": "callTracer" })), &LIMITS).unwrap();
        assert_eq!(&alone[0], trace);
    }
}

#[test]
fn a_transaction_that_is_not_there_or_does_not_run_is_named() {
    let world = world();
    let transactions = recovered(&[Tx::transfer(1, 0, user(2), 1), Tx::transfer(1, 7, user(2), 1)]);
    let block = block(&world, &transactions);
    let plain = options(json!({}));
    assert!(matches!(
        trace_transactions(&block, 2..3, &plain, &LIMITS),
        Err(TraceError::Execution(Error::Transaction { index: 1, .. }))
    ));
    assert!(matches!(
        trace_transactions(&block, 1..2, &plain, &LIMITS),
        Err(TraceError::Execution(Error::Transaction { index: 1, .. }))
    ));
    let block = ExecutedBlock { transactions: &transactions[..1], ..block };
    assert!(matches!(
        trace_transactions(&block, 1..2, &plain, &LIMITS),
        Err(TraceError::NoTransaction { index: 1, count: 1 })
    ));
}

#[test]
fn the_step_tracer_shows_what_its_options_ask_for() {
    let mut world = world();
    let call = || Tx::call(1, 0, user(0xc0), words(&[U256::from(7), U256::from(8)]));
    let frame = steps(&world, call(), json!({}));
    let ops: Vec<_> = frame.struct_logs.iter().map(|step| step.op.as_ref()).collect();
    assert_eq!(ops, ["PUSH1", "CALLDATALOAD", "PUSH0", "CALLDATALOAD", "SSTORE", "STOP"]);
    let store = &frame.struct_logs[4];
    assert_eq!(store.stack.as_deref(), Some(&[U256::from(8), U256::from(7)][..]));
    assert!(store.storage.is_some() && store.memory.is_none() && store.return_data.is_none());
    assert!(!frame.failed && frame.gas > 21_000);
    let bare = steps(&world, call(), json!({ "disableStack": true, "disableStorage": true, "limit": 2 }));
    assert_eq!(bare.struct_logs.len(), 2);
    assert!(bare.struct_logs.iter().all(|step| step.stack.is_none() && step.storage.is_none()));
    let full = steps(
        &world,
        Tx::call(1, 0, user(0xc2), vec![]),
        json!({ "enableMemory": true, "enableReturnData": true, "tracer": "" }),
    );
    let revert = full.struct_logs.last().unwrap();
    assert_eq!((revert.op.as_ref(), full.failed), ("REVERT", true));
    assert!(revert.memory.is_some() && revert.return_data.is_none() && revert.refund_counter.is_none());
    assert_eq!(full.return_value, words(&[U256::from(42)]));
    // What a call returned is shown from the next step on.
    let caller = [&[0x5f; 5][..], &[0x73], user(0xc2).as_slice(), &[0x5a, 0xf1, 0x00]].concat();
    world.contract(user(0xca), &caller);
    let calling = steps(&world, Tx::call(1, 0, user(0xca), vec![]), json!({ "enableReturnData": true }));
    let last = calling.struct_logs.last().unwrap();
    assert_eq!((last.op.as_ref(), &last.return_data), ("STOP", &Some(words(&[U256::from(42)]))));
    assert!(calling.struct_logs[0].return_data.is_none());
}

#[test]
fn the_call_tracer_shows_the_tree_and_its_logs() {
    let world = world();
    let call = || Tx::call(1, 0, user(0xc8), words(&[U256::from(9)]));
    let with = |config: Value| {
        json(&one(&world, call(), json!({ "tracer": "callTracer", "tracerConfig": config }), &LIMITS).unwrap())
    };
    let tree = with(json!({ "withLog": true }));
    assert_eq!((&tree["type"], &tree["from"], &tree["to"]), (&json!("CALL"), &json!(user(1)), &json!(user(0xc8))));
    let inner = &tree["calls"][0];
    assert_eq!((&inner["from"], &inner["to"]), (&json!(user(0xc8)), &json!(user(0xc1))));
    assert_eq!(inner["logs"][0]["topics"], json!([B256::with_last_byte(42)]));
    assert_eq!(with(json!({})).pointer("/calls/0/logs"), None);
    assert_eq!(with(json!({ "onlyTopCall": true })).get("calls"), None);
}

#[test]
fn the_prestate_tracer_shows_what_was_and_what_changed() {
    let mut world = world();
    world.storage.insert((user(0xc0), U256::from(7)), U256::from(3));
    let call = || Tx::call(1, 0, user(0xc0), words(&[U256::from(7), U256::from(8)]));
    let key = B256::with_last_byte(7);
    let trace = one(&world, call(), json!({ "tracer": "prestateTracer" }), &LIMITS).unwrap();
    let GethTrace::PreStateTracer(PreStateFrame::Default(before)) = trace else { panic!("{trace:?}") };
    assert_eq!(before.0[&user(0xc0)].storage[&key], B256::with_last_byte(3));
    assert_eq!(before.0[&user(0xc0)].code.as_ref().map(|code| code.as_ref()), Some(code::STORE));
    assert_eq!(before.0[&user(1)].balance, Some(world.balance(user(1))));
    let diff = json!({ "tracer": "prestateTracer", "tracerConfig": { "diffMode": true } });
    let trace = one(&world, call(), diff, &LIMITS).unwrap();
    let GethTrace::PreStateTracer(PreStateFrame::Diff(diff)) = trace else { panic!("{trace:?}") };
    assert_eq!(diff.pre[&user(0xc0)].storage[&key], B256::with_last_byte(3));
    assert_eq!(diff.post[&user(0xc0)].storage[&key], B256::with_last_byte(8));
    assert_eq!(diff.post[&user(1)].nonce, Some(1));
    assert!(diff.post.contains_key(&BENEFICIARY), "the tip changes a balance");
}

#[test]
fn the_other_tracers_answer_in_their_own_shapes() {
    let world = world();
    let with =
        |options: Value| json(&one(&world, Tx::call(1, 0, user(0xc8), words(&[U256::MAX])), options, &LIMITS).unwrap());
    assert_eq!(with(json!({ "tracer": "noopTracer" })), json!({}));
    assert_eq!(with(json!({ "tracer": "4byteTracer" })), json!({ "0xffffffff-28": 2 }));
    let flat = with(json!({ "tracer": "flatCallTracer" }));
    assert_eq!(flat.as_array().unwrap().len(), 2);
    assert_eq!((&flat[1]["traceAddress"], &flat[1]["blockHash"]), (&json!([0]), &json!(HASH)));
    let mux = with(json!({ "tracer": "muxTracer", "tracerConfig": {
        "callTracer": { "onlyTopCall": false }, "4byteTracer": null, "prestateTracer": { "diffMode": true } } }));
    assert_eq!(mux["4byteTracer"], json!({ "0xffffffff-28": 2 }));
    assert_eq!(mux["callTracer"]["calls"].as_array().unwrap().len(), 1);
    assert!(mux["prestateTracer"]["post"].is_object());
}

#[test]
fn an_unknown_tracer_or_a_wrong_configuration_is_refused_before_anything_runs() {
    let world = world();
    let with = |options: Value| {
        let error = one(&world, Tx::call(1, 0, user(0xc3), vec![]), options, &LIMITS).unwrap_err();
        let TraceError::Options(message) = error else { panic!("{error}") };
        message
    };
    let script = with(json!({ "tracer": "{ step: function(log) {}, result: function() { return 1 } }" }));
    assert!(script.starts_with("tracer not found") && script.contains("callTracer"), "{script}");
    assert!(with(json!({ "tracer": "fancyTracer" })).contains("fancyTracer"));
    with(json!({ "tracer": "callTracer", "tracerConfig": { "withLog": 7 } }));
    with(json!({ "tracer": "muxTracer", "tracerConfig": { "muxTracer": {} } }));
}

#[test]
fn endless_and_greedy_transactions_end_at_the_limits() {
    let world = world();
    let run = |to: u8, json: Value, limits: TraceLimits<'_>| {
        let input = words(&[user(0xc7).into_word().into()]);
        one(&world, Tx { gas: 16_000_000, ..Tx::call(1, 0, user(to), input) }, json, &limits).unwrap_err()
    };
    let everything = json!({ "enableMemory": true, "enableReturnData": true });
    let few_steps = TraceLimits { steps_max: 1_000, ..LIMITS };
    let few_bytes = TraceLimits { bytes_max: 1 << 20, ..LIMITS };
    let stopped = TraceLimits { stop: &|| true, ..LIMITS };
    for tracer in ["callTracer", "prestateTracer", "4byteTracer", "noopTracer", "flatCallTracer"] {
        let error = run(0xc3, json!({ "tracer": tracer }), few_steps);
        assert!(matches!(error, TraceError::TooManySteps { max: 1_000 }), "{tracer}: {error}");
    }
    for contract in [0xc3, 0xc5, 0xc6, 0xc9] {
        assert!(matches!(run(contract, everything.clone(), few_bytes), TraceError::TooLarge { max_bytes: 1_048_576 }));
        assert!(matches!(run(contract, everything.clone(), stopped), TraceError::Stopped));
    }
    // 64 KiB come back from each of many calls.
    assert!(matches!(run(0xc9, json!({ "tracer": "callTracer" }), few_bytes), TraceError::TooLarge { .. }));
    // A tracer that holds nothing is not bounded by what it would hold.
    let silent = Tx { gas: 16_000_000, ..Tx::call(1, 0, user(0xc9), words(&[user(0xc7).into_word().into()])) };
    assert!(one(&world, silent, json!({ "tracer": "noopTracer" }), &TraceLimits { bytes_max: 0, ..LIMITS }).is_ok());
    // Snapshots of a growing storage grow with its square: bounded although the steps are few.
    let storage = json!({ "disableStack": true });
    let transaction = Tx { gas: 16_000_000, ..Tx::call(1, 0, user(0xc6), vec![]) };
    assert!(one(&world, transaction, storage, &LIMITS).is_ok());
}

#[test]
fn the_stop_is_seen_in_the_middle_of_a_loop() {
    let world = world();
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let stop = || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 20;
    let limits = TraceLimits { stop: &stop, ..LIMITS };
    let call = Tx { gas: 16_000_000, ..Tx::call(1, 0, user(0xc3), vec![]) };
    let error = one(&world, call, json!({ "tracer": "callTracer" }), &limits).unwrap_err();
    assert!(matches!(error, TraceError::Stopped), "{error}");
    assert_eq!(asked.into_inner(), 22);
}

#[test]
fn the_deepest_tree_of_calls_is_traced_in_all_shapes() {
    let world = world();
    let call = || Tx { gas: 16_000_000, ..Tx::call(1, 0, user(0xc4), vec![]) };
    let trace = one(&world, call(), json!({ "tracer": "callTracer" }), &LIMITS).unwrap();
    let GethTrace::CallTracer(frame) = trace else { panic!("{trace:?}") };
    let (mut depth, mut at) = (0, &frame);
    while let Some(inner) = at.calls.first() {
        (depth, at) = (depth + 1, inner);
    }
    assert!(depth > 100, "depth={depth}");
    let transactions = recovered(&[call()]);
    let lists = parity_traces(&block(&world, &transactions), 0..1, &LIMITS).unwrap();
    assert_eq!(lists[0].len(), depth + 1);
    assert_eq!(lists[0].last().unwrap().trace.trace_address.len(), depth);
}

fn call_to(seed: u8, input: impl Into<keystead_types::Bytes>) -> CallRequest {
    CallRequest { from: user(1), to: Some(user(seed)), input: input.into(), ..CallRequest::default() }
}

#[test]
fn a_call_is_traced_after_a_block_or_between_its_transactions() {
    let world = world();
    let transactions = recovered(&[
        Tx::call(1, 0, user(0xc0), words(&[U256::from(7), U256::from(8)])),
        Tx::call(1, 1, user(0xc0), words(&[U256::from(7), U256::from(9)])),
    ]);
    let block = block(&world, &transactions);
    let diff = options(json!({ "tracer": "prestateTracer", "tracerConfig": { "diffMode": true } }));
    let was = |site: CallSite<'_>| {
        let request = call_to(0xc0, words(&[U256::from(7), U256::from(1)]));
        let trace = trace_call(&site, &Overrides::default(), request, GAS_CAP, &diff, &LIMITS).unwrap();
        let GethTrace::PreStateTracer(PreStateFrame::Diff(diff)) = trace else { panic!("{trace:?}") };
        diff.pre[&user(0xc0)].storage.get(&B256::with_last_byte(7)).copied()
    };
    assert_eq!(was(CallSite::After(block)), None);
    assert_eq!(was(CallSite::Within(block, 0)), None);
    assert_eq!(was(CallSite::Within(block, 1)), Some(B256::with_last_byte(8)));
    assert_eq!(was(CallSite::Within(block, 2)), Some(B256::with_last_byte(9)));
    let error =
        trace_call(&CallSite::Within(block, 3), &Overrides::default(), call_to(0xc0, vec![]), GAS_CAP, &diff, &LIMITS);
    assert!(matches!(error, Err(TraceError::NoTransaction { index: 2, count: 2 })));
    let poor = CallRequest { value: U256::MAX, ..call_to(0xc0, vec![]) };
    let error = trace_call(&CallSite::After(block), &Overrides::default(), poor, GAS_CAP, &diff, &LIMITS);
    assert!(matches!(error, Err(TraceError::Execution(Error::Request(InvalidTransaction::InsufficientFunds { .. })))));
}

#[test]
fn parity_shapes_hold_calls_instructions_and_differences() {
    let world = world();
    let transactions = recovered(&[
        Tx::transfer(2, 0, user(0xdd), 5),
        Tx::call(1, 0, user(0xc8), words(&[U256::from(9)])),
        Tx::call(1, 1, user(0xc0), words(&[U256::from(7), U256::from(8)])),
    ]);
    let block = block(&world, &transactions);
    let lists = parity_traces(&block, 0..3, &LIMITS).unwrap();
    assert_eq!(lists.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 1]);
    let inner = &lists[1][1];
    assert_eq!((inner.transaction_position, inner.block_hash, inner.block_number), (Some(1), Some(HASH), Some(100)));
    let Action::Call(action) = &inner.trace.action else { panic!("{inner:?}") };
    assert_eq!((action.from, action.to), (user(0xc8), user(0xc1)));

    let types = [TraceType::Trace, TraceType::VmTrace, TraceType::StateDiff].into_iter().collect();
    let results = parity_results(&block, 2..3, &types, &LIMITS).unwrap();
    let ops: Vec<_> = results[0].vm_trace.as_ref().unwrap().ops.iter().map(|op| op.op.clone().unwrap()).collect();
    assert_eq!(ops, ["PUSH1", "CALLDATALOAD", "PUSH0", "CALLDATALOAD", "SSTORE", "STOP"]);
    let diff = &results[0].state_diff.as_ref().unwrap().0;
    let slot = &diff[&user(0xc0)].storage[&B256::with_last_byte(7)];
    assert!(matches!(slot, Delta::Changed(change) if change.to == B256::with_last_byte(8)), "{slot:?}");
    assert!(diff.contains_key(&user(1)) && results[0].trace.len() == 1);
    let none = parity_results(&block, 2..3, &[TraceType::Trace].into_iter().collect(), &LIMITS).unwrap();
    assert!(none[0].vm_trace.is_none() && none[0].state_diff.is_none());
}

#[test]
fn calls_of_one_request_build_on_each_other() {
    let world = world();
    let calls: Vec<_> = [8_u64, 9]
        .map(|value| ParityCall {
            request: call_to(0xc0, words(&[U256::from(7), U256::from(value)])),
            types: [TraceType::StateDiff].into_iter().collect(),
        })
        .into();
    let results =
        parity_call(&CallSite::After(block(&world, &[])), &Overrides::default(), calls, GAS_CAP, &LIMITS).unwrap();
    let slot = |index: usize| {
        results[index].state_diff.as_ref().unwrap().0[&user(0xc0)].storage[&B256::with_last_byte(7)].clone()
    };
    assert!(matches!(slot(0), Delta::Changed(change) if change.from.is_zero()));
    assert!(matches!(slot(1), Delta::Changed(change) if change.from == B256::with_last_byte(8)));
}

#[test]
fn internal_operations_name_what_moved_and_what_was_made() {
    let world = world();
    let transactions = recovered(&[
        Tx { value: 5, ..Tx::call(1, 0, user(0xca), code::deploy(code::STORE)) },
        Tx::transfer(1, 1, user(2), 1),
    ]);
    let block = block(&world, &transactions);
    let lists = internal_operations(&block, 0..2, &LIMITS).unwrap();
    let operations = &lists[0];
    assert_eq!((lists.len(), operations.len()), (2, 1));
    assert_eq!((operations[0].r#type, operations[0].from), (OperationType::OpCreate2, user(0xca)));
    assert_eq!(operations[0].value, U256::from(5));
    assert!(lists[1].is_empty());
}

#[test]
fn an_access_list_names_what_is_touched_and_makes_it_cheaper_or_equal() {
    let world = world();
    let site = CallSite::After(block(&world, &[]));
    let list = |request: CallRequest| access_list(&site, &Overrides::default(), request, GAS_CAP, &LIMITS).unwrap();
    let direct = list(call_to(0xc0, words(&[U256::from(7), U256::from(8)])));
    assert_eq!(direct.access_list.0.len(), 1);
    assert_eq!((direct.access_list.0[0].address, direct.status), (user(0xc0), CallStatus::Success));
    assert_eq!(direct.access_list.0[0].storage_keys, [B256::with_last_byte(7)]);
    let through = list(call_to(0xc8, words(&[U256::from(9)])));
    assert_eq!(through.access_list.0.iter().map(|item| item.address).collect::<Vec<_>>(), [user(0xc1)]);
    let reverted = list(call_to(0xc2, vec![]));
    assert_eq!((reverted.status, reverted.output), (CallStatus::Reverted, words(&[U256::from(42)])));
    let stopped = TraceLimits { stop: &|| true, ..LIMITS };
    let error = access_list(&site, &Overrides::default(), call_to(0xc3, vec![]), GAS_CAP, &stopped).unwrap_err();
    assert!(matches!(error, TraceError::Stopped));
    assert_eq!(Address::ZERO, CallRequest::default().from);
}
