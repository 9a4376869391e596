//! Canaries at a rate: a process counts the checks of everybody and orders a canary by itself, once, also if it, and what it started, is killed or interrupted.

use crate::{
    audited::{Customer, stored, window_of},
    audits::{bonded, wait_long},
    canary::{JOB, LAZY, LAZY_SEATS, SEAT, Scene, TIMES, Told, had, keystead, order},
    convicted::CUSTOMER,
    network::KEYSTEAD,
    parties::{account, balance, fees, statement, text},
};
use keystead_contracts::limits::PANEL_FEES;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// KST, in wei: more than an order with its canary costs.
const ENOUGH: &str = "100000000000000000000";
/// What the command says by its exit code.
const UNDER_WAY: i32 = 3;
const SPENT: i32 = 4;

struct Keep<'a> {
    scene: &'a Scene,
    dir: PathBuf,
    jobs: PathBuf,
}

impl<'a> Keep<'a> {
    fn new(scene: &'a Scene) -> Self {
        let folder = &scene.network.directory;
        let (dir, jobs) = (folder.join("keep"), folder.join("jobs"));
        let audit = ["--audit", "--audit-rate", "100", "--checkers", "3", "--provider", account(1)];
        let words = [&JOB[..], &audit, &TIMES, &["--sample", "1", "--sample-rate", "0"]].concat();
        fs::write(&jobs, format!("# what this account orders\n{}\n", words.join(" "))).unwrap();
        Self { scene, dir, jobs }
    }

    /// Every check wants a canary, at once.
    fn command(&self, max_total: &str) -> Command {
        let mut command = Command::new(KEYSTEAD);
        command.args([
            "canary",
            "keep",
            "--once",
            "--rate",
            "100",
            "--spread-seconds",
            "0",
            "--canary",
            &self.scene.file,
        ]);
        command.arg("--jobs").arg(&self.jobs).arg("--dir").arg(&self.dir);
        command.args(["--max-total", max_total, "--dev-account", &CUSTOMER.to_string(), "--rpc"]);
        command.arg(self.scene.network.url(0)).stdin(Stdio::null());
        command
    }

    fn start(&self) -> Customer {
        Customer::spawn(&self.scene.network, &self.dir, self.command(ENOUGH))
    }

    fn ends(&self, max_total: &str) -> (Option<i32>, String) {
        let output = self.command(max_total).output().unwrap();
        (output.status.code(), text(&output))
    }

    fn out(&self) -> PathBuf {
        self.dir.join("orders/1")
    }

    /// The processes that run its order.
    fn processes(&self) -> Vec<String> {
        let out = format!("--out={}", self.out().display());
        let is_order = |process: &PathBuf| {
            let line = fs::read(process.join("cmdline")).unwrap_or_default();
            let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            words.get(1) == Some(&&b"run"[..]) && words.contains(&out.as_bytes())
        };
        let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()).filter(is_order);
        processes.map(|process| process.file_name().unwrap().display().to_string()).collect()
    }

    /// SIGKILL for the process that outlived what started it.
    fn kill_order(&self) {
        let processes = self.processes();
        assert_eq!(processes.len(), 1, "{processes:?}");
        assert!(Command::new("kill").args(["-KILL", &processes[0]]).status().unwrap().success());
    }

    fn state(&self) -> Value {
        serde_json::from_slice(&fs::read(self.dir.join("keep.json")).unwrap()).unwrap()
    }

    fn spent_wei(&self) -> u128 {
        let spent = self.state()["spentWei"].as_str().unwrap().to_owned();
        u128::from_str_radix(spent.strip_prefix("0x").unwrap(), 16).unwrap()
    }

    /// How often the account has put money into an order.
    fn escrows(&self) -> usize {
        let statement = statement(&self.scene.network, account(CUSTOMER));
        statement["lines"].as_array().unwrap().iter().filter(|line| line["kind"] == "escrow").count()
    }
}

#[test]
fn checks_of_others_make_a_canary_due_and_who_keeps_them_orders_one_also_if_it_is_killed_slow() {
    let scene = Scene::new();
    let network = &scene.network;
    let keep = Keep::new(&scene);
    what_cannot_be_kept_is_said(&keep);
    let (code, said) = keep.ends(ENOUGH);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        (&keep.state()["checks"], &keep.state()["orders"]),
        (&0.into(), &0.into()),
        "nothing was checked: {said}"
    );

    let out = network.directory.join("ordinary");
    let ordered = order(network, &out, &["--audit", "--audit-rate", "100", "--provider", account(1)]).output().unwrap();
    assert_eq!(ordered.status.code(), Some(0), "{}\n{}", text(&ordered), scene.logs());
    scene.is_settled();

    let since = network.head(0).unwrap();
    let before = had(network, since);
    let mut first = keep.start();
    wait_long("its order is placed", || {
        assert!(!first.has_ended(), "{}\n{}", first.text(), scene.logs());
        stored(&keep.out(), "/attempt/order").then_some(())
    });
    first.kill();
    // What it has begun lives on, and is waited for; when that is dead, too, the same order goes on.
    let mut second = keep.start();
    second.wait_for("waiting for it");
    keep.kill_order();
    second.wait_for("is still under way: going on with it");
    wait_long("what it goes on with is checked", || {
        assert!(!second.has_ended(), "{}\n{}", second.text(), scene.logs());
        stored(&keep.out(), "/attempt/checked").then_some(())
    });
    // Ctrl-C is passed on, each time: the second leaves the order to the next process.
    second.interrupt();
    second.wait_for("Stopping. Ctrl-C again leaves at once");
    second.interrupt();
    let (code, said) = second.end();
    assert_eq!(code, Some(UNDER_WAY), "{said}\n{}", scene.logs());
    assert_eq!((keep.processes(), &keep.state()["underWay"]["number"]), (vec![], &1.into()), "{said}");
    let (code, said) = keep.start().end();
    assert_eq!(code, Some(0), "{said}\n{}", scene.logs());
    assert!(said.contains("Canary 1 is over: order 2 is audited"), "{said}");
    let state = keep.state();
    assert_eq!(
        (&state["orders"], &state["failed"], &state["underWay"]),
        (&1.into(), &0.into(), &Value::Null),
        "{state}"
    );
    assert!(state["checks"].as_u64().unwrap() >= 1, "{state}");
    assert_eq!(keep.escrows(), 2, "one of its own, and one order: {said}");

    let told = Told::read(&scene, 2, &said);
    told.is_paid(&scene, (&before, since), &said);
    let seats = LAZY_SEATS - u32::from(told.is_lazy_drawn());
    assert_eq!(bonded(network, LAZY).seatedWei, u128::from(seats) * SEAT, "{said}\n{}", scene.logs());

    // What it cost is known, but for a bond that came back.
    let gas = fees(network, account(CUSTOMER), since);
    let spent = before[CUSTOMER] - balance(network, account(CUSTOMER)) - gas;
    let bond = u128::from(PANEL_FEES) * window_of(network, told.window).feeWei;
    assert!((spent..=spent + bond).contains(&keep.spent_wei()), "{} of {spent} and {bond}: {said}", keep.spent_wei());

    // Its own checks want more of them; a wei buys none.
    let (code, said) = keep.ends(&(keep.spent_wei() + 1).to_string());
    assert_eq!(code, Some(SPENT), "{said}");
    assert!(said.contains("What is left of --max-total is not enough"), "{said}");
    assert_eq!((keep.escrows(), &keep.state()["underWay"]), (2, &Value::Null), "{said}");

    // Whoever lost what its orders cost does not begin anew beside them.
    fs::remove_file(keep.dir.join("keep.json")).unwrap();
    let (code, said) = keep.ends(ENOUGH);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("what they cost is gone") && !keep.dir.join("keep.json").exists(), "{said}");
    assert_eq!(keep.escrows(), 2, "{said}");
}

/// Before anything is ordered, or even counted.
fn what_cannot_be_kept_is_said(keep: &Keep<'_>) {
    let fails = |jobs: &Path, file: &str, words: &str| {
        let mut command = Command::new(KEYSTEAD);
        command.args(["canary", "keep", "--once", "--max-total", ENOUGH, "--canary", file, "--jobs"]).arg(jobs);
        command.arg("--dir").arg(&keep.dir).args(["--dev-account", &CUSTOMER.to_string(), "--rpc"]);
        let output = command.arg(keep.scene.network.url(0)).stdin(Stdio::null()).output().unwrap();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(words) && !keep.dir.join("keep.json").exists(), "no {words:?} in: {said}");
    };
    let folder = &keep.scene.network.directory;
    let unaudited = folder.join("unaudited");
    fs::write(&unaudited, format!("# first\nmatmul --provider {}\n", account(1))).unwrap();
    fails(&unaudited, &keep.scene.file, "line 2");
    fails(&keep.jobs, "/nowhere/canary.json", "keystead canary new");
    let others = folder.join("others.json");
    let others = others.to_str().unwrap();
    let (code, said) = keystead(&["canary", "new", "--customer", account(LAZY), "--out", others]);
    assert_eq!(code, Some(0), "{said}");
    fails(&keep.jobs, others, "is for orders of");
}
