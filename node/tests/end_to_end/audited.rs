//! Orders that other people's machines check, as their customer sees them: terms and price, the window, accusations, convictions, the
//! certificate, and every wei. Where a test needs a checker, it plays it itself, through the contracts.

use crate::{
    customer::send,
    market::{SMALL, job, order},
    network::{Network, number, wait_until},
    parties::{MARKET, PRICE, Provider, account, balance, fees, text, verify},
};
use alloy_primitives::{Address, B256, U256, hex, keccak256};
use alloy_sol_types::SolCall;
use keystead_contracts::bindings::audit::{Audit, IAuditTypes};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

const AUDIT: &str = "0x4b53540000000000000000000000000000000005";
/// How long a window may take here; its own times add up to less than a minute.
const WINDOW_MAX: Duration = Duration::from_secs(400);
/// Windows as short as the contract takes them.
const SHORT: [&str; 4] = ["--checker-seconds", "10", "--reveal-seconds", "20"];

/// Windows in which a customer that shares a machine with a dozen processes comes in time: to accuse, or to go on after it was killed.
const ROOMY: [&str; 4] = ["--checker-seconds", "30", "--reveal-seconds", "20"];

fn read<C: SolCall>(network: &Network, call: &C) -> C::Return {
    let request = json!({"to": AUDIT, "data": hex::encode_prefixed(call.abi_encode())});
    let answer = network.call(0, "eth_call", json!([request, "latest"]));
    C::abi_decode_returns(&hex::decode(answer.as_str().unwrap()).unwrap()).unwrap()
}

pub(crate) fn window_of(network: &Network, id: B256) -> IAuditTypes::Window {
    read(network, &Audit::windowOfCall { windowId: id })
}

pub(crate) fn window_id(order: u64) -> B256 {
    let market = MARKET.parse::<Address>().unwrap();
    let number = B256::from(U256::from(order));
    keccak256([b"keystead/window/v1".as_slice(), market.as_slice(), number.as_slice(), &[0; 8]].concat())
}

/// A customer in the background, killed with the test.
pub(crate) struct Customer {
    child: Child,
    log: PathBuf,
}

impl Customer {
    fn start(network: &Network, out: &Path, more: &[&str]) -> Self {
        Self::start_with(network, out, SMALL, &[&ROOMY[..], more].concat())
    }

    /// With a job of another size, and nothing but these options.
    pub(crate) fn start_with(network: &Network, out: &Path, size: (u64, u64), options: &[&str]) -> Self {
        let mut command = order(network, size, out);
        command.args(options);
        Self::spawn(network, out, command)
    }

    /// Whatever is ordered; the result goes to `out`.
    pub(crate) fn spawn(network: &Network, out: &Path, mut command: Command) -> Self {
        let log = network.directory.join(format!("{}.txt", out.file_name().unwrap().display()));
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        Self { child, log }
    }

    pub(crate) fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits longer than others do: a window has its times.
    pub(crate) fn wait_for(&mut self, words: &str) {
        let start = Instant::now();
        while !self.text().contains(words) {
            assert!(!self.has_ended() && start.elapsed() < WINDOW_MAX, "no {words:?} in: {}", self.text());
            thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn end(&mut self) -> (Option<i32>, String) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status.code(), self.text());
            }
            assert!(start.elapsed() < WINDOW_MAX, "the customer does not end: {}", self.text());
            thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// As Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        assert!(Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Customer {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("-- a customer said\n{}", self.text());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn stored(out: &Path, pointer: &str) -> bool {
    let text = fs::read_to_string(out.join("order.json")).unwrap_or_default();
    serde_json::from_str::<Value>(&text).is_ok_and(|state| state.pointer(pointer).is_some_and(|value| !value.is_null()))
}

pub(crate) fn units(job: &Value) -> u128 {
    u128::from(job["spec"]["unitCount"].as_u64().unwrap())
}

/// Nobody has a seat on this network: so every unit is drawn and none is checked, and every line says so.
#[test]
fn an_audited_order_that_nobody_checks_is_paid_to_the_wei_and_called_unverified_slow() {
    let network = Network::beside(4);
    let mut provider = Provider::start(&network, &network.directory.join("provider"));
    let since = network.head(0).unwrap();
    let before = [balance(&network, account(2)), balance(&network, account(1))];
    let out = network.directory.join("result");
    let output = order(&network, SMALL, &out).args(SHORT).arg("--audit").output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    provider.wait_for("order paid");
    for words in [
        "Audit: every unit by 1 checker drawn by lot",
        "Warning: nobody on this network has a seat now",
        "Deposit for checks: ",
        "All in: ",
        "No bond stands behind it (probation)",
        "Gas to place it: at most",
        "All in, with that gas: at most ",
        "without a checker so far",
        "is audited",
        "audit    UNVERIFIED: ",
        "came back from the audit",
    ] {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
    let job = job(&out);
    assert_eq!((&job["status"], &job["assurance"]), (&"audited".into(), &"unverified".into()), "{job}");
    assert_eq!((&job["audit"]["verified"], &job["audit"]["drawn"]), (&0.into(), &job["spec"]["unitCount"]), "{job}");
    // The deposit: one and a half checks for each unit, and forty, at the price of a unit; all of it came back.
    let deposit = ((3 * units(&job)).div_ceil(2) + 40) * PRICE;
    assert_eq!(job["audit"]["depositWei"], deposit.to_string());
    let escrow = PRICE * units(&job);
    assert_eq!(before[0] - balance(&network, account(2)), escrow + fees(&network, account(2), since), "{said}");
    assert_eq!(balance(&network, account(1)), before[1] + escrow - fees(&network, account(1), since));
    assert_eq!((balance(&network, MARKET), balance(&network, AUDIT)), (0, 0), "every wei left both contracts");
    let proved = verify(&network, &out);
    let proof = text(&proved);
    assert_eq!(proved.status.code(), Some(0), "{proof}");
    for words in [
        "order 1 of the market is audited",
        "means: class exact",
        "means: UNVERIFIED: ",
        "nobody found one right",
        "no bond of the provider stood behind it",
        "the customer says: it ran ",
        "all of them are right",
        "are paid: final in block",
    ] {
        assert!(proof.contains(words), "no {words:?} in: {proof}");
    }
}

/// The provider takes its pay by itself, soon after the window is closed.
fn wait_until_all_is_taken(network: &Network) {
    wait_until("everybody has taken what is theirs", || {
        ((balance(network, MARKET), balance(network, AUDIT)) == (0, 0)).then_some(())
    });
}

/// The provider's state is as it is; the customer finds the wrong unit by its own sample, and accuses it before the window closes.
#[test]
fn a_customer_that_finds_an_audited_unit_wrong_accuses_it_and_does_not_keep_it_slow() {
    let network = Network::beside(1);
    let folder = network.directory.join("provider");
    let _provider = Provider::start_as(&network, &folder, 1, &["--fault-seed", "7"]);
    let since = network.head(0).unwrap();
    let before = balance(&network, account(2));
    let out = network.directory.join("result");
    let mut customer = Customer::start(&network, &out, &["--audit", "--sample-rate", "100"]);
    customer.wait_for("accusing it, with a bond of");
    let id = window_id(1);
    let unit = wait_until("the accusation is on the chain", || {
        (0..window_of(&network, id).units).find(|unit| {
            let case = read(&network, &Audit::caseOfCall { windowId: id, unit: *unit });
            case.party == account(2).parse::<Address>().unwrap()
        })
    });
    let (code, said) = customer.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&format!("unit {unit} wrong")) && said.contains("it is not kept"), "{said}");
    assert!(!out.join("alignments.tsv").exists(), "a wrong result is not kept as if it were one");
    // Nobody has a seat, so there are no referees and no ruling: the unit is paid, and the bond comes back.
    let job = job(&out);
    assert_eq!((&job["status"], &job["check"]["verdict"]), (&"audited".into(), &"rejected".into()), "{job}");
    let spent = before - balance(&network, account(2));
    assert_eq!(spent, PRICE * units(&job) + fees(&network, account(2), since), "{said}");
    wait_until_all_is_taken(&network);
    let proof = text(&verify(&network, &out));
    assert!(proof.contains("the customer says: ") && proof.contains("the result is wrong"), "{proof}");
}

/// A checker that the customer named commits to a check; the provider is gone, so it never opens the unit. Who may hide when drawn is never
/// caught: so it is convicted, and the job goes to the next provider.
#[test]
fn a_provider_that_does_not_open_what_was_drawn_is_convicted_and_the_next_one_gets_the_job_slow() {
    let network = Network::beside(1);
    let start = |name: &str, account| Provider::start_as(&network, &network.directory.join(name), account, &[]);
    let (mut one, mut other) = (start("one", 1), start("other", 3));
    let since = network.head(0).unwrap();
    let before = balance(&network, account(2));
    let out = network.directory.join("result");
    // The check below is committed after the draw, and after the customer's own check: on a busy machine that takes its time.
    let private = ["--private", "--name-checker", account(5)];
    let mut customer = Customer::start_with(&network, &out, SMALL, &[&ROOMY[..], &private].concat());
    customer.wait_for("Order 1 placed");
    let id = window_id(1);
    wait_until("the window is drawn", || {
        let window = window_of(&network, id);
        let round = read(&network, &Audit::roundOfCall { windowId: id, unit: 0, round: 0 });
        (window.status == 1 && stored(&out, "/attempt/checked") && !round.drawnAt.is_zero()).then_some(())
    });
    // Whoever has the order goes; at the same price either may be chosen.
    let has_it = customer.text().to_lowercase().contains(&format!("from provider {}", account(1).to_lowercase()));
    if has_it {
        one.kill()
    } else {
        other.kill()
    }
    let named = vec![account(5).parse::<Address>().unwrap()];
    let key = IAuditTypes::Key { windowId: id, unit: 0, round: 0, slot: 0 };
    let call = Audit::commitCheckCall { key, hash: keccak256("a check"), named };
    // The named checker is on duty.
    send(&network, 5, AUDIT, &call.abi_encode());

    let (code, said) = customer.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Order 1 is convicted: the audit found a unit wrong"), "{said}");
    assert!(said.contains("ordering from another provider (2 of at most 3)"), "{said}");
    assert!(said.contains("audit    UNVERIFIED (private): the checker that you named found 0 of"), "{said}");
    let job = job(&out);
    assert_eq!((&job["status"], &job["failed"][0]["status"]), (&"audited".into(), &"convicted".into()), "{job}");
    assert_eq!((&job["assurance"], &job["order"]), (&"unverified".into(), &"2".into()));
    // Of the first order the whole price came back, and the deposit without the fee of the one check.
    let spent = before - balance(&network, account(2));
    assert_eq!(spent, PRICE * units(&job) + PRICE + fees(&network, account(2), since), "{said}");
    wait_until("the market pays out", || (balance(&network, MARKET) == 0).then_some(()));
    let proof = text(&verify(&network, &out));
    assert!(proof.contains("UNVERIFIED (private)"), "{proof}");
    // The job went on elsewhere; what the first one did stays proved.
    let mut command = Command::new(crate::network::KEYSTEAD);
    command.arg("verify").arg(out.join("convicted-1.json")).args(["--network-key", &network.network_key()]);
    let conviction = command.output().unwrap();
    let proof = text(&conviction);
    assert_eq!(conviction.status.code(), Some(0), "{proof}");
    assert!(proof.contains("order 1 of the market is convicted") && proof.contains("nothing is paid"), "{proof}");
}

/// A moment on the way of an audited order, as its folder or its words show it.
type Moment = (&'static str, fn(&Path, &str) -> bool);

#[test]
fn a_customer_killed_at_each_step_of_an_audited_order_pays_once_and_gets_its_deposit_back_slow() {
    let network = Network::beside(1);
    let _provider = Provider::start(&network, &network.directory.join("provider"));
    let since = network.head(0).unwrap();
    let before = balance(&network, account(2));
    let out = network.directory.join("result");
    let moments: [Moment; 6] = [
        ("the transaction is stored", |out, _| stored(out, "/attempt/transaction")),
        ("the order has its number", |out, _| stored(out, "/attempt/order")),
        ("the check is done", |out, _| stored(out, "/attempt/checked")),
        ("it waits for the window", |_, said| said.contains("without a checker so far")),
        ("the order is over", |out, _| out.join("job.json").exists()),
        ("the files are handed over", |out, _| out.join("alignments.tsv").exists()),
    ];
    let mut hit = Vec::new();
    for (name, has_come) in moments {
        let mut customer = Customer::start(&network, &out, &["--audit"]);
        let start = Instant::now();
        while !has_come(&out, &customer.text()) && !customer.has_ended() {
            assert!(start.elapsed() < WINDOW_MAX, "waited in vain: {name}: {}", customer.text());
            thread::sleep(Duration::from_millis(1));
        }
        if customer.has_ended() {
            break;
        }
        customer.kill();
        hit.push(name);
    }
    println!("killed when: {hit:?}");
    assert!(hit.len() >= 4, "too few moments were met: {hit:?}");
    if out.join("order.json").exists() {
        let (code, said) = Customer::start(&network, &out, &["--audit"]).end();
        assert_eq!(code, Some(0), "{said}");
    }
    let job = job(&out);
    assert_eq!((&job["status"], &job["order"]), (&"audited".into(), &"1".into()));
    assert_eq!(number(&network.call(0, "eth_getStorageAt", json!([MARKET, "0x0", "latest"]))), 1, "one order");
    let spent = before - balance(&network, account(2));
    assert_eq!(spent, PRICE * units(&job) + fees(&network, account(2), since));
    wait_until_all_is_taken(&network);
    assert!(verify(&network, &out).status.success());
}

#[test]
fn what_cannot_be_audited_is_refused_before_any_money_moves() {
    let network = Network::beside(1);
    let _provider = Provider::start(&network, &network.directory.join("provider"));
    let before = balance(&network, account(2));
    let out = network.directory.join("result");
    let fails = |more: &[&str], code: i32, words: &[&str]| {
        let output = order(&network, SMALL, &out).args(more).output().unwrap();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(code), "{said}");
        words.iter().for_each(|word| assert!(said.contains(word), "no {word:?} in: {said}"));
    };
    // No bond is there that could be lost.
    let risk = ["--value-at-risk", "1000000000000000000"];
    fails(&risk, 1, &["1 KST at risk", "--value-at-risk", "0 KST that is free"]);
    fails(&["--audit", "--private"], 2, &["cannot be used with"]);
    fails(&["--audit-rate", "10"], 1, &["nobody is asked to", "--name-checker"]);
    fails(&["--audit", "--max-price", &(PRICE * 30).to_string()], 1, &["as a deposit for checks", "--max-price"]);
    let mut many = vec!["--private"];
    (3..8).for_each(|number| many.extend(["--name-checker", account(number)]));
    fails(&many, 1, &["at most 4 checkers"]);
    let nobody = "0x0000000000000000000000000000000000000000";
    for (names, words) in [
        (&[account(1)][..], "the provider of an order cannot check it"),
        (&[account(3), account(2)][..], "the customer of an order checks it by its own sample"),
        (&[account(3), account(3)][..], "a checker is named twice"),
        (&[nobody][..], "the zero address checks nothing"),
    ] {
        let mut options = vec!["--private"];
        names.iter().for_each(|name| options.extend(["--name-checker", *name]));
        fails(&options, 1, &[words]);
    }
    fails(&["--name-checker", account(3)], 2, &["--private"]);
    let tolerance = ["nbody", "--set", "members=4", "--set", "members-per-unit=1", "--set", "steps=6000", "--audit"];
    let output = Command::new(crate::network::KEYSTEAD)
        .arg("run")
        .args(tolerance)
        .args(["--dev-account", "2", "--rpc", &network.url(0), "--out"])
        .arg(&out)
        .output()
        .unwrap();
    let said = text(&output);
    assert!(said.contains("an audit of class tolerance needs a bond of"), "{said}");
    assert_eq!(balance(&network, account(2)), before);
    assert!(!out.exists());
}
