//! An owner's input as `keystead provide` sees it, for whatever plays an owner: the bench, the demo and the end-to-end tests.
//!
//! # Design
//! The input is a terminal that is read: its access time changes, as the kernel does it (here `touch` does, since the kernel rounds these times to eight
//! seconds). A new terminal is itself somebody who came: it is opened before the provider starts.

use eyre::{Result, ensure, eyre};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// What such an owner says: nothing while somebody is there, which is until nobody typed for a minute, and no rule about other programs or about power.
pub const PREFERENCES: &str = "version = 1\n[in_use]\ncpu = false\nother_load_percent = 0\n[not_in_use]\ncores_percent = 100\ncpu_time_percent = 100\nother_load_percent = 0\n\
    [presence]\nidle_minutes = 1\n[power]\non_battery = true\nbattery_percent_min = 0\n";
/// A terminal is there within this, or there is none.
const OPEN_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// A terminal that nobody reads; its program ends when this is dropped.
#[derive(Debug)]
pub struct Terminal {
    program: Child,
    path: PathBuf,
}

impl Terminal {
    /// Opens one; its name goes to a file in this folder.
    ///
    /// # Errors
    /// This machine has no `script`, or it opens no terminal in time.
    pub fn open(folder: &Path) -> Result<Self> {
        let name = folder.join("terminal.txt");
        let mut command = Command::new("script");
        command.args(["--quiet", "--flush", "--command"]);
        command.arg(format!("tty > '{}'; exec sleep 3600", name.display())).arg("/dev/null");
        let program = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let program = program.map_err(|error| eyre!("cannot start `script` (Debian: bsdutils): {error}"))?;
        let mut terminal = Self { program, path: PathBuf::new() };
        let begin = Instant::now();
        terminal.path = loop {
            let text = fs::read_to_string(&name).unwrap_or_default();
            if text.ends_with('\n') {
                break PathBuf::from(text.trim());
            }
            ensure!(terminal.program.try_wait()?.is_none(), "`script` opened no terminal");
            ensure!(begin.elapsed() < OPEN_MAX, "no terminal opened within {OPEN_MAX:?}");
            thread::sleep(POLL);
        };
        ensure!(terminal.path.starts_with("/dev/pts"), "no terminal: {}", terminal.path.display());
        Ok(terminal)
    }

    /// Somebody reads it `now`, or did so `1 hour ago`: any time that `touch` knows.
    ///
    /// # Errors
    /// The time cannot be set.
    pub fn read(&self, when: &str) -> Result<()> {
        let touched =
            Command::new("touch").args(["--time=access", "--no-create", "--date", when]).arg(&self.path).status()?;
        ensure!(touched.success(), "cannot set the access time of {}", self.path.display());
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Already ended is as good as killed.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}
