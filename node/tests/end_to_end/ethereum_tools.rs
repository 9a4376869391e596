//! Tools that know nothing of Keystead: how the tests find them, and Foundry's cast and viem, unchanged.

use crate::network::{Network, wait_until};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// First of the well-known test accounts and its key.
const ACCOUNT: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
pub(crate) const FRIEND: &str = "0x000000000000000000000000000000000000bEEF";

/// Folder of the scenarios and of the npm and Python packages that they use.
pub(crate) fn tools() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests").join("tools")
}

/// Folder of the contracts, whose npm packages hold forge and the compiler.
pub(crate) fn contracts() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join("contracts").canonicalize().unwrap()
}

/// A file or folder that an installation made, or nothing after saying what is missing.
pub(crate) fn installed(path: &Path, what: &str) -> Option<PathBuf> {
    if path.exists() {
        return Some(path.to_owned());
    }
    eprintln!("skipped: {what} is not installed");
    None
}

/// An npm package of the scenarios.
pub(crate) fn npm(package: &str) -> Option<PathBuf> {
    let folder = tools().join("node_modules").join(package);
    installed(&folder, &format!("npm package {package} in node/tests/tools"))
}

/// cast's binary from its npm package.
pub(crate) fn cast() -> Option<PathBuf> {
    Some(npm("@foundry-rs/cast-linux-amd64")?.join("bin").join("cast"))
}

/// Runs a program that must succeed; gives what it printed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(output.status.success(), "{command:?}\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// What a scenario is told about the network.
pub(crate) fn described(http: &[String], chain: u64) -> String {
    let sockets: Vec<String> = http.iter().map(|url| url.replacen("http", "ws", 1)).collect();
    json!({"http": http, "ws": sockets, "chain": chain, "artifacts": contracts().join("artifacts")}).to_string()
}

/// Runs a scenario against a network of validators. It sends through the first validator and listens to the last; what it
/// reports as mined must be what every validator holds, and token balances must be the same at each.
pub(crate) fn scenario(program: &Path, script: &str) -> (Network, Value) {
    let network = Network::start(4);
    let urls: Vec<String> = (0..4).map(|index| network.url(index)).collect();
    let printed =
        run(Command::new(program).arg(tools().join(script)).arg(described(&urls, 19_283)).current_dir(tools()));
    let report: Value = serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
    let hashes = report["hashes"].as_array().unwrap();
    assert!(!hashes.is_empty(), "{report}");
    for hash in hashes {
        let receipt = |index| network.call(index, "eth_getTransactionReceipt", json!([hash]));
        // The script may have heard of it from another validator.
        let first = wait_until("it is mined", || Some(receipt(0)).filter(|first| first["blockHash"].is_string()));
        for index in 1..4 {
            wait_until("every validator has the receipt", || (!receipt(index).is_null()).then_some(()));
            assert_eq!(receipt(index), first, "validator {index} tells another receipt");
        }
    }
    for (holder, balance) in report["balances"].as_object().unwrap() {
        let data = format!("0x70a08231{:0>64}", &holder.to_lowercase()[2..]);
        for index in 0..4 {
            wait_until(&format!("{holder} holds {balance} at validator {index}"), || {
                let held = network.call(index, "eth_call", json!([{"to": report["token"], "data": data}, "latest"]));
                let held = u128::from_str_radix(&held.as_str().unwrap()[2..], 16).unwrap();
                (held.to_string() == balance.as_str().unwrap()).then_some(())
            });
        }
    }
    (network, report)
}

/// Creation code of the contract `Counter`, without its argument.
pub(crate) fn counter_bytecode() -> String {
    let path = contracts().join("artifacts").join("Counter.json");
    let artifact: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    artifact["bytecode"].as_str().unwrap().to_owned()
}

#[test]
fn cast_sends_deploys_calls_and_reads_logs() {
    let Some(cast) = cast() else { return };
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
    if npm("viem").is_none() {
        return;
    }
    let network = Network::start(4);
    let script = tools().join("viem.mjs");
    let artifact = contracts().join("artifacts").join("Counter.json");
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
