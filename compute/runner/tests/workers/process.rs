//! The life of worker processes: confinement, death from outside, stops, and that nothing outlives its parent.

use crate::{
    machine::{block_on, command, is_gone, kill, open, signal_group, stands_still, stop_group, ticks, until},
    wasm::{ECHO, SPIN, SPIN_IF_INPUT, module, wasm},
};
use bytes::Bytes;
use keystead_job::Runtime;
use keystead_runner::{Failure, Fault, Job, Layer, Session, Stop, WorkerCommand, probe};
use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

crate::tests![
    the_self_test_of_wasm_passes_and_reports_json,
    a_worker_has_no_environment_no_folder_and_no_privileges_to_gain,
    a_worker_is_confined_as_it_says,
    the_memory_that_jobs_declare_together_is_bounded,
    a_worker_ends_when_its_processor_time_is_used_up,
    a_worker_killed_in_the_middle_is_a_providers_fault_and_the_next_unit_works,
    a_worker_killed_between_units_is_replaced,
    a_stop_kills_the_running_unit,
    a_stop_before_the_start_starts_nothing,
    the_jobs_deadline_kills_the_running_unit,
    dropping_a_running_unit_kills_its_worker,
    dropping_a_session_kills_its_worker,
    a_worker_that_was_stopped_goes_on_where_it_was_and_the_stop_is_not_its_wall_time,
    an_input_waits_for_a_worker_that_stands_still,
    a_worker_that_stands_still_is_killed_by_a_stop_and_with_its_session,
    a_killed_parent_takes_its_busy_worker_along,
    bytes_of_another_program_are_never_run,
    a_missing_worker_binary_is_a_providers_fault,
    a_binary_that_is_no_worker_is_a_providers_fault,
    a_wrong_call_explains_itself,
    garbage_on_the_pipe_ends_the_worker,
    many_sessions_run_side_by_side,
];

/// A job whose unit never ends unless its input is empty.
fn spinning() -> Job {
    wasm(&module("", SPIN_IF_INPUT), b"", |limits| {
        limits.fuel_max = 10_000_000_000_000;
        limits.wall_ms_max = 600_000;
    })
}

/// A parent that starts a busy worker, names it on standard output, and waits to be killed.
pub(crate) fn middle() -> ! {
    block_on(async {
        let job = wasm(&module("", SPIN), b"", |limits| {
            limits.fuel_max = 10_000_000_000_000;
            limits.wall_ms_max = 600_000;
        });
        let mut session = open(job).await.unwrap();
        println!("{}", session.worker_pid().unwrap());
        std::io::stdout().flush().unwrap();
        let _ = session.run(b"").await;
        panic!("the unit never ends");
    })
}

/// Waits until the worker is at work on its unit, not only started.
fn until_busy(pid: u32) {
    let idle = ticks(pid);
    until("the worker uses processor time", || ticks(pid) > idle + 5);
}

fn the_self_test_of_wasm_passes_and_reports_json() {
    let report = block_on(probe(&command(), Runtime::Wasm1)).unwrap();
    assert!(report.known_answer && report.device.is_none(), "{report:?}");
    let json = serde_json::to_string(&report).unwrap();
    assert!(json.contains("\"runtime\":\"wasm/1\"") && json.contains("\"knownAnswer\":true"), "{json}");
    assert_eq!(serde_json::from_str::<keystead_runner::SelfTest>(&json).unwrap(), report);
}

fn a_worker_has_no_environment_no_folder_and_no_privileges_to_gain() {
    if !cfg!(target_os = "linux") {
        eprintln!("skipped: /proc");
        return;
    }
    block_on(async {
        // Hidden, it could not be looked at by an ordinary user.
        let command = command().without(Layer::NotDumpable);
        let session = Session::open(command, wasm(&module("", ECHO), b"", |_| ()), Stop::new()).await.unwrap();
        let pid = session.worker_pid().unwrap();
        let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap();
        let text = |file: &str| String::from_utf8(read(file)).unwrap();
        assert_eq!(text("environ"), "MESA_SHADER_CACHE_DISABLE=true\0", "only the constant that the runner sets");
        assert!(text("cmdline").ends_with("\0worker\0wasm/1\0--without\0not-dumpable\0"), "{:?}", text("cmdline"));
        assert_eq!(std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap().to_str(), Some("/"));
        assert!(text("status").contains("NoNewPrivs:\t1"));
        let limits = text("limits");
        let limit = |name: &str| {
            limits
                .lines()
                .find(|line| line.starts_with(name))
                .unwrap()
                .split_whitespace()
                .rev()
                .nth(1)
                .unwrap()
                .to_owned()
        };
        assert_eq!(limit("Max core file size"), "0", "{limits}");
        assert_eq!(limit("Max open files"), "256", "{limits}");
        assert_ne!(limit("Max address space"), "unlimited", "{limits}");
        let stat = text("stat");
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        assert_eq!((fields[2], fields[3]), (&*pid.to_string(), &*pid.to_string()), "own process group and session");
        let mut open_files: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .map(|f| f.unwrap().file_name().into_string().unwrap())
            .collect();
        open_files.sort();
        assert_eq!(&open_files[..3], ["0", "1", "2"]);
        assert!(open_files.len() <= 4, "three pipes and the frames' copy: {open_files:?}");
    });
}

/// What the worker reports about itself, against what the system says about it.
fn a_worker_is_confined_as_it_says() {
    if !cfg!(target_os = "linux") {
        eprintln!("skipped: /proc");
        return;
    }
    block_on(async {
        let command = command().without(Layer::NotDumpable);
        let session = Session::open(command, wasm(&module("", ECHO), b"", |_| ()), Stop::new()).await.unwrap();
        let (pid, isolation) = (session.worker_pid().unwrap(), session.isolation());
        assert!(!isolation.has(Layer::NotDumpable));
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
            line.unwrap_or_else(|| panic!("no {name} in {status}")).to_owned()
        };
        assert_eq!(line("Seccomp") == "2", isolation.has(Layer::Seccomp), "{status}");
        assert_eq!(line("NoNewPrivs") == "1", isolation.has(Layer::NoNewPrivileges));
        if isolation.has(Layer::NoCapabilities) {
            assert!(["CapInh", "CapPrm", "CapEff", "CapAmb"].iter().all(|set| line(set).bytes().all(|c| c == b'0')));
        }
        assert_eq!(line("NSpid").split('\t').nth(1) == Some("1"), isolation.has(Layer::PidNamespace));
        let own = std::fs::read_to_string("/proc/self/status").unwrap();
        if own.contains("Uid:\t0\t") && isolation.has(Layer::UserNamespace) {
            assert_eq!(line("Uid"), "65534\t65534\t65534\t65534", "root's workers are nobody");
        }
        let namespace = |of: &str, name: &str| std::fs::read_link(format!("/proc/{of}/ns/{name}")).unwrap();
        for (layer, name) in [
            (Layer::UserNamespace, "user"),
            (Layer::PidNamespace, "pid"),
            (Layer::MountNamespace, "mnt"),
            (Layer::NetworkNamespace, "net"),
            (Layer::IpcNamespace, "ipc"),
            (Layer::UtsNamespace, "uts"),
        ] {
            let differs = namespace(&pid.to_string(), name) != namespace("self", name);
            assert_eq!(differs, isolation.has(layer), "{layer}");
        }
        if isolation.has(Layer::EmptyRoot) {
            let root: Vec<_> = std::fs::read_dir(format!("/proc/{pid}/root")).unwrap().collect();
            assert!(root.is_empty(), "{root:?}");
        }
        if isolation.has(Layer::Cgroup) {
            let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
            assert!(groups.contains("/keystead-worker-"), "{groups}");
        }
    });
}

fn the_memory_that_jobs_declare_together_is_bounded() {
    block_on(async {
        let command = command().with_memory(400 << 20);
        let job = || wasm(&module("", ECHO), b"", |limits| limits.memory_bytes_max = 64 << 20);
        let open = || Session::open(command.clone(), job(), Stop::new());
        let (first, second) = (open().await.unwrap(), open().await.unwrap());
        let failure = open().await.unwrap_err();
        assert!(failure.to_string().contains("promised_bytes=402653184 total_bytes=419430400"), "{failure}");
        assert_eq!(failure.fault(), Fault::Provider);
        drop(first);
        assert_eq!(open().await.unwrap().run(b"x").await.unwrap().output, b"x");
        drop(second);
    });
}

/// The backstop for a parent that cannot kill: the limit is lowered from outside, as the system would count it down.
fn a_worker_ends_when_its_processor_time_is_used_up() {
    if !cfg!(target_os = "linux") {
        eprintln!("skipped: prlimit");
        return;
    }
    block_on(async {
        let mut session = open(spinning()).await.unwrap();
        let pid = session.worker_pid().unwrap();
        let limiter = std::thread::spawn(move || {
            until_busy(pid);
            let status = Command::new("prlimit").args([&format!("--pid={pid}"), "--cpu=1:"]).status().unwrap();
            assert!(status.success());
        });
        let failure = session.run(b"spin").await.unwrap_err();
        limiter.join().unwrap();
        assert!(matches!(&failure, Failure::WorkerDied { status, .. } if status == "exit status: 24"), "{failure:?}");
        assert_eq!(session.run(b"").await.unwrap().output, b"");
    });
}

fn a_worker_killed_in_the_middle_is_a_providers_fault_and_the_next_unit_works() {
    block_on(async {
        let mut session = open(spinning()).await.unwrap();
        let first = session.worker_pid().unwrap();
        let killer = std::thread::spawn(move || {
            until_busy(first);
            kill(first);
        });
        let failure = session.run(b"spin").await.unwrap_err();
        killer.join().unwrap();
        assert!(matches!(&failure, Failure::WorkerDied { status, .. } if status.contains("signal: 9")), "{failure:?}");
        assert_eq!(failure.fault(), Fault::Provider);
        assert_eq!(session.run(b"").await.unwrap().output, b"");
        assert_ne!(session.worker_pid(), Some(first));
    });
}

fn a_worker_killed_between_units_is_replaced() {
    block_on(async {
        let mut session = open(wasm(&module("", ECHO), b"", |_| ())).await.unwrap();
        let first = session.worker_pid().unwrap();
        kill(first);
        until("the worker is dead", || is_gone(first));
        let failure = session.run(b"x").await.unwrap_err();
        assert!(matches!(failure, Failure::WorkerDied { .. }), "{failure:?}");
        assert_eq!(session.run(b"x").await.unwrap().output, b"x");
    });
}

fn a_stop_kills_the_running_unit() {
    block_on(async {
        let stop = Stop::new();
        let mut session = Session::open(command(), spinning(), stop.clone()).await.unwrap();
        let pid = session.worker_pid().unwrap();
        let stopper = std::thread::spawn(move || {
            until_busy(pid);
            stop.stop("the owner is back");
        });
        let failure = session.run(b"spin").await.unwrap_err();
        stopper.join().unwrap();
        assert_eq!(failure, Failure::Aborted { why: "the owner is back".to_owned() });
        until("the worker is gone", || is_gone(pid));
        assert!(matches!(session.run(b"").await, Err(Failure::Aborted { .. })), "a stop is for good");
    });
}

fn a_stop_before_the_start_starts_nothing() {
    let stop = Stop::new();
    stop.stop("cancelled");
    let opened = block_on(Session::open(command(), spinning(), stop));
    assert_eq!(opened.unwrap_err(), Failure::Aborted { why: "cancelled".to_owned() });
}

fn the_jobs_deadline_kills_the_running_unit() {
    block_on(async {
        let stop = Stop::after(Duration::from_secs(2));
        let mut session = Session::open(command(), spinning(), stop).await.unwrap();
        let pid = session.worker_pid().unwrap();
        let failure = session.run(b"spin").await.unwrap_err();
        assert!(matches!(&failure, Failure::Aborted { why } if why.contains("deadline")), "{failure:?}");
        until("the worker is gone", || is_gone(pid));
    });
}

fn dropping_a_running_unit_kills_its_worker() {
    block_on(async {
        let mut session = open(spinning()).await.unwrap();
        let pid = session.worker_pid().unwrap();
        let given_up = tokio::time::timeout(Duration::from_millis(200), session.run(b"spin")).await;
        assert!(given_up.is_err(), "the unit does not end by itself");
        until("the worker is gone", || is_gone(pid));
        assert_eq!(session.run(b"").await.unwrap().output, b"");
    });
}

fn dropping_a_session_kills_its_worker() {
    block_on(async {
        let session = open(spinning()).await.unwrap();
        let pid = session.worker_pid().unwrap();
        assert!(!is_gone(pid));
        drop(session);
        until("the worker is gone", || is_gone(pid));
        until("the worker is reaped", || !std::path::Path::new(&format!("/proc/{pid}")).exists());
    });
}

/// Some hundred million turns, then the echo: long enough to be stopped in the middle, and far from its wall time.
fn counting() -> Job {
    let run = format!(
        "(local $i i32) (loop $l (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 800000000)))) {ECHO}"
    );
    wasm(&module("", &run), b"c", |limits| {
        (limits.fuel_max, limits.wall_ms_max) = (10_000_000_000_000, COUNTING_MS_MAX)
    })
}

/// Its wall time.
const COUNTING_MS_MAX: u64 = 5_000;

fn a_worker_that_was_stopped_goes_on_where_it_was_and_the_stop_is_not_its_wall_time() {
    if !cfg!(target_os = "linux") {
        eprintln!("skipped: /proc");
        return;
    }
    block_on(async {
        let stop = Stop::new();
        let mut session = Session::open(command(), counting(), stop.clone()).await.unwrap();
        let pid = session.worker_pid().unwrap();
        let owner = std::thread::spawn(move || {
            until_busy(pid);
            stop.set_frozen(true);
            stop_group(pid);
            let since = Instant::now();
            until("its wall time would be over", || {
                assert!(stands_still(pid), "nobody said that it may go on");
                since.elapsed() > Duration::from_millis(COUNTING_MS_MAX + 500)
            });
            signal_group(pid, "CONT");
            stop.set_frozen(false);
        });
        let done = session.run(b"u").await.unwrap();
        owner.join().unwrap();
        assert_eq!(done.output, b"cu");
        assert!(
            done.usage.wall_us > COUNTING_MS_MAX * 1_000,
            "it was stopped in the middle of the unit: {:?}",
            done.usage
        );
        assert_eq!(session.worker_pid(), Some(pid), "the same worker");
        assert_eq!(session.run(b"v").await.unwrap().output, b"cv", "a further unit has its whole time");
    });
}

/// More than a pipe holds: who stands still between two units does not read it before it goes on.
fn an_input_waits_for_a_worker_that_stands_still() {
    if !cfg!(target_os = "linux") {
        eprintln!("skipped: /proc");
        return;
    }
    block_on(async {
        let stop = Stop::new();
        let job = wasm(&module("", ECHO), b"", |limits| {
            (limits.memory_bytes_max, limits.output_bytes_max) = (16 << 20, 4 << 20);
        });
        let mut session = Session::open(command(), job, stop.clone()).await.unwrap();
        let pid = session.worker_pid().unwrap();
        stop.set_frozen(true);
        stop_group(pid);
        let unit = vec![7; 100_000];
        let mut run = Box::pin(session.run(&unit));
        assert!(tokio::time::timeout(Duration::from_millis(300), &mut run).await.is_err(), "nobody reads it");
        signal_group(pid, "CONT");
        stop.set_frozen(false);
        assert_eq!(run.await.unwrap().output, unit);
    });
}

fn a_worker_that_stands_still_is_killed_by_a_stop_and_with_its_session() {
    if !cfg!(target_os = "linux") {
        eprintln!("skipped: /proc");
        return;
    }
    block_on(async {
        let stop = Stop::new();
        let mut session = Session::open(command(), spinning(), stop.clone()).await.unwrap();
        let pid = session.worker_pid().unwrap();
        let customer = std::thread::spawn(move || {
            until_busy(pid);
            stop.set_frozen(true);
            stop_group(pid);
            stop.stop("cancelled");
        });
        assert_eq!(session.run(b"spin").await.unwrap_err(), Failure::Aborted { why: "cancelled".to_owned() });
        customer.join().unwrap();
        until("the stopped worker is gone", || is_gone(pid));

        let session = open(spinning()).await.unwrap();
        let pid = session.worker_pid().unwrap();
        stop_group(pid);
        drop(session);
        until("the stopped worker is gone with its session", || is_gone(pid));
        until("it is reaped", || !std::path::Path::new(&format!("/proc/{pid}")).exists());
    });
}

fn a_killed_parent_takes_its_busy_worker_along() {
    for stands in [false, true] {
        a_killed_parent_takes_its_worker_along(stands);
    }
}

fn a_killed_parent_takes_its_worker_along(stands: bool) {
    let mut middle = Command::new(std::env::current_exe().unwrap())
        .arg("middle")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(middle.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let worker: u32 = line.trim().parse().unwrap();
    until_busy(worker);
    if stands && cfg!(target_os = "linux") {
        stop_group(worker);
    }
    middle.kill().unwrap();
    middle.wait().unwrap();
    until("the orphaned worker is gone", || is_gone(worker));
}

fn bytes_of_another_program_are_never_run() {
    let mut job = wasm(&module("", ECHO), b"common", |_| ());
    job.common = Bytes::from_static(b"other");
    let failure = block_on(open(job.clone())).unwrap_err();
    assert!(
        matches!(&failure, Failure::ProviderFault { why } if why.contains("common is not the job's")),
        "{failure:?}"
    );
    job.program = Bytes::from(module("", SPIN));
    let failure = block_on(open(job)).unwrap_err();
    assert!(
        matches!(&failure, Failure::ProviderFault { why } if why.contains("program is not the job's")),
        "{failure:?}"
    );
}

fn a_missing_worker_binary_is_a_providers_fault() {
    let nowhere = tempfile::tempdir().unwrap();
    let command = WorkerCommand::new(nowhere.path().join("keystead"));
    let failure = block_on(probe(&command, Runtime::Wasm1)).unwrap_err();
    assert!(matches!(&failure, Failure::ProviderFault { why } if why.contains("cannot start a worker")), "{failure:?}");
}

fn a_binary_that_is_no_worker_is_a_providers_fault() {
    // `true` ends at once, `echo` speaks another language.
    let failure = block_on(probe(&WorkerCommand::new("/bin/true"), Runtime::Wasm1)).unwrap_err();
    assert!(matches!(failure, Failure::WorkerDied { .. }), "{failure:?}");
    let failure = block_on(probe(&WorkerCommand::new("/bin/echo"), Runtime::Wasm1)).unwrap_err();
    assert_eq!(failure.fault(), Fault::Provider, "{failure:?}");
}

fn a_wrong_call_explains_itself() {
    for arguments in [&["worker"][..], &["worker", "wasm/2"], &["worker", "wasm/1", "extra"]] {
        let out = Command::new(std::env::current_exe().unwrap()).args(arguments).stdin(Stdio::null()).output().unwrap();
        assert_eq!(out.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&out.stderr).contains("usage: worker"), "{out:?}");
    }
}

fn garbage_on_the_pipe_ends_the_worker() {
    for garbage in [&[0xff; 64][..], &[1, 0, 0, 0, 0, 0, 0, 0, 0xee]] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["worker", "wasm/1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.as_mut().unwrap().write_all(garbage).unwrap();
        // The pipe stays open: the worker must end because of what it read.
        let pid = child.id();
        until("the worker ends", || is_gone(pid));
        let out = child.wait_with_output().unwrap();
        assert_eq!(out.status.code(), Some(3), "{out:?}");
    }
}

fn many_sessions_run_side_by_side() {
    block_on(async {
        let tasks: Vec<_> = (0u8..6)
            .map(|number| {
                tokio::spawn(async move {
                    let mut session = open(wasm(&module("", ECHO), &[number], |_| ())).await.unwrap();
                    for unit in 0u8..10 {
                        assert_eq!(session.run(&[unit]).await.unwrap().output, [number, unit]);
                    }
                    session.worker_pid().unwrap()
                })
            })
            .collect();
        let mut pids = Vec::new();
        for task in tasks {
            pids.push(task.await.unwrap());
        }
        pids.sort_unstable();
        pids.dedup();
        assert_eq!(pids.len(), 6, "a process for each job");
        pids.iter().for_each(|&pid| until("no worker stays", || is_gone(pid)));
    });
}
