// Outputs against what is proved of them: the cases of `chain/proof/src/outputs.rs`, and what reports of both kinds bind.

import { describe, expect, test } from 'vitest';
import file from '../../../specs/vectors/result-certificates.json';
import { ascii, fromHex } from './bytes.js';
import { compareResults, describeDifference, outputName, resultRoot, verify, type Report, type Results } from './index.js';
import { BLOCK_MS, buildMap, goodPlan, networkKey, stateOf, type MapPlan } from './map-build.js';
import { UNITS_MAX } from './outputs.js';

const OUTPUTS = ['a', 'b', 'c'].map(ascii);
const [a = '', b = '', c = ''] = OUTPUTS.map(outputName);

function judge(plan: MapPlan, key: Uint8Array = networkKey): Report {
  const reader = { networkKey: key, nowMs: BLOCK_MS + 1_000 };
  return verify(ascii(JSON.stringify(buildMap(plan))), reader);
}

describe('of an order', () => {
  const results: Results = { kind: 'root', root: resultRoot(OUTPUTS), units: 3 };

  test('all outputs are equal, or nothing is said of any', () => {
    expect(compareResults(results, [a, b, c])).toEqual({ units: 3, equal: 3, uncovered: 0, differences: [] });
    const got = resultRoot(['a', 'a', 'c'].map(ascii));
    const differing = compareResults(results, [a, a, c]);
    expect(differing).toEqual({ units: 3, equal: 0, uncovered: 0, differences: [{ kind: 'root', got, expected: results.root }] });
    expect(differing.differences.map(describeDifference)).toEqual([
      `at least one output is another, and an order's certificate does not tell which: got=${got} expected=${results.root}`,
    ]);
    // The order counts.
    expect(compareResults(results, [b, a, c]).equal).toBe(0);
  });

  test('one that is missing leaves the others unknown, and one too many does not', () => {
    expect(compareResults(results, [a, undefined])).toEqual({
      units: 3,
      equal: 0,
      uncovered: 0,
      differences: [{ kind: 'missing', unit: 1 }, { kind: 'missing', unit: 2 }],
    });
    const more = compareResults(results, [a, b, c, c]);
    expect(more).toMatchObject({ equal: 3, differences: [{ kind: 'additional', got: 4, expected: 3 }] });
    expect(more.differences.map(describeDifference)).toEqual(['there are more outputs than units: got=4 expected=3']);
  });

  test('of several segments they are equal with the lists of their states, and never without', () => {
    const parts = [...OUTPUTS, ...['list of a', 'list of b', 'list of c'].map(ascii)];
    const names = parts.map(outputName);
    const listed: Results = { kind: 'root', root: resultRoot(parts), units: 3 };
    expect(compareResults(listed, names)).toEqual({ units: 3, equal: 3, uncovered: 0, differences: [] });
    const [, , , first = '', second = '', third = ''] = names;
    for (const other of [names.slice(0, 3), names.slice(0, 5), [a, b, b, first, second, third], [a, b, c, first, third, second], [...names, a]]) {
      const { equal, differences } = compareResults(listed, other);
      expect(equal).toBe(0);
      expect(differences.length).toBeGreaterThan(0);
    }
  });

  test('a name of another length is none, so no two of them stand in the place of one', () => {
    const found = compareResults(results, [`${a}${b.slice(2)}`, '0x', c]);
    expect(found).toMatchObject({ equal: 0, differences: [{ kind: 'missing', unit: 0 }, { kind: 'missing', unit: 1 }] });
  });

  test('a job of more units than there can be is refused before anything is held', () => {
    expect(() => compareResults({ ...results, units: UNITS_MAX + 1 }, [])).toThrow('max=1048576');
    expect(compareResults({ ...results, units: 2 }, []).differences).toHaveLength(2);
  });
});

describe('of a map', () => {
  test('outputs are told one by one, with what only the customer says', () => {
    const outputs = [{ name: a, isCovered: true }, { name: b, isCovered: false }, { name: c, isCovered: true }];
    const results: Results = { kind: 'names', outputs };
    expect(compareResults(results, [a, b, c])).toEqual({ units: 3, equal: 3, uncovered: 1, differences: [] });
    const found = compareResults(results, [a, c, undefined, undefined]);
    expect(found).toMatchObject({ units: 3, equal: 1, uncovered: 0 });
    expect(found.differences.map(describeDifference)).toEqual([
      `the output of unit 1 is another: got=${c} expected=${b}`,
      'the output of unit 2 is missing, or not whole',
      'there are more outputs than units: got=4 expected=3',
    ]);
  });

  test('a proved one binds each of them and says which of them its windows lead to', () => {
    const plan = goodPlan();
    const names = [0, 1, 2, 3].map((unit) => `0x${stateOf(unit, 1)}`);
    const all = { kind: 'names', outputs: names.map((name) => ({ name, isCovered: true })) };
    expect(judge(plan).results).toEqual(all);
    // Without the window that ends unit 1.
    Object.assign(plan.channels[0]?.windows[1] ?? {}, { kept: false });
    const report = judge(plan);
    expect(report.verdict).toBe('proved');
    expect(report.results).toEqual({ ...all, outputs: names.map((name, unit) => ({ name, isCovered: unit !== 1 })) });
    expect(report.results && compareResults(report.results, names)).toMatchObject({ equal: 4, uncovered: 1, differences: [] });
    const foreign = judge(plan, fromHex(file.networkKey));
    expect(foreign.verdict).toBe('not proved');
    expect(foreign.results).toBeUndefined();
  });
});

test('every proved order with a result binds its root, a stopped one for the units that are done', () => {
  const key = fromHex(file.networkKey) ?? new Uint8Array();
  const parts: [string, number][] = [];
  for (const { name, file: text, nowMs } of file.cases) {
    const report = verify(ascii(text), { networkKey: key, nowMs });
    const { claim } = report;
    if (claim?.kind !== 'job-result' && claim?.kind !== 'job-audit') throw new Error('not about an order');
    const { resultRoot: root, units, doneUnits } = claim.order;
    if (doneUnits !== 0n) parts.push([name, Number(doneUnits)]);
    const isDelivered = !/^0x0+$/.test(root);
    expect(report.results).toEqual(isDelivered ? { kind: 'root', root, units: Number(doneUnits || units) } : undefined);
  }
  expect(parts).toEqual([['certificate-stopped', 40]]);
  expect(file.cases.length).toBeGreaterThan(3);
});
