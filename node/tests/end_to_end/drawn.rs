//! Windows of the classes that are judged after the opening, by checkers drawn by lot: self-checking (`matmul`) and tolerance (`nbody`), found right,
//! and found wrong by two rounds, also where the provider keeps to itself what it opened.

use crate::{
    audited::{Customer, window_id, window_of},
    audits::events,
    convicted::{CUSTOMER, Scene, VERIFIED, WRONG},
    market::job,
    network::{KEYSTEAD, Network},
    parties::{account, text, verify},
};
use keystead_contracts::bindings::{audit::Audit, referee::Referee};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const SELF_CHECKING: [&str; 8] =
    ["matmul", "--set", "rows=128", "--set", "inner=128", "--set", "columns=128", "--set=rows-per-unit=64"];
const TOLERANT: [&str; 6] = ["nbody", "--set", "members=2", "--set", "members-per-unit=1", "--set=steps=6000"];
/// Of one segment: what is opened is the output, which the customer has.
const TOLERANT_WHOLE: [&str; 6] = ["nbody", "--set", "members=2", "--set", "members-per-unit=1", "--set=steps=400"];
/// Floats run on a processor that ten processes share.
const TIMES: [&str; 6] = ["--checker-seconds", "60", "--reveal-seconds", "40", "--appeal-seconds", "60"];
/// The second customer's account.
const OTHER_CUSTOMER: usize = 8;
/// Findings, as the contract has them.
const FOUND_RIGHT: u8 = 1;
const FOUND_WRONG: u8 = 3;
/// The slot of an address that nobody asked for.
pub(crate) const UNASKED: u8 = 16;

fn start(network: &Network, recipe: &[&str], customer: usize) -> (Customer, PathBuf) {
    let out = network.directory.join(recipe[0]);
    let mut command = Command::new(KEYSTEAD);
    command.arg("run").args(recipe).args(["--dev-account", &customer.to_string(), "--rpc", &network.url(0), "--out"]);
    command.arg(&out).args(["--audit", "--provider", account(1), "--sample", "1", "--sample-rate", "0"]).args(TIMES);
    command.stdin(Stdio::null());
    let customer = Customer::spawn(network, &out, command);
    (customer, out)
}

fn proof(network: &Network, out: &Path) -> String {
    let proved = verify(network, out);
    assert!(proved.status.success(), "{}", text(&proved));
    text(&proved)
}

#[test]
fn strangers_judge_what_was_opened_and_find_honest_floats_right_slow() {
    let scene = Scene::new(&[], 3..6);
    let network = &scene.network;
    let orders = [start(network, &SELF_CHECKING, CUSTOMER), start(network, &TOLERANT, OTHER_CUSTOMER)];
    for (mut customer, out) in orders {
        let (code, said) = customer.end();
        assert_eq!(code, Some(0), "{said}\n{}", scene.logs());
        let job = job(&out);
        let units = &job["spec"]["unitCount"];
        assert_eq!(
            (&job["assurance"], &job["audit"]["verified"]),
            (&"verified".into(), units),
            "{job}\n{}",
            scene.logs()
        );
        assert!(proof(network, &out).contains("none was found wrong"));
    }
    for id in [1, 2].map(window_id) {
        let revealed = events::<Audit::CheckRevealed>(network, id);
        assert_eq!(revealed.len(), window_of(network, id).units as usize);
        assert!(revealed.iter().all(|check| check.finding == FOUND_RIGHT), "{}", scene.logs());
    }
}

#[test]
fn wrong_floats_are_found_by_two_rounds_of_strangers_and_convict_slow() {
    let scene = Scene::new(&["--fault-seed", "7"], 3..7);
    let network = &scene.network;
    let orders = [start(network, &SELF_CHECKING, CUSTOMER), start(network, &TOLERANT, OTHER_CUSTOMER)];
    for (mut customer, out) in orders {
        let (code, said) = customer.end();
        assert_eq!(code, Some(1), "{said}\n{}", scene.logs());
        assert!(said.contains("is convicted"), "{said}\n{}", scene.logs());
        assert!(proof(network, &out).contains("the provider is convicted"));
    }
    for id in [1, 2].map(window_id) {
        let units = window_of(network, id).units;
        let ends: Vec<(u8, u8)> =
            (0..units).map(|unit| scene.case(id, unit)).map(|case| (case.stage, case.round)).collect();
        assert_eq!(ends.iter().filter(|end| **end == (WRONG, 1)).count(), 1, "{ends:?}\n{}", scene.logs());
        assert!(ends.iter().all(|end| *end == (WRONG, 1) || *end == (VERIFIED, 0)), "{ends:?}\n{}", scene.logs());
        let revealed = events::<Audit::CheckRevealed>(network, id);
        let wrong = revealed.iter().filter(|check| check.finding == FOUND_WRONG);
        assert_eq!(wrong.map(|check| check.round).collect::<Vec<_>>(), [0, 1, 1], "{}", scene.logs());
    }
}

/// The provider gives inputs to who is drawn, opens every unit on the chain, and then gives the outputs to nobody: the customer, which has them, says without
/// a question where its node is.
#[test]
fn a_cheat_that_keeps_what_it_opened_is_convicted_with_what_its_customer_has_slow() {
    let scene = Scene::new(&["--fault-seed", "7", "--refuse-checkers=opened"], 3..7);
    let network = &scene.network;
    let (mut customer, out) = start(network, &TOLERANT_WHOLE, CUSTOMER);
    let (code, said) = customer.end();
    assert_eq!(code, Some(1), "{said}\n{}", scene.logs());
    assert!(said.contains("is convicted"), "{said}\n{}", scene.logs());
    assert!(proof(network, &out).contains("the provider is convicted"));
    let id = window_id(1);
    let handed = events::<Referee::KeyHanded>(network, id);
    assert!(handed.iter().any(|handed| handed.slot == UNASKED), "nothing was said unasked: {said}\n{}", scene.logs());
    let ends: Vec<(u8, u8)> = (0..window_of(network, id).units)
        .map(|unit| scene.case(id, unit))
        .map(|case| (case.stage, case.round))
        .collect();
    assert_eq!(ends.iter().filter(|end| **end == (WRONG, 1)).count(), 1, "{ends:?}\n{}", scene.logs());
    assert!(ends.iter().all(|end| *end == (WRONG, 1) || *end == (VERIFIED, 0)), "{ends:?}\n{}", scene.logs());
}
