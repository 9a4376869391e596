// An order as the contract itself wrote it: `specs/vectors/market-storage.json` comes from the Solidity tests.

import { expect, test } from 'vitest';
import file from '../../../specs/vectors/market-storage.json';
import { toHex } from './bytes.js';
import { isInKst, MARKET_ADDRESS, orderFromWords, orderSlots } from './market.js';
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

test('an order in a token says which', () => {
  const paid = file.in_token;
  const words = Array.from({ length: 8 }, () => 0n);
  words[6] = BigInt(paid.customer.word);
  words[7] = BigInt(paid.provider.word);
  const order = orderFromWords(BigInt(paid.order_id), words);
  expect(order).toMatchObject({ token: paid.token.toLowerCase(), customer: file.customer.toLowerCase(), paidUnits: 0n });
  expect(isInKst(order)).toBe(false);
  const plain = orderFromWords(BigInt(file.order_id), entries.map(({ word }) => BigInt(word)));
  expect(isInKst(plain)).toBe(true);
});

test('a result root changes with every output and their order', () => {
  const outputs = ['a', 'b', ''].map((text) => new TextEncoder().encode(text));
  const root = resultRoot(outputs);
  expect(resultRoot(outputs.toReversed())).not.toBe(root);
  expect(resultRoot(outputs.slice(1))).not.toBe(root);
});
