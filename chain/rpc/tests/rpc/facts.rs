//! Raw bytes of blocks and transactions, and what a node says about its chain and itself.

use crate::chain::{CHAIN_ID, Chain, Person, Server, raw};
use alloy_consensus::{Block as StockBlock, Header};
use alloy_eips::eip2718::Decodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::Decodable as _;
use keystead_rpc::ServerLimits;
use keystead_types::{Receipt, Transaction};
use serde_json::{Value, json};

fn bytes(value: Value) -> Bytes {
    serde_json::from_value(value).unwrap()
}

#[test]
fn raw_blocks_and_headers_are_ethereums_own_bytes() {
    let server = Server::full();
    let client = server.client;
    for number in [0, 1, 3, 7] {
        let block = server.chain.store.block(number).unwrap().unwrap();
        let name = json!([format!("{number:#x}")]);
        let header = bytes(client.call("debug_getRawHeader", name.clone()));
        assert_eq!(keccak256(&header), block.hash());
        assert_eq!(Header::decode(&mut header.as_ref()).unwrap(), *block.header());
        let encoded = bytes(client.call("debug_getRawBlock", name.clone()));
        let mut rest = encoded.as_ref();
        let stock: StockBlock<Transaction> = StockBlock::decode(&mut rest).unwrap();
        assert!(rest.is_empty());
        assert_eq!((&stock.header, stock.body.transactions.as_slice()), (block.header(), block.transactions()));
        assert_eq!(json!(U256::from(encoded.len())), client.call("eth_getBlockByNumber", name.clone())["size"]);
        let Value::Array(receipts) = client.call("debug_getRawReceipts", name) else { panic!() };
        let decoded = receipts.into_iter().map(|it| Receipt::decode_2718(&mut bytes(it).as_ref()).unwrap());
        let decoded: Vec<Receipt> = decoded.collect();
        assert_eq!(alloy_consensus::proofs::calculate_receipt_root(&decoded), block.header().receipts_root);
        assert_eq!(client.call("debug_getRawBlock", json!([{ "blockHash": block.hash() }])), json!(encoded));
    }
    for method in ["debug_getRawBlock", "debug_getRawHeader", "debug_getRawReceipts"] {
        assert_eq!(client.fail(method, json!(["2"])).0, -32602);
        assert_eq!(client.fail(method, json!(["0x8"])), (-32000, "block not found".to_owned()));
        assert_eq!(client.fail(method, json!([B256::ZERO])), (-32000, "block not found".to_owned()));
    }
}

#[test]
fn raw_transactions_come_from_blocks_and_from_the_pool() {
    let server = Server::full();
    let client = server.client;
    let waiting = Person::alice().transfer(4, Address::ZERO, U256::from(1));
    client.call("eth_sendRawTransaction", json!([raw(&waiting)]));
    let block = server.chain.store.block(1).unwrap().unwrap();
    for transaction in block.transactions().iter().chain([&waiting]) {
        for method in ["debug_getRawTransaction", "eth_getRawTransactionByHash"] {
            assert_eq!(client.call(method, json!([transaction.tx_hash()])), json!(raw(transaction)));
        }
    }
    assert_eq!(client.call("debug_getRawTransaction", json!([B256::ZERO])), Value::Null);
    let without_prefix = json!(["1000000000000000000000000000000000000000000000000000000000000001"]);
    assert_eq!(client.fail("debug_getRawTransaction", without_prefix).0, -32602);
}

#[test]
fn the_rules_in_force_are_told_as_eip_7910_has_them() {
    let server = Server::full();
    let config = server.client.call("eth_config", json!([]));
    assert_eq!((&config["next"], &config["last"]), (&Value::Null, &Value::Null));
    let current = &config["current"];
    assert_eq!(current["chainId"], json!(format!("{CHAIN_ID:#x}")));
    assert_eq!(current["activationTime"], 0);
    assert_eq!(current["forkId"].as_str().unwrap().len(), 10);
    assert_eq!(current["blobSchedule"], json!({ "target": 0, "max": 0, "baseFeeUpdateFraction": 5_007_716 }));
    let contracts = json!({
        "BEACON_ROOTS_ADDRESS": "0x000f3df6d732807ef1319fb7b8bb8522d0beac02",
        "HISTORY_STORAGE_ADDRESS": "0x0000f90827f1c53a10cb7a02335b175320002935",
    });
    assert_eq!(current["systemContracts"], contracts);
    let precompiles = current["precompiles"].as_object().unwrap();
    assert_eq!(precompiles.len(), 18);
    assert_eq!(precompiles["P256VERIFY"], "0x0000000000000000000000000000000000000100");
    // The machine has code at these addresses: a call of any of them costs more than one of an empty account.
    let gas = |to: &Value| server.client.call("eth_estimateGas", json!([{ "to": to, "input": "0x" }]));
    assert_eq!(gas(&json!(Address::repeat_byte(7))), "0x5208");
    for name in ["ECREC", "SHA256", "RIPEMD160", "ID", "MODEXP", "BN254_PAIRING", "P256VERIFY"] {
        assert_ne!(gas(&precompiles[name]), "0x5208", "{name}");
    }
}

#[test]
fn fees_of_the_next_block_and_what_is_kept_are_told() {
    let server = Server::full();
    let client = server.client;
    let history = client.call("eth_feeHistory", json!(["0x1", "latest", []]));
    assert_eq!(client.call("eth_baseFee", json!([])), history["baseFeePerGas"][1]);
    assert_eq!(client.call("eth_blobBaseFee", json!([])), "0x1");
    let kept = client.call("eth_capabilities", json!([]));
    let head = server.chain.store.head();
    assert_eq!(kept["head"], json!({ "number": "0x7", "hash": head.hash }));
    for kind in ["tx", "logs", "receipts", "blocks"] {
        assert_eq!(kept[kind], json!({ "disabled": false, "oldestBlock": "0x0" }), "{kind}");
    }
    // The store of this chain keeps four states.
    for kind in ["state", "stateproofs"] {
        let oldest = &kept[kind]["oldestBlock"];
        assert_eq!(oldest, "0x4");
        client.call("eth_getBalance", json!([Address::ZERO, oldest]));
        client.fail("eth_getBalance", json!([Address::ZERO, "0x3"]));
    }
    let modules = client.call("rpc_modules", json!([]));
    assert_eq!(modules["eth"], "1.0");
    assert!(modules.get("keystead").is_some() && modules.get("txpool").is_some());
}

#[test]
fn a_node_that_dropped_its_first_blocks_says_which_is_its_oldest() {
    let server = Chain::pruned().serve(ServerLimits::default());
    let client = server.client;
    let kept = client.call("eth_capabilities", json!([]));
    assert_eq!(kept["head"]["number"], "0x18");
    for kind in ["tx", "logs", "receipts", "blocks"] {
        assert_eq!(kept[kind], json!({ "disabled": false, "oldestBlock": "0x5" }), "{kind}");
    }
    for kind in ["state", "stateproofs"] {
        assert_eq!(kept[kind]["oldestBlock"], "0x15", "{kind}");
    }
    let logs = |from: &str| json!([{ "fromBlock": from, "toBlock": "0x7" }]);
    assert_eq!(client.call("eth_getBlockByNumber", json!(["0x5", true]))["number"], "0x5");
    assert_eq!(client.call("eth_getBlockReceipts", json!(["0x5"])), json!([]));
    assert_eq!(client.call("eth_getLogs", logs("0x5")), json!([]));
    for (method, params) in [
        ("eth_getBlockByNumber", json!(["0x4", true])),
        ("eth_getBlockReceipts", json!(["0x4"])),
        ("eth_getLogs", logs("0x4")),
    ] {
        assert_eq!(client.fail(method, params).0, -32000, "{method}");
    }
}

#[test]
fn many_slots_are_read_at_once() {
    let server = Server::full();
    let (contract, other) = (Chain::contract(), Address::repeat_byte(9));
    let slot = server.client.call("eth_getStorageAt", json!([contract, "0x0"]));
    assert_ne!(slot, json!(B256::ZERO));
    let asked = json!({ contract.to_string(): ["0x0", B256::ZERO, "0x1"], other.to_string(): [B256::repeat_byte(1)] });
    let zero = json!(B256::ZERO);
    let expected = json!({ contract.to_string(): [slot, slot, zero], other.to_string(): [zero] });
    for params in [json!([asked]), json!([asked, "latest"]), json!([asked, "0x7"])] {
        assert_eq!(server.client.call("eth_getStorageValues", params), expected);
    }
    let fail = |asked: Value| server.client.fail("eth_getStorageValues", json!([asked]));
    let key = contract.to_string();
    assert_eq!(fail(json!({ key.clone(): vec!["0x0"; 1_025] })).0, -32602);
    assert_eq!(
        server.client.call("eth_getStorageValues", json!([{ key.clone(): vec!["0x0"; 1_024] }]))[&key]
            .as_array()
            .unwrap()
            .len(),
        1_024
    );
    for wrong in [json!({}), json!([]), json!({ "0x1": ["0x0"] }), json!({ key.clone(): "0x0" }), json!({ key: ["x"] })]
    {
        assert_eq!(fail(wrong.clone()).0, -32602, "{wrong}");
    }
}

#[test]
fn a_validators_server_builds_no_block_for_a_tester() {
    let server = Server::full();
    let client = server.client;
    let head = server.chain.store.head().hash;
    let attributes =
        json!({ "timestamp": "0x7fffffff", "prevRandao": B256::ZERO, "suggestedFeeRecipient": Address::ZERO });
    assert_eq!(client.fail("testing_buildBlockV1", json!([head, attributes])).0, -32601);
    let described = client.call("rpc.discover", json!([]));
    let names: Vec<&str> =
        described["methods"].as_array().unwrap().iter().map(|method| method["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"eth_config") && !names.contains(&"testing_buildBlockV1"));
    assert_eq!(client.call("rpc_modules", json!([])).get("testing"), None);
}
