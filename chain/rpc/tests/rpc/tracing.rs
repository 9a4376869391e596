//! `debug_trace*` and `trace_*`: shapes, places, and what hostile requests may cost.

use crate::{
    chain::{Chain, Person, Server, dynamic, raw, word},
    client::PATIENCE,
    code,
};
use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, Bytes, TxKind};
use keystead_rpc::ServerLimits;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Calls itself until calls or gas end.
const RECURSE: [u8; 9] = [0x5f, 0x5f, 0x5f, 0x5f, 0x5f, 0x30, 0x5a, 0xf1, 0x00];

/// Init code that deploys `runtime`.
fn deploy(runtime: &[u8]) -> Bytes {
    let length = runtime.len() as u8;
    let mut code = vec![0x60, length, 0x80, 0x60, 0x09, 0x5f, 0x39, 0x5f, 0xf3];
    code.extend(runtime);
    code.into()
}

/// Block 8 on top of the usual chain: a call that logs, one that reverts, a deployment; block 9 is empty.
fn traceable(limits: ServerLimits) -> Server {
    let server = Chain::full().serve(limits);
    let (alice, bob) = (Person::alice(), Person::bob());
    let create = TxEip1559 { to: TxKind::Create, input: deploy(&RECURSE), gas_limit: 500_000, ..dynamic(5) };
    server.chain.produce(vec![
        alice.invoke(4, Chain::contract(), word(9)),
        bob.invoke(3, Chain::contract(), word(0)),
        alice.sign(create),
    ]);
    server.chain.produce(Vec::new());
    server
}

fn hash(server: &Server, index: usize) -> B256 {
    *server.chain.store.block(8).unwrap().unwrap().transactions()[index].tx_hash()
}

fn recursive() -> Address {
    Person::alice().address.create(5)
}

#[test]
fn a_transaction_a_block_and_its_bytes_give_the_same_traces() {
    let server = traceable(ServerLimits::default());
    let client = server.client;
    let options = json!({ "tracer": "callTracer", "tracerConfig": { "withLog": true } });
    let by_number = client.call("debug_traceBlockByNumber", json!(["0x8", options]));
    let block = server.chain.store.block(8).unwrap().unwrap();
    assert_eq!(client.call("debug_traceBlockByHash", json!([block.hash(), options])), by_number);
    assert_eq!(client.call("debug_traceBlock", json!([Bytes::from(block.encode()), options])), by_number);
    let receipts = client.call("eth_getBlockReceipts", json!(["0x8"]));
    for index in 0..3 {
        let one = client.call("debug_traceTransaction", json!([hash(&server, index), options]));
        assert_eq!(by_number[index], json!({ "txHash": hash(&server, index), "result": one }));
        assert_eq!(one["gasUsed"], receipts[index]["gasUsed"], "{one}");
    }
    assert_eq!(by_number[0]["result"]["logs"][0]["topics"][0], json!(code::TOPIC));
    assert_eq!(by_number[1]["result"]["revertReason"], "zero is refused");
    assert_eq!(by_number[2]["result"]["type"], "CREATE");
    assert_eq!(client.call("debug_traceBlockByNumber", json!(["latest"])), json!([]));
}

#[test]
fn steps_have_geths_fields() {
    let server = traceable(ServerLimits::default());
    let trace = server.client.call("debug_traceTransaction", json!([hash(&server, 0), { "enableMemory": true }]));
    assert_eq!((&trace["failed"], &trace["returnValue"]), (&json!(false), &json!("0x")));
    let first = &trace["structLogs"][0];
    assert_eq!((&first["pc"], &first["op"], &first["depth"]), (&json!(0), &json!("CALLDATASIZE"), &json!(1)));
    assert_eq!(first["stack"], json!([]));
    let steps = trace["structLogs"].as_array().unwrap();
    assert!(steps.iter().any(|step| step["op"] == "SSTORE" && step["storage"].is_object()));
    let short = server.client.call(
        "debug_traceTransaction",
        json!([hash(&server, 0), { "disableStack": true, "disableStorage": true, "limit": 3 }]),
    );
    assert_eq!(short["structLogs"].as_array().unwrap().len(), 3);
    assert_eq!(short["structLogs"][2].get("stack"), None);
}

#[test]
fn what_cannot_be_traced_is_refused_with_the_blocks_that_can() {
    let server = traceable(ServerLimits::default());
    let fails = |method: &str, params: Value| server.client.fail(method, params);
    let at_8 = server.chain.store.block(8).unwrap().unwrap();
    let nothing = B256::with_last_byte(1);
    assert_eq!(fails("debug_traceTransaction", json!([nothing])), (-32000, "transaction not found".to_owned()));
    assert_eq!(fails("debug_traceBlockByHash", json!([nothing])).0, -32000);
    assert_eq!(fails("debug_traceBlockByNumber", json!(["0x99"])).0, -32000);
    assert_eq!(fails("debug_traceBlockByNumber", json!(["3"])).0, -32602);
    assert_eq!(fails("debug_traceBlockByNumber", json!(["0x0"])), (-32000, "genesis is not traceable".to_owned()));
    let (code, message) = fails("debug_traceBlockByNumber", json!(["0x3"]));
    assert_eq!(code, -32000);
    assert_eq!(message, "block 3 cannot be traced: this node has the states for blocks 7 to 9");
    let (code, message) = fails("debug_traceTransaction", json!([hash(&server, 0), { "tracer": "{step: 1}" }]));
    assert!(code == -32602 && message.starts_with("tracer not found") && message.contains("callTracer"), "{message}");
    for options in [json!(7), json!({ "limit": "x" }), json!({ "tracer": "callTracer", "tracerConfig": [1] })] {
        assert_eq!(fails("debug_traceTransaction", json!([hash(&server, 0), options])).0, -32602, "{options}");
    }
    let long = json!({ "limit": "x".repeat(100_000) });
    assert!(fails("debug_traceTransaction", json!([hash(&server, 0), long])).1.len() < 500);
    for bytes in ["0x", "0xc0", "0x00", "0xf9ffff"] {
        assert_eq!(fails("debug_traceBlock", json!([bytes])).0, -32602, "{bytes}");
    }
    // A block of the caller's own: the transactions of block 8 on the wrong parent, block 8 itself.
    let own = alloy_consensus::Header { number: 9, parent_hash: at_8.hash(), ..at_8.header().clone() };
    let body = alloy_consensus::BlockBody { transactions: at_8.transactions().to_vec(), ..Default::default() };
    let own = alloy_rlp::encode(alloy_consensus::Block { header: own, body });
    let (code, message) = fails("debug_traceBlock", json!([Bytes::from(own)]));
    assert!(code == -32602 && message.contains("nonce too low"), "{message}");
    assert_eq!(fails("trace_replayTransaction", json!([nothing, ["trace"]])).0, -32000);
    assert_eq!(fails("trace_replayTransaction", json!([hash(&server, 0), ["traces"]])).0, -32602);
    assert_eq!(server.client.call("trace_transaction", json!([nothing])), Value::Null);
}

#[test]
fn a_call_is_traced_with_overrides_and_within_a_block() {
    let server = traceable(ServerLimits::default());
    let (client, contract) = (server.client, Chain::contract().to_string());
    let tree = client.call("debug_traceCall", json!([{ "to": contract }, "latest", { "tracer": "callTracer" }]));
    assert_eq!(tree["output"], json!(B256::with_last_byte(9)));
    let with = |more: Value| {
        let mut options = json!({ "tracer": "callTracer" });
        options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        client.call("debug_traceCall", json!([{ "to": contract }, "0x8", options]))["output"].clone()
    };
    assert_eq!(with(json!({ "txIndex": "0x0" })), json!(B256::with_last_byte(8)));
    assert_eq!(with(json!({ "txIndex": "0x1" })), json!(B256::with_last_byte(9)));
    assert_eq!(with(json!({ "stateOverrides": { (contract.as_str()): { "state": {} } } })), json!(B256::ZERO));
    let number = json!({ "stateOverrides": { (contract.as_str()): { "code": "0x435f5260205ff3" } },
        "blockOverrides": { "number": "0x77" } });
    assert_eq!(with(number), json!(B256::with_last_byte(0x77)));
    let (code, message) = client
        .fail("debug_traceCall", json!([{ "to": contract, "value": "0x1" }, "latest", { "tracer": "callTracer" }]));
    assert!(code == -32000 && message.starts_with("insufficient funds"), "{message}");
}

#[test]
fn parity_traces_agree_with_each_other() {
    let server = traceable(ServerLimits::default());
    let client = server.client;
    let block = client.call("trace_block", json!(["0x8"]));
    assert_eq!(block.as_array().unwrap().len(), 3);
    for index in 0..3 {
        let one = client.call("trace_transaction", json!([hash(&server, index)]));
        assert_eq!(one, json!([block[index]]));
        assert_eq!(client.call("trace_get", json!([hash(&server, index), []])), block[index]);
        assert_eq!(client.call("trace_get", json!([hash(&server, index), ["0x0"]])), Value::Null);
    }
    assert_eq!(block[1]["error"], "Reverted");
    assert_eq!(client.call("trace_block", json!(["0x0"])), json!([]));
    assert_eq!(client.call("trace_block", json!(["0x99"])), Value::Null);
    let types = json!(["trace", "vmTrace", "stateDiff"]);
    let all = client.call("trace_replayBlockTransactions", json!(["0x8", types]));
    for index in 0..3 {
        let mut one = client.call("trace_replayTransaction", json!([hash(&server, index), types]));
        assert!(one["vmTrace"]["ops"].is_array() && one["stateDiff"].is_object());
        one["transactionHash"] = json!(hash(&server, index));
        assert_eq!(all[index], one);
    }
    let diff = &all[0]["stateDiff"][Chain::contract().to_string().to_lowercase()]["storage"][B256::ZERO.to_string()];
    assert_eq!(diff["*"], json!({ "from": B256::with_last_byte(8), "to": B256::with_last_byte(9) }));
}

#[test]
fn a_filter_finds_by_caller_and_callee_and_is_bounded() {
    let server = traceable(ServerLimits { trace_blocks_max: 3, ..ServerLimits::default() });
    let client = server.client;
    let (alice, contract) = (Person::alice().address, Chain::contract());
    let count = |filter: Value| client.call("trace_filter", json!([filter])).as_array().unwrap().len();
    let range = |more: Value| {
        let mut filter = json!({ "fromBlock": "0x7", "toBlock": "latest" });
        filter.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        filter
    };
    assert_eq!(count(range(json!({}))), 3);
    assert_eq!(count(range(json!({ "fromAddress": [alice] }))), 2);
    assert_eq!(count(range(json!({ "fromAddress": [alice], "toAddress": [contract] }))), 1);
    assert_eq!(count(range(json!({ "fromAddress": [alice], "toAddress": [contract], "mode": "union" }))), 3);
    assert_eq!(count(range(json!({ "after": 1, "count": 1 }))), 1);
    assert_eq!(count(range(json!({ "after": 3 }))), 0);
    assert_eq!(count(json!({})), 0);
    let (code, message) = client.fail("trace_filter", json!([{ "fromBlock": "0x6" }]));
    assert_eq!((code, message.as_str()), (-32005, "block range too large: got 4 blocks, limit 3"));
    assert_eq!(client.fail("trace_filter", json!([{ "fromBlock": "0x9", "toBlock": "0x8" }])).0, -32602);
    assert_eq!(client.fail("trace_filter", json!([{ "toBlock": "0x99" }])).0, -32602);
}

#[test]
fn calls_and_signed_transactions_are_traced_without_being_sent() {
    let server = traceable(ServerLimits::default());
    let (client, contract) = (server.client, Chain::contract());
    let one = client.call("trace_call", json!([{ "to": contract, "input": word(5) }, ["trace", "stateDiff"]]));
    assert_eq!(one["trace"][0]["action"]["to"], json!(contract));
    let many = client.call(
        "trace_callMany",
        json!([[[{ "to": contract, "input": word(5) }, ["trace"]], [{ "to": contract }, ["trace"]]], "latest"]),
    );
    assert_eq!(many[1]["output"], json!(B256::with_last_byte(5)));
    let signed = Person::alice().invoke(6, contract, word(6));
    let raw_trace = client.call("trace_rawTransaction", json!([raw(&signed), ["trace"]]));
    assert_eq!(raw_trace["trace"][0]["action"]["from"], json!(Person::alice().address));
    assert_eq!(client.call("eth_getTransactionByHash", json!([signed.tx_hash()])), Value::Null);
    assert_eq!(client.call("eth_call", json!([{ "to": contract }])), json!(B256::with_last_byte(9)));
    assert_eq!(client.fail("trace_rawTransaction", json!(["0x02", ["trace"]])).0, -32602);
    assert_eq!(client.fail("trace_callMany", json!([[[{}]]])).0, -32602);
}

#[test]
fn a_tree_as_deep_as_the_machine_allows_is_written_in_nested_shapes() {
    let server = traceable(ServerLimits { call_gas_max: 1_000_000_000_000, ..ServerLimits::default() });
    let client = server.client;
    let depth_of = |answer: &str, open: &str| answer.matches(open).count();
    let ask = |method: &str, params: Value| {
        client.post(json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string()).body
    };
    let call = json!({ "to": recursive() });
    let tree = ask("debug_traceCall", json!([call, "latest", { "tracer": "callTracer" }]));
    assert!(depth_of(&tree, "\"calls\":") >= 1_024, "{}", depth_of(&tree, "\"calls\":"));
    let machine = ask("trace_call", json!([call, ["vmTrace"], "latest"]));
    assert!(depth_of(&machine, "\"sub\":{") >= 1_024, "{}", depth_of(&machine, "\"sub\":{"));
}

/// A call of code that never ends, which its caller brings, in the parameters of a method.
fn endless(method: &str, options: &Value) -> Value {
    let to = Address::repeat_byte(0x99).to_string();
    let call = json!({ "to": to });
    // JUMPDEST PUSH0 JUMP
    let state = json!({ (to.as_str()): { "code": "0x5b5f56" } });
    match method {
        "debug_traceCall" => {
            let mut options = options.clone();
            options["stateOverrides"] = state;
            json!([call, "latest", options])
        }
        "trace_call" => json!([call, ["trace", "vmTrace", "stateDiff"], "latest", state]),
        "eth_createAccessList" => json!([call, "latest", state]),
        "eth_simulateV1" => {
            let gas = json!({ "gasLimit": "0xffffffffffff" });
            let block = json!({ "calls": [call], "stateOverrides": state, "blockOverrides": gas });
            json!([{ "blockStateCalls": [block] }])
        }
        other => panic!("{other}"),
    }
}

#[test]
fn traces_without_end_are_stopped_by_time() {
    let server = Chain::empty().serve(ServerLimits {
        call_gas_max: u64::MAX,
        trace_steps_max: u64::MAX,
        trace_bytes_max: u64::MAX,
        request_timeout: Duration::from_millis(100),
        workers_max: 1,
        ..ServerLimits::default()
    });
    for method in ["debug_traceCall", "eth_createAccessList", "eth_simulateV1"] {
        let tracer = json!({ "tracer": "callTracer" });
        assert_eq!(server.client.fail(method, endless(method, &tracer)).0, -32002, "{method}");
    }
    // The only worker is free again: the loops were stopped, not only given up.
    let started = Instant::now();
    while server.client.ask("eth_call", json!([{}]))["result"] != "0x" {
        assert!(started.elapsed() < PATIENCE, "a loop goes on");
    }
}

#[test]
fn traces_without_end_are_stopped_by_size_and_by_steps() {
    let everything = json!({ "enableMemory": true, "enableReturnData": true });
    let base = ServerLimits { call_gas_max: u64::MAX, ..ServerLimits::default() };
    let server = Chain::empty().serve(ServerLimits { trace_bytes_max: 1 << 20, ..base.clone() });
    for method in ["debug_traceCall", "trace_call"] {
        let (code, message) = server.client.fail(method, endless(method, &everything));
        assert!(code == -32005 && message.starts_with("trace too large"), "{method}: {message}");
    }
    let server = Chain::empty().serve(ServerLimits { trace_steps_max: 10_000, ..base });
    for method in ["debug_traceCall", "trace_call", "eth_createAccessList", "eth_simulateV1"] {
        let (code, message) = server.client.fail(method, endless(method, &everything));
        assert!(code == -32005 && message.starts_with("trace too long"), "{method}: {message}");
    }
    let narrow = ServerLimits { response_bytes_max: 10_000, call_gas_max: 50_000, ..ServerLimits::default() };
    let server = Chain::empty().serve(narrow);
    assert_eq!(server.client.fail("debug_traceCall", endless("debug_traceCall", &everything)).0, -32003);
}
