//! What the operating system takes away from a worker.
//!
//! # Design
//! Three moments, each for what only it can do:
//! ```text
//! parent, before  user and process namespace, control group            start.rs, cgroup.rs, subtree.rs
//! child, before exec  session, death with the parent, no new privileges, limits, three descriptors     start.rs
//! worker, before its first frame  other namespaces, empty root, landlock, capabilities, seccomp        enter.rs, root.rs, filter.rs
//! ```
//! The worker confines itself while it is still trusted: it is our own binary, alone on one thread, and has read nothing. So this is ordinary
//! code, not code between fork and exec. When the job is known, memory and processor time follow. A layer is tried on every start and
//! reported ([`crate::LayerReport`]); the parent compares with what it saw before.
//!
//! # Invariants
//! - No mount is made before this process is known to have a mount table of its own that tells nobody.
//! - Nothing hostile is read before [`enter`] has returned.
//!
//! # Not here
//! No helper with privileges is installed or called. On macOS and Windows only what `portable.rs` says remains.

#[cfg(unix)]
mod call;
#[cfg(target_os = "linux")]
mod cgroup;
#[cfg(target_os = "linux")]
mod enter;
#[cfg(target_os = "linux")]
mod filter;
#[cfg(not(target_os = "linux"))]
mod portable;
#[cfg(target_os = "linux")]
mod root;
#[cfg(target_os = "linux")]
mod start;
#[cfg(target_os = "linux")]
mod subtree;

use crate::isolation::{Layer, LayerReport};
use std::{
    ffi::OsString,
    path::PathBuf,
    process::{ChildStderr, ChildStdin, ChildStdout},
};

#[cfg(unix)]
pub(crate) use call::{leave, limit_cpu, take_stdout};
#[cfg(not(target_os = "linux"))]
pub(crate) use portable::{Child, enter, start};
#[cfg(not(unix))]
pub(crate) use portable::{leave, limit_cpu, take_stdout};
#[cfg(target_os = "linux")]
pub(crate) use {
    enter::enter,
    start::{Child, start},
};

/// Open files of a worker: three pipes, and what a graphics driver opens.
#[cfg(unix)]
const OPEN_FILES_MAX: u64 = 256;

/// A worker to be started.
#[derive(Clone, Debug)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code))] // The last two fields matter to namespaces and groups.
pub(crate) struct Start {
    /// Path of the binary.
    pub(crate) program: PathBuf,
    /// What follows the binary's name.
    pub(crate) arguments: Vec<OsString>,
    /// The whole environment.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// It needs graphics devices.
    pub(crate) graphics: bool,
    /// Layers to leave out.
    pub(crate) without: Vec<Layer>,
}

/// A worker just started, with its pipes and what the start itself obtained.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) child: Child,
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: ChildStdout,
    pub(crate) stderr: ChildStderr,
    pub(crate) reports: Vec<LayerReport>,
}

/// How the worker confines itself.
#[derive(Clone, Debug)]
pub(crate) struct Confinement {
    /// For which engine.
    pub(crate) runtime: keystead_job::Runtime,
    /// Files and folders that it may read besides what every worker of its runtime may.
    pub(crate) readable: Vec<PathBuf>,
    /// Layers to leave out.
    pub(crate) without: Vec<Layer>,
}

/// Hides this process's memory, environment and descriptors from other programs of the same user, and turns core dumps off (Linux; elsewhere it
/// does nothing). For programs that hold keys and start workers.
///
/// # Errors
/// The system refuses.
pub fn hide_memory() -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    call::hide_memory()?;
    Ok(())
}

/// The report of a layer that the owner left out.
fn left_out(layer: Layer) -> LayerReport {
    LayerReport::refused(layer, "left out by the owner")
}

/// Bounds the memory that this process can write to and address, bytes; `None` leaves the address space alone, as graphics drivers reserve much
/// of it.
#[cfg(target_os = "linux")]
pub(crate) fn limit_memory(writable_bytes: u64, address_bytes: Option<u64>) -> std::io::Result<()> {
    call::limit(libc::RLIMIT_DATA, writable_bytes)?;
    address_bytes.map_or(Ok(()), |bytes| call::limit(libc::RLIMIT_AS, bytes))
}

/// Elsewhere these limits do not exist or are not kept.
#[cfg(not(target_os = "linux"))]
pub(crate) fn limit_memory(_writable_bytes: u64, _address_bytes: Option<u64>) -> std::io::Result<()> {
    Ok(())
}
