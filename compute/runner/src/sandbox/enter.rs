//! The worker confines itself: layer after layer, each with its own report.
//!
//! # Design
//! The order matters. Namespaces and mounts need the privileges that a user namespace gives, so capabilities go after them; Landlock opens
//! folders, so it comes after the new root; the filter on system calls forbids most of the above, so it comes last. A step that fails is reported and
//! the next one is tried: each layer stands alone. Whether what is missing may be missing is the parent's question.

use super::{Confinement, OPEN_FILES_MAX, call, filter, left_out, root};
use crate::isolation::{Layer, LayerReport};
use keystead_job::Runtime;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Landlock's newest rules that are asked for; an older kernel has fewer, and the report says so.
const LANDLOCK: ABI = ABI::V6;
/// Threads of a `wasm/1` worker: it needs two.
const THREADS_MAX_WASM: u64 = 16;
/// Threads of a `wgsl/1` worker: a driver on the processor starts one for each core, and some more.
const THREADS_MAX_WGSL: u64 = 512;
/// Locked memory of a worker with a graphics driver, bytes.
const LOCKED_BYTES_MAX: u64 = 64 << 20;
/// Memory that a `wasm/1` worker can write to and address before the job is known, bytes: what the largest job may have (`wasm.rs` lowers both).
const WASM_WRITABLE_BYTES_MAX: u64 = 8 << 30;
const WASM_ADDRESS_BYTES_MAX: u64 = 16 << 30;
/// Largest file that a graphics driver may make, bytes; there is no place for one but its own memory.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// Takes away what can be taken away. To be called once, on the only thread, before anything of a job is read.
pub(crate) fn enter(confinement: &Confinement) -> Vec<LayerReport> {
    let mut reports = Vec::new();
    // The answer lies in a file that is gone later.
    let own_users = own_user_namespace();
    let mut step = |layer: Layer, outcome: &mut dyn FnMut() -> Result<String, String>| {
        let report = if confinement.without.contains(&layer) {
            left_out(layer)
        } else {
            match outcome() {
                Ok(note) => LayerReport::obtained(layer, note),
                Err(why) => LayerReport::refused(layer, why),
            }
        };
        let obtained = report.obtained;
        reports.push(report);
        obtained
    };
    step(Layer::CleanStart, &mut clean_start);
    step(Layer::OwnSession, &mut || yes(call::leads_session(), "not started by a parent that made one"));
    step(Layer::NoNewPrivileges, &mut || yes(call::has_no_new_privileges(), "not set by the parent"));
    let mounts = step(Layer::MountNamespace, &mut own_mounts);
    step(Layer::NetworkNamespace, &mut || plain(call::unshare(libc::CLONE_NEWNET)));
    step(Layer::IpcNamespace, &mut || plain(call::unshare(libc::CLONE_NEWIPC)));
    step(Layer::UtsNamespace, &mut || plain(call::unshare(libc::CLONE_NEWUTS)));
    let paths = root::readable(confinement);
    step(Layer::EmptyRoot, &mut || {
        if mounts { plain(root::enter(&paths)) } else { Err("needs a mount namespace".to_owned()) }
    });
    step(Layer::Landlock, &mut || landlock(&paths));
    step(Layer::NoCapabilities, &mut no_capabilities);
    step(Layer::NotDumpable, &mut || plain(call::hide_memory()));
    // Giving up capabilities can undo this, so it is asked for again.
    step(Layer::ParentDeath, &mut || plain(call::die_with_parent()));
    step(Layer::ResourceLimits, &mut || limits(confinement.runtime, own_users));
    step(Layer::Seccomp, &mut || filter::install(confinement.runtime).map(|()| String::new()));
    reports
}

fn plain(outcome: io::Result<()>) -> Result<String, String> {
    outcome.map(|()| String::new()).map_err(|error| error.to_string())
}

fn yes(holds: bool, otherwise: &str) -> Result<String, String> {
    if holds { Ok(String::new()) } else { Err(otherwise.to_owned()) }
}

/// Looks at what came through exec: descriptors beyond the three pipes and the frames' copy mean that somebody else started us.
fn clean_start() -> Result<String, String> {
    let listing = fs::read_dir("/proc/self/fd").map_err(|error| format!("/proc/self/fd: {error}"))?;
    let open = listing.flatten().take(usize::try_from(OPEN_FILES_MAX).unwrap_or(usize::MAX)).count();
    // Three pipes, the frames' copy of one, and the listing itself.
    if open <= 5 { Ok(String::new()) } else { Err(format!("inherited descriptors: open={open}")) }
}

/// A mount table of our own that tells nobody.
fn own_mounts() -> Result<String, String> {
    plain(call::unshare(libc::CLONE_NEWNS))?;
    plain(call::mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE, None))
}

fn no_capabilities() -> Result<String, String> {
    match call::drop_capabilities() {
        Ok(0) => Ok(String::new()),
        Ok(left) => Err(format!("some remain: {left:#x}")),
        Err(error) => Err(error.to_string()),
    }
}

/// Every access to files that Landlock knows is denied, but reading below `paths` and, for device nodes, what drivers do with them. TCP, abstract
/// sockets and signals to others are denied wholly.
fn landlock(paths: &[PathBuf]) -> Result<String, String> {
    let report = |error: &dyn core::fmt::Display| error.to_string();
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(LANDLOCK)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(LANDLOCK)))
        .and_then(Ruleset::create);
    let mut ruleset = ruleset.map_err(|error| report(&error))?;
    for path in paths {
        // A link of the new root may lead to what is not passed on.
        let Ok(file) = PathFd::new(path) else { continue };
        let access = access(path);
        ruleset = ruleset.add_rule(PathBeneath::new(file, access)).map_err(|error| report(&error))?;
    }
    let status = ruleset.restrict_self().map_err(|error| report(&error))?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok("files, tcp, abstract sockets, signals".to_owned()),
        RulesetStatus::PartiallyEnforced => Ok("this kernel knows only some of its rules".to_owned()),
        RulesetStatus::NotEnforced => Err(format!("the kernel does not have it: {:?}", status.landlock)),
    }
}

fn access(path: &Path) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    match fs::metadata(path) {
        Ok(is) if path.starts_with("/dev") && is.is_dir() => read | AccessFs::WriteFile | AccessFs::IoctlDev,
        Ok(_) if path.starts_with("/dev") => AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev,
        Ok(is) if is.is_dir() => read,
        _ => AccessFs::ReadFile.into(),
    }
}

fn limits(runtime: Runtime, own_users: bool) -> Result<String, String> {
    let (threads, locked, file) = match runtime {
        Runtime::Wasm1 => (THREADS_MAX_WASM, 0, 0),
        Runtime::Wgsl1 => (THREADS_MAX_WGSL, LOCKED_BYTES_MAX, FILE_BYTES_MAX),
    };
    for (resource, value) in [
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_NOFILE, OPEN_FILES_MAX),
        (libc::RLIMIT_MEMLOCK, locked),
        (libc::RLIMIT_FSIZE, file),
        (libc::RLIMIT_MSGQUEUE, 0),
    ] {
        plain(call::limit(resource, value))?;
    }
    if runtime == Runtime::Wasm1 {
        plain(super::limit_memory(WASM_WRITABLE_BYTES_MAX, Some(WASM_ADDRESS_BYTES_MAX)))?;
    }
    // Outside of a user namespace of our own this limit counts the owner's processes too.
    if own_users {
        plain(call::limit(libc::RLIMIT_NPROC, threads))?;
        return Ok(format!("threads {threads}"));
    }
    Ok("threads not bounded: needs a user namespace".to_owned())
}

/// Whether users outside are unknown here: the map of the first namespace covers all of them.
fn own_user_namespace() -> bool {
    fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !map.contains("4294967295"))
}
