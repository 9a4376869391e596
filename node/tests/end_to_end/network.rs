//! A network of real validator processes in a temporary folder.

use crate::http;
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// One network at a time: four validators fill a small machine.
static MACHINE: Mutex<()> = Mutex::new(());
/// How long anything may take before a test gives up. Generous: CI builds and runs on two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// The binary under test.
pub(crate) const KEYSTEAD: &str = env!("CARGO_BIN_EXE_keystead");

pub(crate) struct Network {
    pub(crate) directory: PathBuf,
    pub(crate) rpc: Vec<SocketAddr>,
    validators: Vec<Option<Child>>,
    _folder: tempfile::TempDir,
    _machine: MutexGuard<'static, ()>,
}

impl Network {
    /// Makes the files and starts every validator.
    pub(crate) fn start(count: usize) -> Self {
        let mut network = Self::files(count);
        (0..count).for_each(|index| network.launch(index));
        network.wait_for_head(0, 1);
        network
    }

    /// Makes the files only.
    pub(crate) fn files(count: usize) -> Self {
        let machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("network");
        let output = Command::new(KEYSTEAD)
            .args(["init", "--p2p-port", "0", "--rpc-port", "0", "--validators", &count.to_string(), "--out"])
            .arg(&directory)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let rpc = (0..count).map(|index| rpc_address(&directory.join(format!("validator-{index}")))).collect();
        let validators = (0..count).map(|_| None).collect();
        Self { directory, rpc, validators, _folder: folder, _machine: machine }
    }

    pub(crate) fn folder(&self, index: usize) -> PathBuf {
        self.directory.join(format!("validator-{index}"))
    }

    pub(crate) fn url(&self, index: usize) -> String {
        format!("http://{}", self.rpc[index])
    }

    pub(crate) fn network_key(&self) -> String {
        read_key(&self.directory)
    }

    /// The network key of a network that has nothing to do with any other.
    pub(crate) fn files_key() -> String {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().join("other");
        let made = Command::new(KEYSTEAD).args(["init", "--out"]).arg(&directory).output().unwrap();
        assert!(made.status.success());
        read_key(&directory)
    }

    pub(crate) fn launch(&mut self, index: usize) {
        let log = File::options().create(true).append(true).open(self.folder(index).join("log.txt")).unwrap();
        let child = Command::new(KEYSTEAD)
            .args(["node", "--dir"])
            .arg(self.folder(index))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.validators[index] = Some(child);
    }

    /// SIGKILL: the process gets no chance to save anything.
    pub(crate) fn kill(&mut self, index: usize) {
        let mut child = self.validators[index].take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// A signal that asks to stop; waits for the process to end.
    pub(crate) fn stop(&mut self, index: usize, signal: &str) -> ExitStatus {
        let mut child = self.validators[index].take().unwrap();
        let sent = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        wait_until("the validator ends", || child.try_wait().unwrap())
    }

    pub(crate) fn try_call(&self, index: usize, method: &str, params: &Value) -> Option<Result<Value, Value>> {
        http::call(self.rpc[index], method, params)
    }

    pub(crate) fn call(&self, index: usize, method: &str, params: Value) -> Value {
        self.try_call(index, method, &params)
            .unwrap_or_else(|| panic!("validator {index} is not reachable\n{}", self.log(index)))
            .unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Height of the head, `None` while the node is not reachable.
    pub(crate) fn head(&self, index: usize) -> Option<u64> {
        let answer = self.try_call(index, "eth_blockNumber", &json!([]))?.ok()?;
        Some(number(&answer))
    }

    pub(crate) fn wait_for_head(&self, index: usize, height: u64) {
        let start = Instant::now();
        while self.head(index).is_none_or(|head| head < height) {
            assert!(
                start.elapsed() < PATIENCE,
                "validator {index} did not reach height {height}: head={:?}\n{}",
                self.head(index),
                self.log(index)
            );
            thread::sleep(POLL);
        }
    }

    pub(crate) fn block(&self, index: usize, height: u64) -> Value {
        self.call(index, "eth_getBlockByNumber", json!([format!("{height:#x}"), false]))
    }

    /// The end of a validator's log.
    pub(crate) fn log(&self, index: usize) -> String {
        let text = fs::read_to_string(self.folder(index).join("log.txt")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if thread::panicking() {
            (0..self.validators.len()).for_each(|index| eprintln!("-- log of validator {index}\n{}", self.log(index)));
        }
        for child in self.validators.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(crate) fn number(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

/// Polls until there is an answer.
pub(crate) fn wait_until<T>(what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(POLL);
    }
}

fn rpc_address(folder: &Path) -> SocketAddr {
    let config: toml::Table = fs::read_to_string(folder.join("config.toml")).unwrap().parse().unwrap();
    config["rpc_listen"].as_str().unwrap().parse().unwrap()
}

fn read_key(directory: &Path) -> String {
    let file = fs::read_to_string(directory.join("network.json")).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    file["network_key"].as_str().unwrap().to_owned()
}
