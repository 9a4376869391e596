//! A development network of real validator processes, for the tasks that need one.

use crate::process::{cargo, run as run_command, show, target};
use eyre::{Context as _, Result, ensure, eyre};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long the first block may take.
const START_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// Largest answer of a node that is read.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// Builds the binary with the profile that tests use, and says where it lies.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    run_command(cargo().args(["build", "--package", "keystead"]).current_dir(root))?;
    let binary = target(root).join("debug").join("keystead");
    ensure!(binary.is_file(), "cargo did not make {}", binary.display());
    Ok(binary)
}

/// The network key in hex that `keystead init` wrote into a folder.
pub(crate) fn network_key(directory: &Path) -> Result<String> {
    let file: serde_json::Value = serde_json::from_str(&fs::read_to_string(directory.join("network.json"))?)?;
    Ok(file.get("network_key").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned())
}

/// Validators with quiet logs; killed when dropped.
pub(crate) struct Network {
    pub(crate) rpc: Vec<SocketAddr>,
    pub(crate) validators: Vec<Child>,
    network_key: String,
    keystead: PathBuf,
    folder: tempfile::TempDir,
}

impl Network {
    /// Starts validators on free ports and waits for the first block.
    pub(crate) fn start(keystead: &Path, count: usize, interval_ms: u64) -> Result<Self> {
        Self::start_funded(keystead, count, interval_ms, &[])
    }

    /// As [`Self::start`], with money for further accounts.
    pub(crate) fn start_funded(keystead: &Path, count: usize, interval_ms: u64, fund: &[String]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("keystead-").tempdir()?;
        let directory = folder.path().join("network");
        let mut init = Command::new(keystead);
        init.args(["init", "--p2p-port", "0", "--rpc-port", "0"])
            .args(fund.iter().flat_map(|account| ["--fund", account]))
            .args(["--validators", &count.to_string(), "--interval", &interval_ms.to_string(), "--out"])
            .arg(&directory)
            .stdout(Stdio::null());
        run_command(&mut init)?;
        let network_key = network_key(&directory)?;
        let (rpc, validators, keystead) = (Vec::new(), Vec::new(), keystead.to_owned());
        let mut network = Self { rpc, validators, network_key, keystead, folder };
        for index in 0..count {
            network.rpc.push(rpc_address(&network.validator_folder(index))?);
            let validator = network.spawn(index)?;
            network.validators.push(validator);
        }
        network.wait_for_block()?;
        Ok(network)
    }

    fn directory(&self) -> PathBuf {
        self.folder.path().join("network")
    }

    fn validator_folder(&self, index: usize) -> PathBuf {
        self.directory().join(format!("validator-{index}"))
    }

    fn spawn(&self, index: usize) -> Result<Child> {
        let folder = self.validator_folder(index);
        let log = File::options().create(true).append(true).open(folder.join("log.txt"))?;
        let mut node = Command::new(&self.keystead);
        node.arg("node").arg("--dir").arg(&folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        node.spawn().wrap_err_with(|| format!("cannot start `{}`", show(&node)))
    }

    /// Starts a validator that was killed; it is not waited for.
    pub(crate) fn restart(&mut self, index: usize) -> Result<()> {
        let started = self.spawn(index)?;
        let validator = self.validators.get_mut(index).ok_or_else(|| eyre!("no validator {index}"))?;
        *validator = started;
        Ok(())
    }

    /// Where the genesis file lies.
    pub(crate) fn genesis(&self) -> PathBuf {
        self.directory().join("genesis.json")
    }

    /// The network key in hex.
    pub(crate) fn network_key(&self) -> Result<String> {
        ensure!(!self.network_key.is_empty(), "network.json has no network_key");
        Ok(self.network_key.clone())
    }

    /// Kills a validator without a chance to save anything.
    pub(crate) fn kill(&mut self, index: usize) -> Result<()> {
        let validator = self.validators.get_mut(index).ok_or_else(|| eyre!("no validator {index}"))?;
        validator.kill()?;
        validator.wait()?;
        Ok(())
    }

    pub(crate) fn url(&self, index: usize) -> Result<String> {
        let address = self.rpc.get(index).ok_or_else(|| eyre!("no validator {index}"))?;
        Ok(format!("http://{address}"))
    }

    fn wait_for_block(&self) -> Result<()> {
        let start = Instant::now();
        let first = *self.rpc.first().ok_or_else(|| eyre!("a network without validators"))?;
        while block_number(first).is_none_or(|number| number == "0x0") {
            ensure!(start.elapsed() < START_MAX, "the network made no block within {START_MAX:?}");
            thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for validator in &mut self.validators {
            // Already ended is as good as killed.
            let _ = validator.kill();
            let _ = validator.wait();
        }
    }
}

/// The answer of `eth_blockNumber`, if the node answers.
pub(crate) fn block_number(address: SocketAddr) -> Option<String> {
    ask(address, "eth_blockNumber", &json!([]))?.as_str().map(str::to_owned)
}

/// What a node answers, if it does; the connection is for this question only.
pub(crate) fn ask(address: SocketAddr, method: &str, params: &Value) -> Option<Value> {
    let mut stream = TcpStream::connect_timeout(&address, POLL).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
    let length = body.len();
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .ok()?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).ok()?;
    // Headers have no braces, and some servers frame the body.
    let body = answer.get(answer.find('{')?..=answer.rfind('}')?)?;
    serde_json::from_str::<Value>(body).ok()?.get("result").cloned()
}

/// Where a validator whose folder this is answers.
pub(crate) fn rpc_address(folder: &Path) -> Result<SocketAddr> {
    let config: toml::Table = fs::read_to_string(folder.join("config.toml"))?.parse()?;
    let address = config.get("rpc_listen").and_then(toml::Value::as_str).ok_or_else(|| eyre!("no rpc_listen"))?;
    Ok(address.parse()?)
}
