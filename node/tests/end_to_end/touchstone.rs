//! Proofs of hardware on a real network: providers prove, drawn checkers state, anybody checks; statements that nobody drawn signed count for nothing.
//!
//! On machines without a graphics card the adapter is a program on the processor: here the protocol is tested, not the numbers.

use crate::{
    network::{KEYSTEAD, Network},
    parties::{Provider, account, text},
    sender::{Draft, Sender},
};
use alloy_sol_types::SolCall as _;
use keystead_contracts::{BOND_ADDRESS, bindings::bond::Bond};
use keystead_market::touchstone::Published;
use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// Small, so that a test machine is done at once: the speed counts, the memory cannot.
const QUICK: [&str; 4] = ["--prove-memory", "2", "--prove-seconds", "1"];
/// Seats count from the next epoch of the bond on.
const EPOCH_BLOCKS: u64 = 256;
const EPOCH_MAX: Duration = Duration::from_secs(400);

fn verify(network: &Network, who: usize) -> (Option<i32>, String) {
    let arguments = ["prove", "--rpc", &network.url(0), "--verify", account(who)];
    let output = Command::new(KEYSTEAD).args(arguments).output().unwrap();
    (output.status.code(), text(&output))
}

/// Gives a test account one seat: deposit in pieces that fit, then sit down.
fn seat(network: &Network, number: u32) {
    let mut sender = Sender::account(number);
    let to = Some(BOND_ADDRESS);
    let ten_kst = 10_000_000_000_000_000_000;
    let deposit = Bond::depositCall {}.abi_encode();
    let deposits: Vec<String> = (0..10)
        .map(|_| {
            let draft = Draft { to, input: deposit.clone().into(), value: ten_kst, gas: 200_000 };
            sender.send(network, 0, draft)
        })
        .collect();
    deposits.iter().for_each(|hash| drop(crate::sender::receipt(network, 0, hash)));
    let call = Bond::seatCall { count: 1, hardware: 1, abilities: 15 };
    sender.settle(network, 0, Draft { to, input: call.abi_encode().into(), value: 0, gas: 400_000 });
}

/// Waits until the seats of now count. Transfers make blocks come faster.
fn next_epoch(network: &Network) {
    let wanted = (network.head(0).unwrap() / EPOCH_BLOCKS + 1) * EPOCH_BLOCKS + 1;
    let start = Instant::now();
    let mut sender = Sender::account(9);
    while network.head(0).unwrap() < wanted {
        assert!(start.elapsed() < EPOCH_MAX, "the epoch does not end: head={:?}", network.head(0));
        let to = sender.address();
        sender.settle(network, 0, Draft::transfer(to, 1));
        thread::sleep(Duration::from_millis(5));
    }
}

fn start(network: &Network, folder: &Path, number: usize, more: &[&str]) -> Provider {
    Provider::start_as(network, folder, number, &[&QUICK[..], more].concat())
}

#[test]
fn a_provider_proves_before_it_earns_while_others_have_seats_slow() {
    let network = Network::start(4);
    seat(&network, 3);
    seat(&network, 4);
    let folder = |name: &str| network.directory.join(name);
    let _first = start(&network, &folder("checker-3"), 3, &["--prove", "never"]);
    let _second = start(&network, &folder("checker-4"), 4, &["--prove", "never"]);
    next_epoch(&network);

    let provider = start(&network, &folder("provider"), 1, &["--prove", "auto"]);
    let log = provider.text();
    let (published, listed) = (log.find("proof of hardware published"), log.find("takes orders at"));
    assert!(published.is_some() && published < listed, "it proved before it took orders: {log}");
    // A checker has published nothing of its own.
    let (code, said) = verify(&network, 3);
    assert!(code == Some(1) && said.contains("has published no proof of hardware"), "{said}");
}

#[test]
fn without_seats_nobody_proves_unless_told_to_and_a_restart_proves_again_only_what_changed() {
    let network = Network::start(4);
    let folder = network.directory.join("provider");
    let mut provider = start(&network, &folder, 1, &["--prove", "auto"]);
    assert!(!provider.text().contains("proof of hardware published"), "{}", provider.text());
    let (code, said) = verify(&network, 1);
    assert!(code == Some(1) && said.contains("has published no proof of hardware"), "{said}");
    assert_eq!(provider.interrupt(), Some(0));

    let mut provider = start(&network, &folder, 1, &["--prove", "always"]);
    assert!(provider.text().contains("proof of hardware published"), "{}", provider.text());
    let (code, first) = verify(&network, 1);
    assert_eq!(code, Some(0), "{first}");
    assert!(first.contains("No checker could be drawn"), "{first}");
    assert_eq!(provider.interrupt(), Some(0));

    let mut provider = start(&network, &folder, 1, &["--prove", "always"]);
    assert!(!provider.text().contains("proof of hardware published"), "{}", provider.text());
    assert_eq!(verify(&network, 1), (Some(0), first.clone()), "the same round is published");
    assert_eq!(provider.interrupt(), Some(0));

    let more = ["--prove", "always", "--prove-memory", "0=3"];
    let provider = start(&network, &folder, 1, &more);
    assert!(provider.text().contains("proof of hardware published"), "{}", provider.text());
    let (code, second) = verify(&network, 1);
    assert_eq!(code, Some(0), "{second}");
    assert_ne!(first, second, "another height");
}

#[test]
fn what_was_published_and_then_changed_is_not_proved() {
    let network = Network::start(4);
    let folder = network.directory.join("provider");
    let mut provider = start(&network, &folder, 1, &["--prove", "always"]);
    assert_eq!(verify(&network, 1).0, Some(0));
    assert_eq!(provider.interrupt(), Some(0));
    let file = folder.join("proof").join("published.rlp");
    let good = Published::decode(&fs::read(&file).unwrap()).unwrap();
    let changed = |change: &dyn Fn(&mut Published)| {
        let mut round = good.clone();
        change(&mut round);
        fs::write(&file, round.encode()).unwrap();
        let mut provider = start(&network, &folder, 1, &["--prove", "never"]);
        let outcome = verify(&network, 1);
        assert_eq!(provider.interrupt(), Some(0));
        assert_eq!(outcome.0, Some(1), "{}", outcome.1);
        outcome.1
    };
    // More memory claimed than was filled; another speed, and so another challenge, which nobody answered; rows of another draw.
    assert!(changed(&|round| round.devices[0].memory_mib = 64).contains("fills too little"));
    assert!(changed(&|round| round.devices[0].mop_per_s *= 2).contains("has not recorded its answer"));
    let said = changed(&|round| {
        let mut answer = round.devices[0].answer.to_vec();
        let middle = answer.len() / 2;
        answer[middle] ^= 1;
        round.devices[0].answer = answer.into();
    });
    assert!(said.contains("NOT PROVED"), "{said}");
}

#[test]
fn a_person_sees_what_the_own_machine_shows() {
    let _machine = crate::network::machine();
    let output =
        Command::new(KEYSTEAD).args(["prove", "--prove-memory", "2", "--prove-seconds", "1"]).output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("  0  processor, ") && said.contains("at least "), "{said}");
    for wrong in [&["--prove-memory", "0"][..], &["--prove-seconds", "0"], &["--verify", "nobody"]] {
        let output = Command::new(KEYSTEAD).arg("prove").args(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    }
}
