// How long one verification takes in this JavaScript engine: `npm run bench`. One line per kind of claim, and one for a map, in ms.

import { expect, test } from 'vitest';
import file from '../../../specs/vectors/proof-bundles.json';
import { ascii, fromHex } from './bytes.js';
import { verify } from './index.js';
import { BLOCK_MS, buildMap, networkKey as mapKey, type MapPlan } from './map-build.js';
import { forgetSignatures } from './signature.js';

const ROUNDS = 30;
const MAP_ROUNDS = 5;

/** Eight channels of eight windows of 64 steps: 4,096 units of one segment. */
const LARGE: MapPlan = {
  units: 4_096,
  segments: 1,
  channels: Array.from({ length: 8 }, (_, channel) => ({
    windows: Array.from({ length: 8 }, (_, window) => ({
      steps: Array.from({ length: 64 }, (_, step) => ({ unit: 512 * channel + 64 * window + step, segment: 0 })),
    })),
  })),
};

const networkKey = fromHex(file.networkKey) ?? new Uint8Array();
const proved = file.cases.filter((entry) => entry.mutants !== undefined);

function once(bundle: Uint8Array, nowMs: number, key = networkKey): number {
  forgetSignatures();
  const start = performance.now();
  const { verdict } = verify(bundle, { networkKey: key, nowMs });
  expect(verdict).toBe('proved');
  return performance.now() - start;
}

test('verification time', () => {
  // A reader verifies one bundle and leaves: the first one is what counts on a phone.
  const [first] = proved;
  if (first !== undefined) console.log(`proof::verify/cold ${once(ascii(first.bundle), first.nowMs).toFixed(1)} ms`);
  for (const { name, bundle, nowMs } of proved) {
    const bytes = ascii(bundle);
    say(`bundle=${name}`, bytes, Array.from({ length: ROUNDS }, () => once(bytes, nowMs)));
  }
  const map = ascii(JSON.stringify(buildMap(LARGE)));
  say('map=64-windows', map, Array.from({ length: MAP_ROUNDS }, () => once(map, BLOCK_MS, mapKey)));
});

function say(what: string, bytes: Uint8Array, times: number[]): void {
  times.sort((a, b) => a - b);
  const at = (percent: number) => (times[Math.floor((percent * (times.length - 1)) / 100)] ?? 0).toFixed(2);
  console.log(`proof::verify/${what} ${at(50)} (${at(10)} .. ${at(90)}), ${bytes.length} bytes`);
}
