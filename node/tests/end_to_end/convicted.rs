//! Cheats, and people who are wrongly accused, before checkers drawn by lot and panels of referees: every party is a process of its own, and the
//! customer is `keystead run`.

use crate::{
    audited::{Customer, stored, window_id, window_of},
    audits::{Job, KST, address, bond, bonded, checker, credit, events, read, until_seated, wait_long},
    market::job,
    network::{KEYSTEAD, Network, wait_until},
    parties::{MARKET, Provider, account, balance, fees, statement, text, verify},
    sender::{Draft, Sender, receipt},
};
use alloy_primitives::{Address, B256, keccak256};
use alloy_sol_types::SolCall as _;
use keystead_audit::{Seed, sample::draw};
use keystead_contracts::{
    AUDIT_ADDRESS,
    bindings::{audit::Audit, panels::Panels, referee::Referee},
    limits::PANEL_FEES,
};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Small enough that a new provider's window, of which every unit is drawn, is checked in seconds: about five units.
const SIZE: (u64, u64) = (6, 8);
const FAULT_SEED: u64 = 7;
/// Times that a machine shared by ten processes keeps.
const TIMES: [&str; 6] = ["--checker-seconds", "30", "--reveal-seconds", "30", "--appeal-seconds", "60"];
/// Numbers of the contract's stages.
pub(crate) const VERIFIED: u8 = 4;
const UNCHECKED: u8 = 6;
pub(crate) const WRONG: u8 = 7;
/// Findings, as the contract has them.
pub(crate) const COMPARE: u8 = 0;
/// The customer's account.
pub(crate) const CUSTOMER: usize = 2;

/// A network whose account 1 provides with a bond, and on which these accounts check, each with a seat of its own hardware class.
pub(crate) struct Scene {
    pub(crate) network: Network,
    pub(crate) provider: Provider,
    pub(crate) folder: PathBuf,
    checkers: Vec<(Provider, PathBuf)>,
    first: usize,
}

impl Scene {
    pub(crate) fn new(more: &[&str], checkers: std::ops::Range<usize>) -> Self {
        let network = Network::long(1);
        let folder = network.directory.join("provider");
        let provider = Provider::start_as(&network, &folder, 1, &[&["--no-check"][..], more].concat());
        bond(&network, 1, &folder, &["deposit", "40"]);
        let first = checkers.start;
        let checkers = checkers.map(|number| checker(&network, number)).collect();
        until_seated(&network);
        Self { network, provider, folder, checkers, first }
    }

    /// Kills the process of a checker, as a power cut does, and starts it again with the same folder.
    fn restart(&mut self, who: Address) {
        let last = self.first + self.checkers.len();
        let number = (self.first..last).find(|number| address(*number) == who).unwrap();
        self.kill(number);
        self.begin_anew(number);
    }

    /// Kills the process of the checker with this account.
    pub(crate) fn kill(&mut self, number: usize) {
        self.checkers[number - self.first].0.kill();
    }

    /// Starts a checker that was killed, with its folder, in which it had a check under way.
    pub(crate) fn begin_anew(&mut self, number: usize) {
        let (process, folder) = &mut self.checkers[number - self.first];
        *process = Provider::start_as(&self.network, folder, number, &[]);
        process.wait_for("check taken up again");
    }

    pub(crate) fn case(&self, window: B256, unit: u32) -> keystead_contracts::bindings::audit::IAuditTypes::Case {
        read(&self.network, AUDIT_ADDRESS, &Audit::caseOfCall { windowId: window, unit })
    }

    pub(crate) fn logs(&self) -> String {
        let checkers =
            self.checkers.iter().map(|(process, folder)| format!("-- {}\n{}", folder.display(), process.text()));
        format!("-- provider {}\n{}\n{}", self.folder.display(), self.provider.text(), checkers.collect::<String>())
    }
}

/// The unit that a provider with `--fault-seed` gets wrong: the first 64 bits of a hash, reduced.
pub(crate) fn wrong_unit(job: B256, units: u32) -> u32 {
    let hash = keccak256([FAULT_SEED.to_be_bytes().as_slice(), job.as_slice()].concat());
    u32::try_from(u64::from_be_bytes(hash[..8].try_into().unwrap()) % u64::from(units)).unwrap()
}

/// A seed by which a customer that looks at one unit of so many looks at another one than this.
fn blind_seed(units: u32, wrong: u32) -> B256 {
    let mut seeds = (0..=u8::MAX).map(|byte| [byte; 32]);
    B256::new(seeds.find(|seed| !draw(Seed(*seed), units, 1).contains(&wrong)).unwrap())
}

/// Waits until a window is drawn, while its customer runs.
pub(crate) fn drawn(scene: &Scene, customer: &mut Customer, id: B256) -> (B256, u32) {
    let opened = wait_long("the window is drawn", || {
        assert!(!customer.has_ended(), "{}\n{}", customer.text(), scene.logs());
        let round = read(&scene.network, AUDIT_ADDRESS, &Audit::roundOfCall { windowId: id, unit: 0, round: 0 });
        let opened = events::<Audit::WindowOpened>(&scene.network, id).into_iter().next();
        opened.filter(|_| !round.drawnAt.is_zero())
    });
    (opened.jobHash, opened.units)
}

/// `keystead run` of a small portfolio, whose outputs are numbers: a wrong one reads as well as a right one. Its customer looks at one unit, drawn from
/// a seed so that it is not the one that a provider with [`FAULT_SEED`] gets wrong. By account `number`, into folder `name`.
pub(crate) fn blind_order(
    network: &Network,
    (number, name): (usize, &str),
    more: &[&str],
) -> (Customer, PathBuf, Job, u32) {
    let prices = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/value-at-risk/golden/prices.csv");
    let set = [("holdings", "AAA=500000,BBB=300000,CCC=-200000"), ("paths", "65536"), ("paths-per-unit", "16384")];
    let job = Job::of("value-at-risk", &[("prices", prices.clone())], &set);
    let wrong = wrong_unit(job.spec.hash(), job.spec.unit_count);
    let seed = blind_seed(job.spec.unit_count, wrong);
    let out = network.directory.join(name);
    let mut command = Command::new(KEYSTEAD);
    command.args(["run", "value-at-risk", "--dev-account", &number.to_string(), "--rpc", &network.url(0), "--out"]);
    command.arg(&out);
    command.arg(format!("--input=prices={}", prices.display()));
    command.args(set.map(|(name, value)| format!("--set={name}={value}")));
    command.args(["--sample", "1", "--sample-rate", "0", "--sample-seed", &seed.to_string()]);
    command.args(more).args(TIMES).stdin(Stdio::null());
    (Customer::spawn(network, &out, command), out, job, wrong)
}

/// The customer looks at one unit, which is right. Whoever is drawn looks at all of them, since the provider is new.
#[test]
fn a_cheat_that_its_customer_does_not_notice_is_convicted_by_drawn_checkers_slow() {
    let mut scene = Scene::new(&["--fault-seed", "7"], 3..7);
    let network = &scene.network;
    let since = network.head(0).unwrap();
    let before = [balance(network, account(CUSTOMER)), balance(network, account(1))];
    let audit = ["--audit", "--provider", account(1)];
    let (mut customer, out, ordered, wrong) = blind_order(network, (CUSTOMER, "result"), &audit);
    let id = window_id(1);
    let (job_hash, units) = drawn(&scene, &mut customer, id);
    assert_eq!((job_hash, units), (ordered.spec.hash(), ordered.spec.unit_count));
    let committed = window_of(network, id);
    let (code, said) = customer.end();
    assert_eq!(code, Some(1), "{said}\n{}", scene.logs());
    let job = job(&out);
    assert_eq!(job["check"]["verdict"], "accepted", "the customer's own sample missed it: {job}");
    assert_eq!((&job["status"], &job["audit"]["convicted"]), (&"convicted".into(), &true.into()), "{job}");
    for words in [
        "Order 1 is convicted: the audit found a unit wrong",
        "audit    CONVICTED: a unit was found wrong; the whole order is refunded, the provider loses its bond",
        "refunded ",
    ] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }

    // Found by a checker of round 0, and by two of other hardware; nobody accused anybody.
    let case = scene.case(id, wrong);
    assert_eq!((case.stage, case.round, case.party), (WRONG, 1, Address::ZERO), "{}", scene.logs());
    let revealed = events::<Audit::CheckRevealed>(network, id);
    let value = case.value;
    let found: Vec<_> = revealed.iter().filter(|check| check.unit == wrong && check.own != value).collect();
    assert_eq!(found.iter().map(|check| check.round).collect::<Vec<_>>(), [0, 1, 1]);
    assert!(revealed.iter().all(|check| check.finding == COMPARE && (check.unit != wrong || check.own != value)));
    for unit in (0..units).filter(|unit| *unit != wrong) {
        assert_eq!(scene.case(id, unit).stage, VERIFIED, "unit {unit} is right");
    }

    // Its last transaction is in a block.
    scene.provider.wait_for("order closed without payment");
    // The whole bond behind the window is gone: half of it to those who found it, in equal parts.
    let bond_wei = committed.bondWei;
    assert!(bond_wei >= 100 * committed.feeWei, "{bond_wei}");
    let slashed = bonded(network, 1);
    assert_eq!((slashed.freeWei, slashed.lockedWei), (40 * KST - bond_wei, 0));
    for check in &found {
        let number = (3..7).find(|number| address(*number) == check.account).unwrap();
        wait_long("a checker has its share of the bond", || {
            (bonded(network, number).freeWei == bond_wei / 2 / 3).then_some(())
        });
        assert_eq!(bonded(network, number).seatedWei, 100 * KST);
    }
    // The customer paid for the checks and for nothing else; the provider got nothing.
    let checks = revealed.len() as u128;
    let spent = before[0] - balance(network, account(CUSTOMER));
    assert_eq!(spent, committed.feeWei * checks + fees(network, account(CUSTOMER), since), "{said}");
    assert_eq!(before[1] - balance(network, account(1)), fees(network, account(1), since));
    assert_eq!(balance(network, MARKET), 0);

    let proved = verify(network, &out);
    let proof = text(&proved);
    assert_eq!(proved.status.code(), Some(0), "{proof}");
    for words in [
        "order 1 of the market is convicted",
        "a unit was found wrong: the provider is convicted, and no unit of it is paid",
        "of the provider's bond stood behind it",
    ] {
        assert!(proof.contains(words), "no {words:?} in: {proof}");
    }
}

/// The provider serves who is drawn first and nobody after that, and the customer is gone before the second round: who found the unit wrong gives what it
/// fetched itself to those who look at the unit after it.
#[test]
fn a_cheat_that_serves_the_first_round_alone_is_convicted_with_what_its_accuser_kept_slow() {
    let scene = Scene::new(&["--fault-seed", "7", "--refuse-checkers=later"], 3..7);
    let network = &scene.network;
    let audit = ["--audit", "--provider", account(1)];
    let (mut customer, out, _, wrong) = blind_order(network, (CUSTOMER, "result"), &audit);
    let id = window_id(1);
    let (_, units) = drawn(&scene, &mut customer, id);
    wait_until("the outputs are checked", || stored(&out, "/attempt/checked").then_some(()));
    customer.kill();
    let case = wait_long("the wrong unit is concluded", || {
        let case = scene.case(id, wrong);
        assert!(case.stage != UNCHECKED, "{}", scene.logs());
        (case.stage == WRONG).then_some(case)
    });
    assert_eq!((case.round, case.party), (1, Address::ZERO), "{}", scene.logs());
    assert!(events::<Referee::KeyHanded>(network, id).is_empty(), "the customer was gone: {}", scene.logs());
    let revealed = events::<Audit::CheckRevealed>(network, id);
    let found = revealed.iter().filter(|check| check.unit == wrong && check.own != case.value);
    assert_eq!(found.map(|check| check.round).collect::<Vec<_>>(), [0, 1, 1], "{}", scene.logs());
    for unit in (0..units).filter(|unit| *unit != wrong) {
        assert_eq!(scene.case(id, unit).stage, VERIFIED, "unit {unit} is right");
    }
    // Nobody who accused lost anything.
    for number in 3..7 {
        assert_eq!(bonded(network, number).seatedWei, 100 * KST, "account {number}");
    }
}

/// A provider that is wrong and sure of it appeals; at the same time somebody accuses a unit that is right. Both come before panels, whose
/// slots five accounts share; the first referee that has committed is killed before it reveals.
#[test]
fn panels_convict_who_appeals_wrongly_and_clear_who_is_wrongly_accused_slow() {
    let mut scene = Scene::new(&["--fault-seed", "7", "--fault-stays"], 3..8);
    let out = scene.network.directory.join("result");
    let only = ["--audit", "--provider", account(1)];
    let mut customer = Customer::start_with(&scene.network, &out, SIZE, &[&only[..], &TIMES].concat());
    let id = window_id(1);
    let (job_hash, units) = drawn(&scene, &mut customer, id);
    let wrong = wrong_unit(job_hash, units);
    let right = (wrong + 1) % units;
    let before = window_of(&scene.network, id);
    let stake = u128::from(PANEL_FEES) * before.feeWei;
    let challenge = Referee::challengeCall { windowId: id, unit: right, segment: 0 };
    let draft = Draft {
        to: Some(AUDIT_ADDRESS),
        input: challenge.abi_encode().into(),
        value: u64::try_from(stake).unwrap(),
        gas: 500_000,
    };
    let hash = Sender::account(8).send(&scene.network, 0, draft);
    receipt(&scene.network, 0, &hash);

    let first =
        wait_long("a referee commits", || events::<Panels::BallotCommitted>(&scene.network, id).into_iter().next());
    assert_eq!((first.unit, first.round), (right, 2), "{}", scene.logs());
    scene.restart(first.account);
    let ruling = |scene: &Scene, unit: u32| {
        wait_long("a panel ends", || {
            let ended = events::<Panels::PanelEnded>(&scene.network, id);
            ended.into_iter().find(|ended| ended.unit == unit)
        })
    };
    let (ruled, right_finding, wrong_finding) = (2, 1, 3);
    let ended = ruling(&scene, right);
    assert_eq!((ended.ending, ended.ruling), (ruled, right_finding), "{}", scene.logs());
    assert_eq!(scene.case(id, right).stage, VERIFIED);
    let revealed = events::<Panels::BallotRevealed>(&scene.network, id);
    assert!(revealed.iter().any(|ballot| (ballot.unit, ballot.account) == (right, first.account)), "{}", scene.logs());
    // What the panel cost, who accused has paid.
    let ballots = revealed.iter().filter(|ballot| ballot.unit == right).count() as u128;
    assert!(ballots >= 2);
    assert_eq!(credit(&scene.network, 8), stake - before.feeWei * ballots);

    let ended = ruling(&scene, wrong);
    assert_eq!((ended.round, ended.ending, ended.ruling), (2, ruled, wrong_finding), "{}", scene.logs());
    assert_eq!(scene.case(id, wrong).stage, WRONG);
    let (code, said) = customer.end();
    assert_eq!(code, Some(1), "{said}\n{}", scene.logs());
    assert!(said.contains("Order 1 is convicted"), "{said}");
    let slashed = bonded(&scene.network, 1);
    assert_eq!((slashed.freeWei, slashed.lockedWei), (40 * KST - before.bondWei, 0));
    // Every referee that found what was ruled is paid, and nobody lost a seat.
    let ballots = events::<Panels::BallotCommitted>(&scene.network, id);
    for ballot in &ballots {
        let call =
            Panels::ballotOfCall { windowId: id, unit: ballot.unit, round: ballot.round, account: ballot.account };
        wait_long("the ballot is settled", || read(&scene.network, AUDIT_ADDRESS, &call).settled.then_some(()));
    }
    for number in 3..8 {
        assert_eq!(bonded(&scene.network, number).seatedWei, 100 * KST, "account {number}");
    }
}

/// The provider gives checkers nothing. A customer that is there names its own node, and the units are checked; one that is gone is written down as
/// one that withheld its inputs, and the units are paid unchecked.
#[test]
fn inputs_that_the_provider_keeps_are_served_by_the_customer_or_count_against_it_slow() {
    let scene = Scene::new(&["--refuse-checkers"], 3..6);
    let network = &scene.network;
    let times = ["--checker-seconds", "60", "--reveal-seconds", "30", "--appeal-seconds", "60"];
    let only = ["--audit", "--provider", account(1)];
    let start = |name: &str| {
        let out = network.directory.join(name);
        (Customer::start_with(network, &out, SIZE, &[&only[..], &times].concat()), out)
    };
    let withheld = || {
        let customer = address(CUSTOMER);
        read(network, AUDIT_ADDRESS, &Audit::withheldCountCall { customer }).to::<u64>()
    };
    let (mut customer, out) = start("served");
    let id = window_id(1);
    let (_, units) = drawn(&scene, &mut customer, id);
    let (code, said) = customer.end();
    assert_eq!(code, Some(0), "{said}\n{}", scene.logs());
    let asked = events::<Audit::InputAsked>(network, id);
    assert_eq!(asked.len(), units as usize, "every unit was asked for: {said}\n{}", scene.logs());
    // One address is for all: who has the input by another unit's answer may take its own question back before it is answered.
    let handed = events::<Referee::KeyHanded>(network, id);
    assert!((1..=asked.len()).contains(&handed.len()), "{} answers: {said}\n{}", handed.len(), scene.logs());
    let job = job(&out);
    assert_eq!(
        (&job["assurance"], &job["audit"]["verified"]),
        (&"verified".into(), &units.into()),
        "{job}\n{}",
        scene.logs()
    );
    assert_eq!(withheld(), 0);
    assert!(text(&verify(network, &out)).contains("none was found wrong"));

    let (mut customer, out) = start("withheld");
    let id = window_id(2);
    let (_, units) = drawn(&scene, &mut customer, id);
    wait_until("the outputs are checked", || stored(&out, "/attempt/checked").then_some(()));
    customer.kill();
    wait_long("every unit is concluded without a check", || {
        let ended = events::<Referee::InputWithheld>(network, id);
        (ended.len() == units as usize).then_some(())
    });
    for unit in 0..units {
        assert_eq!(scene.case(id, unit).stage, UNCHECKED, "unit {unit}");
    }
    assert_eq!(withheld(), u64::from(units), "{}", scene.logs());
    let public = statement(network, account(CUSTOMER));
    assert_eq!(public["asCustomer"]["withheldInputs"], units, "{public}");
    let patience = Instant::now();
    while window_of(network, id).status < 2 {
        assert!(patience.elapsed() < Duration::from_secs(400), "the window closes\n{}", scene.logs());
        thread::sleep(Duration::from_millis(200));
    }
    // Paid, and no reason to check the provider less: its ten units of probation are not over.
    assert_eq!((window_of(network, id).unpaid, window_of(network, id).verified), (0, 0));
}
