//! Blocks, transactions, receipts, accounts and fees, as snapshots reviewed against what geth answers.

use crate::{
    chain::{Chain, Person, Server},
    client::pretty,
};
use alloy_primitives::{Address, B256, U256, keccak256};
use serde_json::{Value, json};

/// Hash of the block at this height as JSON.
fn hash(server: &Server, number: u64) -> Value {
    json!(server.chain.store.block(number).unwrap().unwrap().hash())
}

/// Hash of a transaction as JSON.
fn transaction_hash(server: &Server, number: u64, index: usize) -> Value {
    json!(server.chain.store.block(number).unwrap().unwrap().transactions()[index].tx_hash())
}

#[test]
fn the_chain_and_the_node_introduce_themselves() {
    let server = Server::full();
    let client = server.client;
    let cases = [
        ("web3_clientVersion", json!([]), json!("keystead/v0.0.0-test")),
        ("web3_sha3", json!(["0x68656c6c6f"]), json!(keccak256("hello"))),
        ("net_version", json!([]), json!("19283")),
        ("net_listening", json!([]), json!(true)),
        ("net_peerCount", json!([]), json!("0x2")),
        ("eth_chainId", json!([]), json!("0x4b53")),
        ("eth_syncing", json!([]), json!(false)),
        ("eth_accounts", json!([]), json!([])),
        ("eth_blockNumber", json!([]), json!("0x7")),
    ];
    for (method, params, result) in cases {
        assert_eq!(client.call(method, params), result, "{method}");
    }
}

#[test]
fn blocks_are_shown_as_geth_shows_them() {
    let server = Server::full();
    let client = server.client;
    insta::assert_snapshot!("genesis_block", pretty(&client.call("eth_getBlockByNumber", json!(["earliest", true]))));
    insta::assert_snapshot!("block_with_hashes", pretty(&client.call("eth_getBlockByNumber", json!(["0x1", false]))));
    insta::assert_snapshot!("block_in_full", pretty(&client.call("eth_getBlockByNumber", json!(["0x1", true]))));
    let by_number = client.call("eth_getBlockByNumber", json!(["0x3", true]));
    assert_eq!(client.call("eth_getBlockByHash", json!([hash(&server, 3), true])), by_number);
    let latest = client.call("eth_getBlockByNumber", json!(["0x7"]));
    for tag in ["latest", "safe", "finalized"] {
        assert_eq!(client.call("eth_getBlockByNumber", json!([tag, false])), latest, "{tag}");
    }
    assert_eq!(client.call("eth_getBlockByNumber", json!(["0x8", false])), Value::Null);
    assert_eq!(client.call("eth_getBlockByHash", json!([B256::ZERO, true])), Value::Null);
    assert_eq!(client.fail("eth_getBlockByNumber", json!([hash(&server, 3), true])).0, -32602);
    assert_eq!(client.fail("eth_getBlockByNumber", json!(["0x1", "yes"])).0, -32602);
}

#[test]
fn transactions_are_shown_as_geth_shows_them() {
    let server = Server::full();
    let client = server.client;
    for (name, index) in [("legacy", 0), ("access_list", 1), ("dynamic_fee", 2)] {
        let shown = client.call("eth_getTransactionByHash", json!([transaction_hash(&server, 1, index)]));
        insta::assert_snapshot!(format!("transaction_{name}"), pretty(&shown));
        let place = format!("{index:#x}");
        assert_eq!(client.call("eth_getTransactionByBlockNumberAndIndex", json!(["0x1", place])), shown);
        assert_eq!(client.call("eth_getTransactionByBlockHashAndIndex", json!([hash(&server, 1), place])), shown);
        let block = client.call("eth_getBlockByNumber", json!(["0x1", true]));
        assert_eq!(block["transactions"][index], shown);
    }
    for (method, params) in [
        ("eth_getTransactionByHash", json!([B256::ZERO])),
        ("eth_getTransactionByBlockNumberAndIndex", json!(["0x1", "0x3"])),
        ("eth_getTransactionByBlockNumberAndIndex", json!(["0x1", "0xffffffffffffffff"])),
        ("eth_getTransactionByBlockNumberAndIndex", json!(["0x8", "0x0"])),
        ("eth_getTransactionByBlockHashAndIndex", json!([B256::ZERO, "0x0"])),
        ("eth_getTransactionReceipt", json!([B256::ZERO])),
    ] {
        assert_eq!(client.call(method, params), Value::Null, "{method}");
    }
}

#[test]
fn receipts_are_shown_as_geth_shows_them() {
    let server = Server::full();
    let client = server.client;
    for (name, number, index) in
        [("transfer", 1, 2), ("deployment", 2, 0), ("second_log_of_a_block", 3, 1), ("reverted", 3, 2)]
    {
        let shown = client.call("eth_getTransactionReceipt", json!([transaction_hash(&server, number, index)]));
        insta::assert_snapshot!(format!("receipt_{name}"), pretty(&shown));
        let all = client.call("eth_getBlockReceipts", json!([format!("{number:#x}")]));
        assert_eq!(all[index], shown);
    }
    let by_hash = client.call("eth_getBlockReceipts", json!([hash(&server, 3)]));
    assert_eq!(by_hash, client.call("eth_getBlockReceipts", json!(["0x3"])));
    assert_eq!(by_hash.as_array().unwrap().len(), 3);
    assert_eq!(client.call("eth_getBlockReceipts", json!([{ "blockHash": hash(&server, 3) }])), by_hash);
    for empty in ["earliest", "latest", "0x4"] {
        assert_eq!(client.call("eth_getBlockReceipts", json!([empty])), json!([]), "{empty}");
    }
    assert_eq!(client.call("eth_getBlockReceipts", json!(["0x8"])), Value::Null);
}

#[test]
fn gas_of_the_receipts_adds_up_to_that_of_the_block() {
    let server = Server::full();
    let number = |value: &Value| U256::from_str_radix(&value.as_str().unwrap()[2..], 16).unwrap();
    for height in 1..=3 {
        let block = server.client.call("eth_getBlockByNumber", json!([format!("{height:#x}")]));
        let receipts = server.client.call("eth_getBlockReceipts", json!([format!("{height:#x}")]));
        let sum = receipts.as_array().unwrap().iter().map(|it| number(&it["gasUsed"])).fold(U256::ZERO, |a, b| a + b);
        assert_eq!(sum, number(&block["gasUsed"]));
        assert_eq!(number(&receipts.as_array().unwrap().last().unwrap()["cumulativeGasUsed"]), sum);
    }
}

#[test]
fn counts_of_transactions_and_uncles_are_those_of_the_block() {
    let server = Server::full();
    let client = server.client;
    for (number, count) in [(0, "0x0"), (1, "0x3"), (2, "0x1"), (7, "0x0")] {
        let (height, hash) = (json!([format!("{number:#x}")]), json!([hash(&server, number)]));
        assert_eq!(client.call("eth_getBlockTransactionCountByNumber", height.clone()), count);
        assert_eq!(client.call("eth_getBlockTransactionCountByHash", hash.clone()), count);
        assert_eq!(client.call("eth_getUncleCountByBlockNumber", height), "0x0");
        assert_eq!(client.call("eth_getUncleCountByBlockHash", hash), "0x0");
    }
    for (method, params) in [
        ("eth_getBlockTransactionCountByNumber", json!(["0x8"])),
        ("eth_getBlockTransactionCountByHash", json!([B256::ZERO])),
        ("eth_getUncleCountByBlockNumber", json!(["0x8"])),
        ("eth_getUncleCountByBlockHash", json!([B256::ZERO])),
        ("eth_getUncleByBlockNumberAndIndex", json!(["0x1", "0x0"])),
        ("eth_getUncleByBlockHashAndIndex", json!([hash(&server, 1), "0x0"])),
    ] {
        assert_eq!(client.call(method, params), Value::Null, "{method}");
    }
    assert_eq!(client.fail("eth_getUncleByBlockNumberAndIndex", json!(["0x1", "first"])).0, -32602);
}

#[test]
fn accounts_are_read_at_any_block_of_the_window() {
    let server = Server::full();
    let client = server.client;
    let (alice, carol) = (Person::alice().address, Person::carol().address);
    assert_eq!(client.call("eth_getBalance", json!([carol])), "0xde0b6b3a7640000");
    assert_eq!(client.call("eth_getBalance", json!([carol, "latest"])), "0xde0b6b3a7640000");
    assert_eq!(client.call("eth_getBalance", json!([Address::repeat_byte(9), null])), "0x0");
    assert_eq!(client.call("eth_getTransactionCount", json!([alice, "latest"])), "0x4");
    assert_eq!(client.call("eth_getTransactionCount", json!([carol])), "0x0");
    let code = client.call("eth_getCode", json!([Chain::contract(), "latest"]));
    assert_eq!(code, json!(alloy_primitives::Bytes::from(crate::code::runtime())));
    assert_eq!(client.call("eth_getCode", json!([alice])), "0x");
    assert_eq!(client.call("eth_getCode", json!([Address::repeat_byte(9)])), "0x");
    let eight = json!(B256::with_last_byte(8));
    for key in [json!("0x0"), json!("0x00"), json!(B256::ZERO)] {
        assert_eq!(client.call("eth_getStorageAt", json!([Chain::contract(), key, "latest"])), eight);
    }
    assert_eq!(client.call("eth_getStorageAt", json!([Chain::contract(), "0x1"])), json!(B256::ZERO));
    assert_eq!(client.fail("eth_getStorageAt", json!([alice, "0xasdf", "latest"])).0, -32602);
    let block = hash(&server, 5);
    for id in [
        json!("0x5"),
        block.clone(),
        json!({ "blockHash": block, "requireCanonical": true }),
        json!({ "blockNumber": "0x5" }),
    ] {
        assert_eq!(client.call("eth_getTransactionCount", json!([alice, id])), "0x4", "{id}");
    }
}

#[test]
fn a_state_that_is_gone_or_never_was_is_a_clear_error() {
    let server = Server::full();
    let client = server.client;
    let alice = Person::alice().address;
    for id in [json!("0x3"), json!("earliest"), hash(&server, 3)] {
        let (code, message) = client.fail("eth_getBalance", json!([alice, id]));
        assert_eq!(code, -32000, "{message}");
        assert!(message.ends_with("is not kept: this node has the states of blocks 4 to 7"), "{message}");
    }
    let (code, message) = client.fail("eth_getBalance", json!([alice, "0x8"]));
    assert_eq!((code, message.as_str()), (-32000, "header not found: the head is block 7"));
    let (code, message) = client.fail("eth_getBalance", json!([alice, B256::ZERO]));
    assert_eq!(code, -32000);
    assert!(message.starts_with("header for hash not found: 0x00"), "{message}");
    for (method, params) in [
        ("eth_getCode", json!([alice, "0x3"])),
        ("eth_getStorageAt", json!([alice, "0x0", "0x3"])),
        ("eth_call", json!([{}, "0x3"])),
        ("eth_getProof", json!([alice, [], "0x3"])),
    ] {
        assert_eq!(client.fail(method, params).0, -32000, "{method}");
    }
}

#[test]
fn fees_are_suggested_from_recent_blocks() {
    let server = Server::full();
    let client = server.client;
    insta::assert_snapshot!(
        "fee_history",
        pretty(&client.call("eth_feeHistory", json!(["0x4", "0x4", [0, 50, 99.5]])))
    );
    // Recent blocks paid one gwei and a little: the 60th percentile of the lowest tips.
    let tip = client.call("eth_maxPriorityFeePerGas", json!([]));
    assert_eq!(tip, json!("0x3b9aca00"));
    let head = server.chain.store.header(7).unwrap().unwrap();
    let base_fee = server.chain.genesis.spec.next_base_fee(&head);
    assert_eq!(client.call("eth_gasPrice", json!([])), json!(format!("{:#x}", base_fee + 1_000_000_000)));
    let empty = Chain::empty().serve(keystead_rpc::ServerLimits::default());
    assert_eq!(empty.client.call("eth_maxPriorityFeePerGas", json!([])), json!("0xf4240"));
}

#[test]
fn a_fee_history_is_bounded_and_checked() {
    let server = Server::full();
    let client = server.client;
    let all = client.call("eth_feeHistory", json!([1_000_000, "latest"]));
    assert_eq!((&all["oldestBlock"], all["baseFeePerGas"].as_array().unwrap().len()), (&json!("0x0"), 9));
    assert_eq!(all.get("reward"), None);
    let none = client.call("eth_feeHistory", json!(["0x0", "latest", []]));
    assert_eq!(none["gasUsedRatio"], json!([]));
    assert_eq!(client.fail("eth_feeHistory", json!(["0x1", "0x8"])).0, -32000);
    for percentiles in [json!([50, 10]), json!([101]), json!([-1]), json!(["5"]), json!(vec![1; 101])] {
        assert_eq!(client.fail("eth_feeHistory", json!(["0x1", "latest", percentiles])).0, -32602);
    }
}
