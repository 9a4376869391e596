//! What waits: `txpool_*`, and `pending` as a block, a transaction, a nonce and a state.

use crate::{
    chain::{Chain, Person, Server, dynamic, raw, word},
    client::pretty,
    code,
};
use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, TxKind, U256};
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

#[test]
fn pending_values_and_calls_are_those_of_the_block_that_is_then_made() {
    let server = filled();
    let client = server.client;
    let (alice, bob, contract) = (Person::alice().address, Person::bob().address, Chain::contract());
    let slot = format!("{:#066x}", 0);
    let values = |tag: &str| {
        let call = json!([{ "to": contract }, tag]);
        [
            client.call("eth_getBalance", json!([alice, tag])),
            client.call("eth_getBalance", json!([bob, tag])),
            client.call("eth_getStorageAt", json!([contract, slot, tag])),
            client.call("eth_call", call),
            client.call("eth_getStorageValues", json!([{ (contract.to_string()): [slot] }, tag])),
        ]
    };
    let (latest, pending) = (values("latest"), values("pending"));
    for (latest, pending) in latest.iter().zip(&pending) {
        assert_ne!(latest, pending);
    }
    assert_eq!(pending[3], json!(word(3)));
    // A call sees the number of the block that it would be in: NUMBER, returned by init code.
    let number = json!({ "data": "0x435f5260205ff3" });
    assert_eq!(client.call("eth_call", json!([number, "latest"])), json!(word(7)));
    assert_eq!(client.call("eth_call", json!([number, "pending"])), json!(word(8)));
    let many =
        client.call("eth_callMany", json!([[{ "transactions": [{ "to": contract }] }], { "blockNumber": "pending" }]));
    assert_eq!(many, json!([[{ "value": word(3) }]]));
    let block = client.call("eth_getBlockByNumber", json!(["pending"]));
    let hashes = block["transactions"].as_array().unwrap().clone();
    let made = {
        let pool = server.chain.pool.lock().unwrap();
        let by_hash = |hash: Value| pool.get(&serde_json::from_value(hash).unwrap()).unwrap().inner().clone();
        hashes.into_iter().map(by_hash).collect::<Vec<Transaction>>()
    };
    server.chain.produce(made);
    assert_eq!(values("latest"), pending);
    // With nothing left to execute both are the same.
    assert_eq!(values("pending"), pending);
}

#[test]
fn code_gas_and_access_lists_at_pending_know_a_contract_that_waits() {
    let server = Server::full();
    let client = server.client;
    let alice = Person::alice();
    let place = alice.address.create(4);
    let stored = json!({ "to": place, "data": word(5) });
    assert_eq!(client.call("eth_getCode", json!([place, "pending"])), "0x");
    assert_eq!(client.call("eth_createAccessList", json!([stored, "pending"]))["accessList"], json!([]));
    let deploy = TxEip1559 { to: TxKind::Create, input: code::init().into(), gas_limit: 1_000_000, ..dynamic(4) };
    send(&server, &alice.sign(deploy));
    let runtime = client.call("eth_getCode", json!([Chain::contract(), "latest"]));
    assert_eq!(client.call("eth_getCode", json!([place, "pending"])), runtime);
    assert_eq!(client.call("eth_getCode", json!([place, "latest"])), "0x");
    let gas = |tag: &str| client.call("eth_estimateGas", json!([stored, tag]));
    assert_ne!(gas("pending"), gas("latest"));
    let touched = client.call("eth_createAccessList", json!([stored, "pending"]));
    let slot = format!("{:#066x}", 0);
    assert_eq!(touched["accessList"], json!([{ "address": place, "storageKeys": [slot] }]));
}
