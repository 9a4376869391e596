//! Keeps work out of the owner's way: the lowest priority that the system grants, and a stop that loses nothing.
//!
//! # Design
//! Nothing is assumed. Each measure is asked for, then read back, and the report says what was obtained, refused or does not exist. Nice 19 alone
//! still takes 1.5 % of a busy core; the idle class takes less, and a control group of weight 1 bounds a worker with a thousand threads.
//!
//! # Other systems
//! Windows: [`prepare`] starts the worker in `IDLE_PRIORITY_CLASS`; there is no stop of a foreign process without a debugger, so the worker must be
//! asked to pause. macOS: nice, and stopping by signals; the background class is set by launchd (see [`crate::service`]).

use crate::{
    probe::Root,
    reading::{Reading, Unknown},
};
use std::{fmt, fs, io, path::PathBuf, process::Command, sync::Arc};
#[cfg(unix)]
use std::{
    thread,
    time::{Duration, Instant},
};

/// The lowest nice value.
#[cfg(unix)]
const NICE: i32 = 19;
/// Passes over the threads of a worker: threads that start meanwhile inherit from threads that were done already.
#[cfg(target_os = "linux")]
const PASSES_MAX: usize = 8;
/// How long the kernel's word is waited for: most of a second stays for the look that noticed the owner.
#[cfg(unix)]
const FREEZE_MAX: Duration = Duration::from_millis(100);
/// Time between two looks whether it has frozen.
#[cfg(unix)]
const FREEZE_LOOK: Duration = Duration::from_millis(2);

/// One measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Nice 19.
    Nice,
    /// The scheduling class for idle processors.
    IdleClass,
    /// The disk only when nobody else uses it.
    DiskIdle,
    /// Nice 19 for the session's automatic group, which hides the nice value of a process otherwise.
    Autogroup,
    /// Weight 1 for the worker's control group.
    GroupWeight,
    /// The idle class for the worker's control group.
    GroupIdle,
    /// So many processors and no more.
    Processors,
}

/// What came of a measure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was read back and holds.
    Obtained,
    /// The system refused it.
    Refused(String),
    /// This system does not have it.
    Unavailable,
}

/// What came of all measures, in the order of [`Measure`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Measures and outcomes.
    pub outcomes: Vec<(Measure, Outcome)>,
}

impl Report {
    /// Whether a measure was obtained.
    #[must_use]
    pub fn obtained(&self, measure: Measure) -> bool {
        self.outcomes.contains(&(measure, Outcome::Obtained))
    }

    fn add(&mut self, measure: Measure, outcome: io::Result<bool>) {
        let outcome = match outcome {
            Ok(true) => Outcome::Obtained,
            Ok(false) => Outcome::Refused("it was accepted and does not hold".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Outcome::Unavailable,
            Err(error) => Outcome::Refused(error.to_string()),
        };
        self.outcomes.push((measure, outcome));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (measure, outcome)) in self.outcomes.iter().enumerate() {
            let separator = if at == 0 { "" } else { "; " };
            match outcome {
                Outcome::Obtained => write!(f, "{separator}{measure:?}: yes")?,
                Outcome::Refused(why) => write!(f, "{separator}{measure:?}: no ({why})")?,
                Outcome::Unavailable => write!(f, "{separator}{measure:?}: not on this system")?,
            }
        }
        Ok(())
    }
}

/// To be called before a worker is started: chooses the idle class.
#[cfg(windows)]
pub fn prepare(command: &mut Command) {
    use std::os::windows::process::CommandExt as _;
    /// `IDLE_PRIORITY_CLASS` of processthreadsapi.h.
    const IDLE_PRIORITY_CLASS: u32 = 0x40;
    command.creation_flags(IDLE_PRIORITY_CLASS);
}

/// To be called before a worker is started. Does nothing here: [`lower`] does the work once the worker runs.
#[cfg(not(windows))]
pub const fn prepare(_command: &mut Command) {}

/// Lowers a worker: all threads that it has, and through them all that it will have. To be called once it has started, before it is given work.
#[cfg(target_os = "linux")]
pub fn lower(root: &Root, process: u32) -> Report {
    let mut report = Report::default();
    let each = |measure: fn(u32) -> io::Result<()>| each_thread(root, process, measure);
    let set = each(|thread| crate::system::set_nice(thread, NICE));
    report.add(Measure::Nice, set.and_then(|()| Ok(crate::system::nice(process)? == NICE)));
    let set = each(crate::system::set_idle_class);
    report.add(Measure::IdleClass, set.and_then(|()| crate::system::is_idle_class(process)));
    let set = each(crate::system::set_disk_idle);
    report.add(Measure::DiskIdle, set.and_then(|()| crate::system::is_disk_idle(process)));
    report.add(Measure::Autogroup, autogroup(root, process));
    report
}

/// Lowers a worker; its threads follow it.
#[cfg(all(unix, not(target_os = "linux")))]
pub fn lower(_root: &Root, process: u32) -> Report {
    let mut report = Report::default();
    let set = crate::system::set_nice(process, NICE);
    report.add(Measure::Nice, set.and_then(|()| Ok(crate::system::nice(process)? == NICE)));
    for measure in [Measure::IdleClass, Measure::DiskIdle, Measure::Autogroup] {
        report.outcomes.push((measure, Outcome::Unavailable));
    }
    report
}

/// On Windows [`prepare`] has done what can be done.
#[cfg(not(unix))]
pub fn lower(_root: &Root, _process: u32) -> Report {
    let all = [Measure::Nice, Measure::IdleClass, Measure::DiskIdle, Measure::Autogroup];
    Report { outcomes: all.map(|measure| (measure, Outcome::Unavailable)).to_vec() }
}

/// Lets a worker use so many of the processors that this program may use, at least one: all its threads, and through them all that it will have. To be
/// called again when the number changes.
#[cfg(target_os = "linux")]
pub fn confine(root: &Root, process: u32, threads: u32) -> Report {
    let count = usize::try_from(threads).unwrap_or(usize::MAX);
    let taken = std::cell::Cell::new(0);
    let set = each_thread(root, process, |thread| {
        taken.set(crate::system::set_processors(thread, count)?);
        Ok(())
    });
    let mut report = Report::default();
    report.add(Measure::Processors, set.and_then(|()| Ok(crate::system::processors(process)? == taken.get())));
    report
}

/// Elsewhere the number of processors is left to the system.
#[cfg(not(target_os = "linux"))]
pub fn confine(_root: &Root, _process: u32, _threads: u32) -> Report {
    Report { outcomes: vec![(Measure::Processors, Outcome::Unavailable)] }
}

/// Applies a measure to all threads, until a pass finds none that is new.
#[cfg(target_os = "linux")]
fn each_thread(root: &Root, process: u32, measure: impl Fn(u32) -> io::Result<()>) -> io::Result<()> {
    let mut done: Vec<u32> = Vec::new();
    for _ in 0..PASSES_MAX {
        let names = root.names(&format!("proc/{process}/task"));
        let threads: Vec<u32> = names.iter().filter_map(|name| name.parse().ok()).collect();
        let new: Vec<u32> = threads.iter().copied().filter(|thread| !done.contains(thread)).collect();
        if new.is_empty() {
            break;
        }
        for thread in new {
            match measure(thread) {
                // A thread that ended meanwhile needs nothing.
                Err(error) if thread != process && error.raw_os_error() == Some(libc::ESRCH) => {}
                other => other?,
            }
            done.push(thread);
        }
    }
    if done.contains(&process) { Ok(()) } else { measure(process) }
}

/// Sets the nice value of the process's automatic group, and reads it back.
#[cfg(target_os = "linux")]
fn autogroup(root: &Root, process: u32) -> io::Result<bool> {
    let enabled = root.number::<u8>("proc/sys/kernel/sched_autogroup_enabled");
    if enabled.value().is_none_or(|enabled| *enabled == 0) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let path = format!("proc/{process}/autogroup");
    fs::write(root.path(&path), format!("{NICE}"))?;
    Ok(root.text(&path).value().is_some_and(|text| text.trim_end().ends_with(&format!("nice {NICE}"))))
}

/// A control group (version 2) for workers, below our own. It is removed when dropped; the workers must have ended by then.
#[derive(Debug)]
pub struct Group {
    root: Root,
    path: String,
    /// What came of its weights.
    pub report: Report,
}

impl Group {
    /// Makes a group below our own, if this account may.
    ///
    /// # Errors
    /// `Unsupported` where there are no such groups; what the system said where they are not ours to change.
    pub fn create(root: &Root, name: &str) -> io::Result<Self> {
        let base = ["sys/fs/cgroup", "sys/fs/cgroup/unified"];
        let base = base.into_iter().find(|base| root.exists(&format!("{base}/cgroup.controllers")));
        let base = base.ok_or(io::ErrorKind::Unsupported)?;
        let table = root.text("proc/self/cgroup");
        let own = table.value().and_then(|text| text.lines().find_map(|line| line.strip_prefix("0::")));
        let own = own.ok_or(io::ErrorKind::Unsupported)?.trim_end_matches('/');
        let path = format!("{base}{own}/{name}");
        match fs::create_dir(root.path(&path)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let mut group = Self { root: root.clone(), path, report: Report::default() };
        // A process that died while its workers stood still may have left the group frozen.
        let _ = group.set("cgroup.freeze", "0");
        for (measure, file) in [(Measure::GroupWeight, "cpu.weight"), (Measure::GroupIdle, "cpu.idle")] {
            let outcome = group.set(file, "1");
            group.report.add(measure, outcome);
        }
        Ok(group)
    }

    /// Moves a worker, with all its threads, into the group.
    ///
    /// # Errors
    /// What the system said.
    pub fn add(&self, process: u32) -> io::Result<()> {
        fs::write(self.file("cgroup.procs"), format!("{process}"))
    }

    /// Writes and reads back; where the file does not exist the controller is not ours to use.
    fn set(&self, file: &str, value: &str) -> io::Result<bool> {
        if !self.root.exists(&format!("{}/{file}", self.path)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        fs::write(self.file(file), value)?;
        Ok(self.root.word(&format!("{}/{file}", self.path)).value().is_some_and(|now| now == value))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.root.path(&format!("{}/{name}", self.path))
    }

    #[cfg(unix)]
    fn frozen(&self) -> bool {
        let events = self.root.text(&format!("{}/cgroup.events", self.path));
        events.value().is_some_and(|text| text.lines().any(|line| line == "frozen 1"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A frozen process cannot end; and a group that is not empty stays, which harms nobody.
        let _ = fs::write(self.file("cgroup.freeze"), "0");
        let _ = fs::remove_dir(self.root.path(&self.path));
    }
}

/// How work was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// The kernel freezes the control group.
    Group,
    /// Every process of the worker's process group got the signal to stop.
    Signal,
}

/// Work that was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// How.
    pub by: Means,
    /// Whether the kernel says that every thread stands still. If not, the stop was accepted, and takes hold of each thread before it runs its next
    /// instruction: a thread of the idle class that gets no processor, because others use all of them, cannot even stop.
    pub confirmed: bool,
}

/// Stops a worker where it is and lets it go on; nothing is lost, and its memory stays.
#[derive(Debug)]
pub struct Freezer {
    root: Root,
    #[cfg_attr(not(unix), allow(dead_code))] // Nothing is stopped there.
    group: Option<Group>,
    process: u32,
}

impl Freezer {
    /// For a worker that leads its own process group (as each worker does, with a session of its own).
    #[must_use]
    pub const fn new(root: Root, process: u32, group: Option<Group>) -> Self {
        Self { root, group, process }
    }

    /// Whether the worker is stopped now, as the kernel says.
    #[must_use]
    pub fn stopped(&self) -> Reading<bool> {
        #[cfg(unix)]
        if let Some(group) = &self.group
            && group.frozen()
        {
            return Reading::known(true, &group.path);
        }
        let path = format!("proc/{}/stat", self.process);
        match self.root.text(&path) {
            Reading::Known(text, source) => {
                let state =
                    text.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next().map(str::to_owned));
                Reading::Known(matches!(state.as_deref(), Some("T" | "t")), source)
            }
            Reading::Unknown(_) => Reading::Unknown(Unknown::Absent(Arc::from(path))),
        }
    }

    /// Stops the worker: by its control group if that works, else by signals. Waits a tenth of a second for the kernel's confirmation.
    ///
    /// # Errors
    /// What the system said about the signal. `Unsupported` on Windows.
    #[cfg(unix)]
    pub fn freeze(&self) -> io::Result<Stopped> {
        if let Some(group) = &self.group
            && group.set("cgroup.freeze", "1").is_ok_and(|holds| holds)
        {
            return Ok(Stopped { by: Means::Group, confirmed: wait(|| group.frozen()) });
        }
        crate::system::signal_group(self.process, crate::system::Signal::Stop)?;
        Ok(Stopped { by: Means::Signal, confirmed: wait(|| self.stopped().value() == Some(&true)) })
    }

    /// Stops the worker: not here.
    ///
    /// # Errors
    /// `Unsupported`.
    #[cfg(not(unix))]
    pub fn freeze(&self) -> io::Result<Stopped> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Lets the worker go on, however it was stopped.
    ///
    /// # Errors
    /// What the system said about the signal.
    #[cfg(unix)]
    pub fn thaw(&self) -> io::Result<()> {
        if let Some(group) = &self.group {
            let _ = group.set("cgroup.freeze", "0");
        }
        crate::system::signal_group(self.process, crate::system::Signal::Continue)
    }

    /// Lets the worker go on: not here.
    ///
    /// # Errors
    /// `Unsupported`.
    #[cfg(not(unix))]
    pub fn thaw(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Waits until something holds, at most [`FREEZE_MAX`].
#[cfg(unix)]
fn wait(holds: impl Fn() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if holds() {
            return true;
        }
        if start.elapsed() >= FREEZE_MAX {
            return false;
        }
        thread::sleep(FREEZE_LOOK);
    }
}
