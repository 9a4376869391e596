//! Ten times more transactions than the machine can take: the network bends, says so, and stands up again.

use crate::{
    disk_pulse::DiskPulse,
    network::{KEYSTEAD, Network, number},
};
use serde_json::{Value, json};
use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Transactions offered per second.
const RATE: &str = "15000";
/// Memory that no validator may exceed.
const MEMORY_MIB_MAX: u64 = 1_536;
/// How long a read may take meanwhile.
const READ_MAX: Duration = Duration::from_secs(2);
/// Longest time between blocks with both cores saturated.
const GAP_MS_MAX: u64 = 10_000;
/// A machine that stands still for longer does so for another reason than this load.
const STANDSTILL_MS: u64 = 2_000;

fn load(network: &Network, rate: &str, senders: &str, seconds: &str) -> Command {
    let mut command = Command::new(KEYSTEAD);
    command.args(["bench", "load", "--rate", rate, "--senders", senders, "--seconds", seconds]);
    (0..network.rpc.len()).for_each(|index| {
        command.args(["--rpc", &network.url(index)]);
    });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn ten_times_the_load_kills_nobody_and_is_refused_in_clear_words_slow() {
    let network = Network::alone(4);
    let first = network.head(0).unwrap();
    let machine = DiskPulse::start(&network.directory);
    let mut offered = load(&network, RATE, "200", "6").spawn().unwrap();
    let (mut slowest, mut largest) = (Duration::ZERO, 0);
    while offered.try_wait().unwrap().is_none() {
        for index in 0..4 {
            let start = Instant::now();
            assert!(network.head(index).is_some(), "validator {index} does not answer\n{}", network.log(index));
            slowest = slowest.max(start.elapsed());
            largest = largest.max(network.memory_mib(index).unwrap_or_default());
        }
    }
    let output = offered.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let last = network.head(0).unwrap();
    let stood_still = machine.end().longer_than(STANDSTILL_MS);
    let times: Vec<u64> = (first..=last).map(|height| number(&network.block(0, height)["extraData"])).collect();
    let gap_ms = times.windows(2).map(|pair| stood_still.own(pair[0], pair[1])).max().unwrap();
    println!("slowest_read={slowest:?} memory_mib={largest} gap_ms={gap_ms} blocks={} report={report}", last - first);
    assert!(slowest < READ_MAX, "a read took {slowest:?}");
    assert!(largest < MEMORY_MIB_MAX, "memory_mib={largest}");
    assert!(gap_ms <= GAP_MS_MAX, "gap_ms={gap_ms}");
    assert!(report["included"].as_u64().unwrap() > 1_000, "{report}");
    if report["refused"].as_u64().unwrap() > 0 {
        assert!(report["first_refusal"].as_str().unwrap().contains("busy"), "{report}");
    }
    // Afterwards the network takes transactions of other people as if nothing had been.
    let after = load(&network, "20", "5", "2").output().unwrap();
    let after: Value = serde_json::from_slice(&after.stdout).unwrap();
    assert_eq!((&after["included"], &after["refused"]), (&json!(40), &json!(0)), "{after}");
    for index in 0..4 {
        network.wait_for_head(index, last + 2);
    }
    network.agree();
}
