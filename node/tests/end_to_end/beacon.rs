//! The beacon of real processes: every validator has every value, each proves itself, and a restart changes nothing.

use crate::network::{KEYSTEAD, Network, number, wait_until};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, process::Command};

const BEACON: &str = "0x4b53540000000000000000000000000000000003";

fn newest(network: &Network, index: usize) -> Option<u64> {
    let answer = network.try_call(index, "eth_getStorageAt", &json!([BEACON, "0x0", "latest"]))?.ok()?;
    Some(number(&answer))
}

/// The values of all heights up to one, as a validator gives them.
fn values(network: &Network, index: usize, up_to: u64) -> BTreeMap<u64, Value> {
    let value = |height: u64| network.call(index, "keystead_getBeacon", json!([format!("{height:#x}")]));
    (1..=up_to).map(|height| (height, value(height))).collect()
}

fn verify(network: &Network, value: &Value) -> (Option<i32>, String) {
    let path = network.directory.join("beacon.json");
    fs::write(&path, value.to_string()).unwrap();
    let output = Command::new(KEYSTEAD)
        .arg("verify")
        .arg(path)
        .args(["--network-key", &network.network_key()])
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn four_processes_agree_on_every_value_and_one_that_was_killed_gets_what_it_lacks() {
    let mut network = Network::start(4);
    let reach = |network: &Network, index: usize, height: u64| {
        wait_until("values", || newest(network, index).filter(|newest| *newest >= height))
    };
    for index in 0..4 {
        reach(&network, index, 6);
    }
    let first = values(&network, 0, 6);
    for index in 1..4 {
        assert_eq!(values(&network, index, 6), first, "validator {index}");
    }
    let (code, text) = verify(&network, &first[&3]);
    assert!(code == Some(0) && text.contains("the beacon of height 3 gives the randomness"), "{text}");
    let mut wrong = first[&3].clone();
    wrong["height"] = json!("0x4");
    assert_eq!(verify(&network, &wrong).0, Some(2), "the value of another height");
    let mut wrong = first[&3].clone();
    wrong["randomness"] = first[&4]["randomness"].clone();
    assert_eq!(verify(&network, &wrong).0, Some(1), "another randomness");
    assert_eq!(network.call(0, "keystead_getBeacon", json!(["0xffffff"])), Value::Null);
    // Three are a quorum; the fourth comes back, and then another one is away, so that it must sign.
    network.kill(3);
    let away = reach(&network, 0, newest(&network, 0).unwrap() + 5);
    network.launch(3);
    reach(&network, 3, away);
    network.kill(0);
    let height = reach(&network, 3, newest(&network, 3).unwrap() + 5);
    let seen = values(&network, 3, height);
    assert!(seen.values().all(|value| value["value"].is_string()));
    reach(&network, 1, height);
    assert_eq!(values(&network, 1, height), seen);
    network.launch(0);
    reach(&network, 0, height);
    assert_eq!(values(&network, 0, height), seen);
    assert!(seen.iter().zip(&first).all(|(now, before)| now == before));
    // PREVRANDAO is still the header's own.
    let block = network.block(1, 5);
    assert_ne!(block["mixHash"], seen[&5]["randomness"]);
}
