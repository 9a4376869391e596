//! Beacon values: where a node finds them, and that everything which runs a block again sees them as the block did.

use crate::chain::{Chain, Person, Server};
use alloy_primitives::{B256, Bytes, hex, keccak256};
use keystead_proof::{Verdict, verify};
use keystead_rpc::ServerLimits;
use keystead_types::{BEACON_ADDRESS, beacon_slot};
use serde_json::{Value, json};

fn server(chain: Chain) -> Server {
    chain.serve(ServerLimits::default())
}

fn calldata(height: u64) -> Bytes {
    [&keccak256("randomness(uint256)")[..4], B256::left_padding_from(&height.to_be_bytes()).as_slice()].concat().into()
}

fn value(server: &Server, height: u64) -> Value {
    server.client.call("keystead_getBeacon", json!([format!("{height:#x}")]))
}

#[test]
fn a_value_is_found_whatever_block_carries_it_and_proves_itself() {
    let chain = Chain::with_beacon();
    // Nothing for thirty blocks; then as much as fits, then what is left, with gaps between.
    (0..30).for_each(|_| chain.produce(Vec::new()));
    chain.produce_beacon(1, 16, Vec::new());
    (0..3).for_each(|_| chain.produce(Vec::new()));
    chain.produce_beacon(17, 14, Vec::new());
    chain.produce_beacon(31, 1, Vec::new());
    chain.produce_beacon(32, 4, Vec::new());
    let server = server(chain);
    for height in 1..=35 {
        let answer = value(&server, height);
        assert_eq!(answer["height"], format!("{height:#x}"));
        let report = verify(answer.to_string().as_bytes(), &server.chain.network_key(), 0, None);
        assert_eq!(report.verdict, Verdict::Proved, "{report}");
        let expected = server.chain.beacon(height);
        assert_eq!(answer["value"], hex::encode_prefixed(expected.0));
        let slot = format!("{:#x}", beacon_slot(height));
        let stored = server.client.call("eth_getStorageAt", json!([BEACON_ADDRESS, slot, "latest"]));
        assert_eq!(stored, answer["randomness"], "{height}");
    }
    assert_eq!(value(&server, 36), Value::Null);
    assert_eq!(value(&server, u64::MAX), Value::Null);
    let (code, message) = server.client.fail("keystead_getBeacon", json!(["0x0"]));
    assert!(code == -32_602 && message.contains("heights begin at 1"), "{message}");
}

#[test]
fn a_chain_without_the_contract_has_no_values() {
    assert_eq!(value(&Server::full(), 1), Value::Null);
}

#[test]
fn calls_and_traces_see_the_values_that_their_block_was_executed_with() {
    let chain = Chain::with_beacon();
    let alice = Person::alice();
    chain.produce(Vec::new());
    // Blocks 2 and 3 read what they themselves carry.
    chain.produce_beacon(1, 1, vec![alice.invoke(0, BEACON_ADDRESS, calldata(1))]);
    chain.produce_beacon(2, 1, vec![alice.invoke(1, BEACON_ADDRESS, calldata(2))]);
    let server = server(chain);
    for height in [1u64, 2] {
        let number = format!("{:#x}", height + 1);
        let randomness = json!(server.chain.beacon(height).randomness());
        let block = server.client.call("eth_getBlockByNumber", json!([number, false]));
        let hash = &block["transactions"][0];
        let receipt = server.client.call("eth_getTransactionReceipt", json!([hash]));
        assert_eq!(receipt["status"], "0x1");
        let tracer = json!({ "tracer": "callTracer" });
        let trace = server.client.call("debug_traceTransaction", json!([hash, tracer]));
        assert_eq!((&trace["output"], &trace["gasUsed"]), (&randomness, &receipt["gasUsed"]), "{trace}");
        let raw = server.client.call("debug_getRawBlock", json!([number]));
        let traces = server.client.call("debug_traceBlock", json!([raw, tracer]));
        assert_eq!(traces[0]["result"]["output"], randomness, "{traces}");
        let replayed = server.client.call("trace_replayBlockTransactions", json!([number, ["trace"]]));
        assert_eq!(replayed[0]["output"], randomness, "{replayed}");
        // The state after the block, and the one before it.
        let request = json!({ "to": BEACON_ADDRESS, "data": calldata(height) });
        assert_eq!(server.client.call("eth_call", json!([request, number])), randomness);
        let before = server.client.ask("eth_call", json!([request, format!("{height:#x}")]));
        let not_yet = hex::encode_prefixed(&keccak256("NotYet(uint256,uint256)")[..4]);
        assert!(before["error"]["data"].as_str().unwrap().starts_with(&not_yet), "{before}");
        let simulated =
            server.client.call("eth_simulateV1", json!([{ "blockStateCalls": [{ "calls": [request] }] }, number]));
        assert_eq!(simulated[0]["calls"][0]["returnData"], randomness, "{simulated}");
    }
}
