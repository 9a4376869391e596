//! What watches for the owner is lost while a job runs: the work ends, goes on with a new watcher, and where none lasts the program ends and says so.

use crate::{
    disk_pulse::{DiskPulse, now_ms},
    market::{in_the_middle, job},
    network::{Network, wait_until},
    owner::{say, status},
    parties::{MARKET, Provider, balance, text},
};
use std::fs;

#[test]
fn without_a_watcher_the_work_ends_within_a_second_and_without_one_that_lasts_the_program_ends_slow() {
    let network = Network::alone(4);
    let folder = network.directory.join("provider");
    let mut provider = Provider::start_as(&network, &folder, 1, &["--compute", "always", "--fault-watcher"]);
    let out = network.directory.join("result");
    let (mut customer, log) = in_the_middle(&network, &out, &[]);
    assert_eq!(provider.workers().len(), 1);

    let machine = DiskPulse::start(&network.directory);
    let fault = folder.join("fault-watcher");
    fs::write(&fault, "").unwrap();
    let since = now_ms();
    wait_until("the worker is gone", || provider.workers().is_empty().then_some(()));
    let (until, stood_still) = (now_ms(), machine.end());
    let waited = stood_still.own(since, until);
    assert!(waited < 1_000, "it went on for {waited} ms, of {} ms in all", until - since);
    let why = wait_until("the state that says so", || {
        let said = status(&folder)["headline"].as_str().unwrap_or_default().to_owned();
        said.contains("nobody watches for the owner: the watcher ended unexpectedly; a new one starts").then_some(said)
    });
    assert!(why.starts_with("paused: "), "{why}");
    assert!(customer.try_wait().unwrap().is_none(), "the order waits");

    // A new watcher lasts, and the order is done and paid.
    fs::remove_file(&fault).unwrap();
    let ended = wait_until("the customer ends", || customer.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0), "{}", fs::read_to_string(log).unwrap());
    assert_eq!(job(&out)["status"], "accepted");
    provider.wait_for("order paid");
    assert_eq!(balance(&network, MARKET), 0);
    wait_until("the state that says so", || (status(&folder)["cpu"]["run"] == true).then_some(()));

    // None lasts: the pauses before new ones are 15.5 s in all.
    fs::write(&fault, "").unwrap();
    assert_eq!(provider.ended(), Some(1), "{}", provider.text());
    let words = provider.text();
    for part in ["nobody watches for the owner of this machine", "5 new ones did not last", "start the program again"] {
        assert!(words.contains(part), "no {part:?} in: {words}");
    }
    let output = say(&folder, &["--status"]);
    assert!(text(&output).contains("5 new ones did not last; the program ends"), "{}", text(&output));
}
