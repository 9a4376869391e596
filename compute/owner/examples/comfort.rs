//! What the owner feels: how much slower a benchmark on all cores is while a worker computes at idle priority, and how long it takes from the owner's
//! return until that worker stands still; as JSON.
//!
//! `cargo run -p keystead-owner --example comfort -- [ROUNDS] [RETURNS]` (7 and 20 if absent). Rounds without and with the worker take turns.
#![allow(clippy::print_stdout, clippy::unwrap_used)] // A measuring program: it prints, and a panic is a failure.

#[cfg(unix)]
fn main() {
    measure::main();
}

#[cfg(not(unix))]
fn main() {
    println!("{{\"skipped\": \"workers cannot be stopped here\"}}");
}

#[cfg(unix)]
mod measure {
    use keystead_owner::{
        decide::Cpu,
        preferences::{Preferences, template},
        priority::{Freezer, Group, lower, prepare},
        probe::Root,
        watch::{Bell, Facts, MachineClock, MachineProbe, Watcher, run},
    };
    use serde_json::{Value, json};
    use std::{
        fs,
        hint::black_box,
        os::unix::process::CommandExt as _,
        path::Path,
        process::{Child, Command, Stdio},
        sync::mpsc,
        thread,
        time::{Duration, Instant, SystemTime},
    };

    /// The argument that makes this program a worker.
    const WORK: &str = "work";
    /// Mixing steps of one thread in one round of the benchmark: about half a second.
    const STEPS: u64 = 400_000_000;

    pub(super) fn main() {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        if arguments.first().is_some_and(|first| first == WORK) {
            on_all_cores(u64::MAX);
            return;
        }
        let number = |at: usize, absent: usize| arguments.get(at).map_or(absent, |text| text.parse().unwrap());
        let report = json!({
            "measurement": "what the owner feels",
            "cores": cores(),
            "load_before": fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
            "foreground": foreground(number(0, 7)),
            "return": returns(number(1, 20)),
        });
        println!("{report:#}");
    }

    fn cores() -> usize {
        thread::available_parallelism().unwrap().get()
    }

    /// Work that needs nothing but processors.
    fn on_all_cores(steps: u64) {
        thread::scope(|scope| {
            for seed in (1u64..).take(cores()) {
                scope.spawn(move || {
                    let mut state = seed;
                    for _ in 0..steps {
                        state = black_box(state.wrapping_mul(6_364_136_223_846_793_005).rotate_left(23) ^ seed);
                    }
                    black_box(state)
                });
            }
        });
    }

    /// A worker on all cores, lowered, in a group of its own if this account may make one.
    struct Worker {
        child: Child,
        freezer: Freezer,
        report: String,
    }

    impl Worker {
        fn start() -> Self {
            let root = Root::new("/");
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.arg(WORK).process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
            prepare(&mut command);
            let child = command.spawn().unwrap();
            let mut report = lower(&root, child.id());
            let group = Group::create(&root, &format!("keystead-comfort-{}", child.id()));
            let group = group.and_then(|group| group.add(child.id()).map(|()| group)).ok();
            if let Some(group) = &group {
                report.outcomes.extend(group.report.outcomes.iter().cloned());
            }
            let report = report.to_string();
            Self { freezer: Freezer::new(root, child.id(), group), child, report }
        }
    }

    impl Drop for Worker {
        fn drop(&mut self) {
            let _ = self.freezer.thaw();
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn foreground(rounds: usize) -> Value {
        let (mut alone, mut beside) = (Vec::new(), Vec::new());
        let worker = Worker::start();
        let mut stopped = String::new();
        for _ in 0..rounds {
            stopped = format!("{:?}", worker.freezer.freeze().unwrap());
            alone.push(round());
            worker.freezer.thaw().unwrap();
            beside.push(round());
        }
        alone.sort_unstable();
        beside.sort_unstable();
        let (alone_us, beside_us) = (median(&alone), median(&beside));
        let slower_us = i64::try_from(beside_us).unwrap().saturating_sub(i64::try_from(alone_us).unwrap());
        json!({
            "goal": "at most 20 permille slower",
            "alone_us": alone,
            "beside_us": beside,
            "median_slower_permille": slower_us.saturating_mul(1_000).checked_div(i64::try_from(alone_us).unwrap()),
            "lowered": worker.report,
            "stopped_by": stopped,
        })
    }

    fn round() -> u64 {
        let start = Instant::now();
        on_all_cores(STEPS);
        u64::try_from(start.elapsed().as_micros()).unwrap()
    }

    fn median(sorted: &[u64]) -> u64 {
        sorted.get(sorted.len() / 2).copied().unwrap_or(0)
    }

    /// The owner's return is a terminal that is read: its access time changes, as the kernel does it. Everything else is real: the watcher's thread, its
    /// clock, a worker on all cores, and the kernel's stop of it.
    fn returns(count: usize) -> Value {
        let worker = Worker::start();
        let returns: Vec<(u64, bool)> = (0..count).map(|at| one_return(&worker, at)).collect();
        let mut took: Vec<u64> = returns.iter().map(|(took, _)| *took).collect();
        took.sort_unstable();
        // A stop that is accepted and not confirmed: the worker gets no processor at all at that moment, since others use them.
        let confirmed = returns.iter().filter(|(_, confirmed)| *confirmed).count();
        json!({
            "goal": "at most 1000000 us from the input until the worker is stopped",
            "confirmed": confirmed,
            "median_us": median(&took),
            "max_us": took.last(),
            "all_us": took,
        })
    }

    fn one_return(worker: &Worker, at: usize) -> (u64, bool) {
        let folder = tempfile::tempdir().unwrap();
        let terminal = folder.path().join("dev/pts/0");
        fs::create_dir_all(terminal.parent().unwrap()).unwrap();
        fs::write(&terminal, "").unwrap();
        let hour = Duration::from_secs(3_600);
        read_at(&terminal, SystemTime::now().checked_sub(hour).unwrap());
        let mut preferences = Preferences::default();
        preferences.in_use.cpu = false;
        let path = folder.path().join("owner.toml");
        fs::write(&path, template(&preferences)).unwrap();

        let bell = Bell::default();
        let (send, decisions) = mpsc::channel();
        let watching = thread::spawn({
            let (bell, folder) = (bell.clone(), folder.path().to_owned());
            move || {
                let probe = MachineProbe::new(Root::new(&folder), &folder);
                let mut watcher = Watcher::new(probe, MachineClock::new(), &folder, &path, 0, Facts::default);
                run(&mut watcher, &bell, |decision| send.send(decision.cpu).unwrap());
            }
        });
        let wait = || decisions.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_ne!(wait(), Cpu::Pause, "the owner has been away for an hour");
        worker.freezer.thaw().unwrap();
        // Another moment between two looks each time.
        thread::sleep(Duration::from_millis(u64::try_from(at).unwrap().saturating_mul(37) % 500));
        let start = Instant::now();
        read_at(&terminal, SystemTime::now());
        assert_eq!(wait(), Cpu::Pause);
        let stopped = worker.freezer.freeze().unwrap();
        let took = start.elapsed();
        bell.stop();
        watching.join().unwrap();
        (u64::try_from(took.as_micros()).unwrap(), stopped.confirmed)
    }

    fn read_at(terminal: &Path, time: SystemTime) {
        fs::File::open(terminal).unwrap().set_times(fs::FileTimes::new().set_accessed(time)).unwrap();
    }
}
