//! `eth_getProof` and `keystead_*`: what a caller can check without trusting this server.

use crate::{
    chain::{CHAIN_ID, Chain, GENESIS_TIME, Person, Server},
    client::pretty,
};
use alloy_primitives::{Address, B256, Bytes, U256};
use keystead_proof::{Bundle, Claim, Statement, Verdict, verify};
use keystead_types::{Account, Certificate};
use serde_json::{Value, json};

/// A moment at which no block of the test chain is old.
const NOW_MS: u64 = GENESIS_TIME * 1_000 + 2_000;

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"))
}

fn quantity(value: &Value) -> u64 {
    read::<alloy_primitives::U64>(value).to()
}

/// Checks the account part of an answer of `eth_getProof` against the header of its block.
fn check_account(server: &Server, number: u64, answer: &Value) {
    let block = server.chain.store.block(number).unwrap().unwrap();
    let account = Account {
        nonce: quantity(&answer["nonce"]),
        balance: read(&answer["balance"]),
        code_hash: read(&answer["codeHash"]),
    };
    let claim = Claim::account(
        number,
        read(&answer["address"]),
        Some((account, read(&answer["storageHash"]))),
        read(&answer["accountProof"]),
    );
    let certificate = Certificate { epoch: 0, view: 1, parent_view: 0, block_hash: block.hash(), signature: [0; 48] };
    Bundle::new(CHAIN_ID, certificate, &[block.header().clone()], claim).unwrap();
}

/// Checks one storage entry of an answer of `eth_getProof` in the same way.
fn check_storage(server: &Server, number: u64, answer: &Value, entry: &Value) {
    let block = server.chain.store.block(number).unwrap().unwrap();
    let key = entry["key"].as_str().unwrap();
    let slot = U256::from_str_radix(&key[2..], 16).unwrap();
    let slot = keystead_proof::SlotValue { address: read(&answer["address"]), slot, value: read(&entry["value"]) };
    let claim = Claim::storage(number, slot, read(&answer["accountProof"]), read(&entry["proof"]));
    let certificate = Certificate { epoch: 0, view: 1, parent_view: 0, block_hash: block.hash(), signature: [0; 48] };
    Bundle::new(CHAIN_ID, certificate, &[block.header().clone()], claim).unwrap();
}

#[test]
fn reads_and_proofs_hold_at_every_block_of_an_archive() {
    let server = Chain::archive().serve(keystead_rpc::ServerLimits::default());
    let (client, contract, alice) = (&server.client, Chain::contract(), Person::alice().address);
    let blocks = [(0, "0x0", 0), (1, "0x2", 0), (2, "0x3", 0), (3, "0x4", 8), (4, "0x4", 8), (7, "0x4", 8)];
    for (number, nonce, value) in blocks {
        let id = format!("{number:#x}");
        assert_eq!(client.call("eth_getTransactionCount", json!([alice, id])), nonce, "{id}");
        let word = json!(B256::with_last_byte(value));
        assert_eq!(client.call("eth_getStorageAt", json!([contract, "0x0", id])), word, "{id}");
        assert_eq!(client.call("eth_getCode", json!([contract, id])) == json!("0x"), number < 2, "{id}");
        assert_eq!(client.call("eth_call", json!([{ "to": alice }, id])), "0x", "{id}");
        check_account(&server, number, &client.call("eth_getProof", json!([alice, [], id])));
        if number >= 2 {
            let answer = client.call("eth_getProof", json!([contract, ["0x0", "0x1"], id]));
            check_account(&server, number, &answer);
            for entry in answer["storageProof"].as_array().unwrap() {
                check_storage(&server, number, &answer, entry);
            }
        }
    }
}

#[test]
fn account_and_storage_proofs_hold_against_the_header() {
    let server = Server::full();
    let contract = Chain::contract();
    let keys = json!(["0x0", B256::ZERO, "0x1"]);
    let answer = server.client.call("eth_getProof", json!([contract, keys, "latest"]));
    insta::assert_snapshot!("proof_of_a_contract", pretty(&answer));
    check_account(&server, 7, &answer);
    let entries = answer["storageProof"].as_array().unwrap();
    assert_eq!(entries[0]["key"], "0x0");
    assert_eq!(entries[1]["key"], json!(B256::ZERO));
    let values: Vec<_> = entries.iter().map(|entry| entry["value"].as_str().unwrap()).collect();
    assert_eq!(values, ["0x8", "0x8", "0x0"]);
    for entry in entries {
        check_storage(&server, 7, &answer, entry);
    }
    for address in [Person::alice().address, Person::carol().address, Address::repeat_byte(9)] {
        for number in 4..=7 {
            let answer = server.client.call("eth_getProof", json!([address, ["0x5"], format!("{number:#x}")]));
            check_account(&server, number, &answer);
            check_storage(&server, number, &answer, &answer["storageProof"][0]);
        }
    }
    let absent = server.client.call("eth_getProof", json!([Address::repeat_byte(9), []]));
    insta::assert_snapshot!("proof_of_absence", pretty(&absent));
}

#[test]
fn a_proof_request_is_bounded_and_checked() {
    let limits = keystead_rpc::ServerLimits { proof_keys_max: 2, ..keystead_rpc::ServerLimits::default() };
    let server = Chain::full().serve(limits);
    let alice = Person::alice().address;
    server.client.call("eth_getProof", json!([alice, ["0x0", "0x1"]]));
    let (code, message) = server.client.fail("eth_getProof", json!([alice, ["0x0", "0x1", "0x2"]]));
    assert_eq!(code, -32602);
    assert_eq!(message, "invalid argument 1 (storageKeys): too many storage keys: got 3, limit 2");
    assert_eq!(server.client.fail("eth_getProof", json!([alice, ["0xasdf"]])).0, -32602);
    assert_eq!(server.client.fail("eth_getProof", json!([alice])).0, -32602);
}

#[test]
fn the_committee_is_listed_with_its_key() {
    let server = Server::full();
    let answer = server.client.call("keystead_validators", json!([]));
    insta::assert_snapshot!("validators", pretty(&answer));
    assert_eq!(read::<Bytes>(&answer["networkKey"]).as_ref(), server.chain.network_key());
    assert_eq!(read::<Bytes>(&answer["namespace"]).as_ref(), b"keystead-19283");
}

#[test]
fn a_height_is_final_by_its_own_certificate_or_a_descendants() {
    let server = Server::full();
    let client = server.client;
    insta::assert_snapshot!("finalization", pretty(&client.call("keystead_getFinalization", json!(["0x3"]))));
    for (height, certified) in [(0, 2), (1, 2), (2, 2), (3, 4), (5, 6), (6, 6)] {
        let answer = client.call("keystead_getFinalization", json!([format!("{height:#x}")]));
        let headers: Vec<Bytes> = read(&answer["headers"]);
        assert_eq!(headers.len() as u64, certified - height + 1);
        assert_eq!(answer["certificate"]["blockHash"], json!(alloy_primitives::keccak256(&headers[0])));
        let last = server.chain.store.block(height).unwrap().unwrap();
        assert_eq!(alloy_primitives::keccak256(headers.last().unwrap()), last.hash());
    }
    for open in ["0x7", "latest", "0x8"] {
        assert_eq!(client.call("keystead_getFinalization", json!([open])), Value::Null, "{open}");
    }
    server.chain.certify(7);
    assert_ne!(client.call("keystead_getFinalization", json!(["latest"])), Value::Null);
}

/// Asks for a bundle, and verifies it as a stranger would.
fn proved(server: &Server, request: Value) -> Claim {
    let bundle = server.client.call("keystead_getProof", json!([request]));
    let text = bundle.to_string();
    let report = verify(text.as_bytes(), &server.chain.network_key(), NOW_MS, None);
    assert_eq!(report.verdict, Verdict::Proved, "{request}: {report}");
    report.proved().unwrap().clone()
}

#[test]
fn every_kind_of_claim_is_proved_to_a_stranger() {
    let server = Server::full();
    let (alice, contract) = (Person::alice().address, Chain::contract());
    let block = server.chain.store.block(3).unwrap().unwrap();
    let hash = |index: usize| json!(block.transactions()[index].tx_hash());
    let account = proved(&server, json!({ "kind": "account", "address": alice }));
    assert_eq!(account.block, 6, "the newest block with a certificate");
    assert!(matches!(account.statement, Statement::Account { account, .. } if account.nonce == 4));
    let older = proved(&server, json!({ "kind": "account", "address": alice, "block": "0x5" }));
    assert_eq!(older.block, 5);
    let slot = |slot: u8| json!({ "kind": "storage", "address": contract, "slot": B256::with_last_byte(slot) });
    let value = proved(&server, slot(0)).statement;
    assert!(matches!(value, Statement::Storage { value, .. } if value == B256::with_last_byte(8)));
    assert!(matches!(proved(&server, slot(1)).statement, Statement::StorageAbsent { .. }));
    let transaction = proved(&server, json!({ "kind": "transaction", "transactionHash": hash(1) }));
    assert_eq!(transaction.block, 3);
    assert!(matches!(transaction.statement, Statement::Transaction(it) if it.index == 1));
    let receipt = proved(&server, json!({ "kind": "receipt", "transactionHash": hash(2) })).statement;
    assert!(matches!(receipt, Statement::Receipt { succeeded: false, .. }));
    let log = proved(&server, json!({ "kind": "log", "transactionHash": hash(1), "receiptLogIndex": "0x0" })).statement;
    assert!(
        matches!(log, Statement::Log { log, .. } if log.address == contract && log.topics()[0] == crate::code::TOPIC)
    );
    let order = proved(&server, json!({ "kind": "job-result", "order": "0x1" })).statement;
    assert!(matches!(order, Statement::JobResult { order, .. } if order.number == 1));
}

#[test]
fn claims_that_cannot_be_proved_are_refused() {
    let server = Server::full();
    let alice = Person::alice().address;
    let hash = *server.chain.store.block(3).unwrap().unwrap().transactions()[0].tx_hash();
    let cases = [
        (json!({ "kind": "account" }), -32602, "invalid argument 0 (claim): missing field"),
        (json!({ "kind": "wish" }), -32602, "invalid argument 0 (claim): unknown variant"),
        (
            json!({ "kind": "receipt", "transactionHash": hash, "extra": 1 }),
            -32602,
            "invalid argument 0 (claim): unknown field",
        ),
        (json!(7), -32602, "invalid argument 0 (claim)"),
        (
            json!({ "kind": "log", "transactionHash": hash, "receiptLogIndex": "0x1" }),
            -32602,
            "invalid argument 0 (claim): no such log",
        ),
        (
            json!({ "kind": "job-audit", "order": "0x1" }),
            -32602,
            "invalid argument 0 (claim): no such audit: index=1 count=0",
        ),
        (json!({ "kind": "transaction", "transactionHash": B256::ZERO }), -32000, "transaction not found in any block"),
        (json!({ "kind": "account", "address": alice, "block": "0x7" }), -32000, "block 7 has no certificate here yet"),
        (json!({ "kind": "account", "address": alice, "block": "0x3" }), -32000, "state of block 3 is not kept"),
        (json!({ "kind": "account", "address": alice, "block": "0x8" }), -32000, "header not found"),
    ];
    for (request, code, start) in cases {
        let (got, message) = server.client.fail("keystead_getProof", json!([request]));
        assert_eq!(got, code, "{request}: {message}");
        assert!(message.starts_with(start), "{request}: {message}");
    }
    let fresh = Chain::empty().serve(keystead_rpc::ServerLimits::default());
    let (code, message) = fresh.client.fail("keystead_getProof", json!([{ "kind": "account", "address": alice }]));
    assert_eq!(code, -32000);
    assert!(message.starts_with("no block up to the head (0) has a certificate"), "{message}");
}
