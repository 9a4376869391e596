//! kill -9 at random moments under load, between full disks and torn journals: no final block or receipt is lost.
//!
//! A client remembers every receipt that any validator ever gave it. At the end all four must give the same, hold the same
//! blocks, and have folders in which nothing is damaged.

use crate::{
    crash::{blocks, load},
    dice::Dice,
    disk::{AGAIN, Damage, WITHOUT, engine_file, last_error, state_journal, used},
    http,
    network::{KEYSTEAD, Network, wait_until},
    sender::{Draft, Sender, Signed},
};
use alloy_primitives::Address;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    process::{Child, Command},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Deaths in the usual run, and under `cargo xtask test --all`.
const ROUNDS: usize = 8;
const ROUNDS_ALL: usize = 200;
/// One round of so many has a full disk, and one a damaged file.
const LUCK: u64 = 10;
/// Longest time from the last word of the load generator to the end of the test.
const LOAD_SECONDS: u64 = 3_600;
/// Receipts that the client remembers at most: an hour at its pace.
const RECEIPTS_MAX: usize = 50_000;
/// After so long without a receipt the client sends a transaction again, to the next validator.
const RESEND: Duration = Duration::from_secs(2);
/// How often it asks for a receipt.
const POLL: Duration = Duration::from_millis(20);

/// Sends transfers one after another to validators that may be dead, and remembers their receipts.
struct Client {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<BTreeMap<String, Value>>,
}

impl Client {
    fn start(rpc: Vec<SocketAddr>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut senders: Vec<Sender> = (5..9).map(Sender::account).collect();
            let mut receipts = BTreeMap::new();
            let mut turn = 0;
            while !stopped.load(Ordering::Relaxed) && receipts.len() < RECEIPTS_MAX {
                let drafts =
                    senders.iter_mut().map(|sender| sender.sign(Draft::transfer(Address::repeat_byte(0xee), 1)));
                let signed: Vec<Signed> = drafts.collect();
                for signed in signed {
                    turn += 1;
                    let Some(receipt) = settle(&rpc, turn, &signed, &stopped) else { break };
                    receipts.insert(signed.hash, receipt);
                }
            }
            receipts
        });
        Self { stop, thread }
    }

    /// Every receipt that it got, by transaction.
    fn finish(self) -> BTreeMap<String, Value> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Offers a transaction until some validator gives a receipt; `None` if the test ended before.
fn settle(rpc: &[SocketAddr], first: usize, signed: &Signed, stopped: &AtomicBool) -> Option<Value> {
    let mut offered: Option<Instant> = None;
    let mut turn = first;
    while !stopped.load(Ordering::Relaxed) {
        if offered.is_none_or(|at| at.elapsed() > RESEND) {
            turn += 1;
            // It may be dead, or know the transaction already.
            let taken = http::call(rpc[turn % rpc.len()], "eth_sendRawTransaction", &json!([signed.raw]));
            offered = taken.is_some().then(Instant::now);
        }
        let asked = http::call(rpc[turn % rpc.len()], "eth_getTransactionReceipt", &json!([signed.hash]));
        if let Some(Ok(receipt)) = asked
            && !receipt.is_null()
        {
            assert_eq!(receipt["status"], "0x1", "{receipt}");
            return Some(receipt);
        }
        thread::sleep(POLL);
    }
    None
}

/// What a round does to its victim after the kill.
#[derive(Debug)]
enum Fate {
    Restart,
    FullDisk { limit_kib: u64 },
    Damage { place: &'static str, damage: Damage },
}

impl Fate {
    fn roll(dice: &mut Dice, network: &Network, victim: usize) -> Self {
        match dice.roll(LUCK) {
            0 => {
                let room = used(&state_journal(network, victim)) as u64 / 1024 + 1 + dice.roll(32);
                Self::FullDisk { limit_kib: [0, 4, 8, room][dice.roll(4) as usize] }
            }
            1 => {
                let amount = |dice: &mut Dice, most: u64| 1 + dice.roll(most) as usize;
                let (place, damage) = match dice.roll(6) {
                    0 => ("state", Damage::Cut(amount(dice, 8_192))),
                    1 => ("state", Damage::Flip(amount(dice, 2_048))),
                    2 => ("simplex", Damage::Cut(amount(dice, 4_096))),
                    3 => ("simplex", Damage::FlipItem),
                    4 => ("blocks-value", Damage::Cut(amount(dice, 512))),
                    _ => ("blocks-value", Damage::Flip(amount(dice, 512))),
                };
                Self::Damage { place, damage }
            }
            _ => Self::Restart,
        }
    }

    /// The victim is dead; afterwards it runs.
    fn befall(&self, network: &mut Network, victim: usize, witness: usize) {
        match self {
            Self::Restart => network.launch(victim),
            Self::FullDisk { limit_kib } => {
                let (code, log) = network.run_with_full_disk(victim, *limit_kib);
                assert_eq!(code, Some(1), "{self:?}: {log}");
                assert!(last_error(&log).contains("free space"), "{self:?}: {log}");
                network.launch(victim);
            }
            Self::Damage { place, damage } => {
                let is_state = *place == "state";
                let file = if is_state { state_journal(network, victim) } else { engine_file(network, victim, place) };
                damage.apply(&file);
                let height = network.head(witness).unwrap() + 2;
                let Some((code, log)) = network.launch_damaged(victim, height) else { return };
                assert_eq!(code, Some(1), "{self:?}: {log}");
                let folder = network.folder(victim).join("data").join(if is_state { "state" } else { "engine" });
                let error = last_error(&log);
                assert!(error.contains(&folder.display().to_string()) && error.contains("delete"), "{self:?}: {log}");
                fs::remove_dir_all(&folder).unwrap();
                network.launch(victim);
            }
        }
    }
}

/// Up to the head, and with its vote: one that catches up, or may not sign, is as good as dead, and two of four are too many.
fn wait_until_whole(network: &Network, victim: usize, witness: usize) {
    network.wait_for_head(victim, network.head(witness).unwrap() + 1);
    wait_until("the validator signs", || {
        let log = network.whole_log(victim);
        (log.matches(WITHOUT).count() == log.matches(AGAIN).count()).then_some(())
    });
}

fn end(load: &mut Child) {
    let _ = load.kill();
    let _ = load.wait();
}

fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn kills_full_disks_and_torn_journals_under_load_lose_no_final_block_or_receipt_slow() {
    let seed = environment("KEYSTEAD_SEED").unwrap_or(0x200_dead);
    let rounds = if environment("KEYSTEAD_TEST_ALL").is_some() { ROUNDS_ALL } else { ROUNDS };
    println!("seed: KEYSTEAD_SEED={seed} rounds={rounds}");
    let mut dice = Dice(seed);
    let mut network = Network::alone(4);
    (0..4).for_each(|index| network.wait_for_head(index, 3));
    let mut load = load(&network, LOAD_SECONDS);
    let client = Client::start(network.rpc.clone());
    let (mut full, mut damaged) = (0, 0);
    for round in 0..rounds {
        let victim = dice.roll(4) as usize;
        let witness = (victim + 1) % 4;
        thread::sleep(Duration::from_millis(dice.roll(900)));
        let before = network.head(victim).unwrap();
        let known = blocks(&network, victim, before.saturating_sub(5), before);
        network.kill(victim);
        // The usual run has one of each.
        let fate = loop {
            let fate = Fate::roll(&mut dice, &network, victim);
            let wanted = match round {
                2 => matches!(fate, Fate::FullDisk { .. }),
                5 => matches!(fate, Fate::Damage { .. }),
                _ => true,
            };
            if wanted {
                break fate;
            }
        };
        full += usize::from(matches!(fate, Fate::FullDisk { .. }));
        damaged += usize::from(matches!(fate, Fate::Damage { .. }));
        if !matches!(fate, Fate::Restart) {
            println!("round {round}: validator {victim} at {before}: {fate:?}");
        }
        let height = network.head(witness).unwrap();
        network.wait_for_head(witness, height.max(before) + 2);
        fate.befall(&mut network, victim, witness);
        wait_until_whole(&network, victim, witness);
        let after = blocks(&network, victim, before.saturating_sub(5), before);
        assert_eq!(after, known, "round {round}: validator {victim} lost or changed a final block: {fate:?}");
    }
    let receipts = client.finish();
    end(&mut load);
    assert!(receipts.len() > rounds, "the client got {} receipts in {rounds} rounds", receipts.len());
    let head = network.head(0).unwrap();
    (0..4).for_each(|index| network.kill(index));
    (0..4).for_each(|index| network.launch(index));
    (0..4).for_each(|index| network.wait_for_head(index, head + 2));
    for index in 0..4 {
        for (hash, remembered) in &receipts {
            let receipt = network.call(index, "eth_getTransactionReceipt", json!([hash]));
            assert_eq!(&receipt, remembered, "validator {index}, transaction {hash}");
        }
    }
    let agreed = network.agree();
    for index in 0..4 {
        assert!(!network.whole_log(index).contains("conflicting"), "{}", network.log(index));
        assert_eq!(network.stop(index, "TERM").code(), Some(0), "{}", network.log(index));
        let output =
            Command::new(KEYSTEAD).args(["db", "verify", "--dir"]).arg(network.folder(index)).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("no damage found"), "validator {index}: {text}");
    }
    println!("rounds={rounds} full_disks={full} damaged={damaged} receipts={} height={agreed}", receipts.len());
}
