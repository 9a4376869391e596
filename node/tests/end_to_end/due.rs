//! A proof of hardware falls due, by real processes: who proves its due round stays proved; who lets it pass counts as not proved once the time for it is
//! over, and as proved again once it has proved anew.
//!
//! The first height at which anybody can be due is 4,096, on a network of validators a quarter of an hour off at the fastest pace, and a given account is
//! due in one epoch of eight.
//! Neither the length of an epoch nor the time for a round is an option: they are rules by which every reader repeats the draw, and a door in the product
//! that made them shorter would test another product. So the chain is `keystead dev`, which makes thousands of blocks at one call. Contracts, draws,
//! deadlines and the market's commands are those of every network. What it lacks is the committee: nobody signs its blocks, and everybody can compute the
//! beacon's values, so the test knows beforehand who will be drawn. Values of a committee: `beacon.rs`, `touchstone.rs`.

use crate::{
    matching::{ask, why_not},
    network::{Network, wait_until},
    owner::status,
    parties::{Provider, account},
    sender::CHAIN_ID,
    touchstone::{offered, seat, start, verify},
};
use keystead_market::touchstone::{
    due::{EPOCH_BLOCKS, is_due},
    lapse::{EPOCHS_MAX, STATED_WITHIN_BLOCKS},
};
use keystead_types::BeaconValue;
use serde_json::{Value, json};
use std::path::PathBuf;

/// The account that holds the only seat.
const CHECKER: usize = 3;
/// Blocks after which a seat counts.
const SEAT_EPOCH: u64 = 256;
/// Blocks that are made at one call: well within the time of a request, on a busy machine, too.
const AT_ONCE: u64 = 2_048;
/// Blocks before the end of a round's time at which the older proof still counts. They come every second.
const MARGIN: u64 = 60;
/// A job for proved processors. On a busy machine nobody is left out who answers a moment later.
const PROVED_ONLY: [&str; 7] = ["align", "--proved-speed", "1", "--value-of-time", "0", "--patience-ms", "20000"];

/// The first height at which two accounts are due that were not before.
fn meeting() -> (u64, [usize; 2]) {
    let mut waiting: Vec<usize> = (1..10).filter(|number| *number != CHECKER).collect();
    for height in (1..=EPOCHS_MAX as u64).map(|epoch| epoch * EPOCH_BLOCKS) {
        let randomness = BeaconValue::development(CHAIN_ID, height).randomness();
        let is_drawn = |number: &usize| is_due(account(*number).parse().unwrap(), randomness);
        let (due, others): (Vec<usize>, Vec<usize>) = waiting.into_iter().partition(is_drawn);
        if let [first, second, ..] = due[..] {
            return (height, [first, second]);
        }
        waiting = others;
    }
    panic!("no two of the test accounts are first due together");
}

/// Makes all blocks up to this height, beside those that come by themselves.
fn go_to(network: &Network, height: u64) {
    while let Some(missing @ 1..) = height.checked_sub(network.head(0).unwrap()) {
        network.call(0, "hardhat_mine", json!([format!("{:#x}", missing.min(AT_ONCE))]));
    }
}

fn folder(network: &Network, number: usize) -> PathBuf {
    network.directory.join(format!("provider-{number}"))
}

fn provide(network: &Network, number: usize, when: &str) -> Provider {
    start(network, &folder(network, number), number, &["--prove", when])
}

/// What `keystead offers` shows of a provider: the height of its proof, if one counts, and why an older one does not.
fn shown(network: &Network, number: usize) -> Option<(Option<u64>, Value)> {
    let one = offered(network, number)?;
    Some((one["proved"][0]["height"].as_u64(), one["lapsed"].clone()))
}

/// Waits until a provider's log says so many times that its record has statements: costs nothing, so the machine is for the proof meanwhile.
fn stated(provider: &Provider, times: usize) {
    let words = "the capability record shows what is proved";
    wait_until(words, || (provider.text().matches(words).count() >= times).then_some(()));
}

/// Waits until a proof of this height or a newer one counts; its height.
fn proved_from(network: &Network, number: usize, height: u64) -> u64 {
    wait_until("offers shows the proof", || shown(network, number)?.0.filter(|proved| *proved >= height))
}

#[test]
fn who_proves_its_due_round_stays_proved_and_who_lets_it_pass_lapses_until_it_proves_anew_slow() {
    let network = Network::development(&["--block-time", "1"]);
    let (due, [faithful, idle]) = meeting();
    seat(&network, CHECKER as u32);
    let _checker = provide(&network, CHECKER, "never");
    go_to(&network, SEAT_EPOCH + 1);

    // Both prove at their first start. Epochs at which neither is due change nothing.
    let running = provide(&network, faithful, "auto");
    stated(&running, 1);
    let mut resting = provide(&network, idle, "auto");
    stated(&resting, 1);
    let first = proved_from(&network, idle, 1);
    assert!(proved_from(&network, faithful, 1) < due && first < due);
    wait_until("its owner reads the same", || {
        let proved = status(&folder(&network, idle))["devices"][0]["proved"].clone();
        (proved["height"] == first && proved["checkers"] == 1).then_some(())
    });
    assert_eq!(resting.interrupt(), Some(0));
    // One goes on; the other one's owner wants no more proofs.
    let mut resting = provide(&network, idle, "never");
    go_to(&network, due - 2);

    // The round is begun because it is due, and not because something had lapsed. Late on a busy machine, it is made up for at a newer height.
    stated(&running, 2);
    let renewed = proved_from(&network, faithful, due);
    let log = running.text();
    let (before, _) = log.split_once(&format!("height={due}")).unwrap_or_else(|| panic!("no due round: {log}"));
    assert!(before.contains("proving hardware: ") && !before.contains("proof lapsed"), "there was time for it: {log}");

    // Who has not proved is given the time for it.
    let end = due + STATED_WITHIN_BLOCKS;
    go_to(&network, end - MARGIN);
    assert_eq!(proved_from(&network, idle, 1), first);
    go_to(&network, end + 1);
    let reason = format!("proof lapsed: was due at block {due}");
    let lapsed = Some((None::<u64>, json!(reason)));
    wait_until("the proof lapses", || (shown(&network, idle) == lapsed).then_some(()));
    assert_eq!(proved_from(&network, faithful, 1), renewed, "who proved stays proved");
    only_one_counts(&network, [faithful, idle], &reason);

    // Back at work with its proofs, it proves anew by itself.
    assert_eq!(resting.interrupt(), Some(0));
    let resting = provide(&network, idle, "auto");
    stated(&resting, 1);
    let anew = proved_from(&network, idle, end + 1);
    assert!(resting.text().contains(&reason), "{}", resting.text());
    let (code, said) = verify(&network, idle);
    assert!(code == Some(0) && said.contains(&format!("for the challenge of height {anew}")), "{said}");
    assert_eq!(why_not(&network, &PROVED_ONLY).1["lapsed"], json!([]));
    assert_eq!(proved_from(&network, faithful, 1), renewed, "nothing was due since");
}

/// To customers and to whoever checks, the second of these has not proved what it did prove once.
fn only_one_counts(network: &Network, [faithful, idle]: [usize; 2], reason: &str) {
    let words = format!("proved: nothing ({reason})");
    wait_until("people read why", || ask(network, &["offers"]).1.contains(&words).then_some(()));
    let answer = wait_until("one is left, and the other one named", || {
        let (_, answer) = why_not(network, &PROVED_ONLY);
        (answer["matched"] == 1 && answer["lapsed"][0].is_object()).then_some(answer)
    });
    let lapsed = json!([{"provider": account(idle).to_lowercase(), "words": reason}]);
    assert_eq!(answer["lapsed"], lapsed);
    let (code, said) = verify(network, idle);
    assert!(code == Some(1) && said.contains(&format!("its hardware counts as not proved: {reason}.")), "{said}");
    assert_eq!(verify(network, faithful).0, Some(0));
}
