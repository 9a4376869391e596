// Input that nobody honest sends: it is never proved and never throws.

import { expect, test } from 'vitest';
import file from '../../../specs/vectors/proof-bundles.json';
import { ascii, fromHex } from './bytes.js';
import { BUNDLE_BYTES_MAX, MAP_BYTES_MAX, verify } from './index.js';

const networkKey = fromHex(file.networkKey) ?? new Uint8Array();
const good = file.cases[0]?.bundle ?? '';
const nowMs = file.cases[0]?.nowMs ?? 0;

function refused(input: Uint8Array | string): boolean {
  const report = verify(typeof input === 'string' ? ascii(input) : input, { networkKey, nowMs });
  return report.verdict === 'not proved' && report.step === 1 && report.block === undefined;
}

/** A small generator with a fixed seed, so that a failure repeats. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

test('random bytes and random pieces of JSON prove nothing', () => {
  const next = random(7);
  const pieces = ['{', '}', '[', ']', '"', ':', ',', '0x', 'claim', 'kind', ' ', '\\u0041', '1e999', 'null'];
  for (let round = 0; round < 3_000; round++) {
    const length = Math.floor(next() * 200);
    expect(refused(Uint8Array.from({ length }, () => next() * 256))).toBe(true);
    expect(refused(Array.from({ length }, () => pieces[Math.floor(next() * pieces.length)] ?? '').join(''))).toBe(true);
  }
});

test('deep, wide and large input is refused without an overflow', () => {
  expect(refused('['.repeat(BUNDLE_BYTES_MAX))).toBe(true);
  expect(refused(`{"format":${'['.repeat(500_000)}`)).toBe(true);
  expect(refused('{"a":'.repeat(100_000))).toBe(true);
  expect(refused(`{${Array.from({ length: 80_000 }, (_, n) => `"f${n}":""`).join(',')}}`)).toBe(true);
  expect(refused(' '.repeat(BUNDLE_BYTES_MAX + 1))).toBe(true);
  const long = good.replace('"headers":["0x', `"headers":["0x${'00'.repeat(500_000)}`);
  expect(verify(ascii(long), { networkKey, nowMs })).toMatchObject({ verdict: 'not proved', step: 2 });
});

test('16 MiB of small values are refused before they become many times as much memory', () => {
  const full = (piece: string) => {
    const text = `{"format":"keystead-map/1","nodes":[${piece}`;
    return verify(ascii(text.padEnd(MAP_BYTES_MAX, `,${piece}`)), { networkKey, nowMs });
  };
  for (const piece of ['[]', '{}', '""', '{"a":[""]}']) {
    const report = full(piece);
    expect(report).toMatchObject({ verdict: 'not proved', step: 1 });
    expect(report.reason).toMatch(/^too many values at byte \d{1,7}$/);
  }
});

test.each([
  '19283', '"19283"', '"0x04b53"', '"0X4b53"', '"0x4B53"', '"4b53"', '"0x4b53 "', '" 0x4b53"', '"0x"', '""', 'null',
  '"0x10000000000004b53"', '"-0x4b53"', '1e400', '[]', '["0x4b53"]', '{}', '"\\u0030x4b53"',
])('a chain id written as %s is refused', (form) => {
  expect(good).toContain('"chainId":"0x4b53"');
  expect(refused(good.replace('"chainId":"0x4b53"', `"chainId":${form}`))).toBe(true);
});

test('fields twice are refused even if equal', () => {
  expect(refused(good.replace('"chainId":"0x4b53"', '"chainId":"0x4b53","chainId":"0x4b53"'))).toBe(true);
});

test('limits of headers and nodes hold at their edges', () => {
  const step = (field: string, count: number) => {
    const items = Array.from({ length: count }, () => '"0x"').join(',');
    const text = good.replace(new RegExp(`"${field}":\\[[^\\]]*\\]`), `"${field}":[${items}]`);
    return verify(ascii(text), { networkKey, nowMs }).step;
  };
  expect([0, 1, 256, 257].map((count) => step('headers', count))).toEqual([1, 2, 2, 1]);
  expect([0, 65, 66].map((count) => step('accountNodes', count))).toEqual([4, 4, 1]);
});

test('a wrong network key stops at the certificate', () => {
  for (const key of [new Uint8Array(96), new Uint8Array(96).fill(255), new Uint8Array(), fromHex(file.otherNetworkKey)]) {
    const report = verify(ascii(good), { networkKey: key ?? new Uint8Array(), nowMs });
    expect(report).toMatchObject({ verdict: 'not proved', step: 5 });
    expect(report.block).toBeUndefined();
  }
});
