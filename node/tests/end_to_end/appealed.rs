//! A checker that is right and is contradicted by liars: it appeals with what it has itself, and a panel convicts the cheat and takes the liars' seats.
//! Every party is a process of its own, and the customer is `keystead run`.

use crate::{
    audited::{Customer, window_id, window_of},
    audits::{Job, KST, address, bond, bonded, events, read, until_seated, wait_long},
    canary::{SEAT, earned, had},
    convicted::{CUSTOMER, VERIFIED, WRONG, wrong_unit},
    market::job,
    network::{KEYSTEAD, Network},
    parties::{MARKET, Provider, account, balance, fees, text, verify},
    sender::{Draft, Sender},
};
use alloy_primitives::{Address, B256};
use alloy_sol_types::SolCall as _;
use keystead_contracts::{
    AUDIT_ADDRESS, BOND_ADDRESS,
    bindings::{
        audit::{Audit, IAuditTypes},
        bond::Bond,
        panels::Panels,
        referee::Referee,
    },
};
use std::{
    collections::BTreeSet,
    ops::Range,
    path::Path,
    process::{Command, Stdio},
};

/// Numbers are judged after the opening, so one can call them right without a look. Two units.
const JOB: [(&str, &str); 4] = [("rows", "128"), ("inner", "64"), ("columns", "64"), ("rows-per-unit", "64")];
const UNITS: u32 = 2;
/// Times that a machine shared by nine processes keeps, with reserves that begin in the middle of the first.
const TIMES: [&str; 6] = ["--checker-seconds", "32", "--reveal-seconds", "28", "--appeal-seconds", "60"];
const HONEST: Range<usize> = 3..6;
const LIARS: Range<usize> = 6..9;
/// Of 30 places a liar has 6 and an honest one 4. In one of 700 cases the 16 of the first round have no honest one, or those of the second fewer than two
/// liars, and all begins anew. The two honest ones who may vote fill 21 of 31 slots of a panel but in one of 40,000, since a slot passes over eight places.
const HONEST_SEATS: u32 = 4;
const LIARS_SEATS: u32 = 6;
const NETWORKS_MAX: usize = 3;
const SLOTS: u8 = 16;
/// Hardware classes of both: who looks at an accused unit is of another one than its accuser.
const HONEST_HARDWARE: u16 = 1;
const LIARS_HARDWARE: u16 = 2;
/// `wasm/1`, and no vote on panels: a liar that was not drawn before would have one.
const LIARS_ABILITIES: u8 = 1;
const BOND: u128 = 40 * KST;
/// Numbers of the contract: stages, findings, how a panel ended.
const CLEARED: u8 = 3;
const FOUND_RIGHT: u8 = 1;
const FOUND_WRONG: u8 = 3;
const RULED: u8 = 2;

/// A provider that is wrong in one unit and serves checkers while the unit is in its first round alone; honest checkers of one hardware class, liars of
/// another.
struct Scene {
    network: Network,
    provider: Provider,
    honest: Vec<Provider>,
    liars: Vec<Provider>,
}

impl Scene {
    fn new() -> Self {
        let network = Network::long(1);
        let folder = network.directory.join("provider");
        let cheats = ["--no-check", "--fault-seed", "7", "--refuse-checkers=later"];
        let provider = Provider::start_as(&network, &folder, 1, &cheats);
        bond(&network, 1, &folder, &["deposit", "40"]);
        let honest = HONEST.map(|number| honest(&network, number)).collect();
        let liars = LIARS.map(|number| liar(&network, number)).collect();
        until_seated(&network);
        Self { network, provider, honest, liars }
    }

    fn case(&self, window: B256, unit: u32) -> IAuditTypes::Case {
        read(&self.network, AUDIT_ADDRESS, &Audit::caseOfCall { windowId: window, unit })
    }

    /// The accounts that may look at a unit in a round; none as long as it is not drawn.
    fn drawn(&self, window: B256, unit: u32, round: u8) -> Option<BTreeSet<Address>> {
        let call = Audit::roundOfCall { windowId: window, unit, round };
        let is_drawn = !read(&self.network, AUDIT_ADDRESS, &call).drawnAt.is_zero();
        let slot = |slot| {
            let key = IAuditTypes::Key { windowId: window, unit, round, slot };
            read(&self.network, AUDIT_ADDRESS, &Audit::slotCall { key, named: Vec::new() })
        };
        is_drawn.then(|| (0..SLOTS).map(slot).filter(|slot| slot.eligible).map(|slot| slot.account).collect())
    }

    fn logs(&self) -> String {
        let checkers = self.honest.iter().chain(&self.liars).map(|checker| format!("-- checker\n{}\n", checker.text()));
        format!("-- provider\n{}\n{}", self.provider.text(), checkers.collect::<String>())
    }
}

fn started(network: &Network, number: usize, seats: u32, more: &[&str]) -> Provider {
    let folder = network.directory.join(format!("checker-{number}"));
    let checker = Provider::start_as(network, &folder, number, more);
    bond(network, number, &folder, &["deposit", &(100 * seats).to_string()]);
    checker
}

fn honest(network: &Network, number: usize) -> Provider {
    let checker = started(network, number, HONEST_SEATS, &[]);
    let folder = network.directory.join(format!("checker-{number}"));
    let (seats, hardware) = (HONEST_SEATS.to_string(), HONEST_HARDWARE.to_string());
    bond(network, number, &folder, &["seat", &seats, "--hardware", &hardware]);
    checker
}

/// One that stands still once it has its seats, so that reserves look at what it is drawn for.
fn liar(network: &Network, number: usize) -> Provider {
    let checker = started(network, number, LIARS_SEATS, &["--believe-providers"]);
    checker.signal("STOP");
    let seat = Bond::seatCall { count: LIARS_SEATS, hardware: LIARS_HARDWARE, abilities: LIARS_ABILITIES };
    let draft = Draft { to: Some(BOND_ADDRESS), input: seat.abi_encode().into(), value: 0, gas: 3_000_000 };
    Sender::going_on(network, number as u32).settle(network, 0, draft);
    checker
}

fn order(network: &Network, out: &Path) -> Customer {
    let mut command = Command::new(KEYSTEAD);
    command.args(["run", "matmul", "--dev-account", &CUSTOMER.to_string(), "--rpc", &network.url(0), "--out"]);
    command.arg(out).args(JOB.map(|(name, value)| format!("--set={name}={value}")));
    command.args(["--audit", "--provider", account(1)]).args(TIMES).stdin(Stdio::null());
    Customer::spawn(network, out, command)
}

/// Where everybody stands in the end.
struct Ending<'a> {
    scene: &'a Scene,
    window: B256,
    accuser: Address,
    /// Checks and ballots that were revealed.
    checks: Vec<Audit::CheckRevealed>,
    ballots: Vec<Panels::BallotRevealed>,
}

impl Ending<'_> {
    fn fees_of(&self, who: Address) -> u128 {
        let checks = self.checks.iter().filter(|check| check.account == who).count();
        let ballots = self.ballots.iter().filter(|ballot| ballot.account == who).count();
        (checks + ballots) as u128
    }

    /// Whether this account called the wrong unit right.
    fn lied(&self, who: Address) -> bool {
        self.checks.iter().any(|check| check.round == 1 && check.account == who)
    }

    /// Every wei since a block.
    fn is_paid(&self, (before, since): (&[u128], u64), bond_wei: u128) {
        let (network, audit) = (&self.scene.network, AUDIT_ADDRESS.to_string());
        wait_long("everybody has taken what is theirs", || {
            ((balance(network, MARKET), balance(network, &audit)) == (0, 0)).then_some(())
        });
        let fee = window_of(network, self.window).feeWei;
        let mut all = 0;
        for who in HONEST.chain(LIARS) {
            // One for each check and ballot; what the accuser put down for the panel came back whole.
            let fees = self.fees_of(address(who));
            wait_long(&format!("account {who} has earned {fees} fees"), || {
                (earned(network, who, before[who], since) == fee * fees).then_some(())
            });
            all += fees;
        }
        let spent = before[CUSTOMER] - balance(network, account(CUSTOMER));
        assert_eq!(spent, fee * all + fees(network, account(CUSTOMER), since), "{}", self.scene.logs());
        wait_long("the provider has got nothing", || (earned(network, 1, before[1], since) == 0).then_some(()));

        // Half of what stood behind the window is the accuser's alone; seats of liars, and the other half, are nobody's.
        let provider = bonded(network, 1);
        assert_eq!((provider.freeWei, provider.lockedWei), (BOND - bond_wei, 0));
        for who in HONEST {
            let bounty = if address(who) == self.accuser { bond_wei / 2 } else { 0 };
            let bond = bonded(network, who);
            let seats = u128::from(HONEST_SEATS) * SEAT;
            assert_eq!((bond.freeWei, bond.seatedWei), (bounty, seats), "account {who}\n{}", self.scene.logs());
        }
        let mut liars = 0;
        for who in LIARS {
            let lost = u32::from(self.lied(address(who)));
            let bond = bonded(network, who);
            let seats = u128::from(LIARS_SEATS - lost) * SEAT;
            assert_eq!((bond.freeWei, bond.seatedWei), (0, seats), "account {who}\n{}", self.scene.logs());
            liars += u128::from(lost);
        }
        let burnt: u128 = read(network, BOND_ADDRESS, &Bond::burntWeiCall {}).to();
        assert_eq!((liars, burnt), (2, bond_wei - bond_wei / 2 + liars * SEAT));
    }
}

fn is_honest(who: Address) -> bool {
    HONEST.map(address).any(|honest| honest == who)
}

/// Until the accuser has appealed; who that is. None if the draw has no honest checker in the first round, or fewer than two liars in the second.
fn appealed(scene: &Scene, customer: &mut Customer, (window, wrong): (B256, u32)) -> Option<Address> {
    let network = &scene.network;
    // Its own look would find the wrong unit, too: it is gone before that.
    wait_long("the window is opened", || {
        assert!(!customer.has_ended(), "{}\n{}", customer.text(), scene.logs());
        events::<Audit::WindowOpened>(network, window).into_iter().next()
    });
    customer.kill();
    let wait_drawn = |unit, round| wait_long("the round is drawn", || scene.drawn(window, unit, round));
    // The first round is the honest ones'.
    if (0..UNITS).any(|unit| !wait_drawn(unit, 0).into_iter().any(is_honest)) {
        return None;
    }
    let committed = wait_long("every unit has a check", || {
        let committed = events::<Audit::CheckCommitted>(network, window);
        (committed.len() == UNITS as usize).then_some(committed)
    });
    assert!(committed.iter().all(|check| is_honest(check.account)), "{}", scene.logs());
    let accuser = committed.iter().find(|check| check.unit == wrong).unwrap().account;
    scene.liars.iter().for_each(|liar| liar.signal("CONT"));

    // The second is the liars', and what they say is not the end.
    if wait_drawn(wrong, 1).len() < 2 {
        return None;
    }
    let appeal = wait_long("the accuser appeals", || {
        let stage = scene.case(window, wrong).stage;
        assert!(stage < VERIFIED, "stage={stage}\n{}", scene.logs());
        events::<Referee::Challenged>(network, window).into_iter().next()
    });
    assert_eq!((appeal.unit, appeal.party), (wrong, accuser), "{}", scene.logs());
    let concluded = events::<Referee::UnitConcluded>(network, window);
    let stages: Vec<_> = concluded.iter().filter(|unit| unit.unit == wrong).map(|unit| unit.stage).collect();
    assert_eq!(stages, [CLEARED], "{}", scene.logs());
    assert!(events::<Referee::KeyHanded>(network, window).is_empty(), "the customer was away\n{}", scene.logs());
    let (_, checker) = HONEST.zip(&scene.honest).find(|(number, _)| address(*number) == accuser).unwrap();
    // It says so once the transaction's receipt is there.
    let words = "cleared by others, wrong here again: appealed, the referees decide";
    wait_long(words, || checker.text().contains(words).then_some(()));
    Some(accuser)
}

/// False if the draw was another one.
fn is_seen() -> bool {
    let scene = Scene::new();
    let network = &scene.network;
    let ordered = Job::of("matmul", &[], &JOB);
    assert_eq!(ordered.spec.unit_count, UNITS);
    let wrong = wrong_unit(ordered.spec.hash(), UNITS);
    let since = network.head(0).unwrap();
    let before = had(network, since);
    let out = network.directory.join("result");
    let id = window_id(1);
    let mut customer = order(network, &out);
    let Some(accuser) = appealed(&scene, &mut customer, (id, wrong)) else { return false };
    assert_eq!(events::<Audit::WindowOpened>(network, id)[0].jobHash, ordered.spec.hash());
    let bond_wei = window_of(network, id).bondWei;

    let (code, said) = order(network, &out).end();
    assert_eq!(code, Some(1), "{said}\n{}", scene.logs());
    // It looks now, and sees itself what it is.
    assert!(said.contains(&format!("Order 1 is convicted: unit {wrong} is wrong")), "{said}\n{}", scene.logs());
    let ended = events::<Panels::PanelEnded>(network, id);
    let ends: Vec<_> = ended.iter().map(|ended| (ended.unit, ended.round, ended.ending, ended.ruling)).collect();
    assert_eq!(ends, [(wrong, 2, RULED, FOUND_WRONG)], "{}", scene.logs());
    let checks = events::<Audit::CheckRevealed>(network, id);
    let of_wrong = checks.iter().filter(|check| check.unit == wrong);
    let mut found: Vec<_> = of_wrong.map(|check| (check.round, check.finding)).collect();
    found.sort_unstable();
    assert_eq!(found, [(0, FOUND_WRONG), (1, FOUND_RIGHT), (1, FOUND_RIGHT)], "{}", scene.logs());
    for unit in 0..UNITS {
        let expected = if unit == wrong { WRONG } else { VERIFIED };
        assert_eq!(scene.case(id, unit).stage, expected, "unit {unit}\n{}", scene.logs());
    }
    let ballots = events::<Panels::BallotRevealed>(network, id);
    let stands = |ballot: &Panels::BallotRevealed| ballot.finding == FOUND_WRONG && ballot.account != accuser;
    assert!(!ballots.is_empty() && ballots.iter().all(stands), "{}", scene.logs());
    Ending { scene: &scene, window: id, accuser, checks, ballots }.is_paid((&before, since), bond_wei);
    let job = job(&out);
    assert_eq!((&job["status"], &job["audit"]["convicted"]), (&"convicted".into(), &true.into()), "{job}");
    let proof = text(&verify(network, &out));
    assert!(proof.contains("a unit was found wrong: the provider is convicted, and no unit of it is paid"), "{proof}");
    true
}

/// The provider serves nobody once the unit is accused, and the customer is away until the appeal is made: the accuser runs it once more from what it kept, and
/// gives that to the liars and to the referees.
#[test]
fn an_accuser_whom_liars_contradict_appeals_by_itself_and_is_paid_and_they_lose_seats_slow() {
    assert!((0..NETWORKS_MAX).any(|_| is_seen()), "the draw was another one each time");
}
