//! `keystead map` while its providers come and go: in every round a third of them is killed, paused by its owner or stands still, and comes back. Nothing
//! is lost, and nothing is paid twice.

use crate::{
    dice::Dice,
    map::{CLOSELY, Job, Purse, same_files, wait_until},
    network::Network,
    owner::say,
    parties::{PRICE, Provider, fasta},
};
use serde_json::Value;
use std::{
    fs,
    path::PathBuf,
    process::Child,
    thread,
    time::{Duration, Instant},
};

/// Test accounts of the providers; 2 is the customer's.
const ACCOUNTS: [usize; 6] = [1, 3, 4, 5, 6, 7];
/// Providers that go in a round, two of six.
const GONE: usize = 2;
/// The job has at least so many units; a few tens of milliseconds of one core each.
const UNITS_MIN: u64 = 400;
/// Once so many steps are paid nobody goes any more, so that whoever went is back before the end.
const CALM_FROM: u64 = 380;
/// A round ends once so many steps more are paid, also if its time is not over: so a fast machine has as many of them.
const STEPS_OF_ROUND: u64 = 80;
/// However slow the machine is: after so many rounds everybody stays.
const ROUNDS_MAX: usize = 8;
/// Processors work for a small part of the time, so that six providers on two cores are slow for the same reason everywhere: because their owners say so.
const PREFERENCES: &str = "version = 1\n\n[in_use]\ncpu_time_percent = 5\n\n[not_in_use]\ncpu_time_percent = 5\n";

/// How a provider goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Going {
    /// SIGKILL; it starts again in its folder.
    Killed,
    /// Its owner says so, and takes it back.
    Paused,
    /// SIGSTOP and SIGCONT: nobody hears it, and it does not notice.
    StoodStill,
}

const WAYS: [Going; 3] = [Going::Killed, Going::Paused, Going::StoodStill];

/// The providers, by their place in [`ACCOUNTS`].
struct Crowd<'n> {
    network: &'n Network,
    providers: Vec<Provider>,
    /// Who went, and how; nobody is in it when a round ends.
    gone: Vec<(usize, Going)>,
    /// All that happened: the same seed gives the same.
    went: Vec<(usize, Going)>,
}

impl<'n> Crowd<'n> {
    fn start(network: &'n Network) -> Self {
        let providers = (0..ACCOUNTS.len()).map(|place| Self::begin(network, place)).collect();
        Self { network, providers, gone: Vec::new(), went: Vec::new() }
    }

    fn folder(network: &Network, place: usize) -> PathBuf {
        network.directory.join(format!("provider-{}", ACCOUNTS[place]))
    }

    fn begin(network: &Network, place: usize) -> Provider {
        let folder = Self::folder(network, place);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("owner.toml"), PREFERENCES).unwrap();
        Provider::start_as(network, &folder, ACCOUNTS[place], &[&CLOSELY[..], &["--store", "64"]].concat())
    }

    fn tell(&self, place: usize, word: &str) {
        let told = say(&Self::folder(self.network, place), &[word]);
        assert!(told.status.success(), "{}", crate::parties::text(&told));
    }

    fn leave(&mut self, place: usize, way: Going) {
        match way {
            Going::Killed => self.providers[place].kill(),
            Going::Paused => self.tell(place, "--pause"),
            Going::StoodStill => self.providers[place].signal("STOP"),
        }
        self.gone.push((place, way));
        self.went.push((place, way));
    }

    fn come_back(&mut self) {
        for (place, way) in std::mem::take(&mut self.gone) {
            match way {
                Going::Killed => self.providers[place] = Self::begin(self.network, place),
                Going::Paused => self.tell(place, "--resume"),
                Going::StoodStill => self.providers[place].signal("CONT"),
            }
        }
    }

    fn logs(&self) -> String {
        let of = |(place, provider): (usize, &Provider)| format!("-- {}\n{}", ACCOUNTS[place], provider.text());
        self.providers.iter().enumerate().map(of).collect()
    }
}

/// Waits so long, or until so many steps are paid or the customer has ended.
fn let_pass(long: Duration, steps: u64, job: &Job, customer: &mut Child) {
    let begin = Instant::now();
    while begin.elapsed() < long && job.settled() < steps && customer.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(50));
    }
}

/// A time between two, milliseconds.
const fn millis(dice: &mut Dice, least: u64, more: u64) -> Duration {
    Duration::from_millis(least + dice.roll(more))
}

/// Rounds of 10 to 15 s until most of the job is paid. Who goes is taken from a shuffled deck, and each way to go in its turn: nobody goes twice before
/// all went once, since three failures in a row leave a provider out.
fn churn(crowd: &mut Crowd<'_>, dice: &mut Dice, job: &Job, customer: &mut Child) {
    let (mut deck, mut ways): (Vec<usize>, _) = (Vec::new(), WAYS.iter().copied().cycle());
    for _ in 0..dice.roll(3) {
        ways.next();
    }
    for _ in 0..ROUNDS_MAX {
        let paid = job.settled();
        if paid >= CALM_FROM || customer.try_wait().unwrap().is_some() {
            return;
        }
        let begin = Instant::now();
        for _ in 0..GONE {
            // In the middle of whatever it does.
            let_pass(millis(dice, 0, 1_500), u64::MAX, job, customer);
            if deck.is_empty() {
                deck = (0..ACCOUNTS.len()).collect();
            }
            let place = deck.swap_remove(dice.roll(deck.len() as u64) as usize);
            crowd.leave(place, ways.next().unwrap());
        }
        // Longer than the customer waits for who is silent, and shorter.
        let_pass(millis(dice, 4_000, 5_000), u64::MAX, job, customer);
        crowd.come_back();
        let long = millis(dice, 10_000, 5_000).saturating_sub(begin.elapsed());
        let_pass(long, paid + STEPS_OF_ROUND, job, customer);
    }
}

/// Leases of `--events` that were paid, and that ended without pay.
fn leases(happened: &str, event: &str) -> Vec<u64> {
    let lines = happened.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut leases: Vec<u64> =
        lines.filter(|line| line["event"] == *event).map(|line| line["facts"]["lease"].as_u64().unwrap()).collect();
    leases.sort_unstable();
    leases
}

/// Six providers, of whom two go every ten to fifteen seconds, all the time: the result is the reference's, every step is paid once, and every wei is
/// where it belongs.
#[test]
fn under_thirty_percent_churn_a_map_loses_nothing_and_pays_nothing_twice_slow() {
    let seed = std::env::var("KEYSTEAD_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_130);
    println!("seed: KEYSTEAD_SEED={seed}");
    let mut dice = Dice(seed);
    let network = Network::start(1);
    let mut crowd = Crowd::start(&network);
    // Few long proteins: the work is in the cells, not in the bytes that move.
    let [queries, targets] = ["queries", "targets"].map(|name| network.directory.join(format!("{name}.faa")));
    fasta(&queries, 70, 1_000);
    fasta(&targets, 62, 1_000);
    let job = Job {
        recipe: "align",
        inputs: vec![("queries".to_owned(), queries), ("targets".to_owned(), targets)],
        set: vec!["cells-per-unit=10000000"],
        out: network.directory.join("result"),
    };
    let purse = Purse::look(&network);
    let events = network.directory.join("events.jsonl");
    let more = [
        ["--providers", "6"],
        ["--window-seconds", "6"],
        ["--silence-seconds", "6"],
        ["--events", events.to_str().unwrap()],
    ];
    let (mut customer, log) = job.spawn(&network, more.as_flattened());
    job.wait_for_steps(8, &mut customer, &log);
    let expected = thread::scope(|scope| {
        let expected = scope.spawn(|| job.reference());
        churn(&mut crowd, &mut dice, &job, &mut customer);
        expected.join().unwrap()
    });
    let ended = wait_until("the map ends", || customer.try_wait().unwrap());
    let said = fs::read_to_string(&log).unwrap();
    assert_eq!(ended.code(), Some(0), "{said}\n{}", crowd.logs());

    // It was no calm day: each way to go was gone, and leases came to nothing by it.
    let went = &crowd.went;
    assert!(went.len() >= 2 * WAYS.len() && crowd.gone.is_empty(), "{went:?}");
    assert!(WAYS.iter().all(|way| went.iter().any(|(_, of)| of == way)), "{went:?}");
    let happened = fs::read_to_string(&events).unwrap();
    let (lost, paid) = (leases(&happened, "lease-ended"), leases(&happened, "paid"));
    assert!(lost.len() >= 2, "{went:?}\n{happened}");
    assert!(paid.is_sorted_by(|one, next| one < next), "a lease is paid twice: {paid:?}");
    assert!(lost.iter().all(|lease| !paid.contains(lease)), "a lease that ended is paid: {lost:?}, {paid:?}");

    same_files(&job.out, &expected);
    let summary = job.summary();
    assert_eq!((&summary["status"], &summary["unitsLeft"]), (&"done".into(), &0.into()), "{summary}");
    assert_eq!(summary["lostWei"], "0", "{summary}");
    let units = summary["spec"]["unitCount"].as_u64().unwrap();
    assert!(units >= UNITS_MIN, "{units} units");
    let providers = summary["providers"].as_array().unwrap();
    let steps: u64 = providers.iter().map(|provider| provider["steps"].as_u64().unwrap()).sum();
    assert_eq!((steps, job.settled()), (units, units), "{summary}");
    // Whoever was killed has what it had earned before: everybody was there at the end.
    let claimed: u128 =
        providers.iter().map(|provider| provider["claimedWei"].as_str().unwrap().parse::<u128>().unwrap()).sum();
    assert_eq!(claimed, PRICE * u128::from(units), "{summary}\n{}", crowd.logs());
    purse.check(&network, &summary);
}
