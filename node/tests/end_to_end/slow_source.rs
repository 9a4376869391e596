//! A provider that sends its inputs at a crawl, since the owner of its machine lets next to nothing out: who is drawn to check leaves it, has the rest from the
//! customer in time, or takes its question back once the provider sends after all.

use crate::{
    audited::{Customer, stored, window_id, window_of},
    audits::{KST, address, bonded, credit, events, read, wait_long},
    convicted::{CUSTOMER, Scene, VERIFIED, drawn},
    market::job,
    network::{KEYSTEAD, wait_until},
    owner_rates::{allow, status},
    parties::{MARKET, PRICE, account, all_fees, balance, fasta},
};
use keystead_contracts::{
    AUDIT_ADDRESS,
    bindings::{audit::Audit, referee::Referee},
};
use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

/// The test accounts: customer, provider, checkers.
const PARTIES: [usize; 5] = [CUSTOMER, 1, 3, 4, 5];
/// Of the contract: a window that is over, and nobody is convicted.
const CLOSED: u8 = 2;
/// What the provider may send, KiB/s: an eighth of the least pace, and one group of an input in half a minute.
const KIB_PER_S: u64 = 2;
const SLOW: &str = "at most 2 KiB/s up, any speed down";
/// Residues of the two targets, a byte each in the common input: more than a group, so that the slow provider alone never gives it.
const TARGETS: u64 = 2;
const RESIDUES: u64 = 60_000;
/// After its grace of 8 s a source is slow in the second after it; the rest is for a machine that is busy.
const LEFT_SECONDS_MAX: u64 = 12;

/// A provider whose owner lets it send slowly, and three that check.
fn scene() -> Scene {
    let scene = Scene::new(&[], 3..6);
    allow(&scene.folder, KIB_PER_S);
    wait_until("the rate holds", || (status(&scene.folder)["network"]["says"] == SLOW).then_some(()));
    scene
}

/// `keystead run` of one unit with a large input and an output of a few bytes, since no alignment scores that much.
fn order(scene: &Scene, check_seconds: u32) -> (Customer, PathBuf) {
    let network = &scene.network;
    let file = |name: &str| network.directory.join(format!("{name}.faa"));
    fasta(&file("queries"), 1, 60);
    fasta(&file("targets"), TARGETS, RESIDUES);
    let out = network.directory.join("result");
    let mut command = Command::new(KEYSTEAD);
    command.args(["run", "align", "--set", "cells-per-unit=10000000", "--set", "score-min=1000000"]);
    command.args(["queries", "targets"].map(|name| format!("--input={name}={}", file(name).display())));
    command.args(["--dev-account", &CUSTOMER.to_string(), "--rpc", &network.url(0), "--out"]).arg(&out);
    command.args(["--audit", "--provider", account(1), "--sample", "1", "--sample-rate", "0"]);
    command.args(["--checker-seconds", &check_seconds.to_string(), "--reveal-seconds", "24", "--appeal-seconds", "60"]);
    command.stdin(Stdio::null());
    (Customer::spawn(network, &out, command), out)
}

/// Of each source that a checker left, the oldest first if there is one checker: the seconds that it had, and the bytes that it sent in them.
fn left(logs: &str) -> Vec<(u64, u64)> {
    let number = |text: &str, name: &str| -> u64 {
        let (_, rest) = text.split_once(name).unwrap();
        let end = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse().unwrap()
    };
    let said = logs.split("a source takes too long: ").skip(1);
    said.map(|text| (number(text, "seconds="), number(text, "bytes="))).collect()
}

/// The customer is there: it says where its node is, and gives at once what the provider would need minutes for.
#[test]
fn a_checker_leaves_a_slow_provider_for_the_customer_and_checks_in_time_to_the_wei_slow() {
    let mut scene = scene();
    let id = window_id(1);
    let since = scene.network.head(0).unwrap();
    let before = PARTIES.map(|number| balance(&scene.network, account(number)));
    let (mut customer, out) = order(&scene, 40);
    let (_, units) = drawn(&scene, &mut customer, id);
    assert_eq!(units, 1);
    let (code, said) = customer.end();
    assert_eq!(code, Some(0), "{said}\n{}", scene.logs());
    scene.provider.wait_for("order paid");
    let network = &scene.network;
    let logs = scene.logs();

    // It sent, and too slowly; then it was asked for in public, and answered.
    let left = left(&logs);
    assert!(left.iter().any(|(_, bytes)| (1..TARGETS * RESIDUES).contains(bytes)), "{left:?}\n{logs}");
    let asked: Vec<u8> = events::<Audit::InputAsked>(network, id).iter().map(|asked| asked.slot).collect();
    let handed: Vec<u8> = events::<Referee::KeyHanded>(network, id).iter().map(|handed| handed.slot).collect();
    assert!(asked.len() == 1 && asked == handed, "asked {asked:?}, answered {handed:?}: {said}\n{logs}");

    // Checked in time, and right.
    let (window, case) = (window_of(network, id), scene.case(id, 0));
    assert_eq!((window.status, window.convicted, window.unpaid, window.verified), (CLOSED, false, 0, 1), "{logs}");
    assert_eq!(case.stage, VERIFIED, "{logs}");
    let revealed = events::<Audit::CheckRevealed>(network, id);
    assert_eq!(revealed.iter().map(|check| check.own).collect::<Vec<_>>(), [case.value], "{logs}");
    let job = job(&out);
    assert_eq!((&job["assurance"], &job["audit"]["verified"]), (&"verified".into(), &1.into()), "{job}");

    // The unit's price to the provider, one fee to who checked; all else came back.
    for number in &PARTIES[2..] {
        wait_long("fees are withdrawn", || (credit(network, *number) == 0).then_some(()));
    }
    let gas = all_fees(network, since);
    for (number, before) in PARTIES.into_iter().zip(before) {
        let gas = gas.get(&account(number).to_lowercase()).copied().unwrap_or_default();
        let expected = match number {
            CUSTOMER => before - PRICE - window.feeWei,
            1 => before + PRICE,
            _ if address(number) == revealed[0].account => before + window.feeWei,
            _ => before,
        };
        assert_eq!(balance(network, account(number)) + gas, expected, "account {number}: {said}\n{logs}");
    }
    let bond = bonded(network, 1);
    assert_eq!((bond.freeWei, bond.lockedWei), (40 * KST, 0));
    assert_eq!((balance(network, MARKET), balance(network, &AUDIT_ADDRESS.to_string())), (0, 0));
}

/// The customer is gone, so nobody answers. The provider may send faster after the question: who asked has the input after all, and by its commitment nothing
/// is counted against the customer.
#[test]
fn a_checker_takes_its_question_back_once_a_slow_provider_sends_and_blames_nobody_slow() {
    let scene = scene();
    let network = &scene.network;
    let id = window_id(1);
    // It asks 20 s after the draw, and the answer may take 40 s more.
    let (mut customer, out) = order(&scene, 80);
    drawn(&scene, &mut customer, id);
    wait_until("the outputs are checked", || stored(&out, "/attempt/checked").then_some(()));
    customer.kill();
    let asked = wait_long("the input is asked for", || events::<Audit::InputAsked>(network, id).into_iter().next());
    // It left the provider at the least pace, long before its share of the time was over.
    let logs = scene.logs();
    let left = left(&logs);
    let is_slow = |(seconds, bytes): &(u64, u64)| *seconds <= LEFT_SECONDS_MAX && *bytes > 0;
    assert!(left.first().is_some_and(is_slow), "{left:?}\n{logs}");
    assert!(events::<Audit::CheckCommitted>(network, id).is_empty(), "{logs}");

    allow(&scene.folder, 0);
    let committed =
        wait_long("the check is committed", || events::<Audit::CheckCommitted>(network, id).into_iter().next());
    assert_eq!((committed.account, committed.slot), (asked.account, asked.slot), "{}", scene.logs());
    let case = scene.case(id, 0);
    // The longer time stays; the question is gone.
    assert!(case.extended && case.askedAt.is_zero() && !case.handed, "{}", scene.logs());
    assert!(events::<Referee::InputWithheld>(network, id).is_empty(), "{}", scene.logs());
    let call = Audit::withheldCountCall { customer: address(CUSTOMER) };
    assert!(read(network, AUDIT_ADDRESS, &call).is_zero(), "{}", scene.logs());
}
