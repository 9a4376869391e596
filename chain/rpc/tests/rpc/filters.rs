//! Filters over HTTP: what is new between two questions.

use crate::{
    chain::{Chain, Person, Server, raw, word},
    client::PATIENCE,
    code::TOPIC,
};
use alloy_primitives::U256;
use keystead_rpc::ServerLimits;
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

fn changes(server: &Server, filter: &Value) -> Vec<Value> {
    let Value::Array(changes) = server.client.call("eth_getFilterChanges", json!([filter])) else { panic!() };
    changes
}

#[test]
fn a_block_filter_tells_each_new_block_once() {
    let server = Server::full();
    let filter = server.client.call("eth_newBlockFilter", json!([]));
    assert!(changes(&server, &filter).is_empty());
    server.chain.produce(Vec::new());
    server.chain.produce(Vec::new());
    let hash = |number| json!(server.chain.store.block(number).unwrap().unwrap().hash());
    assert_eq!(changes(&server, &filter), [hash(8), hash(9)]);
    assert!(changes(&server, &filter).is_empty());
    server.chain.produce(Vec::new());
    assert_eq!(changes(&server, &filter), [hash(10)]);
}

#[test]
fn a_log_filter_tells_new_logs_and_shows_old_ones_when_asked() {
    let server = Server::full();
    let (alice, bob, contract) = (Person::alice(), Person::bob(), Chain::contract());
    let create = |filter: Value| server.client.call("eth_newFilter", json!([filter]));
    let all = create(json!({ "fromBlock": "earliest", "address": contract }));
    let bobs = create(json!({ "topics": [TOPIC, bob.address.into_word()] }));
    let bounded = create(json!({ "fromBlock": "0x0", "toBlock": "0x8" }));
    let later = create(json!({ "fromBlock": "0x9" }));
    for nonce in 0..2 {
        server
            .chain
            .produce(vec![alice.invoke(4 + nonce, contract, word(1)), bob.invoke(3 + nonce, contract, word(2))]);
    }
    let logs = |filter: Value| server.client.call("eth_getLogs", json!([filter])).as_array().unwrap().clone();
    let new = logs(json!({ "fromBlock": "0x8" }));
    assert_eq!(new.len(), 4);
    assert_eq!(changes(&server, &all), new);
    assert_eq!(changes(&server, &bobs), [new[1].clone(), new[3].clone()]);
    assert_eq!(changes(&server, &bounded), new[..2]);
    assert_eq!(changes(&server, &later), new[2..]);
    assert!(changes(&server, &all).is_empty());
    let old = server.client.call("eth_getFilterLogs", json!([all]));
    assert_eq!(old, json!(logs(json!({ "fromBlock": "0x0", "address": contract }))));
    assert_eq!(old.as_array().unwrap().len(), 6);
    assert!(changes(&server, &all).is_empty(), "looking at the old ones changes nothing");
}

#[test]
fn many_logs_come_in_parts_without_a_gap() {
    let server = Chain::full().serve(ServerLimits { logs_max: 2, ..ServerLimits::default() });
    let (alice, contract) = (Person::alice(), Chain::contract());
    let filter = server.client.call("eth_newFilter", json!([{}]));
    for block in 0..3 {
        server.chain.produce((0..3).map(|index| alice.invoke(4 + block * 3 + index, contract, word(1))).collect());
    }
    let mut found = Vec::new();
    for part in [2, 2, 2, 2, 1, 0] {
        let logs = changes(&server, &filter);
        assert_eq!(logs.len(), part);
        found.extend(logs.iter().map(|log| (log["blockNumber"].clone(), log["logIndex"].clone())));
    }
    let expected = (8..11).flat_map(|block| (0..3).map(move |index| (block, index)));
    assert!(
        found
            .into_iter()
            .eq(expected.map(|(block, index)| (json!(format!("{block:#x}")), json!(format!("{index:#x}")))))
    );
}

#[test]
fn a_pool_filter_tells_what_arrives() {
    let server = Server::full();
    let alice = Person::alice();
    let hashes = server.client.call("eth_newPendingTransactionFilter", json!([]));
    let full = server.client.call("eth_newPendingTransactionFilter", json!([true]));
    let hash =
        server.client.call("eth_sendRawTransaction", json!([raw(&alice.transfer(4, alice.address, U256::from(1)))]));
    assert_eq!(changes(&server, &hashes), std::slice::from_ref(&hash));
    assert_eq!(changes(&server, &full), [server.client.call("eth_getTransactionByHash", json!([hash]))]);
    assert!(changes(&server, &hashes).is_empty());
    let (code, message) = server.client.fail("eth_getFilterLogs", json!([hashes]));
    assert!(code == -32000 && message.starts_with("filter not found"), "{message}");
}

#[test]
fn a_filter_is_gone_when_removed_or_not_used_for_long() {
    let server =
        Chain::empty().serve(ServerLimits { filter_timeout: Duration::from_millis(300), ..ServerLimits::default() });
    let removed = server.client.call("eth_newBlockFilter", json!([]));
    assert_eq!(server.client.call("eth_uninstallFilter", json!([removed])), true);
    assert_eq!(server.client.call("eth_uninstallFilter", json!([removed])), false);
    assert_eq!(server.client.fail("eth_getFilterChanges", json!([removed])), (-32000, "filter not found".to_owned()));
    let used = server.client.call("eth_newBlockFilter", json!([]));
    let forgotten = server.client.call("eth_newBlockFilter", json!([]));
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(700) {
        changes(&server, &used);
    }
    let (code, message) = server.client.fail("eth_getFilterChanges", json!([forgotten]));
    assert!(code == -32000 && message.starts_with("filter not found"), "{message}");
    assert!(started.elapsed() < PATIENCE);
}

#[test]
fn ten_thousand_filters_are_the_limit_and_their_names_cannot_be_guessed() {
    let server = Chain::empty().serve(ServerLimits::default());
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_newBlockFilter" });
    let batch = json!(vec![call; 1_000]).to_string();
    let mut ids = HashSet::new();
    for _ in 0..10 {
        for answer in server.client.post(&batch).json().as_array().unwrap() {
            let id = answer["result"].as_str().unwrap().trim_start_matches("0x").to_owned();
            assert!(ids.insert(u128::from_str_radix(&id, 16).unwrap()));
        }
    }
    let (code, message) = server.client.fail("eth_newBlockFilter", json!([]));
    assert!(code == -32005 && message.starts_with("too many filters: limit 10000"), "{message}");
    // Each bit is set in about half of them: 5,000, with a deviation of 50.
    for bit in 0..128 {
        let set = ids.iter().filter(|id| *id >> bit & 1 == 1).count();
        assert!((4_500..5_500).contains(&set), "bit {bit}: {set}");
    }
    let one = format!("{:#x}", ids.iter().next().unwrap());
    assert_eq!(server.client.call("eth_uninstallFilter", json!([one])), true);
    server.client.call("eth_newBlockFilter", json!([]));
}
