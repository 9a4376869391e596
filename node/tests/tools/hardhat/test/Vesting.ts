import assert from "node:assert/strict";
import { before, describe, it } from "node:test";
import { network } from "hardhat";
import { getAddress, parseEther, toHex, zeroAddress, type Hash } from "viem";

const DAY = 86_400;

describe("a contract under test on a remote development node", async () => {
  const { viem, networkHelpers } = await network.create();
  const { time } = networkHelpers;
  const reader = await viem.getPublicClient();
  const [owner, alice, bob] = await viem.getWalletClients();

  /** The receipt of what was sent: a node may answer before it has mined. */
  const mined = async (hash: Promise<Hash>) => reader.waitForTransactionReceipt({ hash: await hash, pollingInterval: 20 });

  async function deployed() {
    const vesting = await viem.deployContract("Vesting", [alice.account.address, BigInt(10 * DAY)], { value: parseEther("10") });
    return { vesting, start: await vesting.read.start() };
  }

  before(async () => {
    // The ten accounts of the test mnemonic belong to the node.
    assert.equal((await viem.getWalletClients()).length, 10);
    assert.equal(getAddress(owner.account.address), getAddress("0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"));
  });

  it("starts each test from its fixture", async () => {
    const { vesting } = await networkHelpers.loadFixture(deployed);
    const height = await reader.getBlockNumber();
    await mined(vesting.write.move([bob.account.address]));
    assert.equal(await vesting.read.beneficiary(), getAddress(bob.account.address));
    const again = await networkHelpers.loadFixture(deployed);
    assert.equal(again.vesting.address, vesting.address);
    assert.equal(await vesting.read.beneficiary(), getAddress(alice.account.address));
    assert.equal(await reader.getBlockNumber(), height);
  });

  it("frees money as time is moved", async () => {
    const { vesting, start } = await networkHelpers.loadFixture(deployed);
    await time.increaseTo(start + BigInt(3 * DAY));
    assert.equal(BigInt(await time.latest()), start + BigInt(3 * DAY));
    assert.equal(await vesting.read.free(), parseEther("3"));
    await time.setNextBlockTimestamp(start + BigInt(5 * DAY));
    await viem.assertions.balancesHaveChanged(vesting.write.release(), [
      { address: alice.account.address, amount: parseEther("5") },
      { address: vesting.address, amount: -parseEther("5") },
    ]);
    await time.increase(20 * DAY);
    await viem.assertions.emitWithArgs(vesting.write.release(), vesting, "Released", [getAddress(alice.account.address), parseEther("5")]);
    assert.equal(await reader.getBalance({ address: vesting.address }), 0n);
  });

  it("shows custom errors and reasons by name", async () => {
    const { vesting, start } = await networkHelpers.loadFixture(deployed);
    await viem.assertions.revertWithCustomErrorWithArgs(vesting.write.move([bob.account.address], { account: bob.account }), vesting, "NotOwner", [
      getAddress(bob.account.address),
    ]);
    await time.increaseTo(start + BigInt(10 * DAY));
    await mined(vesting.write.release());
    await viem.assertions.revertWithCustomError(vesting.write.release(), vesting, "NothingFree");
    await viem.assertions.revertWith(viem.deployContract("Vesting", [alice.account.address, 1n]), "no money");
  });

  it("acts as any account", async () => {
    const stranger = "0x000000000000000000000000000000000000bEEF";
    const { vesting } = await networkHelpers.loadFixture(deployed);
    await networkHelpers.setBalance(stranger, parseEther("1"));
    await networkHelpers.impersonateAccount(stranger);
    const wallet = await viem.getWalletClient(stranger);
    await viem.assertions.revertWithCustomErrorWithArgs(vesting.write.move([stranger], { account: wallet.account }), vesting, "NotOwner", [stranger]);
    const receipt = await mined(wallet.sendTransaction({ to: bob.account.address, value: 5n }));
    assert.equal(getAddress(receipt.from), stranger);
    const paid = receipt.gasUsed * receipt.effectiveGasPrice + 5n;
    assert.equal(await reader.getBalance({ address: stranger }), parseEther("1") - paid);
    await networkHelpers.stopImpersonatingAccount(stranger);
    await assert.rejects(wallet.sendTransaction({ to: bob.account.address, value: 5n }));
  });

  it("writes state and mines on demand", async () => {
    const { vesting } = await networkHelpers.loadFixture(deployed);
    const height = await reader.getBlockNumber();
    await networkHelpers.mine(7, { interval: 60 });
    assert.equal(await reader.getBlockNumber(), height + 7n);
    const [before, after] = await Promise.all([height + 1n, height + 7n].map((blockNumber) => reader.getBlock({ blockNumber })));
    assert.equal(after.timestamp - before.timestamp, 360n);
    await networkHelpers.mineUpTo(height + 20n);
    assert.equal(await reader.getBlockNumber(), height + 20n);

    // Slot 0 holds the beneficiary.
    await networkHelpers.setStorageAt(vesting.address, 0, toHex(BigInt(bob.account.address), { size: 32 }));
    assert.equal(await vesting.read.beneficiary(), getAddress(bob.account.address));
    assert.equal(BigInt(await networkHelpers.getStorageAt(vesting.address, 0)), BigInt(bob.account.address));
    const copy = "0x00000000000000000000000000000000000c0de5";
    const code = await reader.getCode({ address: vesting.address });
    await networkHelpers.setCode(copy, code!);
    const copied = await viem.getContractAt("Vesting", copy);
    assert.deepEqual([await copied.read.owner(), await copied.read.beneficiary()], [getAddress(owner.account.address), zeroAddress]);
    await networkHelpers.setNonce(copy, 9);
    assert.equal(await reader.getTransactionCount({ address: copy }), 9);
    await networkHelpers.setNextBlockBaseFeePerGas(123_456_789n);
    await networkHelpers.mine();
    assert.equal((await reader.getBlock()).baseFeePerGas, 123_456_789n);
    await networkHelpers.setCoinbase(copy);
    await networkHelpers.mine();
    assert.equal(getAddress((await reader.getBlock()).miner), getAddress(copy));
  });

  it("goes back to a snapshot with everything", async () => {
    const { vesting } = await networkHelpers.loadFixture(deployed);
    const snapshot = await networkHelpers.takeSnapshot();
    const before = await reader.getBlock();
    await time.increase(5 * DAY);
    const { status, transactionHash: hash } = await mined(vesting.write.release());
    assert.equal(status, "success");
    await snapshot.restore();
    assert.equal((await reader.getBlock()).hash, before.hash);
    assert.equal(await vesting.read.released(), 0n);
    await assert.rejects(reader.getTransactionReceipt({ hash }));
    assert.equal((await vesting.getEvents.Released({}, { fromBlock: 0n })).length, 0);
    // The chain goes on from there.
    await mined(vesting.write.move([bob.account.address]));
    assert.equal(await reader.getBlockNumber(), before.number + 1n);
  });
});
