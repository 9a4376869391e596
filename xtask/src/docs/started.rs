//! The network of a guide: `cargo xtask up`, started, read and ended as its reader would.
//!
//! # Design
//! It runs beside others, on ports that are free and with the program that is built already; nothing else is different. What it tells its reader to copy
//! into other terminals is what the guide's session is given, so that a line that does not work there fails the guide.

use crate::{network::block_number, process::signal_group};
use eyre::{Context as _, Result, ensure, eyre};
use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread,
    time::{Duration, Instant},
};

/// What a network block says.
const COMMAND: &str = "cargo xtask up";
/// How long it may take to say everything, and to make its first block.
const START_MAX: Duration = Duration::from_secs(60);
/// How long it may take to end by itself after Ctrl-C.
const END_MAX: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);
/// Lines that wait to be read; more wait in the pipe.
const LINES_MAX: usize = 1_000;
/// The last thing that it says.
const LAST: &str = "stop:";

/// A network that runs until it is dropped.
pub(super) struct Started {
    up: Child,
    address: SocketAddr,
    /// The lines to be copied into each further terminal.
    exports: Vec<String>,
}

impl Started {
    /// Starts what a block asks for, with the programs that were built into a folder. This task's own file may be gone: a build of everything can replace it.
    pub(super) fn start(command: &str, root: &Path, programs: &Path) -> Result<Self> {
        ensure!(command == COMMAND, "a network block runs `{COMMAND}`, this one `{command}`");
        let mut up = Command::new(programs.join("xtask"));
        up.args(["up", "--free-ports", "--until-eof", "--keystead"]).arg(programs.join("keystead")).current_dir(root);
        // A group of its own, as that of a terminal: Ctrl-C reaches the validators, too. Their logs are nobody's. Its input is held, and nothing comes: it ends
        // with this process, however that ends.
        up.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut up = up.spawn().wrap_err("cannot start `up`")?;
        let output = up.stdout.take().ok_or_else(|| eyre!("no standard output"))?;
        let (sender, lines) = sync_channel(LINES_MAX);
        // Reads to the end of the pipe, so that nobody who writes into it waits; what nobody reads any more is dropped.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.try_send(line);
            }
        });
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        // From here on it is ended, whatever fails.
        let mut started = Self { up, address, exports: Vec::new() };
        let said = said(&lines)?;
        (started.address, started.exports) = copied(&said)?;
        started.wait_for_block()?;
        Ok(started)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What a reader copies into a further terminal, in one paste.
    pub(super) fn exports(&self) -> String {
        self.exports.join("\n")
    }

    fn wait_for_block(&self) -> Result<()> {
        let start = Instant::now();
        while block_number(self.address).is_none_or(|number| number == "0x0") {
            ensure!(start.elapsed() < START_MAX, "the network made no block within {START_MAX:?}");
            thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Started {
    /// Ctrl-C, as its last line says; what is left after a while is killed.
    fn drop(&mut self) {
        signal_group(&self.up, libc::SIGINT);
        let start = Instant::now();
        while matches!(self.up.try_wait(), Ok(None)) && start.elapsed() < END_MAX {
            thread::sleep(POLL);
        }
        if matches!(self.up.try_wait(), Ok(None)) {
            println!("`{COMMAND}` did not end within {END_MAX:?} after Ctrl-C: killed");
            signal_group(&self.up, libc::SIGKILL);
        }
        let _ = self.up.wait();
    }
}

/// All lines up to the last one that it says.
fn said(lines: &Receiver<String>) -> Result<Vec<String>> {
    let start = Instant::now();
    let mut said: Vec<String> = Vec::new();
    while said.last().is_none_or(|line| !line.starts_with(LAST)) {
        match lines.recv_timeout(START_MAX.saturating_sub(start.elapsed())) {
            Ok(line) => said.push(line),
            Err(RecvTimeoutError::Timeout) => return Err(eyre!("`{COMMAND}` did not start within {START_MAX:?}")),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(eyre!("`{COMMAND}` ended; it said:\n{}", said.join("\n")));
            }
        }
    }
    Ok(said)
}

/// The address to ask, and the lines to copy.
fn copied(said: &[String]) -> Result<(SocketAddr, Vec<String>)> {
    let url = said.iter().find_map(|line| line.strip_prefix("JSON-RPC: http://")?.split(' ').next());
    let address: SocketAddr = url.ok_or_else(|| eyre!("`{COMMAND}` does not say where it answers"))?.parse()?;
    let exports = said.iter().map(|line| line.trim()).filter(|line| line.starts_with("export "));
    let exports: Vec<String> = exports.map(str::to_owned).collect();
    for name in ["PATH", "KEYSTEAD_NETWORK_KEY"] {
        let begin = format!("export {name}=");
        ensure!(exports.iter().any(|line| line.starts_with(&begin)), "`{COMMAND}` has no line `{begin}`");
    }
    Ok((address, exports))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_finds_the_address_and_what_to_copy_or_the_guide_fails() {
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<String>>();
        let whole = "JSON-RPC: http://127.0.0.1:9 (and 10), chain id 19283\nin another terminal:\n  export PATH=\"/x:$PATH\"\n  export KEYSTEAD_NETWORK_KEY=0x1\nstop:     Ctrl-C";
        let found = copied(&lines(whole)).ok();
        let exports = ["export PATH=\"/x:$PATH\"", "export KEYSTEAD_NETWORK_KEY=0x1"].map(str::to_owned).to_vec();
        assert_eq!(found, Some((SocketAddr::from(([127, 0, 0, 1], 9)), exports)));
        for part in ["JSON-RPC", "PATH=", "KEYSTEAD_NETWORK_KEY="] {
            let without: Vec<String> = lines(whole).into_iter().filter(|line| !line.contains(part)).collect();
            assert!(copied(&without).is_err(), "{part}");
        }
    }
}
