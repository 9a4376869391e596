//! kill -9 at random moments, under load: nothing final is lost and the chain goes on.

use crate::{
    dice::Dice,
    disk_pulse::DiskPulse,
    network::{KEYSTEAD, Network, number, wait_until},
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// Promised longest time between finalized blocks with one of four validators dead.
const GAP_MS_MAX: u64 = 3_000;
/// Kills at random moments.
const KILLS: usize = 20;
/// Accounts of the load: each is given money by a transaction first.
const SENDERS: usize = 20;

/// Blocks as validator `index` reports them, from `from` to `to`: height to (hash, state root, time).
pub(crate) fn blocks(network: &Network, index: usize, from: u64, to: u64) -> BTreeMap<u64, (String, String, u64)> {
    (from..=to)
        .map(|height| {
            let block = network.block(index, height);
            let text = |key: &str| block[key].as_str().unwrap().to_owned();
            (height, (text("hash"), text("stateRoot"), number(&block["extraData"])))
        })
        .collect()
}

/// Transfers at a steady rate from a process of its own. They have begun: until then it needs the first validator, to prepare its accounts.
pub(crate) fn load(network: &Network, seconds: u64) -> Child {
    let before = network.head(0).unwrap();
    let mut command = Command::new(KEYSTEAD);
    command.args([
        "bench",
        "load",
        "--rate",
        "50",
        "--senders",
        &SENDERS.to_string(),
        "--resend-seconds",
        "2",
        "--seconds",
        &seconds.to_string(),
    ]);
    (0..network.rpc.len()).for_each(|index| {
        command.args(["--rpc", &network.url(index)]);
    });
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the load has begun", || {
        let heights = before + 1..=network.head(0).unwrap();
        (heights.map(|height| transactions(network, height)).sum::<usize>() > SENDERS).then_some(())
    });
    child
}

/// How many transactions the first validator has in a block.
fn transactions(network: &Network, height: u64) -> usize {
    network.block(0, height)["transactions"].as_array().unwrap().len()
}

#[test]
fn twenty_kills_under_load_lose_no_final_block_and_restart_continues_slow() {
    let seed = std::env::var("KEYSTEAD_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0x5eed_2026);
    println!("seed: KEYSTEAD_SEED={seed}");
    let mut dice = Dice(seed);
    // It measures single seconds: what else a busy machine does is none of the promise. Nor is one that stands still: each block waits for its own write.
    let mut network = Network::alone(4);
    let disk = DiskPulse::start(&network.directory);
    // The promise is about one dead validator: the other three have started before the first dies.
    (0..4).for_each(|index| network.wait_for_head(index, 3));
    network.wait_for_connections();
    let mut load = load(&network, 900);
    for kill in 0..KILLS {
        let victim = dice.roll(4) as usize;
        let witness = (victim + 1) % 4;
        thread::sleep(Duration::from_millis(dice.roll(900)));
        let before = network.head(victim).unwrap();
        let known = blocks(&network, victim, before.saturating_sub(5), before);
        network.kill(victim);
        network.wait_for_connections();
        let height = network.head(witness).unwrap();
        network.wait_for_head(witness, height.max(before) + 3);
        network.launch(victim);
        // Up to the head, and heard by all: one that still catches up, or that some cannot reach, is as good as dead, and the promise is about one.
        network.wait_for_head(victim, network.head(witness).unwrap());
        network.wait_for_connections();
        let after = blocks(&network, victim, before.saturating_sub(5), before);
        assert_eq!(after, known, "kill {kill}: validator {victim} lost or changed a final block");
    }
    let _ = load.kill();
    let _ = load.wait();
    let head = network.head(0).unwrap();
    let all = blocks(&network, 0, 1, head);
    let stood_still = disk.end();
    let (mut longest, mut own) = ((0, 0), (0, 0));
    for ((_, earlier), (height, later)) in all.iter().zip(all.iter().skip(1)) {
        let gap = later.2 - earlier.2;
        longest = longest.max((gap, *height));
        own = own.max((stood_still.own(earlier.2, later.2), *height));
    }
    println!("longest gap between finalized blocks: {} ms before height {}", longest.0, longest.1);
    println!(
        "while the machine answered: {} ms before height {}; it stood still for {} ms at most",
        own.0,
        own.1,
        stood_still.longest_ms()
    );
    assert!(own.0 <= GAP_MS_MAX, "gap of {} ms before height {}, while the machine answered", own.0, own.1);
    let sent: usize = (1..=head).map(|height| transactions(&network, height)).sum();
    assert!(sent > 100, "the load reached the chain: transactions={sent}");
    let late: usize = (head * 3 / 4..=head).map(|height| transactions(&network, height)).sum();
    assert!(late > 0, "the load went on to the end: no transaction in the last quarter of {head} blocks");
    (0..4).for_each(|index| network.kill(index));
    (0..4).for_each(|index| network.launch(index));
    for index in 0..4 {
        network.wait_for_head(index, head + 2);
        assert_eq!(blocks(&network, index, 1, head), all, "validator {index} differs after the restart of all four");
    }
}

#[test]
fn a_receipt_survives_the_death_of_the_validator_that_gave_it() {
    let mut network = Network::start(4);
    let status = Command::new(KEYSTEAD)
        .args(["bench", "load", "--rate", "20", "--senders", "5", "--seconds", "2", "--rpc", &network.url(2)])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let head = network.head(2).unwrap();
    let hashes: Vec<_> =
        (1..=head).flat_map(|height| network.block(2, height)["transactions"].as_array().unwrap().clone()).collect();
    assert!(hashes.len() >= 40, "transactions={}", hashes.len());
    network.kill(2);
    network.launch(2);
    network.wait_for_head(2, head);
    for hash in hashes {
        let receipt = wait_until("the receipt", || {
            let receipt = network.call(2, "eth_getTransactionReceipt", json!([hash]));
            (!receipt.is_null()).then_some(receipt)
        });
        assert_eq!(receipt["status"], "0x1");
    }
}
