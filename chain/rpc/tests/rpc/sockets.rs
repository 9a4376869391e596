//! JSON-RPC over WebSocket, and what subscribers are told.

use crate::{
    chain::{Chain, Person, Server, raw, word},
    client::{PATIENCE, pretty},
    code::TOPIC,
    websocket::{BINARY, Event, PING, Socket, TEXT, upgrade},
};
use alloy_primitives::{Address, U256};
use keystead_rpc::{Cors, ServerLimits};
use keystead_types::Transaction;
use serde_json::{Value, json};
use std::{sync::mpsc, time::Instant};

fn number(block: &Value) -> u64 {
    u64::from_str_radix(block["number"].as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

/// Waits until the page of numbers has this line.
pub fn wait_for_metric(server: &Server, line: &str) {
    let started = Instant::now();
    loop {
        let page = server.client.get("/metrics").body;
        if page.lines().any(|it| it == line) {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "never {line} in\n{page}");
    }
}

#[test]
fn messages_are_answered_as_over_http() {
    let server = Server::full();
    let mut socket = Socket::open(server.client);
    let single = r#"{"jsonrpc":"2.0","id":"a","method":"eth_getBlockByNumber","params":["0x3",true]}"#;
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"eth_chainId"},{"jsonrpc":"2.0","method":"eth_chainId"},7]"#;
    let broken = r#"{"jsonrpc":"2.0","id":1,"#;
    let deep = "[".repeat(100_000);
    let unknown = r#"{"jsonrpc":"2.0","id":2,"method":"eth_nothing"}"#;
    for text in [single, batch, broken, &deep, unknown, "[]", ""] {
        socket.send(text);
        assert_eq!(socket.message(), server.client.post(text).json());
    }
    // Only notifications: no answer. A binary frame is read like text.
    socket.send(r#"{"jsonrpc":"2.0","method":"eth_chainId"}"#);
    socket.send_as(BINARY, single.as_bytes());
    assert_eq!(socket.message(), server.client.post(single).json());
}

#[test]
fn a_message_may_come_in_pieces_and_pings_are_answered() {
    let server = Server::full();
    let mut socket = Socket::open(server.client);
    let text = br#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#;
    socket.frame(TEXT, &text[..10]).unwrap();
    socket.send_as(PING, b"between");
    socket.frame(0, &text[10..20]).unwrap();
    socket.send_as(0, &text[20..]);
    assert_eq!(socket.next(), Event::Pong(b"between".to_vec()));
    assert_eq!(socket.message()["result"], "0x4b53");
}

#[test]
fn more_messages_than_are_answered_at_once_are_all_answered() {
    let server = Chain::full().serve(ServerLimits { socket_requests_max: 2, ..ServerLimits::default() });
    let mut socket = Socket::open(server.client);
    for id in 0..200 {
        socket.send(
            json!({ "jsonrpc": "2.0", "id": id, "method": "eth_getBlockByNumber", "params": ["0x1"] }).to_string(),
        );
    }
    let mut ids: Vec<u64> = (0..200).map(|_| socket.message()["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    assert!(ids.into_iter().eq(0..200));
}

#[test]
fn every_new_head_is_told_once_and_in_order() {
    let server = Server::full();
    let mut socket = Socket::open(server.client);
    let id = socket.call("eth_subscribe", json!(["newHeads"]));
    for expected in 8..12 {
        server.chain.produce(Vec::new());
        let (subscription, head) = socket.notification();
        assert_eq!((subscription, number(&head)), (id.clone(), expected));
        let block = server.client.call("eth_getBlockByNumber", json!([head["number"]]));
        let fields = head.as_object().unwrap();
        assert!(fields.len() >= 20 && fields.iter().all(|(name, value)| &block[name] == value), "{head}");
    }
    insta::assert_snapshot!(
        "new_head",
        pretty(&{
            server.chain.produce(Vec::new());
            socket.notification().1
        })
    );
}

#[test]
fn no_block_is_missed_while_a_thousand_are_committed() {
    const BLOCKS: u64 = 1_000;
    let server = Chain::empty().serve(ServerLimits::default());
    let client = server.client;
    let (begun, first) = mpsc::channel();
    std::thread::scope(|scope| {
        for delay in 0..6u64 {
            let (begun, store) = (begun.clone(), server.chain.store.clone());
            scope.spawn(move || {
                let mut socket = Socket::open(client);
                // The later ones join while blocks come.
                assert!(store.wait_for(delay * 100, PATIENCE));
                let before = store.head().number;
                let heads = socket.call("eth_subscribe", json!(["newHeads"]));
                let after = store.head().number;
                let more = socket.call("eth_subscribe", json!(["newHeads"]));
                begun.send(()).unwrap();
                let mut next = std::collections::HashMap::new();
                loop {
                    let (id, head) = socket.notification();
                    let number = number(&head);
                    match next.insert(id.clone(), number) {
                        Some(previous) => assert_eq!(number, previous + 1, "a gap"),
                        None if id == heads => {
                            assert!((before + 1..=after + 1).contains(&number), "{before} {number} {after}")
                        }
                        None => assert!(id == more && number > before),
                    }
                    if next.get(&heads) == Some(&BLOCKS) && next.get(&more) == Some(&BLOCKS) {
                        break;
                    }
                }
            });
        }
        // The first has subscribed before the first block.
        first.recv().unwrap();
        (0..BLOCKS).for_each(|_| server.chain.produce(Vec::new()));
    });
    assert_eq!(server.chain.store.head().number, BLOCKS);
}

#[test]
fn logs_are_told_by_address_and_topics_as_eth_get_logs_has_them() {
    let server = Server::full();
    let (alice, bob, contract) = (Person::alice(), Person::bob(), Chain::contract());
    let mut socket = Socket::open(server.client);
    let mut subscribe = |options: Value| socket.call("eth_subscribe", json!(["logs", options]));
    let all = subscribe(json!({ "address": contract }));
    let bobs = subscribe(json!({ "topics": [TOPIC, bob.address.into_word()] }));
    subscribe(json!({ "address": Address::ZERO }));
    subscribe(json!({ "topics": [alice.address.into_word()] }));
    // A block without logs, then one with three.
    server.chain.produce(Vec::new());
    server.chain.produce(vec![
        alice.invoke(4, contract, word(1)),
        bob.invoke(3, contract, word(2)),
        alice.invoke(5, contract, word(3)),
    ]);
    let logs = server.client.call("eth_getLogs", json!([{ "fromBlock": "0x9" }]));
    assert_eq!(logs.as_array().unwrap().len(), 3);
    let mut told: Vec<(Value, Value)> = (0..4).map(|_| socket.notification()).collect();
    told.sort_by_key(|(id, log)| (id != &all, log["logIndex"].as_str().unwrap().to_owned()));
    let expected = [(&all, &logs[0]), (&all, &logs[1]), (&all, &logs[2]), (&bobs, &logs[1])];
    assert!(told.iter().map(|(id, log)| (id, log)).eq(expected), "{told:?}");
    assert!(told.iter().all(|(_, log)| log["removed"] == false));
    // Nothing else was told before this.
    let heads = socket.call("eth_subscribe", json!(["newHeads"]));
    server.chain.produce(Vec::new());
    assert_eq!(socket.notification().0, heads);
}

#[test]
fn transactions_are_told_as_they_enter_the_pool() {
    let server = Server::full();
    let (alice, bob) = (Person::alice(), Person::bob());
    let send = |transaction: &Transaction| server.client.call("eth_sendRawTransaction", json!([raw(transaction)]));
    let old = alice.transfer(4, bob.address, U256::from(1));
    send(&old);
    let mut socket = Socket::open(server.client);
    let hashes = socket.call("eth_subscribe", json!(["newPendingTransactions"]));
    let full = socket.call("eth_subscribe", json!(["newPendingTransactions", true]));
    assert_ne!(hashes, full);
    for nonce in [5, 9] {
        let transaction = alice.transfer(nonce, bob.address, U256::from(1));
        let hash = send(&transaction);
        let told = [socket.notification(), socket.notification()];
        let pending = server.client.call("eth_getTransactionByHash", json!([hash]));
        assert!(told.contains(&(hashes.clone(), hash)), "{told:?}");
        assert!(told.contains(&(full.clone(), pending)), "{told:?}");
    }
}

#[test]
fn what_makes_blocks_final_is_told_with_the_headers_in_between() {
    let server = Server::full();
    let mut socket = Socket::open(server.client);
    let id = socket.call("keystead_subscribe", json!(["finalized"]));
    (8..=10).for_each(|_| server.chain.produce(Vec::new()));
    server.chain.certify(10);
    let (subscription, told) = socket.notification();
    assert_eq!(subscription, id);
    assert_eq!(told, server.client.call("keystead_getFinalization", json!(["0x8"])));
    assert_eq!(told["headers"].as_array().unwrap().len(), 3);
    server.chain.produce(Vec::new());
    server.chain.certify(11);
    assert_eq!(socket.notification().1, server.client.call("keystead_getFinalization", json!(["0xb"])));
    assert_eq!(socket.call("keystead_unsubscribe", json!([id])), true);
}

#[test]
fn a_subscription_ends_when_its_own_connection_asks() {
    let server = Server::full();
    let (mut socket, mut other) = (Socket::open(server.client), Socket::open(server.client));
    let first = socket.call("eth_subscribe", json!(["newHeads"]));
    let second = socket.call("eth_subscribe", json!({ "kind": "newHeads" }));
    assert_eq!(other.call("eth_unsubscribe", json!([first])), false);
    assert_eq!(socket.call("eth_unsubscribe", json!([first])), true);
    assert_eq!(socket.call("eth_unsubscribe", json!([first])), false);
    server.chain.produce(Vec::new());
    assert_eq!(socket.notification().0, second);
    wait_for_metric(&server, "keystead_rpc_subscriptions 1");
    wait_for_metric(&server, "keystead_rpc_websockets 2");
    drop((socket, other));
    wait_for_metric(&server, "keystead_rpc_subscriptions 0");
    wait_for_metric(&server, "keystead_rpc_websockets 0");
}

#[test]
fn syncing_is_told_once_because_it_never_changes() {
    let server = Server::full();
    let mut socket = Socket::open(server.client);
    let id = socket.call("eth_subscribe", json!(["syncing"]));
    assert_eq!(socket.notification(), (id, json!(false)));
    let heads = socket.call("eth_subscribe", json!(["newHeads"]));
    server.chain.produce(Vec::new());
    assert_eq!(socket.notification().0, heads);
}

#[test]
fn a_batch_may_subscribe_and_its_answer_comes_before_what_it_opened_tells() {
    let server = Server::full();
    let mut socket = Socket::open(server.client);
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["syncing"] });
    socket.send(json!([call, call, call]).to_string());
    let answers = socket.message();
    let ids: Vec<&Value> = answers.as_array().unwrap().iter().map(|it| &it["result"]).collect();
    let told: Vec<Value> = (0..3).map(|_| socket.notification().0).collect();
    assert!(told.iter().eq(ids), "{answers} {told:?}");
}

#[test]
fn subscriptions_that_make_no_sense_are_refused_by_parameter() {
    let limits = ServerLimits { subscriptions_max: 2, filter_values_max: 1, ..ServerLimits::default() };
    let server = Chain::full().serve(limits);
    let mut socket = Socket::open(server.client);
    let two = json!(["logs", { "topics": [[TOPIC, Person::alice().address.into_word()]] }]);
    let cases = [
        (json!([]), -32602, "invalid argument 0 (kind): missing"),
        (json!(["newBlocks"]), -32602, "invalid argument 0 (kind): expected newHeads, logs"),
        (json!([7]), -32602, "invalid argument 0 (kind): expected newHeads, logs"),
        (json!(["newHeads", true]), -32602, "invalid argument 1 (options): this kind"),
        (json!(["newPendingTransactions", {}]), -32602, "invalid argument 1 (options): expected true or false"),
        (json!(["logs", { "address": "0x1" }]), -32602, "invalid argument 1 (options): field \"address\""),
        (json!(["logs", { "blockHash": TOPIC }]), -32602, "invalid argument 1 (options): blockHash names"),
        (two, -32602, "invalid argument 1 (options): too many addresses"),
    ];
    for (params, code, start) in cases {
        let (got, message) = socket.fail("eth_subscribe", params.clone());
        assert!(got == code && message.starts_with(start), "{params}: {got} {message}");
    }
    socket.call("eth_subscribe", json!(["logs"]));
    let id = socket.call("eth_subscribe", json!(["newHeads"]));
    assert_eq!(socket.fail("eth_subscribe", json!(["newHeads"])).0, -32005);
    assert_eq!(socket.call("eth_unsubscribe", json!([id])), true);
    socket.call("eth_subscribe", json!(["newHeads"]));
    for method in ["eth_subscribe", "keystead_subscribe"] {
        assert_eq!(server.client.fail(method, json!(["newHeads"])).0, -32601, "no notifications over plain HTTP");
    }
}

#[test]
fn addresses_and_topics_that_are_watched_share_one_room_and_give_it_back() {
    let server = Chain::full().serve(ServerLimits { watched_values_max: 6, ..ServerLimits::default() });
    let mut socket = Socket::open(server.client);
    let query = json!(["logs", { "address": [Address::ZERO, Chain::contract()] }]);
    let id = socket.call("eth_subscribe", query.clone());
    let filter = server.client.call("eth_newFilter", json!([query[1]]));
    assert_eq!(socket.fail("eth_subscribe", query.clone()).0, -32005);
    assert_eq!(server.client.fail("eth_newFilter", json!([query[1]])).0, -32005);
    assert_eq!(socket.call("eth_unsubscribe", json!([id])), true);
    socket.call("eth_subscribe", query.clone());
    assert_eq!(server.client.call("eth_uninstallFilter", json!([filter])), true);
    server.client.call("eth_newFilter", json!([query[1]]));
}

#[test]
fn pages_of_other_origins_connect_as_configured() {
    let only = Cors::Only(vec!["https://wallet.example".to_owned()]);
    for (cors, origin, status) in [
        (Cors::Any, "origin: https://evil.example\r\n", 101),
        (only.clone(), "origin: https://wallet.example\r\n", 101),
        (only.clone(), "origin: https://evil.example\r\n", 403),
        (only, "", 101),
        (Cors::Nobody, "origin: https://wallet.example\r\n", 403),
        (Cors::Nobody, "", 101),
    ] {
        let server = Chain::empty().serve(ServerLimits { cors, ..ServerLimits::default() });
        let mut stream = server.client.connect();
        std::io::Write::write_all(&mut stream, upgrade(origin).as_bytes()).unwrap();
        let mut head = [0; 12];
        std::io::Read::read_exact(&mut stream, &mut head).unwrap();
        assert_eq!(head, format!("HTTP/1.1 {status}").as_bytes(), "{origin}");
    }
}
