//! What the operating system takes away from a worker; the only unsafe code of this crate.
//!
//! # Design
//! Before `exec`: own session, death with the parent (Linux), no new privileges, no core dump, few open files, no inherited descriptors.
//! After `exec`, when the job is known: memory and processor time. Elsewhere than on Unix only the empty environment, the pipes and the
//! kill remain. System call filters come later.
#![allow(unsafe_code)] // Thin calls into libc, each with its reason.

use std::{io, process::Command};

/// Open files of a worker: three pipes, and what a graphics driver opens.
#[cfg(unix)]
const OPEN_FILES_MAX: u64 = 256;

/// Lets the command start as a worker: see the module's design. To be called before `spawn`.
#[cfg(unix)]
pub(crate) fn confine(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;
    let parent = std::process::id();
    // SAFETY: between fork and exec the closure only makes system calls that are async-signal-safe, and allocates nothing.
    unsafe { command.pre_exec(move || before_exec(parent)) };
}

/// Elsewhere the pipes and the empty environment have to do.
#[cfg(not(unix))]
pub(crate) fn confine(_command: &mut Command) {}

#[cfg(unix)]
fn before_exec(parent: u32) -> io::Result<()> {
    // SAFETY: plain system calls on this process.
    unsafe {
        check(libc::setsid())?;
        #[cfg(target_os = "linux")]
        {
            check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
            // The parent may have died before the line above; then nobody would kill us.
            if u32::try_from(libc::getppid()) != Ok(parent) {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
            // Old kernels lack this call; every descriptor of our own is close-on-exec anyway.
            libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = parent;
    limit(libc::RLIMIT_CORE, 0)?;
    limit(libc::RLIMIT_NOFILE, OPEN_FILES_MAX)
}

/// `CLOSE_RANGE_CLOEXEC` of linux/close_range.h: mark, do not close (the runtime's own error pipe is still needed).
#[cfg(target_os = "linux")]
const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;

#[cfg(unix)]
fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(all(unix, any(target_os = "linux", target_os = "android")))]
type Resource = libc::__rlimit_resource_t;
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
type Resource = libc::c_int;

/// Lowers a resource limit of this process; a hard limit below the wish stays as it is.
#[cfg(unix)]
fn limit(resource: Resource, value: u64) -> io::Result<()> {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live local of the right type.
    check(unsafe { libc::getrlimit(resource, &raw mut now) })?;
    // LOSSY: rlim_t is u64 on every Unix that we build for.
    #[allow(clippy::unnecessary_cast, trivial_numeric_casts)]
    let value = (value as libc::rlim_t).min(now.rlim_max);
    let new = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: the pointer is to a live local of the right type.
    check(unsafe { libc::setrlimit(resource, &raw const new) })
}

/// Bounds the memory that this process can write to and address, bytes. Only for engines whose needs are known (not for graphics drivers).
#[cfg(all(feature = "wasm", target_os = "linux"))]
pub(crate) fn limit_memory(writable_bytes: u64, address_bytes: u64) -> io::Result<()> {
    limit(libc::RLIMIT_DATA, writable_bytes)?;
    limit(libc::RLIMIT_AS, address_bytes)
}

/// Elsewhere these limits do not exist or are not kept.
#[cfg(all(feature = "wasm", not(target_os = "linux")))]
pub(crate) fn limit_memory(_writable_bytes: u64, _address_bytes: u64) -> io::Result<()> {
    Ok(())
}

/// Lets this process use at most `seconds` more seconds of processor time before the system kills it: the backstop for a parent that cannot kill
/// (stopped, swapped out). The hard limit is left, so that the next unit can have its own time.
#[cfg(unix)]
pub(crate) fn limit_cpu(seconds: u64) -> io::Result<()> {
    // SAFETY: zero is a valid value of this plain C struct.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both pointers are to live locals of the right type.
    unsafe {
        check(libc::getrusage(libc::RUSAGE_SELF, &raw mut used))?;
        check(libc::getrlimit(libc::RLIMIT_CPU, &raw mut now))?;
    }
    let spent = [used.ru_utime, used.ru_stime].map(|time| u64::try_from(time.tv_sec).unwrap_or(0));
    let wish = spent.into_iter().fold(seconds, u64::saturating_add).saturating_add(1);
    // LOSSY: rlim_t is u64 on every Unix that we build for.
    #[allow(clippy::unnecessary_cast, trivial_numeric_casts)]
    let wish = (wish as libc::rlim_t).min(now.rlim_max);
    let new = libc::rlimit { rlim_cur: wish, ..now };
    // SAFETY: the pointer is to a live local of the right type.
    check(unsafe { libc::setrlimit(libc::RLIMIT_CPU, &raw const new) })
}

/// Elsewhere the parent's deadline has to do.
#[cfg(not(unix))]
pub(crate) fn limit_cpu(_seconds: u64) -> io::Result<()> {
    Ok(())
}

/// Takes the standard output for the frames and puts standard error in its place, so that a driver that prints cannot break a frame.
#[cfg(unix)]
pub(crate) fn take_stdout() -> io::Result<std::fs::File> {
    use std::os::fd::{AsFd as _, AsRawFd as _};
    let frames = std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?);
    // SAFETY: both descriptors are open and stay open for the life of the process.
    check(unsafe { libc::dup2(io::stderr().as_raw_fd(), io::stdout().as_raw_fd()) })?;
    Ok(frames)
}

/// Takes the standard output for the frames.
#[cfg(not(unix))]
pub(crate) fn take_stdout() -> io::Result<impl io::Write + Send> {
    Ok(io::stdout())
}

/// Ends this process at once, without exit handlers: a driver's handlers can wait for ever for the work that we want to end.
#[cfg(unix)]
pub(crate) fn leave(code: u8) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(i32::from(code)) }
}

/// Ends this process.
#[cfg(not(unix))]
#[allow(clippy::exit)] // This is the end of the worker process.
pub(crate) fn leave(code: u8) -> ! {
    std::process::exit(i32::from(code))
}

/// Kills a worker and everything in its session's process group.
#[cfg(unix)]
pub(crate) fn kill(child: &mut std::process::Child) {
    if let Ok(group) = i32::try_from(child.id()) {
        // SAFETY: the child is not reaped yet, so its id and its group's are still its own.
        unsafe { libc::killpg(group, libc::SIGKILL) };
    }
    let _ = child.kill();
}

/// Kills a worker.
#[cfg(not(unix))]
pub(crate) fn kill(child: &mut std::process::Child) {
    let _ = child.kill();
}
