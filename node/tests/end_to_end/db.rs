//! What a validator keeps of the past: old states over a restart, upkeep, and `keystead db` on a stopped folder.

use crate::{
    network::{KEYSTEAD, Network, number, wait_until},
    sender::{Draft, KEEPER, LOGGER, Sender, receipt},
};
use alloy_primitives::Address;
use serde_json::{Value, json};
use std::{fs, path::PathBuf, process::Command};

/// Transactions that fill a sealed file with postings: 2^20, and each makes some 8,700 logs of five.
const FLOODS: usize = 27;
/// Gas of each: the cap for one transaction (EIP-7825).
const FLOOD_GAS: u64 = 16_777_216;

/// `keystead db COMMAND --dir DIR ...`: exit code, standard output and standard error.
fn db(network: &Network, index: usize, command: &str, options: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(KEYSTEAD)
        .args(["db", command, "--dir"])
        .arg(network.folder(index))
        .args(options)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A number that `keystead db stats` prints in a line of its own.
fn stat(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}: {text}"));
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn tag(height: u64) -> String {
    format!("{height:#x}")
}

/// Everything that a validator says about the states at some heights.
fn old_states(network: &Network, index: usize, keeper: Address, sender: Address, heights: &[u64]) -> Vec<Value> {
    let slot = format!("{:#066x}", 0);
    let asked = |height: &u64| {
        let at = tag(*height);
        json!([
            network.call(index, "eth_call", json!([{ "to": keeper }, at])),
            network.call(index, "eth_getBalance", json!([sender, at])),
            network.call(index, "eth_getStorageAt", json!([keeper, slot, at])),
            network.call(index, "eth_getProof", json!([keeper, [slot], at])),
        ])
    };
    heights.iter().map(asked).collect()
}

#[test]
fn old_states_are_the_same_after_a_restart_and_on_another_validator() {
    let mut network = Network::start(4);
    let mut sender = Sender::account(1);
    let keeper = sender.next_contract();
    let mut receipts = vec![sender.settle(&network, 0, Draft::create(KEEPER, 1_000_000))];
    receipts.extend((1..=3).map(|word| sender.settle(&network, 0, Draft::word(keeper, word))));
    let heights: Vec<u64> = receipts.iter().map(|receipt| number(&receipt["blockNumber"])).collect();
    let before = old_states(&network, 0, keeper, sender.address(), &heights);
    for (word, at) in before.iter().enumerate() {
        assert_eq!(at[0], json!(format!("{word:#066x}")), "the state after block {}", heights[word]);
        // The proof hangs on the header of that very block.
        assert_eq!(at[3]["storageProof"][0]["value"], json!(format!("{word:#x}")));
    }
    // Once as a crash, once as a stop.
    network.kill(0);
    for round in 0..2 {
        network.launch(0);
        network.wait_for_head(0, heights[3]);
        assert_eq!(old_states(&network, 0, keeper, sender.address(), &heights), before, "round {round}");
        if round == 0 {
            assert_eq!(network.stop(0, "TERM").code(), Some(0));
        }
    }
    network.wait_for_head(2, heights[3]);
    assert_eq!(old_states(&network, 2, keeper, sender.address(), &heights), before, "validator 2");
}

#[test]
fn a_stopped_validator_is_counted_verified_and_pruned_and_a_running_one_is_left_alone() {
    let mut network = Network::start(4);
    let mut sender = Sender::account(1);
    let keeper = sender.next_contract();
    sender.settle(&network, 0, Draft::create(KEEPER, 1_000_000));
    let stored = sender.settle(&network, 0, Draft::word(keeper, 1));
    let old = number(&stored["blockNumber"]);
    let below = number(&sender.settle(&network, 0, Draft::word(keeper, 2))["blockNumber"]);
    for (command, options) in [("stats", &[][..]), ("verify", &[]), ("prune", &["--below", "1"])] {
        let (code, out, error) = db(&network, 0, command, options);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{command}: {error}");
        assert!(error.contains("in use by another process"), "{command}: {error}");
    }
    network.wait_for_head(0, below + 4);
    assert_eq!(network.stop(0, "TERM").code(), Some(0));

    let (code, stats, error) = db(&network, 0, "stats", &[]);
    assert_eq!(code, Some(0), "{error}");
    let head = stat(&stats, "head");
    assert!(head >= below + 4 && stat(&stats, "oldest state") == 0 && stat(&stats, "sealed files") == 0, "{stats}");
    let (code, verified, error) = db(&network, 0, "verify", &[]);
    assert_eq!(code, Some(0), "{verified}{error}");
    assert!(verified.contains(&format!("head={head} ")) && verified.contains("no damage found"), "{verified}");
    let (code, pruned, error) = db(&network, 0, "prune", &["--below", &below.to_string()]);
    assert_eq!(code, Some(0), "{error}");
    assert!(pruned.contains(&format!("oldest_state={below} ")), "{pruned}");
    let (code, verified, error) = db(&network, 0, "verify", &[]);
    assert_eq!(code, Some(0), "{verified}{error}");

    network.launch(0);
    network.wait_for_head(0, head + 2);
    let refused = network.try_call(0, "eth_call", &json!([{ "to": keeper }, tag(old)])).unwrap().unwrap_err();
    assert!(refused["message"].as_str().unwrap().contains(&format!("state of block {old} is not kept")), "{refused}");
    assert_eq!(network.call(0, "eth_call", json!([{ "to": keeper }, tag(below)])), json!(format!("{:#066x}", 2)));
    // Only states went: the receipt is there, and the others still have the state.
    let again = network.call(0, "eth_getTransactionReceipt", json!([stored["transactionHash"]]));
    assert_eq!(again, stored);
    assert_eq!(network.call(1, "eth_call", json!([{ "to": keeper }, tag(old)])), json!(format!("{:#066x}", 1)));
    network.agree();
}

/// The sealed files of a validator.
fn segments(network: &Network, index: usize) -> Vec<PathBuf> {
    let folder = network.folder(index).join("data/state/segments");
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.filter(|path| fs::metadata(path).is_ok_and(|it| it.len() > 0)).collect();
    files.sort();
    files
}

#[test]
fn upkeep_seals_blocks_and_drops_old_states_and_verify_names_a_flipped_byte_slow() {
    let mut network = Network::half_files(4);
    network.launch_with(0, &["--history", "12", "--trie-memory", "16"]);
    (1..4).for_each(|index| network.launch(index));
    network.wait_for_head(0, 1);
    let mut sender = Sender::account(1);
    let hashes: Vec<String> = (0..FLOODS).map(|_| sender.send(&network, 0, Draft::create(LOGGER, FLOOD_GAS))).collect();
    // Two are kept whole: all of them together are some hundred megabytes.
    let first = receipt(&network, 0, &hashes[0]);
    let of = |hash: &String| receipt(&network, 0, hash)["logs"].as_array().unwrap().len();
    let logs: usize = hashes.iter().map(of).sum();
    assert!(logs * 5 > 1 << 20, "{logs} logs do not fill a file");
    let newest = receipt(&network, 0, &hashes[FLOODS - 1]);
    let last = number(&newest["blockNumber"]);
    let head = network.head(0).unwrap();
    // The last sixteen blocks are never sealed.
    network.wait_for_head(0, head + 17);
    wait_until("upkeep seals a file", || (!segments(&network, 0).is_empty()).then_some(()));
    for before in [&first, &newest] {
        let again = network.call(0, "eth_getTransactionReceipt", json!([before["transactionHash"]]));
        assert!(again == *before, "a receipt changed when its block was sealed: {}", before["transactionHash"]);
    }
    let one = json!([{ "address": first["contractAddress"], "blockHash": first["blockHash"] }]);
    assert!(network.call(0, "eth_getLogs", one) == first["logs"], "the index of the sealed file finds other logs");
    // The window of this validator moves on; the others keep everything.
    assert!(network.try_call(1, "eth_getBalance", &json!([sender.address(), tag(last)])).unwrap().is_ok());

    // Upkeep comes after each block: if the disk stands still when the validator is stopped, it is behind until the next ones.
    let stats = wait_until("old states are dropped", || {
        assert_eq!(network.stop(0, "TERM").code(), Some(0));
        let (code, stats, error) = db(&network, 0, "stats", &[]);
        assert_eq!(code, Some(0), "{error}");
        let (head, oldest) = (stat(&stats, "head"), stat(&stats, "oldest state"));
        if oldest > last && oldest + 20 >= head {
            return Some(stats);
        }
        network.launch_with(0, &["--history", "12", "--trie-memory", "16"]);
        network.wait_for_head(0, head + 1);
        None
    });
    let head = stat(&stats, "head");
    assert!(stat(&stats, "last sealed") >= number(&first["blockNumber"]), "{stats}");
    assert!((1..=16 << 20).contains(&stat(&stats, "trie in memory")), "{stats}");
    let (code, verified, error) = db(&network, 0, "verify", &[]);
    assert_eq!(code, Some(0), "{verified}{error}");
    let file = segments(&network, 0).remove(0);
    let whole = fs::read(&file).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 3] ^= 0x04;
    fs::write(&file, damaged).unwrap();
    let (code, verified, error) = db(&network, 0, "verify", &[]);
    assert_eq!(code, Some(1), "{verified}{error}");
    let name = file.file_name().unwrap().to_str().unwrap();
    let named = |line: &str| line.starts_with("damaged: ") && line.contains(name);
    assert!(verified.lines().any(named) && verified.contains("delete the folder"), "{verified}");
    fs::write(&file, whole).unwrap();
    let (code, verified, error) = db(&network, 0, "verify", &[]);
    assert_eq!(code, Some(0), "{verified}{error}");
    network.launch_with(0, &["--history", "12"]);
    network.wait_for_head(0, head + 2);
    // Now that the newest states are no longer in memory, either.
    let refused = network.try_call(0, "eth_getBalance", &json!([sender.address(), tag(last)])).unwrap().unwrap_err();
    assert!(refused["message"].as_str().unwrap().contains("is not kept"), "{refused}");
    network.agree();
}
