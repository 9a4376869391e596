//! `keystead dev` as a developer starts it: blocks on demand, accounts that sign, ways back, and a chain that is kept.

use crate::{
    http,
    network::{KEYSTEAD, Machine, beside, number, wait_until},
};
use alloy_primitives::hex;
use keystead_types::{BeaconValue, beacon_slot};
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

pub(crate) const ALICE: &str = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";
pub(crate) const BOB: &str = "0x70997970c51812dc3a010c7d01b50e0d17dc79c8";
const BEACON: &str = "0x4b53540000000000000000000000000000000003";
pub(crate) const NOBODY: &str = "0x00000000000000000000000000000000deadbeef";
/// Returns the time of the block it is called in.
pub(crate) const TIMESTAMP_CODE: &str = "0x425f5260205ff3";

/// A development node.
pub(crate) struct Dev {
    child: Child,
    pub(crate) address: SocketAddr,
    /// What it printed before it said where it listens.
    pub(crate) printed: String,
    _machine: Machine,
}

impl Dev {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let machine = beside();
        let mut child = Command::new(KEYSTEAD)
            .args(["--log", "warn", "dev", "--http-port", "0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut printed = String::new();
        let address = loop {
            let line = lines.next().expect("it says where it listens").unwrap();
            if let Some(address) = line.strip_prefix("Listening on ") {
                break address.parse().unwrap();
            }
            printed = format!("{printed}{line}\n");
        };
        Self { child, address, printed, _machine: machine }
    }

    pub(crate) fn try_call(&self, method: &str, params: &Value) -> Result<Value, Value> {
        http::call(self.address, method, params).unwrap_or_else(|| panic!("{method}: the node is not reachable"))
    }

    pub(crate) fn call(&self, method: &str, params: Value) -> Value {
        self.try_call(method, &params).unwrap_or_else(|error| panic!("{method} {params}: {error}"))
    }

    /// Code and message of the error that a call must give.
    pub(crate) fn refused(&self, method: &str, params: Value) -> (i64, String) {
        match self.try_call(method, &params) {
            Ok(answer) => panic!("{method} {params} was not refused: {answer}"),
            Err(error) => (error["code"].as_i64().unwrap(), error["message"].as_str().unwrap().to_owned()),
        }
    }

    pub(crate) fn height(&self) -> u64 {
        number(&self.call("eth_blockNumber", json!([])))
    }

    pub(crate) fn block(&self, name: &str) -> Value {
        self.call("eth_getBlockByNumber", json!([name, false]))
    }

    pub(crate) fn balance(&self, address: &str) -> u128 {
        let answer = self.call("eth_getBalance", json!([address, "latest"]));
        u128::from_str_radix(answer.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    }

    /// Sends wei; the receipt, which must be there at once.
    pub(crate) fn send(&self, from: &str, to: &str, wei: u64) -> Value {
        self.transact(json!({ "from": from, "to": to, "value": format!("{wei:#x}") }))
    }

    pub(crate) fn transact(&self, transaction: Value) -> Value {
        let hash = self.call("eth_sendTransaction", json!([transaction]));
        let receipt = self.call("eth_getTransactionReceipt", json!([hash]));
        assert_eq!(receipt["transactionHash"], hash, "no receipt yet");
        receipt
    }

    /// Asks it to stop and waits until it has.
    pub(crate) fn stop(mut self) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let status = wait_until("the node ends", || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}");
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn dev_prints_its_accounts_with_a_warning_and_funds_them() {
    let dev = Dev::start(&["--accounts", "3", "--balance", "5"]);
    for part in [
        "(0) 0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266 (5 KST)",
        "(0) 0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
        "WARNING: everybody knows these keys",
        "Chain ID   31337",
    ] {
        assert!(dev.printed.contains(part), "{part}\n{}", dev.printed);
    }
    let accounts = dev.call("eth_accounts", json!([]));
    assert_eq!(accounts.as_array().unwrap().len(), 3);
    assert_eq!(accounts[0], ALICE);
    assert_eq!(dev.balance(BOB), 5_000_000_000_000_000_000);
    assert_eq!(dev.call("eth_chainId", json!([])), "0x7a69");
    assert_eq!(dev.height(), 0);
    // The contracts of every chain of ours, and the deployer that Foundry expects.
    for contract in ["0x4e59b44847b379578588920cA78FbF26c0B4956C", "0x000F3df6D732807Ef1319fB7B8bB8522d0Beac02"] {
        assert_ne!(dev.call("eth_getCode", json!([contract, "latest"])), "0x", "{contract}");
    }
}

#[test]
fn dev_makes_a_block_for_each_transaction_and_its_receipt_is_there_at_once() {
    let dev = Dev::start(&["--quiet"]);
    assert_eq!(dev.printed, "");
    let before = dev.balance(ALICE);
    for height in 1..=5 {
        let receipt = dev.send(ALICE, NOBODY, 7);
        assert_eq!((number(&receipt["blockNumber"]), number(&receipt["status"])), (height, 1));
    }
    assert_eq!(dev.balance(NOBODY), 35);
    assert!(dev.balance(ALICE) < before - 35);
    // Time in whole seconds, and later in each block.
    let times: Vec<u64> = (0..=5).map(|at| number(&dev.block(&format!("{at:#x}"))["timestamp"])).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    let block = dev.block("latest");
    assert_eq!(block["transactions"].as_array().unwrap().len(), 1);
    let hash = block["transactions"][0].clone();
    assert_eq!(dev.call("eth_getTransactionByHash", json!([hash]))["from"], ALICE);
    assert_ne!(dev.block("0x2")["mixHash"], dev.block("0x3")["mixHash"], "PREVRANDAO stands still");
}

#[test]
fn dev_completes_transactions_of_every_type() {
    let dev = Dev::start(&["--quiet"]);
    let plain = json!({ "from": ALICE, "to": NOBODY, "value": "0x1" });
    let kind = |extra: Value| {
        let mut transaction = plain.clone();
        transaction.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let receipt = dev.transact(transaction);
        assert_eq!(receipt["status"], "0x1");
        number(&receipt["type"])
    };
    assert_eq!(kind(json!({})), 2);
    assert_eq!(kind(json!({ "gasPrice": "0x77359400" })), 0);
    assert_eq!(kind(json!({ "gasPrice": "0x77359400", "accessList": [{ "address": NOBODY, "storageKeys": [] }] })), 1);
    assert_eq!(kind(json!({ "type": "0x0" })), 0);
    assert_eq!(kind(json!({ "type": "0x1" })), 1);
    assert_eq!(kind(json!({ "maxFeePerGas": "0x77359400", "maxPriorityFeePerGas": "0x1", "gas": "0x7530" })), 2);
    assert_eq!(kind(json!({ "maxPriorityFeePerGas": "0x1" })), 2);
    assert_eq!(kind(json!({ "nonce": "0x7" })), 2);
    // Without `from` it is the first account that sends; data makes a contract.
    let created = dev.transact(json!({ "data": "0x60015f5360015ff3" }));
    assert_eq!(created["from"], ALICE);
    assert_eq!(dev.call("eth_getCode", json!([created["contractAddress"], "latest"])), "0x01");
    // What is signed without being sent is taken when it is sent.
    let raw = dev.call("eth_signTransaction", json!([{ "from": BOB, "to": NOBODY, "value": "0x5" }]));
    let hash = dev.call("eth_sendRawTransaction", json!([raw]));
    assert_eq!(dev.call("eth_getTransactionReceipt", json!([hash]))["from"], BOB);
    assert_eq!(dev.balance(NOBODY), 8 + 5);
}

#[test]
fn dev_gives_transactions_that_come_at_once_their_own_nonces_and_blocks() {
    let dev = Dev::start(&["--quiet"]);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..5).for_each(|_| drop(dev.send(ALICE, NOBODY, 1))));
        }
    });
    assert_eq!((dev.height(), dev.balance(NOBODY)), (40, 40));
    let (code, message) = dev
        .refused("eth_sendTransaction", json!([{ "from": ALICE, "to": NOBODY, "gasPrice": "0x1", "gas": "0x5208" }]));
    assert!(code == -32_000 && message.starts_with("max fee per gas less than block base fee"), "{code} {message}");
}

#[test]
fn dev_takes_transactions_that_were_signed_for_any_chain() {
    // The one that makes the CREATE2 deployer on every chain; its sender has no key. Here the deployer is there already.
    let (ones, twos) = ("f".repeat(62), "2".repeat(64));
    let raw = format!(
        "0xf8a58085174876e800830186a08080b853604580600e600039806000f350fe7f{ones}e03601600081602082378035828234f5801515\
         6039578182fd5b8082525050506014600cf31ba0{twos}a0{twos}"
    );
    let dev = Dev::start(&["--quiet"]);
    let sender = "0x3fab184622dc19b6109349b94811493bf2a45362";
    dev.call("anvil_setBalance", json!([sender, "0xde0b6b3a7640000"]));
    let receipt = dev.call("eth_getTransactionReceipt", json!([dev.call("eth_sendRawTransaction", json!([raw]))]));
    assert_eq!((receipt["from"].clone(), receipt["blockNumber"].clone()), (json!(sender), json!("0x1")));
    assert_eq!(receipt["contractAddress"], "0x4e59b44847b379578588920ca78fbf26c0b4956c");
}

#[test]
fn dev_mines_a_transaction_that_reverts_and_gives_its_hash() {
    let dev = Dev::start(&["--quiet"]);
    let reverts = "0x00000000000000000000000000000000000000aa";
    dev.call("hardhat_setCode", json!([reverts, "0x5f5ffd"]));
    let receipt = dev.transact(json!({ "from": ALICE, "to": reverts, "gas": "0x10000" }));
    assert_eq!(receipt["status"], "0x0");
    // Without a gas limit the estimate says so first, as elsewhere.
    let (code, message) = dev.refused("eth_sendTransaction", json!([{ "from": ALICE, "to": reverts }]));
    assert_eq!((code, message.as_str()), (3, "execution reverted"));
}

#[test]
fn dev_goes_back_to_a_snapshot_with_blocks_state_logs_and_time() {
    let dev = Dev::start(&["--quiet"]);
    let logs_one = "0x00000000000000000000000000000000000000bb";
    // Emits a log without topics, and counts in slot 0.
    dev.call("anvil_setCode", json!([logs_one, "0x5f5fa05f546001015f5500"]));
    dev.send(ALICE, NOBODY, 1);
    let filter = dev.call("eth_newBlockFilter", json!([]));
    let first = dev.call("evm_snapshot", json!([]));
    let (height, hash) = (dev.height(), dev.block("latest")["hash"].clone());
    let gone = dev.transact(json!({ "from": ALICE, "to": logs_one }));
    let second = dev.call("evm_snapshot", json!([]));
    dev.transact(json!({ "from": ALICE, "to": logs_one }));
    dev.call("evm_increaseTime", json!([1_000_000]));
    dev.call("evm_mine", json!([]));
    dev.call("hardhat_setBalance", json!([BOB, "0x1"]));
    let slot = |dev: &Dev| {
        let word = dev.call("eth_getStorageAt", json!([logs_one, "0x0", "latest"]));
        u64::from_str_radix(&word.as_str().unwrap()[50..], 16).unwrap()
    };
    let logs = |dev: &Dev| {
        dev.call("eth_getLogs", json!([{ "address": logs_one, "fromBlock": "0x0" }])).as_array().unwrap().len()
    };
    assert_eq!((slot(&dev), logs(&dev)), (2, 2));
    assert_eq!(dev.call("eth_getFilterChanges", json!([filter])).as_array().unwrap().len(), 3);

    assert_eq!(dev.call("evm_revert", json!([second])), true);
    assert_eq!((slot(&dev), logs(&dev), dev.balance(BOB)), (1, 1, 10_000_000_000_000_000_000_000));
    assert_eq!(dev.call("evm_revert", json!([first])), true);
    assert_eq!((dev.height(), dev.block("latest")["hash"].clone()), (height, hash));
    assert_eq!((slot(&dev), logs(&dev)), (0, 0));
    assert!(dev.call("eth_getTransactionReceipt", json!([gone["transactionHash"]])).is_null());
    assert!(dev.call("eth_getBlockByHash", json!([gone["blockHash"], false])).is_null());
    // A snapshot is used up with all later ones.
    for name in [first, second, json!("0x63"), json!(format!("0x1{}", "0".repeat(30)))] {
        assert_eq!(dev.call("evm_revert", json!([name])), false, "{name}");
    }
    // The same transaction again, in another block; time did not stay in the future.
    let again = dev.transact(json!({ "from": ALICE, "to": logs_one }));
    assert_eq!((slot(&dev), logs(&dev)), (1, 1));
    assert_eq!(again["blockNumber"], gone["blockNumber"]);
    let (before, after) =
        (number(&dev.block(&format!("{height:#x}"))["timestamp"]), number(&dev.block("latest")["timestamp"]));
    assert!(after - before < 1_000, "before={before} after={after}");
    // Whoever polls hears of the block that took the place of another.
    assert_eq!(dev.call("eth_getFilterChanges", json!([filter])), json!([again["blockHash"]]));
}

#[test]
fn dev_goes_back_to_a_snapshot_many_times_with_what_waited_in_the_pool() {
    let dev = Dev::start(&["--quiet", "--no-mining"]);
    let waiting = dev.call("eth_sendTransaction", json!([{ "from": ALICE, "to": NOBODY, "value": "0x3" }]));
    for _ in 0..5 {
        let snapshot = dev.call("evm_snapshot", json!([]));
        let other = dev.call("eth_sendTransaction", json!([{ "from": BOB, "to": NOBODY, "value": "0x4" }]));
        dev.call("hardhat_mine", json!(["0x2"]));
        assert_eq!((dev.height(), dev.balance(NOBODY)), (2, 7));
        assert_eq!(dev.call("evm_revert", json!([snapshot])), true);
        assert_eq!((dev.height(), dev.balance(NOBODY)), (0, 0));
        assert!(dev.call("eth_getTransactionByHash", json!([other])).is_null());
        assert!(dev.call("eth_getTransactionByHash", json!([waiting]))["blockHash"].is_null());
    }
    dev.call("evm_mine", json!([]));
    assert_eq!(dev.balance(NOBODY), 3);
}

#[test]
fn dev_makes_blocks_only_when_it_is_told_if_asked_so() {
    let dev = Dev::start(&["--quiet", "--no-mining"]);
    assert_eq!(dev.call("hardhat_getAutomine", json!([])), false);
    let send = |nonce: u64| {
        let transaction = json!({ "from": ALICE, "to": NOBODY, "value": "0x1", "nonce": format!("{nonce:#x}") });
        dev.call("eth_sendTransaction", json!([transaction]))
    };
    let hashes: Vec<Value> = (0..3).map(send).collect();
    assert_eq!((dev.height(), number(&dev.call("eth_getTransactionCount", json!([ALICE, "pending"])))), (0, 3));
    assert_eq!(dev.block("pending")["transactions"].as_array().unwrap().len(), 3);
    // One leaves before it is in a block: those after it wait for its nonce.
    assert_eq!(dev.call("hardhat_dropTransaction", json!([hashes[1]])), true);
    assert_eq!(dev.call("hardhat_dropTransaction", json!([hashes[1]])), false);
    assert_eq!(dev.call("evm_mine", json!([])), "0x0");
    assert_eq!((dev.height(), dev.balance(NOBODY)), (1, 1));
    dev.call("anvil_dropAllTransactions", json!([]));
    assert_eq!(dev.call("txpool_status", json!([])), json!({ "pending": "0x0", "queued": "0x0" }));
    // What waits goes into a block as soon as each transaction gets one.
    send(1);
    assert_eq!(dev.height(), 1);
    dev.call("evm_setAutomine", json!([true]));
    assert_eq!((dev.height(), dev.balance(NOBODY)), (2, 2));
    dev.send(ALICE, NOBODY, 1);
    assert_eq!(dev.height(), 3);
}

#[test]
fn dev_makes_blocks_at_intervals_with_what_came_in_between() {
    let dev = Dev::start(&["--quiet", "--block-time", "1"]);
    assert_eq!(dev.call("anvil_getIntervalMining", json!([])), 1);
    let hash = dev.call("eth_sendTransaction", json!([{ "from": ALICE, "to": NOBODY, "value": "0x1" }]));
    let receipt = wait_until("the block comes by itself", || {
        let receipt = dev.call("eth_getTransactionReceipt", json!([hash]));
        (!receipt.is_null()).then_some(receipt)
    });
    let height = number(&receipt["blockNumber"]);
    wait_until("an empty block comes", || (dev.height() > height).then_some(()));
    // Off again: the height stands still for longer than two intervals.
    dev.call("evm_setIntervalMining", json!([0]));
    let (height, start) = (dev.height(), Instant::now());
    while start.elapsed() < Duration::from_millis(2_500) {
        assert_eq!(dev.height(), height);
    }
    dev.call("evm_setAutomine", json!([true]));
    dev.send(ALICE, NOBODY, 1);
    assert_eq!(dev.height(), height + 1);
}

#[test]
fn dev_keeps_a_chain_in_a_folder_with_its_amendments() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("chain").display().to_string();
    let arguments = ["--quiet", "--data", &data, "--chain-id", "4242"];
    let dev = Dev::start(&arguments);
    dev.send(ALICE, NOBODY, 11);
    dev.call("hardhat_setBalance", json!([NOBODY, "0x64"]));
    let hash = dev.block("latest")["hash"].clone();
    dev.stop();
    let dev = Dev::start(&["--quiet", "--data", &data]);
    assert_eq!(dev.call("eth_chainId", json!([])), "0x1092", "the chain is what it was");
    assert_eq!((dev.height(), dev.block("latest")["hash"].clone(), dev.balance(NOBODY)), (1, hash, 100));
    dev.send(ALICE, NOBODY, 1);
    assert_eq!((dev.height(), dev.balance(NOBODY)), (2, 101));
    assert_eq!(dev.call("eth_getBalance", json!([NOBODY, "0x1"])), "0x64");
    dev.stop();
}

#[test]
fn dev_forgets_everything_when_it_is_reset() {
    let dev = Dev::start(&["--quiet"]);
    let snapshot = dev.call("evm_snapshot", json!([]));
    dev.call("hardhat_setBalance", json!([NOBODY, "0x64"]));
    dev.send(ALICE, NOBODY, 1);
    dev.call("evm_setAutomine", json!([false]));
    dev.call("hardhat_impersonateAccount", json!([NOBODY]));
    assert_eq!(dev.call("hardhat_reset", json!([{ "forking": { "blockNumber": null } }])), true);
    assert_eq!((dev.height(), dev.balance(NOBODY)), (0, 0));
    assert_eq!(dev.call("evm_revert", json!([snapshot])), false);
    assert_eq!(dev.call("hardhat_getAutomine", json!([])), true);
    dev.refused("eth_sendTransaction", json!([{ "from": NOBODY, "to": ALICE }]));
    let (code, message) = dev.refused("hardhat_reset", json!([{ "forking": { "jsonRpcUrl": "http://127.0.0.1:1" } }]));
    assert!(code == -32_602 && message.contains("not supported"), "{code} {message}");
}

#[test]
fn dev_fills_the_beacon_from_a_source_that_everybody_can_compute() {
    let dev = Dev::start(&["--chain-id", "7"]);
    let newest = || number(&dev.call("eth_getStorageAt", json!([BEACON, "0x0", "latest"])));
    let value = |height: u64| dev.call("keystead_getBeacon", json!([format!("{height:#x}")]));
    assert_eq!((newest(), value(1)), (0, Value::Null));
    dev.call("evm_mine", json!([]));
    assert_eq!(newest(), 0, "the first block has no parent with a value");
    dev.call("anvil_mine", json!(["0x14"]));
    assert_eq!((dev.height(), newest()), (21, 20));
    for height in 1..=20 {
        let expected = BeaconValue::development(7, height);
        let (answer, slot) = (value(height), format!("{:#x}", beacon_slot(height)));
        assert_eq!(answer["value"], hex::encode_prefixed(expected.0));
        assert_eq!(answer["randomness"], json!(expected.randomness()));
        assert_eq!(dev.call("eth_getStorageAt", json!([BEACON, slot, "latest"])), answer["randomness"]);
    }
    // A block with a chosen PREVRANDAO has none; the next one makes up for it.
    dev.call("anvil_setPrevRandao", json!([format!("{:#066x}", 9)]));
    dev.call("evm_mine", json!([]));
    assert_eq!((dev.height(), newest()), (22, 20));
    dev.call("evm_mine", json!([]));
    assert_eq!((dev.height(), newest()), (23, 22));
    // Back, and on again: the same values, since nothing but chain and height makes them.
    let (before, back) = (value(22), dev.call("evm_snapshot", json!([])));
    dev.call("anvil_mine", json!(["0x5"]));
    assert_eq!(dev.call("evm_revert", json!([back])), true);
    assert_eq!((dev.height(), newest(), value(22)), (23, 22, before));
    assert_eq!(value(23), Value::Null);
    dev.call("evm_mine", json!([]));
    assert_eq!(
        (newest(), value(23)["value"].clone()),
        (23, json!(hex::encode_prefixed(BeaconValue::development(7, 23).0)))
    );
}
