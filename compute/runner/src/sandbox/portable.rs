//! Starting a worker where the layers of Linux do not exist: macOS, Windows and others.
//!
//! # Design
//! What remains is an empty environment, three pipes, and on Unix a session of its own and limits on core files, descriptors and processor
//! time. The reports say so; an owner who demands more gets a refusal. The parent's deadlines and its kill work everywhere, and a worker leaves
//! when its input ends.
#![cfg_attr(unix, allow(unsafe_code))] // Code between fork and exec.

use super::{Confinement, Start, Started, left_out};
use crate::isolation::{Layer, LayerReport};
use std::{
    io,
    process::{Command, ExitStatus, Stdio},
};

/// A child process.
#[derive(Debug)]
pub(crate) struct Child(std::process::Child);

impl Child {
    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// How it ended, if it did.
    pub(crate) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }

    /// Waits until it ends.
    pub(crate) fn wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.wait().map(Some)
    }

    /// Kills it and, on Unix, everything in its group.
    pub(crate) fn kill(&mut self) {
        #[cfg(unix)]
        if let (Ok(None), Ok(group)) = (self.0.try_wait(), i32::try_from(self.0.id())) {
            super::call::kill_group(group);
        }
        let _ = self.0.kill();
    }

    /// No control groups here.
    pub(crate) const fn limit_memory(&self, _bytes: u64) -> io::Result<()> {
        Ok(())
    }

    /// No control groups here.
    pub(crate) const fn limit_swap(&self, _bytes: u64) -> io::Result<()> {
        Ok(())
    }

    /// No control groups here.
    pub(crate) const fn ran_out_of_memory(&self) -> bool {
        false
    }
}

/// Starts a worker.
pub(crate) fn start(wish: &Start) -> io::Result<Started> {
    let mut command = Command::new(&wish.program);
    command
        .args(&wish.arguments)
        .env_clear()
        .envs(wish.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // Nothing loads without it on Windows.
    if cfg!(windows)
        && let Some(root) = std::env::var_os("SystemRoot")
    {
        command.env("SystemRoot", root);
    }
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt as _;
        command.current_dir("/");
        // SAFETY: between fork and exec the closure only makes system calls that are async-signal-safe, and allocates nothing.
        unsafe { command.pre_exec(before_exec) };
    }
    let mut child = command.spawn()?;
    let gone = || io::Error::other("a pipe of the worker is missing");
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (stdin, stdout, stderr) = (stdin.ok_or_else(gone)?, stdout.ok_or_else(gone)?, stderr.ok_or_else(gone)?);
    Ok(Started { child: Child(child), stdin, stdout, stderr, reports: Vec::new() })
}

#[cfg(unix)]
fn before_exec() -> io::Result<()> {
    // SAFETY: a plain system call on this process.
    super::call::check(unsafe { libc::setsid() })?;
    super::call::limit(libc::RLIMIT_CORE, 0)?;
    super::call::limit(libc::RLIMIT_NOFILE, super::OPEN_FILES_MAX)
}

/// What this system has of the layers.
pub(crate) fn enter(confinement: &Confinement) -> Vec<LayerReport> {
    let mut reports = vec![LayerReport::obtained(Layer::CleanStart, "environment and pipes")];
    if cfg!(unix) {
        reports.push(LayerReport::obtained(Layer::OwnSession, ""));
        reports.push(LayerReport::obtained(Layer::ResourceLimits, "core files, descriptors, processor time"));
    }
    // These cannot be left out here, and the others are not there.
    reports.extend(confinement.without.iter().filter(|layer| !HERE.contains(layer)).map(|&layer| left_out(layer)));
    reports
}

/// The layers that a start has without being asked.
const HERE: [Layer; 3] = [Layer::CleanStart, Layer::OwnSession, Layer::ResourceLimits];

/// Elsewhere the parent's deadline has to do.
#[cfg(not(unix))]
pub(crate) fn limit_cpu(_seconds: u64) -> io::Result<()> {
    Ok(())
}

/// Takes the standard output for the frames.
#[cfg(not(unix))]
pub(crate) fn take_stdout() -> io::Result<impl io::Write + Send> {
    Ok(io::stdout())
}

/// Ends this process.
#[cfg(not(unix))]
#[allow(clippy::exit)] // This is the end of the worker process.
pub(crate) fn leave(code: u8) -> ! {
    std::process::exit(i32::from(code))
}
