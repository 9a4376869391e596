//! What a development node refuses, and that a validator has none of its methods.

use crate::{
    dev::{ALICE, Dev, NOBODY},
    network::Network,
};
use serde_json::{Value, json};

const INVALID_PARAMS: i64 = -32_602;

#[test]
fn a_validator_has_no_method_of_a_development_node() {
    let dev = Dev::start(&["--quiet"]);
    let network = Network::start(1);
    let listed = |described: &Value| -> Vec<String> {
        let methods = described["methods"].as_array().unwrap();
        methods.iter().map(|method| method["name"].as_str().unwrap().to_owned()).collect()
    };
    let common = listed(&network.call(0, "rpc.discover", json!([])));
    let own: Vec<String> =
        listed(&dev.call("rpc.discover", json!([]))).into_iter().filter(|name| !common.contains(name)).collect();
    assert!(own.len() > 60, "{own:?}");
    for name in &own {
        let error = network.try_call(0, name, &json!([])).unwrap().unwrap_err();
        assert_eq!(error["code"], -32_601, "{name}");
    }
    for name in ["evm_snapshot", "hardhat_setBalance", "anvil_mine", "eth_sendTransaction", "eth_sign", "personal_sign"]
    {
        assert!(own.contains(&name.to_owned()), "{name}");
    }
    assert_eq!(network.call(0, "eth_accounts", json!([])), json!([]));
}

#[test]
fn dev_refuses_wrong_parameters_and_names_them() {
    let dev = Dev::start(&["--quiet"]);
    let word = format!("0x{}", "0".repeat(64));
    let cases = [
        ("evm_revert", json!([])),
        ("evm_revert", json!([true])),
        ("evm_mine", json!(["soon"])),
        ("evm_mine", json!([{ "blocks": -1 }])),
        ("hardhat_mine", json!(["0x1", "0x1", "0x1"])),
        ("hardhat_mine", json!([{}])),
        ("evm_increaseTime", json!([])),
        ("evm_increaseTime", json!([-5])),
        ("evm_increaseTime", json!(["0xffffffffffffffff"])),
        ("evm_setNextBlockTimestamp", json!([1])),
        ("evm_setNextBlockTimestamp", json!(["0xffffffffffffffff"])),
        ("evm_setTime", json!(["0xffffffffffffffff"])),
        ("evm_setAutomine", json!(["yes"])),
        ("evm_setIntervalMining", json!([1.5])),
        ("evm_setBlockGasLimit", json!([1])),
        ("evm_setBlockGasLimit", json!(["0xffffffffffffffff"])),
        ("hardhat_setBalance", json!([ALICE])),
        ("hardhat_setBalance", json!(["0x12", "0x1"])),
        ("hardhat_setBalance", json!([ALICE, format!("0x1{}", "0".repeat(64))])),
        ("anvil_addBalance", json!([ALICE, format!("0x{}", "f".repeat(64))])),
        ("hardhat_setNonce", json!([ALICE, "0xffffffffffffffff"])),
        ("hardhat_setCode", json!([ALICE, "0x1"])),
        ("hardhat_setCode", json!([ALICE, "0xef01"])),
        ("hardhat_setCode", json!([ALICE, format!("0x{}", "00".repeat(1024 * 1024 + 1))])),
        ("hardhat_setStorageAt", json!([ALICE, "0x0", "0x1"])),
        ("hardhat_setStorageAt", json!([ALICE, format!("0x{}", "1".repeat(65)), word])),
        ("hardhat_impersonateAccount", json!(["alice"])),
        ("hardhat_setCoinbase", json!([1])),
        ("hardhat_setPrevRandao", json!(["0x1"])),
        ("hardhat_dropTransaction", json!(["0x1"])),
        ("eth_sendTransaction", json!([])),
        ("eth_sendTransaction", json!([{ "from": ALICE, "to": "0x1" }])),
        ("eth_sendTransaction", json!([{ "from": ALICE, "to": NOBODY, "nonce": "x" }])),
        ("eth_sendTransaction", json!([{ "from": ALICE, "to": NOBODY, "chainId": "0x1" }])),
        ("eth_sendTransaction", json!([{ "from": ALICE, "to": NOBODY, "type": "0x3" }])),
        ("eth_sign", json!([ALICE, "hello"])),
        ("personal_sign", json!([ALICE])),
    ];
    for (method, params) in cases {
        let shown: String = params.to_string().chars().take(100).collect();
        let (code, message) = dev.refused(method, params);
        assert_eq!(code, INVALID_PARAMS, "{method} {shown}: {message}");
        assert!(message.len() < 300, "{method}: {message}");
    }
    // Nothing of all that changed anything.
    assert_eq!(dev.height(), 0);
    assert_eq!(dev.balance(ALICE), 10_000_000_000_000_000_000_000);
    dev.send(ALICE, NOBODY, 1);
}

#[test]
fn dev_bounds_what_one_call_can_ask_for_and_says_the_number() {
    let dev = Dev::start(&["--quiet"]);
    for blocks in [json!("0x186a1"), json!("0xffffffffffffffff")] {
        let (code, message) = dev.refused("hardhat_mine", json!([blocks]));
        assert!(code == INVALID_PARAMS && message.contains("max=100000"), "{code} {message}");
    }
    let (code, message) = dev.refused("hardhat_mine", json!(["0x10000000000000000"]));
    assert!(code == INVALID_PARAMS && message.contains("64 bits"), "{code} {message}");
    // So far apart that the last would be out of range.
    let (code, message) = dev.refused("hardhat_mine", json!(["0x64", "0xffffffffffffffff"]));
    assert!(code == INVALID_PARAMS && message.contains("out of range"), "{code} {message}");
    assert_eq!(dev.height(), 0);
    for _ in 0..4_096 {
        dev.call("evm_snapshot", json!([]));
    }
    let (code, message) = dev.refused("evm_snapshot", json!([]));
    assert!(code == -32_000 && message.contains("max=4096"), "{code} {message}");
    assert_eq!(dev.call("evm_revert", json!(["0x1"])), true);
    assert_eq!(dev.call("evm_snapshot", json!([])), "0x1000");
}

#[test]
fn dev_refuses_a_port_that_is_taken_and_a_folder_of_something_else() {
    let taken = Dev::start(&["--quiet"]);
    let port = taken.address.port().to_string();
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(crate::network::KEYSTEAD);
        crate::network::run_to_end(command.arg("dev").args(arguments))
    };
    let (code, text) = run(&["--http-port", &port]);
    assert!(code == Some(1) && text.contains("choose another --http-port"), "{code:?} {text}");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("letter"), "dear").unwrap();
    let (code, text) = run(&["--http-port", "0", "--data", &folder.path().display().to_string()]);
    assert!(code == Some(1) && text.contains("choose another folder"), "{code:?} {text}");
    let (code, text) = run(&["--http-port", "0", "--mnemonic", "no such words"]);
    assert!(code == Some(1) && text.contains("BIP 39"), "{code:?} {text}");
}
