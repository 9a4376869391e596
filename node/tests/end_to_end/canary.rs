//! A unit that is wrong on purpose: who of the drawn checkers looks at it is paid, and who only says *right* loses a seat. Every party is a process of its
//! own; the provider and its customer share a secret.

use crate::{
    audited::{Customer, stored, window_id, window_of},
    audits::{KST, address, bond, bonded, events, read, until_seated, wait_long},
    convicted::{CUSTOMER, VERIFIED},
    market::job,
    network::{KEYSTEAD, Network},
    parties::{MARKET, PRICE, Provider, account, balance, fees, statement, text, verify, wei},
};
use alloy_primitives::{Address, B256};
use keystead_contracts::{
    AUDIT_ADDRESS,
    bindings::{
        audit::{Audit, IAuditTypes},
        panels::Panels,
        referee::Referee,
    },
    limits::{CANARY_FEES, PANEL_FEES},
};
use serde_json::{Value, json};
use std::{
    fs,
    ops::Range,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Numbers are judged after the opening, so one can call them right without a look. Three units.
pub(crate) const JOB: [&str; 9] =
    ["matmul", "--set", "rows=192", "--set", "inner=64", "--set", "columns=64", "--set", "rows-per-unit=64"];
/// Times that a machine shared by a dozen processes keeps.
pub(crate) const TIMES: [&str; 6] = ["--checker-seconds", "45", "--reveal-seconds", "60", "--appeal-seconds", "60"];
pub(crate) const LAZY: usize = 3;
const HONEST: Range<usize> = 4..9;
/// Of 25 seats the lazy one has 15: it is among three checkers of a unit with 96 %, and what is left of the seats fills a panel.
pub(crate) const LAZY_SEATS: u32 = 15;
const HONEST_SEATS: u32 = 2;
pub(crate) const SEAT: u128 = 100 * KST;
const BOND: u128 = 40 * KST;
/// So often it is not drawn once in 400,000 times.
const ORDERS_MAX: u64 = 4;
/// Numbers of the contract: a stage, findings, how a panel ended.
const UNPAID: u8 = 5;
const FOUND_RIGHT: u8 = 1;
const FOUND_WRONG: u8 = 3;
const RULED: u8 = 2;

pub(crate) fn keystead(words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(KEYSTEAD).args(words).stdin(Stdio::null()).output().unwrap();
    (output.status.code(), text(&output))
}

fn secret(network: &Network, customer: usize) -> String {
    let path = network.directory.join(format!("canary-{customer}.json"));
    let path = path.to_str().unwrap().to_owned();
    let (code, said) = keystead(&["canary", "new", "--customer", account(customer), "--out", &path]);
    assert_eq!(code, Some(0), "{said}");
    path
}

/// `keystead run` of the job with more options.
pub(crate) fn order(network: &Network, out: &Path, more: &[&str]) -> Command {
    order_of(network, out, &[&JOB[..], more].concat())
}

fn order_of(network: &Network, out: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(KEYSTEAD);
    command.arg("run").args(options).args(["--dev-account", &CUSTOMER.to_string(), "--rpc", &network.url(0), "--out"]);
    command.arg(out).args(["--sample", "1", "--sample-rate", "0"]).args(TIMES).stdin(Stdio::null());
    command
}

pub(crate) struct Scene {
    pub(crate) network: Network,
    pub(crate) file: String,
    provider: Provider,
    checkers: Vec<Provider>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let network = Network::long(1);
        let file = secret(&network, CUSTOMER);
        let folder = network.directory.join("provider");
        let provider = Provider::start_as(&network, &folder, 1, &["--no-check", "--canaries", &file]);
        bond(&network, 1, &folder, &["deposit", "40"]);
        let seated = |number: usize, seats: u32, more: &[&str]| {
            let folder = network.directory.join(format!("checker-{number}"));
            let checker = Provider::start_as(&network, &folder, number, more);
            bond(&network, number, &folder, &["deposit", &(100 * seats).to_string()]);
            bond(&network, number, &folder, &["seat", &seats.to_string(), "--hardware", &number.to_string()]);
            checker
        };
        let lazy = seated(LAZY, LAZY_SEATS, &["--believe-providers"]);
        let honest = HONEST.map(|number| seated(number, HONEST_SEATS, &[]));
        let checkers = [lazy].into_iter().chain(honest).collect();
        until_seated(&network);
        Self { network, file, provider, checkers }
    }

    /// Everybody has taken what is theirs.
    pub(crate) fn is_settled(&self) {
        let (network, audit) = (&self.network, AUDIT_ADDRESS.to_string());
        wait_long("everybody has taken what is theirs", || {
            ((balance(network, MARKET), balance(network, &audit)) == (0, 0)).then_some(())
        });
    }

    pub(crate) fn logs(&self) -> String {
        let checkers = self.checkers.iter().map(|checker| format!("-- checker\n{}\n", checker.text()));
        format!("-- provider\n{}\n{}", self.provider.text(), checkers.collect::<String>())
    }

    fn case(&self, window: B256, unit: u32) -> IAuditTypes::Case {
        read(&self.network, AUDIT_ADDRESS, &Audit::caseOfCall { windowId: window, unit })
    }

    /// An audited order with a canary, whose customer is killed once it has checked what arrived, and goes on; what it said, and where.
    fn ordered(&self, number: u64) -> (String, PathBuf) {
        let network = &self.network;
        let out = network.directory.join(format!("result-{number}"));
        let audit = ["--audit", "--audit-rate", "100", "--checkers", "3"];
        let canary = ["--provider", account(1), "--canary", &self.file];
        let start = || Customer::spawn(network, &out, order(network, &out, &[&audit[..], &canary].concat()));
        let mut customer = start();
        wait_long("the outputs are checked", || {
            assert!(!customer.has_ended(), "{}\n{}", customer.text(), self.logs());
            stored(&out, "/attempt/checked").then_some(())
        });
        assert!(stored(&out, "/attempt/canary/delivered"), "{}", customer.text());
        customer.kill();
        let (code, said) = start().end();
        assert_eq!(code, Some(0), "{said}\n{}", self.logs());
        (said, out)
    }
}

/// What the ten test accounts had after a block: whatever they send beside this test is in the fees after it or in this, and never in both.
pub(crate) fn had(network: &Network, block: u64) -> Vec<u128> {
    let had = |who| wei(&network.call(0, "eth_getBalance", json!([account(who), format!("{block:#x}")])));
    (0..10).map(had).collect()
}

/// What an account has earned since a block, but for its gas.
pub(crate) fn earned(network: &Network, who: usize, before: u128, since: u64) -> u128 {
    balance(network, account(who)) + fees(network, account(who), since) - before
}

fn certified(network: &Network, out: &Path) -> String {
    let proved = verify(network, out);
    assert_eq!(proved.status.code(), Some(0), "{}", text(&proved));
    text(&proved)
}

/// An order whose canary was told, and what it moved.
pub(crate) struct Told {
    pub(crate) window: B256,
    unit: u32,
    /// Checks of the canary, and of all units.
    found: Vec<Audit::CheckRevealed>,
    checks: Vec<Audit::CheckRevealed>,
    ballots: Vec<Panels::BallotRevealed>,
}

impl Told {
    pub(crate) fn read(scene: &Scene, number: u64, said: &str) -> Self {
        let (network, window) = (&scene.network, window_id(number));
        let told = events::<Referee::CanaryRevealed>(network, window);
        let [Referee::CanaryRevealed { unit, .. }] = told[..] else { panic!("{said}\n{}", scene.logs()) };
        let checks = events::<Audit::CheckRevealed>(network, window);
        let found: Vec<_> = checks.iter().filter(|check| check.unit == unit).cloned().collect();
        // Everybody who looked found it wrong; who did not, called it right.
        for check in &found {
            let finding = if check.account == address(LAZY) { FOUND_RIGHT } else { FOUND_WRONG };
            assert_eq!(check.finding, finding, "{}\n{}", check.account, scene.logs());
        }
        assert_eq!(found.len(), 3, "{}", scene.logs());
        Self { window, unit, found, checks, ballots: events(network, window) }
    }

    fn finders(&self) -> impl Iterator<Item = Address> {
        let accounts = self.found.iter().map(|check| check.account);
        accounts.filter(|account| *account != address(LAZY))
    }

    pub(crate) fn is_lazy_drawn(&self) -> bool {
        self.finders().count() != self.found.len()
    }

    /// Fees that an account gets: one a check and a ballot, and ten for the canary.
    fn fees_of(&self, who: Address) -> u128 {
        let checks = self.checks.iter().filter(|check| check.account == who).count();
        let ballots = self.ballots.iter().filter(|ballot| ballot.account == who).count();
        let canaries = self.finders().filter(|finder| *finder == who).count();
        (checks + ballots + CANARY_FEES as usize * canaries) as u128
    }

    /// Every wei since a block: checkers, provider and customer.
    pub(crate) fn is_paid(&self, scene: &Scene, (before, since): (&[u128], u64), said: &str) {
        let network = &scene.network;
        scene.is_settled();
        let window = window_of(network, self.window);
        let mut all = 0;
        for who in [LAZY].into_iter().chain(HONEST) {
            let fees = self.fees_of(address(who));
            wait_long(&format!("account {who} has earned {fees} fees"), || {
                (earned(network, who, before[who], since) == window.feeWei * fees).then_some(())
            });
            all += fees;
        }
        // The provider is paid for the other units; its customer paid them, the checks, the finders and the referees.
        let others = u128::from(window.units) - 1;
        wait_long("the provider has its pay", || {
            (earned(network, 1, before[1], since) == PRICE * others).then_some(())
        });
        let spent = before[CUSTOMER] - balance(network, account(CUSTOMER));
        let gas = fees(network, account(CUSTOMER), since);
        assert_eq!(spent, PRICE * others + window.feeWei * all + gas, "{said}\n{}", scene.logs());
        // No conviction, and the unit is the only one that is not paid.
        assert_eq!((window.convicted, window.unpaid, window.canaryUnit), (false, 1, self.unit + 1));
        for unit in 0..window.units {
            let stage = if unit == self.unit { UNPAID } else { VERIFIED };
            assert_eq!(scene.case(self.window, unit).stage, stage, "unit {unit}\n{}", scene.logs());
        }
        let provider = bonded(network, 1);
        assert_eq!((provider.freeWei, provider.lockedWei), (BOND, 0));
        HONEST.for_each(|who| assert_eq!(bonded(network, who).seatedWei, u128::from(HONEST_SEATS) * SEAT));
    }
}

#[test]
fn who_finds_a_canary_is_paid_and_who_calls_it_right_loses_a_seat_slow() {
    let scene = Scene::new();
    let network = &scene.network;
    for number in 1..=ORDERS_MAX {
        let since = network.head(0).unwrap();
        let before = had(network, since);
        let (said, out) = scene.ordered(number);
        let told = Told::read(&scene, number, &said);
        told.is_paid(&scene, (&before, since), &said);
        its_customer_says_so(&scene, &said, &out, told.unit);
        if !told.is_lazy_drawn() {
            assert_eq!((told.ballots.len(), bonded(network, LAZY).seatedWei), (0, u128::from(LAZY_SEATS) * SEAT));
            continue;
        }

        // The panel contradicts who called it right: that costs a seat, which nobody gets.
        let ended = events::<Panels::PanelEnded>(network, told.window);
        let ends: Vec<_> = ended.iter().map(|ended| (ended.unit, ended.round, ended.ending, ended.ruling)).collect();
        assert_eq!(ends, [(told.unit, 2, RULED, FOUND_WRONG)], "{}", scene.logs());
        assert!(told.ballots.iter().all(|ballot| ballot.finding == FOUND_WRONG), "{}", scene.logs());
        assert_eq!(bonded(network, LAZY).seatedWei, u128::from(LAZY_SEATS - 1) * SEAT, "{}", scene.logs());
        assert!(said.contains(&format!("found right by {}", address(LAZY))), "{said}");
        let put_down = u128::from(CANARY_FEES) * told.finders().count() as u128 + u128::from(PANEL_FEES);
        assert_eq!(disputes(network).last(), Some(&(window_of(network, told.window).feeWei * put_down)));
        return;
    }
    panic!("the lazy checker was not drawn in {ORDERS_MAX} orders\n{}", scene.logs());
}

/// Words, certificate and `job.json` of a customer whose canary was told.
fn its_customer_says_so(scene: &Scene, said: &str, out: &Path, unit: u32) {
    for words in [
        "Canary: one unit is wrong on purpose and not paid",
        &format!("Unit {unit} is wrong on purpose, as you ordered it: the check passes over it"),
        &format!("Canary: unit {unit} was told to be wrong on purpose. Found wrong by "),
        "pass the job's own checker program, which looked at 2 of them here",
        &format!("canary   unit {unit} was wrong on purpose; the files have this machine's own output in its place"),
        &format!("unit {unit} was a canary; 1 unit is not paid"),
    ] {
        assert!(said.contains(words), "no {words:?} in: {said}\n{}", scene.logs());
    }
    assert!(out.join("product.npy").exists());
    let job = job(out);
    assert_eq!((&job["status"], &job["assurance"]), (&"audited".into(), &"verified".into()), "{job}");
    assert_eq!((&job["canary"]["unit"], &job["canary"]["delivered"]), (&unit.into(), &true.into()), "{job}");
    assert_eq!((&job["audit"]["canaryUnit"], &job["audit"]["verified"]), (&unit.into(), &2.into()), "{job}");
    let proof = certified(&scene.network, out);
    for words in [
        "none beside the canary was found wrong",
        &format!("unit {unit} was a canary: its customer knew that it is wrong"),
        "1 unit is not paid: the canary, or one that its checkers did not find right",
        "looked at 2 of 3 units, and all of them are right",
    ] {
        assert!(proof.contains(words), "no {words:?} in: {proof}");
    }
    assert!(scene.provider.text().contains("this unit is the canary of its customer"), "{}", scene.provider.text());
}

/// What the customer's statement says went into accusations and canaries, each; the whole of it adds up.
fn disputes(network: &Network) -> Vec<u128> {
    let statement = statement(network, account(CUSTOMER));
    assert_eq!((&statement["unexplainedInWei"], &statement["unexplainedOutWei"]), (&"0".into(), &"0".into()));
    let lines = statement["lines"].as_array().unwrap().iter();
    let disputes = lines.filter(|line| line["kind"] == "dispute");
    disputes.map(|line| line["outWei"].as_str().unwrap().parse().unwrap()).collect()
}

/// The provider has the customer's file: without `--canary`, and for anybody else, every unit comes out right.
#[test]
fn a_provider_with_a_secret_is_wrong_in_no_order_that_does_not_ask_for_it_slow() {
    let network = Network::beside(1);
    let file = secret(&network, CUSTOMER);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let provider =
        Provider::start_as(&network, &network.directory.join("provider"), 1, &["--no-check", "--canaries", &file]);
    let before = balance(&network, account(CUSTOMER));
    refusals(&network, &file);
    assert_eq!(balance(&network, account(CUSTOMER)), before, "refused before any money moves");
    for (name, more) in [("alone", &[][..]), ("audited", &["--audit"][..])] {
        let out = network.directory.join(name);
        let output = order(&network, &out, &[&["--provider", account(1)][..], more].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        let job = job(&out);
        assert_eq!((&job["check"]["right"], &job["canary"]), (&3.into(), &Value::Null), "{job}");
    }
    assert!(!provider.text().contains("canary of its customer"), "{}", provider.text());
}

/// What cannot have a canary is said before anything is ordered.
fn refusals(network: &Network, file: &str) {
    let out = network.directory.join("refused");
    let fails = |job: &[&str], more: &[&str], code: i32, words: &str| {
        let output = order_of(network, &out, &[job, more].concat()).output().unwrap();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(words), "no {words:?} in: {said}");
        assert!(!out.exists(), "{said}");
    };
    let other = secret(network, 5);
    let provider = account(1);
    fails(&JOB, &["--audit", "--canary", file], 2, "--provider");
    fails(&JOB, &["--provider", provider, "--canary", file], 1, "give --audit, too");
    fails(&JOB, &["--provider", provider, "--canary", file, "--private"], 2, "cannot be used with");
    let audited = ["--audit", "--provider", provider, "--canary"];
    let with = |file| [&audited[..], &[file]].concat();
    fails(&JOB, &with("/nowhere/canary.json"), 1, "keystead canary new");
    fails(&JOB, &with(other.as_str()), 1, "is for orders of");
    let one = ["matmul", "--set", "rows=64", "--set", "inner=64", "--set", "columns=64", "--set", "rows-per-unit=64"];
    fails(&one, &with(file), 1, "leaves nothing of a job with one unit");
    let segments = ["nbody", "--set", "members=2", "--set", "members-per-unit=1", "--set", "steps=6000"];
    fails(&segments, &with(file), 1, "a canary is a unit of one segment");
    let (code, said) = keystead(&["canary", "new", "--customer", account(CUSTOMER), "--out", file]);
    assert!(code == Some(1) && said.contains("never overwritten"), "{said}");
}
