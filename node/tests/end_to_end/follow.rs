//! Followers: nodes outside of the committee that check everything and answer as validators do.

use crate::{
    dice::Dice,
    follower::{Follower, World, compare, refused},
    http,
    liar::{Liar, Lie},
    network::{Network, number, wait_until},
    traffic::{Sender, receipt, send, words},
};
use alloy_primitives::{Address, B256, TxKind};
use serde_json::{Value, json};
use std::sync::Arc;

/// Random questions that a follower and a validator must answer alike.
const QUESTIONS: usize = 1_000;

fn seed() -> u64 {
    let seed = std::env::var("KEYSTEAD_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0x5eed_0003);
    println!("seed: KEYSTEAD_SEED={seed}");
    seed
}

/// A contract, writes to it over several blocks, transfers to fresh accounts.
fn fill(network: &Network) -> World {
    let (mut deployer, mut writer) = (Sender::new(0), Sender::new(1));
    let (contract, created) = deployer.deploy();
    send(network.rpc[0], std::slice::from_ref(&created));
    let (mut transactions, mut newest) = (vec![created.0], 0);
    let mut addresses = vec![deployer.address(), writer.address(), Address::ZERO, contract];
    for round in 0..6_u64 {
        let mut batch = Vec::new();
        for index in 0..8 {
            // A third of the values is zero again later: slots vanish.
            batch.push(writer.store(contract, (round * 8 + index) % 11, (round + index) % 3));
            let fresh = Address::with_last_byte(0x80 + (round * 8 + index) as u8);
            batch.push(deployer.sign(TxKind::Call(fresh), 1 + index, Vec::new()));
            addresses.push(fresh);
        }
        newest = newest.max(send(network.rpc[round as usize % 4], &batch));
        transactions.extend(batch.into_iter().map(|(hash, _)| hash));
    }
    (0..4).for_each(|index| network.wait_for_head(index, newest));
    World { addresses, contract, transactions, heights: (0, newest), hashes: hashes(network, 0, newest) }
}

fn hashes(network: &Network, from: u64, to: u64) -> Vec<B256> {
    (from..=to).map(|height| serde_json::from_value(network.block(0, height)["hash"].clone()).unwrap()).collect()
}

fn all(network: &Network) -> Vec<String> {
    (0..4).map(|index| network.url(index)).collect()
}

#[test]
fn a_follower_from_genesis_answers_a_thousand_questions_as_a_validator_does_slow() {
    let network = Network::start(4);
    let world = fill(&network);
    let mut follower = Follower::start(&network, "follower", &all(&network));
    follower.wait_for_head(world.heights.1);
    compare(&follower, &network, &world, QUESTIONS, &mut Dice(seed()));
    // It lives: what the network makes now arrives.
    let head = network.head(0).unwrap();
    follower.wait_for_head(head + 5);
    follower.agrees(&network, 0);
    // It has the certificates, too: others can follow it, and proofs hold.
    let proof = follower.call("keystead_getProof", &json!([{"kind": "account", "address": world.contract}])).unwrap();
    let path = network.directory.join("bundle.json");
    std::fs::write(&path, proof.to_string()).unwrap();
    let verified = std::process::Command::new(crate::network::KEYSTEAD)
        .arg("verify")
        .arg(&path)
        .args(["--network-key", &network.network_key(), "--max-age", "600"])
        .output()
        .unwrap();
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stdout));
    let second = Follower::start(&network, "second", &[format!("http://{}", follower.rpc)]);
    second.wait_for_head(head + 5);
    second.agrees(&network, 0);
    drop(second);
    assert_eq!(follower.stop(), Some(0), "{}", follower.log());
}

#[test]
fn transactions_that_are_sent_to_a_follower_are_mined_and_refusals_are_the_validators() {
    let network = Network::start(4);
    let follower = Follower::start(&network, "follower", &all(&network));
    follower.wait_for_head(1);
    let (mut deployer, mut writer) = (Sender::new(2), Sender::new(3));
    let (contract, created) = deployer.deploy();
    send(follower.rpc, std::slice::from_ref(&created));
    let height = send(follower.rpc, &[writer.store(contract, 1, 5), writer.store(contract, 2, 6)]);
    network.wait_for_head(1, height);
    let slot = json!([contract, B256::with_last_byte(2), format!("{height:#x}")]);
    assert_eq!(network.call(1, "eth_getStorageAt", slot.clone()), json!(B256::with_last_byte(6)));
    assert_eq!(follower.call("eth_getStorageAt", &slot).unwrap(), json!(B256::with_last_byte(6)));
    // The receipt comes to whoever waits for it at the follower.
    let (hash, raw) = writer.store(contract, 3, 7);
    let answer = follower.call("eth_sendRawTransactionSync", &json!([raw, 9_000])).unwrap_or_else(|late| {
        // A disk that stands still for so long.
        assert_eq!((&late["code"], &late["data"]), (&json!(4), &json!(hash)), "{late}");
        receipt(follower.rpc, hash)
    });
    assert_eq!((&answer["transactionHash"], &answer["status"]), (&json!(hash), &json!("0x1")));
    assert_eq!(receipt(network.rpc[2], hash)["blockHash"], answer["blockHash"]);
    // Whichever validator is asked has that block, and refuses for the same reason.
    (0..4).for_each(|index| network.wait_for_head(index, number(&answer["blockNumber"])));
    // The same transaction again, one without signature, one of another type: the validator's words.
    for raw in [json!(raw), json!("0x02c0"), json!("0x03c0"), json!("0x")] {
        let (got, want) = (
            follower.call("eth_sendRawTransaction", &json!([raw])),
            network.try_call(0, "eth_sendRawTransaction", &json!([raw])),
        );
        assert_eq!(got, want.unwrap(), "{raw}");
        assert!(got.is_err());
    }
    let call = json!([{"to": contract, "data": format!("0x{}", alloy_primitives::hex::encode(words(1, 9)))}, "latest"]);
    assert_eq!(follower.call("eth_call", &call).unwrap(), json!(B256::with_last_byte(9)));
}

#[test]
fn a_follower_that_is_killed_at_any_moment_goes_on_where_it_was() {
    let network = Network::start(4);
    let world = fill(&network);
    let mut dice = Dice(seed());
    let mut follower = Follower::start(&network, "follower", &all(&network));
    for _ in 0..6 {
        std::thread::sleep(std::time::Duration::from_millis(dice.roll(700)));
        let before = follower.head();
        follower.kill();
        follower.launch();
        let after = wait_until("the follower answers again", || follower.head());
        assert!(after >= before.unwrap_or_default(), "lost blocks: before={before:?} after={after}");
    }
    follower.wait_for_head(world.heights.1 + 3);
    follower.agrees(&network, 0);
    compare(&follower, &network, &world, 100, &mut dice);
}

#[test]
fn the_network_key_and_a_source_are_enough_and_a_false_genesis_is_not_taken() {
    let network = Network::start(4);
    network.wait_for_head(0, 3);
    let lie = Lie::Change(Arc::new(|result: &mut Value| {
        if let Some(alloc) = result.get_mut("alloc").and_then(Value::as_object_mut) {
            alloc.values_mut().for_each(|account| account["balance"] = json!("0x7"));
        }
    }));
    let liar = Liar::start(network.rpc[0], lie);
    let follower = Follower::start_with(&network, "follower", &[liar.url(), network.url(1)], &[]);
    follower.wait_for_head(3);
    follower.agrees(&network, 0);
    let log = follower.log();
    assert!(liar.lies() > 0 && log.contains("field=genesis"), "{log}");
}

#[test]
fn sources_that_die_are_replaced_and_taken_again_when_they_come_back() {
    let mut network = Network::start(4);
    let follower = Follower::start(&network, "follower", &[network.url(0), network.url(1)]);
    follower.wait_for_head(3);
    network.kill(0);
    let head = network.head(1).unwrap();
    follower.wait_for_head(head + 5);
    network.launch(0);
    network.wait_for_head(0, head + 5);
    network.kill(1);
    let head = network.head(0).unwrap();
    follower.wait_for_head(head + 5);
    assert!(follower.log().contains("a source does not answer"), "{}", follower.log());
}

#[test]
fn wrong_words_on_the_command_line_are_refused_with_what_to_do() {
    let mut network = Network::start(4);
    let (key, url, genesis) = (network.network_key(), network.url(0), network.directory.join("genesis.json"));
    let genesis = genesis.to_str().unwrap().to_owned();
    let fresh = network.directory.join("fresh");
    let (code, words) = refused(&["follow", "--from", &url, "--network-key", "0xab", "--data"], &fresh);
    assert!(code == Some(1) && words.contains("96 bytes"), "{words}");
    let with = ["follow", "--from", &url, "--network-key", &key, "--genesis", &genesis, "--data"];
    let (code, words) = refused(&["follow", "--from", "ftp://x", "--network-key", &key, "--data"], &fresh);
    assert!(code == Some(1) && words.contains("http://"), "{words}");
    // A folder belongs to one network.
    let mut follower = Follower::start(&network, "fresh", &[network.url(1)]);
    follower.wait_for_head(1);
    follower.kill();
    let other = Network::files_key();
    let (code, words) = refused(&["follow", "--from", &url, "--network-key", &other, "--data"], &fresh);
    assert!(code == Some(1) && words.contains("another key"), "{words}");
    let text = std::fs::read_to_string(&genesis).unwrap();
    let mut changed: Value = serde_json::from_str(&text).unwrap();
    changed["timestamp"] = json!("0x1");
    let wrong = network.directory.join("wrong.json");
    std::fs::write(&wrong, changed.to_string()).unwrap();
    let mut with_wrong = with;
    with_wrong[6] = wrong.to_str().unwrap();
    let (code, words) = refused(&with_wrong, &fresh);
    assert!(code == Some(1) && words.contains("another chain"), "{words}");
    // Another network's genesis never gets a first block.
    let stray = Follower::start_with(&network, "stray", &[url], &["--genesis", wrong.to_str().unwrap()]);
    wait_until("the stray follower stops", || stray.log().contains("is the genesis file the right one").then_some(()));
    let _ = network.stop(3, "TERM");
    assert_eq!(number(&http::call(network.rpc[0], "eth_chainId", &json!([])).unwrap().unwrap()), 19_283);
}
