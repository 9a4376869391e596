//! What becomes of the price that a map said when whoever it was said of is gone, and others ask more.

use crate::{
    map::{CLOSELY, Job, claimed, same_files, wait_until},
    network::Network,
    parties::{PRICE, Provider, text},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
};

/// Many units, so that whoever begins is stopped before it is done.
fn long(network: &Network) -> Job {
    Job::align(network, 40, 50)
}

fn folder(network: &Network, number: usize) -> PathBuf {
    network.directory.join(format!("provider-{number}"))
}

/// Until the customer says this; what it said by then.
fn wait_for(words: &str, customer: &mut Child, log: &Path) -> String {
    wait_until(words, || {
        let said = fs::read_to_string(log).unwrap_or_default();
        let ended = customer.try_wait().unwrap();
        assert!(said.contains(words) || ended.is_none(), "{said}");
        said.contains(words).then_some(said)
    })
}

/// The only provider dies before it did anything, and the other one asks twice as much: nothing was promised, so the price is said anew.
#[test]
fn a_price_of_which_nothing_was_promised_is_said_anew_with_others_slow() {
    let network = Network::start(1);
    let mut cheap = Provider::start_at(&network, &folder(&network, 1), 1, PRICE / 2, &CLOSELY);
    let job = long(&network);
    let (mut customer, log) = job.spawn(&network, &["--providers", "1"]);
    wait_for("Price: at most ", &mut customer, &log);
    cheap.signal("STOP");
    let dear = Provider::start_as(&network, &folder(&network, 3), 3, &CLOSELY);
    cheap.kill();
    let ended = wait_until("the map ends", || customer.try_wait().unwrap());
    let said = fs::read_to_string(&log).unwrap();
    assert_eq!(ended.code(), Some(0), "{said}\n{}", dear.text());
    assert!(said.contains("it is said anew") && said.matches("Price: at most ").count() > 1, "{said}");
    same_files(&job.out, &job.reference());
    let summary = job.summary();
    let work = PRICE * u128::from(summary["spec"]["unitCount"].as_u64().unwrap());
    assert_eq!((&summary["said"]["workWei"], claimed(&summary, 3)), (&work.to_string().into(), work), "{summary}");
}

/// The only provider dies when some of its work is paid, and the other one asks more than what was said allows: the person reads what helps, and it does.
#[test]
fn a_map_that_only_dearer_ones_could_go_on_with_says_which_limit_helps_slow() {
    let network = Network::start(1);
    let mut cheap = Provider::start_at(&network, &folder(&network, 1), 1, PRICE / 2, &CLOSELY);
    let job = long(&network);
    let (mut customer, log) = job.spawn(&network, &["--providers", "1"]);
    job.wait_for_steps(1, &mut customer, &log);
    cheap.signal("STOP");
    let dear = Provider::start_as(&network, &folder(&network, 3), 3, &CLOSELY);
    cheap.kill();
    let said = wait_for("Nobody works now", &mut customer, &log);
    let helps = said.split("with --max-price ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let limit: u128 = helps.parse().unwrap();
    assert!(Command::new("kill").args(["-INT", &customer.id().to_string()]).status().unwrap().success());
    wait_until("the map stops", || customer.try_wait().unwrap());
    let output = job.map(&network, &["--providers", "1", "--max-price", helps]).output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}\n{}", dear.text());
    same_files(&job.out, &job.reference());
    let summary = job.summary();
    let promised: u128 = summary["promisedWei"].as_str().unwrap().parse().unwrap();
    assert_eq!((promised, &summary["said"]["maxPriceWei"]), (limit, &helps.into()), "exactly that: {summary}");
}
