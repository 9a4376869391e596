//! Proofs of hardware on a real network: providers prove, drawn checkers state, anybody checks; statements that nobody drawn signed count for nothing.
//!
//! On machines without a graphics card the adapter is a program on the processor: here the protocol is tested, not the numbers. Who claims more than it
//! has: `forgers.rs`. What falls due, and lapses: `due.rs`.

use crate::{
    matching::{ask, offers, why_not},
    network::{KEYSTEAD, Network, wait_until},
    parties::{Provider, account, text},
    sender::{Draft, Sender},
};
use alloy_primitives::{Address, FixedBytes};
use alloy_signer::SignerSync as _;
use alloy_signer_local::{MnemonicBuilder, PrivateKeySigner, coins_bip39::English};
use alloy_sol_types::SolCall as _;
use keystead_blobs::{Config, Endpoint, Question, ask as put};
use keystead_contracts::{
    BOND_ADDRESS, PROVIDERS_ADDRESS,
    bindings::{bond::Bond, providers::Providers},
};
use keystead_market::touchstone::Published;
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// Accounts with a seat each.
const CHECKERS: [usize; 3] = [3, 4, 5];
/// Small, so that a test machine is done at once: the speed counts, the memory cannot.
const QUICK: [&str; 4] = ["--prove-memory", "2", "--prove-seconds", "1"];
/// Seats count from the next epoch of the bond on.
const EPOCH_BLOCKS: u64 = 256;
const EPOCH_MAX: Duration = Duration::from_secs(400);

pub(crate) fn verify(network: &Network, who: usize) -> (Option<i32>, String) {
    let arguments = ["prove", "--rpc", &network.url(0), "--verify", account(who)];
    let output = Command::new(KEYSTEAD).args(arguments).output().unwrap();
    (output.status.code(), text(&output))
}

/// Gives a test account one seat: deposit in pieces that fit, then sit down.
pub(crate) fn seat(network: &Network, number: u32) {
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

/// A provider that is done with a round at once.
pub(crate) fn start(network: &Network, folder: &Path, number: usize, more: &[&str]) -> Provider {
    Provider::start_as(network, folder, number, &[&QUICK[..], more].concat())
}

/// Checkers as processes of their own, each with a seat that counts.
pub(crate) fn checkers(network: &Network) -> Vec<Provider> {
    CHECKERS.iter().for_each(|number| seat(network, *number as u32));
    let start = |number: usize| {
        let folder = network.directory.join(format!("checker-{number}"));
        Provider::start_as(network, &folder, number, &["--prove", "never"])
    };
    let started = CHECKERS.map(start);
    next_epoch(network);
    started.into()
}

/// The key of a test account.
pub(crate) fn signer(number: usize) -> PrivateKeySigner {
    let phrase = "test test test test test test test test test test test junk";
    let builder = MnemonicBuilder::<English>::default().phrase(phrase).index(number as u32).unwrap();
    builder.build().unwrap()
}

/// What the register says of a provider, as `keystead offers` shows it.
pub(crate) fn offered(network: &Network, number: usize) -> Option<Value> {
    let is = |one: &Value| one["provider"].as_str().unwrap().eq_ignore_ascii_case(account(number));
    offers(network).into_iter().find(is)
}

/// Asks a provider as any stranger may.
fn question(network: &Network, who: usize, kind: u8, body: Vec<u8>) -> Option<Vec<u8>> {
    let call = Providers::providerCall { account: account(who).parse().unwrap() };
    let request = json!({"to": PROVIDERS_ADDRESS, "data": alloy_primitives::hex::encode_prefixed(call.abi_encode())});
    let answer = network.call(0, "eth_call", json!([request, "latest"]));
    let answer: alloy_primitives::Bytes = serde_json::from_value(answer).unwrap();
    let address = Providers::providerCall::abi_decode_returns(&answer).unwrap().endpoint.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint = Endpoint::bind(Config::loopback()).await.unwrap();
        let answer = put(&endpoint, &address, &Question { kind, body: body.into() }, 64 << 20).await.unwrap();
        endpoint.close().await;
        answer
    })
}

#[test]
fn a_provider_proves_before_it_earns_drawn_checkers_state_it_and_it_shows_as_proved_apart_from_claimed_slow() {
    let network = Network::alone(4);
    let mut checkers = checkers(&network);
    let mut provider = start(&network, &network.directory.join("provider"), 1, &["--prove", "auto"]);
    let log = provider.text();
    let (published, listed) = (log.find("proof of hardware published"), log.find("takes orders at"));
    assert!(published.is_some() && published < listed, "it proved before it took orders: {log}");
    checkers.iter_mut().for_each(|checker| checker.wait_for("proof of hardware checked: at least"));
    provider.wait_for("proved: at least");
    let (code, said) = wait_until("all checkers have stated it", || {
        let (code, said) = verify(&network, 1);
        said.contains("3 of 3").then_some((code, said))
    });
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("PROVED by") && said.contains("device 0  at least"), "{said}");
    assert!(said.contains("3 of 3 drawn checkers state the same"), "{said}");
    nobody_else_states_anything(&network);

    // Proved is shown apart from claimed, and of whom nobody stated anything nothing is.
    let shown = wait_until("the register has the record with the statements", || {
        offered(&network, 1).filter(|one| one["proved"].as_array().is_some_and(|proved| !proved.is_empty()))
    });
    assert!(shown["claimed"]["processor"]["cores"].as_u64() > Some(0), "{shown}");
    assert_eq!((&shown["proved"][0]["device"], &shown["proved"][0]["provider"]), (&json!(0), &shown["provider"]));
    assert_eq!(offered(&network, CHECKERS[0]).unwrap()["proved"], json!([]));
    let (code, said) = ask(&network, &["offers"]);
    let shown_to_people = said.contains("proved: integer") && said.contains("proved: nothing");
    assert!(code == Some(0) && shown_to_people && said.contains("claimed: "), "{said}");
    // Nobody's bond is free here: customers and the owner read what that means.
    assert!(said.contains("audited: in probation: every unit is checked"), "{said}");
    assert!(provider.text().contains("lane      probation: every unit of an audited order"), "{}", provider.text());
    // A program on the processor is no GPU, whatever it has proved.
    let adapters = shown["claimed"]["adapters"].as_array().unwrap();
    assert!(adapters.iter().all(|adapter| adapter["is"] == "software"), "{adapters:?}");
    assert_eq!(why_not(&network, &["value-at-risk", "--hardware", "gpu"]).1["matched"], json!(0));

    // A checker has published nothing of its own.
    let (code, said) = verify(&network, CHECKERS[0]);
    assert!(code == Some(1) && said.contains("has published no proof of hardware"), "{said}");
}

/// Statements of nobody's seat, replayed, or about something else: none is taken.
fn nobody_else_states_anything(network: &Network) {
    let bytes = question(network, 1, 0x41, Vec::new()).unwrap();
    let round = Published::decode(&bytes).unwrap();
    assert!(round.statements.len() >= CHECKERS.len());
    let mut stranger = round.statements[0];
    stranger.statement.checker = signer(7).address();
    let signature = signer(7).sign_hash_sync(&stranger.statement.signing_hash(19_283)).unwrap();
    stranger.signature = FixedBytes::from(signature.as_bytes());
    let mut better = round.statements[1];
    better.statement.bands.throughput = keystead_market::band::Band::of(u64::MAX);
    let mut other = round.statements[1];
    other.statement.provider = Address::repeat_byte(9);
    for bad in [round.statements[0], stranger, better, other] {
        assert_eq!(question(network, 1, 0x42, alloy_rlp::encode(vec![bad])), Some(vec![0]));
    }
    assert_eq!(question(network, 1, 0x42, vec![0xff; 10]), None);
    let after = question(network, 1, 0x41, Vec::new()).unwrap();
    assert_eq!(Published::decode(&after).unwrap().statements, round.statements);
}

#[test]
fn without_seats_nobody_proves_unless_told_to_and_a_restart_proves_again_only_what_changed() {
    let network = Network::alone(4);
    let folder = network.directory.join("provider");
    // The default: who is alone begins to work at once.
    let mut provider = start(&network, &folder, 1, &["--prove", "auto"]);
    assert!(!provider.text().contains("proof of hardware"), "{}", provider.text());
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
    let network = Network::alone(4);
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
