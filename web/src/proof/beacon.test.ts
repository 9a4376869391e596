// The beacon values of `specs/vectors/beacon.json` and their mutants: the verdict and the step of the Rust verifier.

import { sha256 } from '@noble/hashes/sha2.js';
import { describe, expect, test } from 'vitest';
import file from '../../../specs/vectors/beacon.json';
import { ascii, concat, fromHex, toHex } from './bytes.js';
import { BEACON_BYTES_MAX, beaconMessage, randomness, seedMessage, verify, type Report } from './index.js';
import { mutants } from './mutants.js';

const networkKey = bytes(file.networkKey);
const otherNetworkKey = bytes(file.otherNetworkKey);

function bytes(text: string): Uint8Array {
  return fromHex(text) ?? new Uint8Array();
}

function run(text: string, key = networkKey): Report {
  return verify(ascii(text), { networkKey: key, nowMs: 0 });
}

function outcome(report: Report): string {
  if (report.verdict === 'proved') return 'P';
  return report.verdict === 'proved false' ? 'F' : String(report.step);
}

function expand(runs: string): string {
  return runs.replace(/(\d+)x(.) ?/g, (_, count: string, outcome: string) => outcome.repeat(Number(count)));
}

describe('beacon values', () => {
  test.each(file.cases)('$name', (entry) => {
    const report = run(entry.file);
    expect(report).toMatchObject({ verdict: entry.verdict, step: entry.step });
    expect(report.words ?? null).toBe(entry.words);
    expect(report.block).toBeUndefined();
    if (report.beacon !== undefined) {
      expect(toHex(beaconMessage(report.beacon.chainId, report.beacon.height))).toBe(entry.message);
    }
  });

  test('the steps that a value needs are taken, with their numbers', () => {
    const [good] = file.cases;
    const steps = run(good?.file ?? '').steps.map(({ step, name }) => [step, name]);
    expect(steps).toEqual([[1, 'parse'], [5, 'certificate'], [7, 'value']]);
  });

  test('a file beyond its length is refused', () => {
    const text = file.cases[0]?.file ?? '';
    expect(run(text.padEnd(BEACON_BYTES_MAX, ' '))).toMatchObject({ verdict: 'proved' });
    expect(run(text.padEnd(BEACON_BYTES_MAX + 1, ' '))).toMatchObject({ verdict: 'not proved', step: 1 });
  });

  test('no message of a seed is one of a beacon', () => {
    expect(toHex(beaconMessage(7n, 300n))).not.toBe(toHex(seedMessage(7n, 0n, 300n)));
  });

  test.each(file.development)('of a development chain at $height', ({ height, value, randomness: expected }) => {
    const words = [BigInt(file.chainId), BigInt(height)].map((word) => bytes(`0x${word.toString(16).padStart(16, '0')}`));
    expect(randomness(bytes(value))).toBe(expected);
    expect(value.slice(2, 66)).toBe(randomness(concat(ascii('keystead development beacon'), ...words)).slice(2));
  });
});

describe('mutants', () => {
  test.each(file.cases.filter((entry) => 'mutants' in entry))('of $name end as in Rust', (entry) => {
    const { changed, truncated } = mutants(entry.file, []);
    const digest = sha256.create();
    let outcomes = '';
    const judge = (text: string, key: Uint8Array) => {
      digest.update(ascii(`${text}\n`));
      outcomes += outcome(run(text, key));
    };
    for (const text of changed) judge(text, networkKey);
    judge(entry.file, otherNetworkKey);
    for (const text of truncated) judge(text, networkKey);
    expect(toHex(digest.digest()).slice(2)).toBe(entry.mutants?.sha256);
    expect(outcomes).toHaveLength(entry.mutants?.count ?? 0);
    expect(outcomes).not.toContain('P');
    expect(outcomes).toBe(expand(entry.mutants?.outcomes ?? ''));
  });
});
