//! `specs/keystead.openrpc.json` says what the server does: the same methods and parameters, and answers of that shape.

use crate::{
    chain::{Chain, Person, Server},
    websocket::Socket,
};
use serde_json::{Value, json};

fn document() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../specs/keystead.openrpc.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Why a value is not of a schema; only what the document uses is understood.
fn mismatch(document: &Value, schema: &Value, value: &Value) -> Option<String> {
    if let Some(path) = schema["$ref"].as_str() {
        let target = document.pointer(path.trim_start_matches('#')).unwrap_or_else(|| panic!("no {path}"));
        return mismatch(document, target, value);
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        let fits = choices.iter().filter(|choice| mismatch(document, choice, value).is_none()).count();
        return (fits != 1).then(|| format!("{fits} choices fit {value}"));
    }
    let fits = match schema["type"].as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("type {other} is not understood here"),
    };
    if !fits || schema["enum"].as_array().is_some_and(|known| !known.contains(value)) {
        return Some(format!("{schema} is not {value}"));
    }
    if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str()) {
        let digits = text.strip_prefix("0x")?;
        let hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let length = match pattern {
            "^0x(0|[1-9a-f][0-9a-f]*)$" => digits == "0" || !digits.is_empty() && !digits.starts_with('0'),
            "^0x([0-9a-f]{2})*$" => digits.len() % 2 == 0,
            "^0x[0-9a-f]{64}$" => digits.len() == 64,
            "^0x[0-9a-fA-F]{40}$" => digits.len() == 40,
            other => panic!("pattern {other} is not understood here"),
        };
        return (!hex || !length).then(|| format!("{text} is not {pattern}"));
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        if value.get(name.as_str().unwrap()).is_none() {
            return Some(format!("{name} is missing in {value}"));
        }
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        let found = match schema["properties"].get(name) {
            Some(schema) => mismatch(document, schema, field),
            None => (schema["additionalProperties"] == false).then(|| format!("{name} is not described")),
        };
        if found.is_some() {
            return found;
        }
    }
    value.as_array().into_iter().flatten().find_map(|item| mismatch(document, &schema["items"], item))
}

fn method<'a>(document: &'a Value, name: &str) -> &'a Value {
    let found = document["methods"].as_array().unwrap().iter().find(|method| method["name"] == name);
    found.unwrap_or_else(|| panic!("{name} is not described"))
}

#[test]
fn the_document_lists_the_methods_that_the_server_has() {
    let server = Server::full();
    let document = document();
    let discovered = server.client.call("rpc.discover", json!([]));
    assert_eq!(document["openrpc"], discovered["openrpc"]);
    assert_eq!(document["info"]["version"], discovered["info"]["version"]);
    let names = |document: &Value| -> Vec<String> {
        let methods = document["methods"].as_array().unwrap();
        let names = methods.iter().map(|method| method["name"].as_str().unwrap().to_owned());
        let mut names: Vec<_> = names.filter(|name| name.starts_with("keystead_")).collect();
        names.sort();
        names
    };
    assert_eq!(names(&document), names(&discovered));
    for name in names(&discovered) {
        let (described, real) = (method(&document, &name), method(&discovered, &name));
        assert_eq!(described["summary"], real["summary"], "{name}");
        let (described, real) = (described["params"].as_array().unwrap(), real["params"].as_array().unwrap());
        assert_eq!(described.len(), real.len(), "{name}");
        for (described, real) in described.iter().zip(real) {
            assert_eq!((&described["name"], &described["required"]), (&real["name"], &real["required"]), "{name}");
        }
    }
}

#[test]
fn answers_have_the_shapes_of_the_document() {
    let server = Server::full();
    let document = document();
    let transaction = json!(server.chain.store.block(3).unwrap().unwrap().transactions()[0].tx_hash());
    let alice = Person::alice().address;
    let mut calls = vec![
        ("keystead_validators", json!([])),
        ("keystead_getBeacon", json!(["0x3"])),
        ("keystead_getFinalization", json!(["0x3"])),
        ("keystead_getFinalization", json!(["0x7"])),
        ("keystead_getGenesis", json!([])),
        ("keystead_getState", json!(["0x6", "accounts", "0x"])),
        ("keystead_getState", json!(["0x6", "code", format!("{:#066x}", 0)])),
        ("keystead_getState", json!(["0x6", "storage", format!("0x{}", "ff".repeat(64))])),
        ("keystead_getBlocks", json!(["0x1", "0x100"])),
        ("keystead_getBlocks", json!(["0x63", "0x1", "0x0"])),
    ];
    for claim in [
        json!({ "kind": "account", "address": alice, "block": "0x6" }),
        json!({ "kind": "storage", "address": Chain::contract(), "slot": format!("{:#066x}", 0) }),
        json!({ "kind": "storage-absent", "address": Chain::contract(), "slot": format!("{:#066x}", 9) }),
        json!({ "kind": "transaction", "transactionHash": transaction }),
        json!({ "kind": "receipt", "transactionHash": transaction }),
        json!({ "kind": "log", "transactionHash": transaction, "receiptLogIndex": "0x0" }),
    ] {
        calls.push(("keystead_getProof", json!([claim])));
    }
    for (name, params) in calls {
        let described = method(&document, name);
        for (param, value) in described["params"].as_array().unwrap().iter().zip(params.as_array().unwrap()) {
            assert_eq!(mismatch(&document, &param["schema"], value), None, "{name} {params}");
        }
        let answer = server.client.call(name, params.clone());
        assert_eq!(mismatch(&document, &described["result"]["schema"], &answer), None, "{name} {params}");
    }
    let mut socket = Socket::open(server.client);
    let id = socket.call("keystead_subscribe", json!(["finalized"]));
    let subscribe = method(&document, "keystead_subscribe");
    assert_eq!(mismatch(&document, &subscribe["result"]["schema"], &id), None);
    server.chain.produce(Vec::new());
    server.chain.certify(8);
    let finalization = json!({ "$ref": "#/components/schemas/Finalization" });
    assert_eq!(mismatch(&document, &finalization, &socket.notification().1), None);
    let ended = socket.call("keystead_unsubscribe", json!([id]));
    assert_eq!(mismatch(&document, &method(&document, "keystead_unsubscribe")["result"]["schema"], &ended), None);
    // The check itself can fail.
    for wrong in [json!(null), json!({}), json!({ "certificate": {}, "headers": [] }), json!({ "headers": ["0x1"] })] {
        assert!(mismatch(&document, &finalization, &wrong).is_some(), "{wrong}");
    }
}
