//! Access lists, many calls, and what the explorer Otterscan asks.

use crate::{
    chain::{Chain, Person, Server, dynamic, word},
    code,
};
use alloy_consensus::TxEip1559;
use alloy_primitives::{B256, Bytes, TxKind, U256};
use keystead_rpc::ServerLimits;
use serde_json::{Value, json};

#[test]
fn an_access_list_names_slots_and_says_why_a_call_fails() {
    let server = Server::full();
    let (client, contract) = (server.client, Chain::contract());
    let list = client.call("eth_createAccessList", json!([{ "to": contract, "data": word(3) }, "latest"]));
    assert_eq!(list["accessList"], json!([{ "address": contract, "storageKeys": [B256::ZERO] }]));
    assert_eq!(list.get("error"), None);
    let gas = json!({ "to": contract, "data": word(3), "accessList": list["accessList"], "gas": list["gasUsed"] });
    client.call("eth_call", json!([gas]));
    let failed = client.call("eth_createAccessList", json!([{ "to": contract, "data": word(0) }]));
    assert_eq!(failed["error"], "execution reverted: zero is refused");
    let overridden = json!({ (contract.to_string()): { "code": "0x" } });
    let bare = client.call("eth_createAccessList", json!([{ "to": contract, "data": word(0) }, "latest", overridden]));
    assert_eq!((&bare["accessList"], bare.get("error")), (&json!([]), None));
}

#[test]
fn many_calls_see_each_other_and_their_own_blocks() {
    let server = Server::full();
    let (client, contract) = (server.client, Chain::contract());
    let bundles = json!([
        { "transactions": [{ "to": contract, "data": word(3) }, { "to": contract }, { "to": contract, "data": word(0) }] },
        { "transactions": [{ "to": contract }, { "input": "0x425f5260205ff3" }], "blockOverride": { "time": "0x5" } },
    ]);
    let answers = client.call("eth_callMany", json!([bundles, { "blockNumber": "latest" }]));
    assert_eq!((&answers[0][0]["value"], &answers[0][1]["value"]), (&json!("0x"), &json!(B256::with_last_byte(3))));
    assert_eq!(answers[0][2]["error"]["code"], 3);
    assert_eq!(answers[1][0]["value"], json!(B256::with_last_byte(3)));
    assert_eq!(answers[1][1]["value"], json!(B256::with_last_byte(5)));
    assert_eq!(client.call("eth_call", json!([{ "to": contract }])), json!(B256::with_last_byte(8)));
    assert_eq!(client.fail("eth_callMany", json!([[7]])).0, -32602);
    assert_eq!(client.fail("eth_callMany", json!([[], { "transactionIndex": 3 }])).0, -32602);
}

/// The usual chain and block 8: a factory makes a contract and passes value on, a call fails.
fn explored(limits: ServerLimits) -> Server {
    let server = Chain::full().serve(limits);
    let (alice, bob) = (Person::alice(), Person::bob());
    // CREATE2 of calldata with the call's value
    let factory = "0x365f5f375f365f34f500";
    let factory: Bytes = factory.parse().unwrap();
    let mut init = vec![0x60, factory.len() as u8, 0x80, 0x60, 0x09, 0x5f, 0x39, 0x5f, 0xf3];
    init.extend(&factory);
    server.chain.produce(vec![
        alice.sign(TxEip1559 { to: TxKind::Create, input: init.into(), gas_limit: 500_000, ..dynamic(4) }),
        alice.sign(TxEip1559 {
            to: TxKind::Call(alice.address.create(4)),
            input: code::init().into(),
            value: U256::from(9),
            gas_limit: 1_000_000,
            ..dynamic(5)
        }),
        bob.invoke(3, Chain::contract(), word(0)),
    ]);
    server
}

#[test]
fn otterscan_sees_blocks_and_transactions_from_inside() {
    let server = explored(ServerLimits::default());
    let client = server.client;
    let block = server.chain.store.block(8).unwrap().unwrap();
    let hash = |index: usize| *block.transactions()[index].tx_hash();
    let factory = Person::alice().address.create(4);
    assert_eq!(client.call("ots_getApiLevel", json!([])), 8);
    assert_eq!(client.call("ots_hasCode", json!([factory, "latest"])), true);
    assert_eq!(client.call("ots_hasCode", json!([factory, "0x7"])), false);
    assert_eq!(client.call("ots_hasCode", json!([Person::alice().address])), false);

    let child = factory.create2_from_code(B256::ZERO, code::init());
    let operations = client.call("ots_getInternalOperations", json!([hash(1)]));
    assert_eq!(operations, json!([{ "type": 3, "from": factory, "to": child, "value": "0x9" }]));
    let entries = client.call("ots_traceTransaction", json!([hash(1)]));
    let kinds: Vec<_> = entries.as_array().unwrap().iter().map(|it| (&it["type"], &it["depth"])).collect();
    assert_eq!(kinds, [(&json!("CALL"), &json!(0)), (&json!("CREATE2"), &json!(1))]);
    let error = client.call("ots_getTransactionError", json!([hash(2)]));
    assert!(error.as_str().unwrap().starts_with("0x08c379a0"), "{error}");
    assert_eq!(client.call("ots_getTransactionError", json!([hash(0)])), "0x");
    for method in ["ots_getInternalOperations", "ots_traceTransaction", "ots_getTransactionError"] {
        assert_eq!(client.call(method, json!([B256::ZERO])), Value::Null);
    }

    let details = client.call("ots_getBlockDetails", json!(["0x8"]));
    assert_eq!(details["block"]["transactionCount"], 3);
    assert_eq!(details["block"].get("transactions"), None);
    assert_eq!(client.call("ots_getBlockDetailsByHash", json!([block.hash()])), details);
    let receipts = client.call("eth_getBlockReceipts", json!(["0x8"]));
    let number = |value: &Value| u128::from_str_radix(&value.as_str().unwrap()[2..], 16).unwrap();
    let fees: u128 =
        (0..3).map(|index| number(&receipts[index]["gasUsed"]) * number(&receipts[index]["effectiveGasPrice"])).sum();
    assert_eq!(number(&details["totalFees"]), fees);

    let page = client.call("ots_getBlockTransactions", json!(["0x8", 1, 2]));
    assert_eq!(page["fullblock"]["transactions"][0]["hash"], json!(hash(2)));
    assert_eq!(page["fullblock"]["transactions"][0]["input"], "0x00000000");
    assert_eq!((page["receipts"].as_array().unwrap().len(), &page["receipts"][0]["logs"]), (1, &Value::Null));
    assert_eq!(page["fullblock"]["transactionCount"], 3);
    assert_eq!(client.fail("ots_getBlockTransactions", json!(["0x8", 0, 0])).0, -32602);
}

#[test]
fn otterscan_searches_backwards_and_forwards_in_pages() {
    let server = explored(ServerLimits::default());
    let client = server.client;
    let alice = Person::alice().address;
    let nonces = |page: &Value| -> Vec<u64> {
        let number = |it: &Value| u64::from_str_radix(&it["nonce"].as_str().unwrap()[2..], 16).unwrap();
        page["txs"].as_array().unwrap().iter().filter(|it| it["from"] == json!(alice)).map(number).collect()
    };
    let first = client.call("ots_searchTransactionsBefore", json!([alice, 0, 2]));
    assert_eq!((nonces(&first), &first["firstPage"], &first["lastPage"]), (vec![5, 4], &json!(true), &json!(false)));
    assert_eq!(first["receipts"][0]["transactionHash"], first["txs"][0]["hash"]);
    let rest = client.call("ots_searchTransactionsBefore", json!([alice, 8, 25]));
    assert_eq!((nonces(&rest), &rest["firstPage"], &rest["lastPage"]), (vec![3, 2, 1, 0], &json!(false), &json!(true)));
    let oldest = client.call("ots_searchTransactionsAfter", json!([alice, 0, 1]));
    // A block is never cut.
    assert_eq!((nonces(&oldest), &oldest["lastPage"]), (vec![1, 0], &json!(true)));
    let newer = client.call("ots_searchTransactionsAfter", json!([alice, 3, 25]));
    assert_eq!((nonces(&newer), &newer["firstPage"]), (vec![5, 4], &json!(true)));
    // By recipient, by created contract, by log.
    let contract = client.call("ots_searchTransactionsBefore", json!([Chain::contract(), 0, 25]));
    assert_eq!(contract["txs"].as_array().unwrap().len(), 5);

    let hash = |block: u64, index: usize| {
        json!(server.chain.store.block(block).unwrap().unwrap().transactions()[index].tx_hash())
    };
    let find = |nonce: u64| client.call("ots_getTransactionBySenderAndNonce", json!([alice, nonce]));
    assert_eq!((find(0), find(2), find(5), find(6)), (hash(1, 0), hash(2, 0), hash(8, 1), Value::Null));
    let creator = |address: Value| client.call("ots_getContractCreator", json!([address]));
    let factory = alice.create(4);
    let child = factory.create2_from_code(B256::ZERO, code::init());
    assert_eq!(creator(json!(factory)), json!({ "hash": hash(8, 0), "creator": alice }));
    assert_eq!(creator(json!(child)), json!({ "hash": hash(8, 1), "creator": factory }));
    // Its state is gone: found by the transaction that created it.
    assert_eq!(creator(json!(Chain::contract())), json!({ "hash": hash(2, 0), "creator": alice }));
    assert_eq!(creator(json!(alice)), Value::Null);
}

#[test]
fn a_search_that_would_read_too_much_says_where_it_stopped() {
    let server = explored(ServerLimits { search_blocks_max: 3, ..ServerLimits::default() });
    let (client, carol) = (server.client, Person::carol().address);
    let (code, message) = client.fail("ots_searchTransactionsBefore", json!([carol, 0, 25]));
    assert_eq!(code, -32005);
    assert!(message.ends_with("searches 3 blocks at most: go on from block 5"), "{message}");
    // What was found is given; the caller goes on from there.
    let bob = client.call("ots_searchTransactionsBefore", json!([Person::bob().address, 0, 25]));
    assert_eq!((bob["txs"].as_array().unwrap().len(), &bob["lastPage"]), (1, &json!(false)));
    assert_eq!(client.fail("ots_getTransactionBySenderAndNonce", json!([Person::alice().address, 0])).0, -32005);
    assert_eq!(client.fail("ots_getContractCreator", json!([Chain::contract()])).0, -32005);
}

#[test]
fn a_simulation_continues_the_chain_with_real_roots() {
    let server = Server::full();
    let (client, contract) = (server.client, Chain::contract());
    let alice = Person::alice();
    let payload = json!({ "blockStateCalls": [
        { "calls": [{ "from": alice.address, "to": contract, "input": word(5) }, { "to": contract, "input": word(0) }] },
        { "calls": [{ "to": contract }], "blockOverrides": { "feeRecipient": alice.address } },
    ] });
    let blocks = client.call("eth_simulateV1", json!([payload, "latest"]));
    let head = client.call("eth_getBlockByNumber", json!(["latest"]));
    assert_eq!((&blocks[0]["parentHash"], &blocks[0]["number"]), (&head["hash"], &json!("0x8")));
    assert_eq!((&blocks[1]["parentHash"], &blocks[1]["miner"]), (&blocks[0]["hash"], &json!(alice.address)));
    let calls = &blocks[0]["calls"];
    assert_eq!((&calls[0]["status"], &calls[0]["logs"][0]["topics"][0]), (&json!("0x1"), &json!(code::TOPIC)));
    assert_eq!(calls[0]["logs"][0]["blockHash"], blocks[0]["hash"]);
    assert_eq!(calls[0]["logs"][0]["transactionHash"], blocks[0]["transactions"][0]);
    assert_eq!((&calls[1]["status"], &calls[1]["returnData"]), (&json!("0x0"), &json!("0x")));
    assert_eq!((&calls[1]["error"]["code"], calls[1]["error"].get("data").is_some()), (&json!(3), true));
    assert_eq!(blocks[1]["calls"][0]["returnData"], json!(B256::with_last_byte(5)));
    assert_ne!(blocks[0]["stateRoot"], head["stateRoot"]);
    // Nothing of it is kept, and the same question has the same answer.
    assert_eq!(client.call("eth_simulateV1", json!([payload])), blocks);
    assert_eq!(client.call("eth_call", json!([{ "to": contract }])), json!(B256::with_last_byte(8)));
    // An empty block changes no state but for its system calls, whose contracts this chain lacks.
    let empty = client.call("eth_simulateV1", json!([{ "blockStateCalls": [{}] }]));
    assert_eq!(empty[0]["stateRoot"], head["stateRoot"]);
    let time = u64::from_str_radix(&head["timestamp"].as_str().unwrap()[2..], 16).unwrap() + 1;
    assert_eq!(empty[0]["extraData"], json!(Bytes::copy_from_slice(&(time * 1_000).to_be_bytes())));
}

#[test]
fn the_simulated_state_is_the_one_that_the_chain_would_have() {
    let server = Server::full();
    let alice = Person::alice();
    // A free transfer without a tip changes what a priced one changes, but for the fee: simulate the priced one.
    let transfer = alice.transfer(4, Person::carol().address, U256::from(9));
    server.chain.produce(vec![transfer]);
    let block = server.client.call("eth_getBlockByNumber", json!(["0x8", true]));
    let call = json!({ "from": alice.address, "to": Person::carol().address, "value": "0x9", "gas": "0x5208",
        "maxFeePerGas": block["transactions"][0]["maxFeePerGas"],
        "maxPriorityFeePerGas": block["transactions"][0]["maxPriorityFeePerGas"] });
    let overrides = json!({ "feeRecipient": block["miner"], "prevRandao": block["mixHash"] });
    let payload = json!({ "validation": true, "returnFullTransactions": true,
        "blockStateCalls": [{ "blockOverrides": overrides, "calls": [call] }] });
    let simulated = server.client.call("eth_simulateV1", json!([payload, "0x7"]))[0].clone();
    for field in ["stateRoot", "receiptsRoot", "gasUsed", "baseFeePerGas", "parentHash", "number", "mixHash"] {
        assert_eq!(simulated[field], block[field], "{field}");
    }
    assert_eq!(simulated["transactions"][0]["nonce"], "0x4");
    assert_eq!(simulated["transactions"][0]["from"], json!(alice.address));
}

#[test]
fn simulations_that_cannot_be_have_the_codes_of_the_execution_apis() {
    let server = Server::full();
    let alice = Person::alice().address;
    let code = |payload: Value| server.client.fail("eth_simulateV1", json!([payload, "latest"])).0;
    let block = |block: Value| json!({ "blockStateCalls": [block], "validation": true });
    let call = |call: Value| block(json!({ "calls": [call] }));
    let paid = |more: Value| {
        let mut it = json!({ "from": alice, "to": alice, "maxFeePerGas": "0x77359400", "gas": "0x5208" });
        it.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        call(it)
    };
    let many: Vec<_> = (0..257).map(|_| json!({})).collect();
    let cases = [
        (json!({ "blockStateCalls": [] }), -32_602),
        (json!({}), -32_602),
        (json!([]), -32_602),
        (json!({ "blockStateCalls": many }), -38_026),
        (block(json!({ "blockOverrides": { "number": "0x7" } })), -38_020),
        (block(json!({ "blockOverrides": { "number": "0xffffffffffff" } })), -38_026),
        (block(json!({ "blockOverrides": { "time": "0x1" } })), -38_021),
        (block(json!({ "blockOverrides": { "withdrawals": [{}] } })), -32_602),
        (block(json!({ "calls": vec![json!({}); 3_000] })), -38_026),
        (paid(json!({ "nonce": "0x3" })), -38_010),
        (paid(json!({ "nonce": "0x5" })), -38_011),
        (paid(json!({ "maxFeePerGas": "0x1" })), -38_012),
        (paid(json!({ "gas": "0x5207" })), -38_013),
        (paid(json!({ "value": U256::MAX >> 1 })), -38_014),
        (paid(json!({ "gas": "0xffffffff" })), -38_015),
        (paid(json!({ "maxPriorityFeePerGas": "0xffffffff" })), -32_602),
        (paid(json!({ "blobVersionedHashes": [B256::ZERO] })), -32_602),
        (paid(json!({ "chainId": "0x1" })), -32_602),
        (block(json!({ "stateOverrides": { (alice.to_string()): { "movePrecompileToAddress": alice } } })), -32_000),
    ];
    for (payload, want) in cases {
        assert_eq!(code(payload.clone()), want, "{payload}");
    }
    server.client.call("eth_simulateV1", json!([paid(json!({ "nonce": "0x4" }))]));
    assert_eq!(server.client.fail("eth_simulateV1", json!([{ "blockStateCalls": [{}] }, "0x1"])).0, -32_000);
}
