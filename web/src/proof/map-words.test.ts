// Slots, words, commitments and lists of a map against values that others made: the contracts in an EVM, and `compute/job`.

import { describe, expect, test } from 'vitest';
import auditFile from '../../../specs/vectors/audit.json';
import channelFile from '../../../specs/vectors/channel-storage.json';
import jobFile from '../../../specs/vectors/job.json';
import { auditFromWords, drawnUnits, windowId } from './audit.js';
import { concat, fromHex, toHex } from './bytes.js';
import { readJob } from './certificate.js';
import { commitment } from './map-build.js';
import { commitmentOf } from './map-value.js';
import { channelAuditId, channelFromWords, channelSlots, channelWindowSlots } from './map-words.js';
import { hashList } from './map.js';

function bytes(text: string): Uint8Array {
  return fromHex(text) ?? new Uint8Array();
}

describe('a channel', () => {
  const { progress, customer, provider, signer } = channelFile.channel;
  const { job_hash: jobHash, bond_wei: bondWei } = channelFile.audit;
  const stored = [progress, customer, provider, signer, jobHash, bondWei];

  test('lies where the contract put it', () => {
    expect(channelSlots(bytes(channelFile.channel_id)).map(toHex)).toEqual(stored.map(({ slot }) => slot));
  });

  test('is read from the words that the contract wrote', () => {
    expect(channelFromWords(stored.map(({ word }) => BigInt(word)))).toEqual({
      status: 3n,
      isAudited: true,
      number: BigInt(channelFile.number),
      announced: BigInt(channelFile.announced),
      customer: channelFile.customer.toLowerCase(),
      provider: channelFile.provider.toLowerCase(),
      jobHash: channelFile.job_hash,
      bondWei: BigInt(channelFile.bond_wei),
    });
    const plain = channelFile.channel_in_token;
    const words = [plain.progress.word, '0x0', '0x0', plain.signer.word, '0x0', '0x0'].map(BigInt);
    expect(channelFromWords(words)).toMatchObject({ status: 1n, isAudited: false, number: 2n, announced: 0n });
  });

  test('has windows that the audit knows by the same numbers', () => {
    const ids = channelFile.audit_ids.map((_, at) => toHex(channelAuditId(BigInt(channelFile.number), BigInt(at + 1))));
    expect(ids).toEqual(channelFile.audit_ids);
  });
});

test('slots of a window are eight words in a row, and two of its draw', () => {
  // Of the first audit id of the file, made by another Keccak: keccak256(id || 0), and keccak256(0 || keccak256(id || 2)).
  const numbers = channelWindowSlots(1n, 1n).map((slot) => BigInt(toHex(slot)));
  const [window = 0n] = numbers;
  const draw = numbers[8] ?? 0n;
  expect(numbers).toEqual([...Array.from({ length: 8 }, (_, word) => window + BigInt(word)), draw, draw + 1n]);
  expect(window).toBe(0xb6656baf8f370cb2904912e5cdb57bfe204c9e0759390158be5885deaf0a4ab4n);
  expect(draw).toBe(0xfe54a8f2bd4fd6774416c7a063786cda35d65545d8a64bdf784b4f3c4fc02c78n);
});

test.each(jobFile.commitments)('a commitment over $results.length results is that of the job', ({ results, secret, commitment: expected }) => {
  const names = concat(...results.map(bytes));
  expect(toHex(commitmentOf(names, bytes(secret)))).toBe(expected);
  // The tests' own tree is the same, so that what they build is right as well.
  expect(`0x${commitment(toHex(names).slice(2), secret.slice(2))}`).toBe(expected);
});

test('the hash of a list is the result root of one segment', () => {
  const { results, resultRoot } = jobFile.commitments[2] ?? { results: [], resultRoot: '' };
  expect(results.length).toBeGreaterThan(1);
  expect(toHex(hashList(concat(...results.map(bytes))))).toBe(resultRoot);
});

test('a job names the hash of its inputs', () => {
  for (const { spec, encoded, hash } of jobFile.specs) {
    const job = readJob(bytes(`0x${encoded}`));
    expect(job?.hash).toBe(hash);
    expect(job?.unitsHash && toHex(job.unitsHash)).toBe(spec.unitsHash);
  }
});

test('what the lot drew is counted by the number of the window', () => {
  const rate = 100_000n;
  const { units, randomness, number, rounds } = auditFile;
  const words = [(rate << 224n) | (BigInt(units) << 192n), 0n, 0n, 0n, 0n, 1n << 40n, BigInt(randomness), 0n];
  const audit = auditFromWords(words);
  expect(toHex(windowId(BigInt(number)))).toBe(auditFile.window_id);
  expect(drawnUnits(audit, windowId(BigInt(number)))).toBe(rounds[0]?.drawn_at_100000_ppm?.length);
  expect(drawnUnits({ ...audit, drawnAt: 0n }, windowId(BigInt(number)))).toBe(0);
});
