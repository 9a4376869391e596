// The certificates of maps of `specs/vectors/map-certificates.json`, and half of their mutants: as the Rust verifier.

import { describe, expect, test } from 'vitest';
import file from '../../../specs/vectors/map-certificates.json';
import { fromHex } from './bytes.js';
import { mutantsEndAsInRust, run } from './certificate-mutants.js';

const networkKey = fromHex(file.networkKey) ?? new Uint8Array();
const otherNetworkKey = fromHex(file.otherNetworkKey) ?? new Uint8Array();

describe('certificates of maps', () => {
  test.each(file.cases)('$name is proved and means the same', (entry) => {
    const report = run(entry.file, entry.nowMs, networkKey);
    expect(report).toMatchObject({ verdict: 'proved', step: 7, words: entry.claim, meaning: entry.meaning });
    expect(report.map).toBeDefined();
    // Under another network's key nothing is proved, so it means nothing.
    expect(run(entry.file, entry.nowMs, otherNetworkKey)).toMatchObject({ verdict: 'not proved', step: 5, meaning: [] });
  });

  test.each(file.refused)('$name is not proved, and Rust stops at the same step', (entry) => {
    expect(run(entry.file, entry.nowMs, networkKey)).toMatchObject({ verdict: 'not proved', step: entry.step, meaning: [] });
  });

  test('white space carries nothing', () => {
    for (const entry of file.cases) {
      const spread = JSON.stringify(JSON.parse(entry.file), null, 2);
      expect(run(spread, entry.nowMs, networkKey)).toMatchObject({ verdict: 'proved', meaning: entry.meaning });
    }
  });
});

mutantsEndAsInRust(file, { part: 0, parts: 2 });
