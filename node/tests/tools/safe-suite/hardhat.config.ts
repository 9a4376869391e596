// The settings under which Safe's own test suite runs against a node: the package holds the tests, but not its settings.
import "@nomicfoundation/hardhat-chai-matchers";
import "@nomicfoundation/hardhat-ethers";
import "@typechain/hardhat";
import "hardhat-deploy";
import path from "node:path";
import { getSingletonFactoryInfo } from "@safe-global/safe-singleton-factory";
import { TASK_COMPILE_SOLIDITY_GET_SOLC_BUILD } from "hardhat/builtin-tasks/task-names";
import { subtask } from "hardhat/config";

const COMPILER = {
  compilerPath: path.join(__dirname, "node_modules/solc/soljson.js"),
  isSolcJs: true,
  version: "0.7.6",
  longVersion: "0.7.6+commit.7338295f",
};
// The compiler that the package pins, from npm; Hardhat would download it.
subtask(TASK_COMPILE_SOLIDITY_GET_SOLC_BUILD, async () => COMPILER);

export default {
  paths: { artifacts: "build/artifacts", cache: "build/cache", deploy: "src/deploy", sources: "contracts" },
  typechain: { outDir: "typechain-types", target: "ethers-v6" },
  solidity: { compilers: [{ version: "0.7.6" }] },
  networks: {
    // Hardhat's own node, to compare with. The suite asks for more gas than Osaka allows one transaction.
    hardhat: { allowUnlimitedContractSize: true, blockGasLimit: 100_000_000, gas: 100_000_000, hardfork: "cancun" },
    custom: {
      url: process.env.NODE_URL ?? "http://127.0.0.1:8545",
      accounts: { mnemonic: "test test test test test test test test test test test junk" },
    },
  },
  deterministicDeployment: (network: string) => {
    const info = getSingletonFactoryInfo(Number(network))!;
    const funding = (BigInt(info.gasLimit) * BigInt(info.gasPrice)).toString();
    return { factory: info.address, deployer: info.signerAddress, funding, signedTx: info.transaction };
  },
  namedAccounts: { deployer: 0 },
  mocha: { timeout: 600_000 },
};
