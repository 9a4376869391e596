//! Proof bundles of a running network, checked offline by the binary and by nothing else.

use crate::network::{KEYSTEAD, Network, wait_until};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const ACCOUNT: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

fn verify(bundle: &Path, key: &str, more: &[&str]) -> Output {
    Command::new(KEYSTEAD).arg("verify").arg(bundle).args(["--network-key", key]).args(more).output().unwrap()
}

fn save(network: &Network, name: &str, bundle: &Value) -> PathBuf {
    let path = network.directory.join(name);
    fs::write(&path, bundle.to_string()).unwrap();
    path
}

#[test]
fn an_account_bundle_of_a_live_network_is_proved_and_each_forgery_is_not() {
    let network = Network::start(4);
    let key = network.network_key();
    let claim = json!({"kind": "account", "address": ACCOUNT});
    let bundle = network.call(0, "keystead_getProof", json!([claim]));
    let path = save(&network, "account.json", &bundle);
    let proved = verify(&path, &key, &["--max-age", "600"]);
    assert_eq!(proved.status.code(), Some(0), "{}", String::from_utf8_lossy(&proved.stdout));
    // Another network's key, a stale block, another chain.
    let other = Network::files_key();
    assert_eq!(verify(&path, &other, &["--max-age", "600"]).status.code(), Some(2));
    // It says nothing of any file: of what is proved as little as of what is not.
    let folder = network.directory.to_str().unwrap();
    for (key, code, words) in [
        (&key, 5, "files: NOTHING TO COMPARE\nnote:  this certificate proves no result"),
        (&other, 2, "files: not compared: nothing is proved\n"),
    ] {
        let output = verify(&path, key, &["--max-age", "600", "--results", folder]);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(words), "{said}");
    }
    // Blocks have whole seconds: within its own one a block is not old.
    wait_until("the block is a second old", || {
        (verify(&path, &key, &["--max-age", "0"]).status.code() == Some(2)).then_some(())
    });
    let mut foreign = bundle;
    foreign["chainId"] = json!("1");
    let path = save(&network, "foreign.json", &foreign);
    assert_eq!(verify(&path, &key, &["--max-age", "600"]).status.code(), Some(2));
    let nothing = network.directory.join("nothing.json");
    assert_eq!(verify(&nothing, &key, &[]).status.code(), Some(3), "a missing file is a usage error");
    for short in ["", "0xab"] {
        let refused = verify(&path, short, &[]);
        assert_eq!(refused.status.code(), Some(3));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("network.json"), "where the key is");
    }
}

#[test]
fn every_height_has_a_certificate_of_its_own_or_of_a_descendant() {
    let network = Network::start(4);
    network.wait_for_head(0, 5);
    for height in 1..=5u64 {
        wait_until("the height has a certificate", || {
            let finalization = network.call(0, "keystead_getFinalization", json!([format!("{height:#x}")]));
            finalization["certificate"].is_object().then_some(())
        });
    }
}
