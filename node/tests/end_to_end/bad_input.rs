//! What a person, a program or bad luck may do to a node: each gets a clear answer and nothing is lost.

use crate::{
    http,
    network::{KEYSTEAD, Network},
};
use serde_json::{Value, json};
use std::{fs, net::TcpListener, process::Command};

fn node(network: &Network, index: usize) -> (Option<i32>, String) {
    let output = Command::new(KEYSTEAD).args(["node", "--dir"]).arg(network.folder(index)).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_second_node_on_the_same_folder_is_refused_and_the_first_goes_on() {
    let network = Network::start(4);
    let head = network.head(0).unwrap();
    let (code, message) = node(&network, 0);
    assert_eq!(code, Some(1));
    assert!(
        message.contains("another process") || message.contains("locked") || message.contains("in use"),
        "{message}"
    );
    network.wait_for_head(0, head + 2);
}

#[test]
fn a_taken_port_is_named_with_what_to_do() {
    let network = Network::files(4);
    let _taken = TcpListener::bind(network.rpc[0]).unwrap();
    let (code, message) = node(&network, 0);
    assert_eq!(code, Some(1));
    assert!(message.contains(&network.rpc[0].to_string()) && message.contains("rpc_listen"), "{message}");
}

#[test]
fn an_interrupt_and_a_termination_end_the_node_cleanly() {
    let mut network = Network::start(4);
    assert_eq!(network.stop(0, "INT").code(), Some(0), "{}", network.log(0));
    assert_eq!(network.stop(1, "TERM").code(), Some(0), "{}", network.log(1));
    // Two of four are gone: no quorum. Back with one of them the chain goes on.
    let head = network.head(2).unwrap();
    network.launch(0);
    network.wait_for_head(2, head + 2);
    network.wait_for_head(0, head + 2);
}

#[test]
fn damaged_keys_and_folders_are_named() {
    let network = Network::files(4);
    let keys = network.folder(0).join("keys.json");
    let good = fs::read_to_string(&keys).unwrap();
    fs::copy(network.folder(1).join("keys.json"), &keys).unwrap();
    fs::write(network.folder(0).join("config.toml.bak"), "").unwrap();
    let mixed: Value = serde_json::from_str(&good).unwrap();
    let other: Value = serde_json::from_str(&fs::read_to_string(&keys).unwrap()).unwrap();
    let both = json!({"version": 1, "private_key": mixed["private_key"], "share": other["share"]});
    fs::write(&keys, both.to_string()).unwrap();
    let (code, message) = node(&network, 0);
    assert_eq!(code, Some(1));
    assert!(message.contains("another validator's"), "{message}");
    fs::write(&keys, "{").unwrap();
    let (code, message) = node(&network, 0);
    assert_eq!(code, Some(1));
    assert!(message.contains("keys.json"), "{message}");
    let output = Command::new(KEYSTEAD).args(["node", "--dir", "no-such-folder"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("keystead init"));
}

#[test]
fn refused_transactions_say_why_and_malformed_requests_get_their_code() {
    let network = Network::start(4);
    let refuse = |raw: &str| network.try_call(0, "eth_sendRawTransaction", &json!([raw])).unwrap().unwrap_err();
    for (raw, words) in [("0x03c0", "type 3"), ("0x04c0", "malformed"), ("0x02c0", "malformed"), ("0x", "got none")] {
        let error = refuse(raw);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(words), "{raw}: {message}");
        assert!(error["code"].as_i64().unwrap() < 0);
    }
    let code = |body: &[u8]| {
        let (_, answer) = http::post(network.rpc[0], body).unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        answer["error"]["code"].as_i64().unwrap()
    };
    assert_eq!(code(b"{"), -32700);
    assert_eq!(code(b"[]"), -32600);
    assert_eq!(code(br#"{"jsonrpc":"2.0","id":1,"method":"eth_nothing"}"#), -32601);
    assert_eq!(code(br#"{"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":["x"]}"#), -32602);
    let (status, _) = http::post(network.rpc[0], &vec![b' '; 10 * 1024 * 1024]).unwrap();
    assert_eq!(status, 413);
    let head = network.head(0).unwrap();
    network.wait_for_head(0, head + 2);
}

#[test]
fn init_refuses_a_folder_that_holds_something() {
    let network = Network::files(1);
    let output = Command::new(KEYSTEAD).args(["init", "--out"]).arg(&network.directory).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not empty"));
}
