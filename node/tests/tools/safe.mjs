// Safe's published contracts as a new user would take them: a 2-of-3 wallet, its signatures, modules, guards and handlers.
import assert from "node:assert/strict";
import { AbiCoder, Contract, ContractFactory, Interface, JsonRpcProvider, Wallet, ZeroAddress, concat, getBytes, hashMessage, parseEther, solidityPacked, toBeHex, zeroPadValue } from "ethers";
import { KEYS, artifact, network, packaged, report } from "./scenario.mjs";

const provider = new JsonRpcProvider(network.http[0], undefined, { cacheTimeout: -1, pollingInterval: 20 });
const [deployer, ...others] = KEYS.map((key) => new Wallet(key, provider));
// Signatures are checked in the order of their owners' addresses.
const owners = others.slice(0, 3).sort((a, b) => (BigInt(a.address) < BigInt(b.address) ? -1 : 1));
const [stranger, module] = others.slice(3);
const published = (path) => packaged(`@safe-global/safe-smart-account/build/artifacts/contracts/${path}.json`);
const CALL = 0;
const DELEGATECALL = 1;

const mined = async (sent) => (await sent).wait();
const failure = (promise) => promise.then(() => assert.fail("nothing failed"), (error) => error);
const refusedWith = async (promise, reason) => assert.equal((await failure(promise)).reason, reason);
const deploy = async ({ abi, bytecode }, ...args) => (await new ContractFactory(abi, bytecode, deployer).deploy(...args)).waitForDeployment();

const singleton = await deploy(published("Safe.sol/Safe"));
const factory = await deploy(published("proxies/SafeProxyFactory.sol/SafeProxyFactory"));
const handler = await deploy(published("handler/CompatibilityFallbackHandler.sol/CompatibilityFallbackHandler"));
const multiSend = await deploy(published("libraries/MultiSend.sol/MultiSend"));
const accessor = await deploy(published("accessors/SimulateTxAccessor.sol/SimulateTxAccessor"));
const signMessageLib = await deploy(published("libraries/SignMessageLib.sol/SignMessageLib"));
const token = await deploy(artifact("Token"), parseEther("1000"));
const art = await deploy(artifact("Collection"));

/** A wallet behind a proxy, where CREATE2 says that it is; nobody can set it up again. */
async function wallet() {
  const setup = singleton.interface.encodeFunctionData("setup", [
    owners.map(({ address }) => address), 2, ZeroAddress, "0x", handler.target, ZeroAddress, 0, ZeroAddress,
  ]);
  const foreseen = await factory.createProxyWithNonce.staticCall(singleton, setup, 7n);
  const { logs } = await mined(factory.createProxyWithNonce(singleton, setup, 7n));
  const made = logs.map((log) => factory.interface.parseLog(log)).find((event) => event?.name === "ProxyCreation").args;
  assert.deepEqual([...made], [foreseen, singleton.target]);
  const safe = new Contract(foreseen, singleton.interface, deployer);
  assert.deepEqual([await safe.getThreshold(), [...(await safe.getOwners())], await safe.VERSION()], [2n, owners.map(({ address }) => address), "1.5.0"]);
  await refusedWith(safe.setup.staticCall([stranger.address], 1, ZeroAddress, "0x", ZeroAddress, ZeroAddress, 0, ZeroAddress), "GS200");
  await refusedWith(singleton.setup.staticCall([stranger.address], 1, ZeroAddress, "0x", ZeroAddress, ZeroAddress, 0, ZeroAddress), "GS200");
  await mined(deployer.sendTransaction({ to: safe, value: parseEther("5") }));
  await mined(token.transfer(safe, 500n));
  assert.equal((await safe.queryFilter("SafeReceived")).length, 1);
  return safe;
}

const TYPES = {
  SafeTx: [
    ["address", "to"], ["uint256", "value"], ["bytes", "data"], ["uint8", "operation"], ["uint256", "safeTxGas"], ["uint256", "baseGas"],
    ["uint256", "gasPrice"], ["address", "gasToken"], ["address", "refundReceiver"], ["uint256", "nonce"],
  ].map(([type, name]) => ({ type, name })),
};
const domain = (safe) => ({ chainId: network.chain, verifyingContract: safe.target });

async function order(safe, to, value, data, operation = CALL) {
  return { to, value, data, operation, safeTxGas: 0n, baseGas: 0n, gasPrice: 0n, gasToken: ZeroAddress, refundReceiver: ZeroAddress, nonce: await safe.nonce() };
}
const listed = (it) => [it.to, it.value, it.data, it.operation, it.safeTxGas, it.baseGas, it.gasPrice, it.gasToken, it.refundReceiver];
const signed = async (safe, it, who) => concat(await Promise.all(who.map((owner) => owner.signTypedData(domain(safe), TYPES, it))));

/** Two owners sign, anybody brings it. */
async function execute(safe, ...what) {
  const it = await order(safe, ...what);
  const receipt = await mined(safe.execTransaction(...listed(it), await signed(safe, it, owners.slice(0, 2))));
  assert.ok(receipt.logs.some((log) => safe.interface.parseLog(log)?.name === "ExecutionSuccess"));
  return receipt;
}

/** Typed data, approved hashes and `eth_sign` count; too few, the wrong order and strangers do not. */
async function signatures(safe) {
  const it = await order(safe, stranger.address, parseEther("1"), "0x");
  const hash = await safe.getTransactionHash(...listed(it), it.nonce);
  const attempt = (bytes) => safe.connect(stranger).execTransaction.staticCall(...listed(it), bytes);
  await refusedWith(attempt(await signed(safe, it, owners.slice(0, 1))), "GS020");
  await refusedWith(attempt(await signed(safe, it, [owners[1], owners[0]])), "GS026");
  await refusedWith(attempt(await signed(safe, it, [owners[0], stranger].sort((a, b) => (BigInt(a.address) < BigInt(b.address) ? -1 : 1)))), "GS026");
  const before = await provider.getBalance(stranger.address);
  const { fee } = await mined(safe.connect(stranger).execTransaction(...listed(it), await signed(safe, it, owners.slice(1))));
  assert.equal(await provider.getBalance(stranger.address), before + parseEther("1") - fee);
  await refusedWith(attempt(await signed(safe, it, owners.slice(1))), "GS026");

  const next = await order(safe, token.target, 0n, token.interface.encodeFunctionData("transfer", [stranger.address, 3n]));
  const nextHash = await safe.getTransactionHash(...listed(next), next.nonce);
  assert.notEqual(hash, nextHash);
  await mined(safe.connect(owners[0]).approveHash(nextHash));
  assert.equal(await safe.approvedHashes(owners[0].address, nextHash), 1n);
  const approved = concat([zeroPadValue(owners[0].address, 32), toBeHex(0, 32), "0x01"]);
  const flat = getBytes(await owners[1].signMessage(getBytes(nextHash)));
  flat[64] += 4;
  await mined(safe.execTransaction(...listed(next), concat([approved, flat])));
  assert.equal(await token.balanceOf(stranger.address), 3n);
}

/** Several calls by delegatecall; one that fails undoes all, and the wallet says so. */
async function batches(safe) {
  const packed = (calls) => concat(calls.map(([to, value, data]) =>
    solidityPacked(["uint8", "address", "uint256", "uint256", "bytes"], [CALL, to, value, getBytes(data).length, data])));
  const pay = (to, value) => [token.target, 0n, token.interface.encodeFunctionData("transfer", [to, value])];
  const data = (calls) => multiSend.interface.encodeFunctionData("multiSend", [packed(calls)]);
  await execute(safe, multiSend.target, 0n, data([pay(stranger.address, 10n), [module.address, 5n, "0x"], pay(module.address, 20n)]), DELEGATECALL);
  assert.deepEqual([await token.balanceOf(stranger.address), await token.balanceOf(module.address)], [13n, 20n]);
  const bad = await order(safe, multiSend.target, 0n, data([pay(stranger.address, 1n), pay(stranger.address, 10_000n)]), DELEGATECALL);
  // Since 1.5 the wallet hands on what the call inside said: after the first call there was one token less.
  const inner = await failure(safe.execTransaction.staticCall(...listed(bad), await signed(safe, bad, owners.slice(0, 2))));
  const { name, args } = token.interface.parseError(inner.data);
  assert.deepEqual([name, ...args], ["ERC20InsufficientBalance", safe.target, 466n, 10_000n]);
  assert.equal(await token.balanceOf(stranger.address), 13n);
}

async function modules(safe) {
  const enabled = safe.connect(module);
  await refusedWith(enabled.execTransactionFromModule.staticCall(stranger.address, 1n, "0x", CALL), "GS104");
  await execute(safe, safe.target, 0n, safe.interface.encodeFunctionData("enableModule", [module.address]));
  assert.ok(await safe.isModuleEnabled(module.address));
  const before = await provider.getBalance(safe.target);
  await mined(enabled.execTransactionFromModule(stranger.address, 9n, "0x", CALL));
  assert.equal(await provider.getBalance(safe.target), before - 9n);
  await execute(safe, safe.target, 0n, safe.interface.encodeFunctionData("disableModule", ["0x0000000000000000000000000000000000000001", module.address]));
  await refusedWith(enabled.execTransactionFromModule.staticCall(stranger.address, 1n, "0x", CALL), "GS104");
}

/** What the fallback handler gives the wallet: ERC-1271, the receipt of tokens, simulation. */
async function handlers(safe) {
  const handled = new Contract(safe.target, handler.interface, deployer);
  const message = hashMessage("keystead");
  const encoded = AbiCoder.defaultAbiCoder().encode(["bytes32"], [message]);
  const types = { SafeMessage: [{ type: "bytes", name: "message" }] };
  const signatures = concat(await Promise.all(owners.slice(0, 2).map((owner) => owner.signTypedData(domain(safe), types, { message: encoded }))));
  assert.equal(await handled.isValidSignature(message, signatures), "0x1626ba7e");
  await failure(handled.isValidSignature(hashMessage("another"), signatures));
  await failure(handled.isValidSignature(message, "0x"));
  const stored = signMessageLib.interface.encodeFunctionData("signMessage", [encoded]);
  await execute(safe, signMessageLib.target, 0n, stored, DELEGATECALL);
  assert.equal(await handled.isValidSignature(message, "0x"), "0x1626ba7e");

  await mined(art.mint(safe));
  assert.equal(await art.ownerOf(1n), safe.target);
  // The simulation runs in the wallet and is undone by a revert that carries its result.
  const transfer = token.interface.encodeFunctionData("transfer", [stranger.address, 1n]);
  const simulated = await handled.simulate.staticCall(accessor, accessor.interface.encodeFunctionData("simulate", [token.target, 0n, transfer, CALL]));
  const [gas, success, result] = new Interface(accessor.interface.fragments).decodeFunctionResult("simulate", simulated);
  assert.ok(gas > 0n && success && BigInt(result) === 1n);
  assert.equal(await token.balanceOf(stranger.address), 13n);
}

/** A guard refuses delegatecalls to anything but its one target; the owners can change the owners. */
async function guards(safe) {
  const guard = await deploy(published("examples/guards/DelegateCallTransactionGuard.sol/DelegateCallTransactionGuard"), signMessageLib);
  await execute(safe, safe.target, 0n, safe.interface.encodeFunctionData("setGuard", [guard.target]));
  const slot = "0x4a204f620c8c5ccdca3fd54d003badd85ba500436a431f0cbda4f558c93c34c8";
  assert.equal(BigInt(await provider.getStorage(safe, slot)), BigInt(guard.target));
  const empty = multiSend.interface.encodeFunctionData("multiSend", ["0x"]);
  const refused = await order(safe, multiSend.target, 0n, empty, DELEGATECALL);
  await refusedWith(safe.execTransaction.staticCall(...listed(refused), await signed(safe, refused, owners.slice(0, 2))), "This call is restricted");
  await execute(safe, safe.target, 0n, safe.interface.encodeFunctionData("setGuard", [ZeroAddress]));
  await execute(safe, multiSend.target, 0n, empty, DELEGATECALL);
  await execute(safe, safe.target, 0n, safe.interface.encodeFunctionData("swapOwner", [owners[1].address, owners[2].address, stranger.address]));
  assert.deepEqual([await safe.isOwner(owners[2].address), await safe.isOwner(stranger.address)], [false, true]);
  await execute(safe, safe.target, 0n, safe.interface.encodeFunctionData("changeThreshold", [1]));
  assert.equal(await safe.getThreshold(), 1n);
}

const safe = await wallet();
await signatures(safe);
await batches(safe);
await modules(safe);
await handlers(safe);
await guards(safe);
report({ safe: safe.target, nonce: await safe.nonce() });
