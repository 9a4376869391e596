// The bundles of `specs/vectors/proof-bundles.json` and all their mutants: the verdict and the step of the Rust verifier.

import { sha256 } from '@noble/hashes/sha2.js';
import { describe, expect, test } from 'vitest';
import file from '../../../specs/vectors/proof-bundles.json';
import { ascii, fromHex, toHex } from './bytes.js';
import { verify, type Report } from './index.js';
import { mutants } from './mutants.js';

interface Case {
  name: string;
  about: string;
  bundle: string;
  nowMs: number;
  maxAgeMs: number | null;
  verdict: string;
  step: number;
  claim: string;
  meaning: string[];
  mutants?: { count: number; sha256: string; outcomes: string };
}

const cases: Case[] = file.cases;
const networkKey = key(file.networkKey);
const otherNetworkKey = key(file.otherNetworkKey);

function key(text: string): Uint8Array {
  return fromHex(text) ?? new Uint8Array();
}

function run({ nowMs, maxAgeMs }: Case, text: string, networkKey: Uint8Array): Report {
  return verify(ascii(text), { networkKey, nowMs, maxAgeMs });
}

function outcome(report: Report): string {
  if (report.verdict === 'proved') return 'P';
  return report.verdict === 'proved false' ? 'F' : String(report.step);
}

/** `12x2 3xF` as one character per mutant. */
function expand(runs: string): string {
  return runs.replace(/(\d+)x(.) ?/g, (_, count: string, outcome: string) => outcome.repeat(Number(count)));
}

describe('bundles', () => {
  test.each(cases)('$name: $about', (entry) => {
    const report = run(entry, entry.bundle, networkKey);
    expect(report).toMatchObject({ verdict: entry.verdict, step: entry.step, words: entry.claim, meaning: entry.meaning });
    // Facts about the block are there if and only if the certificate was verified.
    expect(report.block !== undefined).toBe(entry.step > 5);
  });

  test('white space and the order of fields carry nothing', () => {
    for (const entry of cases) {
      const reversed = JSON.stringify(JSON.parse(entry.bundle), reverseFields, 2);
      expect(reversed).not.toBe(entry.bundle);
      expect(run(entry, reversed, networkKey)).toMatchObject({ verdict: entry.verdict, step: entry.step });
    }
  });
});

function reverseFields(_: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).reverse());
}

describe('mutants', () => {
  test.each(cases.filter((entry) => entry.mutants !== undefined))('of $name end as in Rust', (entry) => {
    const foreign = cases.map((other) => other.bundle).filter((text) => text !== entry.bundle);
    const { changed, truncated } = mutants(entry.bundle, foreign);
    const digest = sha256.create();
    let outcomes = '';
    const judge = (text: string, key: Uint8Array) => {
      digest.update(ascii(`${text}\n`));
      outcomes += outcome(run(entry, text, key));
    };
    for (const text of changed) judge(text, networkKey);
    judge(entry.bundle, otherNetworkKey);
    for (const text of truncated) judge(text, networkKey);
    expect(toHex(digest.digest()).slice(2)).toBe(entry.mutants?.sha256);
    expect(outcomes).toHaveLength(entry.mutants?.count ?? 0);
    expect(outcomes).not.toContain('P');
    expect(outcomes).toBe(expand(entry.mutants?.outcomes ?? ''));
  });
});
