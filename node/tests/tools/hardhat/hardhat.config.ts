// A user's project: Hardhat 3 with its viem plugins, whose only unusual lines are the URL and the compiler from npm.
import { createRequire } from "node:module";
import hardhatNetworkHelpers from "@nomicfoundation/hardhat-network-helpers";
import hardhatNodeTestRunner from "@nomicfoundation/hardhat-node-test-runner";
import hardhatViem from "@nomicfoundation/hardhat-viem";
import hardhatViemAssertions from "@nomicfoundation/hardhat-viem-assertions";
import { defineConfig } from "hardhat/config";

/** Folder for what Hardhat writes, so that the tree stays as it is. */
const out = process.env.SCENARIO_OUT ?? ".";

export default defineConfig({
  plugins: [hardhatNetworkHelpers, hardhatNodeTestRunner, hardhatViem, hardhatViemAssertions],
  // Without `path` Hardhat downloads the compiler.
  solidity: {
    version: "0.8.37",
    path: createRequire(import.meta.url).resolve("solc/soljson.js"),
    settings: { evmVersion: "osaka", optimizer: { enabled: true } },
  },
  networks: {
    keystead: { type: "http", chainType: "l1", url: process.env.SCENARIO_URL ?? "http://127.0.0.1:8545" },
  },
  paths: { artifacts: `${out}/artifacts`, cache: `${out}/cache` },
});
