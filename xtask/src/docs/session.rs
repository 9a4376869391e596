//! A shell session in an empty folder: one command after another, each with a time limit, everything ended with it.

use super::guide;
use crate::process::signal_group;
use eyre::{Context as _, Result, bail, eyre};
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread,
    time::{Duration, Instant},
};

/// Lines that wait to be read; a command that prints more waits for us.
const LINES_MAX: usize = 10_000;
const POLL: Duration = Duration::from_millis(50);
/// What the session started may take to end by itself.
const GRACE: Duration = Duration::from_secs(8);

/// The shell, and the folder that goes with it.
pub(super) struct Session {
    shell: Child,
    script: Option<ChildStdin>,
    lines: Receiver<String>,
    commands: u32,
    folder: tempfile::TempDir,
}

impl Session {
    pub(super) fn start(environment: &[(String, String)]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("keystead-guide-").tempdir()?;
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--norc"]).current_dir(folder.path()).env("HOME", folder.path());
        command.envs(environment.iter().map(|(name, value)| (name, value))).env_remove("BASH_ENV");
        // A group of its own, so that what it started can be ended with it.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut shell = command.spawn().wrap_err("cannot start bash")?;
        let output = shell.stdout.take().ok_or_else(|| eyre!("no standard output"))?;
        let (sender, lines) = sync_channel(LINES_MAX);
        // Ends with the pipe, or when nobody listens any more.
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
            }
        });
        let mut script = shell.stdin.take();
        if let Some(script) = &mut script {
            // Also when the runner is killed: the script ends then, and with it the shell.
            writeln!(script, "trap 'kill $(jobs -p) 2>/dev/null' EXIT")?;
        }
        Ok(Self { shell, script, lines, commands: 0, folder })
    }

    /// Runs a command; what it printed on both streams, and its exit code.
    pub(super) fn run(&mut self, text: &str, limit: Duration) -> Result<(String, i32)> {
        self.commands = self.commands.saturating_add(1);
        let mark = format!("-- end of command {} of {}", self.commands, self.shell.id());
        let script = self.script.as_mut().ok_or_else(|| eyre!("the shell is gone"))?;
        // In the shell itself, so that variables and folders stay; without its input, which is this script.
        write!(script, "{{\n{text}\n}} </dev/null 2>&1\nprintf '\\n%s %d\\n' '{mark}' \"$?\"\n")?;
        script.flush()?;
        let start = Instant::now();
        let mut printed = String::new();
        loop {
            match self.lines.recv_timeout(limit.saturating_sub(start.elapsed())) {
                Ok(line) => {
                    if let Some(code) = line.strip_prefix(&mark) {
                        let code = code.trim().parse().wrap_err("no exit code")?;
                        return Ok((printed.trim_end().to_owned(), code));
                    }
                    printed.push_str(&line);
                    printed.push('\n');
                }
                Err(RecvTimeoutError::Timeout) => bail!("it takes longer than {limit:?}; so far:\n{printed}"),
                Err(RecvTimeoutError::Disconnected) => bail!("the shell ended; so far:\n{printed}"),
            }
        }
    }

    /// Starts a command that keeps running, and waits until it has printed what is expected; what it printed.
    pub(super) fn background(&mut self, text: &str, expected: &[String], limit: Duration) -> Result<String> {
        let log = self.folder.path().join(format!(".background-{}.log", self.commands));
        self.run(&format!("{text} > '{}' 2>&1 &", log.display()), limit)?;
        let start = Instant::now();
        loop {
            let printed = fs::read_to_string(&log).unwrap_or_default();
            match guide::compare(expected, &printed, true) {
                Ok(()) => return Ok(printed),
                Err(difference) if start.elapsed() > limit => bail!("{difference}; so far:\n{printed}"),
                Err(_) => thread::sleep(POLL),
            }
        }
    }
}

impl Drop for Session {
    /// Asks everything in the group to end, waits a little, and ends what is left.
    fn drop(&mut self) {
        let _ = self.run("kill $(jobs -p) 2>/dev/null; wait", GRACE);
        drop(self.script.take());
        signal_group(&self.shell, libc::SIGTERM);
        let start = Instant::now();
        while matches!(self.shell.try_wait(), Ok(None)) && start.elapsed() < GRACE {
            thread::sleep(POLL);
        }
        if matches!(self.shell.try_wait(), Ok(None)) {
            signal_group(&self.shell, libc::SIGKILL);
        }
        let _ = self.shell.wait();
    }
}
