//! Jobs of every class that can be checked, ordered, run, checked and paid; and what happens to a provider that is wrong in one unit.

use crate::{
    market::job,
    network::{KEYSTEAD, Network, wait_until},
    parties::{MARKET, Provider, balance, compared, text},
};
use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

/// A recipe, small enough for a test, and the word with which the customer says what was checked.
struct Small {
    recipe: &'static str,
    set: &'static [&'static str],
    said: &'static str,
    segments: bool,
}

const EXACT: Small = Small {
    recipe: "sha256-search",
    set: &["nonces=65536", "nonces-per-unit=16384"],
    said: "run again here are equal",
    segments: false,
};
const SELF_CHECKING: Small = Small {
    recipe: "matmul",
    set: &["rows=256", "inner=256", "columns=256", "rows-per-unit=64"],
    said: "pass the job's own checker program",
    segments: false,
};
const TOLERANT: Small = Small {
    recipe: "nbody",
    set: &["members=4", "members-per-unit=1", "steps=6000"],
    said: "agree within the job's tolerance",
    segments: true,
};
const PICTURE: Small = Small {
    recipe: "render",
    set: &["width=64", "height=64", "samples=1024", "rows-per-unit=32"],
    said: "agree within the job's tolerance",
    segments: true,
};

fn run(network: &Network, small: &Small, out: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(KEYSTEAD);
    command.args(["run", small.recipe, "--dev-account", "2", "--rpc", &network.url(0), "--out"]).arg(out);
    command.args(small.set.iter().flat_map(|set| ["--set", set])).args(more);
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn jobs_of_every_class_are_checked_by_their_own_rule_and_paid() {
    let network = Network::beside(1);
    let provider = Provider::start(&network, &network.directory.join("provider"));
    for small in [EXACT, SELF_CHECKING, TOLERANT, PICTURE] {
        let out = network.directory.join(small.recipe);
        let output = run(&network, &small, &out, &["--keep-outputs"]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(0), "{said}\n{}", provider.text());
        assert!(said.contains(small.said), "{said}");
        let job = job(&out);
        assert_eq!((&job["status"], &job["check"]["verdict"]), (&"accepted".into(), &"accepted".into()), "{job}");
        assert_eq!(job["check"]["right"], job["check"]["sampled"]);
        assert_eq!(job["spec"]["segmentCount"].as_u64().unwrap() > 1, small.segments, "{}", job["spec"]);
        // Of several segments the lists of states are held against the certificate with the outputs.
        compared(&network, &out, 0, &[]);
    }
    wait_until("every wei leaves the market", || (balance(&network, MARKET) == 0).then_some(()));
}

#[test]
fn a_provider_that_is_wrong_in_one_unit_of_any_class_is_rejected() {
    let network = Network::beside(1);
    let folder = network.directory.join("provider");
    let provider = Provider::start_as(&network, &folder, 1, &["--fault-seed", "7"]);
    for small in [EXACT, SELF_CHECKING, TOLERANT, PICTURE] {
        let out = network.directory.join(small.recipe);
        let output = run(&network, &small, &out, &["--sample-rate", "100"]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{said}\n{}", provider.text());
        let job = job(&out);
        assert_eq!((&job["status"], &job["check"]["verdict"]), (&"rejected".into(), &"rejected".into()), "{job}");
        assert!(said.contains("refunded"), "{said}");
    }
    assert_eq!(balance(&network, MARKET), 0);
}
