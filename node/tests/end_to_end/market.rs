//! Jobs on a live network, with a provider and a customer as processes of their own: who pays whom, to the wei.

use crate::{
    network::{KEYSTEAD, Network, number, wait_until},
    parties::{MARKET, PRICE, Provider, account, balance, compared, fasta, fees, statement, text, verify},
};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// `keystead run align` with test account 2.
pub(crate) fn order(network: &Network, size: (u64, u64), out: &Path) -> Command {
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
pub(crate) const SMALL: (u64, u64) = (10, 20);
const LARGE: (u64, u64) = (60, 200);

pub(crate) fn job(out: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(out.join("job.json")).unwrap()).unwrap()
}

/// Starts an order in the background, and waits until the provider is in the middle of the units.
pub(crate) fn in_the_middle(network: &Network, out: &Path, more: &[&str]) -> (Child, PathBuf) {
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
    let before = [balance(&network, account(2)), balance(&network, account(1))];
    let out = network.directory.join("result");
    let record = network.directory.join("events.jsonl");
    let output = order(&network, SMALL, &out).args(["--keep-outputs", "-v", "--events"]).arg(&record).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    provider.wait_for("order paid");
    assert_noted_live(&record, &out, &text(&output));
    // What the chain counts about the customer stands beside its order.
    provider.wait_for("0 rejected, 0 inputs withheld from checkers");

    let job = job(&out);
    assert_eq!(job["status"], "accepted");
    let escrow = PRICE * u128::from(job["spec"]["unitCount"].as_u64().unwrap());
    assert_eq!(job["escrowWei"], escrow.to_string());
    assert_eq!(before[0] - balance(&network, account(2)), escrow + fees(&network, account(2), since));
    assert_eq!(balance(&network, account(1)), before[1] + escrow - fees(&network, account(1), since));
    assert_eq!(balance(&network, MARKET), 0, "every wei left the market");

    // Both parties' statements add up, and say what was paid.
    for (party, kind, amount) in [(1, "market-withdrawal", "inWei"), (2, "escrow", "outWei")] {
        let statement = statement(&network, account(party));
        assert_eq!((&statement["unexplainedInWei"], &statement["unexplainedOutWei"]), (&json!("0"), &json!("0")));
        let lines = statement["lines"].as_array().unwrap();
        let line = lines.iter().find(|line| line["kind"] == kind).unwrap();
        assert_eq!(line[amount], escrow.to_string(), "{line}");
        let fees = lines.iter().filter(|line| line["kind"] == "fee");
        let fees: u128 = fees.map(|line| line["outWei"].as_str().unwrap().parse::<u128>().unwrap()).sum();
        assert_eq!(fees, crate::parties::fees(&network, account(party), 0));
    }
    let proved = verify(&network, &out);
    assert_eq!(proved.status.code(), Some(0), "{}", text(&proved));
    assert!(text(&proved).contains("order 1 of the market is accepted"), "{}", text(&proved));
    // The files begin with the same protein, which aligns with itself over its whole length.
    let table = fs::read_to_string(out.join("alignments.tsv")).unwrap();
    assert!(table.lines().any(|line| line.starts_with("s0\ts0\t") && line.contains("300=")), "{table}");
    assert_eq!(provider.interrupt(), Some(0));
    assert!(provider.text().contains("No order is open"), "{}", provider.text());
    outputs_are_held_against_the_certificate(&network, &out, job["spec"]["unitCount"].as_u64().unwrap());
}

/// What the provider said of its side was heard while it worked: by a program, by a person who asked for all, and by the log.
fn assert_noted_live(record: &Path, out: &Path, said: &str) {
    let whole = fs::read_to_string(record).unwrap();
    let lines: Vec<Value> = whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let place = |event: &str, kind: Option<&str>| {
        let is_it = |line: &Value| line["event"] == event && kind.is_none_or(|kind| line["facts"]["kind"] == kind);
        lines.iter().position(is_it).unwrap_or_else(|| panic!("no {event} {kind:?} in: {whole}"))
    };
    let arrived = place("output-arrived", None);
    let log = fs::read_to_string(out.join("provider.log")).unwrap();
    let kinds = [("fetching", "fetches inputs"), ("fetched", "has the inputs"), ("prepared", "has the program ready")];
    for (kind, words) in kinds {
        let line = &lines[place("note", Some(kind))];
        assert!(place("note", Some(kind)) < arrived, "{kind} came late: {whole}");
        assert!(line["provider"].as_str().unwrap().eq_ignore_ascii_case(account(1)), "{line}");
        assert!(line["facts"]["order"] == "1" && line["facts"]["number"].is_u64(), "{line}");
        let says = format!("says: {words}");
        assert!(log.contains(&says) && said.contains(&says), "no {says:?} in: {log} {said}");
    }
}

/// Whoever has the folder is told whether the outputs in it are those of the order, whatever was done to them; no node is asked.
fn outputs_are_held_against_the_certificate(network: &Network, out: &Path, units: u64) {
    let pack = out.join("outputs.pack");
    let whole = fs::read(&pack).unwrap();
    let equal = format!("files: equal to what is proved: {units} of {units} outputs, in outputs.pack\n");
    let others = "note:  not compared, since a certificate names outputs and not what is made of them: alignments.tsv";
    compared(network, out, 0, &[&equal, others, "not compared: the inputs"]);

    let different = |equal: u64| {
        format!(
            "files: DIFFERENT from what is proved: {equal} of {units} outputs are known to be equal, in outputs.pack\n"
        )
    };
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&pack, flipped).unwrap();
    let another = "  at least one output is another, and an order's certificate does not tell which: got=0x";
    compared(network, out, 4, &[&different(0), another]);
    fs::write(&pack, &whole[..whole.len() - 1]).unwrap();
    let size = |got: usize| {
        format!("  outputs.pack has another size than it says: got_bytes={got} expected_bytes={}\n", whole.len())
    };
    let missing = " is missing, or not whole\n";
    compared(network, out, 4, &[&different(0), &size(whole.len() - 1), "  the output of unit ", missing]);
    fs::write(&pack, [whole.as_slice(), b"!"].concat()).unwrap();
    compared(network, out, 4, &[&different(units), &size(whole.len() + 1)]);
    fs::remove_file(&pack).unwrap();
    compared(network, out, 5, &["files: NOTHING TO COMPARE\n", "`keystead run --keep-outputs`", others]);
    std::os::unix::fs::symlink("/dev/zero", &pack).unwrap();
    compared(network, out, 3, &["error: ", "is no plain file: links, pipes and devices are not opened"]);
    fs::remove_file(&pack).unwrap();

    fs::write(&pack, &whole).unwrap();
    fs::write(out.join("stranger.txt"), "x").unwrap();
    compared(network, out, 0, &[&equal, &format!("{others}, stranger.txt\n")]);
}

#[test]
fn a_provider_killed_in_the_middle_is_not_paid_leaves_no_worker_and_costs_the_customer_only_its_fees() {
    let network = Network::start(1);
    let mut provider = Provider::start(&network, &network.directory.join("provider"));
    let since = network.head(0).unwrap();
    let before = balance(&network, account(2));
    let out = network.directory.join("result");
    let (mut customer, log) = in_the_middle(&network, &out, &["--deliver-seconds", "24"]);
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
    assert_eq!(before - balance(&network, account(2)), fees(&network, account(2), since));
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
    let network = Network::start(1);
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
    let network = Network::start(1);
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
    let before = balance(&network, account(2));
    fails(run(SMALL).args(["--max-price", "1"]), &["above --max-price"]);
    fails(run(SMALL).args(["--provider", account(2)]), &["not registered"]);
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
    assert_eq!(balance(&network, account(2)), before);
    assert_eq!(number(&network.call(0, "eth_getTransactionCount", json!([account(2), "latest"]))), 0);
}

/// The wrong provider is a right one whose state was altered: each finished unit has its neighbour's output.
#[test]
fn a_provider_that_delivers_wrong_outputs_is_rejected_and_the_refund_is_exact() {
    let network = Network::start(1);
    let folder = network.directory.join("provider");
    let mut provider = Provider::start(&network, &folder);
    let since = network.head(0).unwrap();
    let before = [balance(&network, account(2)), balance(&network, account(1))];
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
    assert_eq!(before[0] - balance(&network, account(2)), fees(&network, account(2), since));
    assert_eq!(before[1] - balance(&network, account(1)), fees(&network, account(1), since));
    assert_eq!(balance(&network, MARKET), 0);
    assert!(!out.join("alignments.tsv").exists(), "a wrong result is not kept as if it were one");
    let proved = verify(&network, &out);
    assert!(proved.status.success() && text(&proved).contains("is rejected"), "{}", text(&proved));
    // What others read about this customer from now on.
    let counts = json!({"orders": 1, "rejected": 1, "withheldInputs": 0});
    assert_eq!(statement(&network, account(2))["asCustomer"], counts);
}
