// How long one verification takes in this JavaScript engine: `npm run bench`.

import { bench, describe } from 'vitest';
import file from '../../../specs/vectors/proof-bundles.json';
import { ascii, fromHex } from './bytes.js';
import { verify } from './index.js';

const networkKey = fromHex(file.networkKey) ?? new Uint8Array();
const proved = file.cases.filter((entry) => entry.mutants !== undefined);

// A reader verifies one bundle and leaves: the first one is what counts on a phone.
const [first] = proved;
const start = performance.now();
if (first !== undefined) verify(ascii(first.bundle), { networkKey, nowMs: first.nowMs });
console.log(`proof::verify/cold: ${(performance.now() - start).toFixed(1)} ms`);

describe('proof::verify', () => {
  for (const { name, bundle, nowMs } of proved) {
    const bytes = ascii(bundle);
    bench(`proof::verify/bundle=${name}`, () => {
      const { verdict } = verify(bytes, { networkKey, nowMs });
      if (verdict !== 'proved') throw new Error(verdict);
    });
  }
});
