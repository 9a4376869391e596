//! Tools that know nothing of Keystead: Foundry's cast and viem, unchanged.

use crate::network::{Network, wait_until};
use serde_json::{Value, json};
use std::{path::PathBuf, process::Command};

/// First of the well-known test accounts and its key.
const ACCOUNT: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
const FRIEND: &str = "0x000000000000000000000000000000000000bEEF";

fn tools() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join("tools")
}

/// cast's binary from its npm package, if it was installed.
fn cast() -> Option<PathBuf> {
    let path = tools().join("node_modules/@foundry-rs/cast-linux-amd64/bin/cast");
    path.is_file().then_some(path)
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(output.status.success(), "{command:?}\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn counter_bytecode() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../contracts/artifacts/Counter.json");
    let artifact: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    artifact["bytecode"].as_str().unwrap().to_owned()
}

#[test]
fn cast_sends_deploys_calls_and_reads_logs() {
    let Some(cast) = cast() else {
        return eprintln!("skipped: npm package @foundry-rs/cast-linux-amd64 is not installed in node/tests/tools");
    };
    let network = Network::start(4);
    let url = network.url(0);
    let cast = |arguments: &[&str]| run(Command::new(&cast).args(arguments).env("ETH_RPC_URL", &url));
    assert_eq!(cast(&["chain-id"]), "19283");
    let sent: Value =
        serde_json::from_str(&cast(&["send", "--json", "--private-key", KEY, FRIEND, "--value", "1ether"])).unwrap();
    assert_eq!(sent["status"], "0x1");
    assert_eq!(cast(&["balance", FRIEND]), "1000000000000000000");
    let height = crate::network::number(&sent["blockNumber"]);
    // Final means final everywhere: the other validators hold the same block.
    for index in 1..4 {
        network.wait_for_head(index, height);
        assert_eq!(network.block(index, height)["hash"], sent["blockHash"]);
        assert_eq!(
            network.call(index, "eth_getBalance", json!([FRIEND, "latest"])),
            json!("0xde0b6b3a7640000"),
            "validator {index}"
        );
    }
    let initial = "0000000000000000000000000000000000000000000000000000000000000005";
    let deployed: Value = serde_json::from_str(&cast(&[
        "send",
        "--json",
        "--private-key",
        KEY,
        "--create",
        &format!("{}{initial}", counter_bytecode()),
    ]))
    .unwrap();
    let counter = deployed["contractAddress"].as_str().unwrap().to_owned();
    assert!(cast(&["code", &counter]).len() > 10);
    cast(&["send", "--json", "--private-key", KEY, &counter, "increment()"]);
    let logs: Value =
        serde_json::from_str(&cast(&["logs", "--json", "--address", &counter, "--from-block", "0"])).unwrap();
    assert!(!logs.as_array().unwrap().is_empty(), "no log of the increment");
    assert_eq!(cast(&["nonce", ACCOUNT]), "3");
}

#[test]
fn viem_sends_deploys_calls_and_reads_logs() {
    if !tools().join("node_modules/viem").is_dir() {
        return eprintln!("skipped: npm package viem is not installed in node/tests/tools");
    }
    let network = Network::start(4);
    let script = tools().join("viem.mjs");
    let artifact = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../contracts/artifacts/Counter.json");
    let printed = run(Command::new("node").arg(script).arg(network.url(1)).arg(KEY).arg(artifact).current_dir(tools()));
    let report: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(report["transfer"], "success");
    assert_eq!(report["value"], "6");
    assert_eq!(report["logs"], 1);
    wait_until("another validator has the transaction", || {
        let receipt = network.call(3, "eth_getTransactionReceipt", json!([report["hash"]]));
        (!receipt.is_null()).then_some(())
    });
}
