//! Starts a worker in namespaces and a control group of its own.
//!
//! # Design
//! `std::process` cannot start a process in a new process namespace, and what it can run between fork and exec runs in a copy of a program with many threads. So this does
//! both by hand: everything is prepared before (texts, pipes, files of the control group), and the child makes system calls only. A step that fails is
//! sent back over a pipe that exec closes.
//!
//! If the parent is root, the worker is nobody outside: the parent then writes the maps of users while the child waits. Otherwise the child keeps its
//! owner's number and writes the maps itself.
//!
//! The new process is the first of its namespace: it has no process above it, whatever it starts ends with it, and signals that it does not handle pass
//! it by unless the kernel or an outer process sends them. A parent that dies before the child asked to die with it has closed the standard input, which the worker notices
//! before it reads anything.
#![allow(unsafe_code)] // A process cannot be made otherwise.

use super::{
    OPEN_FILES_MAX, Start, Started,
    call::{Patience, check, kill_group, limit, reap},
    cgroup::Group,
    left_out,
};
use crate::isolation::{Layer, LayerReport};
use std::{
    ffi::CString,
    fs::File,
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::{
            ffi::{OsStrExt as _, OsStringExt as _},
            fs::MetadataExt as _,
        },
    },
    path::Path,
    process::ExitStatus,
    sync::OnceLock,
};

/// `CLOSE_RANGE_CLOEXEC` of linux/close_range.h: mark, do not close (the pipe for failures is still needed).
const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
/// `CLONE_NEWUSER` and `CLONE_NEWPID`: the namespaces that must exist when the process begins.
const USER: u64 = libc::CLONE_NEWUSER as u64;
const PID: u64 = libc::CLONE_NEWPID as u64;
/// From the new process to its exec, ms: some system calls, but a machine out of memory is slow. One thread starts all workers, so a start that
/// hangs must not hold the others for ever.
const EXEC_MS_MAX: libc::c_int = 20_000;
/// The user and group that own nothing on every Linux.
const NOBODY: u32 = 65_534;
/// Device nodes that tell which group may use graphics cards.
const GRAPHICS_NODES: [&str; 3] = ["/dev/dri/renderD128", "/dev/dri/renderD129", "/dev/kfd"];
/// Files of the control groups that a child can join: one for each of memory and pids.
const GROUP_FILES_MAX: usize = 2;

/// A child process. It is not killed by dropping; its control group is removed once it is reaped.
#[derive(Debug)]
pub(crate) struct Child {
    pid: libc::pid_t,
    status: Option<ExitStatus>,
    group: Option<Group>,
}

impl Child {
    /// The process id.
    pub(crate) const fn id(&self) -> u32 {
        self.pid.cast_unsigned()
    }

    /// How it ended, if it did.
    pub(crate) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.reap(Patience::None)
    }

    /// Waits until it ends.
    pub(crate) fn wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.reap(Patience::Endless)
    }

    /// Kills it and everything in its group.
    pub(crate) fn kill(&mut self) {
        if self.status.is_none() {
            kill_group(self.pid);
        }
    }

    /// Bounds the memory of its control group, if it has one.
    pub(crate) fn limit_memory(&self, bytes: u64) -> io::Result<()> {
        self.group.as_ref().map_or(Ok(()), |group| group.limit_memory(bytes))
    }

    /// Bounds the swap space of its control group, if it has one that can.
    pub(crate) fn limit_swap(&self, bytes: u64) -> io::Result<()> {
        self.group.as_ref().map_or(Ok(()), |group| group.limit_swap(bytes))
    }

    /// Whether the system killed it because its control group had no memory left.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        self.group.as_ref().is_some_and(Group::ran_out_of_memory)
    }

    fn reap(&mut self, patience: Patience) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = reap(self.pid, patience)?;
        }
        Ok(self.status)
    }
}

/// Starts a worker. Blocks until the program runs in it.
pub(crate) fn start(wish: &Start) -> io::Result<Started> {
    let (flags, identity, mut reports) = namespaces_of(wish);
    let group = if wish.without.contains(&Layer::Cgroup) {
        reports.push(left_out(Layer::Cgroup));
        None
    } else {
        match Group::new() {
            Ok(group) => {
                reports.push(LayerReport::obtained(Layer::Cgroup, group.note()));
                Some(group)
            }
            Err(why) => {
                reports.push(LayerReport::refused(Layer::Cgroup, why));
                None
            }
        }
    };
    let (plan, ours) = Plan::new(wish, group.as_ref(), identity)?;
    let pid = begin(flags, &plan)?;
    let Pipes { stdin, stdout, stderr, failure } = ours;
    drop(plan);
    let mut child = Child { pid, status: None, group };
    if let Err(error) = began(failure) {
        child.kill();
        let _ = child.wait();
        return Err(error);
    }
    Ok(Started { child, stdin: stdin.into(), stdout: stdout.into(), stderr: stderr.into(), reports })
}

/// Namespaces and identity of a worker, and the reports on them.
fn namespaces_of(wish: &Start) -> (u64, Identity, Vec<LayerReport>) {
    let found = namespaces();
    let mut flags = 0;
    let mut identity = Identity::own();
    let user = match &found.user {
        _ if wish.without.contains(&Layer::UserNamespace) => left_out(Layer::UserNamespace),
        Ok(()) => {
            flags |= USER;
            match Identity::nobodys(wish) {
                Some(other) if found.other => {
                    identity = other;
                    LayerReport::obtained(Layer::UserNamespace, format!("as user {} outside", other.uid))
                }
                _ => LayerReport::obtained(Layer::UserNamespace, "as its owner's user outside"),
            }
        }
        Err(why) => LayerReport::refused(Layer::UserNamespace, why),
    };
    let pid = match if flags == 0 { &found.pid_alone } else { &found.pid } {
        _ if wish.without.contains(&Layer::PidNamespace) => left_out(Layer::PidNamespace),
        Ok(()) => {
            flags |= PID;
            LayerReport::obtained(Layer::PidNamespace, "")
        }
        Err(why) => LayerReport::refused(Layer::PidNamespace, why),
    };
    (flags, identity, vec![user, pid])
}

/// Who a worker is for everybody outside of its user namespace.
#[derive(Clone, Copy, Debug)]
struct Identity {
    uid: libc::uid_t,
    gid: libc::gid_t,
    /// Somebody else than its parent, which must then write the maps.
    other: bool,
}

impl Identity {
    /// The parent's.
    fn own() -> Self {
        // SAFETY: plain questions to the system.
        let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
        Self { uid, gid, other: false }
    }

    /// Nobody's, if the parent is root and nobody may start the binary: a root outside would own too much. The group is that of the graphics devices.
    fn nobodys(wish: &Start) -> Option<Self> {
        let for_all = |path: &Path| path.metadata().is_ok_and(|is| is.mode() & 0o5 == 0o5);
        if Self::own().uid != 0 || !for_all(&wish.program) {
            return None;
        }
        let device = GRAPHICS_NODES.iter().find_map(|path| Path::new(path).metadata().ok());
        let gid = device.filter(|is| wish.graphics && is.gid() != 0).map_or(NOBODY, |is| is.gid());
        Some(Self { uid: NOBODY, gid, other: true })
    }
}

/// Waits until exec closes the pipe, or a failure comes through it.
fn began(failure: OwnedFd) -> io::Result<()> {
    let mut wait = libc::pollfd { fd: failure.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is to one live struct.
    match unsafe { libc::poll(&raw mut wait, 1, EXEC_MS_MAX) } {
        -1 => return Err(io::Error::last_os_error()),
        0 => return Err(io::Error::new(io::ErrorKind::TimedOut, format!("exec: waited_ms={EXEC_MS_MAX}"))),
        _ => {}
    }
    let mut told = Vec::new();
    File::from(failure).take(8).read_to_end(&mut told)?;
    told_failure(&told)
}

/// What the child sent before exec closed the pipe: nothing, or the step that failed and why.
fn told_failure(told: &[u8]) -> io::Result<()> {
    let Some((&[step, a, b, c, d], _)) = told.split_first_chunk::<5>() else {
        return Ok(());
    };
    let error = io::Error::from_raw_os_error(i32::from_le_bytes([a, b, c, d]));
    let step = STEPS.get(usize::from(step)).copied().unwrap_or("start");
    Err(io::Error::new(error.kind(), format!("{step}: {error}")))
}

/// The steps before exec, by the number that the child sends.
const STEPS: [&str; 9] = [
    "user namespace",
    "control group",
    "session",
    "death with the parent",
    "no new privileges",
    "resource limits",
    "pipes",
    "root folder",
    "exec",
];

/// The parent's ends.
struct Pipes {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
    failure: OwnedFd,
}

/// Everything that the child needs, made before it exists.
struct Plan {
    program: CString,
    /// Owners of the texts that `argv` and `envp` point to.
    _texts: Vec<CString>,
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    /// Standard input, output and error, then the pipe for failures; all at 3 or above.
    descriptors: [OwnedFd; 4],
    groups: [RawFd; GROUP_FILES_MAX],
    maps: Maps,
}

/// How users of a new namespace are those outside: its only one is root inside.
struct Maps {
    uid: CString,
    gid: CString,
    /// The child waits at the reading end until the parent has written the maps; `None` if it writes them itself.
    gate: Option<(OwnedFd, OwnedFd)>,
}

impl Maps {
    fn new(identity: Identity) -> io::Result<Self> {
        let text = |id: u32| CString::new(format!("0 {id} 1")).map_err(io::Error::from);
        let gate = if identity.other { Some(pipe()?) } else { None };
        Ok(Self { uid: text(identity.uid)?, gid: text(identity.gid)?, gate })
    }

    /// In the parent: writes the child's maps and lets it go on.
    fn open_gate(&self, pid: libc::pid_t) -> io::Result<()> {
        let Some((_, gate)) = &self.gate else { return Ok(()) };
        std::fs::write(format!("/proc/{pid}/uid_map"), self.uid.to_bytes())?;
        std::fs::write(format!("/proc/{pid}/gid_map"), self.gid.to_bytes())?;
        File::from(gate.try_clone()?).write_all(&[1])
    }

    /// In the child: becomes root of the new namespace. `false` leaves the reason in `errno`.
    ///
    /// # Safety
    /// None beyond its callers': system calls only.
    unsafe fn enter(&self) -> bool {
        // SAFETY: async-signal-safe system calls on data of this struct.
        unsafe {
            if let Some((wait, gate)) = &self.gate {
                // Our copy of the parent's end would keep us waiting for ever if it died. The library's own functions for users and groups wait for
                // threads that a copy of a process does not have, so these are plain system calls.
                libc::close(gate.as_raw_fd());
                let mut go = 0u8;
                return libc::read(wait.as_raw_fd(), (&raw mut go).cast(), 1) == 1
                    && libc::syscall(libc::SYS_setgroups, 0, core::ptr::null::<libc::gid_t>()) != -1
                    && libc::syscall(libc::SYS_setresgid, 0, 0, 0) != -1
                    && libc::syscall(libc::SYS_setresuid, 0, 0, 0) != -1;
            }
            // A parent that hides its memory would hide the maps from us; exec makes a program readable again anyway.
            libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0);
            write_whole(c"/proc/self/setgroups", b"deny")
                && write_whole(c"/proc/self/uid_map", self.uid.to_bytes())
                && write_whole(c"/proc/self/gid_map", self.gid.to_bytes())
        }
    }
}

impl Plan {
    fn new(wish: &Start, group: Option<&Group>, identity: Identity) -> io::Result<(Self, Pipes)> {
        let text = |bytes: Vec<u8>| CString::new(bytes).map_err(io::Error::from);
        let program = text(wish.program.as_os_str().as_bytes().to_vec())?;
        let mut arguments = vec![program.clone()];
        for argument in &wish.arguments {
            arguments.push(text(argument.clone().into_vec())?);
        }
        let mut variables = Vec::new();
        for (name, value) in &wish.environment {
            variables.push(text([name.as_bytes(), b"=", value.as_bytes()].concat())?);
        }
        let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
            texts.iter().map(|text| text.as_ptr()).chain([core::ptr::null()]).collect()
        };
        let (argv, envp) = (pointers(&arguments), pointers(&variables));
        let (stdin, to_stdin) = pipe()?;
        let (from_stdout, stdout) = pipe()?;
        let (from_stderr, stderr) = pipe()?;
        let (from_failure, failure) = pipe()?;
        let mut groups = [-1; GROUP_FILES_MAX];
        for (slot, file) in groups.iter_mut().zip(group.into_iter().flat_map(Group::doors)) {
            *slot = file.as_raw_fd();
        }
        let plan = Self {
            program,
            argv,
            envp,
            _texts: arguments.into_iter().chain(variables).collect(),
            descriptors: [stdin, stdout, stderr, failure],
            groups,
            maps: Maps::new(identity)?,
        };
        Ok((plan, Pipes { stdin: to_stdin, stdout: from_stdout, stderr: from_stderr, failure: from_failure }))
    }
}

/// A pipe whose ends lie above the standard descriptors and are closed by exec: reading end, writing end.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    // SAFETY: the pointer is to two live integers; what the call returns is ours.
    let [read, write] = unsafe {
        check(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC))?;
        ends.map(|end| OwnedFd::from_raw_fd(end))
    };
    Ok((above_standard(read)?, above_standard(write)?))
}

fn above_standard(end: OwnedFd) -> io::Result<OwnedFd> {
    // A parent that closed its own standard descriptors gets them from pipe(); a clone has the first free number from 3 on.
    if end.as_raw_fd() > 2 { Ok(end) } else { end.try_clone() }
}

/// Makes the process. Signals wait meanwhile, so that no handler of the parent runs in the child.
fn begin(flags: u64, plan: &Plan) -> io::Result<libc::pid_t> {
    // SAFETY: signal sets are plain data; the child makes system calls only, on data made before, and never returns.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let made = make(flags);
        if matches!(made, Ok(0)) {
            let (step, error) = before_exec(flags, plan);
            let [a, b, c, d] = error.to_le_bytes();
            let told = [step, a, b, c, d];
            libc::write(plan.descriptors[3].as_raw_fd(), told.as_ptr().cast(), told.len());
            libc::_exit(127)
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, core::ptr::null_mut());
        let pid = made?;
        if let Err(error) = plan.maps.open_gate(pid) {
            kill_group(pid);
            reap(pid, Patience::Endless)?;
            return Err(error);
        }
        Ok(pid)
    }
}

/// Copies this process as `fork` does, in new namespaces: 0 in the child.
///
/// # Safety
/// The child must make async-signal-safe calls only: this program has other threads.
unsafe fn make(flags: u64) -> io::Result<libc::pid_t> {
    // SAFETY: zero is a valid value of this plain C struct: no thread, no stack of its own, no descriptor returned.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = flags;
    arguments.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: the struct lives through the call and the size is its own.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>()) };
    if pid == -1 {
        return Err(io::Error::last_os_error());
    }
    // LOSSY: a process id fits its type.
    #[allow(clippy::cast_possible_truncation)]
    Ok(pid as libc::pid_t)
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// In the child: takes things away, then becomes the worker. Returns only if a step failed: its number and the error.
///
/// # Safety
/// Must run in a child made by [`make`], and only there. Allocates nothing.
unsafe fn before_exec(flags: u64, plan: &Plan) -> (u8, i32) {
    // SAFETY: async-signal-safe system calls on data that lives in the plan.
    unsafe {
        // Whatever keeps us must not keep us longer than our parent; a change of user undoes it, so it is asked for again below.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        // Before the change of user, as older kernels ask who writes and not who opened.
        for group in plan.groups {
            if group != -1 && libc::write(group, c"0".as_ptr().cast(), 1) != 1 {
                return (1, errno());
            }
        }
        if flags & USER != 0 && !plan.maps.enter() {
            return (0, errno());
        }
        if libc::setsid() == -1 {
            return (2, errno());
        }
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) == -1 {
            return (3, errno());
        }
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1 {
            return (4, errno());
        }
        let limits = [(libc::RLIMIT_CORE, 0), (libc::RLIMIT_NOFILE, OPEN_FILES_MAX)];
        if limits.into_iter().any(|(resource, value)| limit(resource, value).is_err()) {
            return (5, errno());
        }
        for (number, end) in (0..).zip(&plan.descriptors[..3]) {
            if libc::dup2(end.as_raw_fd(), number) == -1 {
                return (6, errno());
            }
        }
        // Old kernels lack this call; every descriptor of our own is closed by exec anyway.
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC);
        if libc::chdir(c"/".as_ptr()) == -1 {
            return (7, errno());
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, core::ptr::null_mut());
        libc::execve(plan.program.as_ptr(), plan.argv.as_ptr(), plan.envp.as_ptr());
        (8, errno())
    }
}

/// Writes a small file in one call.
///
/// # Safety
/// None beyond its callers': system calls only.
unsafe fn write_whole(path: &core::ffi::CStr, bytes: &[u8]) -> bool {
    // SAFETY: path and bytes live through the calls.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if file == -1 {
            return false;
        }
        let written = libc::write(file, bytes.as_ptr().cast(), bytes.len());
        let error = errno();
        libc::close(file);
        *libc::__errno_location() = error;
        usize::try_from(written) == Ok(bytes.len())
    }
}

/// The namespaces that a new process can begin in.
struct Namespaces {
    user: Result<(), String>,
    /// A process namespace, with a user namespace where there is one.
    pid: Result<(), String>,
    /// A process namespace alone, which takes a privilege.
    pid_alone: Result<(), String>,
    /// Its user can be another one outside, which takes a privilege too.
    other: bool,
}

/// Tries all, once in the life of this process, with children that end at once.
fn namespaces() -> &'static Namespaces {
    static FOUND: OnceLock<Namespaces> = OnceLock::new();
    FOUND.get_or_init(|| {
        let own = Identity::own();
        let user = attempt(USER, own);
        let pid_alone = attempt(PID, own);
        let pid = if user.is_ok() { attempt(USER | PID, own) } else { pid_alone.clone() };
        let nobody = Identity { uid: NOBODY, gid: NOBODY, other: true };
        let other = own.uid == 0 && user.is_ok() && attempt(USER, nobody).is_ok();
        Namespaces { user, pid, pid_alone, other }
    })
}

/// Makes a child in these namespaces, which maps its user and ends.
fn attempt(flags: u64, identity: Identity) -> Result<(), String> {
    let outcome = Maps::new(identity).and_then(|maps| {
        // SAFETY: the child only makes system calls, and ends.
        let pid = unsafe {
            let pid = make(flags)?;
            if pid == 0 {
                let right = flags & USER == 0 || maps.enter();
                libc::_exit(if right { 0 } else { errno().clamp(1, 255) })
            }
            pid
        };
        let opened = if flags & USER == 0 { Ok(()) } else { maps.open_gate(pid) };
        if opened.is_err() {
            kill_group(pid);
        }
        let status = reap(pid, Patience::Endless)?;
        opened.map(|()| status)
    });
    let status = outcome.map_err(|error| error.to_string())?;
    match status.and_then(|status| status.code()) {
        Some(0) => Ok(()),
        Some(error) => Err(format!("cannot map the user: {}", io::Error::from_raw_os_error(error))),
        None => Err("the trial ended by a signal".to_owned()),
    }
}
