//! `keystead map --audit`: windows of channels are announced, drawn, checked by strangers and paid after that; a cheat that its customer does not notice is
//! convicted; both sides are killed in the middle, a disk is full, a window is never announced; every wei is where it must be.

use crate::{
    audits::{KST, address, bond, bonded, checker, credit, events, read, until_seated},
    customer::send,
    drawn::UNASKED,
    map::{CLOSELY, Job, Purse, claimed, same_files, wait_until},
    network::{Network, number},
    parties::{self, PRICE, Provider, account, all_fees, balance},
};
use alloy_primitives::{Address, B256, U256, keccak256, utils::format_ether};
use alloy_sol_types::{SolCall as _, SolEvent};
use keystead_contracts::{
    AUDIT_ADDRESS, CHANNEL_ADDRESS,
    bindings::{
        audit::{Audit, IAuditTypes},
        channel::Channel,
        referee::Referee,
    },
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Child,
};

/// Times that a machine shared by ten processes keeps.
const TIMES: [&str; 6] = ["--checker-seconds", "30", "--reveal-seconds", "30", "--appeal-seconds", "60"];
/// Floats, and programs for the graphics card, run on a processor that ten processes share.
const LONG_TIMES: [&str; 6] = ["--checker-seconds", "90", "--reveal-seconds", "40", "--appeal-seconds", "60"];
/// The customer's account.
const CUSTOMER: usize = 2;

/// The audit's name of a window of the channel with this number.
fn window_of_channel(number: u64, window: u64) -> B256 {
    let number = B256::from(U256::from(number));
    keccak256([b"keystead/window/v1", CHANNEL_ADDRESS.as_slice(), number.as_slice(), &window.to_be_bytes()].concat())
}

fn stored(network: &Network, id: B256) -> IAuditTypes::Window {
    read(network, AUDIT_ADDRESS, &Audit::windowOfCall { windowId: id })
}

fn channel_count(network: &Network) -> u64 {
    read(network, CHANNEL_ADDRESS, &Channel::channelCountCall {}).to()
}

/// Every window that a channel announced, in order.
fn windows(network: &Network) -> Vec<IAuditTypes::Window> {
    let of = |channel: u64| (1..).map(move |window| window_of_channel(channel, window));
    let found = |channel| of(channel).map(|id| stored(network, id)).take_while(|window| window.status != 0);
    (1..=channel_count(network)).flat_map(found).collect()
}

/// The channel that was opened for a provider.
fn channel_of(network: &Network, provider: usize) -> B256 {
    let topics = json!([Channel::ChannelOpened::SIGNATURE_HASH, null, null, address(provider).into_word()]);
    let filter = json!({"address": CHANNEL_ADDRESS, "fromBlock": "0x0", "topics": topics});
    let opened = network.call(0, "eth_getLogs", json!([filter]));
    serde_json::from_value(opened[0]["topics"][1].clone()).unwrap()
}

/// The block of the first event of a kind about a window.
fn block_of<E: SolEvent>(network: &Network, window: B256) -> u64 {
    let filter = json!({"address": AUDIT_ADDRESS, "fromBlock": "0x0", "topics": [E::SIGNATURE_HASH, window]});
    number(&network.call(0, "eth_getLogs", json!([filter]))[0]["blockNumber"])
}

/// What the customer paid for gas since then.
fn gas_of_the_customer(network: &Network, since: u64) -> u128 {
    all_fees(network, since).get(&account(CUSTOMER).to_lowercase()).copied().unwrap_or_default()
}

/// A network with checkers of three hardware classes.
struct Scene {
    network: Network,
    checkers: Vec<(Provider, PathBuf)>,
}

impl Scene {
    fn new(checkers: std::ops::Range<usize>) -> Self {
        let network = Network::long(1);
        let checkers = checkers.map(|number| checker(&network, number)).collect();
        until_seated(&network);
        Self { network, checkers }
    }

    fn provider(&self, number: usize, more: &[&str]) -> Provider {
        let folder = self.network.directory.join(format!("provider-{number}"));
        Provider::start_as(&self.network, &folder, number, &[&CLOSELY[..], &["--no-check"], more].concat())
    }

    fn logs(&self) -> String {
        let of = |(process, folder): &(Provider, PathBuf)| format!("-- {}\n{}", folder.display(), process.text());
        self.checkers.iter().map(of).collect()
    }
}

/// Until a map ends: its exit code and all that it said.
fn end(customer: &mut Child, log: &Path) -> (Option<i32>, String) {
    let ended = wait_until("the map ends", || customer.try_wait().unwrap());
    (ended.code(), fs::read_to_string(log).unwrap())
}

fn wei(value: &Value) -> u128 {
    value.as_str().unwrap().parse().unwrap()
}

/// What `keystead verify` says of the certificate that a map ended with: it is proved.
fn certified(network: &Network, job: &Job, said: &str) -> String {
    let path = job.out.join("certificate.json");
    assert!(said.contains(&format!("keystead verify {} --network-key", path.display())), "{said}");
    assert_eq!(job.summary()["certificate"], "certificate.json");
    assert!(job.summary()["certificateMissing"].is_null());
    let output = parties::verify(network, &job.out);
    let report = parties::text(&output);
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert!(report.contains("final in block"), "{report}");
    report
}

/// Two providers, one with a bond and one without, do a job whose windows strangers check. The customer and one of the providers are killed in
/// the middle. Each is paid for its steps, checkers for their checks, and what the checks did not cost comes home.
#[test]
fn strangers_check_a_map_through_the_deaths_of_both_sides_and_the_money_is_right_to_the_wei_slow() {
    let scene = Scene::new(4..7);
    let network = &scene.network;
    let mut bonded_one = scene.provider(1, &[]);
    bond(network, 1, &network.directory.join("provider-1"), &["deposit", "40"]);
    let _newcomer = scene.provider(3, &[]);
    let job = Job::align(network, 12, 20);
    let purse = Purse::look(network);
    let (since, before) = (network.head(0).unwrap(), balance(network, account(CUSTOMER)));
    // Who checks offers its work as well.
    let options = [&["--audit", "--provider", account(1), "--provider", account(3)][..], &TIMES].concat();

    let (mut customer, log) = job.spawn(network, &options);
    job.wait_for_steps(6, &mut customer, &log);
    customer.kill().unwrap();
    customer.wait().unwrap();
    bonded_one.kill();
    let _bonded_one = scene.provider(1, &[]);
    let (mut customer, log) = job.spawn(network, &options);
    let (code, text) = end(&mut customer, &log);
    let logs = || format!("{text}\n{}\n{}", scene.logs(), _bonded_one.text());
    assert_eq!(code, Some(0), "{}", logs());
    same_files(&job.out, &job.reference());

    let summary = job.summary();
    let units = summary["spec"]["unitCount"].as_u64().unwrap();
    let found = windows(network);
    let steps: u64 = found.iter().map(|window| u64::from(window.units)).sum();
    assert_eq!(steps, units, "every step is in one window: {}", logs());
    assert!(found.len() >= 4 && found.iter().all(|window| window.status == 2), "all are closed: {}", logs());
    // New providers: every step is drawn, and found right.
    assert!(found.iter().all(|window| window.verified == window.units), "{}", logs());
    assert!(text.contains(&format!("Audit: verified: {units} of {units} drawn steps")), "{}", logs());
    assert_eq!(summary["assurance"], "verified", "{summary}");
    let revealed: usize = (1..=channel_count(network))
        .flat_map(|channel| (1..64).map(move |window| window_of_channel(channel, window)))
        .map(|id| events::<Audit::CheckRevealed>(network, id).len())
        .sum();
    assert_eq!(revealed as u64, units, "{}", logs());

    // Providers have the price of every step; the customer paid that and the checks, and the rest is home.
    let paid: u128 = [1, 3].into_iter().map(|number| claimed(&summary, number)).sum();
    assert_eq!(paid, PRICE * u128::from(units), "{summary}");
    purse.check_providers(network, &summary);
    let fee: u128 = found.first().unwrap().feeWei;
    let checks = fee * u128::from(units);
    assert_eq!(credit(network, CUSTOMER), 0, "the rest of the deposits for checks was taken home: {}", logs());
    let spent = gas_of_the_customer(network, since);
    assert_eq!(before, balance(network, account(CUSTOMER)) + spent + paid + checks, "{summary}\n{}", logs());
    // The bond is free again.
    assert_eq!(bonded(network, 1).lockedWei, 0);
    assert!(wei(&summary["audit"]["all"]["takenWei"]) >= checks, "{summary}");

    // Who was not there reads the same in the certificate, whichever process paid a window.
    let providers = found.iter().map(|window| window.provider).collect::<BTreeSet<_>>().len();
    let providers = if providers == 1 { "1 provider".to_owned() } else { format!("{providers} providers") };
    let covered = format!("{units} of {units} steps stand in {} audited windows of {providers}", found.len());
    let right = format!("the lot drew {units} of {units} steps; a machine drawn by lot for each found {units} right");
    let report = certified(network, &job, &text);
    assert!(report.contains(&covered) && report.contains(&right), "{report}");
    // One that got lost, or that nobody wrote before the process died, the next process makes up.
    fs::remove_file(job.out.join("certificate.json")).unwrap();
    let (mut customer, log) = job.spawn(network, &options);
    let (code, text) = end(&mut customer, &log);
    assert_eq!(code, Some(0), "{text}");
    let report = certified(network, &job, &text);
    assert!(report.contains(&covered) && report.contains(&right), "{report}");
    outputs_are_held_against_the_certificate(network, &job.out, units);
}

/// The outputs that the map left are those of the certificate, one by one, whatever was done to them.
fn outputs_are_held_against_the_certificate(network: &Network, out: &Path, units: u64) {
    let outputs = out.join("outputs");
    let whole = fs::read(&outputs).unwrap();
    let equal = format!("files: equal to what is proved: {units} of {units} outputs, in outputs\n");
    let others =
        "note:  not compared, since a certificate names outputs and not what is made of them: alignments.tsv\n";
    parties::compared(network, out, 0, &[&equal, others]);
    let different = |equal: u64| {
        format!("files: DIFFERENT from what is proved: {equal} of {units} outputs are known to be equal, in outputs\n")
    };
    // No unit was done twice, so every byte is of one output.
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&outputs, flipped).unwrap();
    parties::compared(network, out, 4, &[&different(units - 1), "  the output of unit ", " is another: got=0x"]);
    let size = |got: usize| {
        format!("  outputs has another size than journal says: got_bytes={got} expected_bytes={}\n", whole.len())
    };
    fs::write(&outputs, &whole[..whole.len() - 1]).unwrap();
    let missing = " is missing, or not whole\n";
    parties::compared(network, out, 4, &[&different(units - 1), &size(whole.len() - 1), missing]);
    fs::write(&outputs, [whole.as_slice(), b"!"].concat()).unwrap();
    parties::compared(network, out, 4, &[&different(units), &size(whole.len() + 1)]);
    fs::remove_file(&outputs).unwrap();
    let missing = "  outputs is missing, in which journal says that the outputs lie\n";
    parties::compared(network, out, 4, &["no output is known to be equal, in the folder\n", missing]);
    fs::write(&outputs, whole).unwrap();
    parties::compared(network, out, 0, &[&equal]);
}

/// The cheat lies in its first window and is right after it, so the customer's own sample of one step misses it three times of four. Strangers do not,
/// though it gives nothing to those of the second round: all that it delivered is done again, and it is paid nothing.
#[test]
fn a_cheat_that_a_map_does_not_notice_is_convicted_by_strangers_and_its_steps_are_done_again_slow() {
    let scene = Scene::new(4..8);
    let network = &scene.network;
    let _cheat = scene.provider(1, &["--fault-seed", "7", "--fault-once", "--refuse-checkers=later"]);
    bond(network, 1, &network.directory.join("provider-1"), &["deposit", "40"]);
    let honest = scene.provider(3, &[]);
    let cheat_address: Address = account(1).parse().unwrap();
    let mut noticed = 0;
    let convicted = loop {
        let out = network.directory.join(format!("result-{noticed}"));
        let job = Job { out, ..Job::align(network, 12, 20) };
        let events = network.directory.join(format!("events-{noticed}.jsonl"));
        let options = ["--audit", "--sample", "1", "--sample-rate", "0", "--events", events.to_str().unwrap()];
        let named = ["--provider", account(1), "--provider", account(3)];
        let (mut customer, log) = job.spawn(network, &[&options[..], &named, &TIMES].concat());
        let (code, text) = end(&mut customer, &log);
        assert_eq!(code, Some(0), "{text}\n{}\n{}", scene.logs(), honest.text());
        same_files(&job.out, &job.reference());
        let happened = fs::read_to_string(&events).unwrap();
        let summary = job.summary();
        assert_eq!(claimed(&summary, 1), 0, "{summary}");
        if happened.contains("\"convicted\"") {
            let units = summary["spec"]["unitCount"].as_u64().unwrap();
            assert_eq!(claimed(&summary, 3), PRICE * u128::from(units), "{summary}");
            assert!(text.contains("CONVICTED") && text.contains("Audit: verified:"), "{text}");
            let report = certified(network, &job, &text);
            assert!(report.contains(&format!("{units} of {units} steps stand in")), "{report}");
            assert!(report.contains("of 1 provider") && report.contains("convicted: nothing of"), "{report}");
            break windows(network).into_iter().filter(|window| window.provider == cheat_address).collect::<Vec<_>>();
        }
        // Its own sample met the lie, with one chance of four.
        assert!(happened.contains("\"wrong\""), "{happened}");
        noticed += 1;
        assert!(noticed < 12, "the customer noticed every time");
    };
    assert!(convicted.iter().any(|window| window.status == 3), "{}", scene.logs());
    let mut names = (1..=channel_count(network)).map(|channel| window_of_channel(channel, 1));
    let unasked = |id| events::<Referee::KeyHanded>(network, id).iter().any(|handed| handed.slot == UNASKED);
    assert!(names.any(unasked), "the customer did not name its node unasked: {}", scene.logs());
    // What stood behind that window is gone.
    let bond = bonded(network, 1);
    assert!(bond.freeWei + bond.lockedWei < 40 * KST, "{} {}", bond.freeWei, bond.lockedWei);
}

/// The disk of a provider is full when it is to write down the window that its customer has just signed for. What it cannot keep it does not announce,
/// and what is paid waits for it: with room again it takes the voucher, announces the window, and is paid.
#[test]
fn a_window_that_finds_no_room_on_its_providers_disk_is_announced_and_paid_once_there_is_some_slow() {
    let scene = Scene::new(4..7);
    let network = &scene.network;
    let more = [&CLOSELY[..], &["--no-check"]].concat();
    let mut full = Provider::start_on_small_disk(network, &network.directory.join("provider-1"), 1, &more);
    // Large units, each checked, so that the customer's check takes its time.
    let job = Job { set: vec!["cells-per-unit=10000000"], ..Job::align(network, 20, 40) };
    let purse = Purse::look(network);
    let (since, before) = (network.head(0).unwrap(), balance(network, account(CUSTOMER)));
    let options = [&["--audit", "--sample-rate", "100", "--provider", account(1)][..], &TIMES].concat();
    let (mut customer, log) = job.spawn(network, &options);
    job.wait_for_a_voucher_that_nobody_hears(&full, &mut customer, &log);
    full.fill_disk();
    full.signal("CONT");
    full.wait_for("a voucher is not taken, trying again");
    let said = full.text();
    assert!(said.contains("cannot write") && said.contains("File too large"), "{said}");
    assert!(windows(network).len() < job.windows(), "what is not on the disk is announced: {said}");
    full.kill();

    let roomy = scene.provider(1, &[]);
    let (code, text) = end(&mut customer, &log);
    let logs = || format!("{text}\n{}\n{}", scene.logs(), roomy.text());
    assert_eq!(code, Some(0), "{}", logs());
    same_files(&job.out, &job.reference());
    let summary = job.summary();
    let units = summary["spec"]["unitCount"].as_u64().unwrap();
    let found = windows(network);
    let steps: u64 = found.iter().map(|window| u64::from(window.units)).sum();
    assert_eq!(steps, units, "every step is in one window: {}", logs());
    assert!(found.iter().all(|window| window.status == 2 && window.verified == window.units), "{}", logs());

    assert_eq!(claimed(&summary, 1), PRICE * u128::from(units), "{summary}");
    let paid = purse.check_providers(network, &summary);
    let checks = found.first().unwrap().feeWei * u128::from(units);
    assert_eq!(credit(network, CUSTOMER), 0, "the rest of the deposits for checks was taken home: {}", logs());
    let spent = gas_of_the_customer(network, since);
    assert_eq!(before, balance(network, account(CUSTOMER)) + spent + paid + checks, "{summary}\n{}", logs());
}

/// A provider is paid for a window and ends its channel before the audit hears of it: then nobody will ever check that window. It is paid nothing, the
/// other one does its steps again, and strangers find all of those right.
#[test]
fn a_window_whose_channel_ends_before_it_is_announced_is_done_again_elsewhere_and_costs_nothing_slow() {
    let scene = Scene::new(4..7);
    let network = &scene.network;
    let mut silent = scene.provider(1, &[]);
    // Large units, each checked, so that the customer's check takes its time.
    let job = Job { set: vec!["cells-per-unit=10000000"], ..Job::align(network, 20, 40) };
    let record = network.directory.join("events.jsonl");
    let happened = || fs::read_to_string(&record).unwrap_or_default();
    let options = ["--audit", "--sample-rate", "100", "--events", record.to_str().unwrap()];
    let named = ["--provider", account(1), "--provider", account(3)];
    let (since, before) = (network.head(0).unwrap(), balance(network, account(CUSTOMER)));
    let (mut customer, log) = job.spawn(network, &[&options[..], &named, &TIMES].concat());
    job.wait_for_a_voucher_that_nobody_hears(&silent, &mut customer, &log);
    silent.kill();
    // Of a window before it, it may have heard: that one strangers check, and its steps are done again like the others.
    assert!(windows(network).len() < job.windows(), "nothing is announced without its voucher");
    // The other one takes part before the first one is out: with nobody left a map ends.
    let other = scene.provider(3, &[]);
    let purse = Purse::look(network);
    wait_until("the other one joins", || {
        let is_other = |line: &&str| line.to_lowercase().contains(&account(3).to_lowercase());
        happened().lines().filter(is_other).any(|line| line.contains("\"joined\"")).then_some(())
    });
    let close = Channel::closeCall { channelId: channel_of(network, 1) };
    send(network, 1, &CHANNEL_ADDRESS.to_string(), &close.abi_encode());

    let (code, text) = end(&mut customer, &log);
    let logs = || format!("{text}\n{}\n{}\n{}", happened(), scene.logs(), other.text());
    assert_eq!(code, Some(0), "{}", logs());
    same_files(&job.out, &job.reference());
    assert!(happened().contains("\"not-audited\""), "{}", logs());
    let lines = ["did not have its work audited", "1 window not audited"];
    assert!(lines.iter().all(|line| text.contains(line)), "{}", logs());
    let summary = job.summary();
    let units = summary["spec"]["unitCount"].as_u64().unwrap();
    let found = windows(network);
    let (others, own): (Vec<_>, Vec<_>) = found.iter().partition(|window| window.provider == address(3));
    let steps = |windows: &[&IAuditTypes::Window]| windows.iter().map(|window| u64::from(window.units)).sum::<u64>();
    assert_eq!(steps(&others), units, "every step is in one window of the other one: {}", logs());
    assert!(others.iter().all(|window| window.status == 2 && window.verified == window.units), "{}", logs());
    assert!(own.iter().all(|window| window.provider == address(1)), "{}", logs());

    assert_eq!((claimed(&summary, 1), claimed(&summary, 3)), (0, PRICE * u128::from(units)), "{summary}");
    let paid = purse.check_providers(network, &summary);
    let checks = found.first().unwrap().feeWei * u128::from(units + steps(&own));
    assert_eq!(credit(network, CUSTOMER), 0, "the rest of the deposits for checks was taken home: {}", logs());
    let spent = gas_of_the_customer(network, since);
    assert_eq!(before, balance(network, account(CUSTOMER)) + spent + paid + checks, "{summary}\n{}", logs());
}

/// The provider's free bond is enough for one window. So the next lease waits for the end of the audit before it, is given back at its deadline and granted
/// again, and goes on once the bond is free: nobody is blamed, and nothing of it costs anything.
#[test]
fn a_lease_waits_for_the_bond_that_stands_behind_the_window_before_it_slow() {
    let scene = Scene::new(4..7);
    let network = &scene.network;
    let provider = scene.provider(1, &[]);
    // The price of a hundred steps stands behind each window: this is one and a half of that.
    let deposit = format_ether(U256::from(150 * PRICE));
    bond(network, 1, &network.directory.join("provider-1"), &["deposit", &deposit]);
    let job = Job::align(network, 8, 10);
    let purse = Purse::look(network);
    let (since, before) = (network.head(0).unwrap(), balance(network, account(CUSTOMER)));
    let record = network.directory.join("events.jsonl");
    let options = ["--audit", "--events", record.to_str().unwrap(), "--provider", account(1)];
    let (mut customer, log) = job.spawn(network, &[&options[..], &TIMES].concat());
    let (code, text) = end(&mut customer, &log);
    let happened = fs::read_to_string(&record).unwrap();
    let logs = || format!("{text}\n{happened}\n{}\n{}", scene.logs(), provider.text());
    assert_eq!(code, Some(0), "{}", logs());
    same_files(&job.out, &job.reference());

    // Each window begins when the one before it is over; until then its lease came and went.
    let found = windows(network);
    assert!(found.len() > 1, "{}", logs());
    assert!(found.iter().all(|window| window.status == 2 && window.verified == window.units), "{}", logs());
    for next in 2..=found.len() as u64 {
        let closed = block_of::<Audit::WindowClosed>(network, window_of_channel(1, next - 1));
        let opened = block_of::<Audit::WindowOpened>(network, window_of_channel(1, next));
        assert!(closed < opened, "window {next}: closed={closed} opened={opened}\n{}", logs());
    }
    assert!(provider.text().contains("a lease waits until the bond is free"), "{}", logs());
    assert!(happened.contains("is behind other windows until then"), "{}", logs());
    assert!(!happened.contains("\"left-out\""), "{}", logs());

    let summary = job.summary();
    let units = summary["spec"]["unitCount"].as_u64().unwrap();
    let steps: u64 = found.iter().map(|window| u64::from(window.units)).sum();
    assert_eq!((steps, claimed(&summary, 1)), (units, PRICE * u128::from(units)), "{summary}");
    let paid = purse.check_providers(network, &summary);
    let checks = found.first().unwrap().feeWei * u128::from(units);
    assert_eq!(credit(network, CUSTOMER), 0, "the rest of the deposits for checks was taken home: {}", logs());
    let spent = gas_of_the_customer(network, since);
    assert_eq!(before, balance(network, account(CUSTOMER)) + spent + paid + checks, "{summary}\n{}", logs());
    let bond = bonded(network, 1);
    assert_eq!((bond.freeWei, bond.lockedWei), (150 * PRICE, 0));
}

/// What a checker program judges after the opening, of a provider that gives checkers nothing: they ask on the chain, and the customer's node serves them.
#[test]
fn strangers_judge_self_checking_steps_with_what_only_the_customer_gives_them_slow() {
    let scene = Scene::new(4..7);
    let network = &scene.network;
    let provider = scene.provider(1, &["--refuse-checkers"]);
    let set = vec!["rows=256", "inner=128", "columns=128", "rows-per-unit=64"];
    let job = Job { recipe: "matmul", inputs: Vec::new(), set, out: network.directory.join("result") };
    let (mut customer, log) = job.spawn(network, &[&["--audit", "--provider", account(1)][..], &LONG_TIMES].concat());
    let (code, text) = end(&mut customer, &log);
    let logs = || format!("{text}\n{}\n{}", scene.logs(), provider.text());
    assert_eq!(code, Some(0), "{}", logs());
    let found = windows(network);
    let steps: u32 = found.iter().map(|window| window.units).sum();
    assert_eq!(u64::from(steps), job.summary()["spec"]["unitCount"].as_u64().unwrap(), "{}", logs());
    assert!(found.iter().all(|window| window.status == 2 && window.verified == window.units), "{}", logs());
    let handed: usize = (1..=found.len() as u64)
        .map(|window| events::<Referee::KeyHanded>(network, window_of_channel(1, window)).len())
        .sum();
    assert!(handed > 0, "nobody asked: {}", logs());
    assert!(text.contains(&format!("Audit: verified: {steps} of {steps} drawn steps")), "{}", logs());
    let report = certified(network, &job, &text);
    assert!(report.contains(&format!("{steps} of {steps} steps stand in")), "{report}");
    assert!(report.contains(&format!("checker program looked at {steps} of {steps} steps")), "{report}");
}

/// Floats of several segments behind a bond: a later step begins with a state that no list of the job names.
#[test]
fn strangers_judge_each_segment_of_floats_from_the_state_that_both_sides_stand_by_slow() {
    let scene = Scene::new(4..7);
    let network = &scene.network;
    let provider = scene.provider(1, &[]);
    bond(network, 1, &network.directory.join("provider-1"), &["deposit", "40"]);
    let set = vec!["members=2", "members-per-unit=1", "steps=6000"];
    let job = Job { recipe: "nbody", inputs: Vec::new(), set, out: network.directory.join("result") };
    let (mut customer, log) = job.spawn(network, &[&["--audit", "--provider", account(1)][..], &LONG_TIMES].concat());
    let (code, text) = end(&mut customer, &log);
    let logs = || format!("{text}\n{}\n{}", scene.logs(), provider.text());
    assert_eq!(code, Some(0), "{}", logs());
    let summary = job.summary();
    let [units, segments] = ["unitCount", "segmentCount"].map(|name| summary["spec"][name].as_u64().unwrap());
    assert!(segments > 1, "{summary}");
    let found = windows(network);
    let steps: u64 = found.iter().map(|window| u64::from(window.units)).sum();
    assert_eq!(steps, units * segments, "{}", logs());
    assert!(found.iter().all(|window| window.status == 2 && window.class == 3 && window.segments == 1), "{}", logs());
    assert!(found.iter().all(|window| window.verified == window.units), "{}", logs());
    assert_eq!(claimed(&summary, 1), wei(&summary["promisedWei"]), "{summary}");
    // Every step has the bond behind it, and gets it back.
    assert!(text.contains("Bond of the provider behind each window"), "{text}");
    assert_eq!(bonded(network, 1).lockedWei, 0);
    let report = certified(network, &job, &text);
    assert!(report.contains(&format!("{steps} of {steps} steps stand in")), "{report}");
    assert!(report.contains("of its provider's bond stood behind each window"), "{report}");
}
