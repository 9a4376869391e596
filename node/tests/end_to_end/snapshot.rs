//! Snapshots: a follower that begins with one answers as a validator does; a false one is never used.

use crate::{
    dice::Dice,
    follower::{Follower, World, compare},
    liar::{Liar, Lie},
    network::{KEYSTEAD, Network, wait_until},
    traffic::{Sender, send},
};
use alloy_primitives::{Address, B256, TxKind};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

/// Random questions that a follower and a validator must answer alike.
const QUESTIONS: usize = 1_000;

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(KEYSTEAD).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Sends writes to a contract and transfers from nonce `from` of each sender on; the newest height.
fn traffic(network: &Network, senders: &mut [Sender; 2], contract: Address, world: &mut Vec<B256>, from: u64) -> u64 {
    let mut newest = 0;
    for round in from..from + 4 {
        let mut batch = Vec::new();
        for index in 0..6 {
            batch.push(senders[1].store(contract, (round * 6 + index) % 11, (round + index) % 3));
            let fresh = Address::with_last_byte(0x40 + (round * 6 + index) as u8);
            batch.push(senders[0].sign(TxKind::Call(fresh), 1 + index, Vec::new()));
        }
        newest = newest.max(send(network.rpc[0], &batch));
        world.extend(batch.into_iter().map(|(hash, _)| hash));
    }
    newest
}

/// A network with some state, the folder of a snapshot of a stopped validator, and the snapshot's height.
struct Scene {
    network: Network,
    senders: [Sender; 2],
    contract: Address,
    snapshot: PathBuf,
    number: u64,
}

fn scene() -> Scene {
    let mut network = Network::start(4);
    let mut senders = [Sender::new(0), Sender::new(1)];
    let (contract, created) = senders[0].deploy();
    send(network.rpc[0], &[created]);
    let newest = traffic(&network, &mut senders, contract, &mut Vec::new(), 0);
    network.wait_for_head(3, newest + 1);
    assert_eq!(network.stop(3, "TERM").code(), Some(0));
    let snapshot = network.directory.join("snapshot");
    let (code, words) = run(&["snapshot", "make", "--data", text(&network.folder(3)), "--out", text(&snapshot)]);
    assert_eq!(code, Some(0), "{words}");
    let manifest = manifest(&snapshot);
    let number = crate::network::number(&manifest["number"]);
    assert!(number > 1, "{words}");
    network.launch(3);
    // A signal that comes before the node listens for it just ends it.
    network.wait_for_head(3, number);
    Scene { network, senders, contract, snapshot, number }
}

fn manifest(snapshot: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(snapshot.join("manifest.json")).unwrap()).unwrap()
}

fn hash(network: &Network, height: u64) -> B256 {
    serde_json::from_value(network.block(0, height)["hash"].clone()).unwrap()
}

fn all(network: &Network) -> Vec<String> {
    (0..4).map(|index| network.url(index)).collect()
}

#[test]
fn a_follower_from_a_snapshot_answers_a_thousand_questions_as_a_validator_does_slow() {
    let Scene { network, mut senders, contract, snapshot, number } = scene();
    let mut transactions = Vec::new();
    let newest = traffic(&network, &mut senders, contract, &mut transactions, 4);
    let mut follower = Follower::start_with(&network, "snapped", &all(&network), &["--snapshot", text(&snapshot)]);
    follower.wait_for_head(newest);
    let heights = (number, newest);
    let addresses = vec![senders[0].address(), senders[1].address(), contract, Address::with_last_byte(0x45)];
    let hashes = (number..=newest).map(|height| hash(&network, height)).collect();
    let world = World { addresses, contract, transactions, heights, hashes };
    compare(&follower, &network, &world, QUESTIONS, &mut Dice(0x5eed_0006));
    follower.agrees(&network, number);
    // Below the snapshot it says what it does not have, and block 0 is there.
    let below = format!("{:#x}", number - 1);
    for (method, params) in [
        ("eth_getBlockByNumber", json!([below, false])),
        ("eth_getBalance", json!([contract, below])),
        ("eth_getLogs", json!([{"fromBlock": below, "toBlock": "latest", "address": contract}])),
        ("keystead_getBlocks", json!(["0x2", "0x10"])),
    ] {
        let error = follower.call(method, &params).unwrap_err();
        let words = error["message"].as_str().unwrap();
        assert!(words.contains("pruned") || words.contains("not kept"), "{method}: {words}");
    }
    assert_eq!(follower.call("eth_getBlockByNumber", &json!(["0x0", true])).unwrap(), network.block_in_full(0, 0));
    // It goes on after a kill, without the snapshot.
    follower.kill();
    fs::rename(&snapshot, network.directory.join("elsewhere")).unwrap();
    follower.launch();
    let head = network.head(0).unwrap();
    follower.wait_for_head(head + 2);
    follower.agrees(&network, number);
    assert_eq!(follower.stop(), Some(0));
    let (code, words) = run(&["db", "verify", "--dir", text(&follower.data)]);
    assert!(code == Some(0) && words.contains("no damage found"), "{words}");
    // The follower makes the next snapshot, from which the next follower starts.
    let second = network.directory.join("second");
    let (code, words) = run(&["snapshot", "make", "--data", text(&follower.data), "--out", text(&second)]);
    assert_eq!(code, Some(0), "{words}");
    let third = Follower::start_with(&network, "third", &all(&network), &["--snapshot", text(&second)]);
    // The follower may have gone on before it was stopped.
    let begins = crate::network::number(&manifest(&second)["number"]);
    assert!(begins > number, "the second snapshot is the first one");
    third.wait_for_head(begins + 1);
    third.agrees(&network, begins);
}

#[test]
fn a_snapshot_of_an_older_block_is_its_state() {
    let Scene { mut network, snapshot, number, contract, .. } = scene();
    network.wait_for_head(3, number + 4);
    assert_eq!(network.stop(3, "TERM").code(), Some(0));
    let older = network.directory.join("older");
    let at = (number - 2).to_string();
    let (code, words) =
        run(&["snapshot", "make", "--data", text(&network.folder(3)), "--out", text(&older), "--at", &at]);
    assert_eq!(code, Some(0), "{words}");
    let at = crate::network::number(&manifest(&older)["number"]);
    assert!(at <= number - 2 && at > 0, "{words}");
    let follower = Follower::start_with(&network, "older-follower", &all(&network)[..3], &["--snapshot", text(&older)]);
    follower.wait_for_head(number + 1);
    follower.agrees(&network, at);
    let proof = json!([contract, [B256::ZERO, B256::with_last_byte(3)], format!("{at:#x}")]);
    assert_eq!(follower.call("eth_getProof", &proof).unwrap(), network.call(0, "eth_getProof", proof));
    assert_ne!(manifest(&older)["number"], manifest(&snapshot)["number"]);
}

#[test]
fn a_snapshot_of_a_running_node_is_as_good_and_a_lying_one_is_found_out() {
    let Scene { network, mut senders, contract, .. } = scene();
    let key = network.network_key();
    let fetch = |url: &str, out: &Path, at: &[&str]| {
        let arguments = ["snapshot", "make", "--from", url, "--network-key", &key, "--out", text(out)];
        run(&[&arguments[..], at].concat())
    };
    // The network goes on meanwhile.
    traffic(&network, &mut senders, contract, &mut Vec::new(), 4);
    let (live, older) = (network.directory.join("live"), network.directory.join("older"));
    let (code, words) = fetch(&network.url(0), &live, &[]);
    assert_eq!(code, Some(0), "{words}");
    let (code, words) = fetch(&network.url(1), &older, &["--at", "6"]);
    assert_eq!(code, Some(0), "{words}");
    for (folder, name) in [(&live, "from-live"), (&older, "from-older")] {
        let number = crate::network::number(&manifest(folder)["number"]);
        let follower = Follower::start_with(&network, name, &all(&network), &["--snapshot", text(folder)]);
        follower.wait_for_head(network.head(0).unwrap());
        follower.agrees(&network, number);
    }
    let lie = Lie::Change(Arc::new(|result: &mut Value| {
        if let Some(items) = result["blocks"].as_array_mut() {
            items.iter_mut().for_each(|item| item["certificate"]["view"] = json!("0x1"));
        }
    }));
    let liar = Liar::start(network.rpc[0], lie);
    let (code, words) = fetch(&liar.url(), &network.directory.join("lied"), &[]);
    assert!(code == Some(1) && words.contains("field=certificate"), "{words}");
    let other = Network::files_key();
    let arguments = ["snapshot", "make", "--from", &network.url(0), "--network-key", &other, "--out", "nowhere"];
    let (code, words) = run(&arguments);
    assert!(code == Some(1) && words.contains("field=certificate"), "{words}");
}

/// Loads into a folder of its own; exit code and words.
fn load(network: &Network, snapshot: &Path, name: &str) -> (Option<i32>, String) {
    load_with(network, snapshot, name, &network.network_key())
}

fn load_with(network: &Network, snapshot: &Path, name: &str, key: &str) -> (Option<i32>, String) {
    let data = network.directory.join(name);
    run(&["snapshot", "load", "--from", text(snapshot), "--data", text(&data), "--network-key", key])
}

#[test]
fn a_broken_chunk_is_named_the_rest_is_kept_and_the_load_goes_on() {
    let Scene { network, snapshot, number, .. } = scene();
    let count = manifest(&snapshot)["chunks"].as_array().unwrap().len();
    assert!(count >= 3, "a section each");
    let last = snapshot.join(format!("chunk-{:06}.zst", count - 1));
    let good = fs::read(&last).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (case, bytes) in
        [("flipped", flipped), ("cut", good[..good.len() - 1].to_vec()), ("long", [&good[..], b"x"].concat())]
    {
        fs::write(&last, bytes).unwrap();
        let (code, words) = load(&network, &snapshot, "broken");
        assert!(code == Some(1) && words.contains(last.file_name().unwrap().to_str().unwrap()), "{case}: {words}");
        assert!(words.contains("kept"), "{case}: {words}");
    }
    // Half a snapshot is no state.
    let data = network.directory.join("broken");
    let (code, words) = run(&["db", "stats", "--dir", text(&data)]);
    assert!(code == Some(1) && words.contains("half loaded"), "{words}");
    // The chunks that are in are not read again: without them the load still goes on.
    (0..count - 1).for_each(|index| fs::remove_file(snapshot.join(format!("chunk-{index:06}.zst"))).unwrap());
    fs::write(&last, good).unwrap();
    let (code, words) = load(&network, &snapshot, "broken");
    assert!(code == Some(0) && words.contains(&format!("loaded block {number}")), "{words}");
    let (code, words) = load(&network, &snapshot, "broken");
    assert!(code == Some(1) && words.contains("there is a store already"), "{words}");
    let follower = Follower::start_with(&network, "broken", &all(&network), &[]);
    follower.wait_for_head(number + 1);
    follower.agrees(&network, number);
}

#[test]
fn a_snapshot_that_the_network_key_does_not_prove_is_refused_and_the_field_named() {
    let Scene { network, snapshot, number, .. } = scene();
    let good = fs::read_to_string(snapshot.join("manifest.json")).unwrap();
    let refuse = |name: &str, words: &str, change: &dyn Fn(&mut Value)| {
        let mut changed: Value = serde_json::from_str(&good).unwrap();
        change(&mut changed);
        fs::write(snapshot.join("manifest.json"), changed.to_string()).unwrap();
        let (code, found) = load(&network, &snapshot, name);
        assert!(code == Some(1) && found.contains(words), "{name}: {words:?} in {found}");
        let data = network.directory.join(name);
        assert!(!data.join("state/mark").exists(), "{name}: nothing is used");
    };
    refuse("format", "format", &|it| it["format"] = json!("keystead-snapshot/2"));
    refuse("chain", "field=finalization", &|it| it["chainId"] = json!("0x1"));
    refuse("number", "field=number", &|it| it["number"] = json!(format!("{:#x}", number + 1)));
    refuse("block", "field=block", &|it| it["block"] = json!("0xc0"));
    refuse("receipts", "field=receipts", &|it| it["receipts"] = json!(["0x01"]));
    refuse("signature", "field=finalization", &|it| {
        it["finalization"]["certificate"]["signature"] = it["origin"]["certificate"]["signature"].clone();
    });
    refuse("view", "field=finalization", &|it| it["finalization"]["certificate"]["view"] = json!("0x1"));
    refuse("headers", "field=finalization.headers", &|it| {
        drop(it["finalization"]["headers"].as_array_mut().unwrap().pop())
    });
    refuse("order", "field=finalization", &|it| it["finalization"]["headers"].as_array_mut().unwrap().swap(1, 2));
    refuse("origin", "field=origin", &|it| {
        it["origin"] = it["finalization"].clone();
        it["origin"]["headers"].as_array_mut().unwrap().truncate(1);
    });
    refuse("missing", "missing field `chunks`", &|it| drop(it.as_object_mut().unwrap().remove("chunks")));
    refuse("section", "section", &|it| it["chunks"][0]["section"] = json!("nothing"));
    refuse("raw", "rawBytes", &|it| it["chunks"][0]["rawBytes"] = json!(1_000_000_000_000_u64));
    // All chunks are as the manifest says, but one is missing there: the root tells.
    refuse("root", "is false", &|it| drop(it["chunks"].as_array_mut().unwrap().pop()));
    assert!(!network.directory.join("root/state").exists(), "nothing of a false snapshot is kept");
    fs::write(snapshot.join("manifest.json"), &good).unwrap();
    let other = Network::files_key();
    let (code, words) = load_with(&network, &snapshot, "key", &other);
    assert!(code == Some(1) && words.contains("field=finalization"), "another network's: {words}");
    // A genesis that the chain did not begin with.
    let genesis = fs::read_to_string(snapshot.join("genesis.json")).unwrap();
    let mut changed: Value = serde_json::from_str(&genesis).unwrap();
    changed["timestamp"] = json!("0x1");
    fs::write(snapshot.join("genesis.json"), changed.to_string()).unwrap();
    let (code, words) = load(&network, &snapshot, "genesis");
    assert!(code == Some(1) && words.contains("field=genesis"), "{words}");
    fs::write(snapshot.join("genesis.json"), genesis).unwrap();
    let (code, words) = load(&network, &snapshot, "good");
    assert_eq!(code, Some(0), "{words}");
}

#[test]
fn a_load_that_is_killed_goes_on_and_a_snapshot_is_not_written_over_anything() {
    let Scene { mut network, snapshot, number, .. } = scene();
    let (code, words) = run(&["snapshot", "make", "--data", text(&network.folder(0)), "--out", "nowhere"]);
    assert!(code == Some(1) && words.contains("stop the node"), "a running node: {words}");
    assert_eq!(network.stop(3, "TERM").code(), Some(0));
    let (code, words) = run(&["snapshot", "make", "--data", text(&network.folder(3)), "--out", text(&snapshot)]);
    assert!(code == Some(1) && words.contains("not empty"), "{words}");
    let data = network.directory.join("killed");
    let key = network.network_key();
    for _ in 0..5 {
        let arguments = ["snapshot", "load", "--from", text(&snapshot), "--data", text(&data), "--network-key", &key];
        let mut load = Command::new(KEYSTEAD);
        let mut child = load.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // As soon as there is something to lose.
        wait_until("the load begins", || {
            (data.join("state/tables").exists() || child.try_wait().unwrap().is_some()).then_some(())
        });
        let _ = child.kill();
        let _ = child.wait();
    }
    let (code, words) = load(&network, &snapshot, "killed");
    assert!(code == Some(0) || words.contains("there is a store already"), "{words}");
    let follower = Follower::start_with(&network, "killed", &all(&network)[..3], &[]);
    follower.wait_for_head(number + 1);
    follower.agrees(&network, number);
}
