//! The watcher on fixture trees: the owner comes back, commands arrive, preferences change, clocks are scripted.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects)] // A test: a panic is a failure.

mod tree;

use keystead_owner::{
    control::{Command, Control},
    decide::{Cpu, Decision, Gpu, Mode, Now, Reason, Transfers},
    preferences::{Preferences, template},
    report,
    watch::{
        Bell, Clock, Facts, LOOK_PAUSED, LOOK_PREFERENCES, LOOK_RESTING, LOOK_RUNNING, MachineClock, MachineProbe,
        SETTLE, Watcher, run, wait_after,
    },
};
use std::{
    cell::Cell,
    fs,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant, SystemTime},
};
use tree::Tree;

/// Saturday 2026-11-28, 12:00:00 UTC.
const NOON_MS: i64 = 1_795_867_200_000;

#[derive(Clone)]
struct Script(Rc<Cell<Now>>);

impl Script {
    fn new() -> Self {
        Self(Rc::new(Cell::new(Now { unix_ms: NOON_MS, offset_s: 0, steady_ms: 5_000 })))
    }

    fn pass(&self, time: Duration) {
        let mut now = self.0.get();
        now.steady_ms += u64::try_from(time.as_millis()).unwrap();
        now.unix_ms += i64::try_from(time.as_millis()).unwrap();
        self.0.set(now);
    }

    fn steady_ms(&self) -> u64 {
        self.0.get().steady_ms
    }
}

impl Clock for Script {
    fn now(&self) -> Now {
        self.0.get()
    }
}

/// A machine, its data folder (inside of the tree) and a watcher with a scripted clock.
struct Scene {
    tree: Tree,
    clock: Script,
    watcher: Watcher<MachineProbe, Script>,
}

fn scene(machine: &str, change: fn(&mut Preferences)) -> Scene {
    let tree = Tree::machine(machine);
    let folder = tree.folder.path().join("data");
    fs::create_dir(&folder).unwrap();
    let mut preferences = Preferences::default();
    change(&mut preferences);
    fs::write(folder.join("owner.toml"), template(&preferences)).unwrap();
    let clock = Script::new();
    let probe = MachineProbe::new(tree.root.clone(), &folder);
    let watcher = Watcher::new(probe, clock.clone(), &folder, &folder.join("owner.toml"), 0, Facts::default);
    Scene { tree, clock, watcher }
}

impl Scene {
    /// Steps as [`run`] does until the condition holds, and gives the decision.
    fn until(&mut self, limit: Duration, holds: impl Fn(&Decision) -> bool) -> Decision {
        let end = self.clock.steady_ms() + u64::try_from(limit.as_millis()).unwrap();
        loop {
            let decision = self.watcher.step();
            if holds(&decision) {
                return decision;
            }
            assert!(self.clock.steady_ms() <= end, "not within {limit:?}: {:?}", decision.words);
            self.clock.pass(wait_after(&decision));
        }
    }

    fn control(&self) -> Control {
        Control::new(&self.tree.folder.path().join("data"))
    }
}

fn gpu_runs(decision: &Decision) -> bool {
    decision.gpu != Gpu::Pause
}

fn cpu_runs(decision: &Decision) -> bool {
    decision.cpu != Cpu::Pause
}

#[test]
fn the_graphics_card_runs_after_three_minutes_and_yields_within_a_second_of_a_key() {
    let mut scene = scene("desktop", |_| ());
    let start = scene.clock.steady_ms();
    let decision = scene.until(Duration::from_secs(185), gpu_runs);
    let waited = scene.clock.steady_ms() - start;
    assert!((180_000..=181_000).contains(&waited), "{waited}");
    assert!(!decision.in_use);
    for (at, extra_ms) in [0u64, 1, 100, 249, 250].into_iter().enumerate() {
        // A key somewhere between two looks.
        let decision = scene.watcher.step();
        assert!(gpu_runs(&decision));
        let wait = wait_after(&decision);
        assert!(wait <= LOOK_RUNNING);
        let early = Duration::from_millis(extra_ms).min(wait);
        scene.clock.pass(early);
        let pressed = scene.clock.steady_ms();
        scene.tree.write("sys/bus/usb/devices/1-3/urbnum", format!("{}\n", 50_000 + at));
        scene.clock.pass(wait - early);
        scene.until(Duration::from_secs(1), |decision| !gpu_runs(decision));
        let took = scene.clock.steady_ms() - pressed;
        assert!(took <= 250, "{took} ms");
        scene.until(Duration::from_secs(185), gpu_runs);
    }
}

#[test]
fn a_terminal_that_is_read_is_the_owners_return_too() {
    let mut scene = scene("server", |preferences| preferences.in_use.cpu = false);
    let headless = scene.watcher.step();
    assert!(headless.words[0].sentence.contains("no input device can be watched"), "{:?}", headless.words);
    scene.tree.write("dev/pts/3", "");
    let touch = |scene: &Scene, seconds: u64| {
        let file = fs::File::open(scene.tree.folder.path().join("dev/pts/3")).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        file.set_times(fs::FileTimes::new().set_accessed(time)).unwrap();
    };
    let noon_s = u64::try_from(NOON_MS).unwrap() / 1_000;
    touch(&scene, noon_s - 3_600);
    // The search for devices is once a minute.
    scene.until(Duration::from_secs(61), cpu_runs);
    touch(&scene, noon_s + 60);
    let decision = scene.until(Duration::from_secs(1), |decision| !cpu_runs(decision));
    assert!(decision.reasons.holds(Reason::InUse));
}

#[test]
fn a_login_and_a_keyboard_that_is_plugged_in_are_noticed_at_the_next_look() {
    let mut server = scene("server", |preferences| {
        preferences.in_use.cpu = false;
        preferences.presence.headless_is_idle = true;
    });
    server.tree.write("dev/pts/0", "");
    let touch = |scene: &Scene, terminal: &str, ago_s: u64| {
        let file = fs::File::open(scene.tree.folder.path().join(terminal)).unwrap();
        let now = Duration::from_millis(u64::try_from(scene.clock.now().unix_ms).unwrap());
        let time = SystemTime::UNIX_EPOCH + now - Duration::from_secs(ago_s);
        file.set_times(fs::FileTimes::new().set_accessed(time)).unwrap();
    };
    touch(&server, "dev/pts/0", 3_600);
    assert!(cpu_runs(&server.watcher.step()), "a login that nobody used for an hour");
    server.tree.write("dev/pts/1", "");
    touch(&server, "dev/pts/1", 0);
    assert!(!cpu_runs(&server.watcher.step()), "somebody logged in");

    let mut desktop = scene("desktop", |preferences| preferences.in_use.cpu = false);
    desktop.until(Duration::from_secs(185), cpu_runs);
    desktop.tree.write("sys/bus/usb/devices/1-9/urbnum", "5\n");
    desktop.tree.write("sys/bus/usb/devices/1-9:1.0/bInterfaceClass", "03\n");
    desktop.tree.write("sys/bus/usb/devices/1-9:1.0/bInterfaceProtocol", "02\n");
    assert!(!cpu_runs(&desktop.watcher.step()), "somebody plugged in a mouse");
    desktop.until(Duration::from_secs(185), cpu_runs);
    desktop.tree.remove("sys/bus/usb/devices/1-9:1.0");
    desktop.tree.remove("sys/bus/usb/devices/1-9");
    assert!(cpu_runs(&desktop.watcher.step()), "a device that fell asleep is nobody");
}

#[test]
fn a_login_on_a_headless_server_that_counts_as_idle_is_still_somebody() {
    let mut server = scene("server", |preferences| {
        preferences.in_use.cpu = false;
        preferences.presence.headless_is_idle = true;
    });
    assert!(cpu_runs(&server.watcher.step()), "no login at all");
    server.clock.pass(LOOK_RUNNING);
    server.tree.write("dev/pts/0", "");
    let file = fs::File::open(server.tree.folder.path().join("dev/pts/0")).unwrap();
    let now = Duration::from_millis(u64::try_from(server.clock.now().unix_ms).unwrap());
    file.set_times(fs::FileTimes::new().set_accessed(SystemTime::UNIX_EPOCH + now)).unwrap();
    assert!(!cpu_runs(&server.watcher.step()), "the first login");
}

#[test]
fn commands_take_effect_at_the_next_look_and_a_pause_ends_by_itself() {
    let mut scene = scene("virtual", |preferences| preferences.presence.headless_is_idle = true);
    assert!(cpu_runs(&scene.watcher.step()));
    let pause = Command::Pause { duration: Some(Duration::from_secs(3_600)) };
    scene.control().send(pause, scene.clock.now().unix_ms).unwrap();
    let decision = scene.watcher.step();
    assert!(!cpu_runs(&decision) && decision.reasons.holds(Reason::OwnerPaused));
    assert!(wait_after(&decision) <= LOOK_PAUSED);
    let start = scene.clock.steady_ms();
    scene.until(Duration::from_secs(3_601), cpu_runs);
    assert_eq!(scene.clock.steady_ms() - start, 3_600_000, "not a millisecond less, as the next look is then");
    scene.control().send(Command::Finish, 0).unwrap();
    let decision = scene.watcher.step();
    assert!(cpu_runs(&decision) && decision.finish && !decision.new_units);
    scene.control().send(Command::Resume, 0).unwrap();
    scene.control().send(Command::Compute(Mode::Never), 0).unwrap();
    assert!(!cpu_runs(&scene.watcher.step()));
}

#[test]
fn a_damaged_control_file_stops_everything_and_says_what_to_do() {
    let mut scene = scene("virtual", |preferences| preferences.presence.headless_is_idle = true);
    assert!(cpu_runs(&scene.watcher.step()));
    scene.tree.write("data/owner-wishes.toml", "pause = maybe");
    let decision = scene.watcher.step();
    assert!(!cpu_runs(&decision) && decision.words[0].sentence.contains("keystead provide --dir DIR --resume"));
    scene.control().send(Command::Resume, 0).unwrap();
    assert!(cpu_runs(&scene.watcher.step()));
}

#[test]
fn changed_preferences_are_obeyed_within_a_second_and_a_broken_file_leaves_the_old_ones_and_says_so() {
    let mut scene = scene("virtual", |preferences| preferences.presence.headless_is_idle = true);
    assert!(cpu_runs(&scene.watcher.step()));
    let path = scene.tree.folder.path().join("data/owner.toml");
    let write = |text: &str, age_s: u64| {
        fs::write(&path, text).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000 + age_s);
        fs::File::open(&path).unwrap().set_modified(time).unwrap();
    };
    write("version = 1\n[presence]\nheadless_is_idle = true\n[hours]\nevery_day = \"never\"\n", 1);
    scene.until(Duration::from_secs(1), |decision| decision.reasons.holds(Reason::OutsideHours));
    write("version = 1\n[presence]\nheadless_is_idle = perhaps\n", 2);
    let decision = scene.until(Duration::from_secs(1), |decision| decision.reasons.holds(Reason::Preferences));
    assert!(decision.reasons.holds(Reason::OutsideHours), "the old hours hold: {:?}", decision.words);
    write("version = 1\n[presence]\nheadless_is_idle = true\n", 3);
    let decision = scene.until(Duration::from_secs(1), cpu_runs);
    assert!(!decision.reasons.holds(Reason::Preferences), "{:?}", decision.words);
    write("version = 1\n[hours]\nevery_day = \"ne", 4);
    let decision = scene.until(Duration::from_secs(1), |decision| decision.reasons.holds(Reason::Preferences));
    assert!(cpu_runs(&decision) && decision.new_units, "what held before goes on: {:?}", decision.words);
    let line = report::headline(&decision);
    assert!(
        line.contains("; owner.toml cannot be used, what it said before holds: ") && line.contains("TOML"),
        "{line}"
    );
    // Who starts with such a file has no earlier word of the owner.
    let folder = scene.tree.folder.path().join("data");
    let probe = MachineProbe::new(scene.tree.root.clone(), &folder);
    let mut other = Watcher::new(probe, scene.clock.clone(), &folder, &path, 0, Facts::default);
    let decision = other.step();
    assert!(!cpu_runs(&decision) && decision.reasons.holds(Reason::Preferences), "{:?}", decision.words);
    assert!(decision.words[0].sentence.contains("not TOML"), "{:?}", decision.words);
    fs::remove_file(&path).unwrap();
    let decision = scene.until(Duration::from_secs(1), |decision| decision.in_use);
    assert!(!decision.reasons.holds(Reason::Preferences), "no file is the default");
}

#[test]
fn half_written_preferences_are_not_taken_for_the_owners_word() {
    let mut scene = scene("virtual", |preferences| preferences.presence.headless_is_idle = true);
    assert!(cpu_runs(&scene.watcher.step()));
    let path = scene.tree.folder.path().join("data/owner.toml");
    // Each look meets the file in another state; none of them is valid.
    for piece in ["", "versio", "version = 1\n[presence]\nheadless_is_id"] {
        fs::write(&path, piece).unwrap();
        let decision = scene.watcher.step();
        assert!(cpu_runs(&decision), "{piece}: {:?}", decision.words);
        assert!(!decision.reasons.holds(Reason::Preferences), "{piece}: it does not stand still");
        assert!(wait_after(&decision) <= SETTLE);
        scene.clock.pass(wait_after(&decision));
    }
    let decision = scene.watcher.step();
    assert!(decision.reasons.holds(Reason::Preferences), "what stands still is what the owner wrote");
}

/// A file in the place of another one, of the same size and time, is another file.
#[cfg(unix)]
#[test]
fn a_file_that_takes_the_place_of_another_is_read_although_size_and_time_are_the_same() {
    let mut scene = scene("virtual", |preferences| preferences.presence.headless_is_idle = true);
    let path = scene.tree.folder.path().join("data/owner.toml");
    let write = |path: &std::path::Path, hours: &str| {
        let text = format!("version = 1\n[presence]\nheadless_is_idle = true\n[hours]\nevery_day = [\"{hours}\"]\n");
        fs::write(path, text).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000);
        fs::File::open(path).unwrap().set_modified(time).unwrap();
    };
    write(&path, "00:00-24:00");
    scene.until(Duration::from_secs(1), cpu_runs);
    assert!(!scene.watcher.sees_new_preferences());
    let new = path.with_extension("new");
    write(&new, "01:00-02:00");
    fs::rename(&new, &path).unwrap();
    assert!(scene.watcher.sees_new_preferences());
    scene.until(Duration::from_secs(1), |decision| decision.reasons.holds(Reason::OutsideHours));
}

/// By the real loop and clock. The best of some tries counts, since a busy machine may hold any of them up: a loop that looks for preferences only when
/// it looks for a person needs 250 ms at least.
#[test]
fn changed_preferences_take_effect_within_200_ms() {
    assert!(LOOK_PREFERENCES + SETTLE < Duration::from_millis(200));
    let tree = Tree::machine("virtual");
    let folder = tree.folder.path().join("data");
    fs::create_dir(&folder).unwrap();
    let path = folder.join("owner.toml");
    let write = |rate: u64| {
        let text =
            format!("version = 1\n[presence]\nheadless_is_idle = true\n[network]\nupload_kib_per_s_max = {rate}\n");
        fs::write(&path, text).unwrap();
    };
    write(1_000);
    let (probe, bell) = (MachineProbe::new(tree.root, &folder), Bell::default());
    let (send, decisions) = mpsc::channel();
    let thread = thread::spawn({
        let (bell, folder, path) = (bell.clone(), folder, path.clone());
        move || {
            let mut watcher = Watcher::new(probe, MachineClock::new(), &folder, &path, 0, Facts::default);
            run(&mut watcher, &bell, |decision| send.send(decision.network).unwrap());
        }
    });
    let obeyed = |rate: u64| loop {
        let network = decisions.recv_timeout(Duration::from_secs(30)).unwrap();
        if network == (Transfers::Run { upload_max: Some(rate << 10), download_max: None }) {
            return;
        }
    };
    obeyed(1_000);
    let took = (1..=8_u64).map(|more| {
        let begun = Instant::now();
        write(1_000 + more);
        obeyed(1_000 + more);
        begun.elapsed()
    });
    let best = took.min().unwrap();
    bell.stop();
    thread.join().unwrap();
    assert!(best < Duration::from_millis(200), "the best of eight took {best:?}");
}

/// The rates and the words of a decision.
fn network(decision: &Decision) -> (Transfers, String) {
    let json = report::to_json(decision);
    (decision.network, json["network"]["says"].as_str().unwrap().to_owned())
}

#[test]
fn rates_of_the_network_change_within_a_second_and_are_shown_as_words() {
    let mut scene = scene("virtual", |preferences| preferences.presence.headless_is_idle = true);
    let decision = scene.watcher.step();
    assert_eq!(network(&decision), (Transfers::default(), "without limit".to_owned()));
    assert!(!report::headline(&decision).contains("network"));
    let path = scene.tree.folder.path().join("data/owner.toml");
    fs::write(
        &path,
        "version = 1\n[presence]\nheadless_is_idle = true\n[network]\nupload_kib_per_s_max = 32\ndownload_kib_per_s_max = 2048\n",
    )
    .unwrap();
    let limited = Transfers::Run { upload_max: Some(32 << 10), download_max: Some(2 << 20) };
    let decision = scene.until(Duration::from_secs(1), |decision| decision.network == limited);
    assert_eq!(network(&decision).1, "at most 32 KiB/s up, at most 2048 KiB/s down");
    assert!(report::headline(&decision).ends_with("; network at most 32 KiB/s up, at most 2048 KiB/s down"));
    fs::write(&path, "version = 1\n[presence]\nheadless_is_idle = true\n[network]\nupload_kib_per_s_max = 1\n")
        .unwrap();
    let limited = Transfers::Run { upload_max: Some(1 << 10), download_max: None };
    let decision = scene.until(Duration::from_secs(1), |decision| decision.network == limited);
    assert_eq!(network(&decision).1, "at most 1 KiB/s up, any speed down");
}

#[test]
fn what_was_moved_counts_over_restarts_and_pauses_the_network_until_its_days_are_over() {
    let change = |preferences: &mut Preferences| {
        preferences.presence.headless_is_idle = true;
        (preferences.network.transfer_mb_max, preferences.network.transfer_days) = (2, 2);
    };
    let mut scene = scene("virtual", change);
    let folder = scene.tree.folder.path().join("data");
    let moved = Arc::new(AtomicU64::new(0));
    let watcher = |scene: &Scene, moved: &Arc<AtomicU64>| {
        let moved = Arc::clone(moved);
        let facts = move || Facts { moved_bytes: moved.load(Ordering::Relaxed), ..Facts::default() };
        let probe = MachineProbe::new(scene.tree.root.clone(), &folder);
        Watcher::new(probe, scene.clock.clone(), &folder, &folder.join("owner.toml"), 0, facts)
    };
    scene.watcher = watcher(&scene, &moved);
    moved.store(1_500_000, Ordering::Relaxed);
    assert_eq!(network(&scene.watcher.step()).0, Transfers::default());
    scene.watcher.save();
    // A new process counts from zero, and has 500,000 bytes left.
    moved.store(0, Ordering::Relaxed);
    scene.watcher = watcher(&scene, &moved);
    moved.store(500_000, Ordering::Relaxed);
    assert_eq!(network(&scene.watcher.step()).0, Transfers::default());
    moved.store(500_001, Ordering::Relaxed);
    let decision = scene.watcher.step();
    assert!(decision.reasons.holds(Reason::Quota) && cpu_runs(&decision), "{:?}", decision.words);
    assert_eq!(network(&decision), (Transfers::Pause, "paused: 2 MB moved in 2 days; your limit: 2 MB".to_owned()));
    scene.clock.pass(Duration::from_secs(86_400));
    assert_eq!(network(&scene.watcher.step()).0, Transfers::Pause, "the second of two days");
    scene.clock.pass(Duration::from_secs(86_400));
    assert_eq!(network(&scene.watcher.step()).0, Transfers::default());

    // A count that is lost stops everything while there is a limit, until its file is removed.
    scene.tree.write("data/owner-traffic.toml", "version = 7");
    scene.watcher = watcher(&scene, &moved);
    let decision = scene.watcher.step();
    assert!(!cpu_runs(&decision) && decision.words[0].sentence.contains("remove "), "{:?}", decision.words);
    scene.tree.remove("data/owner-traffic.toml");
    scene.until(Duration::from_secs(11), cpu_runs);
}

#[test]
fn who_only_waits_for_work_is_looked_for_half_as_often_and_work_or_a_transfer_changes_that() {
    let mut scene = scene("virtual", |preferences| preferences.presence.headless_is_idle = true);
    let folder = scene.tree.folder.path().join("data");
    let (works, moved) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(7)));
    let (working, moving) = (Arc::clone(&works), Arc::clone(&moved));
    let facts = move || Facts {
        works: working.load(Ordering::Relaxed),
        moved_bytes: moving.load(Ordering::Relaxed),
        ..Facts::default()
    };
    let probe = MachineProbe::new(scene.tree.root.clone(), &folder);
    scene.watcher = Watcher::new(probe, scene.clock.clone(), &folder, &folder.join("owner.toml"), 0, facts);
    let mut wait = || {
        let decision = scene.watcher.step();
        let wait = scene.watcher.wait_after(&decision);
        scene.clock.pass(wait);
        (cpu_runs(&decision), wait)
    };
    assert_eq!(wait(), (true, LOOK_RUNNING), "seven bytes came");
    assert_eq!(wait(), (true, LOOK_RESTING));
    works.store(true, Ordering::Relaxed);
    assert_eq!(wait(), (true, LOOK_RUNNING));
    works.store(false, Ordering::Relaxed);
    assert_eq!(wait(), (true, LOOK_RESTING));
    moved.store(8, Ordering::Relaxed);
    assert_eq!(wait(), (true, LOOK_RUNNING));
    assert_eq!(wait(), (true, LOOK_RESTING));
    scene.control().send(Command::Pause { duration: None }, 0).unwrap();
    let decision = scene.watcher.step();
    assert!(!cpu_runs(&decision));
    // Bytes may still move: the owner's return concerns them, too.
    assert_eq!(scene.watcher.wait_after(&decision), LOOK_RESTING);
}

#[test]
fn nothing_new_is_taken_once_so_much_is_stored_as_the_owner_gives() {
    let change = |preferences: &mut Preferences| {
        preferences.presence.headless_is_idle = true;
        preferences.disk.used_mb_max = 2;
    };
    let mut scene = scene("virtual", change);
    let stored = Arc::new(AtomicU64::new(1_999_999));
    let counted = Arc::clone(&stored);
    let facts = move || Facts { disk_ours_bytes: Some(counted.load(Ordering::Relaxed)), ..Facts::default() };
    let folder = scene.tree.folder.path().join("data");
    let probe = MachineProbe::new(scene.tree.root.clone(), &folder);
    scene.watcher = Watcher::new(probe, scene.clock.clone(), &folder, &folder.join("owner.toml"), 0, facts);
    assert!(scene.watcher.step().new_units);
    stored.store(2_000_000, Ordering::Relaxed);
    let decision = scene.until(Duration::from_secs(1), |decision| !decision.new_units);
    assert!(cpu_runs(&decision), "what was begun goes on");
    let line = report::headline(&decision);
    assert!(line.ends_with("; nothing new is taken: this program stores 2 MB; your limit: 2 MB"), "{line}");
}

#[test]
fn workers_that_swap_more_than_the_owner_gives_end_within_one_round_of_probes() {
    let mut scene = scene("virtual", |preferences| {
        preferences.presence.headless_is_idle = true;
        (preferences.memory.keep_paused, preferences.memory.swap_percent) = (true, 50);
    });
    let folder = scene.tree.folder.path().join("data");
    let facts = || Facts { workers: vec![31_001, 31_002], ..Facts::default() };
    let probe = MachineProbe::new(scene.tree.root.clone(), &folder);
    scene.watcher = Watcher::new(probe, scene.clock.clone(), &folder, &folder.join("owner.toml"), 0, facts);
    // Half of 2,097,148 KiB, in whole hundredths: 1,073,739,750 bytes, which the first worker is just below.
    let swaps = |scene: &Scene, worker: u32, kib: u64| {
        scene.tree.write(&format!("proc/{worker}/status"), format!("Name:\tkeystead\nVmSwap:\t {kib} kB\n"));
    };
    swaps(&scene, 31_001, 1_048_573);
    let decision = scene.watcher.step();
    assert!(cpu_runs(&decision), "{:?}", decision.words);
    assert_eq!(decision.bounds.swap_bytes, Some(1_073_739_750));
    // Two that are each below it are above it together.
    swaps(&scene, 31_002, 1);
    let decision = scene.until(Duration::from_secs(11), |decision| !cpu_runs(decision));
    assert!(decision.reasons.holds(Reason::Swap) && decision.evict, "what swaps too much is not kept");
    let headline = report::headline(&decision);
    assert!(headline.starts_with("paused: workers use 1073 MB of the swap space") && headline.ends_with("1073 MB"));
    let signals = report::signals_to_json(scene.watcher.signals());
    assert_eq!(signals["swap_ours_bytes"]["value"], 1_048_574_u64 * 1_024);
    // Both ended: after a rest others begin.
    scene.tree.remove("proc/31001");
    scene.tree.remove("proc/31002");
    let ended = scene.clock.steady_ms();
    scene.until(Duration::from_secs(330), cpu_runs);
    assert!(scene.clock.steady_ms() - ended >= 280_000);
}

#[test]
fn a_notebook_pauses_when_it_is_unplugged_and_says_its_charge() {
    let mut scene = scene("laptop", |preferences| preferences.in_use.gpu = true);
    scene.tree.write("sys/class/power_supply/AC/online", "1\n");
    assert!(cpu_runs(&scene.watcher.step()));
    scene.tree.write("sys/class/power_supply/AC/online", "0\n");
    let decision = scene.until(Duration::from_secs(10), |decision| !cpu_runs(decision));
    assert_eq!(decision.words[0].sentence, "on battery at 63 %; your rule: only on mains");
    assert_eq!(decision.words[0].reason.code(), "on-battery");
    let json = report::to_json(&decision);
    assert_eq!(json["headline"], "paused: on battery at 63 %; your rule: only on mains");
    assert_eq!(json["reasons"][0]["code"], "on-battery");
    assert_eq!(json["reasons"][0]["stops"], serde_json::json!(["cpu", "gpu", "new_units"]));
    let signals = report::signals_to_json(scene.watcher.signals());
    assert_eq!(signals["battery_percent"]["value"], 63);
    assert_eq!(signals["metered"]["value"], true);
    assert!(signals["gpu_milliwatts"]["why"].as_str().unwrap().starts_with("this machine has no"));
}

#[test]
fn a_game_an_expensive_hour_and_a_feed_that_ends_are_noticed() {
    let mut scene = scene("desktop", |preferences| {
        preferences.in_use.gpu = true;
        preferences.exclusive.applications = vec!["ELDENRING.EXE".to_owned()];
    });
    let decision = scene.watcher.step();
    assert!(!cpu_runs(&decision) && decision.words[0].sentence.starts_with("ELDENRING.EXE is running"));
    scene.tree.remove("proc/4711");
    scene.until(Duration::from_secs(10), cpu_runs);

    let feed = scene.tree.folder.path().join("data/price");
    fs::write(&feed, "2026-11-28T12:00:00Z 0.20\n2026-11-28T12:05:00Z 0.40\n2026-11-28T12:10:00Z 0.20\n").unwrap();
    let mut preferences = Preferences::default();
    preferences.in_use.gpu = true;
    preferences.energy.price_micro_max = Some(300_000);
    preferences.energy.price.file = Some(feed);
    let path = scene.tree.folder.path().join("data/owner.toml");
    fs::write(&path, template(&preferences)).unwrap();
    fs::File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000)).unwrap();
    let decision = scene.until(Duration::from_secs(360), |decision| {
        decision.words.iter().any(|words| words.sentence.contains("costs 0.4"))
    });
    assert!(decision.reasons.holds(Reason::Price));
    scene.until(Duration::from_secs(360), cpu_runs);
    scene.until(Duration::from_secs(3_700), |decision| {
        decision.words.iter().any(|words| words.sentence.contains("nobody says"))
    });
}

#[test]
fn the_real_loop_publishes_changes_and_stops_when_it_is_told() {
    let tree = Tree::machine("desktop");
    let folder = tree.folder.path().join("data");
    fs::create_dir(&folder).unwrap();
    let (probe, bell) =
        (MachineProbe::new(keystead_owner::probe::Root::new(tree.folder.path()), &folder), Bell::default());
    let (send, decisions) = mpsc::channel();
    let thread = thread::spawn({
        let (bell, folder) = (bell.clone(), folder.clone());
        move || {
            let path = folder.join("owner.toml");
            let mut watcher = Watcher::new(probe, MachineClock::new(), &folder, &path, 0, Facts::default);
            run(&mut watcher, &bell, |decision| send.send(decision.clone()).unwrap());
        }
    });
    let next = || decisions.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(cpu_runs(&next()));
    Control::new(&folder).send(Command::Pause { duration: None }, 0).unwrap();
    let paused = next();
    assert!(!cpu_runs(&paused) && paused.reasons.holds(Reason::OwnerPaused));
    Control::new(&folder).send(Command::Resume, 0).unwrap();
    assert!(cpu_runs(&next()));
    bell.stop();
    thread.join().unwrap();
    assert!(decisions.try_recv().is_err(), "nothing is published that did not change");
}
