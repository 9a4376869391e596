// How long one verification takes in this JavaScript engine: `npm run bench`. One line per kind of claim, milliseconds.

import { expect, test } from 'vitest';
import file from '../../../specs/vectors/proof-bundles.json';
import { ascii, fromHex } from './bytes.js';
import { verify } from './index.js';
import { forgetSignatures } from './signature.js';

const ROUNDS = 30;
const networkKey = fromHex(file.networkKey) ?? new Uint8Array();
const proved = file.cases.filter((entry) => entry.mutants !== undefined);

function once(bundle: Uint8Array, nowMs: number): number {
  forgetSignatures();
  const start = performance.now();
  const { verdict } = verify(bundle, { networkKey, nowMs });
  expect(verdict).toBe('proved');
  return performance.now() - start;
}

test('verification time', () => {
  // A reader verifies one bundle and leaves: the first one is what counts on a phone.
  const [first] = proved;
  if (first !== undefined) console.log(`proof::verify/cold ${once(ascii(first.bundle), first.nowMs).toFixed(1)} ms`);
  for (const { name, bundle, nowMs } of proved) {
    const bytes = ascii(bundle);
    const times = Array.from({ length: ROUNDS }, () => once(bytes, nowMs)).sort((a, b) => a - b);
    const at = (percent: number) => (times[Math.floor((percent * (ROUNDS - 1)) / 100)] ?? 0).toFixed(2);
    console.log(`proof::verify/bundle=${name} ${at(50)} (${at(10)} .. ${at(90)}), ${bytes.length} bytes`);
  }
});
