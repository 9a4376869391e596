//! What watching costs while nothing happens: processor time and memory over some time, as JSON.
//!
//! `cargo run -p keystead-owner --example rest -- [SECONDS]` (60 if absent). The watcher looks at this machine, four times a second.
#![allow(clippy::print_stdout, clippy::unwrap_used)] // A measuring program: it prints, and a panic is a failure.

use keystead_owner::{
    decide::{Cpu, Gpu},
    probe::Root,
    watch::{Bell, Facts, MachineClock, MachineProbe, Watcher, run},
};
use serde_json::json;
use std::{
    fs, thread,
    time::{Duration, Instant},
};

fn main() {
    let seconds = std::env::args().nth(1).map_or(60, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let preferences = folder.path().join("owner.toml");
    // The dearest case: everything runs, so that the owner is looked for four times a second; and programs are listed.
    let text = "version = 1\n[in_use]\nother_load_percent = 0\n[exclusive]\napplications = [\"no-such-program\"]\n";
    fs::write(&preferences, text).unwrap();
    let own = vec![std::process::id()];
    let facts = move || Facts { own_processes: own.clone(), works: true, ..Facts::default() };
    let probe = MachineProbe::new(Root::new("/"), folder.path());
    let mut watcher = Watcher::new(probe, MachineClock::new(), folder.path(), &preferences, 0, facts);
    let first = watcher.step();
    let bell = Bell::default();
    let timer = thread::spawn({
        let bell = bell.clone();
        move || {
            thread::sleep(Duration::from_secs(seconds));
            bell.stop();
        }
    });
    let (start, before) = (Instant::now(), cpu_us());
    let mut decisions = 0u32;
    run(&mut watcher, &bell, |_| decisions = decisions.saturating_add(1));
    let (wall, used) = (start.elapsed(), cpu_us().saturating_sub(before));
    timer.join().unwrap();
    let wall_us = u64::try_from(wall.as_micros()).unwrap();
    let report = json!({
        "measurement": "cost of watching at rest",
        "goal": "at most 5000 ppm of one core, at most 80 MiB",
        "wall_ms": wall.as_millis(),
        "cpu_us": used,
        "cpu_ppm_of_a_core": used.saturating_mul(1_000_000).checked_div(wall_us),
        "resident_kib": resident_kib(),
        "decisions_published": decisions,
        "everything_ran": first.cpu != Cpu::Pause || first.gpu != Gpu::Pause,
        "input_is_watched": watcher.signals().idle.value().is_some(),
    });
    println!("{report:#}");
}

/// Processor time of this thread, which is the watcher's, us.
fn cpu_us() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1_000
}

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}
