//! Makes room for workers' control groups where this program sits in the only group that it may change (version 2, under systemd).
//!
//! # Design
//! A group of version 2 that has processes cannot pass controllers on. So this program, if nobody else is in its group, moves into a leaf below it ([`MAIN`]),
//! and the group that it left passes the controllers on to the leaves of workers beside that. [`way`] says in which order, from texts alone; [`step_down`]
//! does it, and goes back if a step fails. Nothing is assumed: whoever calls this makes a group with bounds afterwards, and believes that.
//!
//! # Not here
//! Moving somebody else: whoever shares a group with a shell stays where it is.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// The leaf in which this program goes on.
pub(super) const MAIN: &str = "keystead-main";
/// The file that lists the processes of a group, and takes one in.
const PROCESSES: &str = "cgroup.procs";
/// The controllers that a group may pass on.
const CONTROLLERS: &str = "cgroup.controllers";
/// Those that it does.
const PASSED: &str = "cgroup.subtree_control";
/// Without these a worker's group bounds nothing.
const NEEDED: [&str; 2] = ["memory", "pids"];
/// Shares processors between this program and its workers.
const CPU: &str = "cpu";

/// One step of the way, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Makes a folder; one that is there will do.
    Make(PathBuf),
    /// Writes a text into a file that is there.
    Write(PathBuf, String),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Make(folder) => write!(f, "make {}", folder.display()),
            Self::Write(file, text) => write!(f, "write {text} into {}", file.display()),
        }
    }
}

impl Step {
    fn take(&self) -> io::Result<()> {
        match self {
            Self::Make(folder) => match fs::create_dir(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
                _ => Ok(()),
            },
            Self::Write(file, text) => OpenOptions::new().write(true).open(file)?.write_all(text.as_bytes()),
        }
    }
}

/// What the group that was left passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passed {
    /// Shares of processors, beside memory and processes.
    pub(super) cpu: bool,
}

/// Moves a process out of its group into a leaf of that, and has the group pass controllers on.
///
/// # Errors
/// Why not; then the process is where it was.
pub(super) fn step_down(own: &Path, process: u32) -> Result<Passed, String> {
    let read = |name: &str| fs::read_to_string(own.join(name)).map_err(|error| format!("{name}: {error}"));
    let (processes, controllers) = (read(PROCESSES)?, read(CONTROLLERS)?);
    for step in way(own, process, &processes, &controllers)? {
        if let Err(error) = step.take() {
            go_back(own, process);
            return Err(format!("{step}: {error}"));
        }
    }
    Ok(Passed { cpu: has(&controllers, CPU) })
}

/// Undoes what [`step_down`] did, as far as that goes: a process may also stay in a leaf.
pub(super) fn go_back(own: &Path, process: u32) {
    let passed = fs::read_to_string(own.join(PASSED)).unwrap_or_default();
    let ended: Vec<String> = passed.split_whitespace().map(|name| format!("-{name}")).collect();
    let steps = [Step::Write(own.join(PASSED), ended.join(" ")), Step::Write(own.join(PROCESSES), process.to_string())];
    for step in steps {
        if let Err(error) = step.take() {
            tracing::debug!(%error, "a step back out of a control group failed: {step}");
        }
    }
    // Only an empty group can be removed.
    let _ = fs::remove_dir(own.join(MAIN));
}

/// The steps down for a process that is alone in its group, from the texts of the group's files.
fn way(own: &Path, process: u32, processes: &str, controllers: &str) -> Result<Vec<Step>, String> {
    let others = processes.lines().filter(|line| line.trim() != process.to_string()).count();
    if others > 0 {
        return Err(format!("other processes are in this program's group: others={others}"));
    }
    if let Some(missing) = NEEDED.iter().find(|name| !has(controllers, name)) {
        return Err(format!("the group above does not pass the controller on: {missing}"));
    }
    let passed = NEEDED.iter().chain([&CPU].into_iter().filter(|name| has(controllers, name)));
    let passed: Vec<String> = passed.map(|name| format!("+{name}")).collect();
    let main = own.join(MAIN);
    Ok(vec![
        Step::Make(main.clone()),
        Step::Write(main.join(PROCESSES), process.to_string()),
        Step::Write(own.join(PASSED), passed.join(" ")),
    ])
}

fn has(controllers: &str, name: &str) -> bool {
    controllers.split_whitespace().any(|has| has == name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test: a panic is a failure.
mod tests {
    use super::*;

    const OWN: &str = "/c/x.service";

    fn write(file: &str, text: &str) -> Step {
        Step::Write(Path::new(OWN).join(file), text.to_owned())
    }

    #[test]
    fn who_is_alone_moves_into_a_leaf_before_its_old_group_passes_anything_on() {
        let steps = |controllers| way(Path::new(OWN), 7, "7\n", controllers);
        let make = Step::Make(Path::new(OWN).join(MAIN));
        let first = [make, write("keystead-main/cgroup.procs", "7")];
        let with = |last: &str| Ok::<_, String>([first.as_slice(), &[write("cgroup.subtree_control", last)]].concat());
        assert_eq!(steps("cpuset cpu io memory pids\n"), with("+memory +pids +cpu"));
        assert_eq!(steps("memory pids"), with("+memory +pids"));
        for (controllers, missing) in [("cpu memory", "pids"), ("pids memory_x", "memory"), ("", "memory")] {
            assert!(steps(controllers).unwrap_err().ends_with(missing), "{controllers}");
        }
    }

    #[test]
    fn nobody_who_shares_its_group_is_moved_and_nobody_else_is_either() {
        for (processes, others) in [("7\n8\n", 1), ("70\n", 1), ("0\n7\n9\n", 2)] {
            let refused = way(Path::new(OWN), 7, processes, "memory pids").unwrap_err();
            assert!(refused.ends_with(&format!("others={others}")), "{processes:?}: {refused}");
        }
        // A group that lists nobody: this process came here through a leaf, and moving it again changes nothing.
        assert!(way(Path::new(OWN), 7, "", "memory pids").is_ok());
    }

    /// A folder in the place of a group: files keep what was written last.
    fn group(files: &[&str]) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join(MAIN)).unwrap();
        for file in files {
            fs::write(tree.path().join(file), "").unwrap();
        }
        fs::write(tree.path().join(PROCESSES), "7\n").unwrap();
        fs::write(tree.path().join(CONTROLLERS), "cpu memory pids\n").unwrap();
        tree
    }

    fn text(tree: &tempfile::TempDir, file: &str) -> String {
        fs::read_to_string(tree.path().join(file)).unwrap()
    }

    #[test]
    fn all_steps_are_done_or_the_process_goes_back() {
        let tree = group(&["keystead-main/cgroup.procs", PASSED]);
        assert_eq!(step_down(tree.path(), 7), Ok(Passed { cpu: true }));
        assert_eq!(text(&tree, "keystead-main/cgroup.procs"), "7");
        assert_eq!(text(&tree, PASSED), "+memory +pids +cpu");
        // The group cannot pass anything on: there is no such file.
        let tree = group(&["keystead-main/cgroup.procs"]);
        fs::write(tree.path().join(PROCESSES), "7").unwrap();
        let refused = step_down(tree.path(), 7).unwrap_err();
        assert!(refused.starts_with("write +memory +pids +cpu into ") && refused.contains(PASSED), "{refused}");
        assert_eq!(text(&tree, PROCESSES), "7", "it is where it was");
        let nowhere = tempfile::tempdir().unwrap();
        assert!(step_down(nowhere.path(), 7).unwrap_err().starts_with("cgroup.procs: "));
    }

    /// The kernel's own word, where this machine lets a test make groups of version 2.
    #[test]
    #[allow(clippy::print_stderr)] // How tests say that they were skipped.
    fn the_kernel_bounds_a_leaf_beside_a_process_that_stepped_down() {
        let own = Path::new("/sys/fs/cgroup").join(format!("keystead-test-{}", std::process::id()));
        if !Path::new("/sys/fs/cgroup").join(CONTROLLERS).exists() {
            return eprintln!("skipped: control groups of version 2: none at /sys/fs/cgroup");
        }
        if let Err(error) = fs::create_dir(&own) {
            return eprintln!("skipped: control groups of version 2: none can be made here: {error}");
        }
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let moved = Step::Write(own.join(PROCESSES), child.id().to_string()).take();
        let outcome = moved.map_err(|error| error.to_string()).and_then(|()| step_down(&own, child.id()));
        let at = fs::read_to_string(format!("/proc/{}/cgroup", child.id())).unwrap();
        let worker = own.join("keystead-worker-0");
        let bounded = outcome.as_ref().is_ok_and(|_| {
            fs::create_dir(&worker).is_ok()
                && Step::Write(worker.join("memory.max"), "1048576".to_owned()).take().is_ok()
                && Step::Write(worker.join("pids.max"), "16".to_owned()).take().is_ok()
        });
        child.kill().unwrap();
        child.wait().unwrap();
        for folder in [worker, own.join(MAIN), own] {
            let _ = fs::remove_dir(folder);
        }
        match outcome {
            Ok(_) => assert!(bounded && at.trim_end().ends_with(MAIN), "{at}"),
            Err(why) => eprintln!("skipped: control groups of version 2: {why}"),
        }
    }
}
