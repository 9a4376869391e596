//! Foundry against four validators: a script that broadcasts, tests on a fork, and the depths of cast.

use crate::{
    ethereum_tools::{FRIEND, cast, contracts, counter_bytecode, installed, run, tools},
    network::{Network, number, wait_until},
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const OWNER_KEY: &str = "0x92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e";
const PAYER: &str = "0x14dC79964da2C08b23698B3D3cc7Ca32193d9955";
const PAYER_KEY: &str = "0x4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356";

fn forge() -> Option<PathBuf> {
    let folder = contracts().join("node_modules");
    installed(&folder.join("solc"), "npm package solc in contracts")?;
    let forge = folder.join("@foundry-rs/forge-linux-amd64/bin/forge");
    installed(&forge, "npm package @foundry-rs/forge-linux-amd64 in contracts")
}

/// Copies the project, so that what forge writes does not land in the tree.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What a script sent, from the file that forge leaves.
fn broadcast(project: &Path, script: &str) -> Value {
    let file = project.join("broadcast").join(script).join("19283").join("run-latest.json");
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn forge_script_broadcasts_and_forge_test_forks() {
    let Some(forge) = forge() else { return };
    let network = Network::start(4);
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("project");
    copy(&tools().join("foundry"), &project);
    let forge = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut command = Command::new(&forge);
        command.args(arguments).current_dir(&project).envs(variables.iter().copied());
        command.env("FOUNDRY_SOLC", contracts().join("solc")).env("OWNER_KEY", OWNER_KEY).env("PAYER_KEY", PAYER_KEY);
        run(&mut command)
    };
    forge(&["build"], &[]);
    let url = network.url(0);
    let script = ["--rpc-url", &url, "--broadcast", "--non-interactive"];
    forge(&[&["script", "script/Deploy.s.sol:Deploy"], &script[..]].concat(), &[]);

    let sent = broadcast(&project, "Deploy.s.sol");
    let kinds: Vec<&str> = sent["transactions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|transaction| transaction["transactionType"].as_str().unwrap())
        .collect();
    // The library and the factory go through the CREATE2 deployer of the genesis.
    assert_eq!(kinds, ["CREATE2", "CREATE", "CREATE2", "CALL", "CALL", "CALL", "CALL", "CALL"]);
    let receipts = sent["receipts"].as_array().unwrap();
    assert_eq!(receipts.len(), 8);
    let last = receipts.iter().map(|receipt| number(&receipt["blockNumber"])).max().unwrap();
    for index in 0..4 {
        network.wait_for_head(index, last);
        for receipt in receipts {
            let held = network.call(index, "eth_getTransactionReceipt", json!([receipt["transactionHash"]]));
            assert_eq!((&held["status"], &held["blockHash"]), (&json!("0x1"), &receipt["blockHash"]));
        }
        let paid = network.call(index, "eth_getBalance", json!([format!("{:#042x}", 0xA11CE), "latest"]));
        assert_eq!(paid, json!("0x29a2241af62c0000"), "three ether at validator {index}");
    }
    let splitter = sent["returns"]["splitter"]["value"].as_str().unwrap().to_owned();

    forge(&[&["script", "script/Deploy.s.sol:Delegate"], &script[..]].concat(), &[("SPLITTER", &splitter)]);
    let owner = "0x976EA74026E726554dB657fA54763abd0C3a0aa9";
    let code = network.call(0, "eth_getCode", json!([owner, "latest"]));
    assert_eq!(code, json!(format!("0xef0100{}", &splitter[2..].to_lowercase())));

    let height = last.to_string();
    let variables =
        [("SPLITTER", splitter.as_str()), ("URL", url.as_str()), ("HEIGHT", height.as_str()), ("CHAIN", "19283")];
    let tested = forge(&["test"], &variables);
    assert!(tested.contains("1 passed; 0 failed"), "{tested}");
}

/// cast with one validator's URL, started where no project of ours can change what it does.
struct Cast {
    program: PathBuf,
    url: String,
    folder: tempfile::TempDir,
}

impl Cast {
    fn run(&self, arguments: &[&str]) -> String {
        run(Command::new(&self.program).args(arguments).env("ETH_RPC_URL", &self.url).current_dir(self.folder.path()))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let printed = self.run(arguments);
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {arguments:?}\n{printed}"))
    }

    /// What it complains about; it must fail.
    fn refused(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.program);
        let output =
            command.args(arguments).env("ETH_RPC_URL", &self.url).current_dir(self.folder.path()).output().unwrap();
        assert!(!output.status.success(), "{arguments:?} succeeded");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

#[test]
fn cast_traces_proves_estimates_and_signs() {
    let Some(program) = cast() else { return };
    let network = Network::start(4);
    let cast = Cast { program, url: network.url(0), folder: tempfile::tempdir().unwrap() };
    let send = |rest: &[&str]| cast.json(&[&["send", "--json", "--private-key", PAYER_KEY], rest].concat());

    assert_eq!(cast.run(&["wallet", "address", "--private-key", PAYER_KEY]), PAYER);
    let signature = cast.run(&["wallet", "sign", "--private-key", PAYER_KEY, "keystead"]);
    cast.run(&["wallet", "verify", "--address", PAYER, "keystead", &signature]);
    let initial = format!("{}{:064x}", counter_bytecode(), 5);
    let counter = send(&["--create", &initial])["contractAddress"].as_str().unwrap().to_owned();
    let created = network.head(0).unwrap();
    let predicted = cast.run(&["compute-address", PAYER, "--nonce", "0"]);
    assert!(predicted.to_lowercase().ends_with(&counter.to_lowercase()), "{predicted}");
    let receipt = send(&[&counter, "increment()"]);
    let hash = receipt["transactionHash"].as_str().unwrap();
    let gas = number(&receipt["gasUsed"]).to_string();

    // Execution again, by cast's own EVM on the state before it: the same gas, the same event.
    let traced = cast.run(&["run", hash]);
    assert!(
        traced.contains("Transaction successfully executed.") && traced.contains(&format!("Gas used: {gas}")),
        "{traced}"
    );
    assert!(traced.contains("0xb52dda022b6c1a1f40905a85f257f689aa5d69d850e49cf939d688fbe5af5946"), "{traced}");
    let by_node = cast.json(&["rpc", "debug_traceTransaction", hash, r#"{"tracer":"callTracer"}"#]);
    assert_eq!((by_node["type"].as_str(), number(&by_node["gasUsed"]).to_string()), (Some("CALL"), gas));
    assert_eq!(by_node["output"], json!(format!("{:#066x}", 6)));
    let tried = cast.run(&["call", "--trace", "--from", PAYER, &counter, "raise(uint256)", "9"]);
    assert!(tried.contains("Transaction successfully executed."), "{tried}");

    assert_eq!(cast.run(&["call", &counter, "value()(uint256)"]), "6");
    assert_eq!(cast.run(&["call", "--block", &created.to_string(), &counter, "value()(uint256)"]), "5");
    assert_eq!(cast.run(&["storage", &counter, "0"]), format!("{:#066x}", 6));
    let proof = cast.json(&["proof", &counter, "0"]);
    assert_eq!(number(&proof["storageProof"][0]["value"]), 6);
    let root = cast.run(&["keccak", proof["accountProof"][0].as_str().unwrap()]);
    assert!(
        (created..=network.head(0).unwrap()).any(|height| network.block(0, height)["stateRoot"] == json!(root)),
        "the proof's root is no header's"
    );
    let listed = cast.run(&["access-list", "--from", PAYER, &counter, "increment()"]);
    assert!(listed.contains(&format!("{:#066x}", 0)), "{listed}");
    let estimate: u64 = cast.run(&["estimate", "--from", PAYER, &counter, "increment()"]).parse().unwrap();
    let used = number(&send(&[&counter, "increment()", "--gas-limit", &estimate.to_string()])["gasUsed"]);
    assert!((used..used + used / 20).contains(&estimate), "estimate={estimate} used={used}");
    let logs = cast.json(&[
        "logs",
        "--json",
        "--from-block",
        "1",
        "--address",
        &counter,
        "Changed(address indexed,uint256)",
        PAYER,
    ]);
    assert_eq!(logs.as_array().unwrap().len(), 2);

    let refused = cast.refused(&["call", &counter, "raise(uint256)", "1"]);
    let data = refused.split('"').find(|part| part.starts_with("0xb2d298ff")).unwrap();
    assert!(cast.run(&["decode-error", "--sig", "NotLarger(uint256,uint256)", data]).starts_with("7\n1"));
    let nothing = cast.refused(&["rpc", "anvil_nodeInfo"]);
    assert!(nothing.contains("-32601"), "{nothing}");

    let raw = cast.run(&["mktx", "--private-key", PAYER_KEY, &counter, "raise(uint256)", "100"]);
    let published = cast.json(&["publish", &raw]);
    assert_eq!(published["status"], "0x1");
    // To another one: once delegated, the payer is a counter, which refuses a call without data, and the estimate says so.
    let authorized = send(&[FRIEND, "--auth", &counter]);
    assert_eq!(authorized["type"], "0x4");
    wait_until("every validator has the delegation", || {
        let held = |index| {
            network.call(index, "eth_getCode", json!([PAYER, "latest"])) == json!(format!("0xef0100{}", &counter[2..]))
        };
        (0..4).all(held).then_some(())
    });
}
