// viem's test client in both of its modes, and what its public client does beyond reading, against a development node.
import assert from "node:assert/strict";
import {
  createPublicClient,
  createTestClient,
  createWalletClient,
  defineChain,
  encodeFunctionData,
  getAddress,
  hashTypedData,
  http,
  keccak256,
  pad,
  parseEther,
  publicActions,
  toHex,
  walletActions,
  webSocket,
} from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { KEYS, artifact, network, report, until } from "./scenario.mjs";

const chain = defineChain({
  id: network.chain,
  name: "Keystead",
  nativeCurrency: { name: "KST", symbol: "KST", decimals: 18 },
  rpcUrls: { default: { http: network.http, webSocket: network.ws } },
});
const [owner, alice] = KEYS.map(privateKeyToAccount);
const pollingInterval = 20;
const reader = createPublicClient({ chain, transport: http(), pollingInterval, cacheTime: 0 });
const wallet = createWalletClient({ account: owner, chain, transport: http() });
const counter = artifact("Counter");

const failure = (promise) => promise.then(() => assert.fail("nothing failed"), (error) => error);
const mined = async (hash) => reader.waitForTransactionReceipt({ hash: await hash });
const deploy = async ({ abi, bytecode }, args) => {
  const { contractAddress } = await mined(wallet.deployContract({ abi, bytecode, args }));
  return { abi, address: contractAddress };
};

/** Each helper, seen by its effect. What one mode has and the other does not is left out there. */
async function helpers(mode) {
  const client = createTestClient({ chain, mode, transport: http(), pollingInterval, cacheTime: 0 }).extend(publicActions).extend(walletActions);
  const outer = await client.snapshot();
  const at = async () => client.getBlock();
  const start = await at();

  await client.mine({ blocks: 3, interval: 10 });
  const mine = await at();
  assert.equal(mine.number, start.number + 3n);
  assert.equal(mine.timestamp - (await client.getBlock({ blockNumber: start.number + 1n })).timestamp, 20n);
  await client.setNextBlockTimestamp({ timestamp: mine.timestamp + 1_000n });
  await client.mine({ blocks: 1 });
  assert.equal((await at()).timestamp, mine.timestamp + 1_000n);
  await client.increaseTime({ seconds: 86_400 });
  await client.mine({ blocks: 1 });
  assert.ok((await at()).timestamp >= mine.timestamp + 1_000n + 86_400n);

  const stranger = getAddress("0x00000000000000000000000000000000000b0b00");
  await client.setBalance({ address: stranger, value: parseEther("2") });
  assert.equal(await client.getBalance({ address: stranger }), parseEther("2"));
  await client.setNonce({ address: stranger, nonce: 7 });
  assert.equal(await client.getTransactionCount({ address: stranger }), 7);
  await client.impersonateAccount({ address: stranger });
  const sent = await mined(client.sendTransaction({ account: stranger, to: alice.address, value: 1n }));
  assert.deepEqual([getAddress(sent.from), sent.status], [stranger, "success"]);
  const shown = await client.getTransaction({ hash: sent.transactionHash });
  assert.deepEqual([getAddress(shown.from), shown.nonce], [stranger, 7]);
  await client.stopImpersonatingAccount({ address: stranger });
  await failure(client.sendTransaction({ account: stranger, to: alice.address, value: 1n }));

  const contract = await deploy(counter, [5n]);
  const code = await client.getCode({ address: contract.address });
  const copy = getAddress("0x0000000000000000000000000000000000c0de00");
  await client.setCode({ address: copy, bytecode: code });
  await client.setStorageAt({ address: copy, index: 0, value: pad(toHex(41)) });
  assert.equal(await client.getStorageAt({ address: copy, slot: "0x0" }), pad(toHex(41)));
  const written = await mined(wallet.writeContract({ ...contract, address: copy, functionName: "increment" }));
  assert.equal(written.status, "success");
  assert.equal(await client.readContract({ ...contract, address: copy, functionName: "value" }), 42n);

  // The pool fills while nothing is mined.
  await client.setAutomine(false);
  assert.equal(await client.getAutomine(), false);
  const nonce = await client.getTransactionCount({ address: owner.address });
  const waiting = [];
  for (const value of [1n, 2n, 3n]) waiting.push(await wallet.sendTransaction({ to: alice.address, value, gas: 21_000n }));
  assert.deepEqual(await client.getTxpoolStatus(), { pending: 3, queued: 0 });
  const content = await client.getTxpoolContent();
  const held = Object.entries(content.pending).find(([sender]) => getAddress(sender) === owner.address)[1];
  assert.deepEqual(Object.keys(held).map(Number), [nonce, nonce + 1, nonce + 2]);
  assert.equal(await client.getTransactionCount({ address: owner.address, blockTag: "pending" }), nonce + 3);
  assert.equal(await client.getTransactionCount({ address: owner.address }), nonce);
  await client.dropTransaction({ hash: waiting[2] });
  await failure(client.getTransaction({ hash: waiting[2] }));
  await client.mine({ blocks: 1 });
  const block = await client.getBlock();
  assert.deepEqual(block.transactions, waiting.slice(0, 2));
  await client.setAutomine(true);

  // Hardhat counts this interval in milliseconds and anvil in seconds, under one name; the node counts as anvil.
  if (mode === "anvil") {
    await client.setIntervalMining({ interval: 1 });
    const height = await client.getBlockNumber();
    await until("blocks come by themselves", async () => (await client.getBlockNumber()) >= height + 2n);
    await client.setIntervalMining({ interval: 0 });
    await client.setAutomine(true);
  }

  await client.setNextBlockBaseFeePerGas({ baseFeePerGas: 1_234_567_890n });
  await client.setCoinbase({ address: copy });
  await client.mine({ blocks: 1 });
  const fee = await at();
  assert.deepEqual([fee.baseFeePerGas, getAddress(fee.miner)], [1_234_567_890n, copy]);
  await client.setBlockGasLimit({ gasLimit: 60_000_000n });
  await client.mine({ blocks: 1 });
  assert.equal((await at()).gasLimit, 60_000_000n);
  if (mode === "anvil") {
    await client.setBlockTimestampInterval({ interval: 77 });
    await client.mine({ blocks: 1 });
    const first = await at();
    await client.mine({ blocks: 1 });
    assert.equal((await at()).timestamp - first.timestamp, 77n);
    await client.removeBlockTimestampInterval();
  }

  const inner = await client.snapshot();
  await mined(wallet.writeContract({ ...contract, functionName: "increment" }));
  assert.equal(await client.readContract({ ...contract, functionName: "value" }), 6n);
  await client.revert({ id: inner });
  assert.equal(await client.readContract({ ...contract, functionName: "value" }), 5n);
  await client.revert({ id: outer });
  assert.equal((await at()).hash, start.hash);
  assert.equal(await client.getCode({ address: copy }), undefined);
  assert.equal(await client.getBalance({ address: stranger }), 0n);
}

/** What viem builds on `eth_simulateV1`, state overrides, `eth_call` without a deployed contract, subscriptions. */
async function beyond() {
  const token = await deploy(artifact("Token"), [1_000n]);
  const batch = await deploy(artifact("Batch"));
  const socket = createPublicClient({ chain, transport: webSocket() });
  const told = [];
  const unwatch = socket.watchContractEvent({ ...token, eventName: "Transfer", args: { to: alice.address }, onLogs: (logs) => told.push(...logs) });
  let subscribed = false;
  socket.watchBlockNumber({ onBlockNumber: () => (subscribed = true) });
  await until("the socket has subscribed to both", async () => (await reader.request({ method: "evm_mine" })) && subscribed);
  const { status } = await wallet.writeContractSync({ ...token, functionName: "transfer", args: [alice.address, 10n] });
  assert.equal(status, "success");
  await mined(wallet.writeContract({ ...token, functionName: "transfer", args: [owner.address, 20n] }));
  await mined(wallet.writeContract({ ...token, functionName: "transfer", args: [alice.address, 30n] }));
  await until("the subscriber hears of both", () => told.at(-1)?.args.value === 30n);
  assert.deepEqual(told.map(({ args }) => args.value), [10n, 30n]);
  unwatch();

  const { results } = await reader.simulateCalls({
    account: owner.address,
    calls: [
      { ...token, to: token.address, functionName: "transfer", args: [alice.address, 5n] },
      { ...token, to: token.address, functionName: "balanceOf", args: [alice.address] },
      { to: alice.address, value: 9n },
    ],
  });
  assert.deepEqual([results[1].result, results.map(({ status }) => status)], [45n, ["success", "success", "success"]]);
  const poor = await failure(reader.simulateContract({ ...token, account: alice, functionName: "transfer", args: [owner.address, 41n] }));
  const reason = poor.walk((error) => error.name === "ContractFunctionRevertedError");
  assert.deepEqual([reason.data.errorName, reason.data.args], ["ERC20InsufficientBalance", [alice.address, 40n, 41n]]);
  const slot = keccak256(`${pad(alice.address)}${pad("0x0").slice(2)}`);
  const rich = await reader.readContract({
    ...token,
    functionName: "balanceOf",
    args: [alice.address],
    stateOverride: [{ address: token.address, stateDiff: [{ slot, value: pad(toHex(77)) }] }],
  });
  assert.equal(rich, 77n);
  const proof = await reader.getProof({ address: token.address, storageKeys: [slot] });
  assert.equal(proof.storageProof[0].value, 40n);
  const many = await reader.multicall({
    deployless: true,
    contracts: [alice.address, owner.address].map((account) => ({ ...token, functionName: "balanceOf", args: [account] })),
  });
  assert.deepEqual(many.map(({ result }) => result), [40n, 960n]);

  // Signatures: of an account, and, by a contract that is never deployed, of typed data.
  assert.ok(await reader.verifyMessage({ address: alice.address, message: "keystead", signature: await alice.signMessage({ message: "keystead" }) }));
  const typed = { domain: { name: "Scenario", chainId: chain.id }, types: { Note: [{ name: "text", type: "string" }] }, primaryType: "Note", message: { text: "hello" } };
  const signature = await alice.signTypedData(typed);
  assert.ok(await reader.verifyTypedData({ ...typed, address: alice.address, signature }));
  assert.ok(!(await reader.verifyTypedData({ ...typed, address: owner.address, signature })));
  assert.ok(await reader.verifyHash({ hash: hashTypedData(typed), address: alice.address, signature }));

  // EIP-7702: Alice's account makes two calls in one transaction that she signs.
  const self = createWalletClient({ account: alice, chain, transport: http() });
  const authorization = await self.signAuthorization({ contractAddress: batch.address, executor: "self" });
  const call = (value) => ({ to: token.address, value: 0n, data: encodeFunctionData({ ...token, functionName: "transfer", args: [owner.address, value] }) });
  const receipt = await mined(
    self.writeContract({ ...batch, address: alice.address, functionName: "execute", args: [[call(1n), call(2n)]], authorizationList: [authorization] }),
  );
  assert.deepEqual([receipt.status, receipt.logs.length, receipt.type], ["success", 3, "eip7702"]);
  assert.equal(await reader.getDelegation({ address: alice.address }), getAddress(batch.address));
  assert.equal(await reader.readContract({ ...token, functionName: "balanceOf", args: [alice.address] }), 37n);
  const filter = await reader.createContractEventFilter({ ...token, eventName: "Transfer", fromBlock: 0n });
  assert.equal((await reader.getFilterLogs({ filter })).length, 6);
  return { token: token.address };
}

await helpers("anvil");
await helpers("hardhat");
report(await beyond());
