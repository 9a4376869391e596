//! A provider that keeps the states between its segments to itself is searched in public for the one that is wrong, and a panel interprets: every party is a process
//! of its own.

use crate::{
    audited::{Customer, window_id, window_of},
    audits::{KST, address, bond, bonded, events, read, wait_long},
    convicted::{CUSTOMER, Scene, VERIFIED, WRONG, drawn, wrong_unit},
    market::job,
    network::{KEYSTEAD, Network},
    parties::{Provider, account, text, verify},
    recipes::write_programmed,
    sender::{Draft, Sender, receipt},
};
use alloy_primitives::{Address, B256};
use alloy_sol_types::SolCall as _;
use keystead_contracts::{
    AUDIT_ADDRESS,
    bindings::{audit::Audit, panels::Panels, referee::Referee},
    limits::PANEL_FEES,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Segments of a unit of the job that is searched: three questions at most.
const SEGMENTS: u32 = 8;
const ASKS: usize = 3;
/// The one that its provider gets wrong.
const FAULT: u32 = 3;
/// Stands for a segment that is looked for.
const SEEKING: u32 = u32::MAX;
/// Times that a machine shared by a dozen processes keeps.
const TIMES: [&str; 6] = ["--checker-seconds", "60", "--reveal-seconds", "40", "--appeal-seconds", "60"];
/// The honest provider's account, its customer's, and that of who accuses it of nothing.
const HONEST: usize = 0;
const OTHER_CUSTOMER: usize = 8;
const ACCUSER: u32 = 9;
/// Numbers of the contract: a panel that ruled, and what it found.
const RULED: u8 = 2;
const FOUND_RIGHT: u8 = 1;
const FOUND_WRONG: u8 = 3;

/// `keystead run` of a job of class exact in segments, with every unit in the customer's own sample.
fn searching(network: &Network, out: &Path) -> Customer {
    let mut command = Command::new(KEYSTEAD);
    command.args(["run", "./chained", "--input", "text=words.txt", "--sample-rate", "100"]);
    ordered(network, out, command, (CUSTOMER, 1))
}

/// `keystead run` of floats of `wgsl/1`, which a referee interprets.
fn floating(network: &Network, out: &Path) -> Customer {
    let mut command = Command::new(KEYSTEAD);
    command.args(["run", "nbody", "--set", "members=2", "--set", "members-per-unit=1", "--set", "steps=6000"]);
    command.args(["--sample", "1", "--sample-rate", "0"]);
    ordered(network, out, command, (OTHER_CUSTOMER, HONEST))
}

fn ordered(network: &Network, out: &Path, mut command: Command, (customer, provider): (usize, usize)) -> Customer {
    command.args(["--dev-account", &customer.to_string(), "--rpc", &network.url(0), "--out"]).arg(out);
    command.args(["--audit", "--provider", account(provider)]).args(TIMES);
    command.current_dir(&network.directory).stdin(Stdio::null());
    Customer::spawn(network, out, command)
}

/// Everybody who voted on a unit found the ruling and was paid, and kept its seat.
fn panel_ruled(scene: &Scene, id: B256, unit: u32, ruling: u8) {
    let network = &scene.network;
    let ended = wait_long("a panel ends", || {
        events::<Panels::PanelEnded>(network, id).into_iter().find(|ended| ended.unit == unit)
    });
    assert_eq!((ended.ending, ended.ruling), (RULED, ruling), "{}", scene.logs());
    let ballots = events::<Panels::BallotCommitted>(network, id);
    let ballots: Vec<_> = ballots.iter().filter(|ballot| ballot.unit == unit).collect();
    assert!(ballots.len() >= 2, "{}", scene.logs());
    for ballot in ballots {
        let call = Panels::ballotOfCall { windowId: id, unit, round: ballot.round, account: ballot.account };
        wait_long("the ballot is settled", || read(network, AUDIT_ADDRESS, &call).settled.then_some(()));
        let number = (3..8).find(|number| address(*number) == ballot.account).unwrap();
        assert_eq!(bonded(network, number).seatedWei, 100 * KST, "account {number}\n{}", scene.logs());
    }
}

/// Accuses a unit in one segment, with the bond that pays the panel.
fn accuse(network: &Network, id: B256, unit: u32, segment: u32) {
    let stake = u128::from(PANEL_FEES) * window_of(network, id).feeWei;
    let challenge = Referee::challengeCall { windowId: id, unit, segment };
    let (input, value) = (challenge.abi_encode().into(), u64::try_from(stake).unwrap());
    let draft = Draft { to: Some(AUDIT_ADDRESS), input, value, gas: 500_000 };
    let hash = Sender::going_on(network, ACCUSER).send(network, 0, draft);
    receipt(network, 0, &hash);
}

/// The honest provider of the second order, with a bond.
fn honest(network: &Network) -> (Provider, PathBuf) {
    let folder = network.directory.join("honest");
    let provider = Provider::start_as(network, &folder, HONEST, &["--no-check"]);
    bond(network, HONEST, &folder, &["deposit", "40"]);
    (provider, folder)
}

/// Two disputes at once. A cheat gives its customer outputs and no states: the customer, killed after its first question, finds the wrong segment by the answers on
/// the chain, and it is the one; the panel, or two rounds if that very segment was drawn, convicts. And floats that are right are accused: the panel interprets them.
#[test]
fn who_keeps_its_states_is_searched_in_public_and_a_panel_that_interprets_rules_slow() {
    let scene = Scene::new(&["--fault-seed", "7", "--fault-segment", "3", "--withhold-states"], 3..8);
    let network = &scene.network;
    let _honest = honest(network);
    write_programmed(&network.directory, "chained", 0, SEGMENTS);
    fs::write(network.directory.join("words.txt"), "some words").unwrap();
    let (sought_out, floats_out) = (network.directory.join("sought"), network.directory.join("floats"));
    let mut sought = searching(network, &sought_out);
    sought.wait_for("Order 1 placed");
    let mut floats = floating(network, &floats_out);
    floats.wait_for("Order 2 placed");
    let (sought_id, floats_id) = (window_id(1), window_id(2));
    let (job_hash, units) = drawn(&scene, &mut sought, sought_id);
    let wrong = wrong_unit(job_hash, units);
    let before = window_of(network, sought_id);
    drawn(&scene, &mut floats, floats_id);
    accuse(network, floats_id, 0, 1);

    wait_long("the first question", || events::<Referee::StateAsked>(network, sought_id).into_iter().next());
    sought.kill();
    sought = searching(network, &sought_out);
    let named = wait_long("a segment is named", || {
        assert!(!sought.has_ended(), "{}\n{}", sought.text(), scene.logs());
        let challenged = events::<Referee::Challenged>(network, sought_id).into_iter();
        challenged.map(|event| (event.unit, event.party, event.segment)).find(|(_, _, segment)| *segment != SEEKING)
    });
    assert_eq!(named, (wrong, address(CUSTOMER), FAULT), "{}\n{}", sought.text(), scene.logs());
    let asked = events::<Referee::StateAsked>(network, sought_id);
    let answered = events::<Referee::StateAnswered>(network, sought_id);
    assert!((1..=ASKS).contains(&asked.len()) && asked.len() == answered.len(), "{asked:?}\n{}", scene.logs());

    let drawn_segment = read(network, AUDIT_ADDRESS, &Audit::segmentOfCall { windowId: sought_id, unit: wrong });
    // The checkers of that segment found it too; else what is named came before a panel.
    if drawn_segment != FAULT {
        panel_ruled(&scene, sought_id, wrong, FOUND_WRONG);
    }
    let (code, said) = sought.end();
    assert_eq!(code, Some(1), "{said}\n{}", scene.logs());
    assert!(said.contains("Order 1 is convicted"), "{said}");
    assert!(said.contains("keeps the states between"), "{said}");
    assert_eq!(scene.case(sought_id, wrong).stage, WRONG, "{}", scene.logs());
    let slashed = bonded(network, 1);
    assert_eq!((slashed.freeWei, slashed.lockedWei), (40 * KST - before.bondWei, 0));
    let proof = text(&verify(network, &sought_out));
    assert!(proof.contains("order 1 of the market is convicted"), "{proof}");

    panel_ruled(&scene, floats_id, 0, FOUND_RIGHT);
    let (code, said) = floats.end();
    assert_eq!(code, Some(0), "{said}\n{}", scene.logs());
    assert!(said.contains("a dispute comes before a panel that interprets"), "{said}");
    let case = scene.case(floats_id, 0);
    assert_eq!((case.stage, case.segment), (VERIFIED, 1), "{}", scene.logs());
    assert_eq!(bonded(network, HONEST).lockedWei, 0, "nothing of it was slashed");
    let job = job(&floats_out);
    assert_eq!((&job["status"], &job["assurance"]), (&"audited".into(), &"verified".into()), "{job}");
    let proved = verify(network, &floats_out);
    assert!(proved.status.success() && text(&proved).contains("none was found wrong"), "{}", text(&proved));
    assert_ne!(case.party, Address::ZERO, "it was accused");
}
