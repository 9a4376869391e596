//! The watcher on fixture trees: the owner comes back, commands arrive, preferences change, clocks are scripted.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects)] // A test: a panic is a failure.

mod tree;

use keystead_owner::{
    control::{Command, Control},
    decide::{Cpu, Decision, Gpu, Mode, Now, Reason},
    preferences::{Preferences, template},
    watch::{Bell, Clock, Facts, LOOK_PAUSED, LOOK_RUNNING, MachineClock, MachineProbe, Watcher, run, wait_after},
};
use std::{
    cell::Cell,
    fs,
    rc::Rc,
    sync::mpsc,
    thread,
    time::{Duration, SystemTime},
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
    assert!(!cpu_runs(&decision) && decision.words[0].sentence.contains("keystead provide --resume"));
    scene.control().send(Command::Resume, 0).unwrap();
    assert!(cpu_runs(&scene.watcher.step()));
}

#[test]
fn changed_preferences_are_obeyed_within_ten_seconds_and_wrong_ones_stop_everything() {
    let mut scene = scene("virtual", |preferences| preferences.presence.headless_is_idle = true);
    assert!(cpu_runs(&scene.watcher.step()));
    let path = scene.tree.folder.path().join("data/owner.toml");
    let write = |text: &str, age_s: u64| {
        fs::write(&path, text).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000 + age_s);
        fs::File::open(&path).unwrap().set_modified(time).unwrap();
    };
    write("version = 1\n[presence]\nheadless_is_idle = true\n[hours]\nevery_day = \"never\"\n", 1);
    scene.until(Duration::from_secs(10), |decision| decision.reasons.holds(Reason::OutsideHours));
    write("version = 1\n[presence]\nheadless_is_idle = perhaps\n", 2);
    let decision = scene.until(Duration::from_secs(10), |decision| decision.reasons.holds(Reason::Preferences));
    assert!(decision.words[0].sentence.contains("not TOML"), "{:?}", decision.words);
    write("version = 1\n[presence]\nheadless_is_idle = true\n", 3);
    scene.until(Duration::from_secs(10), cpu_runs);
    fs::remove_file(&path).unwrap();
    let decision = scene.until(Duration::from_secs(10), |decision| decision.in_use);
    assert!(!decision.reasons.holds(Reason::Preferences), "no file is the default");
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
