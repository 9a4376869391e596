//! Thin calls into the C library: all unsafe code of this crate besides the start itself.
#![allow(unsafe_code)] // Each call with its reason.

use std::io;
#[cfg(target_os = "linux")]
use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus};

#[cfg(target_os = "linux")]
pub(super) use linux::*;

pub(super) fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) type Resource = libc::__rlimit_resource_t;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) type Resource = libc::c_int;

/// Lowers a resource limit of this process; a hard limit below the wish stays as it is. Only system calls: fit for the moment before exec.
pub(super) fn limit(resource: Resource, value: u64) -> io::Result<()> {
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

/// The exit code of a worker that used up its processor time.
const EXIT_CPU: i32 = 24;

extern "C" fn out_of_time(_signal: libc::c_int) {
    // SAFETY: ends the process; async-signal-safe.
    unsafe { libc::_exit(EXIT_CPU) }
}

/// Lets this process use at most `seconds` more seconds of processor time before it ends: the backstop for a parent that cannot kill (stopped,
/// swapped out). The hard limit is left, so that the next unit can have its own time. The first process of a namespace ignores signals that it
/// does not handle, so the signal is handled.
pub(crate) fn limit_cpu(seconds: u64) -> io::Result<()> {
    // SAFETY: zero is a valid value of this plain C struct.
    let mut used: libc::rusage = unsafe { std::mem::zeroed() };
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: all pointers are to live locals of the right type; the handler only ends the process.
    unsafe {
        check(libc::getrusage(libc::RUSAGE_SELF, &raw mut used))?;
        check(libc::getrlimit(libc::RLIMIT_CPU, &raw mut now))?;
        let handler: extern "C" fn(libc::c_int) = out_of_time;
        if libc::signal(libc::SIGXCPU, handler as libc::sighandler_t) == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
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

/// Takes the standard output for the frames and puts standard error in its place, so that a driver that prints cannot break a frame.
pub(crate) fn take_stdout() -> io::Result<std::fs::File> {
    use std::os::fd::{AsFd as _, AsRawFd as _};
    let frames = std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?);
    // SAFETY: both descriptors are open and stay open for the life of the process.
    check(unsafe { libc::dup2(io::stderr().as_raw_fd(), io::stdout().as_raw_fd()) })?;
    Ok(frames)
}

/// Ends this process at once, without exit handlers: a driver's handlers can wait for ever for the work that we want to end.
pub(crate) fn leave(code: u8) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(i32::from(code)) }
}

/// Kills a child that is not reaped yet, and everything in its process group.
pub(super) fn kill_group(pid: libc::pid_t) {
    // SAFETY: the child is not reaped, so its id and its group's are still its own.
    unsafe {
        libc::killpg(pid, libc::SIGKILL);
        libc::kill(pid, libc::SIGKILL);
    }
}

/// Reaps a child. Without patience it returns `None` at once if the child still runs.
#[cfg(target_os = "linux")]
pub(super) fn reap(pid: libc::pid_t, patience: Patience) -> io::Result<Option<ExitStatus>> {
    let options = if patience == Patience::None { libc::WNOHANG } else { 0 };
    let mut status = 0;
    loop {
        // SAFETY: the pointer is to a live local of the right type.
        match unsafe { libc::waitpid(pid, &raw mut status, options) } {
            0 => return Ok(None),
            -1 => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            _ => return Ok(Some(ExitStatus::from_raw(status))),
        }
    }
}

/// How long [`reap`] waits.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// Not at all.
    None,
    /// Until the child ends.
    Endless,
}

#[cfg(target_os = "linux")]
mod linux {
    use super::{check, io};
    use std::ffi::CStr;

    /// `_LINUX_CAPABILITY_VERSION_3` of linux/capability.h: two words of 32 capabilities each.
    const CAPABILITY_VERSION: u32 = 0x2008_0522;
    /// Capabilities that a kernel can know; the first that it does not know ends the loop.
    const CAPABILITIES_MAX: libc::c_ulong = 64;
    /// `SECBIT_NOROOT`, `SECBIT_NO_SETUID_FIXUP`, `SECBIT_NO_CAP_AMBIENT_RAISE` and their locks, of linux/securebits.h: user 0 is nobody special.
    const NO_ROOT: libc::c_ulong = 0b1100_1111;

    #[repr(C)]
    struct CapabilityHeader {
        version: u32,
        pid: libc::c_int,
    }

    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct CapabilityWord {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }

    /// Leaves namespaces for new ones.
    pub(in super::super) fn unshare(flags: libc::c_int) -> io::Result<()> {
        // SAFETY: a plain system call on this process.
        check(unsafe { libc::unshare(flags) })
    }

    /// One mount; absent texts are null.
    pub(in super::super) fn mount(
        source: Option<&CStr>,
        target: &CStr,
        kind: Option<&CStr>,
        flags: libc::c_ulong,
        options: Option<&CStr>,
    ) -> io::Result<()> {
        let pointer = |text: Option<&CStr>| text.map_or(core::ptr::null(), CStr::as_ptr);
        // SAFETY: every pointer is null or to a text that lives through the call.
        check(unsafe { libc::mount(pointer(source), target.as_ptr(), pointer(kind), flags, pointer(options).cast()) })
    }

    /// Adds attributes to the mount at a path; `flags` may say `AT_RECURSIVE`.
    pub(in super::super) fn restrict_mount(path: &CStr, attributes: u64, flags: libc::c_int) -> io::Result<()> {
        let wish = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
        // SAFETY: path and struct live through the call, and the size is the struct's.
        let result = unsafe {
            libc::syscall(
                libc::SYS_mount_setattr,
                libc::AT_FDCWD,
                path.as_ptr(),
                flags,
                &raw const wish,
                size_of::<libc::mount_attr>(),
            )
        };
        if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Makes the working folder, a mount, the root, and lets the old root go.
    pub(in super::super) fn root_here() -> io::Result<()> {
        let here = c".".as_ptr();
        // SAFETY: the text lives for ever. The old root is stacked on the new one and then taken off.
        unsafe {
            if libc::syscall(libc::SYS_pivot_root, here, here) == -1 {
                return Err(io::Error::last_os_error());
            }
            check(libc::umount2(here, libc::MNT_DETACH))
        }
    }

    /// Gives up every capability, for ever. Returns those that remain (effective, permitted and inheritable together): 0.
    pub(in super::super) fn drop_capabilities() -> io::Result<u64> {
        // SAFETY: plain system calls on this process; structs as in linux/capability.h.
        unsafe {
            // Both need a capability; without any there is nothing to lock.
            libc::prctl(libc::PR_SET_SECUREBITS, NO_ROOT, 0, 0, 0);
            for capability in 0..CAPABILITIES_MAX {
                if libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) == -1 {
                    break;
                }
            }
            libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
            let mut header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
            let mut words = [CapabilityWord::default(); 2];
            let set = libc::syscall(libc::SYS_capset, &raw mut header, words.as_ptr());
            if set == -1 || libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) == -1 {
                return Err(io::Error::last_os_error());
            }
            let left = words.map(|word| u64::from(word.effective | word.permitted | word.inheritable));
            Ok(left[0] | left[1] << 32)
        }
    }

    /// Hides this process's memory and folders in /proc from others of its user.
    pub(in super::super) fn hide_memory() -> io::Result<()> {
        // SAFETY: a plain system call on this process.
        check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) })
    }

    /// Ends this process when the thread that started it ends.
    pub(in super::super) fn die_with_parent() -> io::Result<()> {
        // SAFETY: a plain system call on this process.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) })
    }

    /// Whether this process may not gain privileges by starting a program.
    pub(in super::super) fn has_no_new_privileges() -> bool {
        // SAFETY: a plain question to the system.
        unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 }
    }

    /// Whether this process leads its own session.
    pub(in super::super) fn leads_session() -> bool {
        // SAFETY: plain questions to the system.
        unsafe { libc::getsid(0) == libc::getpid() }
    }
}
