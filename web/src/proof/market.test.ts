// An order as the contract itself wrote it: `specs/vectors/market-storage.json` comes from the Solidity tests.

import { expect, test } from 'vitest';
import file from '../../../specs/vectors/market-storage.json';
import { toHex } from './bytes.js';
import { MARKET_ADDRESS, orderFromWords, orderSlots } from './market.js';
import { resultRoot } from './outputs.js';

const { market } = file;
const entries = [
  market.progress, market.terms, market.job_hash, market.commitment, market.result_root, market.evidence_hash, market.customer,
  market.provider,
];

test('slots and words are those of the contract', () => {
  expect(market.address.toLowerCase()).toBe(MARKET_ADDRESS);
  expect(orderSlots(BigInt(file.order_id)).map(toHex)).toEqual(entries.map(({ slot }) => slot));
  const order = orderFromWords(BigInt(file.order_id), entries.map(({ word }) => BigInt(word)));
  expect(order).toMatchObject({
    status: 'rejected',
    reason: 'malformed',
    units: 64n,
    leaseSeconds: 30n,
    deliverSeconds: 600n,
    checkSeconds: 60n,
    priceWeiPerUnit: 7_000_000_000n,
    jobHash: market.job_hash.word,
    resultRoot: market.result_root.word,
    customer: file.customer.toLowerCase(),
    provider: file.provider.toLowerCase(),
  });
  expect(order.orderedAt <= order.leasedAt && order.leasedAt <= order.committedAt).toBe(true);
});

test('an audited order says what was paid', () => {
  const { audited } = file;
  const words = Array.from({ length: 8 }, () => 0n);
  words[0] = BigInt(audited.progress.word);
  words[1] = BigInt(audited.terms.word);
  words[7] = BigInt(audited.provider.word);
  expect(orderFromWords(BigInt(audited.order_id), words)).toMatchObject({
    status: 'audited', mode: 'audited', stopped: 1n, doneUnits: 2n, paidUnits: 2n, units: 64n,
    provider: file.provider.toLowerCase(),
  });
});

test('a mode or a stop that this version does not know is no order', () => {
  for (const [bit, value] of [[216, 3n], [224, 2n], [0, 14n]] as const) {
    const words = Array.from({ length: 8 }, (_, index) => (index === 0 ? value << BigInt(bit) : 0n));
    expect(() => orderFromWords(1n, words)).toThrow('unknown');
  }
});

test('a word with a bit outside the layout is no order', () => {
  for (const [word, bit] of [[6, 160], [6, 255], [7, 192], [7, 255]] as const) {
    const words = Array.from({ length: 8 }, (_, index) => (index === word ? 1n << BigInt(bit) : 0n));
    expect(() => orderFromWords(1n, words)).toThrow('bits outside the layout');
  }
});

test('a result root changes with every output and their order', () => {
  const outputs = ['a', 'b', ''].map((text) => new TextEncoder().encode(text));
  const root = resultRoot(outputs);
  expect(resultRoot(outputs.toReversed())).not.toBe(root);
  expect(resultRoot(outputs.slice(1))).not.toBe(root);
});
