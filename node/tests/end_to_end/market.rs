//! Jobs on a live network, with a provider and a customer as processes of their own: who pays whom, to the wei.

use crate::network::{KEYSTEAD, Network, number, wait_until};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

/// Test account 1, the provider.
const PROVIDER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
/// Test account 2, the customer.
const CUSTOMER: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";
const MARKET: &str = "0x4b53540000000000000000000000000000000002";
/// Wei a unit.
const PRICE: u128 = 1_000_000_007;

/// A `keystead provide` that is killed with the test.
struct Provider {
    child: Child,
    log: PathBuf,
}

impl Provider {
    /// Starts with test account 1 in `folder`, which keeps its state, and waits until it takes orders.
    fn start(network: &Network, folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        let log = folder.join("log.txt");
        let file = File::create(&log).unwrap();
        let child = Command::new(KEYSTEAD)
            .args(["provide", "--dev-account", "1", "--price", &PRICE.to_string(), "--rpc", &network.url(0), "--dir"])
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let mut provider = Self { child, log };
        provider.wait_for("Stop with Ctrl-C");
        provider
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn wait_for(&mut self, words: &str) {
        let found = wait_until(words, || {
            let ended = self.child.try_wait().unwrap();
            (ended.is_some() || self.text().contains(words)).then_some(ended.is_none())
        });
        assert!(found || self.text().contains(words), "{}", self.text());
    }

    fn workers(&self) -> Vec<u32> {
        children(self.child.id())
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// As Ctrl-C does.
    fn interrupt(&mut self) -> Option<i32> {
        assert!(Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap().success());
        wait_until("the provider ends", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("-- log of the provider\n{}", self.text());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processes whose parent this is.
fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    processes.filter(|pid: &u32| parent_of(*pid) == Some(parent)).collect()
}

/// The second field after the name, which may itself hold spaces and parentheses.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Proteins from a fixed generator; the first one of each file is the same.
fn fasta(path: &Path, count: u64, residues: u64) {
    let mut state = 1_u64;
    let mut text = String::new();
    for index in 0..count {
        text.push_str(&format!(">s{index}\n"));
        for _ in 0..residues {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push(char::from(b"ACDEFGHIKLMNPQRSTVWY"[(state >> 33) as usize % 20]));
        }
        text.push('\n');
    }
    fs::write(path, text).unwrap();
}

/// `keystead run align` with test account 2.
fn order(network: &Network, size: (u64, u64), out: &Path) -> Command {
    let (queries, targets) = (network.directory.join("queries.faa"), network.directory.join("targets.faa"));
    fasta(&queries, size.0, 300);
    fasta(&targets, size.1, 300);
    let mut command = Command::new(KEYSTEAD);
    command
        .args(["run", "align", "--dev-account", "2", "--set", "cells-per-unit=1000000", "--rpc", &network.url(0)])
        .arg(format!("--input=queries={}", queries.display()))
        .arg(format!("--input=targets={}", targets.display()))
        .arg("--out")
        .arg(out)
        .stdin(Stdio::null());
    command
}

/// Small: some 20 units, under a second. Large: over 1,000 units, several seconds on a fast machine.
const SMALL: (u64, u64) = (10, 20);
const LARGE: (u64, u64) = (60, 200);

fn wei(value: &Value) -> u128 {
    u128::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

fn balance(network: &Network, account: &str) -> u128 {
    wei(&network.call(0, "eth_getBalance", json!([account, "latest"])))
}

/// What an account paid for gas in the blocks after `since`.
fn fees(network: &Network, account: &str, since: u64) -> u128 {
    let head = network.head(0).unwrap();
    let mut sum = 0;
    for height in since + 1..=head {
        let receipts = network.call(0, "eth_getBlockReceipts", json!([format!("{height:#x}")]));
        for receipt in receipts.as_array().unwrap() {
            if receipt["from"].as_str().unwrap().eq_ignore_ascii_case(account) {
                sum += wei(&receipt["gasUsed"]) * wei(&receipt["effectiveGasPrice"]);
            }
        }
    }
    sum
}

fn verify(network: &Network, out: &Path) -> Output {
    let certificate = out.join("certificate.json");
    Command::new(KEYSTEAD)
        .arg("verify")
        .arg(certificate)
        .args(["--network-key", &network.network_key()])
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn job(out: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(out.join("job.json")).unwrap()).unwrap()
}

/// Starts an order in the background, and waits until the provider is in the middle of the units.
fn in_the_middle(network: &Network, out: &Path, more: &[&str]) -> (Child, PathBuf) {
    let log = network.directory.join("customer.txt");
    let file = File::create(&log).unwrap();
    let child = order(network, LARGE, out).args(more).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
    wait_until("some units are finished", || {
        fs::read_to_string(&log).unwrap_or_default().contains("units finished").then_some(())
    });
    (child, log)
}

#[test]
fn a_job_is_run_checked_and_paid_to_the_wei_and_its_certificate_is_proved_offline() {
    let network = Network::start(4);
    let mut provider = Provider::start(&network, &network.directory.join("provider"));
    let since = network.head(0).unwrap();
    let before = [balance(&network, CUSTOMER), balance(&network, PROVIDER)];
    let out = network.directory.join("result");
    let output = order(&network, SMALL, &out).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    provider.wait_for("order paid");

    let job = job(&out);
    assert_eq!(job["status"], "accepted");
    let escrow = PRICE * u128::from(job["spec"]["unitCount"].as_u64().unwrap());
    assert_eq!(job["escrowWei"], escrow.to_string());
    assert_eq!(before[0] - balance(&network, CUSTOMER), escrow + fees(&network, CUSTOMER, since));
    assert_eq!(balance(&network, PROVIDER), before[1] + escrow - fees(&network, PROVIDER, since));
    assert_eq!(balance(&network, MARKET), 0, "every wei left the market");

    let proved = verify(&network, &out);
    assert_eq!(proved.status.code(), Some(0), "{}", text(&proved));
    assert!(text(&proved).contains("order 1 of the market is accepted"), "{}", text(&proved));
    // The files begin with the same protein, which aligns with itself over its whole length.
    let table = fs::read_to_string(out.join("alignments.tsv")).unwrap();
    assert!(table.lines().any(|line| line.starts_with("s0\ts0\t") && line.contains("300=")), "{table}");
    assert_eq!(provider.interrupt(), Some(0));
    assert!(provider.text().contains("No order is open"), "{}", provider.text());
}

#[test]
fn a_provider_killed_in_the_middle_is_not_paid_leaves_no_worker_and_costs_the_customer_only_its_fees() {
    let network = Network::start(4);
    let mut provider = Provider::start(&network, &network.directory.join("provider"));
    let since = network.head(0).unwrap();
    let before = balance(&network, CUSTOMER);
    let out = network.directory.join("result");
    let (mut customer, log) = in_the_middle(&network, &out, &["--deliver-seconds", "6"]);
    let workers = provider.workers();
    assert_eq!(workers.len(), 1, "one job, one worker");
    provider.kill();
    wait_until("the worker ends with its provider", || {
        workers.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    });
    let status = wait_until("the customer ends", || customer.try_wait().unwrap());
    let said = fs::read_to_string(log).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("is expired") && said.contains("refunded"), "{said}");
    assert_eq!(before - balance(&network, CUSTOMER), fees(&network, CUSTOMER, since));
    assert_eq!(balance(&network, MARKET), 0);
    let proved = verify(&network, &out);
    assert!(proved.status.success() && text(&proved).contains("is expired"), "{}", text(&proved));
    // Started again, it finds the order closed, forgets it, and is paid nothing.
    let mut again = Provider::start(&network, &network.directory.join("provider"));
    again.wait_for("order closed without payment");
    assert_eq!(balance(&network, MARKET), 0);
}

#[test]
fn a_provider_stopped_and_started_again_finishes_what_it_began() {
    let network = Network::start(4);
    let folder = network.directory.join("provider");
    let mut provider = Provider::start(&network, &folder);
    let out = network.directory.join("result");
    let (mut customer, log) = in_the_middle(&network, &out, &[]);
    assert_eq!(provider.interrupt(), Some(0), "{}", provider.text());
    assert!(provider.text().contains("order 1: Leased"), "{}", provider.text());
    let mut again = Provider::start(&network, &folder);
    assert!(again.text().contains("order taken up again"), "{}", again.text());
    let status = wait_until("the customer ends", || customer.try_wait().unwrap());
    assert_eq!(status.code(), Some(0), "{}", fs::read_to_string(log).unwrap());
    again.wait_for("order paid");
    assert_eq!(job(&out)["status"], "accepted");
    assert_eq!(balance(&network, MARKET), 0);
}

#[test]
fn what_a_customer_can_do_wrong_is_said_before_any_money_moves() {
    let network = Network::start(4);
    let fails = |command: &mut Command, words: &[&str]| {
        let output = command.output().unwrap();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        words.iter().for_each(|word| assert!(said.contains(word), "no {word:?} in: {said}"));
    };
    let out = network.directory.join("result");
    let run = |size| order(&network, size, &out);
    fails(&mut run(SMALL), &["no provider takes orders", "keystead provide"]);
    let _provider = Provider::start(&network, &network.directory.join("provider"));
    let before = balance(&network, CUSTOMER);
    fails(run(SMALL).args(["--max-price", "1"]), &["above --max-price"]);
    fails(run(SMALL).args(["--provider", CUSTOMER]), &["not registered"]);
    fails(run(SMALL).args(["--chain-id", "1"]), &["chain 1"]);
    let mut unknown = Command::new(KEYSTEAD);
    fails(unknown.args(["run", "no-such", "--dev-account", "2"]), &["align", "value-at-risk"]);
    let mut missing = Command::new(KEYSTEAD);
    fails(missing.args(["run", "align", "--dev-account", "2"]), &["--input queries=FILE"]);
    let file = network.directory.join("queries.faa");
    let with = |rpc: &str, wallet: &[&str]| {
        let mut command = Command::new(KEYSTEAD);
        command.args(["run", "align", "--rpc", rpc]).args(wallet).arg("--out").arg(&out);
        command.args(["queries", "targets"].map(|name| format!("--input={name}={}", file.display())));
        command
    };
    fails(&mut with("http://127.0.0.1:1", &["--dev-account", "2"]), &["cannot reach"]);
    let wallet = network.directory.join("wallet");
    fails(&mut with(&network.url(0), &["--dir", wallet.to_str().unwrap()]), &["insufficient funds", "0x", "KST"]);
    fails(&mut with(&network.url(0), &[]), &["--dir DIR", "--dev-account N"]);
    fs::create_dir_all(&out).unwrap();
    fs::write(out.join("precious.txt"), "x").unwrap();
    fails(&mut run(SMALL), &["not empty"]);
    assert_eq!(balance(&network, CUSTOMER), before);
    assert_eq!(number(&network.call(0, "eth_getTransactionCount", json!([CUSTOMER, "latest"]))), 0);
}

/// The wrong provider is a right one whose state was altered: each finished unit has its neighbour's output.
#[test]
fn a_provider_that_delivers_wrong_outputs_is_rejected_and_the_refund_is_exact() {
    let network = Network::start(4);
    let folder = network.directory.join("provider");
    let mut provider = Provider::start(&network, &folder);
    let since = network.head(0).unwrap();
    let before = [balance(&network, CUSTOMER), balance(&network, PROVIDER)];
    let out = network.directory.join("result");
    let (mut customer, log) = in_the_middle(&network, &out, &["--sample-rate", "100"]);
    assert_eq!(provider.interrupt(), Some(0), "{}", provider.text());
    let path = folder.join("orders").join("1.json");
    let mut state: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let outputs = state["outputs"].as_array_mut().unwrap();
    let finished = outputs.iter().take_while(|output| !output.is_null()).count();
    assert!(finished > 1 && finished < outputs.len(), "{finished} of {}", outputs.len());
    outputs[..finished].rotate_left(1);
    fs::write(&path, state.to_string()).unwrap();

    let mut again = Provider::start(&network, &folder);
    let status = wait_until("the customer ends", || customer.try_wait().unwrap());
    let said = fs::read_to_string(log).unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("is rejected") && said.contains("refunded"), "{said}");
    assert_eq!(job(&out)["check"]["verdict"], "rejected");
    again.wait_for("order closed without payment");
    assert_eq!(before[0] - balance(&network, CUSTOMER), fees(&network, CUSTOMER, since));
    assert_eq!(before[1] - balance(&network, PROVIDER), fees(&network, PROVIDER, since));
    assert_eq!(balance(&network, MARKET), 0);
    assert!(!out.join("alignments.tsv").exists(), "a wrong result is not kept as if it were one");
    let proved = verify(&network, &out);
    assert!(proved.status.success() && text(&proved).contains("is rejected"), "{}", text(&proved));
}
