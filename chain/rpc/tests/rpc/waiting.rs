//! `eth_sendRawTransactionSync`: the answer is the receipt.

use crate::{
    chain::{Chain, ETHER, Person, Server, raw},
    client::PATIENCE,
    websocket::Socket,
};
use alloy_consensus::TxEip1559;
use alloy_primitives::{TxKind, U256};
use keystead_rpc::ServerLimits;
use keystead_types::Transaction;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn transfer(nonce: u64) -> Transaction {
    Person::alice().transfer(nonce, Person::bob().address, U256::from(1))
}

/// Waits until the pool holds so many.
fn wait_for_pool(server: &Server, count: usize) {
    let started = Instant::now();
    while server.chain.pool.lock().unwrap().len() != count {
        assert!(started.elapsed() < PATIENCE, "the pool never held {count}");
        std::thread::yield_now();
    }
}

fn patient() -> ServerLimits {
    ServerLimits {
        sync_timeout: PATIENCE,
        sync_timeout_max: PATIENCE,
        request_timeout: PATIENCE,
        ..ServerLimits::default()
    }
}

#[test]
fn the_answer_is_the_receipt_as_soon_as_the_block_is_there() {
    let server = Chain::full().serve(patient());
    let client = server.client;
    std::thread::scope(|scope| {
        let transaction = transfer(4);
        let bytes = raw(&transaction);
        let asked = scope.spawn(move || client.call("eth_sendRawTransactionSync", json!([bytes])));
        wait_for_pool(&server, 1);
        server.chain.produce(vec![transaction.clone()]);
        let begun = Instant::now();
        let receipt = asked.join().unwrap();
        assert!(begun.elapsed() < PATIENCE / 2, "it waited for its time, not for the block");
        assert_eq!(receipt, client.call("eth_getTransactionReceipt", json!([transaction.tx_hash()])));
        assert_eq!((&receipt["status"], &receipt["blockNumber"]), (&json!("0x1"), &json!("0x8")));
    });
}

#[test]
fn a_batch_and_a_websocket_wait_for_all_their_receipts() {
    let server = Chain::full().serve(patient());
    let mut socket = Socket::open(server.client);
    let transactions: Vec<_> = (4..8).map(transfer).collect();
    let mut batch: Vec<Value> = transactions
        .iter()
        .enumerate()
        .map(|(id, it)| json!({ "jsonrpc": "2.0", "id": id, "method": "eth_sendRawTransactionSync", "params": [raw(it)] }))
        .collect();
    batch.push(json!({ "jsonrpc": "2.0", "id": 9, "method": "eth_blockNumber" }));
    socket.send(json!(batch).to_string());
    wait_for_pool(&server, 4);
    server.chain.produce(transactions[..2].to_vec());
    server.chain.produce(transactions[2..].to_vec());
    let answers = socket.message();
    for (id, transaction) in transactions.iter().enumerate() {
        assert_eq!(
            (&answers[id]["id"], &answers[id]["result"]["transactionHash"]),
            (&json!(id), &json!(transaction.tx_hash()))
        );
    }
    assert_eq!(answers[4], json!({ "jsonrpc": "2.0", "id": 9, "result": "0x7" }));
    assert_eq!(answers[3]["result"]["blockNumber"], "0x9");
}

#[test]
fn a_transaction_that_is_not_included_in_time_is_error_4_with_its_hash() {
    let sync_timeout = Duration::from_millis(200);
    let server = Chain::full().serve(ServerLimits { sync_timeout, ..ServerLimits::default() });
    let transaction = transfer(4);
    for timeout in [json!(30), json!("0x1e")] {
        let answer = server.client.ask("eth_sendRawTransactionSync", json!([raw(&transaction), timeout]));
        assert_eq!((&answer["error"]["code"], &answer["error"]["data"]), (&json!(4), &json!(transaction.tx_hash())));
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(
            message.starts_with("the transaction was added to the pool but is in no block after 30 ms"),
            "{message}"
        );
        server.chain.pool.lock().unwrap().remove(transaction.tx_hash()).unwrap();
    }
    // Out of bounds: the node's own time, as EIP-7966 has it.
    for timeout in [json!(0), json!(10_001), json!(null)] {
        let started = Instant::now();
        let answer = server.client.ask("eth_sendRawTransactionSync", json!([raw(&transaction), timeout]));
        assert_eq!(answer["error"]["code"], 4);
        assert!(started.elapsed() >= sync_timeout, "{timeout}");
        assert!(answer["error"]["message"].as_str().unwrap().contains("after 200 ms"), "{answer}");
        server.chain.pool.lock().unwrap().remove(transaction.tx_hash()).unwrap();
    }
}

#[test]
fn a_transaction_that_waits_for_a_nonce_is_error_5_unless_the_nonce_comes() {
    let server = Chain::full().serve(ServerLimits {
        sync_timeout_max: PATIENCE,
        request_timeout: PATIENCE,
        ..ServerLimits::default()
    });
    let late = transfer(5);
    let answer = server.client.ask("eth_sendRawTransactionSync", json!([raw(&late), 30]));
    assert_eq!((&answer["error"]["code"], &answer["error"]["data"]), (&json!(5), &json!(late.tx_hash())));
    server.chain.pool.lock().unwrap().remove(late.tx_hash()).unwrap();
    let client = server.client;
    std::thread::scope(|scope| {
        let bytes = raw(&late);
        let asked = scope.spawn(move || client.call("eth_sendRawTransactionSync", json!([bytes, "0xea60"])));
        wait_for_pool(&server, 1);
        client.call("eth_sendRawTransaction", json!([raw(&transfer(4))]));
        server.chain.produce(vec![transfer(4), late.clone()]);
        assert_eq!(asked.join().unwrap()["transactionIndex"], "0x1");
    });
}

#[test]
fn a_transaction_that_is_replaced_is_an_error_at_the_next_block() {
    let server = Chain::full().serve(patient());
    let client = server.client;
    std::thread::scope(|scope| {
        let bytes = raw(&transfer(4));
        let asked = scope.spawn(move || client.fail("eth_sendRawTransactionSync", json!([bytes])));
        wait_for_pool(&server, 1);
        let dear = Person::alice().sign(TxEip1559 {
            to: TxKind::Call(Person::bob().address),
            gas_limit: 21_000,
            max_fee_per_gas: 5_000_000_000,
            max_priority_fee_per_gas: 2_000_000_000,
            ..crate::chain::dynamic(4)
        });
        client.call("eth_sendRawTransaction", json!([raw(&dear)]));
        server.chain.produce(vec![dear]);
        let (code, message) = asked.join().unwrap();
        assert!(code == -32000 && message.starts_with("the transaction left the pool"), "{message}");
    });
}

#[test]
fn what_eth_send_raw_transaction_refuses_is_refused_at_once() {
    let server = Chain::full().serve(patient());
    let poor = Person::carol().transfer(0, Person::bob().address, U256::from(2 * ETHER));
    let cases = [
        (json!([raw(&poor)]), -32000, "insufficient funds"),
        (json!([raw(&transfer(3))]), -32000, "nonce too low"),
        (json!(["0x"]), -32602, "invalid argument 0 (transaction)"),
        (json!([raw(&transfer(4)), "soon"]), -32602, "invalid argument 1 (timeout)"),
        (json!([]), -32602, "invalid argument 0 (transaction): missing"),
    ];
    for (params, code, start) in cases {
        let (got, message) = server.client.fail("eth_sendRawTransactionSync", params);
        assert!(got == code && message.starts_with(start), "{start}: {got} {message}");
    }
    assert_eq!(server.chain.pool.lock().unwrap().len(), 0);
}

#[test]
fn messages_that_wait_are_bounded_and_a_peer_that_goes_gives_its_place_back() {
    let server = Chain::full().serve(ServerLimits { sync_waiting_max: 1, ..patient() });
    let mut socket = Socket::open(server.client);
    let call = |nonce| json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransactionSync", "params": [raw(&transfer(nonce))] });
    socket.send(call(4).to_string());
    wait_for_pool(&server, 1);
    let (code, message) = server.client.fail("eth_sendRawTransactionSync", json!([raw(&transfer(5))]));
    assert!(code == -32005 && message.contains("too many callers wait"), "{message}");
    assert_eq!(server.chain.pool.lock().unwrap().len(), 1, "a refused one is not sent");
    drop(socket);
    let started = Instant::now();
    loop {
        let answer = server.client.ask("eth_sendRawTransactionSync", json!([raw(&transfer(5)), 1]));
        if answer["error"]["code"] == 4 {
            break;
        }
        assert!(answer["error"]["code"] == -32005 && started.elapsed() < PATIENCE, "{answer}");
    }
}
