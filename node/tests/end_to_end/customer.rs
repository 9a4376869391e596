//! What can happen to a customer: its own death at any moment, providers that decline, vanish or come late, a full disk. In the end there
//! is one payment or none, and the right files.

use crate::{
    dice::Dice,
    http,
    network::{KEYSTEAD, Network, PATIENCE, number, wait_until},
    parties::{MARKET, PRICE, Provider, Signals, account, balance, fasta, fees, text, verify, wei, with_full_disk},
};
use alloy_consensus::{SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Bytes, TxKind, U256};
use alloy_signer::SignerSync as _;
use alloy_signer_local::{MnemonicBuilder, PrivateKeySigner, coins_bip39::English};
use alloy_sol_types::SolCall as _;
use keystead_contracts::bindings::market::Market;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Some 20 units, under a second.
pub(crate) const SMALL: (u64, u64) = (10, 20);
/// Some 270 units, about a second.
const MEDIUM: (u64, u64) = (30, 100);
/// Over 1,000 units, several seconds on a fast machine.
const LARGE: (u64, u64) = (60, 200);

/// `keystead run align` with test account 2.
pub(crate) fn run(network: &Network, size: (u64, u64), out: &Path) -> Command {
    run_through(network, &network.url(0), size, out)
}

pub(crate) fn run_through(network: &Network, rpc: &str, size: (u64, u64), out: &Path) -> Command {
    let mut command = Command::new(KEYSTEAD);
    command.args(arguments(network, rpc, size, out)).stdin(Stdio::null());
    command
}

fn arguments(network: &Network, rpc: &str, size: (u64, u64), out: &Path) -> Vec<String> {
    let file = |name: &str, count: u64| {
        let path = network.directory.join(format!("{name}-{count}.faa"));
        if !path.exists() {
            fasta(&path, count, 300);
        }
        format!("--input={name}={}", path.display())
    };
    // Equal prices, and only they count: the lowest account is the first.
    let plain = ["run", "align", "--dev-account", "2", "--set", "cells-per-unit=1000000", "--rpc", rpc];
    let choice = ["--value-of-time", "0", "--patience-ms", "20000", "--out"];
    let files = [out.display().to_string(), file("queries", size.0), file("targets", size.1)];
    plain.into_iter().chain(choice).map(str::to_owned).chain(files).collect()
}

/// A customer in the background, with what it said. It is killed with the test.
pub(crate) struct Customer {
    child: Child,
    log: PathBuf,
}

impl Customer {
    pub(crate) fn start(network: &Network, command: &mut Command) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let log = network.directory.join(format!("customer-{}.txt", NUMBER.fetch_add(1, Ordering::Relaxed)));
        let file = File::create(&log).unwrap();
        let child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        Self { child, log }
    }

    pub(crate) fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn wait_for(&mut self, words: &str) {
        wait_until(words, || {
            let over = self.child.try_wait().unwrap().is_some();
            (over || self.text().contains(words)).then_some(())
        });
        assert!(self.text().contains(words), "no {words:?} in: {}", self.text());
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// `INT` as Ctrl-C, `STOP` and `CONT` as of a provider.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Its exit code and what it said.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let status = wait_until("the customer ends", || self.child.try_wait().unwrap());
        (status.code(), self.text())
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

/// Runs to the end, which must have this code; what was said.
pub(crate) fn ends(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", text(&output));
    text(&output)
}

pub(crate) fn json_file(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Orders that the market ever took.
pub(crate) fn orders(network: &Network) -> u64 {
    number(&network.call(0, "eth_getStorageAt", json!([MARKET, "0x0", "latest"])))
}

pub(crate) fn nonce(network: &Network, index: usize) -> u64 {
    number(&network.call(0, "eth_getTransactionCount", json!([account(index), "latest"])))
}

/// What a finished folder must hold, whatever happened on the way.
fn assert_finished(network: &Network, out: &Path) -> u128 {
    let job = json_file(&out.join("job.json"));
    assert_eq!(job["status"], "accepted");
    for gone in ["order.json", "unfinished", "unchecked"] {
        assert!(!out.join(gone).exists(), "{gone} stays");
    }
    let proved = verify(network, out);
    assert!(proved.status.success() && text(&proved).contains("is accepted"), "{}", text(&proved));
    PRICE * u128::from(job["spec"]["unitCount"].as_u64().unwrap())
}

/// The same job undisturbed, by another account, so that nobody's books are mixed: its files are the right ones.
fn assert_equal_to_an_undisturbed_run(network: &Network, size: (u64, u64), out: &Path) {
    let other = network.directory.join("undisturbed");
    let mut command = Command::new(KEYSTEAD);
    let mut arguments = arguments(network, &network.url(0), size, &other);
    arguments[3] = "7".to_owned();
    ends(command.args(arguments).stdin(Stdio::null()), 0);
    let file = "alignments.tsv";
    assert!(fs::read(out.join(file)).unwrap() == fs::read(other.join(file)).unwrap(), "{file} differs");
}

/// What `--events` must hold of an order that three processes brought to its end: each thing once, in its order, with its numbers.
fn assert_told(record: &Path, job: &Value, escrow: u128) {
    let whole = fs::read_to_string(record).unwrap();
    let lines: Vec<Value> = whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    for line in &lines {
        assert!(line["unixMs"].as_u64().is_some() && line["detail"].as_str().is_some(), "{line}");
        assert!(line["provider"].is_null() || line["provider"].as_str().unwrap().eq_ignore_ascii_case(account(1)));
    }
    let place = |event: &str| {
        let places: Vec<usize> = (0..names.len()).filter(|place| names[*place] == event).collect();
        assert_eq!(places.len(), 1, "{event} in: {whole}");
        places[0]
    };
    let facts = |event: &str| &lines[place(event)]["facts"];
    // What the chain says, and what is heard in the conversation: neither waits for the other.
    let on_chain = ["planned", "priced", "ordered", "leased", "committed", "delivered"];
    let heard = ["ordered", "input-sent", "output-arrived"];
    let at_the_end = ["checked", "accepted", "paid", "certificate", "done"];
    for way in [&on_chain[..], &heard] {
        let places: Vec<usize> = way.iter().chain(&at_the_end).map(|event| place(event)).collect();
        assert!(places.is_sorted(), "{way:?} in: {whole}");
    }
    assert_eq!(names.first(), Some(&"planned"));
    assert_eq!(names.last(), Some(&"done"));
    assert_eq!(names.iter().filter(|name| **name == "resumed").count(), 2, "{whole}");
    assert!(names.contains(&"connected") && !names.contains(&"refunded") && !names.contains(&"failed"), "{whole}");

    let units = job["spec"]["unitCount"].as_u64().unwrap();
    let wei = Value::from(escrow.to_string());
    assert_eq!(facts("planned")["units"], units);
    assert_eq!((&facts("ordered")["order"], &facts("ordered")["escrowWei"]), (&"1".into(), &wei), "{whole}");
    assert_eq!(facts("paid"), &json!({"order": "1", "wei": wei}));
    assert_eq!(facts("committed")["units"], units);
    assert_eq!(facts("delivered")["resultRoot"], job["resultRoot"]);
    let checked = facts("checked");
    assert_eq!((&checked["finding"], &checked["right"]), (&"right".into(), &job["check"]["right"]), "{whole}");
    assert_eq!(facts("done"), &json!({"exitCode": 0}));
    let progress: Vec<&Value> =
        lines.iter().filter(|line| line["event"] == "progress").map(|line| &line["facts"]).collect();
    let done: Vec<u64> = progress.iter().map(|facts| facts["done"].as_u64().unwrap()).collect();
    assert!(done.is_sorted_by(|one, next| one < next), "told twice, or backwards: {whole}");
    assert_eq!(done.last(), Some(&units), "{whole}");
    assert!(progress.iter().all(|facts| facts["of"] == units), "{whole}");
}

#[test]
fn a_command_that_contradicts_itself_tells_so_to_the_program_that_reads_events() {
    let output = Command::new(KEYSTEAD).args(["run", "align", "--checkers", "3", "--events", "-"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let failed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&failed["event"], &failed["facts"]), (&"failed".into(), &json!({"exitCode": 1})), "{failed}");
    assert!(failed["detail"].as_str().unwrap().contains("give --audit"), "{failed}");
}

#[test]
fn a_customer_killed_after_its_order_and_in_the_middle_goes_on_with_the_same_order() {
    let network = Network::start(1);
    let _provider = Provider::start(&network, &network.directory.join("provider"));
    let since = network.head(0).unwrap();
    let before = balance(&network, account(2));
    let out = network.directory.join("result");
    let record = network.directory.join("events.jsonl");
    let told = || {
        let mut command = run(&network, MEDIUM, &out);
        command.arg("--events").arg(&record);
        command
    };
    let mut first = Customer::start(&network, &mut told());
    first.wait_for("Order 1 placed");
    let beside = run(&network, MEDIUM, &out).args(["--events", "-"]).output().unwrap();
    assert_eq!(beside.status.code(), Some(1), "{}", text(&beside));
    // What a program reads from there is events alone.
    let failed: Value = serde_json::from_slice(&beside.stdout).unwrap();
    assert_eq!((&failed["event"], &failed["facts"]), (&"failed".into(), &json!({"exitCode": 1})), "{failed}");
    assert!(failed["detail"].as_str().unwrap().contains("another `keystead run`"), "{failed}");
    // And what the first one tells is not ended by the second.
    let in_its_way = ends(&mut told(), 1);
    assert!(in_its_way.contains("another process writes events to"), "{in_its_way}");
    first.kill();

    // Other inputs, another wallet: the order is not theirs.
    let other = ends(&mut run(&network, SMALL, &out), 1);
    let job = json_file(&out.join("order.json"))["identity"]["job"].as_str().unwrap().to_owned();
    assert!(other.contains(&job) && other.contains("--out"), "{other}");
    let mut stranger = arguments(&network, &network.url(0), MEDIUM, &out);
    stranger[3] = "5".to_owned();
    let stranger = ends(Command::new(KEYSTEAD).args(stranger), 1);
    assert!(stranger.contains(account(2)) && stranger.contains(account(5)), "{stranger}");

    let mut second = Customer::start(&network, &mut told());
    second.wait_for("units finished");
    second.kill();
    let said = ends(&mut told(), 0);
    assert!(said.contains("Order 1 of this folder is still under way: going on with it."), "{said}");
    assert_eq!(orders(&network), 1);
    let escrow = assert_finished(&network, &out);
    assert_told(&record, &json_file(&out.join("job.json")), escrow);
    assert!(!out.join("order.lock").exists());
    assert_eq!(before - balance(&network, account(2)), escrow + fees(&network, account(2), since));
    let again = ends(&mut run(&network, MEDIUM, &out), 1);
    assert!(again.contains("not empty"), "{again}");
    assert_equal_to_an_undisturbed_run(&network, MEDIUM, &out);
}

/// A moment on the way of an order, as the folder shows it.
type Moment = (&'static str, fn(&Path) -> bool);

/// Something of the stored attempt.
fn stored(out: &Path, pointer: &str) -> bool {
    let text = fs::read_to_string(out.join("order.json")).unwrap_or_default();
    serde_json::from_str::<Value>(&text).is_ok_and(|state| state.pointer(pointer).is_some_and(|value| !value.is_null()))
}

/// Starts an order in the background; once its transaction is stored, its provider and others stop. So they answered when the customer planned, and are
/// gone when it comes.
pub(crate) fn stopped_after_the_plan(network: &Network, out: &Path, more: &[&str], stop: &[&Provider]) -> Customer {
    let mut signals: Vec<Signals> = stop.iter().map(|provider| provider.signals()).collect();
    let mut customer = Customer::start(network, run(network, SMALL, out).args(more));
    let start = Instant::now();
    while !stored(out, "/attempt/transaction") {
        assert!(customer.child.try_wait().unwrap().is_none(), "{}", customer.text());
        assert!(start.elapsed() < PATIENCE, "waited in vain: {}", customer.text());
        thread::sleep(Duration::from_millis(1));
    }
    signals.iter_mut().for_each(|signals| signals.send("STOP"));
    customer
}

/// Starts again and again, and kills at each moment in turn; what was hit. A moment may pass unseen: then nothing is killed for it.
fn killed_at(network: &Network, out: &Path, more: &[&str], moments: &[Moment]) -> Vec<&'static str> {
    let mut hit = Vec::new();
    for (name, has_come) in moments {
        let mut customer = Customer::start(network, run(network, SMALL, out).args(more));
        let start = Instant::now();
        // Closer than `wait_until` looks: some moments last a few milliseconds.
        while !has_come(out) && customer.child.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < PATIENCE, "waited in vain: {name}");
            thread::sleep(Duration::from_millis(1));
        }
        if let Some(status) = customer.child.try_wait().unwrap() {
            // Nothing stops a process that goes on but its own success: else a step has left what the next process cannot read.
            assert_eq!(status.code(), Some(0), "{}", customer.text());
            break;
        }
        customer.kill();
        hit.push(*name);
    }
    hit
}

/// Orders in which each step is waited for: on a busy machine some steps pass before they are seen.
const ROUNDS_MAX: u64 = 6;

/// The folder shows the moments between the steps; the process is killed as soon as it does.
#[test]
fn a_customer_killed_at_each_step_of_an_order_ends_with_the_same_files_and_one_payment() {
    let network = Network::start(1);
    let _provider = Provider::start(&network, &network.directory.join("provider"));
    let moments: [Moment; 8] = [
        ("the transaction is stored", |out| stored(out, "/attempt/transaction")),
        ("the order has its number", |out| stored(out, "/attempt/order")),
        ("the outputs have arrived", |out| stored(out, "/attempt/received")),
        ("the seed is drawn", |out| stored(out, "/attempt/seed")),
        ("the check is done", |out| stored(out, "/attempt/checked")),
        ("the order is over", |out| out.join("job.json").exists()),
        ("the files are handed over", |out| out.join("alignments.tsv").exists()),
        ("the certificate is there", |out| out.join("certificate.json").exists()),
    ];
    let mut met = BTreeSet::new();
    for round in 1..=ROUNDS_MAX {
        let (since, before) = (network.head(0).unwrap(), balance(&network, account(2)));
        let out = network.directory.join(format!("result-{round}"));
        // Each second time the other way round: then a moment is met by a process that went on, not by one that began.
        let hit = killed_at(&network, &out, &[], if round % 2 == 1 { &moments } else { &moments[2..] });
        println!("killed when: {hit:?}");
        met.extend(hit);
        if out.join("order.json").exists() {
            ends(&mut run(&network, SMALL, &out), 0);
        }
        assert_eq!(orders(&network), round);
        let escrow = assert_finished(&network, &out);
        assert_eq!(before - balance(&network, account(2)), escrow + fees(&network, account(2), since));
        if round >= 2 && met.len() >= 5 {
            break;
        }
    }
    assert!(met.len() >= 5, "too few moments were met: {met:?}");
    assert_equal_to_an_undisturbed_run(&network, SMALL, &network.directory.join("result-1"));
}

/// One customer between two providers; whether it was killed when its order was about to be cancelled, a moment that passes unseen on a busy machine.
fn killed_between_two_providers() -> bool {
    let network = Network::start(1);
    let start = |name: &str, account| Provider::start_as(&network, &network.directory.join(name), account, &[]);
    let (gone, _working) = (start("gone", 1), start("working", 3));
    let (since, before) = (network.head(0).unwrap(), balance(&network, account(2)));
    let out = network.directory.join("result");
    let reach = ["--reach-seconds", "3"];
    stopped_after_the_plan(&network, &out, &reach, &[&gone]).kill();
    let moments: [Moment; 3] = [
        ("the first order has its number", |out| stored(out, "/attempt/order")),
        ("it is about to be cancelled", |out| stored(out, "/attempt/why")),
        ("the second order is stored", |out| stored(out, "/failed/0")),
    ];
    let hit = killed_at(&network, &out, &reach, &moments);
    println!("killed when: {hit:?}");
    if out.join("order.json").exists() {
        ends(run(&network, SMALL, &out).args(["--reach-seconds", "20"]), 0);
    }
    assert_eq!(orders(&network), 2);
    let escrow = assert_finished(&network, &out);
    assert_eq!(before - balance(&network, account(2)), escrow + fees(&network, account(2), since));
    assert_eq!(json_file(&out.join("job.json"))["failed"][0]["status"], "cancelled");
    hit.contains(&"it is about to be cancelled")
}

#[test]
fn a_customer_killed_between_two_providers_gets_its_refund_once_and_one_result() {
    assert!((0..3).any(|_| killed_between_two_providers()), "never killed when the order was about to be cancelled");
}

/// The check window ends while the customer is dead: the provider is paid, and what had arrived is still checked and handed over.
#[test]
fn a_customer_that_comes_back_after_the_window_gets_what_had_arrived_slow() {
    let network = Network::start(1);
    let mut provider = Provider::start(&network, &network.directory.join("provider"));
    let (since, before) = (network.head(0).unwrap(), balance(&network, account(2)));
    let window = ["--check-seconds", "4"];
    let paid = |provider: &mut Provider, count: usize| {
        wait_until("the provider is paid", || (provider.text().matches("order paid").count() == count).then_some(()));
    };
    let arrived = network.directory.join("arrived");
    let moments: [Moment; 1] = [("the outputs have arrived", |out| stored(out, "/attempt/received"))];
    // All of it is run again, so that it is killed before it accepts.
    let closely = [&window[..], &["--sample-rate", "100", "--private"]].concat();
    assert_eq!(killed_at(&network, &arrived, &closely, &moments).len(), 1);
    paid(&mut provider, 1);
    let said = ends(run(&network, SMALL, &arrived).args(&closely), 0);
    assert!(said.contains("order 1 is settled"), "{said}");
    // Private without names: what the order was begun as outlives the process.
    assert!(said.contains("UNVERIFIED (private): you named no checkers"), "{said}");
    let job = json_file(&arrived.join("job.json"));
    assert_eq!((&job["private"], &job["assurance"]), (&true.into(), &"unverified".into()), "{job}");
    assert_equal_to_an_undisturbed_run(&network, SMALL, &arrived);
    paid(&mut provider, 2);

    let nothing = network.directory.join("nothing");
    let mut customer = Customer::start(&network, run(&network, LARGE, &nothing).args(window));
    customer.wait_for("units finished");
    customer.kill();
    paid(&mut provider, 3);
    let said = ends(run(&network, LARGE, &nothing).args(window), 3);
    assert!(said.contains("order 3 is settled") && said.contains("had not arrived"), "{said}");
    assert!(!nothing.join("alignments.tsv").exists() && !nothing.join("order.json").exists());
    assert_eq!(orders(&network), 3);
    let escrow = |out: &Path| json_file(&out.join("job.json"))["escrowWei"].as_str().unwrap().parse::<u128>().unwrap();
    let spent = escrow(&arrived) + escrow(&nothing) + fees(&network, account(2), since);
    assert_eq!(before - balance(&network, account(2)), spent);
}

/// The chain stands still from before the last unit until after Ctrl-C: the provider has done all that was ordered, and cannot say so there yet.
#[test]
fn ctrl_c_when_every_unit_is_done_is_too_late_and_the_provider_is_paid_to_the_wei() {
    let mut network = Network::beside(4);
    let mut provider = Provider::start(&network, &network.directory.join("provider"));
    let since = network.head(0).unwrap();
    let before = [balance(&network, account(2)), balance(&network, account(1))];
    let out = network.directory.join("result");
    let mut customer = Customer::start(&network, &mut run(&network, MEDIUM, &out));
    provider.wait_for("order leased");
    [2, 3].iter().for_each(|index| network.kill(*index));
    provider.wait_for("run finished");
    assert!(!provider.text().contains("result committed"), "the chain went on: {}", provider.text());
    customer.signal("INT");
    customer.wait_for("Stopping order 1:");
    [2, 3].iter().for_each(|index| network.launch(*index));
    let (code, said) = customer.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("you stopped it"), "{said}");
    // Two calls waited for the chain: whichever came first, the whole of it is there.
    let late = "Too late to stop: the provider has committed to all";
    assert!(said.contains(late) || said.contains("were done when the order was stopped"), "{said}");
    let escrow = assert_finished(&network, &out);
    provider.wait_for("order paid");
    assert_eq!(orders(&network), 1);
    assert_eq!(before[0] - balance(&network, account(2)), escrow + fees(&network, account(2), since));
    assert_eq!(balance(&network, account(1)), before[1] + escrow - fees(&network, account(1), since));
    assert_eq!(balance(&network, MARKET), 0, "every wei left the market");
    let record = Market::providerRecordCall { account: account(1).parse().unwrap() };
    let record = crate::audits::read(&network, MARKET.parse().unwrap(), &record);
    let paid = record.accepted.to::<u64>() + record.settled.to::<u64>();
    let failed = [record.rejected, record.expired, record.abandoned].map(|count| count.to::<u64>());
    assert_eq!((paid, failed), (1, [0; 3]), "its public record");
    assert_eq!(provider.interrupt(), Some(0));
}

/// Kills within so many ms of the start; more later on, so that it ends on a slow machine as well.
const KILL_MS: (u64, u64) = (50, 900);

#[test]
fn a_customer_killed_at_random_moments_ends_with_one_order_paid_once_slow() {
    let seed = std::env::var("KEYSTEAD_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0xc0ff_ee26);
    println!("seed: KEYSTEAD_SEED={seed}");
    let mut dice = Dice(seed);
    let network = Network::start(1);
    let mut provider = Provider::start(&network, &network.directory.join("provider"));
    for round in 1..=3_u64 {
        let since = network.head(0).unwrap();
        let before = [balance(&network, account(2)), balance(&network, account(1))];
        let out = network.directory.join(format!("result-{round}"));
        let mut kills = 0;
        let code = loop {
            let mut customer = Customer::start(&network, &mut run(&network, MEDIUM, &out));
            thread::sleep(Duration::from_millis(KILL_MS.0 + dice.roll(KILL_MS.1 - KILL_MS.0) + kills * 20));
            if let Some(status) = customer.child.try_wait().unwrap() {
                break status.code();
            }
            customer.kill();
            kills += 1;
            if out.join("job.json").exists() && !out.join("order.json").exists() {
                // Between its last step and its exit.
                break Some(0);
            }
        };
        println!("round {round}: {kills} kills");
        assert_eq!(code, Some(0));
        assert!(kills > 0, "the first start came through");
        assert_eq!(orders(&network), round, "one order");
        let escrow = assert_finished(&network, &out);
        wait_until("the provider has its pay", || {
            (provider.text().matches("order paid").count() as u64 == round).then_some(())
        });
        assert_eq!(before[0] - balance(&network, account(2)), escrow + fees(&network, account(2), since));
        assert_eq!(balance(&network, account(1)), before[1] + escrow - fees(&network, account(1), since));
        assert_eq!(balance(&network, MARKET), 0, "every wei left the market");
    }
    assert_equal_to_an_undisturbed_run(&network, MEDIUM, &network.directory.join("result-1"));
    assert_eq!(provider.interrupt(), Some(0));
}

/// What stands between a customer and its node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loses {
    /// Signed transactions on their way to the node.
    Transactions,
    /// Everything after the first signed transaction, which arrives: also its answer.
    Answers,
}

/// A JSON-RPC node that loses some of what passes.
pub(crate) struct Lossy {
    address: SocketAddr,
    /// Signed transactions that came by.
    seen: Arc<AtomicU32>,
}

impl Lossy {
    fn start(node: SocketAddr, loses: Loses) -> Self {
        Self::start_after(node, loses, 0)
    }

    /// So many signed transactions pass before anything is lost.
    pub(crate) fn start_after(node: SocketAddr, loses: Loses, passing: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Some((mut stream, body)) = stream.ok().and_then(request) else { continue };
                let gone = count.load(Ordering::SeqCst) > passing;
                let is_transaction = String::from_utf8_lossy(&body).contains("eth_sendRawTransaction");
                // What is lost ends with a closed connection.
                if is_transaction && count.load(Ordering::SeqCst) >= passing {
                    if loses == Loses::Answers && !gone {
                        http::post(node, &body);
                    }
                    count.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                count.fetch_add(u32::from(is_transaction), Ordering::SeqCst);
                if loses == Loses::Answers && gone {
                    continue;
                }
                let Some((_, answer)) = http::post(node, &body) else { continue };
                let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length:";
                let _ = stream.write_all(format!("{head} {}\r\n\r\n", answer.len()).as_bytes());
                let _ = stream.write_all(&answer);
            }
        });
        Self { address, seen }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Until so many signed transactions came by.
    pub(crate) fn wait_for(&self, count: u32) {
        wait_until("a transaction came by", || (self.seen.load(Ordering::SeqCst) >= count).then_some(()));
    }
}

/// Reads one request; its body.
fn request(mut stream: TcpStream) -> Option<(TcpStream, Vec<u8>)> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let (mut bytes, mut chunk) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let count = stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&chunk[..count]);
        let Some(split) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..split]).to_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length:"))?.trim().parse::<usize>().ok()?;
        if bytes.len() >= split + 4 + length {
            return Some((stream, bytes.split_off(split + 4)));
        }
    }
}

/// Kills a customer whose order's transaction met the lossy node; the hash of the stored transaction.
fn killed_while_ordering(network: &Network, loses: Loses, out: &Path) -> String {
    let lossy = Lossy::start(network.rpc[0], loses);
    let mut customer = Customer::start(network, &mut run_through(network, &lossy.url(), SMALL, out));
    lossy.wait_for(1);
    customer.kill();
    let state = json_file(&out.join("order.json"));
    assert!(state["attempt"]["order"].is_null());
    state["attempt"]["hash"].as_str().unwrap().to_owned()
}

#[test]
fn a_stored_order_is_placed_once_whether_its_transaction_was_sent_lost_or_overtaken() {
    let network = Network::start(1);
    let _provider = Provider::start(&network, &network.directory.join("provider"));
    let since = network.head(0).unwrap();
    let before = balance(&network, account(2));
    let succeeded = |hash: &str| network.call(0, "eth_getTransactionReceipt", json!([hash]))["status"] == "0x1";

    // Stored, and lost before any node had it: the very same transaction is sent.
    let lost = network.directory.join("lost");
    let hash = killed_while_ordering(&network, Loses::Transactions, &lost);
    assert_eq!((orders(&network), nonce(&network, 2)), (0, 0));
    ends(&mut run(&network, SMALL, &lost), 0);
    assert!(succeeded(&hash) && orders(&network) == 1);

    // Sent, and killed before the answer.
    let sent = network.directory.join("sent");
    let hash = killed_while_ordering(&network, Loses::Answers, &sent);
    let said = ends(&mut run(&network, SMALL, &sent), 0);
    assert!(said.contains("Order 2 placed"), "{said}");
    assert!(succeeded(&hash) && orders(&network) == 2);

    // Stored, and another transaction of the account took its nonce.
    let overtaken = network.directory.join("overtaken");
    let hash = killed_while_ordering(&network, Loses::Transactions, &overtaken);
    send(&network, 2, account(2), &[]);
    let said = ends(&mut run(&network, SMALL, &overtaken), 0);
    assert!(said.contains("has its nonce") && said.contains("Placing a new one"), "{said}");
    assert!(network.call(0, "eth_getTransactionReceipt", json!([hash])).is_null());
    assert_eq!(orders(&network), 3);

    let escrow: u128 = [lost, sent, overtaken].iter().map(|out| assert_finished(&network, out)).sum();
    assert_eq!(before - balance(&network, account(2)), escrow + fees(&network, account(2), since));
}

/// Sends a call from a test account and waits until it is in a block, where it succeeds.
pub(crate) fn send(network: &Network, from: usize, to: &str, input: &[u8]) {
    let phrase = "test test test test test test test test test test test junk";
    let account = MnemonicBuilder::<English>::default().phrase(phrase).index(u32::try_from(from).unwrap()).unwrap();
    let signer: PrivateKeySigner = account.build().unwrap();
    let transaction = TxEip1559 {
        chain_id: number(&network.call(0, "eth_chainId", json!([]))),
        nonce: nonce(network, from),
        gas_limit: 2_000_000,
        max_fee_per_gas: 2 * wei(&network.call(0, "eth_gasPrice", json!([]))),
        to: TxKind::Call(to.parse().unwrap()),
        input: Bytes::copy_from_slice(input),
        ..TxEip1559::default()
    };
    let signature = signer.sign_hash_sync(&transaction.signature_hash()).unwrap();
    let raw = Bytes::from(TxEnvelope::Eip1559(transaction.into_signed(signature)).encoded_2718());
    let hash = network.call(0, "eth_sendRawTransaction", json!([raw]));
    let status = wait_until("the receipt", || {
        let receipt = network.call(0, "eth_getTransactionReceipt", json!([hash]));
        receipt["status"].as_str().map(str::to_owned)
    });
    assert_eq!(status, "0x1");
}

#[test]
fn a_job_passes_from_a_provider_that_is_gone_and_one_that_declines_to_one_that_works_slow() {
    let network = Network::start(1);
    let start = |name: &str, account| Provider::start_as(&network, &network.directory.join(name), account, &[]);
    let (gone, unwilling) = (start("gone", 1), start("unwilling", 3));
    let reach = ["--reach-seconds", "2"];

    // The last one, or named: it ends as it did, with the reason.
    let since = network.head(0).unwrap();
    let before = balance(&network, account(2));
    let out = network.directory.join("one");
    let last = [&reach[..], &["--attempts", "1"]].concat();
    let (code, said) = stopped_after_the_plan(&network, &out, &last, &[&gone, &unwilling]).end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Order 1 is cancelled") && !said.contains("another provider"), "{said}");
    let out = network.directory.join("nobody");
    let said = ends(run(&network, SMALL, &out).args(reach).args(["--provider", account(1)]), 1);
    assert!(said.contains("Order 2 is cancelled: the provider could not be reached for 2.0 s"), "{said}");
    assert!(!said.contains("another provider"), "{said}");
    // Nobody answers, so nothing is ordered.
    let said = ends(run(&network, SMALL, &network.directory.join("silent")).args(reach), 1);
    assert!(said.contains("silent: 2 providers left out") && orders(&network) == 2, "{said}");
    assert_eq!(before - balance(&network, account(2)), fees(&network, account(2), since), "all of it came back");

    [&gone, &unwilling].iter().for_each(|provider| provider.signal("CONT"));
    let mut working = start("working", 5);
    let (since, before) = (network.head(0).unwrap(), balance(&network, account(2)));
    let out = network.directory.join("result");
    // Time for the second one's refusal to be in a block.
    let mut customer = stopped_after_the_plan(&network, &out, &["--reach-seconds", "20"], &[&gone, &unwilling]);
    customer.wait_for("Order 4 placed");
    let decline = Market::declineCall { orderId: U256::from(4) };
    send(&network, 3, MARKET, &decline.abi_encode());
    let (code, said) = customer.end();
    assert_eq!(code, Some(0), "{said}");
    working.wait_for("order paid");
    let escrow = assert_finished(&network, &out);
    assert_eq!(before - balance(&network, account(2)), escrow + fees(&network, account(2), since));
    let job = json_file(&out.join("job.json"));
    assert!(job["provider"].as_str().unwrap().eq_ignore_ascii_case(account(5)));
    let failed: Vec<_> = job["failed"].as_array().unwrap().iter().map(|failed| failed["status"].clone()).collect();
    assert_eq!(failed, ["cancelled", "declined"], "{job}");
    assert_eq!(balance(&network, MARKET), 0);
}

#[test]
fn when_nobody_is_left_the_list_says_who_was_tried_and_why_each_failed() {
    let network = Network::start(1);
    let providers = [1, 3]
        .map(|number| Provider::start_as(&network, &network.directory.join(format!("provider-{number}")), number, &[]));
    let (since, before) = (network.head(0).unwrap(), balance(&network, account(2)));
    let out = network.directory.join("result");
    let stop: Vec<&Provider> = providers.iter().collect();
    let (code, said) = stopped_after_the_plan(&network, &out, &["--reach-seconds", "1"], &stop).end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("No further provider: no other provider takes orders"), "{said}");
    for (number, order) in [(1, 1), (3, 2)] {
        assert!(said.contains(&format!("{}: order {order} is cancelled: ", account(number))), "{said}");
    }
    assert_eq!(before - balance(&network, account(2)), fees(&network, account(2), since));
    assert_eq!(balance(&network, MARKET), 0);
    assert_eq!(json_file(&out.join("job.json"))["failed"].as_array().unwrap().len(), 1);
    assert!(!out.join("order.json").exists() && !out.join("alignments.tsv").exists());
}

#[test]
fn a_provider_that_comes_late_is_not_paid_and_takes_the_next_order_slow() {
    let network = Network::start(1);
    let mut provider = Provider::start(&network, &network.directory.join("provider"));
    let since = network.head(0).unwrap();
    let before = [balance(&network, account(2)), balance(&network, account(1))];
    let out = network.directory.join("late");
    let mut customer = Customer::start(&network, run(&network, LARGE, &out).args(["--deliver-seconds", "24"]));
    customer.wait_for("units finished");
    provider.signal("STOP");
    let (code, said) = customer.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("Order 1 is expired") && said.contains("refunded"), "{said}");
    provider.signal("CONT");
    provider.wait_for("order closed without payment");
    assert_eq!(before[0] - balance(&network, account(2)), fees(&network, account(2), since));
    assert_eq!(before[1] - balance(&network, account(1)), fees(&network, account(1), since));
    ends(&mut run(&network, SMALL, &network.directory.join("next")), 0);
    provider.wait_for("order paid");
    assert_finished(&network, &network.directory.join("next"));
    assert_eq!(balance(&network, MARKET), 0);
}

#[test]
fn a_customer_whose_disk_is_full_pays_nothing_until_the_result_is_on_the_disk_slow() {
    let network = Network::start(1);
    let _provider = Provider::start(&network, &network.directory.join("provider"));
    let since = network.head(0).unwrap();
    let before = balance(&network, account(2));
    let out = network.directory.join("result");
    let said =
        ends(with_full_disk(64).args(arguments(&network, &network.url(0), MEDIUM, &out)).stdin(Stdio::null()), 3);
    assert!(said.contains("alignments.tsv") && said.contains("File too large"), "{said}");
    assert!(said.contains("run the same command again"), "{said}");
    let unpaid = balance(&network, MARKET);
    let said = ends(&mut run(&network, MEDIUM, &out), 0);
    assert!(said.contains("Order 1 of this folder is still under way"), "{said}");
    let escrow = assert_finished(&network, &out);
    assert_eq!(unpaid, escrow, "the escrow was still held");
    assert_eq!(orders(&network), 1);
    assert_eq!(before - balance(&network, account(2)), escrow + fees(&network, account(2), since));
    assert_equal_to_an_undisturbed_run(&network, MEDIUM, &out);
}

#[test]
fn a_provider_whose_disk_is_full_gives_the_order_up_and_another_one_does_the_job_slow() {
    let network = Network::start(1);
    let mut full = Provider::start_with_full_disk(&network, &network.directory.join("full"), 1, 8);
    let (since, before) = (network.head(0).unwrap(), balance(&network, account(2)));
    let out = network.directory.join("alone");
    let said = ends(&mut run(&network, MEDIUM, &out), 1);
    assert!(said.contains("Order 1 is") && said.contains("refunded"), "{said}");
    assert_eq!(before - balance(&network, account(2)), fees(&network, account(2), since));
    let mut roomy = Provider::start_as(&network, &network.directory.join("roomy"), 3, &[]);
    let out = network.directory.join("result");
    let said = ends(&mut run(&network, MEDIUM, &out), 0);
    assert!(said.contains("ordering from another provider"), "{said}");
    roomy.wait_for("order paid");
    let escrow = assert_finished(&network, &out);
    assert_eq!(before - balance(&network, account(2)), escrow + fees(&network, account(2), since));
    assert_eq!(balance(&network, MARKET), 0);
    wait_until("it has closed both orders", || {
        (full.text().matches("order closed without payment").count() == 2).then_some(())
    });
    assert!(full.text().contains("look at the free space"), "{}", full.text());
    assert_eq!(full.interrupt(), Some(0));
}
