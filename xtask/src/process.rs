//! Runs other programs, and says so.

use eyre::{Context as _, Result, ensure, eyre};
use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// Set by Ctrl-C or SIGTERM, once they are heeded.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The repository's root folder.
pub(crate) fn root() -> Result<PathBuf> {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    // The path that xtask was built at is right unless the tree was moved since.
    let root = manifest.parent().ok_or_else(|| eyre!("xtask has no parent folder"))?;
    ensure!(root.join("Cargo.toml").is_file(), "the repository moved: run `cargo clean -p xtask` and try again");
    Ok(root.to_owned())
}

/// The cargo that runs this task, with the environment that a person's shell would give it.
///
/// `cargo run` describes the package that it runs in variables. Build scripts (`ring`'s, for one) depend on them, so with them
/// every change between `cargo xtask` and plain cargo would build half of the dependencies again.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || DESCRIPTIONS.contains(&&*text) {
            command.env_remove(name);
        }
    }
    command
}

/// More of what `cargo run` tells its program.
const DESCRIPTIONS: [&str; 4] = ["CARGO_BIN_NAME", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "OUT_DIR"];

/// Where cargo puts what it builds.
pub(crate) fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// Builds every program and example with the features of the whole workspace, as the tests do, so that nothing is built twice;
/// where they lie.
pub(crate) fn build_workspace(root: &Path) -> Result<PathBuf> {
    run(cargo().args(["build", "--workspace", "--bins", "--examples"]).current_dir(root))?;
    Ok(target(root).join("debug"))
}

/// From here on Ctrl-C and SIGTERM end this process's waits with an error, so that every process is ended by the value that holds it. The second
/// one ends this process at once.
pub(crate) fn heed_interrupts() {
    extern "C" fn note(signal: libc::c_int) {
        INTERRUPTED.store(true, Ordering::Relaxed);
        // SAFETY: setting a disposition is allowed in a handler, and the default one runs no code of ours.
        #[allow(unsafe_code, reason = "libc call")]
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
    let handler: extern "C" fn(libc::c_int) = note;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler only stores into an atomic and sets a disposition, which a handler may.
        #[allow(unsafe_code, reason = "libc call")]
        unsafe {
            libc::signal(signal, handler as libc::sighandler_t);
        }
    }
}

/// Sends a signal to the process group that a child of ours leads, which was not waited for yet.
pub(crate) fn signal_group(leader: &Child, signal: libc::c_int) {
    let Some(group) = i32::try_from(leader.id()).ok().and_then(i32::checked_neg) else { return };
    // SAFETY: a signal to the group of our own child, which has not been waited for, so that its number is still its own.
    #[allow(unsafe_code, reason = "libc call")]
    unsafe {
        libc::kill(group, signal);
    }
}

/// Fails once this process was interrupted.
pub(crate) fn ensure_uninterrupted() -> Result<()> {
    ensure!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
    Ok(())
}

/// Shows a command as a person would type it.
pub(crate) fn show(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut line = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// Runs a command with its output on the screen; an exit code other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", show(command));
    let status = command.status().wrap_err_with(|| format!("cannot start `{}`", show(command)))?;
    ensure!(status.success(), "`{}` failed: {status}", show(command));
    Ok(())
}

/// What a command printed and whether it succeeded.
pub(crate) struct Printed {
    pub(crate) lines: Vec<String>,
    pub(crate) success: bool,
}

/// Runs a command, shows its output and returns it as well. Both streams are read, so neither can block.
pub(crate) fn tee(command: &mut Command) -> Result<Printed> {
    println!("$ {}", show(command));
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .wrap_err_with(|| format!("cannot start `{}`", show(command)))?;
    let errors = child.stderr.take().ok_or_else(|| eyre!("no standard error"))?;
    let reader = thread::spawn(move || {
        let mut lines = Vec::new();
        for line in BufReader::new(errors).lines().map_while(Result::ok) {
            eprintln!("{line}");
            lines.push(line);
        }
        lines
    });
    let mut lines = Vec::new();
    let output = child.stdout.take().ok_or_else(|| eyre!("no standard output"))?;
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        println!("{line}");
        lines.push(line);
    }
    lines.extend(reader.join().map_err(|_| eyre!("the reader of standard error panicked"))?);
    let success = child.wait()?.success();
    Ok(Printed { lines, success })
}

/// What a command prints, quietly; `None` if it cannot be started or fails.
pub(crate) fn quiet(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
