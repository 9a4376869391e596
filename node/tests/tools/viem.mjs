// Sends a transfer, deploys a contract, calls it and reads its logs with viem. Arguments: RPC URL, private key, artifact.
import { readFileSync } from "node:fs";
import { createPublicClient, createWalletClient, defineChain, http, parseEther } from "viem";
import { privateKeyToAccount } from "viem/accounts";

const [url, key, artifactPath] = process.argv.slice(2);
const { abi, bytecode } = JSON.parse(readFileSync(artifactPath, "utf8"));
const chain = defineChain({
  id: 19283,
  name: "Keystead",
  nativeCurrency: { name: "KST", symbol: "KST", decimals: 18 },
  rpcUrls: { default: { http: [url] } },
});
const account = privateKeyToAccount(key);
const reader = createPublicClient({ chain, transport: http(), pollingInterval: 50 });
const wallet = createWalletClient({ account, chain, transport: http() });

const hash = await wallet.sendTransaction({ to: "0x000000000000000000000000000000000000dEaD", value: parseEther("0.5") });
const transfer = await reader.waitForTransactionReceipt({ hash });
const deployed = await reader.waitForTransactionReceipt({
  hash: await wallet.deployContract({ abi, bytecode, args: [5n] }),
});
const address = deployed.contractAddress;
const { request } = await reader.simulateContract({ account, address, abi, functionName: "increment" });
await reader.waitForTransactionReceipt({ hash: await wallet.writeContract(request) });
const value = await reader.readContract({ address, abi, functionName: "value" });
const logs = await reader.getContractEvents({ address, abi, eventName: "Changed", fromBlock: 0n });
console.log(JSON.stringify({ hash, transfer: transfer.status, value: value.toString(), logs: logs.length }));
