//! Priority and freezing of a real child process, and of control groups as trees of files.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects)] // A test: a panic is a failure.

mod tree;

use keystead_owner::{
    priority::{Freezer, Group, Means, Measure, Outcome, confine, lower, prepare},
    probe::Root,
};
use std::{
    fs,
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tree::Tree;

/// A shell that counts for ever, in a process group of its own; killed when dropped.
struct Busy(Child);

impl Busy {
    fn start() -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        prepare(&mut command);
        Self(command.spawn().unwrap())
    }

    fn id(&self) -> u32 {
        self.0.id()
    }

    /// Ticks of processor time.
    fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// Waits until it has used processor time, or not.
    fn moves_within(&self, time: Duration) -> bool {
        let (start, before) = (Instant::now(), self.ticks());
        while start.elapsed() < time {
            if self.ticks() > before {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether the kernel says in time that the worker stands still.
fn stands_still(freezer: &Freezer) -> bool {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(30) {
        if freezer.stopped().value() == Some(&true) {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

#[test]
fn a_child_gets_what_the_report_says_it_got() {
    let root = Root::new("/");
    let child = Busy::start();
    let report = lower(&root, child.id());
    // Linux grants these three to every account.
    for measure in [Measure::Nice, Measure::IdleClass, Measure::DiskIdle] {
        assert!(report.obtained(measure), "{report}");
    }
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    assert_eq!(fields[16], "19", "nice, as the kernel says");
    assert_eq!(fields[38], "5", "SCHED_IDLE, as the kernel says");
    let measures: Vec<Measure> = report.outcomes.iter().map(|(measure, _)| *measure).collect();
    assert_eq!(measures, [Measure::Nice, Measure::IdleClass, Measure::DiskIdle, Measure::Autogroup]);
}

#[test]
fn threads_that_are_there_and_threads_that_come_are_lowered() {
    // Python is part of the tests' tools; two threads, of which the second starts a third when it is told.
    let script = "import threading,sys,time\n\
        def late():\n    print('late', flush=True); time.sleep(600)\n\
        def early():\n    print('early', flush=True); sys.stdin.readline(); threading.Thread(target=late, daemon=True).start(); time.sleep(600)\n\
        threading.Thread(target=early, daemon=True).start()\ntime.sleep(600)\n";
    let mut command = Command::new("python3");
    command.args(["-c", script]).process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    assert_eq!(lines.next().unwrap().unwrap(), "early");
    let report = lower(&Root::new("/"), child.id());
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"go\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "late");
    let mut nices = Vec::new();
    for thread in fs::read_dir(format!("/proc/{}/task", child.id())).unwrap() {
        let stat = fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
        nices.push(stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16).unwrap().to_owned());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(nices, ["19", "19", "19"], "{report}");
}

#[test]
fn a_process_that_does_not_exist_is_a_refusal_and_not_a_success() {
    let report = lower(&Root::new("/"), u32::try_from(i32::MAX).unwrap());
    for (measure, outcome) in report.outcomes {
        assert!(matches!(outcome, Outcome::Refused(_) | Outcome::Unavailable), "{measure:?}: {outcome:?}");
    }
}

#[test]
fn a_frozen_child_uses_no_time_and_goes_on_when_thawed() {
    let child = Busy::start();
    assert!(child.moves_within(Duration::from_secs(30)));
    let freezer = Freezer::new(Root::new("/"), child.id(), None);
    assert_eq!(freezer.stopped().value(), Some(&false));
    assert_eq!(freezer.freeze().unwrap().by, Means::Signal);
    assert!(stands_still(&freezer));
    assert!(!child.moves_within(Duration::from_millis(300)));
    assert_eq!(freezer.freeze().unwrap().by, Means::Signal, "twice is once");
    freezer.thaw().unwrap();
    assert!(child.moves_within(Duration::from_secs(30)));
    assert_eq!(freezer.stopped().value(), Some(&false));
}

#[test]
fn groups_that_are_not_a_workers_are_never_signalled() {
    for process in [0, 1, u32::MAX] {
        let freezer = Freezer::new(Root::new("/"), process, None);
        assert_eq!(freezer.freeze().unwrap_err().kind(), std::io::ErrorKind::InvalidInput, "{process}");
        assert_eq!(freezer.thaw().unwrap_err().kind(), std::io::ErrorKind::InvalidInput, "{process}");
    }
}

#[test]
fn a_machine_without_control_groups_of_version_2_says_so() {
    let tree = Tree::empty();
    let error = Group::create(&tree.root, "work").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
    tree.write("sys/fs/cgroup/cgroup.controllers", "cpu\n");
    tree.write("proc/self/cgroup", "5:cpu:/x\n");
    assert_eq!(Group::create(&tree.root, "work").unwrap_err().kind(), std::io::ErrorKind::Unsupported);
    tree.write("proc/self/cgroup", "0::/nowhere\n");
    assert_eq!(Group::create(&tree.root, "work").unwrap_err().kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn a_group_without_the_processor_controller_reports_that_it_has_no_weight() {
    let tree = Tree::empty();
    tree.write("sys/fs/cgroup/cgroup.controllers", "memory\n");
    tree.write("sys/fs/cgroup/a/cgroup.procs", "");
    tree.write("proc/self/cgroup", "0::/a\n");
    let group = Group::create(&tree.root, "worker").unwrap();
    let expected = [(Measure::GroupWeight, Outcome::Unavailable), (Measure::GroupIdle, Outcome::Unavailable)];
    assert_eq!(group.report.outcomes, expected);
    drop(group);
    tree.write("sys/fs/cgroup/a/worker/cpu.weight", "100\n");
    tree.write("sys/fs/cgroup/a/worker/cgroup.procs", "");
    let group = Group::create(&tree.root, "worker").unwrap();
    assert!(group.report.obtained(Measure::GroupWeight) && !group.report.obtained(Measure::GroupIdle));
    group.add(42).unwrap();
    assert_eq!(fs::read_to_string(tree.folder.path().join("sys/fs/cgroup/a/worker/cgroup.procs")).unwrap(), "42");
}

/// Where this account may make control groups (here as root, on a desktop below its own session) the kernel's freezer is used for real.
#[test]
#[allow(clippy::print_stderr)] // How tests say that they were skipped.
fn the_kernel_freezes_a_group_where_it_lets_us() {
    let root = Root::new("/");
    let name = format!("keystead-test-{}", std::process::id());
    let child = Busy::start();
    let group = Group::create(&root, &name).and_then(|group| group.add(child.id()).map(|()| group));
    let Ok(group) = group else {
        eprintln!("skipped: no control group of version 2 that this account may change");
        return;
    };
    let freezer = Freezer::new(root, child.id(), Some(group));
    assert_eq!(freezer.freeze().unwrap().by, Means::Group);
    assert!(stands_still(&freezer));
    assert!(!child.moves_within(Duration::from_millis(300)));
    freezer.thaw().unwrap();
    assert!(child.moves_within(Duration::from_secs(30)));
    // A group can be removed only when its processes have ended.
    drop(child);
    drop(freezer);
    assert!(
        !fs::exists(format!("/sys/fs/cgroup/{name}")).unwrap()
            && !fs::exists(format!("/sys/fs/cgroup/unified/{name}")).unwrap()
    );
}

/// `Cpus_allowed_list` of /proc, as a count.
fn processors(id: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    let range = |range: &str| match range.split_once('-') {
        Some((first, last)) => last.parse::<usize>().unwrap() - first.parse::<usize>().unwrap() + 1,
        None => 1,
    };
    list.split(',').map(range).sum()
}

#[test]
fn a_child_is_confined_to_so_many_processors_and_gets_them_back() {
    let root = Root::new("/");
    let child = Busy::start();
    let all = processors(std::process::id());
    for (asked, got) in [(1, 1), (0, 1), (u32::MAX, all)] {
        let report = confine(&root, child.id(), asked);
        assert!(report.obtained(Measure::Processors), "{report}");
        assert_eq!(processors(child.id()), got, "{asked}");
    }
    let gone = confine(&root, u32::MAX / 2, 1);
    assert!(matches!(gone.outcomes[..], [(Measure::Processors, Outcome::Refused(_))]), "{gone}");
}
