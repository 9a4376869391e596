// Uniswap v2 from its own npm packages: canonical bytecode, every amount checked against the formulas of its paper.
import assert from "node:assert/strict";
import { Contract, ContractFactory, JsonRpcProvider, MaxUint256, Signature, Wallet, ZeroAddress, keccak256, parseEther } from "ethers";
import { KEYS, artifact, network, packaged, report } from "./scenario.mjs";

const provider = new JsonRpcProvider(network.http[0], undefined, { cacheTimeout: -1, pollingInterval: 20 });
const [owner, trader, collector] = KEYS.map((key) => new Wallet(key, provider));
const core = (name) => packaged(`@uniswap/v2-core/build/${name}.json`);
const periphery = (name) => packaged(`@uniswap/v2-periphery/build/${name}.json`);

const mined = async (sent) => (await sent).wait();
const failure = (promise) => promise.then(() => assert.fail("nothing failed"), (error) => error);
/** Nodes give reasons in the data of the error; ethers decodes them. */
const refusedWith = async (promise, reason) => assert.equal((await failure(promise)).reason, reason);
async function deploy({ abi, bytecode }, ...args) {
  const contract = await new ContractFactory(abi, bytecode, owner).deploy(...args);
  return contract.waitForDeployment();
}

function root(value) {
  let guess = value;
  for (let next = (value + 1n) / 2n; next < guess; next = (guess + value / guess) / 2n) guess = next;
  return guess;
}
const least = (a, b) => (a < b ? a : b);
/** x * y = k with a fee of 0.3 % on what comes in. */
const bought = (amount, reserveIn, reserveOut) => (amount * 997n * reserveOut) / (reserveIn * 1000n + amount * 997n);
const price = (amount, reserveIn, reserveOut) => (reserveIn * amount * 1000n) / ((reserveOut - amount) * 997n) + 1n;
const later = async () => (await provider.getBlock("latest")).timestamp + 3_600;
const MINIMUM = 1000n;

const factory = await deploy(core("UniswapV2Factory"), owner.address);
const weth = await deploy(periphery("WETH9"));
const router = await deploy(periphery("UniswapV2Router02"), factory, weth);
const tokens = [await deploy(artifact("Token"), parseEther("1000000")), await deploy(artifact("Token"), parseEther("1000000"))];
tokens.sort((a, b) => (BigInt(a.target) < BigInt(b.target) ? -1 : 1));
const [token0, token1] = tokens;
for (const token of [...tokens]) {
  await mined(token.approve(router, MaxUint256));
  await mined(token.transfer(trader.address, parseEther("1000")));
  await mined(token.connect(trader).approve(router, MaxUint256));
}

async function pairOf(a, b) {
  return new Contract(await factory.getPair(a, b), core("UniswapV2Pair").abi, owner);
}

/** Liquidity: the geometric mean at first, then in proportion; the pair lies where CREATE2 says. */
async function liquidity() {
  const hash = keccak256(`0x${core("UniswapV2Pair").evm.bytecode.object}`);
  assert.equal(hash, "0x96e8ac4277198ff8b6f785478aa9a39f403cb768dd02cbee326c3e7da348845f", "not the canonical pair");
  const [first, second] = [parseEther("100"), parseEther("400")];
  await mined(router.addLiquidity(token0, token1, first, second, 0, 0, owner.address, await later()));
  const pair = await pairOf(token0, token1);
  assert.notEqual(pair.target, ZeroAddress);
  assert.deepEqual([await pair.token0(), await pair.token1()], [token0.target, token1.target]);
  const total = root(first * second);
  assert.equal(await pair.totalSupply(), total);
  assert.equal(await pair.balanceOf(owner.address), total - MINIMUM);
  // Too much of the second token is offered: the router takes what fits the price.
  await mined(router.connect(trader).addLiquidity(token0, token1, parseEther("1"), parseEther("5"), 0, 0, trader.address, await later()));
  assert.equal(await token1.balanceOf(trader.address), parseEther("996"));
  assert.equal(await pair.balanceOf(trader.address), least((parseEther("1") * total) / first, (parseEther("4") * total) / second));
  await refusedWith(router.addLiquidity.staticCall(token0, token1, first, second, first, second + 1n, owner.address, await later()), "UniswapV2Router: INSUFFICIENT_B_AMOUNT");
  return pair;
}

async function swaps(pair) {
  const reserves = async () => [...(await pair.getReserves())].slice(0, 2);
  let [r0, r1] = await reserves();
  const amount = parseEther("3");
  const out = bought(amount, r0, r1);
  assert.deepEqual([...(await router.getAmountsOut(amount, [token0, token1]))], [amount, out]);
  const as = router.connect(trader);
  const before = await token1.balanceOf(trader.address);
  await refusedWith(as.swapExactTokensForTokens.staticCall(amount, out + 1n, [token0, token1], trader.address, await later()), "UniswapV2Router: INSUFFICIENT_OUTPUT_AMOUNT");
  await refusedWith(as.swapExactTokensForTokens.staticCall(amount, out, [token0, token1], trader.address, 1), "UniswapV2Router: EXPIRED");
  const receipt = await mined(as.swapExactTokensForTokens(amount, out, [token0, token1], trader.address, await later()));
  assert.equal(await token1.balanceOf(trader.address), before + out);
  const events = receipt.logs.filter(({ address }) => address === pair.target).map((log) => pair.interface.parseLog(log));
  assert.deepEqual(events.map(({ name }) => name), ["Sync", "Swap"]);
  assert.deepEqual([...events[0].args], [r0 + amount, r1 - out]);
  [r0, r1] = await reserves();
  const wanted = parseEther("2");
  const cost = price(wanted, r1, r0);
  const had = await token1.balanceOf(trader.address);
  await mined(as.swapTokensForExactTokens(wanted, cost, [token1, token0], trader.address, await later()));
  assert.equal(await token1.balanceOf(trader.address), had - cost);
  assert.deepEqual(await reserves(), [r0 - wanted, r1 + cost]);
  const found = await pair.queryFilter(pair.filters.Swap(router, null, null, null, null, trader.address), receipt.blockNumber);
  assert.equal(found.length, 2);
}

/** Native money goes in and out through WETH. */
async function native() {
  await mined(router.addLiquidityETH(token0, parseEther("200"), 0, 0, owner.address, await later(), { value: parseEther("10") }));
  const pair = await pairOf(token0, weth);
  const order = (await pair.token0()) === token0.target;
  const reserves = async () => {
    const [first, second] = await pair.getReserves();
    return order ? [first, second] : [second, first];
  };
  let [tokens, ethers] = await reserves();
  const value = parseEther("0.5");
  const out = bought(value, ethers, tokens);
  const held = await token0.balanceOf(trader.address);
  const as = router.connect(trader);
  await mined(as.swapExactETHForTokens(out, [weth, token0], trader.address, await later(), { value }));
  assert.equal(await token0.balanceOf(trader.address), held + out);
  [tokens, ethers] = await reserves();
  const wanted = parseEther("0.25");
  const before = await provider.getBalance(trader.address);
  const { fee } = await mined(as.swapTokensForExactETH(wanted, price(wanted, tokens, ethers), [token0, weth], trader.address, await later()));
  assert.equal(await provider.getBalance(trader.address), before + wanted - fee);
  // Through two pairs.
  const path = [weth, token0, token1];
  const [, middle, end] = await router.getAmountsOut(parseEther("0.1"), path);
  [tokens, ethers] = await reserves();
  assert.equal(middle, bought(parseEther("0.1"), ethers, tokens));
  const had = await token1.balanceOf(trader.address);
  await mined(as.swapExactETHForTokens(end, path, trader.address, await later(), { value: parseEther("0.1") }));
  assert.equal(await token1.balanceOf(trader.address), had + end);
}

/** A loan within one transaction costs 3/997; less is refused by the invariant. */
async function flash(pair) {
  const borrower = await deploy(artifact("FlashBorrower"));
  await mined(token0.transfer(borrower, parseEther("1")));
  const amount = parseEther("20");
  const repayment = (amount * 1000n) / 997n + 1n;
  await refusedWith(borrower.borrow.staticCall(pair, amount, repayment - 1n), "UniswapV2: K");
  const [before] = await pair.getReserves();
  await mined(borrower.borrow(pair, amount, repayment));
  assert.equal((await pair.getReserves())[0], before - amount + repayment);
  assert.equal(await token0.balanceOf(borrower), parseEther("1") + amount - repayment);
}

/** Once the fee is on, a sixth of the growth of the root of k is minted for the protocol. */
async function protocolFee(pair) {
  await mined(factory.setFeeTo(collector.address));
  const add = async () => router.addLiquidity(token0, token1, parseEther("1"), parseEther("10"), 0, 0, owner.address, await later());
  await mined(add());
  const last = root(await pair.kLast());
  await mined(router.connect(trader).swapExactTokensForTokens(parseEther("10"), 0, [token0, token1], trader.address, await later()));
  const [r0, r1] = await pair.getReserves();
  const now = root(r0 * r1);
  const total = await pair.totalSupply();
  const before = await pair.balanceOf(collector.address);
  await mined(add());
  assert.equal((await pair.balanceOf(collector.address)) - before, (total * (now - last)) / (now * 5n + last));
  assert.ok(now > last);
}

/** Liquidity leaves with a signature instead of an approval. */
async function permit(pair) {
  const value = (await pair.balanceOf(owner.address)) / 2n;
  const [r0, r1] = await pair.getReserves();
  const total = await pair.totalSupply();
  const deadline = await later();
  const domain = { name: "Uniswap V2", version: "1", chainId: network.chain, verifyingContract: pair.target };
  const types = { Permit: ["address owner", "address spender", "uint256 value", "uint256 nonce", "uint256 deadline"].map((field) => {
    const [type, name] = field.split(" ");
    return { type, name };
  }) };
  const nonce = await pair.nonces(owner.address);
  const signed = await owner.signTypedData(domain, types, { owner: owner.address, spender: router.target, value, nonce, deadline });
  const { v, r, s } = Signature.from(signed);
  // With the fee on, burning mints the protocol's part first; nothing was swapped since the last change of liquidity.
  const before = [await token0.balanceOf(owner.address), await token1.balanceOf(owner.address)];
  await refusedWith(router.removeLiquidityWithPermit.staticCall(token0, token1, value - 1n, 0, 0, owner.address, deadline, false, v, r, s), "UniswapV2: INVALID_SIGNATURE");
  await mined(router.removeLiquidityWithPermit(token0, token1, value, 0, 0, owner.address, deadline, false, v, r, s));
  const after = [await token0.balanceOf(owner.address), await token1.balanceOf(owner.address)];
  assert.deepEqual([after[0] - before[0], after[1] - before[1]], [(value * r0) / total, (value * r1) / total]);
}

/** Time-weighted prices over a day: the accumulator to the last bit, and the example oracle of the periphery. */
async function average(pair) {
  const at = async () => BigInt((await provider.getBlock("latest")).timestamp);
  const oracle = await deploy(periphery("ExampleOracleSimple"), factory, token0, token1);
  await mined(pair.sync());
  const [start, first, [r0, r1]] = [await at(), await pair.price0CumulativeLast(), await pair.getReserves()];
  await provider.send("evm_increaseTime", [86_400]);
  await mined(pair.sync());
  const end = await at();
  assert.ok(end - start >= 86_400n);
  assert.equal((await pair.price0CumulativeLast()) - first, ((r1 << 112n) / r0) * (end - start));
  await mined(oracle.update());
  const expected = (((r1 << 112n) / r0) * parseEther("1")) >> 112n;
  const told = await oracle.consult(token0, parseEther("1"));
  assert.ok(told === expected || told === expected - 1n, `${told} ${expected}`);
  await refusedWith(oracle.update.staticCall(), "ExampleOracleSimple: PERIOD_NOT_ELAPSED");
}

const pair = await liquidity();
await swaps(pair);
await native();
await flash(pair);
await protocolFee(pair);
await permit(pair);
await average(pair);
report({ pair: pair.target, transactions: await owner.getNonce() });
