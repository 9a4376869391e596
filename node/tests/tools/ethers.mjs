// ethers 6: tokens, errors, events, fees, nonces, proofs, an EIP-7702 authorization and a permit.
import assert from "node:assert/strict";
import { verifyMerkleProof } from "@ethereumjs/mpt";
import {
  AbiCoder,
  Contract,
  ContractFactory,
  JsonRpcProvider,
  NonceManager,
  Signature,
  Wallet,
  WebSocketProvider,
  ZeroAddress,
  concat,
  decodeRlp,
  getBytes,
  keccak256,
  parseEther,
  toBeHex,
} from "ethers";
import { KEYS, artifact, network, report, until } from "./scenario.mjs";

// ethers answers a repeated question from its own memory for 250 ms, which is longer than a block takes here: a nonce would be
// used twice. `cacheTimeout: -1` turns that off, as on every fast chain.
const options = { cacheTimeout: -1, pollingInterval: 50 };
const provider = new JsonRpcProvider(network.http[0], undefined, options);
const other = new JsonRpcProvider(network.http.at(-1), undefined, options);
const [owner, alice, bob, carol] = KEYS.map((key) => new Wallet(key, provider));
const hashes = [];
/** The receipt, once it is there; its hash goes into the report. */
const mined = async (sent) => {
  const receipt = await (await sent).wait();
  hashes.push(receipt.hash);
  return receipt;
};
/** The error of a promise that must fail. */
const failure = (promise) => promise.then(() => assert.fail("nothing failed"), (error) => error);

async function tokens() {
  const { abi, bytecode } = artifact("Token");
  const token = await new ContractFactory(abi, bytecode, owner).deploy(parseEther("1000000"));
  const collection = artifact("Collection");
  const art = await new ContractFactory(collection.abi, collection.bytecode, owner).deploy();
  // Two deployments in flight; each is where its sender and nonce say.
  await Promise.all([mined(token.deploymentTransaction()), mined(art.deploymentTransaction())]);
  await mined(token.transfer(alice.address, parseEther("100")));
  assert.equal(await token.balanceOf(alice.address), parseEther("100"));
  const minted = await mined(art.mint(alice.address));
  const event = art.interface.parseLog(minted.logs[0]);
  assert.deepEqual([event.name, ...event.args], ["Transfer", ZeroAddress, alice.address, 1n]);
  await mined(art.connect(alice)["safeTransferFrom(address,address,uint256)"](alice.address, bob.address, 1n));
  assert.equal(await art.ownerOf(1n), bob.address);
  return { token, art };
}

/** Custom errors arrive decoded: from a call, from an estimate and from a transaction that was mined. */
async function errors({ token, art }) {
  const called = await failure(token.connect(carol).transfer.staticCall(bob.address, 5n));
  assert.equal(called.code, "CALL_EXCEPTION");
  assert.equal(called.revert.name, "ERC20InsufficientBalance");
  assert.deepEqual([...called.revert.args], [carol.address, 0n, 5n]);
  const estimated = await failure(token.connect(carol).transfer.estimateGas(bob.address, 5n));
  // ethers leaves the decoding of an estimate's data to its caller.
  assert.deepEqual([estimated.code, estimated.action], ["CALL_EXCEPTION", "estimateGas"]);
  assert.equal(token.interface.parseError(estimated.data).name, "ERC20InsufficientBalance");
  // A receiver without code for it: the error comes from inside of a check in the callee.
  const refused = await failure(art.mint.staticCall(await token.getAddress()));
  assert.equal(refused.revert.name, "ERC721InvalidReceiver");
  const sent = await token.connect(carol).transfer(bob.address, 5n, { gasLimit: 100_000 });
  const reverted = await failure(sent.wait());
  assert.deepEqual([reverted.code, reverted.receipt.status], ["CALL_EXCEPTION", 0]);
  hashes.push(reverted.receipt.hash);
  const missing = await failure(provider.send("eth_thereIsNoSuchMethod", []));
  assert.equal(missing.code, "UNSUPPORTED_OPERATION", missing.message);
}

/** What a WebSocket at another validator is told equals what a filter finds afterwards. */
async function events({ token }) {
  const socket = new WebSocketProvider(network.ws.at(-1));
  const watched = token.connect(socket);
  const told = [];
  const heads = [];
  await watched.on(watched.filters.Transfer(owner.address, null), ({ args, log }) => told.push([args.to, args.value, log]));
  await socket.on("block", (height) => heads.push(height));
  // ethers does not wait for the answer to its `eth_subscribe`; requests on one socket are answered in order.
  await socket.getBlockNumber();
  // A development node makes no block by itself.
  if (network.chain === 31_337) await provider.send("evm_mine", []);
  await until("a head is told", () => heads.length > 0);
  const first = (await provider.getBlockNumber()) + 1;
  await mined(token.transfer(bob.address, 1n));
  await mined(token.connect(alice).transfer(bob.address, 2n));
  await mined(token.transfer(carol.address, 3n));
  const last = await provider.getBlockNumber();
  await until("the subscriber hears of both", () => told.length >= 2);
  assert.deepEqual(told.map(([to, value]) => [to, value]), [[bob.address, 1n], [carol.address, 3n]]);
  // A second validator may be a block behind the first.
  await until("the other validator has the block", async () => (await other.getBlockNumber()) >= last);
  const found = await token.connect(other).queryFilter(token.filters.Transfer(owner.address, null), first, last);
  assert.deepEqual(
    found.map((log) => [log.blockHash, log.index, log.transactionHash]),
    told.map(([, , log]) => [log.blockHash, log.index, log.transactionHash]),
  );
  const received = await token.queryFilter(token.filters.Transfer(null, [bob.address, carol.address]), first, last);
  assert.deepEqual(received.map((log) => log.args.value), [1n, 2n, 3n]);
  await until("heads follow", () => heads.at(-1) >= last);
  assert.deepEqual(heads, [...heads.keys()].map((index) => heads[0] + index), "a head is missing or told twice");
  await socket.destroy();
}

/** What was paid is what the receipt says, to the wei. */
async function fees() {
  const data = await provider.getFeeData();
  const head = await provider.getBlock("latest");
  assert.ok(data.gasPrice > 0n && data.maxPriorityFeePerGas > 0n);
  assert.ok(data.maxFeePerGas >= head.baseFeePerGas + data.maxPriorityFeePerGas, "the suggested fee does not cover the head's base fee");
  const before = await provider.getBalance(carol.address);
  const receipt = await mined(carol.sendTransaction({ to: bob.address, value: 7n }));
  const block = await receipt.getBlock();
  const sent = await receipt.getTransaction();
  assert.equal(sent.type, 2);
  const offered = block.baseFeePerGas + sent.maxPriorityFeePerGas;
  const price = offered < sent.maxFeePerGas ? offered : sent.maxFeePerGas;
  assert.deepEqual([receipt.gasUsed, receipt.gasPrice], [21_000n, price]);
  assert.equal(await provider.getBalance(carol.address), before - 7n - receipt.fee);
  // Legacy transactions and access lists are taken too.
  const gasPrice = 2n * block.baseFeePerGas;
  const legacy = await mined(carol.sendTransaction({ to: bob.address, value: 1n, type: 0, gasPrice }));
  const listed = await mined(
    carol.sendTransaction({ to: bob.address, value: 1n, type: 1, gasPrice, accessList: [[bob.address, [toBeHex(0, 32)]]] }),
  );
  assert.deepEqual([legacy.type, listed.type, listed.gasUsed], [0, 1, 21_000n + 2_400n + 1_900n]);
}

/** Many in flight, a gap that is filled, a replacement, and the refusals that ethers knows by name. */
async function nonces() {
  const start = await alice.getNonce();
  const managed = new NonceManager(alice);
  const sent = await Promise.all(Array.from({ length: 20 }, (_, index) => managed.sendTransaction({ to: bob.address, value: BigInt(index) })));
  const receipts = await Promise.all(sent.map(mined));
  assert.deepEqual(sent.map(({ nonce }) => nonce).sort((a, b) => a - b), [...sent.keys()].map((index) => start + index));
  assert.ok(receipts.every(({ status }) => status === 1));

  const next = await alice.getNonce();
  const { maxFeePerGas, maxPriorityFeePerGas } = await provider.getFeeData();
  const fee = (times) => ({ maxFeePerGas: maxFeePerGas * times, maxPriorityFeePerGas: maxPriorityFeePerGas * times });
  const waiting = await alice.sendTransaction({ to: bob.address, value: 1n, nonce: next + 1, gasLimit: 21_000, ...fee(2n) });
  assert.equal((await provider.getTransaction(waiting.hash)).blockNumber, null);
  const same = { to: carol.address, value: 2n, nonce: next + 1, gasLimit: 21_000 };
  assert.equal((await failure(alice.sendTransaction({ ...same, ...fee(2n) }))).code, "REPLACEMENT_UNDERPRICED");
  const replacement = await alice.sendTransaction({ ...same, ...fee(4n) });
  const filler = await alice.sendTransaction({ to: bob.address, value: 3n, nonce: next, gasLimit: 21_000, ...fee(2n) });
  const [filled, replaced] = await Promise.all([mined(filler), mined(replacement)]);
  assert.ok(filled.blockNumber <= replaced.blockNumber);
  assert.equal(await provider.getTransactionReceipt(waiting.hash), null);
  assert.equal(await provider.getTransaction(waiting.hash), null);

  const late = await failure(alice.sendTransaction({ to: bob.address, value: 1n, nonce: next, gasLimit: 21_000 }));
  assert.equal(late.code, "NONCE_EXPIRED");
  const poor = Wallet.createRandom(provider);
  const broke = await failure(poor.sendTransaction({ to: bob.address, value: 1n, gasLimit: 21_000 }));
  assert.equal(broke.code, "INSUFFICIENT_FUNDS");
  return { replaced: waiting.hash };
}

/** `eth_getProof` of another validator, checked by another trie library against the header's state root. */
async function proofs({ token }) {
  const address = await token.getAddress();
  const mapping = keccak256(AbiCoder.defaultAbiCoder().encode(["address", "uint256"], [bob.address, 0]));
  const height = await provider.getBlockNumber();
  await until("the other validator has the block", async () => (await other.getBlockNumber()) >= height);
  const tag = toBeHex(height).replace(/^0x0+/, "0x");
  const block = await provider.send("eth_getBlockByNumber", [tag, false]);
  const unused = toBeHex(9_999, 32);
  const proof = await other.send("eth_getProof", [address, [mapping, unused], tag]);
  const prove = (root, key, nodes) =>
    verifyMerkleProof(getBytes(key), nodes.map(getBytes), { root: getBytes(root), useKeyHashing: true });
  const account = decodeRlp(await prove(block.stateRoot, address, proof.accountProof));
  assert.deepEqual(account.slice(2), [proof.storageHash, proof.codeHash]);
  assert.equal(keccak256(await provider.getCode(address, height)), proof.codeHash);
  const stored = decodeRlp(await prove(proof.storageHash, mapping, proof.storageProof[0].proof));
  const balance = await token.balanceOf(bob.address, { blockTag: height });
  assert.deepEqual([BigInt(stored), BigInt(proof.storageProof[0].value)], [balance, balance]);
  assert.equal(await prove(proof.storageHash, unused, proof.storageProof[1].proof), null);
  // The library does refuse: the same nodes prove nothing under another root.
  await failure(prove(block.receiptsRoot, address, proof.accountProof));
}

/** Bob's account gets code by authorization, which Carol brings; then two calls in one transaction of Bob's. */
async function delegation({ token }) {
  const batch = artifact("Batch");
  const target = await new ContractFactory(batch.abi, batch.bytecode, owner).deploy();
  await mined(target.deploymentTransaction());
  const authorization = await bob.authorize({ address: await target.getAddress(), nonce: await bob.getNonce(), chainId: network.chain });
  const brought = await mined(carol.sendTransaction({ type: 4, to: bob.address, value: 0n, gasLimit: 200_000, authorizationList: [authorization] }));
  assert.equal(brought.type, 4);
  assert.equal(await provider.getCode(bob.address), concat(["0xef0100", await target.getAddress()]).toLowerCase());
  const shown = await provider.getTransaction(brought.hash);
  assert.equal(shown.authorizationList[0].address, await target.getAddress());
  const delegated = new Contract(bob.address, batch.abi, bob);
  const pay = (to, value) => [token, 0n, token.interface.encodeFunctionData("transfer", [to, value])];
  const before = await token.balanceOf(owner.address);
  const executed = await mined(delegated.execute([pay(owner.address, 1n), pay(owner.address, 2n)]));
  assert.equal(await token.balanceOf(owner.address), before + 3n);
  assert.equal(executed.logs.length, 3);
  const foreign = await failure(delegated.connect(carol).execute.staticCall([]));
  assert.deepEqual([foreign.revert.name, foreign.revert.args[0]], ["NotSelf", carol.address]);
  // An authorization of the zero address takes the code away.
  const revoked = await bob.authorize({ address: ZeroAddress, nonce: await bob.getNonce(), chainId: network.chain });
  await mined(carol.sendTransaction({ type: 4, to: bob.address, gasLimit: 200_000, authorizationList: [revoked] }));
  assert.equal(await provider.getCode(bob.address), "0x");
}

/** Typed data signed off chain, verified on chain. */
async function permit({ token }) {
  const domain = { name: "Scenario Token", version: "1", chainId: network.chain, verifyingContract: await token.getAddress() };
  const described = await token.eip712Domain();
  assert.deepEqual([described.name, described.chainId], [domain.name, BigInt(domain.chainId)]);
  const types = {
    Permit: ["address owner", "address spender", "uint256 value", "uint256 nonce", "uint256 deadline"].map((field) => {
      const [type, name] = field.split(" ");
      return { type, name };
    }),
  };
  const deadline = (await provider.getBlock("latest")).timestamp + 3_600;
  const value = { owner: alice.address, spender: carol.address, value: 10n, nonce: await token.nonces(alice.address), deadline };
  const { v, r, s } = Signature.from(await alice.signTypedData(domain, types, value));
  const forged = await failure(token.permit.staticCall(alice.address, carol.address, 11n, deadline, v, r, s));
  assert.equal(forged.revert.name, "ERC2612InvalidSigner");
  await mined(token.connect(carol).permit(alice.address, carol.address, 10n, deadline, v, r, s));
  await mined(token.connect(carol).transferFrom(alice.address, carol.address, 10n));
  assert.equal(await token.allowance(alice.address, carol.address), 0n);
  const again = await failure(token.permit.staticCall(alice.address, carol.address, 10n, deadline, v, r, s));
  assert.equal(again.revert.name, "ERC2612InvalidSigner");
}

assert.equal((await provider.getNetwork()).chainId, BigInt(network.chain));
const contracts = await tokens();
await errors(contracts);
await events(contracts);
await fees();
const { replaced } = await nonces();
await proofs(contracts);
await delegation(contracts);
await permit(contracts);
const balances = {};
for (const { address } of [owner, alice, bob, carol]) balances[address] = await contracts.token.balanceOf(address);
report({ token: await contracts.token.getAddress(), balances, hashes, replaced });
