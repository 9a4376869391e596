//! `eth_getLogs`: by range, block, address and topics, and its bounds.

use crate::{
    chain::{Chain, Person, Server},
    client::pretty,
    code::TOPIC,
};
use alloy_primitives::{Address, B256};
use keystead_rpc::ServerLimits;
use serde_json::{Value, json};

/// Log indices that a filter finds, in order.
fn found(server: &Server, filter: Value) -> Vec<String> {
    let logs = server.client.call("eth_getLogs", json!([filter]));
    logs.as_array().unwrap().iter().map(|log| log["logIndex"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn logs_are_shown_as_geth_shows_them() {
    let server = Server::full();
    let logs = server.client.call("eth_getLogs", json!([{ "fromBlock": "0x0", "toBlock": "latest" }]));
    insta::assert_snapshot!("logs", pretty(&logs));
    // A log in a receipt is the same object.
    let receipts = server.client.call("eth_getBlockReceipts", json!(["0x3"]));
    assert_eq!(receipts[0]["logs"][0], logs[0]);
    assert_eq!(receipts[1]["logs"][0], logs[1]);
}

#[test]
fn filters_combine_addresses_and_topics() {
    let server = Server::full();
    let contract = Chain::contract();
    let other = Address::repeat_byte(9);
    let (alice, bob) = (Person::alice().address.into_word(), Person::bob().address.into_word());
    let none: [&str; 0] = [];
    let all = ["0x0", "0x1"].as_slice();
    let cases = [
        (json!({}), all),
        (json!({ "address": contract }), all),
        (json!({ "address": [other, contract] }), all),
        (json!({ "address": [] }), all),
        (json!({ "address": other }), &none),
        (json!({ "topics": [TOPIC] }), all),
        (json!({ "topics": [null, alice] }), &["0x0"]),
        (json!({ "topics": [[], bob] }), &["0x1"]),
        (json!({ "topics": [[B256::ZERO, TOPIC], [alice, bob]] }), all),
        (json!({ "topics": [TOPIC, [bob, B256::ZERO]], "address": contract }), &["0x1"]),
        (json!({ "topics": [alice] }), &none),
        (json!({ "topics": [null, null, null] }), &none),
        (json!({ "topics": [null, null] }), all),
        (json!({ "topics": [B256::ZERO] }), &none),
    ];
    for (filter, want) in cases {
        let mut ranged = filter.clone();
        ranged["fromBlock"] = json!("earliest");
        assert_eq!(found(&server, ranged), want, "{filter}");
        let mut at_block = filter.clone();
        at_block["blockHash"] = json!(server.chain.store.block(3).unwrap().unwrap().hash());
        assert_eq!(found(&server, at_block), want, "{filter}");
    }
}

#[test]
fn ranges_include_both_ends() {
    let server = Server::full();
    for (from, to, count) in
        [("0x3", "0x3", 2), ("0x0", "0x2", 0), ("0x4", "0x7", 0), ("0x3", "latest", 2), ("0x2", "0x3", 2)]
    {
        assert_eq!(found(&server, json!({ "fromBlock": from, "toBlock": to })).len(), count, "{from} {to}");
    }
    assert_eq!(found(&server, json!({})).len(), 0, "without a range only the head is searched");
    assert_eq!(found(&server, json!({ "fromBlock": "pending" })).len(), 0);
}

#[test]
fn ranges_that_cannot_be_searched_are_refused() {
    let limits = ServerLimits { log_blocks_max: 4, logs_max: 1, filter_values_max: 2, ..ServerLimits::default() };
    let server = Chain::full().serve(limits);
    let fail = |filter: Value| server.client.fail("eth_getLogs", json!([filter]));
    let cases = [
        (json!({ "fromBlock": "0x5", "toBlock": "0x4" }), -32602, "invalid block range params"),
        (json!({ "fromBlock": "0x8" }), -32602, "invalid block range params"),
        (json!({ "fromBlock": "0x6", "toBlock": "0x8" }), -32602, "block range extends beyond current head block"),
        (json!({ "fromBlock": "0x0", "toBlock": "0x4" }), -32005, "block range too large: got 5 blocks, limit 4"),
        (json!({ "fromBlock": "0x0", "toBlock": "0x3" }), -32005, "query returns more than 1 logs"),
        (json!({ "blockHash": B256::ZERO }), -32000, "unknown block"),
        (
            json!({ "blockHash": B256::ZERO, "fromBlock": "0x1" }),
            -32602,
            "invalid argument 0 (filter): cannot specify both",
        ),
        (
            json!({ "topics": [[B256::ZERO, TOPIC, B256::repeat_byte(1)]] }),
            -32602,
            "invalid argument 0 (filter): too many",
        ),
        (json!("0x1"), -32602, "invalid argument 0 (filter): expected a filter object"),
    ];
    for (filter, code, start) in cases {
        let (got, message) = fail(filter.clone());
        assert_eq!(got, code, "{filter}: {message}");
        assert!(message.starts_with(start), "{filter}: {message}");
    }
    assert_eq!(found(&server, json!({ "fromBlock": "0x4", "toBlock": "0x7" })).len(), 0, "four blocks are allowed");
    let bob = Person::bob().address.into_word();
    let named = json!({ "fromBlock": "0x0", "toBlock": "0x7", "topics": [null, bob] });
    assert_eq!(found(&server, named), ["0x1"], "the index answers over any range");
}
