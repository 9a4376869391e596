//! System calls that Rust's library does not have; the only unsafe code of this crate.
//!
//! # Design
//! Each function makes one call and returns what the system said. Policy is elsewhere.
#![allow(unsafe_code)] // Thin calls into libc, each with its reason.

use std::{io, path::Path};

/// Size and free bytes of the disk that holds a path; none where this system is not asked.
#[cfg(unix)]
pub(crate) fn disk_bytes(path: &Path) -> io::Result<Option<(u64, u64)>> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: zero is a valid value of this plain C struct.
    let mut sizes: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a zero and both pointers are to live locals.
    check(unsafe { libc::statvfs(path.as_ptr(), &raw mut sizes) })?;
    // The fields have 32 bits on some systems.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
    let (block, total, free) = (u64::from(sizes.f_frsize), u64::from(sizes.f_blocks), u64::from(sizes.f_bavail));
    Ok(Some((total.saturating_mul(block), free.saturating_mul(block))))
}

/// Elsewhere nobody is asked.
#[cfg(not(unix))]
pub(crate) const fn disk_bytes(_path: &Path) -> io::Result<Option<(u64, u64)>> {
    Ok(None)
}

/// What is added to UTC to get local time at a moment, seconds; none where this system is not asked or does not know.
#[cfg(unix)]
pub(crate) fn local_offset_s(unix_s: i64) -> Option<i32> {
    #[allow(clippy::useless_conversion)] // `time_t` has 32 bits on some systems.
    let moment = libc::time_t::try_from(unix_s).ok()?;
    // SAFETY: zero is a valid value of this plain C struct (its zone pointer may be null).
    let mut local: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live locals; the call writes only into the second.
    let done = unsafe { libc::localtime_r(&raw const moment, &raw mut local) };
    if done.is_null() {
        return None;
    }
    i32::try_from(local.tm_gmtoff).ok()
}

/// Elsewhere nobody is asked.
#[cfg(not(unix))]
pub(crate) const fn local_offset_s(_unix_s: i64) -> Option<i32> {
    None
}

/// A clock that never goes back and also counts while the machine sleeps, ms.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "ios"))]
pub(crate) fn steady_ms() -> Option<u64> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: libc::clockid_t = libc::CLOCK_BOOTTIME;
    // On Apple's systems this one counts in sleep, other than `Instant`.
    #[cfg(any(target_os = "macos", target_os = "ios"))]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC_RAW;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live local of the right type.
    check(unsafe { libc::clock_gettime(CLOCK, &raw mut time) }).ok()?;
    let seconds = u64::try_from(time.tv_sec).ok()?;
    seconds.checked_mul(1_000)?.checked_add(u64::try_from(time.tv_nsec).ok()? / 1_000_000)
}

/// Elsewhere `Instant` has to do (on Windows it counts in sleep).
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos", target_os = "ios")))]
pub(crate) const fn steady_ms() -> Option<u64> {
    None
}

/// Sets the nice value (-20 to 19) of one process or thread.
#[cfg(unix)]
pub(crate) fn set_nice(id: u32, nice: i32) -> io::Result<()> {
    // SAFETY: takes numbers only.
    check(unsafe { libc::setpriority(libc::PRIO_PROCESS, id, nice) })
}

/// The nice value of one process or thread.
#[cfg(unix)]
pub(crate) fn nice(id: u32) -> io::Result<i32> {
    // SAFETY: takes numbers only.
    let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, id) };
    // -1 is a nice value and also means an error. Nobody here sets -1, so the second reading is the right one.
    check(nice)?;
    Ok(nice)
}

/// Puts a process or thread into the scheduling class `SCHED_IDLE`.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn set_idle_class(id: u32) -> io::Result<()> {
    // SAFETY: zero is a valid value of this plain C struct.
    let parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    let id = libc::pid_t::try_from(id).map_err(io::Error::other)?;
    // SAFETY: the pointer is to a live local of the right type.
    check(unsafe { libc::sched_setscheduler(id, libc::SCHED_IDLE, &raw const parameters) })
}

/// Whether a process or thread is in the class `SCHED_IDLE`.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn is_idle_class(id: u32) -> io::Result<bool> {
    let id = libc::pid_t::try_from(id).map_err(io::Error::other)?;
    // SAFETY: takes numbers only.
    let policy = unsafe { libc::sched_getscheduler(id) };
    check(policy)?;
    Ok(policy == libc::SCHED_IDLE)
}

/// `IOPRIO_CLASS_IDLE << IOPRIO_CLASS_SHIFT` and `IOPRIO_WHO_PROCESS` of linux/ioprio.h.
#[cfg(any(target_os = "linux", target_os = "android"))]
const DISK_IDLE: libc::c_int = 3 << 13;
#[cfg(any(target_os = "linux", target_os = "android"))]
const DISK_WHO_PROCESS: libc::c_int = 1;

/// Lets a process or thread use the disk only when nobody else does.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn set_disk_idle(id: u32) -> io::Result<()> {
    // SAFETY: takes numbers only.
    let done = unsafe { libc::syscall(libc::SYS_ioprio_set, DISK_WHO_PROCESS, id, DISK_IDLE) };
    if done == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether a process or thread uses the disk only when nobody else does.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn is_disk_idle(id: u32) -> io::Result<bool> {
    // SAFETY: takes numbers only.
    let value = unsafe { libc::syscall(libc::SYS_ioprio_get, DISK_WHO_PROCESS, id) };
    if value == -1 { Err(io::Error::last_os_error()) } else { Ok(value >> 13 == 3) }
}

/// Lets a process or thread use the last `count` of the processors that this process may use, at least one; how many these are.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn set_processors(id: u32, count: usize) -> io::Result<usize> {
    let id = libc::pid_t::try_from(id).map_err(io::Error::other)?;
    let own = affinity(0)?;
    // SAFETY: zero is a valid value of this plain C struct: the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let size = usize::try_from(libc::CPU_SETSIZE).map_err(io::Error::other)?;
    // SAFETY: the number is below the size of the set, and the pointer is to a live local.
    let mine = (0..size).rev().filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &own) });
    let mut taken = 0_usize;
    for cpu in mine.take(count.max(1)) {
        // SAFETY: as above.
        unsafe { libc::CPU_SET(cpu, &mut set) };
        taken = taken.saturating_add(1);
    }
    // SAFETY: the pointer is to a live local of the size that is said.
    check(unsafe { libc::sched_setaffinity(id, size_of::<libc::cpu_set_t>(), &raw const set) })?;
    Ok(taken)
}

/// How many processors a process or thread may use.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn processors(id: u32) -> io::Result<usize> {
    let set = affinity(libc::pid_t::try_from(id).map_err(io::Error::other)?)?;
    // SAFETY: the pointer is to a live local.
    let count = unsafe { libc::CPU_COUNT(&set) };
    usize::try_from(count).map_err(io::Error::other)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn affinity(id: libc::pid_t) -> io::Result<libc::cpu_set_t> {
    // SAFETY: zero is a valid value of this plain C struct.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live local of the size that is said.
    check(unsafe { libc::sched_getaffinity(id, size_of::<libc::cpu_set_t>(), &raw mut set) })?;
    Ok(set)
}

/// Stops (or lets go on) every process of a group. The group's number must be larger than 1: 0 and 1 would mean others.
#[cfg(unix)]
pub(crate) fn signal_group(group: u32, signal: Signal) -> io::Result<()> {
    let group = libc::pid_t::try_from(group).ok().filter(|group| *group > 1);
    let group = group.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let signal = match signal {
        Signal::Stop => libc::SIGSTOP,
        Signal::Continue => libc::SIGCONT,
    };
    // SAFETY: takes numbers only, and the group is not ours by accident (checked above).
    check(unsafe { libc::killpg(group, signal) })
}

/// What a process group is told.
#[cfg(unix)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Stop where you are.
    Stop,
    /// Go on.
    Continue,
}

/// The account that this process acts for.
#[cfg(unix)]
pub(crate) fn account() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

#[cfg(unix)]
fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
