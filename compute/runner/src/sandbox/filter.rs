//! Which system calls a worker may make.
//!
//! # Design
//! A list for each runtime of what it needs once it is confined. `wasm/1` is strict: what is on no list ends the process. A few calls that
//! libraries make on the way and can do without fail as if the system did not have them. `wgsl/1` is looser, as nobody knows what every graphics driver
//! does: what is on no list fails, and only what no driver has a reason for ends the process.
//! Threads may be made, processes not: `clone3`, whose flags a filter cannot see, fails, so that libraries take `clone`, whose flags are looked at.
//!
//! Two filters on one process: the kernel obeys the stricter answer.

use keystead_job::Runtime;
use libc as c;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Memory, threads, time, three pipes, an end: every worker.
#[rustfmt::skip]
const EVERY: &[c::c_long] = &[
    c::SYS_read, c::SYS_readv, c::SYS_write, c::SYS_writev, c::SYS_close, c::SYS_exit, c::SYS_exit_group,
    c::SYS_mmap, c::SYS_munmap, c::SYS_mprotect, c::SYS_mremap, c::SYS_madvise, c::SYS_brk,
    c::SYS_futex, c::SYS_sched_yield, c::SYS_sched_getaffinity, c::SYS_set_robust_list, c::SYS_rseq, c::SYS_membarrier,
    c::SYS_rt_sigaction, c::SYS_rt_sigprocmask, c::SYS_rt_sigreturn, c::SYS_sigaltstack, c::SYS_restart_syscall,
    c::SYS_getpid, c::SYS_gettid, c::SYS_getrandom, c::SYS_getrusage,
    c::SYS_clock_gettime, c::SYS_clock_getres, c::SYS_clock_nanosleep, c::SYS_nanosleep, c::SYS_gettimeofday,
];

/// Calls that libraries make and can do without, in a worker that has no file: they fail.
#[rustfmt::skip]
const WITHOUT_FILES: &[c::c_long] = &[
    c::SYS_openat, c::SYS_readlinkat, c::SYS_newfstatat, c::SYS_fstat, c::SYS_statx, c::SYS_faccessat, c::SYS_faccessat2,
    c::SYS_lseek, c::SYS_ioctl, c::SYS_uname, c::SYS_sysinfo, c::SYS_getcwd, c::SYS_clone3,
];

/// What loading and driving a graphics driver takes besides: files read-only, events, scheduling of its own threads.
#[rustfmt::skip]
const DRIVER: &[c::c_long] = &[
    c::SYS_openat, c::SYS_pread64, c::SYS_preadv, c::SYS_lseek, c::SYS_newfstatat, c::SYS_fstat, c::SYS_statx, c::SYS_statfs,
    c::SYS_fstatfs, c::SYS_getdents64, c::SYS_readlinkat, c::SYS_faccessat, c::SYS_faccessat2, c::SYS_getcwd, c::SYS_fcntl,
    c::SYS_flock, c::SYS_fadvise64, c::SYS_dup, c::SYS_dup3, c::SYS_pipe2, c::SYS_eventfd2, c::SYS_ppoll, c::SYS_pselect6,
    c::SYS_epoll_create1, c::SYS_epoll_ctl, c::SYS_epoll_pwait, c::SYS_timerfd_create, c::SYS_timerfd_settime,
    c::SYS_memfd_create, c::SYS_ftruncate, c::SYS_fallocate, c::SYS_mincore, c::SYS_msync, c::SYS_mlock, c::SYS_mlock2, c::SYS_munlock,
    c::SYS_getuid, c::SYS_geteuid, c::SYS_getgid, c::SYS_getegid, c::SYS_getppid, c::SYS_getpgid, c::SYS_getpriority,
    c::SYS_uname, c::SYS_sysinfo, c::SYS_times, c::SYS_sched_setaffinity, c::SYS_sched_getparam, c::SYS_sched_getscheduler,
    c::SYS_sched_get_priority_max, c::SYS_sched_get_priority_min, c::SYS_get_mempolicy, c::SYS_getcpu, c::SYS_set_tid_address,
];

/// The older names of some of these, which newer architectures do not have.
#[cfg(target_arch = "x86_64")]
const EVERY_OLD: &[c::c_long] = &[c::SYS_time];
#[cfg(target_arch = "x86_64")]
const WITHOUT_FILES_OLD: &[c::c_long] = &[c::SYS_open, c::SYS_readlink, c::SYS_stat, c::SYS_lstat, c::SYS_access];
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const DRIVER_OLD: &[c::c_long] = &[
    c::SYS_open, c::SYS_readlink, c::SYS_stat, c::SYS_lstat, c::SYS_access, c::SYS_poll, c::SYS_select, c::SYS_dup2,
    c::SYS_epoll_create, c::SYS_epoll_wait, c::SYS_getdents, c::SYS_eventfd, c::SYS_pipe, c::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const EVERY_OLD: &[c::c_long] = &[];
#[cfg(not(target_arch = "x86_64"))]
const WITHOUT_FILES_OLD: &[c::c_long] = &[];
#[cfg(not(target_arch = "x86_64"))]
const DRIVER_OLD: &[c::c_long] = &[];

/// What no driver has a reason for: the attempt ends the process.
#[rustfmt::skip]
const DEADLY: &[c::c_long] = &[
    c::SYS_execve, c::SYS_execveat, c::SYS_ptrace, c::SYS_process_vm_readv, c::SYS_process_vm_writev, c::SYS_kcmp,
    c::SYS_pidfd_open, c::SYS_pidfd_getfd, c::SYS_pidfd_send_signal, c::SYS_process_madvise,
    c::SYS_mount, c::SYS_umount2, c::SYS_pivot_root, c::SYS_chroot, c::SYS_fsopen, c::SYS_fsmount, c::SYS_fsconfig, c::SYS_fspick,
    c::SYS_move_mount, c::SYS_open_tree, c::SYS_mount_setattr, c::SYS_unshare, c::SYS_setns,
    c::SYS_setuid, c::SYS_setgid, c::SYS_setreuid, c::SYS_setregid, c::SYS_setresuid, c::SYS_setresgid, c::SYS_setgroups,
    c::SYS_setfsuid, c::SYS_setfsgid, c::SYS_capset,
    c::SYS_bpf, c::SYS_perf_event_open, c::SYS_userfaultfd, c::SYS_io_uring_setup, c::SYS_io_uring_enter, c::SYS_io_uring_register,
    c::SYS_keyctl, c::SYS_add_key, c::SYS_request_key, c::SYS_open_by_handle_at, c::SYS_name_to_handle_at,
    c::SYS_init_module, c::SYS_finit_module, c::SYS_delete_module, c::SYS_kexec_load, c::SYS_reboot, c::SYS_swapon, c::SYS_swapoff,
    c::SYS_acct, c::SYS_quotactl, c::SYS_syslog, c::SYS_personality, c::SYS_vhangup, c::SYS_sethostname, c::SYS_setdomainname,
    c::SYS_settimeofday, c::SYS_clock_settime, c::SYS_adjtimex, c::SYS_clock_adjtime,
];

/// Flags of `clone` without which it makes a process.
const THREAD: u64 = (c::CLONE_THREAD | c::CLONE_VM | c::CLONE_SIGHAND) as u64;
/// `PR_SET_VMA` of linux/prctl.h: names a range of memory.
const PR_SET_VMA: u64 = 0x5356_4d41;
/// Requests that put characters into a terminal's input, or paste into it.
const TERMINAL_INPUT: [u64; 2] = [c::TIOCSTI, c::TIOCLINUX];

/// Puts the filters on this thread and those that it will make. Nothing can take them off again.
pub(super) fn install(runtime: Runtime) -> Result<(), String> {
    for program in programs(runtime)? {
        seccompiler::apply_filter(&program).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The filters of a runtime, in the order of their installation: the list of what is allowed comes last, as it does not allow filters.
fn programs(runtime: Runtime) -> Result<Vec<BpfProgram>, String> {
    let arch =
        TargetArch::try_from(std::env::consts::ARCH).map_err(|error| format!("no list for this processor: {error}"))?;
    let compile = |rules: Rules, otherwise: SeccompAction, listed: SeccompAction| -> Result<BpfProgram, String> {
        let filter = SeccompFilter::new(rules, otherwise, listed, arch).map_err(|error| error.to_string())?;
        filter.try_into().map_err(|error: seccompiler::BackendError| error.to_string())
    };
    // What a C library takes for "this system does not have it".
    let absent = SeccompAction::Errno(c::ENOSYS.cast_unsigned());
    let denied = SeccompAction::Errno(c::EPERM.cast_unsigned());
    let mut allowed = plain([EVERY, EVERY_OLD]);
    with_arguments(&mut allowed).map_err(|error| error.to_string())?;
    match runtime {
        Runtime::Wasm1 => {
            let missing = plain([WITHOUT_FILES, WITHOUT_FILES_OLD]);
            allowed.extend(missing.clone());
            Ok(vec![
                compile(missing, SeccompAction::Allow, absent)?,
                compile(allowed, SeccompAction::KillProcess, SeccompAction::Allow)?,
            ])
        }
        Runtime::Wgsl1 => {
            allowed.extend(plain([DRIVER, DRIVER_OLD, &[c::SYS_clone3]]));
            let other = |request| condition(1, SeccompCmpOp::Ne, request);
            let requests = TERMINAL_INPUT.into_iter().map(other).collect::<Result<Vec<_>, _>>();
            let requests = requests.and_then(SeccompRule::new).map_err(|error| error.to_string())?;
            allowed.insert(c::SYS_ioctl, vec![requests]);
            Ok(vec![
                compile(plain([DEADLY]), SeccompAction::Allow, SeccompAction::KillProcess)?,
                compile(plain([&[c::SYS_clone3][..]]), SeccompAction::Allow, absent)?,
                compile(allowed, denied, SeccompAction::Allow)?,
            ])
        }
    }
}

/// Calls whatever their arguments are.
fn plain<'a>(lists: impl IntoIterator<Item = &'a [c::c_long]>) -> Rules {
    lists.into_iter().flatten().map(|&call| (call, Vec::new())).collect()
}

/// Calls that every worker may make with some arguments only.
fn with_arguments(rules: &mut Rules) -> Result<(), seccompiler::BackendError> {
    let only = |conditions: Vec<SeccompCondition>| SeccompRule::new(conditions);
    let own = u64::from(std::process::id());
    rules.insert(c::SYS_clone, vec![only(vec![condition(0, SeccompCmpOp::MaskedEq(THREAD), THREAD)?])?]);
    // A library that gives up signals itself.
    rules.insert(c::SYS_tgkill, vec![only(vec![condition(0, SeccompCmpOp::Eq, own)?])?]);
    // Limits of this process alone, which can only fall.
    rules.insert(c::SYS_prlimit64, vec![only(vec![condition(0, SeccompCmpOp::Eq, 0)?])?]);
    let requests = [c::PR_SET_NAME, c::PR_GET_NAME].map(|request| u64::from(request.cast_unsigned()));
    let mut names = Vec::new();
    for request in requests.into_iter().chain([PR_SET_VMA]) {
        names.push(only(vec![condition(0, SeccompCmpOp::Eq, request)?])?);
    }
    rules.insert(c::SYS_prctl, names);
    // The standard library looks whether a descriptor is still open.
    let questions = [c::F_GETFD, c::F_GETFL].map(|request| u64::from(request.cast_unsigned()));
    let mut asked = Vec::new();
    for request in questions {
        asked.push(only(vec![condition(1, SeccompCmpOp::Eq, request)?])?);
    }
    rules.insert(c::SYS_fcntl, asked);
    Ok(())
}

fn condition(argument: u8, operation: SeccompCmpOp, value: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operation, value)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A test: a panic is a failure.
mod tests {
    use super::*;

    #[test]
    fn the_lists_compile_and_no_call_is_both_needed_and_deadly() {
        assert_eq!(programs(Runtime::Wasm1).unwrap().len(), 2);
        assert_eq!(programs(Runtime::Wgsl1).unwrap().len(), 3);
        let needed = plain([EVERY, EVERY_OLD, DRIVER, DRIVER_OLD]);
        assert!(plain([DEADLY]).keys().all(|call| !needed.contains_key(call)));
        for call in
            [c::SYS_socket, c::SYS_connect, c::SYS_bind, c::SYS_kill, c::SYS_execve, c::SYS_ptrace, c::SYS_shmget]
        {
            assert!(!needed.contains_key(&call), "{call}");
        }
    }
}
