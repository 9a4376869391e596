//! `eth_sendRawTransaction`, the pool, and the way of a transaction into a block.

use crate::{
    chain::{Chain, ETHER, Person, Server, blob_transaction, dynamic, raw},
    client::pretty,
};
use alloy_consensus::{TxEip1559, TxEip7702, TxLegacy};
use alloy_primitives::{Address, Bytes, TxKind, U256};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

#[test]
fn a_transaction_waits_in_the_pool_and_then_stands_in_a_block() {
    let server = Server::full();
    let (client, alice) = (server.client, Person::alice());
    let transaction = alice.transfer(4, Person::carol().address, U256::from(1));
    let hash = json!([transaction.tx_hash()]);
    assert_eq!(client.call("eth_getTransactionByHash", hash.clone()), Value::Null);
    assert_eq!(client.call("eth_sendRawTransaction", json!([raw(&transaction)])), hash[0]);
    insta::assert_snapshot!("transaction_pending", pretty(&client.call("eth_getTransactionByHash", hash.clone())));
    assert_eq!(client.call("eth_getTransactionReceipt", hash.clone()), Value::Null);
    assert_eq!(client.call("eth_getTransactionCount", json!([alice.address, "latest"])), "0x4");
    assert_eq!(client.call("eth_getTransactionCount", json!([alice.address, "pending"])), "0x5");
    assert!(client.get("/metrics").body.contains("keystead_mempool_transactions 1\n"));
    server.chain.produce(vec![transaction]);
    assert_eq!(client.call("eth_blockNumber", json!([])), "0x8");
    assert_eq!(client.call("eth_getTransactionByHash", hash.clone())["blockNumber"], "0x8");
    assert_eq!(client.call("eth_getTransactionReceipt", hash)["status"], "0x1");
    for block in ["latest", "pending"] {
        assert_eq!(client.call("eth_getTransactionCount", json!([alice.address, block])), "0x5");
    }
    assert!(client.get("/metrics").body.contains("keystead_mempool_transactions 0\n"));
}

#[test]
fn a_gap_in_the_nonces_does_not_count_as_pending() {
    let server = Server::full();
    let alice = Person::alice();
    let count = || server.client.call("eth_getTransactionCount", json!([alice.address, "pending"]));
    let send = |nonce| {
        let transaction = alice.transfer(nonce, Address::ZERO, U256::from(1));
        server.client.call("eth_sendRawTransaction", json!([raw(&transaction)]));
    };
    send(5);
    assert_eq!(count(), "0x4");
    send(4);
    assert_eq!(count(), "0x6");
}

#[test]
fn refusals_use_the_phrases_that_tools_know() {
    let server = Server::full();
    let (client, alice, carol) = (server.client, Person::alice(), Person::carol());
    let send = |bytes: Bytes| client.fail("eth_sendRawTransaction", json!([bytes]));
    let known = alice.transfer(4, carol.address, U256::from(1));
    client.call("eth_sendRawTransaction", json!([raw(&known)]));
    let to = TxKind::Call(carol.address);
    let plain = |nonce| TxEip1559 { to, gas_limit: 21_000, ..dynamic(nonce) };
    let unprotected = TxLegacy { to, gas_limit: 21_000, gas_price: 2_000_000_000, nonce: 5, ..TxLegacy::default() };
    let mut torn = raw(&known).to_vec();
    torn.pop();
    let mut longer = raw(&known).to_vec();
    longer.push(0);
    let cases = [
        (raw(&known), "already known"),
        (raw(&alice.transfer(3, carol.address, U256::from(1))), "nonce too low"),
        (raw(&alice.transfer(4, carol.address, U256::from(2))), "replacement transaction underpriced"),
        (raw(&carol.transfer(0, alice.address, U256::from(2 * ETHER))), "insufficient funds for gas * price + value"),
        (raw(&alice.sign(TxEip1559 { gas_limit: 20_999, ..plain(5) })), "intrinsic gas too low"),
        (raw(&alice.sign(TxEip1559 { chain_id: 1, ..plain(5) })), "invalid chain id"),
        (raw(&alice.sign(unprotected)), "only replay-protected (EIP-155) transactions allowed"),
        (raw(&alice.sign(TxEip1559 { gas_limit: 200_000_000, ..plain(5) })), "exceeds block gas limit"),
        (blob_transaction(), "transaction type 3 is not supported"),
        (Bytes::from_static(&[0x7f, 1]), "malformed transaction"),
        (torn.into(), "malformed transaction"),
        (longer.into(), "malformed transaction"),
        (vec![2; 200_000].into(), "transaction too large"),
    ];
    for (bytes, start) in cases {
        let (code, message) = send(bytes);
        assert_eq!(code, -32000, "{start}: {message}");
        assert!(message.starts_with(start), "{start}: {message}");
    }
    assert_eq!(client.fail("eth_sendRawTransaction", json!(["0x"])).0, -32602);
    assert_eq!(client.fail("eth_sendRawTransaction", json!(["0xzz"])).0, -32602);
    assert_eq!(client.fail("eth_sendRawTransaction", json!([])).0, -32602);
    assert!(client.get("/metrics").body.contains("keystead_mempool_transactions 1\n"));
}

#[test]
fn a_busy_node_refuses_transactions_with_the_limits_code_and_answers_everything_else() {
    let server = Server::full();
    let transaction = raw(&Person::alice().transfer(4, Address::ZERO, U256::from(1)));
    server.busy.store(true, Ordering::Relaxed);
    let (code, message) = server.client.fail("eth_sendRawTransaction", json!([transaction]));
    assert_eq!((code, message.starts_with("the node is busy: send again")), (-32005, true), "{message}");
    assert_eq!(server.client.call("eth_blockNumber", json!([])), "0x7");
    server.busy.store(false, Ordering::Relaxed);
    server.client.call("eth_sendRawTransaction", json!([transaction]));
}

#[test]
fn a_forged_signature_names_nobody() {
    let server = Server::full();
    let mut bytes = raw(&Person::alice().transfer(4, Address::ZERO, U256::from(1))).to_vec();
    // The last 32 bytes are s: the largest word is above half the curve's order.
    let at = bytes.len() - 32;
    bytes[at..].fill(0xff);
    let (code, message) = server.client.fail("eth_sendRawTransaction", json!([Bytes::from(bytes)]));
    assert_eq!(code, -32000);
    assert!(message.starts_with("invalid sender"), "{message}");
}

#[test]
fn each_call_of_a_mixed_batch_is_answered_as_if_it_came_alone() {
    let chain = Chain::empty();
    let server = chain.serve(keystead_rpc::ServerLimits::default());
    let alice = Person::alice();
    let transfer = |nonce| alice.transfer(nonce, Address::ZERO, U256::from(1));
    let mut forged = raw(&transfer(1)).to_vec();
    let at = forged.len() - 32;
    forged[at..].fill(0xff);
    let call = |id: u64, method: &str, params: serde_json::Value| json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    let send = |id: u64, bytes: Bytes| call(id, "eth_sendRawTransaction", json!([bytes]));
    let notification = json!({"jsonrpc": "2.0", "method": "eth_sendRawTransaction", "params": [raw(&transfer(2))]});
    let batch = json!([
        send(0, raw(&transfer(0))),
        send(1, Bytes::from(forged)),
        send(2, raw(&transfer(1))),
        notification,
        send(3, raw(&transfer(0))),
        send(4, Bytes::from_static(&[2, 0xc0])),
        call(5, "eth_sendRawTransaction", json!([])),
        call(6, "eth_getTransactionCount", json!([alice.address, "pending"])),
        send(7, raw(&transfer(3))),
    ]);
    let answers = server.client.post(batch.to_string()).json();
    let answers = answers.as_array().unwrap();
    let ids: Vec<_> = answers.iter().map(|answer| answer["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [0, 1, 2, 3, 4, 5, 6, 7], "the notification has no answer");
    let hash = |nonce| json!(transfer(nonce).tx_hash());
    let results: Vec<_> = [0, 2, 7].map(|at: usize| answers[at]["result"].clone()).into();
    assert_eq!(results, [hash(0), hash(1), hash(3)]);
    assert_eq!(answers[6]["result"], "0x3", "what stands before it in the batch was taken, the notification too");
    let code = |at: usize| answers[at]["error"]["code"].as_i64().unwrap();
    assert_eq!([1, 3, 4, 5].map(code), [-32000, -32000, -32000, -32602], "{answers:?}");
    let message = |at: usize| answers[at]["error"]["message"].as_str().unwrap().to_owned();
    assert!(message(1).starts_with("invalid sender") && message(4).starts_with("malformed transaction"));
    assert!(message(3).contains("already known"), "{}", message(3));
}

#[test]
fn a_batch_of_transactions_is_taken_in_order() {
    let chain = Chain::empty();
    let server = chain.serve(keystead_rpc::ServerLimits::default());
    let alice = Person::alice();
    let transactions: Vec<_> = (0..50).map(|nonce| alice.transfer(nonce, Address::ZERO, U256::from(1))).collect();
    let batch: Vec<_> = transactions
        .iter()
        .enumerate()
        .map(|(id, it)| json!({ "jsonrpc": "2.0", "id": id, "method": "eth_sendRawTransaction", "params": [raw(it)] }))
        .collect();
    let answers = server.client.post(json!(batch).to_string()).json();
    for (index, (answer, transaction)) in answers.as_array().unwrap().iter().zip(&transactions).enumerate() {
        assert_eq!(answer, &json!({ "jsonrpc": "2.0", "id": index, "result": transaction.tx_hash() }));
    }
    assert_eq!(server.client.call("eth_getTransactionCount", json!([alice.address, "pending"])), "0x32");
}

#[test]
fn a_transaction_of_type_4_delegates_an_account_and_is_shown_with_its_authorizations() {
    let server = Server::full();
    let (client, alice, carol) = (server.client, Person::alice(), Person::carol());
    let set_code = |nonce, authority: u64| {
        alice.sign(TxEip7702 {
            chain_id: crate::chain::CHAIN_ID,
            nonce,
            gas_limit: 100_000,
            max_fee_per_gas: 3_000_000_000,
            max_priority_fee_per_gas: 1_000_000_000,
            to: alice.address,
            authorization_list: vec![carol.authorize(Chain::contract(), authority)],
            ..TxEip7702::default()
        })
    };
    let transaction = set_code(4, 0);
    let hash = json!([transaction.tx_hash()]);
    assert_eq!(client.call("eth_sendRawTransaction", json!([raw(&transaction)])), hash[0]);
    let waiting = client.call("eth_getTransactionByHash", hash.clone());
    assert_eq!(
        (&waiting["type"], &waiting["authorizationList"][0]["address"]),
        (&json!("0x4"), &json!(Chain::contract()))
    );
    // The account that it names has one transaction at a time from now on.
    let later = raw(&carol.transfer(1, alice.address, U256::from(1)));
    let (code, message) = client.fail("eth_sendRawTransaction", json!([later]));
    assert!(code == -32000 && message.starts_with("gapped-nonce tx from delegated accounts"), "{message}");
    server.chain.produce(vec![transaction]);
    insta::assert_snapshot!("transaction_set_code", pretty(&client.call("eth_getTransactionByHash", hash.clone())));
    let receipt = client.call("eth_getTransactionReceipt", hash.clone());
    assert_eq!((&receipt["type"], &receipt["status"]), (&json!("0x4"), &json!("0x1")));
    let delegation = format!("0xef0100{:x}", Chain::contract());
    assert_eq!(client.call("eth_getCode", json!([carol.address])), json!(delegation));
    assert_eq!(client.call("eth_getTransactionCount", json!([carol.address])), "0x1");
    // The pool knows the nonce that the authorization used up.
    assert_eq!(client.call("eth_getTransactionCount", json!([carol.address, "pending"])), "0x1");
    let encoded = client.call("debug_getRawTransaction", hash);
    assert!(encoded.as_str().unwrap().starts_with("0x04f8"), "{encoded}");
    // Without authorizations it is refused.
    let bare = alice.sign(TxEip7702 {
        chain_id: crate::chain::CHAIN_ID,
        nonce: 5,
        gas_limit: 100_000,
        max_fee_per_gas: 3_000_000_000,
        to: alice.address,
        ..TxEip7702::default()
    });
    let (code, message) = client.fail("eth_sendRawTransaction", json!([raw(&bare)]));
    assert!(code == -32000 && message.starts_with("set code tx must have at least one authorization"), "{message}");
}
