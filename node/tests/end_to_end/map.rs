//! `keystead map` with real providers: one dies, one lies, one is an owner who comes back, the customer is killed; the result is the
//! reference's and the money is right to the wei.

use crate::{
    network::{KEYSTEAD, Network},
    parties::{PRICE, Provider, Signals, account, all_fees, balance, fasta, text},
};
use keystead_recipes::{Inputs, ResultFile, find};
use serde_json::Value;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

pub(crate) const CHANNEL: &str = "0x4b53540000000000000000000000000000000006";
/// Providers of these tests watch their channels closely, so that what the dead leave comes back within a test.
pub(crate) const CLOSELY: [&str; 2] = ["--watch-seconds", "2"];

/// A whole job of some hundred units may take longer than a single step of other tests, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(600);

pub(crate) fn wait_until<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(begin.elapsed() < PATIENCE, "never happened: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A job and where its result goes.
pub(crate) struct Job {
    pub(crate) recipe: &'static str,
    pub(crate) inputs: Vec<(String, PathBuf)>,
    pub(crate) set: Vec<&'static str>,
    pub(crate) out: PathBuf,
}

impl Job {
    /// Alignments in small units.
    pub(crate) fn align(network: &Network, queries: u64, targets: u64) -> Self {
        let paths = ["queries", "targets"].map(|name| network.directory.join(format!("{name}.faa")));
        fasta(&paths[0], queries, 300);
        fasta(&paths[1], targets, 300);
        let [queries, targets] = paths;
        let inputs = vec![("queries".to_owned(), queries), ("targets".to_owned(), targets)];
        Self { recipe: "align", inputs, set: vec!["cells-per-unit=1000000"], out: network.directory.join("result") }
    }

    pub(crate) fn map(&self, network: &Network, more: &[&str]) -> Command {
        self.map_through(network, &network.url(0), more)
    }

    /// The same over another address of the node.
    pub(crate) fn map_through(&self, network: &Network, url: &str, more: &[&str]) -> Command {
        let mut command = Command::new(KEYSTEAD);
        command.args(["map", self.recipe, "--dev-account", "2", "--challenge-seconds", "2", "--rpc", url]);
        command.args(self.inputs.iter().map(|(name, path)| format!("{name}={}", path.display())));
        command.args(self.set.iter().flat_map(|set| ["--set", set])).arg("--out").arg(&self.out);
        // Whoever is there answers before the plan is made, also on a slow machine.
        command.args(["--patience-ms", "20000"]).env("KEYSTEAD_RECORDS", network.directory.join("records"));
        command.args(more).stdin(Stdio::null());
        command
    }

    /// Starts it in the background; what it says goes to a file.
    pub(crate) fn spawn(&self, network: &Network, more: &[&str]) -> (Child, PathBuf) {
        let log = network.directory.join("customer.txt");
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let child = self.map(network, more).stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        (child, log)
    }

    /// The files that the recipe's own computation on the CPU gives.
    pub(crate) fn reference(&self) -> Vec<ResultFile> {
        let side = find(self.recipe).unwrap();
        let recipe = side.recipe().unwrap();
        let inputs = Inputs::read(&recipe, &self.inputs).unwrap();
        let set: Vec<(String, String)> = self
            .set
            .iter()
            .map(|set| set.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).unwrap())
            .collect();
        let parameters = recipe.parameters(&set).unwrap();
        let plan = side.plan(&inputs, &parameters).unwrap();
        let run = |unit: &Vec<u8>| {
            (0..plan.segment_count).fold(unit.clone(), |state, _| side.reference(&plan.common, &state).unwrap())
        };
        let outputs: Vec<Vec<u8>> = plan.units.iter().map(run).collect();
        side.assemble(&inputs, &parameters, &outputs).unwrap()
    }

    pub(crate) fn summary(&self) -> Value {
        serde_json::from_str(&fs::read_to_string(self.out.join("map.json")).unwrap()).unwrap()
    }

    /// Steps that were paid, by the journal.
    pub(crate) fn settled(&self) -> u64 {
        let journal = fs::read_to_string(self.out.join("journal")).unwrap_or_default();
        let settled = journal.lines().filter_map(|line| {
            let entry: Value = serde_json::from_str(line.get(17..)?).ok()?;
            entry["settled"]["steps"].as_u64()
        });
        settled.sum()
    }

    /// Leases of which some steps were paid and the others handed out again, by the journal.
    fn paid_in_part(&self) -> usize {
        let journal = fs::read_to_string(self.out.join("journal")).unwrap_or_default();
        let entries: Vec<Value> =
            journal.lines().filter_map(|line| serde_json::from_str(line.get(17..)?).ok()).collect();
        let granted = |number: &Value| {
            let mut leases = entries.iter().map(|entry| &entry["leased"]["lease"]);
            let lease = leases.find(|lease| lease["number"] == *number).unwrap();
            let counts = lease["items"].as_array().unwrap().iter().map(|item| item["count"].as_u64().unwrap());
            counts.sum::<u64>()
        };
        let settled = entries.iter().map(|entry| &entry["settled"]).filter(|settled| settled.is_object());
        settled.filter(|settled| settled["steps"].as_u64().unwrap() < granted(&settled["lease"])).count()
    }

    /// Reports that were ever looked at, by the journal.
    fn looked_at(&self) -> usize {
        fs::read_to_string(self.out.join("journal")).unwrap_or_default().matches("\"drawn\":{").count()
    }

    /// Windows that are paid, by the journal.
    pub(crate) fn windows(&self) -> usize {
        fs::read_to_string(self.out.join("journal")).unwrap_or_default().matches("\"settled\"").count()
    }

    /// Until the customer has signed for a window whose only provider stands still since it reported: it has no voucher.
    pub(crate) fn wait_for_a_voucher_that_nobody_hears(&self, provider: &Provider, customer: &mut Child, log: &Path) {
        let (begin, mut signals) = (Instant::now(), provider.signals());
        while begin.elapsed() < PATIENCE {
            let ended = customer.try_wait().unwrap();
            assert!(ended.is_none(), "the customer ended: {}", fs::read_to_string(log).unwrap());
            let paid = self.windows();
            if self.looked_at() <= paid {
                // Closer than `wait_until` looks: a check takes a fifth of a second.
                thread::sleep(Duration::from_millis(2));
                continue;
            }
            signals.send("STOP");
            // Of what was paid before it stood still it may have heard: then it is about the next window.
            let is_unpaid = self.windows() == paid;
            let stood = Instant::now();
            while is_unpaid && stood.elapsed() < Duration::from_secs(3) {
                if self.windows() > paid {
                    return;
                }
                thread::sleep(Duration::from_millis(5));
            }
            // The customer fetches before it checks, which takes longer: the provider is let go on for a moment until that is done.
            signals.send("CONT");
            thread::sleep(Duration::from_millis(20));
        }
        panic!("the customer never signed");
    }

    /// Until a report is looked at: found right, it waits for its pay next.
    fn wait_for_a_look_at_a_report(&self, customer: &mut Child, log: &Path) {
        let begin = Instant::now();
        while self.looked_at() <= self.windows() {
            let ended = customer.try_wait().unwrap();
            assert!(ended.is_none(), "the customer ended: {}", fs::read_to_string(log).unwrap());
            assert!(begin.elapsed() < PATIENCE, "no report is looked at");
            // Closer than `wait_until` looks: a check takes a fifth of a second.
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Until so many steps are paid, while the customer works.
    pub(crate) fn wait_for_steps(&self, steps: u64, customer: &mut Child, log: &Path) {
        wait_until("steps are paid", || {
            let ended = customer.try_wait().unwrap();
            assert!(ended.is_none(), "the customer ended: {}", fs::read_to_string(log).unwrap());
            (self.settled() >= steps).then_some(())
        });
    }
}

/// The balances before, and whether what moved since is what the summary says, to the wei.
pub(crate) struct Purse {
    since: u64,
    before: Vec<u128>,
}

impl Purse {
    pub(crate) fn look(network: &Network) -> Self {
        let before = (0..10).map(|number| balance(network, account(number))).collect();
        Self { since: network.head(0).unwrap(), before }
    }

    /// Each provider has what it claimed, the customer paid exactly that, and both paid for their transactions.
    pub(crate) fn check(&self, network: &Network, summary: &Value) {
        let paid = self.check_providers(network, summary);
        let fees = all_fees(network, self.since).get(&account(2).to_lowercase()).copied().unwrap_or_default();
        assert_eq!(balance(network, account(2)) + fees + paid, self.before[2], "the customer: {summary}");
    }

    /// Nothing is left in the channels, and each provider has what it claimed; how much that is in all.
    pub(crate) fn check_providers(&self, network: &Network, summary: &Value) -> u128 {
        // The providers take theirs home on their own time.
        wait_until("every wei leaves the channels", || (balance(network, CHANNEL) == 0).then_some(()));
        // Fees and balances of one moment: a transaction between two looks would be in one of them only.
        let (fees, balances) = wait_until("nobody sends anything", || {
            let fees = all_fees(network, self.since);
            let balances: Vec<u128> = (0..10).map(|number| balance(network, account(number))).collect();
            (all_fees(network, self.since) == fees).then_some((fees, balances))
        });
        let fee = |number: usize| fees.get(&account(number).to_lowercase()).copied().unwrap_or_default();
        let mut paid = 0;
        for provider in summary["providers"].as_array().unwrap() {
            let claimed: u128 = provider["claimedWei"].as_str().unwrap().parse().unwrap();
            let number = (0..10).find(|n| account(*n).eq_ignore_ascii_case(provider["account"].as_str().unwrap()));
            let number = number.unwrap();
            assert_eq!(balances[number] + fee(number), self.before[number] + claimed, "provider {number}: {summary}");
            paid += claimed;
        }
        paid
    }
}

pub(crate) fn same_files(out: &Path, expected: &[ResultFile]) {
    assert!(!expected.is_empty());
    for file in expected {
        assert_eq!(fs::read(out.join(&file.name)).unwrap(), file.bytes, "{}", file.name);
    }
}

fn tell(folder: &Path, words: &[&str]) -> Output {
    Command::new(KEYSTEAD).args(["provide", "--dir"]).arg(folder).args(words).output().unwrap()
}

pub(crate) fn claimed(summary: &Value, number: usize) -> u128 {
    let providers = summary["providers"].as_array().unwrap();
    let of = |p: &&Value| p["account"].as_str().unwrap().eq_ignore_ascii_case(account(number));
    providers.iter().find(of).unwrap()["claimedWei"].as_str().unwrap().parse().unwrap()
}

/// Four providers; of each kind one.
#[test]
fn a_liar_a_dead_machine_and_an_owner_who_comes_back_cost_a_map_nothing_but_time() {
    let network = Network::start(4);
    let folder = |number: usize| network.directory.join(format!("provider-{number}"));
    let start = |number: usize, more: &[&str]| {
        Provider::start_as(&network, &folder(number), number, &[&CLOSELY[..], more].concat())
    };
    let _honest = start(1, &[]);
    let mut dies = start(3, &[]);
    let paused = start(4, &[]);
    let _liar = start(5, &["--fault-seed", "7"]);
    let job = Job::align(&network, 40, 110);
    let purse = Purse::look(&network);
    let events = network.directory.join("events.jsonl");
    let (mut customer, log) = job.spawn(&network, &["--silence-seconds", "10", "--events", events.to_str().unwrap()]);
    job.wait_for_steps(40, &mut customer, &log);
    dies.kill();
    assert!(tell(&folder(4), &["--pause"]).status.success());
    wait_until("the owner has the machine", || paused.workers().is_empty().then_some(()));
    let ended = wait_until("the map ends", || customer.try_wait().unwrap());
    let said = fs::read_to_string(&log).unwrap();
    assert_eq!(ended.code(), Some(0), "{said}");

    same_files(&job.out, &job.reference());
    let summary = job.summary();
    assert_eq!((&summary["status"], &summary["unitsLeft"]), (&"done".into(), &0.into()), "{summary}");
    assert_eq!(summary["assurance"], "unverified", "{summary}");
    assert!(said.contains("UNVERIFIED for anybody but its customer: nobody else checked it"), "{said}");
    let why = summary["certificateMissing"].as_str().unwrap();
    assert!(summary["certificate"].is_null() && why.contains("--audit") && said.contains("No certificate: "), "{said}");
    // The liar was caught in its first window, which is not paid.
    assert_eq!(claimed(&summary, 5), 0, "{summary}");
    assert_eq!(summary["lostWei"], "0");
    // The dead one did not come back for what it had earned.
    assert_eq!(claimed(&summary, 3), 0, "{summary}");
    let happened = fs::read_to_string(&events).unwrap();
    // That the dead one is lost is known from its connection only after 15 s, and from its silence after 10.
    for event in ["\"wrong\"", "\"left-out\"", "\"draining\"", "\"lease-ended\""] {
        assert!(happened.contains(event), "no {event} in: {happened}");
    }
    // What the honest one said while it worked was heard before the end, and is in the log.
    let lines: Vec<&str> = happened.lines().collect();
    let noted = |line: &&str| line.contains("\"note\"") && line.contains("\"prepared\"");
    let first = lines.iter().position(noted).expect("a note");
    let last_paid = lines.iter().rposition(|line| line.contains("\"paid\"")).expect("a window is paid");
    assert!(first < last_paid, "{happened}");
    let log = fs::read_to_string(job.out.join("provider.log")).unwrap();
    assert!(log.contains("says: has the program ready, ms="), "{log}");
    // Each step was paid once: those of all providers are the units.
    let units = summary["spec"]["unitCount"].as_u64().unwrap();
    assert!(units > 200, "{units} units");
    // The price was said before the first channel was opened, and what was paid is not more.
    let wei = |value: &Value| value.as_str().unwrap().parse::<u128>().unwrap();
    let (work, promised) = (wei(&summary["said"]["workWei"]), wei(&summary["promisedWei"]));
    assert_eq!((work, wei(&summary["said"]["mostWei"])), (PRICE * u128::from(units), 2 * work), "{summary}");
    assert!(promised <= work && said.contains("Price: at most ") && said.contains("all in at most "), "{said}");
    assert!(said.contains("was said before anything was paid; it was "), "{said}");
    let journal = fs::read_to_string(job.out.join("journal")).unwrap();
    assert!(journal.find("\"promised\"").unwrap() < journal.find("\"opening\"").unwrap(), "{journal}");
    let steps: u64 = summary["providers"].as_array().unwrap().iter().map(|p| p["steps"].as_u64().unwrap()).sum();
    assert_eq!((steps, job.settled()), (units, units), "{summary}");
    purse.check(&network, &summary);
}

/// What `--events` must hold of a map of two providers that five processes brought to its end: each lease, each wei and each percent once.
fn assert_told(record: &Path, units: u64) {
    let whole = fs::read_to_string(record).unwrap();
    let lines: Vec<Value> = whole.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of = |event: &str| lines.iter().filter(|line| line["event"] == *event).collect::<Vec<_>>();
    let numbers = |event: &str, fact: &str| {
        let number = |line: &&Value| line["facts"][fact].as_u64().unwrap_or_else(|| panic!("no {fact} in {line}"));
        of(event).iter().map(number).collect::<Vec<u64>>()
    };
    let wei = |event: &str, fact: &str| {
        let wei = |line: &&Value| line["facts"][fact].as_str().unwrap().parse::<u128>().unwrap();
        of(event).iter().map(wei).sum::<u128>()
    };
    assert_eq!(lines.first().unwrap()["event"], "planned", "{whole}");
    assert_eq!((numbers("planned", "units"), of("resumed").len()), (vec![units], 4), "{whole}");
    let last = lines.last().unwrap();
    assert_eq!((&last["event"], &last["facts"]), (&"done".into(), &serde_json::json!({"exitCode": 0})), "{whole}");
    for line in of("joined") {
        assert_eq!(line["facts"], serde_json::json!({"priceWeiPerStep": PRICE.to_string()}), "{whole}");
    }
    for (event, count) in [("joined", 2), ("channel", 2), ("closed", 2), ("reduced", 1), ("no-certificate", 1)] {
        assert_eq!(of(event).len(), count, "{event} in: {whole}");
    }
    // Every lease is granted once, and paid or given to another one; what was paid is every unit at its price.
    let each_once = |mut leases: Vec<u64>| {
        leases.sort_unstable();
        assert!(leases.is_sorted_by(|one, next| one < next), "told twice: {leases:?} in: {whole}");
        leases
    };
    let over = [numbers("paid", "lease"), numbers("lease-ended", "lease")].concat();
    assert_eq!(each_once(numbers("leased", "lease")), each_once(over), "{whole}");
    assert_eq!(numbers("paid", "steps").iter().sum::<u64>(), units, "{whole}");
    let price = PRICE * u128::from(units);
    assert_eq!((wei("paid", "wei"), wei("closed", "claimedWei")), (price, price), "{whole}");
    let done = numbers("progress", "done");
    assert!(done.len() <= 101 && done.is_sorted_by(|one, next| one < next), "{done:?} in: {whole}");
    assert_eq!(done.last(), Some(&units), "{whole}");
}

#[test]
fn a_customer_that_is_killed_again_and_again_loses_no_unit_and_pays_none_twice() {
    let network = Network::start(1);
    let _providers = [1, 3].map(|number| {
        Provider::start_as(&network, &network.directory.join(format!("provider-{number}")), number, &CLOSELY)
    });
    let job = Job::align(&network, 40, 110);
    let purse = Purse::look(&network);
    let record = network.directory.join("events.jsonl");
    let events = ["--events", record.to_str().unwrap()];
    for more in [1, 30, 60, 60] {
        // Counted from what the one before had, so that each got to work, and told so, before it is killed.
        let settled = job.settled();
        let (mut customer, log) = job.spawn(&network, &events);
        job.wait_for_steps(settled + more, &mut customer, &log);
        customer.kill().unwrap();
        customer.wait().unwrap();
    }
    let output = job.map(&network, &events).output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("Going on in"), "{said}");
    same_files(&job.out, &job.reference());
    let summary = job.summary();
    let units = summary["spec"]["unitCount"].as_u64().unwrap();
    assert_eq!(job.settled(), units);
    assert_told(&record, units);
    // One channel each, for all five processes, and every step at its price.
    let claimed = claimed(&summary, 1) + claimed(&summary, 3);
    assert_eq!(claimed, PRICE * u128::from(units), "{summary}");
    purse.check(&network, &summary);

    // A map that is whole is not done again; another job does not get its folder.
    let again = job.map(&network, &["--reduce", "concat"]).output().unwrap();
    assert_eq!(again.status.code(), Some(0), "{}", text(&again));
    assert!(job.out.join("result.bin").exists());
    assert_eq!(job.settled(), units);
    // Nor is it given up because no node answers.
    let cut_off = job.map_through(&network, "http://127.0.0.1:1", &[]).output().unwrap();
    assert_eq!(cut_off.status.code(), Some(3), "{}", text(&cut_off));
    assert!(text(&cut_off).contains("What is done is kept"), "{}", text(&cut_off));
    let other = Job { set: vec!["cells-per-unit=2000000"], ..job };
    let refused = other.map(&network, &[]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains("holds another job"), "{}", text(&refused));
}

/// At least twice, in the middle of leases: what the providers have by then is reported, checked and paid, and the channels are closed. The rest is done later.
#[test]
fn ctrl_c_pays_a_map_for_the_steps_that_are_done_by_then_and_the_same_command_ends_it() {
    let network = Network::start(1);
    let _providers = [1, 3].map(|number| {
        Provider::start_as(&network, &network.directory.join(format!("provider-{number}")), number, &CLOSELY)
    });
    let job = Job::align(&network, 40, 110);
    let purse = Purse::look(&network);
    // What was promised is what was claimed: so many steps, each at its price, of both providers.
    let check = |summary: &Value, status: &str| {
        assert_eq!((&summary["status"], &summary["lostWei"]), (&status.into(), &"0".into()), "{summary}");
        assert_eq!(summary["channelsLeft"], serde_json::json!([]), "{summary}");
        for provider in summary["providers"].as_array().unwrap() {
            let earned = PRICE * u128::from(provider["steps"].as_u64().unwrap());
            assert_eq!(provider["claimedWei"], earned.to_string(), "{summary}");
        }
        let steps = summary["providers"].as_array().unwrap().iter().map(|provider| provider["steps"].as_u64().unwrap());
        assert_eq!(steps.sum::<u64>(), job.settled(), "{summary}");
        purse.check(&network, summary);
    };
    let mut round = 0;
    // Whoever is just between two leases has nothing to report.
    while round < 2 || round < 5 && job.paid_in_part() == 0 {
        round += 1;
        let paid = job.settled();
        let (mut customer, log) = job.spawn(&network, &[]);
        job.wait_for_steps(paid + 10, &mut customer, &log);
        assert!(Command::new("kill").args(["-INT", &customer.id().to_string()]).status().unwrap().success());
        let ended = wait_until("the map ends", || customer.try_wait().unwrap());
        let said = fs::read_to_string(&log).unwrap();
        assert_eq!(ended.code(), Some(3), "{said}");
        let stopping = "Stopping: providers report what they have, which is paid.";
        assert_eq!(said.matches(stopping).count(), round, "{said}");
        assert_eq!(said.matches("The same command goes on.").count(), round, "{said}");
        let summary = job.summary();
        assert!(summary["unitsLeft"].as_u64().unwrap() > 0, "{summary}");
        assert!(!job.out.join("alignments.tsv").exists());
        check(&summary, "stopped");
    }
    assert!(job.paid_in_part() > 0, "no lease was stopped in its middle");
    let output = job.map(&network, &[]).output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("Going on in"), "{said}");
    same_files(&job.out, &job.reference());
    let summary = job.summary();
    let units = summary["spec"]["unitCount"].as_u64().unwrap();
    assert_eq!((job.settled(), &summary["unitsLeft"]), (units, &0.into()), "{summary}");
    check(&summary, "done");
}

/// It dies between the customer's signature and its own disk: in the middle of a job, and in the last window of one, when nobody has work for it any
/// more. It is paid all the same, by the same process of the customer or by the next one.
#[test]
fn a_provider_that_dies_before_it_has_its_voucher_gets_it_when_it_comes_back() {
    let network = Network::start(1);
    let folder = network.directory.join("provider");
    let mut provider = Provider::start_as(&network, &folder, 1, &CLOSELY);
    for (targets, is_last_window, customer_dies) in [(108, false, false), (24, true, false), (24, true, true)] {
        // Large units, each checked, so that the check takes its time; a job of one unit is one window.
        let out = network.directory.join(format!("result-{is_last_window}-{customer_dies}"));
        let job = Job { set: vec!["cells-per-unit=60000000"], out, ..Job::align(&network, 20, targets) };
        let all = ["--sample-rate", "100"];
        let purse = Purse::look(&network);
        let (mut customer, log) = job.spawn(&network, &all);
        job.wait_for_a_voucher_that_nobody_hears(&provider, &mut customer, &log);
        if customer_dies {
            customer.kill().unwrap();
            customer.wait().unwrap();
        }
        provider.kill();
        if is_last_window && !customer_dies {
            let waits = || fs::read_to_string(&log).unwrap().contains("waiting up to 60 s for who is away");
            wait_until("the customer waits", || waits().then_some(()));
        }
        provider = Provider::start_as(&network, &folder, 1, &CLOSELY);
        if customer_dies {
            customer = job.spawn(&network, &all).0;
        }
        let ended = wait_until("the map ends", || customer.try_wait().unwrap());
        let said = fs::read_to_string(&log).unwrap();
        assert_eq!(ended.code(), Some(0), "{said}\n{}", provider.text());
        same_files(&job.out, &job.reference());
        let summary = job.summary();
        let units = summary["spec"]["unitCount"].as_u64().unwrap();
        assert_eq!(job.windows() == 1, is_last_window, "{units} units: {summary}");
        assert_eq!(claimed(&summary, 1), PRICE * u128::from(units), "{summary}\n{}", provider.text());
        purse.check(&network, &summary);
    }
}

/// The only provider is away when its channel is to close, and the person does not wait for it, twice: the result is there, and the next process ends it.
#[test]
fn who_does_not_wait_for_the_channels_hears_what_is_open_and_the_same_command_closes_them() {
    let network = Network::beside(1);
    let folder = network.directory.join("provider");
    let mut provider = Provider::start_as(&network, &folder, 1, &CLOSELY);
    let job = Job { set: vec!["cells-per-unit=60000000"], ..Job::align(&network, 20, 24) };
    let all = ["--sample-rate", "100"];
    let purse = Purse::look(&network);
    let (mut customer, log) = job.spawn(&network, &all);
    job.wait_for_a_voucher_that_nobody_hears(&provider, &mut customer, &log);
    provider.kill();
    for (number, signal) in [(1, "-INT"), (2, "-TERM")] {
        if number > 1 {
            customer = job.spawn(&network, &all).0;
        }
        let said = || fs::read_to_string(&log).unwrap();
        wait_until("the customer waits for who is away", || {
            let ended = customer.try_wait().unwrap();
            assert!(ended.is_none(), "{}", said());
            (said().matches("waiting up to 60 s for who is away").count() == number).then_some(())
        });
        assert!(Command::new("kill").args([signal, &customer.id().to_string()]).status().unwrap().success());
        let ended = wait_until("the map ends", || customer.try_wait().unwrap());
        let said = said();
        assert_eq!(ended.code(), Some(3), "{said}");
        assert_eq!(said.matches("Stopping with 1 channel not closed yet").count(), number, "{said}");
        assert_eq!(said.matches("is not closed: run the same command again").count(), number, "{said}");
        assert_eq!(said.matches("It was away before it had what was promised last").count(), number, "{said}");
        let summary = job.summary();
        assert_eq!((&summary["status"], &summary["unitsLeft"]), (&"done".into(), &0.into()), "{summary}");
        assert_eq!(summary["channelsLeft"].as_array().unwrap().len(), 1, "{summary}");
        same_files(&job.out, &job.reference());
    }
    let back = Provider::start_as(&network, &folder, 1, &CLOSELY);
    let output = job.map(&network, &all).output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(0), "{said}\n{}", back.text());
    assert!(!said.contains("is not closed"), "{said}");
    let summary = job.summary();
    let units = summary["spec"]["unitCount"].as_u64().unwrap();
    assert_eq!((job.settled(), job.windows()), (units, 1), "{summary}");
    assert_eq!(summary["channelsLeft"], serde_json::json!([]), "{summary}");
    assert_eq!(claimed(&summary, 1), PRICE * u128::from(units), "{summary}\n{}", back.text());
    purse.check(&network, &summary);
}

/// The first provider makes the first segments of every unit and dies; the second one goes on from the states that were paid for.
#[test]
fn a_segmented_unit_goes_on_elsewhere_from_its_snapshot() {
    let network = Network::start(1);
    let folder = |number: usize| network.directory.join(format!("provider-{number}"));
    let mut first = Provider::start_as(&network, &folder(1), 1, &CLOSELY);
    let job = Job {
        recipe: "nbody",
        inputs: Vec::new(),
        set: vec!["members=2", "members-per-unit=1", "steps=200000"],
        out: network.directory.join("result"),
    };
    let purse = Purse::look(&network);
    let (mut customer, log) = job.spawn(&network, &["--silence-seconds", "10"]);
    job.wait_for_steps(8, &mut customer, &log);
    // It does nothing more, also if the second one takes its time to start.
    first.signal("STOP");
    let second = Provider::start_as(&network, &folder(3), 3, &CLOSELY);
    first.kill();
    let paid = job.settled();
    let ended = wait_until("the map ends", || customer.try_wait().unwrap());
    let said = fs::read_to_string(&log).unwrap();
    assert_eq!(ended.code(), Some(0), "{said}\n{}", second.text());
    let summary = job.summary();
    let spec = &summary["spec"];
    let all = spec["unitCount"].as_u64().unwrap() * spec["segmentCount"].as_u64().unwrap();
    let steps = |index: usize| summary["providers"][index]["steps"].as_u64().unwrap();
    assert!(steps(0) >= paid && steps(0) < all, "{summary}");
    assert_eq!(steps(0) + steps(1), all, "what the first one did is not done again: {summary}");
    // A segment costs its share of a unit, rounded up.
    let price = PRICE.div_ceil(u128::from(spec["segmentCount"].as_u64().unwrap()));
    assert_eq!(summary["providers"][1]["priceWei"], price.to_string());
    assert_eq!(claimed(&summary, 3), price * u128::from(steps(1)));
    purse.check(&network, &summary);
    assert!(job.out.join("bodies.csv").exists());
}

/// The cheapest of all stands elsewhere, the next one has paused: the plan leaves both out, and says so if nobody is left.
#[test]
fn a_map_takes_whom_the_plan_says_and_not_whoever_is_cheapest() {
    let network = Network::start(1);
    let start = |number: usize, price: u128, country: &str| {
        let folder = network.directory.join(format!("provider-{number}"));
        let more = [&CLOSELY[..], &["--country", country]].concat();
        (Provider::start_at(&network, &folder, number, price, &more), folder)
    };
    let _elsewhere = start(1, PRICE / 4, "FR");
    let (_paused, folder) = start(3, PRICE / 2, "DE");
    let _dear = start(4, PRICE * 3, "DE");
    let _fits = start(5, PRICE, "DE");
    assert!(tell(&folder, &["--pause"]).status.success());
    wait_until("the pause is heard", || {
        let answer = crate::matching::why_not(&network, &["align", "--value-of-time", "0"]).1;
        answer["leftOut"].as_array()?.iter().any(|one| one["code"] == "owner").then_some(())
    });
    let job = Job::align(&network, 10, 20);
    let purse = Purse::look(&network);
    let plan = ["--country", "DE", "--value-of-time", "0", "--providers", "1"];
    let output = job.map(&network, &plan).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    same_files(&job.out, &job.reference());
    let summary = job.summary();
    assert_eq!(summary["providers"].as_array().unwrap().len(), 1, "{summary}");
    assert!(claimed(&summary, 5) > 0, "{summary}");
    purse.check(&network, &summary);
    let nobody = Job { out: network.directory.join("nobody"), ..job };
    let output = nobody.map(&network, &["--country", "NL"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let said = text(&output);
    assert!(said.contains("no provider takes orders for this job") && said.contains("--country"), "{said}");
    // A name is no word about where data goes.
    let named = Job { out: network.directory.join("named"), ..nobody };
    let output = named.map(&network, &["--provider", account(5), "--country", "NL"]).output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no provider takes orders for this job") && said.contains("(--country DE)"), "{said}");
}

/// One unit and four channels, which are opened one after the other: most of them are not there yet when the job is done.
#[test]
fn a_job_that_is_done_before_its_channels_are_open_leaves_nothing_in_them() {
    let network = Network::start(1);
    let _providers = [1, 3, 4, 5].map(|number| {
        Provider::start_as(&network, &network.directory.join(format!("provider-{number}")), number, &CLOSELY)
    });
    let job = Job::align(&network, 2, 2);
    let purse = Purse::look(&network);
    let output = job.map(&network, &["--providers", "4"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let summary = job.summary();
    assert_eq!((&summary["status"], &summary["unitsLeft"]), (&"done".into(), &0.into()), "{summary}");
    assert!(summary["providers"].as_array().unwrap().len() > 1, "{summary}");
    purse.check(&network, &summary);
}

#[test]
fn what_a_customer_can_do_wrong_is_said_before_any_money_moves() {
    let network = Network::start(1);
    let job = Job::align(&network, 4, 4);
    let fails = |more: &[&str], words: &str| {
        let output = job.map(&network, more).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains(words), "no {words:?} in: {}", text(&output));
    };
    fails(&["--reduce", "missing.wasm"], "cannot read the program");
    let events = network.directory.join("events.jsonl");
    fails(&["--checkers", "2", "--events", events.to_str().unwrap()], "nobody is asked to");
    let told = fs::read_to_string(&events).unwrap();
    assert!(told.contains("\"event\":\"failed\"") && told.contains("\"exitCode\":1"), "{told}");
    fails(&[], "no provider takes orders");
    // Its watcher may be away for an hour, and these channels would give it two seconds.
    let _careful = Provider::start(&network, &network.directory.join("careful"));
    let purse = Purse::look(&network);
    fails(&[], "every provider was left out");
    let _provider = Provider::start_as(&network, &network.directory.join("provider"), 3, &CLOSELY);
    fails(&["--max-price", "1"], "--max-price is below the price of a step: the cheapest provider asks");
    // One wei less than all of it costs: nothing is begun that could not be paid to its end.
    let units = u128::from(job.summary()["spec"]["unitCount"].as_u64().unwrap());
    let nearly = (PRICE * units - 1).to_string();
    let begun = fs::read_to_string(job.out.join("journal")).unwrap().matches("\"opening\"").count();
    fails(&["--max-price", &nearly], "--max-price does not pay for the whole job");
    let summary = job.summary();
    assert_eq!(summary["said"]["maxPriceWei"], nearly, "{summary}");
    let opened = fs::read_to_string(job.out.join("journal")).unwrap().matches("\"opening\"").count();
    assert_eq!(opened, begun, "no channel was opened");
    assert_eq!((&summary["status"], &summary["promisedWei"]), (&"failed".into(), &"0".into()), "{summary}");
    assert_eq!(job.settled(), 0);
    // The second provider's start costs its registration after the purse was looked at: only the customer's money is compared.
    let fees = all_fees(&network, purse.since);
    let fee = fees.get(&account(2).to_lowercase()).copied().unwrap_or_default();
    assert_eq!(balance(&network, account(2)) + fee, purse.before[2], "{summary}");
    assert_eq!(balance(&network, CHANNEL), 0);
}

/// The customer stands still for longer than its providers may be silent, and again for longer than its connections live. Later its own program for the result fails.
#[test]
fn a_customer_that_stood_still_blames_nobody_and_a_result_that_is_not_written_costs_no_unit() {
    let network = Network::start(1);
    let folder = |number: usize| network.directory.join(format!("provider-{number}"));
    let mut providers = [1, 3].map(|number| Provider::start_as(&network, &folder(number), number, &CLOSELY));
    let job = Job::align(&network, 40, 60);
    let purse = Purse::look(&network);
    let events = network.directory.join("events.jsonl");
    let options =
        ["--silence-seconds", "6", "--reduce", "cat > /dev/null; exit 7", "--events", events.to_str().unwrap()];
    let (mut customer, log) = job.spawn(&network, &options);
    job.wait_for_steps(8, &mut customer, &log);
    let mut signals = Signals::of(customer.id());
    // Twice the silence that it forgives, and less than the 15 s after which its connections are gone. Then longer than those live, and than what is
    // known of a channel counts, while a report is looked at: its pay waits for a new look, and the lines connect again.
    for seconds in [12, 35] {
        job.wait_for_a_look_at_a_report(&mut customer, &log);
        signals.send("STOP");
        thread::sleep(Duration::from_secs(seconds));
        signals.send("CONT");
    }
    let ended = wait_until("the map ends", || customer.try_wait().unwrap());
    let said = fs::read_to_string(&log).unwrap();
    assert_eq!(ended.code(), Some(3), "{said}");
    assert!(said.contains("What is done is kept") && said.contains('7'), "{said}");
    let happened = fs::read_to_string(&events).unwrap();
    for blame in ["\"left-out\"", "\"not-paid\"", "silent", "late"] {
        assert!(!happened.contains(blame), "{blame} in: {happened}");
    }

    // Nobody is needed for what is left.
    for provider in &mut providers {
        wait_until("the channels are over", || provider.text().contains("channel over").then_some(()));
        provider.kill();
    }
    let again = job.map(&network, &["--reduce", "concat"]).output().unwrap();
    assert_eq!(again.status.code(), Some(0), "{}", text(&again));
    let summary = job.summary();
    assert_eq!(job.settled(), summary["spec"]["unitCount"].as_u64().unwrap(), "{summary}");
    assert!(fs::metadata(job.out.join("result.bin")).unwrap().len() > 0);
    purse.check(&network, &summary);
}
