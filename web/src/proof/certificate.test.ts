// The result certificates and audited orders of `specs/vectors/result-certificates.json`, and their mutants: as the Rust verifier.

import { sha256 } from '@noble/hashes/sha2.js';
import { describe, expect, test } from 'vitest';
import file from '../../../specs/vectors/result-certificates.json';
import { ascii, fromHex, toHex } from './bytes.js';
import { verify, type Report } from './index.js';
import { mutants } from './mutants.js';

const networkKey = fromHex(file.networkKey) ?? new Uint8Array();
const otherNetworkKey = fromHex(file.otherNetworkKey) ?? new Uint8Array();

function run(text: string, nowMs: number, key = networkKey): Report {
  return verify(ascii(text), { networkKey: key, nowMs });
}

function outcome(report: Report): string {
  if (report.verdict === 'proved') return 'P';
  return report.verdict === 'proved false' ? 'F' : String(report.step);
}

function expand(runs: string): string {
  return runs.replace(/(\d+)x(.) ?/g, (_, count: string, outcome: string) => outcome.repeat(Number(count)));
}

describe('result certificates', () => {
  test.each(file.cases)('$name is proved and means the same', (entry) => {
    const report = run(entry.file, entry.nowMs);
    expect(report).toMatchObject({ verdict: 'proved', step: 7, words: entry.claim, meaning: entry.meaning });
    // Under another network's key nothing is proved, so it means nothing.
    expect(run(entry.file, entry.nowMs, otherNetworkKey)).toMatchObject({ verdict: 'not proved', meaning: [] });
  });

  test('white space carries nothing', () => {
    for (const entry of file.cases) {
      const spread = JSON.stringify(JSON.parse(entry.file), null, 2);
      expect(run(spread, entry.nowMs)).toMatchObject({ verdict: 'proved', meaning: entry.meaning });
    }
  });
});

describe('mutants', () => {
  test.each(file.cases.filter((entry) => 'mutants' in entry))('of $name end as in Rust', (entry) => {
    const { changed, truncated } = mutants(entry.file, []);
    const digest = sha256.create();
    let outcomes = '';
    const judge = (text: string, key: Uint8Array) => {
      digest.update(ascii(`${text}\n`));
      outcomes += outcome(run(text, entry.nowMs, key));
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
