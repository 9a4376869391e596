//! What the tests need of the machine: jobs from text, an async runtime, and a look at processes from outside.

use bytes::Bytes;
use keystead_job::{
    Class, JobSpec, Limits, Runtime, blob_hash, hash_list,
    spec::{Draft, RecipeName},
};
use keystead_runner::{Done, Failure, Job, Session, Stop, WorkerCommand};
use std::time::{Duration, Instant};

/// Longest wait for something that happens at once on a healthy machine.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn command() -> WorkerCommand {
    WorkerCommand::current_exe().unwrap()
}

/// Runs an async test body.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

pub(crate) fn job(runtime: Runtime, program: &[u8], common: &[u8], limits: Limits) -> Job {
    let spec = JobSpec::new(Draft {
        recipe: RecipeName::new("test").unwrap(),
        runtime,
        class: Class::Exact,
        program_hash: blob_hash(program),
        common_hash: blob_hash(common),
        units_hash: hash_list(&[blob_hash(b"")]),
        unit_count: 1,
        segment_count: 1,
        limits,
        checker: None,
        tolerance: None,
    });
    Job { spec: spec.unwrap(), program: Bytes::copy_from_slice(program), common: Bytes::copy_from_slice(common) }
}

pub(crate) async fn open(job: Job) -> Result<Session, Failure> {
    Session::open(command(), job, Stop::new()).await
}

/// Opens a session for one unit.
pub(crate) fn run_one(job: Job, unit: &[u8]) -> Result<Done, Failure> {
    block_on(async { open(job).await?.run(unit).await })
}

/// Waits, checking often, until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The process does not run any more: absent, or dead and not yet reaped by its new parent.
pub(crate) fn is_gone(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return true;
    };
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
}

/// Processor time used so far, in clock ticks: shows that a process is at work.
pub(crate) fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(") ").map_or(Vec::new(), |(_, rest)| rest.split(' ').collect());
    fields.get(11..13).map_or(0, |times| times.iter().filter_map(|time| time.parse::<u64>().ok()).sum())
}

/// Whether the process stands still since it was told to.
pub(crate) fn stands_still(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

/// Stops a worker's process group where it is.
pub(crate) fn stop_group(pid: u32) {
    signal_group(pid, "STOP");
    until("the worker stands still", || stands_still(pid));
}

/// Sends a signal to a worker's process group.
pub(crate) fn signal_group(pid: u32, name: &str) {
    let status = std::process::Command::new("sh").args(["-c", &format!("kill -s {name} -- -{pid}")]).status();
    assert!(status.unwrap().success());
}

pub(crate) fn kill(pid: u32) {
    let status = std::process::Command::new("sh").args(["-c", &format!("kill -9 {pid}")]).status();
    assert!(status.unwrap().success());
}
