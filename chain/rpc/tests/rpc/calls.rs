//! `eth_call` and `eth_estimateGas`: results, reverts, refusals.

use crate::chain::{Chain, ETHER, Person, Server, dynamic, raw, word};
use alloy_consensus::TxEip1559;
use alloy_primitives::{B256, Bytes, TxKind, U256, hex};
use serde_json::{Value, json};

#[test]
fn a_call_returns_what_the_contract_returns() {
    let server = Server::full();
    let client = server.client;
    let eight = json!(B256::with_last_byte(8));
    let contract = Chain::contract();
    for request in [
        json!({ "to": contract }),
        json!({ "to": contract, "input": "0x", "from": Person::alice().address, "gas": "0xffffff" }),
    ] {
        assert_eq!(client.call("eth_call", json!([request])), eight);
        assert_eq!(client.call("eth_call", json!([request, "latest", {}, {}])), eight);
        assert_eq!(client.call("eth_call", json!([request, { "blockNumber": "0x5" }])), eight);
    }
    // A write is forgotten.
    assert_eq!(client.call("eth_call", json!([{ "to": contract, "data": word(3) }, "pending"])), "0x");
    assert_eq!(client.call("eth_call", json!([{ "to": contract }])), eight);
    // Nobody is home: success without output.
    assert_eq!(client.call("eth_call", json!([{ "to": Person::carol().address, "data": "0x01" }])), "0x");
    // Creation returns the code.
    let created = client.call("eth_call", json!([{ "input": Bytes::from(crate::code::init()) }]));
    assert_eq!(created, json!(Bytes::from(crate::code::runtime())));
}

#[test]
fn a_call_sees_the_block_that_it_is_asked_at() {
    let server = Server::full();
    // number || timestamp || prevrandao, returned by init code
    let code = "0x43600052426020524460405260606000f3";
    let returned = server.client.call("eth_call", json!([{ "input": code }, "0x5"]));
    let header = server.chain.store.header(5).unwrap().unwrap();
    let mut want = B256::from(U256::from(5)).to_vec();
    want.extend(B256::from(U256::from(header.timestamp)));
    want.extend(header.mix_hash);
    assert_eq!(returned, json!(Bytes::from(want)));
}

#[test]
fn a_revert_carries_its_reason_and_its_data() {
    let server = Server::full();
    let request = json!([{ "to": Chain::contract(), "data": word(0) }, "latest"]);
    for method in ["eth_call", "eth_estimateGas"] {
        let error = server.client.ask(method, request.clone())["error"].clone();
        assert_eq!(error["code"], 3, "{method}");
        assert_eq!(error["message"], "execution reverted: zero is refused");
        let data = error["data"].as_str().unwrap();
        assert!(data.starts_with("0x08c379a0") && data.contains(&hex::encode("zero is refused")), "{data}");
    }
}

#[test]
fn calls_that_cannot_run_say_why() {
    let server = Server::full();
    let carol = Person::carol().address;
    let cases = [
        ("eth_call", json!({ "to": carol, "gas": "0x1" }), "intrinsic gas too low"),
        ("eth_call", json!({ "from": carol, "to": carol, "value": U256::from(2 * ETHER) }), "insufficient funds"),
        ("eth_call", json!({ "to": carol, "gasPrice": "0x1" }), "max fee per gas less than block base fee"),
        (
            "eth_call",
            json!({ "to": carol, "maxFeePerGas": "0x1", "maxPriorityFeePerGas": "0x2" }),
            "max priority fee per gas higher",
        ),
        ("eth_call", json!({ "input": "0xfe" }), ""),
        (
            "eth_estimateGas",
            json!({ "from": carol, "to": carol, "value": U256::from(2 * ETHER) }),
            "insufficient funds",
        ),
        ("eth_estimateGas", json!({ "input": "0xfe" }), ""),
        (
            "eth_estimateGas",
            json!({ "to": Chain::contract(), "input": B256::repeat_byte(0xff) }),
            "gas required exceeds allowance",
        ),
    ];
    for (method, request, start) in cases {
        let (code, message) = server.client.fail(method, json!([request]));
        assert_eq!(code, -32000, "{method} {request}: {message}");
        assert!(message.starts_with(start) && !message.is_empty(), "{method} {request}: {message}");
    }
}

#[test]
fn parameters_of_a_call_are_checked_by_name() {
    let server = Server::full();
    let contract = Chain::contract().to_string();
    let cases = [
        (json!([]), "invalid argument 0 (transaction): missing value"),
        (json!(["0x"]), "invalid argument 0 (transaction): expected a transaction object"),
        (json!([{ "to": "0x1" }]), "invalid argument 0 (transaction): field \"to\": expected an address"),
        (json!([{ "chainId": "0x1" }]), "invalid argument 0 (transaction): field \"chainId\": expected 0x4b53"),
        (json!([{ "type": "0x3" }]), "invalid argument 0 (transaction): field \"type\": transaction type 3"),
        (json!([{}, "newest"]), "invalid argument 1 (block): expected a block number"),
        (json!([{}, "latest", { "0x00": {} }]), "invalid argument 2 (stateOverrides): "),
        (
            json!([{}, "latest", { (contract): { "balances": "0x1" } }]),
            "invalid argument 2 (stateOverrides): unknown field",
        ),
        (json!([{}, "latest", {}, { "time": "now" }]), "invalid argument 3 (blockOverrides): "),
        (json!([{}, "latest", {}, {}, {}]), "too many arguments, want at most 4, got 5"),
    ];
    for (params, start) in cases {
        let (code, message) = server.client.fail("eth_call", params.clone());
        assert_eq!(code, -32602, "{params}: {message}");
        assert!(message.starts_with(start), "{params}: {message}");
    }
}

#[test]
fn an_estimate_is_enough_and_not_much_more() {
    let server = Server::full();
    let (client, alice) = (server.client, Person::alice());
    let transfer = json!([{ "from": alice.address, "to": Person::carol().address, "value": "0x1" }]);
    assert_eq!(client.call("eth_estimateGas", transfer), "0x5208");
    let request = json!([{ "from": alice.address, "to": Chain::contract(), "data": word(9) }]);
    let estimate = client.call("eth_estimateGas", request);
    let gas_limit = u64::from_str_radix(&estimate.as_str().unwrap()[2..], 16).unwrap();
    let to = TxKind::Call(Chain::contract());
    let transaction = alice.sign(TxEip1559 { to, input: word(9), gas_limit, ..dynamic(4) });
    client.call("eth_sendRawTransaction", json!([raw(&transaction)]));
    server.chain.produce(vec![transaction.clone()]);
    let receipt = client.call("eth_getTransactionReceipt", json!([transaction.tx_hash()]));
    assert_eq!(receipt["status"], "0x1");
    let used = u64::from_str_radix(&receipt["gasUsed"].as_str().unwrap()[2..], 16).unwrap();
    assert!(gas_limit < used * 11 / 10, "estimate {gas_limit}, used {used}");
    assert_ne!(receipt["logs"], Value::Array(vec![]));
}

#[test]
fn an_estimate_is_for_a_block_to_come() {
    let server = Server::full();
    let head = server.client.call("eth_blockNumber", json!([]));
    let number = u64::from_str_radix(&head.as_str().unwrap()[2..], 16).unwrap();
    let header = server.chain.store.header(number).unwrap().unwrap();
    // Once time has passed since the head, it writes a slot: as a pair of Uniswap v2 does with its prices.
    let mut code = vec![0x67];
    code.extend(header.timestamp.to_be_bytes());
    code.extend([0x42, 0x11, 0x60, 15, 0x57, 0x00, 0x5b, 0x60, 1, 0x60, 0x99, 0x55, 0x00]);
    let carol = Person::carol().address;
    let state = json!({ (carol.to_string()): { "code": Bytes::from(code) } });
    let gas = |block: Value| {
        let gas = server.client.call("eth_estimateGas", json!([{ "to": carol }, block, state]));
        u64::from_str_radix(gas.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    };
    for block in [json!("latest"), json!("pending"), Value::Null] {
        assert!(gas(block.clone()) > 40_000, "{block}: {}", gas(block.clone()));
    }
    assert!(gas(head) < 22_000);
}

#[test]
fn a_call_with_an_authorization_runs_the_code_that_it_gives_and_pays_for_it() {
    let server = Server::full();
    let (alice, carol) = (Person::alice(), Person::carol());
    let authorization = json!(carol.authorize(Chain::contract(), 0));
    let plain = json!({ "from": alice.address, "to": carol.address, "input": word(7) });
    let mut delegated = plain.clone();
    delegated["authorizationList"] = json!([authorization]);
    // Without it carol's account has no code; with it a call with zero reverts as the contract does.
    assert_eq!(server.client.call("eth_call", json!([plain])), "0x");
    let gas = |call: &Value| {
        let gas = server.client.call("eth_estimateGas", json!([call]));
        u64::from_str_radix(gas.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    };
    assert!(gas(&delegated) >= gas(&plain) + 25_000, "{} {}", gas(&delegated), gas(&plain));
    delegated["input"] = json!(word(0));
    assert_eq!(server.client.fail("eth_call", json!([delegated])).0, 3);
    for price in ["gasPrice", "maxFeePerGas"] {
        let mut priced = delegated.clone();
        priced[price] = json!("0xb2d05e00");
        assert_eq!(server.client.fail("eth_call", json!([priced])).0, 3);
    }
    // A used or foreign nonce gives no code.
    delegated["authorizationList"] = json!([carol.authorize(Chain::contract(), 1)]);
    assert_eq!(server.client.call("eth_call", json!([delegated])), "0x");
    delegated["to"] = Value::Null;
    assert_eq!(server.client.fail("eth_call", json!([delegated])).0, -32602);
}

#[test]
fn overrides_change_what_a_call_and_an_estimate_see() {
    let server = Server::full();
    let (client, contract) = (server.client, Chain::contract().to_string());
    let carol = Person::carol().address.to_string();
    let slot = B256::ZERO.to_string();
    let call =
        |state: Value, block: Value| client.call("eth_call", json!([{ "to": contract }, "latest", state, block]));
    let diff = json!({ (contract.as_str()): { "stateDiff": { (slot.as_str()): B256::with_last_byte(77) } } });
    assert_eq!(call(diff, json!(null)), json!(B256::with_last_byte(77)));
    let empty = json!({ (contract.as_str()): { "state": {} } });
    assert_eq!(call(empty, json!({})), json!(B256::ZERO));
    // NUMBER, returned
    let code = json!({ (contract.as_str()): { "code": "0x435f5260205ff3" } });
    assert_eq!(call(code, json!({ "number": "0x1234" })), json!(B256::from(U256::from(0x1234))));
    // ripemd at an address of its own
    let moved = json!({ "0x0000000000000000000000000000000000000003": { "movePrecompileToAddress": carol } });
    let hash = client.call("eth_call", json!([{ "to": carol, "input": "0x" }, "latest", moved]));
    assert_eq!(hash, "0x0000000000000000000000009c1185a5c5e9fc54612808977ee8f548b2258d31");
    let rich = json!({ (carol.as_str()): { "balance": U256::MAX, "nonce": "0x7" } });
    let send = json!({ "from": carol, "to": contract, "value": U256::from(2 * ETHER) });
    assert_eq!(client.fail("eth_call", json!([send, "latest"])).0, -32000);
    client.call("eth_call", json!([send, "latest", rich]));
    client.call("eth_estimateGas", json!([send, "latest", rich]));
    let both = json!({ (contract.as_str()): { "state": {}, "stateDiff": {} } });
    let (code, message) = client.fail("eth_call", json!([{ "to": contract }, "latest", both]));
    assert_eq!((code, message.contains("both 'state' and 'stateDiff'")), (-32000, true), "{message}");
}
