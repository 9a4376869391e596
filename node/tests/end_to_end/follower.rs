//! A follower's process, and questions that it must answer as a validator does.

use crate::{
    dice::Dice,
    http,
    network::{KEYSTEAD, Network, PATIENCE, free_ports, number, wait_until},
};
use alloy_primitives::{Address, B256, U256};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

const BEACON: &str = "0x4b53540000000000000000000000000000000003";

/// `keystead follow`.
pub(crate) struct Follower {
    child: Option<Child>,
    pub(crate) rpc: SocketAddr,
    pub(crate) data: PathBuf,
    arguments: Vec<String>,
}

impl Follower {
    /// Starts from the genesis file of a network; `sources` are JSON-RPC addresses.
    pub(crate) fn start(network: &Network, name: &str, sources: &[String]) -> Self {
        let genesis = network.directory.join("genesis.json");
        Self::start_with(network, name, sources, &["--genesis", genesis.to_str().unwrap()])
    }

    /// Starts with other options than a genesis file.
    pub(crate) fn start_with(network: &Network, name: &str, sources: &[String], more: &[&str]) -> Self {
        let data = network.directory.join(name);
        fs::create_dir_all(&data).unwrap();
        // Free now; the process takes it a moment later.
        let rpc = SocketAddr::from(([127, 0, 0, 1], free_ports(1)));
        let mut arguments = vec!["follow".to_owned(), "--data".to_owned(), data.to_str().unwrap().to_owned()];
        arguments.extend(["--network-key".to_owned(), network.network_key(), "--serve".to_owned(), rpc.to_string()]);
        sources.iter().for_each(|url| arguments.extend(["--from".to_owned(), url.clone()]));
        arguments.extend(more.iter().map(|&word| word.to_owned()));
        let mut follower = Self { child: None, rpc, data, arguments };
        follower.launch();
        follower
    }

    pub(crate) fn launch(&mut self) {
        let log = File::options().create(true).append(true).open(self.data.join("log.txt")).unwrap();
        let child = Command::new(KEYSTEAD)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and the exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        wait_until("the follower ends", || child.try_wait().unwrap()).code()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.data.join("log.txt")).unwrap_or_default()
    }

    pub(crate) fn head(&self) -> Option<u64> {
        Some(number(&http::call(self.rpc, "eth_blockNumber", &json!([]))?.ok()?))
    }

    pub(crate) fn wait_for_head(&self, height: u64) {
        let start = Instant::now();
        while self.head().is_none_or(|head| head < height) {
            let (head, log) = (self.head(), self.log());
            assert!(start.elapsed() < PATIENCE, "the follower did not reach {height}: head={head:?}\n{log}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    pub(crate) fn call(&self, method: &str, params: &Value) -> Result<Value, Value> {
        http::call(self.rpc, method, params).unwrap_or_else(|| panic!("the follower is not reachable\n{}", self.log()))
    }

    /// Fails unless it has the same blocks as a validator from `from` up to its head.
    pub(crate) fn agrees(&self, network: &Network, from: u64) {
        for height in from..=self.head().unwrap() {
            let block = self.call("eth_getBlockByNumber", &json!([format!("{height:#x}"), false])).unwrap();
            network.wait_for_head(0, height);
            assert_eq!(block, network.block(0, height), "height {height}\n{}", self.log());
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("-- log of the follower in {}\n{}", self.data.display(), self.log());
        }
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts a command that is expected to fail; exit code and words.
pub(crate) fn refused(arguments: &[&str], data: &Path) -> (Option<i32>, String) {
    let output = Command::new(KEYSTEAD).args(arguments).arg(data).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// What random questions are about.
pub(crate) struct World {
    pub(crate) addresses: Vec<Address>,
    pub(crate) contract: Address,
    pub(crate) transactions: Vec<B256>,
    /// Oldest and newest height to ask about.
    pub(crate) heights: (u64, u64),
    /// Hashes of those heights.
    pub(crate) hashes: Vec<B256>,
}

/// One random question about a height that both have.
pub(crate) fn question(world: &World, dice: &mut Dice) -> (&'static str, Value) {
    let (oldest, newest) = world.heights;
    let height = oldest + dice.roll(newest - oldest + 1);
    let at = format!("{height:#x}");
    let address = world.addresses[dice.roll(world.addresses.len() as u64) as usize];
    let hash = world.hashes[dice.roll(world.hashes.len() as u64) as usize];
    let transaction = world.transactions[dice.roll(world.transactions.len() as u64) as usize];
    let slot = B256::from(U256::from(dice.roll(12)));
    let full = dice.roll(2) == 0;
    let input = format!("{slot}{}", "00".repeat(31) + "07");
    let span = format!("{:#x}", newest.min(height + dice.roll(20)));
    match dice.roll(17) {
        0 => ("eth_getBalance", json!([address, at])),
        1 => ("eth_getTransactionCount", json!([address, at])),
        2 => ("eth_getStorageAt", json!([world.contract, slot, at])),
        3 => ("eth_getCode", json!([if full { world.contract } else { address }, at])),
        4 => ("eth_getBlockByNumber", json!([at, full])),
        5 => ("eth_getBlockByHash", json!([hash, full])),
        6 => ("eth_getTransactionReceipt", json!([transaction])),
        7 => ("eth_getTransactionByHash", json!([transaction])),
        8 => ("eth_getBlockReceipts", json!([at])),
        9 => ("eth_getLogs", json!([{"fromBlock": at, "toBlock": span, "address": world.contract}])),
        10 => ("eth_getLogs", json!([{"fromBlock": at, "toBlock": span, "topics": [slot]}])),
        11 => ("eth_getProof", json!([if full { world.contract } else { address }, [slot], at])),
        12 => ("eth_call", json!([{"to": world.contract, "data": input}, at])),
        13 => ("eth_feeHistory", json!([format!("{:#x}", 1 + dice.roll(height - oldest + 1).min(9)), at, [10, 90]])),
        14 => ("eth_estimateGas", json!([{"to": world.contract, "data": input}, at])),
        15 => ("eth_getStorageAt", json!([BEACON, slot, at])),
        _ => ("debug_getRawBlock", json!([at])),
    }
}

/// Asks both the same random questions; both must answer, and alike.
pub(crate) fn compare(follower: &Follower, network: &Network, world: &World, count: usize, dice: &mut Dice) {
    let mut refused = 0_usize;
    for asked in 0..count {
        let (method, params) = question(world, dice);
        let (got, want) = (follower.call(method, &params), network.try_call(0, method, &params).unwrap());
        assert_eq!(got, want, "question {asked}: {method} {params}");
        refused += usize::from(want.is_err());
    }
    assert!(refused < count / 10, "most questions have an answer: refused={refused} of {count}");
}
