//! The owner of a provider's machine: pausing, going on, finishing, while a job runs.

use crate::{
    disk_pulse::{DiskPulse, now_ms},
    market::{SMALL, in_the_middle, job, order},
    network::{KEYSTEAD, Network, wait_until},
    parties::{MARKET, Provider, balance, text},
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};
use terminal::{PREFERENCES, Terminal};

/// What the owner types in another terminal.
pub(crate) fn say(folder: &Path, words: &[&str]) -> Output {
    Command::new(KEYSTEAD).args(["provide", "--dir"]).arg(folder).args(words).output().unwrap()
}

pub(crate) fn status(folder: &Path) -> Value {
    let output = say(folder, &["--status"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)))
}

#[test]
fn a_pause_ends_the_work_within_a_second_loses_nothing_and_a_wish_to_finish_is_kept() {
    let network = Network::alone(1);
    let folder = network.directory.join("provider");
    let mut provider = Provider::start(&network, &folder);
    let said = status(&folder);
    assert_eq!(said["cpu"]["run"], true);
    // Each device stands there, what is claimed apart from what is proved, which is nothing on a network without checkers.
    assert!(said["devices"][0]["claimed"]["cores"].as_u64() > Some(0), "{said}");
    assert_eq!(said["devices"][0]["proved"], Value::Null);
    let out = network.directory.join("result");
    let (mut customer, log) = in_the_middle(&network, &out, &[]);
    assert_eq!(provider.workers().len(), 1);

    // The promise is about this program: what the machine itself stands still is taken off.
    let machine = DiskPulse::start(&network.directory);
    let paused = say(&folder, &["--pause"]);
    let since = now_ms();
    assert!(paused.status.success(), "{}", text(&paused));
    wait_until("the worker is gone", || provider.workers().is_empty().then_some(()));
    let (until, stood_still) = (now_ms(), machine.end());
    let waited = stood_still.own(since, until);
    assert!(waited < 1_000, "the owner waited {waited} ms, of {} ms in all", until - since);
    provider.wait_for("run paused for the owner");
    // The work ends first, and then it is written down that it does.
    let said =
        wait_until("the state that says so", || Some(status(&folder)).filter(|said| said["cpu"]["run"] == false));
    assert!(said["headline"].as_str().unwrap().starts_with("paused: "), "{said}");
    assert!(customer.try_wait().unwrap().is_none(), "the order waits");

    // Meanwhile no other order is taken, and the customer is told why.
    let second = order(&network, SMALL, &network.directory.join("second"))
        .args(["--reach-seconds", "2", "--patience-ms", "20000"])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1), "{}", text(&second));
    for words in ["owner: 1 provider left out", "paused: "] {
        assert!(text(&second).contains(words), "{}", text(&second));
    }
    assert!(!network.directory.join("second").join("order.json").exists(), "nothing was ordered");

    assert!(say(&folder, &["--resume"]).status.success());
    let ended = wait_until("the customer ends", || customer.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0), "{}", fs::read_to_string(log).unwrap());
    assert_eq!(job(&out)["status"], "accepted");
    provider.wait_for("order paid");

    assert!(say(&folder, &["--finish"]).status.success());
    provider.wait_for("Stopped. No order is open.");
    assert_eq!(balance(&network, MARKET), 0);
}

/// Until a provider sees that nobody is at this machine: at once, or where a keyboard that does not say when it was used last counts as used at the first
/// look, a minute and up to 20 s later. Else what it sees.
fn wait_until_nobody_is_here(folder: &Path) -> Result<(), String> {
    let begin = Instant::now();
    loop {
        let said = status(folder);
        if said["in_use"] == false {
            return Ok(());
        }
        let is_input = said["headline"].as_str().is_some_and(|why| why.contains("last input"));
        if !is_input || begin.elapsed() > Duration::from_secs(100) {
            return Err(said.to_string());
        }
        thread::sleep(Duration::from_secs(1));
    }
}

/// The owner says nothing to this program, and types at a terminal. It needs a machine that shows a terminal's input to a provider, and at which nobody else is.
#[test]
fn who_types_at_the_machine_has_it_within_a_second_and_the_work_goes_on_when_nobody_does_slow() {
    let network = Network::alone(1);
    let folder = network.directory.join("provider");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("owner.toml"), PREFERENCES).unwrap();
    // It is there before the provider looks: a terminal that opens is somebody who comes.
    let terminal = match Terminal::open(&folder).and_then(|opened| opened.read("1 hour ago").map(|()| opened)) {
        Ok(terminal) => terminal,
        Err(error) => return eprintln!("skipped: an owner who types: {error}"),
    };
    let mut provider = Provider::start_as(&network, &folder, 1, &["--compute", "auto"]);
    if let Err(why) = wait_until_nobody_is_here(&folder) {
        return eprintln!("skipped: an owner who types: somebody is at this machine, or its input is not seen: {why}");
    }
    let out = network.directory.join("result");
    let (mut customer, log) = in_the_middle(&network, &out, &[]);
    assert_eq!(provider.workers().len(), 1);

    let machine = DiskPulse::start(&network.directory);
    let typed = Instant::now();
    terminal.read("now").unwrap();
    let since = now_ms();
    wait_until("the worker is gone", || provider.workers().is_empty().then_some(()));
    let (until, stood_still) = (now_ms(), machine.end());
    let waited = stood_still.own(since, until);
    assert!(waited < 1_000, "the owner waited {waited} ms, of {} ms in all", until - since);
    provider.wait_for("run paused for the owner");
    let said =
        wait_until("the state that says so", || Some(status(&folder)).filter(|said| said["cpu"]["run"] == false));
    let why = said["headline"].as_str().unwrap();
    assert!(why.starts_with("paused: the machine is in use: last input ") && said["in_use"] == true, "{said}");
    assert!(provider.text().contains("the machine is in use"), "{}", provider.text());
    assert!(customer.try_wait().unwrap().is_none(), "the order waits");

    // Nobody says anything: a minute without input, and up to 20 s that each machine adds.
    wait_until("the work goes on", || (!provider.workers().is_empty()).then_some(()));
    assert!(typed.elapsed() >= Duration::from_secs(60), "it went on after {:?}", typed.elapsed());
    let ended = wait_until("the customer ends", || customer.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0), "{}", fs::read_to_string(log).unwrap());
    assert_eq!(job(&out)["status"], "accepted");
    provider.wait_for("order paid");
}

/// Whether a process stands still, as the kernel says; nothing if it has ended.
fn stands_still(process: u32) -> Option<bool> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.trim_start().starts_with('T'))
}

/// The owner keeps paused work in memory: it stands still as soon as it would end otherwise, and goes on where it was, or ends with its provider.
#[test]
fn paused_work_that_is_kept_stands_still_within_a_second_and_goes_on_or_ends_with_its_provider() {
    let network = Network::alone(1);
    let folder = network.directory.join("provider");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("owner.toml"), "version = 1\n\n[memory]\nkeep_paused = true\n").unwrap();
    let mut provider = Provider::start(&network, &folder);
    let out = network.directory.join("result");
    let (mut customer, log) = in_the_middle(&network, &out, &[]);
    let workers = provider.workers();
    let [worker] = workers[..] else { panic!("one job, one worker: {workers:?}") };

    let machine = DiskPulse::start(&network.directory);
    assert!(say(&folder, &["--pause"]).status.success());
    let since = now_ms();
    wait_until("the worker stands still", || (stands_still(worker) == Some(true)).then_some(()));
    let (until, stood_still) = (now_ms(), machine.end());
    let waited = stood_still.own(since, until);
    assert!(waited < 1_000, "the owner waited {waited} ms, of {} ms in all", until - since);
    provider.wait_for("work paused for the owner; it stays in memory");
    let said =
        wait_until("the state that says so", || Some(status(&folder)).filter(|said| said["cpu"]["run"] == false));
    assert_eq!(said["evict"], false, "{said}");
    assert_eq!((provider.workers(), stands_still(worker)), (vec![worker], Some(true)), "it is there, and does nothing");
    assert!(customer.try_wait().unwrap().is_none(), "the order waits");

    assert!(say(&folder, &["--resume"]).status.success());
    provider.wait_for("work goes on where it was paused");
    let ended = wait_until("the customer ends", || customer.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0), "{}", fs::read_to_string(log).unwrap());
    assert_eq!(job(&out)["status"], "accepted");
    provider.wait_for("order paid");
    let text = provider.text();
    assert_eq!(text.matches("run begins").count(), 1, "nothing was begun again: {text}");

    // What stands still ends with the provider all the same.
    let (mut customer, _) = in_the_middle(&network, &network.directory.join("second"), &[]);
    let workers = provider.workers();
    let [worker] = workers[..] else { panic!("one job, one worker: {workers:?}") };
    assert!(say(&folder, &["--pause"]).status.success());
    wait_until("the worker stands still", || (stands_still(worker) == Some(true)).then_some(()));
    assert_eq!(provider.interrupt(), Some(0), "{}", provider.text());
    wait_until("the worker is gone", || (!Path::new(&format!("/proc/{worker}")).exists()).then_some(()));
    customer.kill().unwrap();
    customer.wait().unwrap();
}

/// Whether all threads of a process are in the class `SCHED_IDLE`, number 5; nothing if it has ended.
fn is_in_idle_class(process: u32) -> Option<bool> {
    // Field 41 of the file, number 38 after the name.
    let policy = |text: String| Some(text.rsplit_once(')')?.1.split_whitespace().nth(38)? == "5");
    let tasks = fs::read_dir(format!("/proc/{process}/task")).ok()?;
    tasks
        .map(|task| policy(fs::read_to_string(task.ok()?.path().join("stat")).ok()?))
        .try_fold(true, |all, one| Some(all && one?))
}

#[test]
fn a_worker_keeps_to_its_share_of_time_and_processors_and_the_job_is_right() {
    let network = Network::alone(1);
    let folder = network.directory.join("provider");
    fs::create_dir_all(&folder).unwrap();
    // Other programs may use the processors as they like.
    let shares = "cpu_time_percent = 40\ncores_percent = 50\nother_load_percent = 100\n";
    fs::write(folder.join("owner.toml"), format!("version = 1\n\n[in_use]\n{shares}\n[not_in_use]\n{shares}")).unwrap();
    let mut provider = Provider::start_as(&network, &folder, 1, &["--compute", "auto"]);
    assert_eq!(status(&folder)["cpu"]["time_percent"], 40);
    let out = network.directory.join("result");
    let (mut customer, log) = in_the_middle(&network, &out, &[]);
    wait_until("the worker takes only what nobody else wants", || {
        provider.workers().into_iter().find(|worker| is_in_idle_class(*worker) == Some(true))
    });
    for still in [true, false, true] {
        wait_until("the worker stands still, and goes on", || {
            provider.workers().into_iter().find(|worker| stands_still(*worker) == Some(still))
        });
    }
    wait_until("the worker is confined to one half of the processors", || {
        let status = fs::read_to_string(format!("/proc/{}/status", provider.workers().first()?)).ok()?;
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?.trim().to_owned();
        // The list of a single processor has neither ranges nor commas.
        (thread::available_parallelism().unwrap().get() > 2 || list.parse::<u32>().is_ok()).then_some(())
    });
    let ended = wait_until("the customer ends", || customer.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0), "{}", fs::read_to_string(log).unwrap());
    provider.wait_for("order paid");
}

/// Gives jobs this share of the memory as long as somebody is there, or nobody is, and nine tenths otherwise; other programs may use the processors as they like.
fn allow_memory(folder: &Path, in_use: bool, percent: u32) {
    let rules = [true, false].map(|case| {
        let name = if case { "in_use" } else { "not_in_use" };
        let percent = if case == in_use { percent } else { 90 };
        format!("\n[{name}]\nmemory_percent = {percent}\nother_load_percent = 100\n")
    });
    fs::write(folder.join("owner.toml"), format!("version = 1\n{}", rules.concat())).unwrap();
}

/// What a job may declare where the owner gives most, and not where the owner gives one percent; in whole pages of wasm.
fn declared(most: u64, now: u64) -> u64 {
    let declared = (most / 4).min(2 << 30) / 65_536 * 65_536;
    assert!(now < declared, "one percent is little: {now} of {most}");
    declared
}

/// The folder `big`: a recipe, as a new one is, whose jobs declare so much memory.
fn recipe_of(home: &Path, declared: u64) {
    let words = ["recipe", "new", "big", "--runtime", "wasm", "--class", "exact"];
    let made = Command::new(KEYSTEAD).args(words).current_dir(home).output().unwrap();
    assert!(made.status.success(), "{}", text(&made));
    change(&home.join("big/recipe.toml"), "memory_bytes_max = 16777216", &format!("memory_bytes_max = {declared}"));
}

fn change(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    let changed = text.replacen(from, to, 1);
    assert_ne!(text, changed);
    fs::write(path, changed).unwrap();
}

/// A provider whose owner gives nine tenths of the memory.
struct MemoryScene {
    network: Network,
    folder: PathBuf,
    provider: Provider,
    /// Whether somebody is at the machine that runs this test is not the test's to say.
    in_use: bool,
    /// What jobs may take at most, bytes.
    most: u64,
}

fn memory_scene() -> MemoryScene {
    let network = Network::beside(1);
    let folder = network.directory.join("provider");
    fs::create_dir_all(&folder).unwrap();
    allow_memory(&folder, true, 90);
    let provider = Provider::start_as(&network, &folder, 1, &["--compute", "auto"]);
    let said = status(&folder);
    let (in_use, most) = (&said["in_use"], &said["bounds"]["memory_most_bytes"]);
    let (in_use, most) = (in_use.as_bool().unwrap(), most.as_u64().unwrap());
    MemoryScene { network, folder, provider, in_use, most }
}

#[test]
fn a_job_that_takes_more_memory_than_the_owner_gives_is_not_taken_until_the_owner_gives_more() {
    let MemoryScene { network, folder, mut provider, in_use, most } = memory_scene();
    let home = &network.directory;
    let bound = |which: &str| status(&folder)["bounds"][which].as_u64().unwrap();
    allow_memory(&folder, in_use, 1);
    wait_until("the owner gives less", || (bound("memory_bytes") < most / 50).then_some(()));
    let now = bound("memory_bytes");
    let declared = declared(most, now);
    let keystead =
        |words: &[&str]| Command::new(KEYSTEAD).args(words).current_dir(home).stdin(Stdio::null()).output().unwrap();
    recipe_of(home, declared);
    let (url, set) = (network.url(0), ["--set", "first=1000000", "--set", "count=100", "--set", "numbers-per-unit=50"]);
    let run = |out: &str, more: &[&str]| {
        let words = ["run", "./big", "--dev-account", "2", "--rpc", &url, "--out", out];
        keystead(&[&words[..], &set[..], more].concat())
    };
    let refused = run("refused", &["--reach-seconds", "2"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains("has too little free memory"), "{}", text(&refused));
    assert!(!home.join("refused/order.json").exists(), "nothing was ordered");

    allow_memory(&folder, in_use, 90);
    wait_until("the owner gives more", || (bound("memory_bytes") > now).then_some(()));
    let done = run("done", &[]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done));
    provider.wait_for("order paid");
}

/// Between one unit and the next the owner takes the memory back that the running job declares.
#[test]
fn a_running_order_that_takes_more_memory_than_the_owner_gives_waits_until_the_owner_gives_more_and_is_paid() {
    let MemoryScene { network, folder, mut provider, in_use, most } = memory_scene();
    let home = &network.directory;
    // One percent of the machine, of which nine tenths are the most.
    let declared = declared(most, most / 90);
    recipe_of(home, declared);
    // Each number takes a million turns of a loop, and so each unit long enough to look in between.
    let idle = "(local.set $next (i64.const 1000000))
    (loop $idle
      (local.set $next (i64.sub (local.get $next) (i64.const 1)))
      (br_if $idle (i64.ne (local.get $next) (i64.const 0))))
    (loop $bits";
    change(&home.join("big/kernel/program.wat"), "(loop $bits", idle);

    let log = home.join("customer.txt");
    let file = fs::File::create(&log).unwrap();
    let mut customer = Command::new(KEYSTEAD)
        .args(["run", "./big", "--dev-account", "2", "--rpc", &network.url(0), "--out", "done"])
        .args(["--set", "first=1000000", "--set", "count=10000", "--set", "numbers-per-unit=50"])
        .current_dir(home)
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file)
        .spawn()
        .unwrap();
    let said = || fs::read_to_string(&log).unwrap();
    wait_until("some units are finished", || said().contains("units finished").then_some(()));
    assert_eq!(provider.workers().len(), 1, "{}", said());

    allow_memory(&folder, in_use, 1);
    wait_until("the worker is gone", || provider.workers().is_empty().then_some(()));
    provider.wait_for("run paused for the owner");
    // A worker takes 128 MiB beside what its job declares.
    let takes = format!("the job takes {} MiB of memory, and memory_percent allows ", declared.div_ceil(1 << 20) + 128);
    for words in [takes.as_str(), " MiB now, ", &format!("{} MiB at other times", most >> 20)] {
        assert!(provider.text().contains(words), "no {words:?} in: {}", provider.text());
    }
    // The rule is about this job: a smaller one may run.
    wait_until("the state that says so", || {
        let now = status(&folder);
        let is_little = now["bounds"]["memory_bytes"].as_u64().unwrap() < declared;
        (is_little && now["cpu"]["run"] == true && now["new_units"] == true).then_some(())
    });
    assert!(customer.try_wait().unwrap().is_none(), "the order waits: {}", said());
    assert!(provider.workers().is_empty() && balance(&network, MARKET) > 0, "{}", provider.text());

    allow_memory(&folder, in_use, 90);
    wait_until("the work goes on", || (!provider.workers().is_empty()).then_some(()));
    let ended = wait_until("the customer ends", || customer.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0), "{}", said());
    let done = job(&home.join("done"));
    assert_eq!((&done["status"], &done["spec"]["unitCount"]), (&"accepted".into(), &200.into()), "{done}");
    provider.wait_for("order paid");
    assert_eq!(balance(&network, MARKET), 0);
}

#[test]
fn a_provider_that_stores_what_its_owner_gives_takes_no_order_and_says_why() {
    let network = Network::beside(1);
    let folder = network.directory.join("provider");
    let limit = |gb: &str| {
        fs::write(folder.join("owner.toml"), format!("version = 1\n\n[disk]\nused_gb_max = {gb}\n")).unwrap();
    };
    // What an earlier order left: whatever its name says, its bytes count.
    let left = folder.join("blobs/blobs/ab");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("ab".repeat(32)), vec![0; 1_000_000]).unwrap();
    limit("0.001");
    let _provider = Provider::start(&network, &folder);
    let said = status(&folder);
    assert_eq!((&said["new_units"], &said["cpu"]["run"]), (&false.into(), &true.into()), "{said}");
    let refused = order(&network, SMALL, &network.directory.join("result"))
        .args(["--reach-seconds", "2", "--patience-ms", "20000"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    for words in ["owner: 1 provider left out", "this program stores 1 MB; your limit: 1 MB"] {
        assert!(text(&refused).contains(words), "{}", text(&refused));
    }
    limit("1");
    wait_until("orders are taken", || (status(&folder)["new_units"] == true).then_some(()));
}

#[test]
fn commands_to_a_folder_without_a_provider_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for words in [&["--pause"][..], &["--resume"], &["--finish"], &["--status"]] {
        for dir in [&folder.path().join("none"), folder.path()] {
            let output = say(dir, words);
            assert_eq!(output.status.code(), Some(1), "{words:?}");
            assert!(text(&output).contains("provider"), "{}", text(&output));
        }
    }
    let both = say(folder.path(), &["--pause", "--resume"]);
    assert_eq!(both.status.code(), Some(2), "{}", text(&both));
}
