//! What waits: `txpool_*`, and `pending` as a block, a transaction and a nonce.

use crate::{
    chain::{Chain, Person, Server, raw, word},
    client::pretty,
};
use alloy_primitives::{Address, U256};
use keystead_rpc::ServerLimits;
use keystead_types::Transaction;
use serde_json::{Value, json};

fn send(server: &Server, transaction: &Transaction) -> Value {
    server.client.call("eth_sendRawTransaction", json!([raw(transaction)]))
}

/// A chain with three transactions that could be executed and one that could not.
fn filled() -> Server {
    let server = Server::full();
    let (alice, bob) = (Person::alice(), Person::bob());
    send(&server, &alice.transfer(4, bob.address, U256::from(1)));
    send(&server, &alice.invoke(5, Chain::contract(), word(3)));
    send(&server, &bob.transfer(3, alice.address, U256::from(2)));
    send(&server, &bob.transfer(9, alice.address, U256::from(3)));
    server
}

#[test]
fn the_pool_is_shown_by_state_sender_and_nonce() {
    let server = filled();
    let client = server.client;
    let (alice, bob) = (Person::alice().address, Person::bob().address);
    assert_eq!(client.call("txpool_status", json!([])), json!({ "pending": "0x3", "queued": "0x1" }));
    let content = client.call("txpool_content", json!([]));
    let (alices, bobs) = (alice.to_checksum(None), bob.to_checksum(None));
    assert_eq!(content["pending"].as_object().unwrap().len(), 2);
    assert_eq!(content["queued"].as_object().unwrap().len(), 1);
    for (state, sender, nonce) in
        [("pending", &alices, "4"), ("pending", &alices, "5"), ("pending", &bobs, "3"), ("queued", &bobs, "9")]
    {
        let shown = &content[state][sender][nonce];
        assert_eq!(shown, &client.call("eth_getTransactionByHash", json!([shown["hash"]])), "{sender} {nonce}");
        assert_eq!(shown["blockNumber"], Value::Null);
    }
    let own = client.call("txpool_contentFrom", json!([bob]));
    assert_eq!(own, json!({ "pending": content["pending"][&bobs], "queued": content["queued"][&bobs] }));
    let none = json!({ "pending": {}, "queued": {} });
    assert_eq!(client.call("txpool_contentFrom", json!([Address::ZERO])), none);
    let lines = client.call("txpool_inspect", json!([]));
    let line = format!("{bobs}: 1 wei + 21000 gas × 3000000000 wei");
    assert_eq!(lines["pending"][&alices]["4"], json!(line));
    assert_eq!(lines["queued"][&bobs].as_object().unwrap().len(), 1);
    let empty = Server::full();
    assert_eq!(empty.client.call("txpool_content", json!([])), none);
    assert_eq!(empty.client.call("txpool_status", json!([])), json!({ "pending": "0x0", "queued": "0x0" }));
}

#[test]
fn a_pool_that_fits_into_no_answer_is_refused_and_one_sender_of_it_is_not() {
    let server = Chain::full().serve(ServerLimits { response_bytes_max: 3_000, ..ServerLimits::default() });
    let alice = Person::alice();
    for nonce in 4..30 {
        send(&server, &alice.transfer(nonce, Address::ZERO, U256::from(1)));
    }
    send(&server, &Person::bob().transfer(3, Address::ZERO, U256::from(1)));
    for method in ["txpool_content", "txpool_contentFrom"] {
        let params = if method == "txpool_content" { json!([]) } else { json!([alice.address]) };
        assert_eq!(server.client.fail(method, params).0, -32003);
    }
    let own = server.client.call("txpool_contentFrom", json!([Person::bob().address]));
    assert_eq!(own["pending"].as_object().unwrap().len(), 1);
}

#[test]
fn the_pending_block_holds_what_a_proposer_would_take() {
    let server = filled();
    let client = server.client;
    let block = client.call("eth_getBlockByNumber", json!(["pending", true]));
    let latest = client.call("eth_getBlockByNumber", json!(["latest"]));
    assert_eq!((&block["number"], &block["parentHash"]), (&json!("0x8"), &latest["hash"]));
    for unknown in ["hash", "nonce", "miner"] {
        assert_eq!(block[unknown], Value::Null, "{unknown}");
    }
    assert_eq!(block["baseFeePerGas"], client.call("eth_baseFee", json!([])));
    let transactions = block["transactions"].as_array().unwrap();
    assert_eq!(transactions.len(), 3);
    for (index, transaction) in transactions.iter().enumerate() {
        assert_eq!(transaction["blockHash"], Value::Null);
        assert_eq!(transaction, &client.call("eth_getTransactionByHash", json!([transaction["hash"]])));
        let place = json!(["pending", format!("{index:#x}")]);
        assert_eq!(transaction, &client.call("eth_getTransactionByBlockNumberAndIndex", place));
    }
    assert_eq!(client.call("eth_getTransactionByBlockNumberAndIndex", json!(["pending", "0x3"])), Value::Null);
    assert_eq!(client.call("eth_getBlockTransactionCountByNumber", json!(["pending"])), "0x3");
    let hashes: Vec<&Value> = transactions.iter().map(|it| &it["hash"]).collect();
    assert_eq!(client.call("eth_getBlockByNumber", json!(["pending"]))["transactions"], json!(hashes));
    // Made as described, the block uses the gas, and has the receipts, that were foretold.
    let order: Vec<Transaction> = {
        let pool = server.chain.pool.lock().unwrap();
        let by_hash =
            |hash: &&Value| pool.get(&serde_json::from_value((**hash).clone()).unwrap()).unwrap().inner().clone();
        hashes.iter().map(by_hash).collect()
    };
    server.chain.produce(order);
    let made = client.call("eth_getBlockByNumber", json!(["0x8"]));
    for field in ["gasUsed", "receiptsRoot", "logsBloom", "transactionsRoot", "baseFeePerGas", "gasLimit", "size"] {
        assert_eq!(made[field], block[field], "{field}");
    }
    let after = client.call("eth_getBlockByNumber", json!(["pending"]));
    assert_eq!((&after["number"], &after["transactions"]), (&json!("0x9"), &json!([])));
}

#[test]
fn an_empty_pending_block_is_shown_as_geth_shows_it() {
    let server = Server::full();
    let mut block = server.client.call("eth_getBlockByNumber", json!(["pending"]));
    // The clock's part.
    assert!(block["timestamp"].as_str().unwrap().len() > 4 && block["extraData"].as_str().unwrap().len() == 18);
    block.as_object_mut().unwrap().remove("timestamp");
    block.as_object_mut().unwrap().remove("extraData");
    insta::assert_snapshot!("block_pending", pretty(&block));
}
