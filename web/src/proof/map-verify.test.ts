// Certificates of maps that are made here, each with one thing wrong: the step at which it ends, and what a good one means.

import { describe, expect, test } from 'vitest';
import { ascii } from './bytes.js';
import { MAP_BYTES_MAX, verify, type Report } from './index.js';
import {
  BLOCK_MS, buildMap, byHash, channelId, goodPlan, inputOf, name, networkKey, stateOf, type MapFile, type MapPlan, type WindowPlan,
} from './map-build.js';

const LATER_MS = BLOCK_MS + 365 * 24 * 3_600_000;

function judge(file: MapFile, nowMs = LATER_MS, maxAgeMs?: number): Report {
  return verify(ascii(JSON.stringify(file)), { networkKey, nowMs, maxAgeMs: maxAgeMs ?? null });
}

/** The good plan with a change, and what comes out. */
function planned(change: (plan: MapPlan) => void): Report {
  const plan = goodPlan();
  change(plan);
  return judge(buildMap(plan));
}

/** The good plan's file with a change, and what comes out. */
function written(change: (file: MapFile) => void): Report {
  const file = structuredClone(good);
  change(file);
  return judge(file);
}

const good = buildMap(goodPlan());

function windowOf(plan: MapPlan, channel: number, window: number): WindowPlan {
  const found = plan.channels[channel]?.windows[window];
  if (found === undefined) throw new Error('no such window');
  return found;
}

/** A change of the first window of the good plan. */
function first(change: Partial<WindowPlan>): (plan: MapPlan) => void {
  return (plan) => Object.assign(windowOf(plan, 0, 0), change);
}

/** A change of the first window as it stands in the file. */
function firstText(change: Partial<{ steps: string; results: string; secret: string }>): (file: MapFile) => void {
  return (file) => Object.assign(file.channels[0]?.windows[0] ?? {}, change);
}

test('a good one is proved, whatever its age, and means what stands there', () => {
  const report = judge(good);
  expect(report).toMatchObject({ verdict: 'proved', step: 7, block: { number: 42n } });
  expect(report.steps.map(({ passed }) => passed)).toEqual(Array.from({ length: 7 }, () => true));
  expect(report.words).toBe(`in block 42, the map of job ${report.map?.job.hash}: 4 units in 8 steps, 2 channels with 3 windows`);
  expect(report.meaning).toEqual([
    'class exact: every machine gives the same bytes, or one is wrong',
    '8 of 8 steps stand in 3 audited windows of 2 providers',
    expect.stringMatching(/^the lot drew \d of 8 steps; a machine drawn by lot for each found 3 right, and none was found wrong$/),
    'one wrong step is looked at with a chance of 50 %, and found with 33.3333 % even if a third of all checkers call it right',
    "at least 12.5 KST of its provider's bond stood behind each window",
    'the customer says: it ran 3 of 8 steps again, and all of them are right',
    'final in block 42',
  ]);
});

test('age and lead have the bounds of all claims, and no greatest age unless one is given', () => {
  expect(judge(good, BLOCK_MS - 60_000)).toMatchObject({ verdict: 'proved' });
  expect(judge(good, BLOCK_MS - 60_001)).toMatchObject({ verdict: 'not proved', step: 6, meaning: [] });
  expect(judge(good, BLOCK_MS + 5_000, 5_000)).toMatchObject({ verdict: 'proved' });
  expect(judge(good, BLOCK_MS + 5_001, 5_000)).toMatchObject({ verdict: 'not proved', step: 6, meaning: [] });
});

describe('what is malformed ends at step 1', () => {
  const cases: [string, (file: MapFile) => void][] = [
    ['a field too many', (file) => { file['more'] = '0x'; }],
    ['a claim', (file) => { file['claim'] = {}; }],
    ['a block that is none', (file) => { file['block'] = '42'; }],
    ['no nodes', (file) => { file.nodes = []; }],
    ['a node twice', (file) => { file.nodes.push(file.nodes.at(-1) ?? ''); }],
    ['nodes in another order', (file) => { file.nodes.reverse(); }],
    ['an empty node', (file) => { file.nodes = byHash([...plain(file.nodes), '']).map((node) => `0x${node}`); }],
    ['a node of 1,025 bytes', (file) => { file.nodes = byHash([...plain(file.nodes), '00'.repeat(1_025)]).map((node) => `0x${node}`); }],
    ['a job of another version', (file) => { file['job'] = String(file['job']).replace(/^(0xf8..)02/, '$103'); }],
    ['no job', (file) => { file['job'] = '0x'; }],
    ['an input too few', (file) => { file['inputs'] = String(file['inputs']).slice(0, -64); }],
    ['a byte of an input too few', (file) => { file['inputs'] = String(file['inputs']).slice(0, -2); }],
    ['a result too many', (file) => { file['results'] = `${String(file['results'])}${'00'.repeat(32)}`; }],
    ['no channels', (file) => { file.channels = []; }],
    ['a channel twice', (file) => { file.channels.splice(1, 0, ...file.channels.slice(0, 1)); }],
    ['channels in another order', (file) => { file.channels.reverse(); }],
    ['a channel that is a string', (file) => { Object.assign(file, { channels: ['0x'] }); }],
    ['a channel with more fields', (file) => { Object.assign(file.channels[0] ?? {}, { number: '0x1' }); }],
    ['a channel number of 31 bytes', (file) => { Object.assign(file.channels[0] ?? {}, { channelId: `0x${'00'.repeat(31)}` }); }],
    ['a window that is a string', (file) => { Object.assign(file.channels[0] ?? {}, { windows: ['0x'] }); }],
    ['a window with more fields', (file) => { Object.assign(file.channels[0]?.windows[0] ?? {}, { units: '0x3' }); }],
    ['a window without steps, but with a secret', firstText({ steps: '0x', results: '0x' })],
    ['a window without steps, but with results', firstText({ steps: '0x', secret: '0x' })],
    ['a window without a secret', firstText({ secret: '0x' })],
    ['a window without results', firstText({ results: '0x' })],
    ['a step that is not whole', firstText({ steps: `0x${'00'.repeat(119)}` })],
    ['a result for no step', firstText({ results: `0x${'00'.repeat(128)}` })],
    ['a signature of 64 bytes', (file) => { file['signature'] = `0x${'00'.repeat(64)}`; }],
    ['an unknown check', (file) => { Object.assign(file['statement'] ?? {}, { check: 'all' }); }],
  ];
  test.each(cases)('%s', (_, change) => {
    const report = written(change);
    expect(report).toMatchObject({ verdict: 'not proved', step: 1, meaning: [] });
    expect(report.block).toBeUndefined();
  });

  test('more windows in all channels, more steps of a window or of the job than there may be', () => {
    const empty = { steps: '0x', results: '0x', secret: '0x' };
    const windows = (count: number) => (file: MapFile) => {
      file.channels.forEach((channel) => { channel.windows = Array.from({ length: count }, () => empty); });
    };
    expect(written(windows(2_048)).step).toBe(4);
    expect(written(windows(2_049)).step).toBe(1);
    const steps = (count: number) => firstText({ steps: `0x${'00'.repeat(40 * count)}`, results: `0x${'00'.repeat(32 * count)}` });
    // That many steps with a right path: what is wrong with them is found at the end.
    expect(written(steps(65_536)).step).toBe(7);
    expect(written(steps(65_537)).step).toBe(1);
    const job = (segments: number) => (plan: MapPlan) => { Object.assign(plan, { units: 2, segments }); };
    expect(planned(job(524_288)).step).toBe(7);
    expect(planned(job(524_289)).step).toBe(1);
  });

  test('a file of 16 MiB is read, one more byte is not, and another format stays below 1 MiB', () => {
    const padded = (length: number, format = 'keystead-map/1') => {
      const text = JSON.stringify({ ...good, format });
      return verify(ascii(text + ' '.repeat(length - text.length)), { networkKey, nowMs: LATER_MS });
    };
    expect(padded(MAP_BYTES_MAX)).toMatchObject({ verdict: 'proved' });
    expect(padded(MAP_BYTES_MAX + 1)).toMatchObject({ verdict: 'not proved', step: 1 });
    const reason = `too large: got_bytes=${1_048_577} max_bytes=${1_048_576}`;
    for (const format of ['keystead-bundle/1', 'keystead-certificate/2', 'keystead-beacon/1', 'keystead-map/2']) {
      expect(padded(1_048_577, format)).toMatchObject({ verdict: 'not proved', step: 1, reason });
    }
  });
});

function plain(nodes: string[]): string[] {
  return nodes.map((node) => node.slice(2));
}

test('another block, header or time ends at steps 2 and 3', () => {
  expect(written((file) => { file['headers'] = ['0xc0']; })).toMatchObject({ verdict: 'not proved', step: 2 });
  expect(written((file) => { file['block'] = '0x2b'; })).toMatchObject({ verdict: 'not proved', step: 3 });
});

describe('what the nodes do not lead to, or the contracts did not write, ends at step 4', () => {
  test('each node is needed, and no other is there', () => {
    good.nodes.forEach((_, at) => {
      expect(written((file) => { file.nodes.splice(at, 1); })).toMatchObject({ verdict: 'not proved', step: 4, meaning: [] });
    });
    expect(planned((plan) => { plan.extraNodes = ['c0']; })).toMatchObject({ verdict: 'not proved', step: 4 });
  });

  test('slots of windows and channels that the file does not list are not led to', () => {
    expect(written((file) => { file.channels.pop(); }).step).toBe(4);
    expect(written((file) => { file.channels[0]?.windows.pop(); }).step).toBe(4);
    expect(written((file) => { file.channels.forEach((channel) => { channel.windows = []; }); }).step).toBe(4);
  });

  /** Sets bits in a word of the good plan's channel 0, or of its first window, by its place in the order of the slots. */
  const set = (where: 'channel' | 'audit', at: number, bit: number) => (plan: MapPlan) => {
    plan.words = (channel, audit) => {
      const words = where === 'channel' ? channel : audit;
      const slot = [...words.keys()][at] ?? '';
      words.set(slot, (words.get(slot) ?? 0n) | (1n << BigInt(bit)));
    };
  };

  test.each([
    ['status 7 of a channel', set('channel', 0, 2)],
    ['audited 3', set('channel', 0, 9)],
    ['the lowest unused bit of its first word', set('channel', 0, 208)],
    ['the highest unused bit of its first word', set('channel', 0, 255)],
    ['a bit above the last claimed window', set('channel', 1, 224)],
    ['a bit above the windows announced', set('channel', 2, 224)],
    ['a bit above the number', set('channel', 3, 224)],
    ['a bit above the bond', set('channel', 5, 128)],
    ['a bit above what was found right', set('audit', 4, 32)],
    ['a bit above the places of the draw', set('audit', 8, 144)],
    ['a status of a window', first({ status: 4n })],
    ['a class of a window', first({ class: 4n })],
    ['a number in place of convicted', first({ convicted: 2n })],
  ])('%s', (_, change) => {
    expect(planned(change)).toMatchObject({ verdict: 'not proved', step: 4, meaning: [] });
  });

  test.each([
    ['the highest status of a channel', (plan: MapPlan) => { Object.assign(plan.channels[0] ?? {}, { status: 5n }); }],
    ['the highest bit of its times', set('channel', 0, 207)],
    ['the highest bits of fee and bond', set('audit', 2, 255)],
    ['the highest bit of the places of the draw', set('audit', 8, 143)],
  ])('%s is what a contract may write', (_, change) => {
    expect(planned(change)).toMatchObject({ verdict: 'proved' });
  });
});

test('a signature of the network over something else ends at step 5', () => {
  const report = written((file) => { Object.assign(file['certificate'] ?? {}, { view: '0x3a' }); });
  expect(report).toMatchObject({ verdict: 'not proved', step: 5 });
  expect(written((file) => { file['chainId'] = '0x4b54'; })).toMatchObject({ verdict: 'not proved', step: 5 });
});

describe('what does not belong together ends at step 7', () => {
  const channel = (change: Partial<MapPlan['channels'][0]>) => (plan: MapPlan) => { Object.assign(plan.channels[0] ?? {}, change); };
  const cases: [string, (plan: MapPlan) => void, RegExp][] = [
    ['inputs of another job', (plan) => { plan.unitsHash = name('other'); }, /inputs are not/],
    ['a job whose hash of inputs has 31 bytes', (plan) => { plan.unitsHash = name('other').slice(2); }, /inputs are not/],
    ['a channel that does not exist', channel({ status: 0n }), /channel 0 does not exist/],
    ['a channel without audit', channel({ audited: 0n }), /channel 0 is not audited/],
    ['a channel of another job', channel({ jobHash: name('other') }), /job of channel 0/],
    ['channels of two customers', (plan) => { Object.assign(plan.channels[1] ?? {}, { customer: 'dd'.repeat(20) }); }, /customer of channel 1/],
    ['a window that is announced and not listed', channel({ announced: 3n }), /windows of channel 0/],
    ['a window that is listed and not announced', channel({ announced: 1n }), /windows of channel 0/],
    ['a window that does not exist', first({ status: 0n }), /window 1 of channel 0 does not exist/],
    ['a window of another provider', first({ provider: 'dd'.repeat(20) }), /provider of window 1/],
    ['a window of another customer', first({ customer: 'dd'.repeat(20) }), /customer of window 1/],
    ['a window of another class', first({ class: 3n }), /class of window 1/],
    ['a window of several segments', first({ segments: 2n }), /segments of window 1/],
    ['a window that names its checkers', first({ named: 1n }), /names its checkers/],
    ['a window of more units than steps', first({ units: 4n }), /steps of window 1/],
    ['another list of steps', first({ canary: name('other') }), /list of steps/],
    ['another commitment', first({ commitment: name('other') }), /commitment of window 1/],
    ['a unit that the job does not have', first({ steps: [{ unit: 4, segment: 0, input: name('x') }] }), /unit=4 segment=0/],
    ['a segment that the job does not have', first({ steps: [{ unit: 3, segment: 2 }] }), /unit=3 segment=2/],
    ['another result of a whole unit', first({ steps: [{ unit: 0, segment: 0 }, { unit: 0, segment: 1, result: name('x') }] }), /result of unit 0/],
    ['the signature of somebody else', (plan) => { plan.key = new Uint8Array(32).fill(2); }, /not signed/],
  ];
  test.each(cases)('%s', (_, change, reason) => {
    const report = planned(change);
    expect(report).toMatchObject({ verdict: 'not proved', step: 7, meaning: [], block: { number: 42n } });
    expect(report.reason).toMatch(reason);
  });

  test('a convicted window that was kept must still be the one that was announced', () => {
    const report = planned(first({ convicted: 1n, status: 3n, canary: name('other') }));
    expect(report).toMatchObject({ verdict: 'not proved', step: 7 });
  });

  test.each([
    ['another result', (file: MapFile) => { file['results'] = flipped(String(file['results'])); }],
    ['other words', (file: MapFile) => { Object.assign(file['statement'] ?? {}, { right: '0x2' }); }],
    ['v of the other point', (file: MapFile) => {
      const signature = String(file['signature']);
      file['signature'] = signature.slice(0, -2) + (signature.endsWith('1b') ? '1c' : '1b');
    }],
    ['the other root of the signature', (file: MapFile) => { file['signature'] = mirrored(String(file['signature'])); }],
  ])('%s than the customer signed', (_, change) => {
    expect(written(change)).toMatchObject({ verdict: 'not proved', step: 7, meaning: [] });
  });
});

function flipped(text: string): string {
  return text.slice(0, -1) + (text.endsWith('0') ? '1' : '0');
}

function mirrored(signature: string): string {
  const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
  const s = (order - BigInt(`0x${signature.slice(66, 130)}`)).toString(16).padStart(64, '0');
  return signature.slice(0, 66) + s + (signature.endsWith('1b') ? '1c' : '1b');
}

describe('what it means', () => {
  const means = (change: (plan: MapPlan) => void): string[] => {
    const report = planned(change);
    expect(report.reason).toBeUndefined();
    return report.meaning;
  };

  test('a window that was not kept, or was convicted, covers nothing', () => {
    // Unit 1 ends in the second window, and began in the first.
    const [covered, rest] = [
      '4 of 8 steps stand in 1 audited window of 1 provider',
      'UNVERIFIED for anybody but its customer: 4 steps stand in no audited window',
    ];
    expect(means(first({ kept: false })).slice(1, 3)).toEqual([covered, rest]);
    const lines = means(first({ convicted: 1n, status: 3n }));
    expect(lines.slice(1, 3)).toEqual([covered, rest]);
    expect(lines).toContain('1 other window was convicted: nothing of it counts here');
    const both = means((plan) => {
      Object.assign(windowOf(plan, 0, 0), { convicted: 1n, status: 3n, kept: false });
      Object.assign(windowOf(plan, 0, 1), { convicted: 1n, status: 1n });
    });
    expect(both.slice(1, 3)).toEqual([covered, rest]);
    expect(both).toContain('2 other windows were convicted: nothing of them counts here');
    // What a window without convictions does not say.
    expect(judge(good).meaning.join()).not.toContain('convicted');
  });

  test('a unit is covered as far as its steps go on from each other', () => {
    // The second segment of unit 0 began with another state: it covers nothing, and the first still does.
    const broken = first({ steps: [{ unit: 0, segment: 0 }, { unit: 0, segment: 1, input: name('x') }, { unit: 1, segment: 0 }] });
    const lines = means(broken);
    expect(lines).toContain('7 of 8 steps stand in 3 audited windows of 2 providers');
    expect(lines).toContain('UNVERIFIED for anybody but its customer: 1 step stands in no audited window');
    // Of two steps of one content the first in the file counts, whatever the second came to.
    const twice = (plan: MapPlan) => { windowOf(plan, 1, 0).steps.push({ unit: 0, segment: 1, result: name('x') }); };
    expect(means(twice)).toContain('8 of 8 steps stand in 3 audited windows of 2 providers');
    const before = (plan: MapPlan) => { windowOf(plan, 0, 0).steps.unshift({ unit: 3, segment: 1, result: name('x') }); };
    expect(planned(before)).toMatchObject({ verdict: 'not proved', step: 7 });
  });

  test('windows that carry nothing say nothing', () => {
    const lines = means((plan) => {
      const channel = { bondWei: 0n, provider: 'dd'.repeat(20) };
      plan.channels.push({ windows: [{ steps: [{ unit: 0, segment: 0 }], status: 1n, ratePpm: 30_000n, unpaid: 5n }], ...channel });
    });
    expect(lines).toEqual(judge(good).meaning);
  });

  test('the lowest terms of the windows that carry are said, and the sums of what was found', () => {
    const lines = means((plan) => {
      Object.assign(plan, { class: 3, outliersPpm: 1_000 });
      Object.assign(windowOf(plan, 0, 0), { checkers: 3n, ratePpm: 1_000_000n, verified: 7n, unpaid: 1n });
      Object.assign(windowOf(plan, 0, 1), { checkers: 2n, ratePpm: 100_000n });
      Object.assign(plan.channels[0] ?? {}, { bondWei: 1_000_000_000_000_000_000n });
      Object.assign(windowOf(plan, 1, 0), { checkers: 5n, drawnAt: 0n });
    });
    expect(lines).toEqual([
      'class tolerance: right means within the tolerance that was ordered; up to 0.1 % of the elements of each output may lie outside',
      '8 of 8 steps stand in 3 audited windows of 2 providers',
      expect.stringMatching(/^the lot drew [34] of 8 steps; 2 machines drawn by lot for each found 9 right, and none was found wrong$/),
      '1 step lay outside the tolerance and is not paid',
      'one wrong step is looked at with a chance of 10 %, and found with 8.8888 % even if a third of all checkers call it right',
      "at least 1 KST of its provider's bond stood behind each window",
      'the customer says: it ran 3 of 8 steps again, and all of them are right',
      'final in block 42',
    ]);
  });

  test('what nobody found right is unverified; windows without a bond, and open ones, are counted', () => {
    const all = (change: Partial<WindowPlan>) => (plan: MapPlan) =>
      plan.channels.forEach((channel) => {
        channel.bondWei = 0n;
        channel.windows.forEach((window) => Object.assign(window, change));
      });
    const lines = means(all({ verified: 0n, status: 1n, drawnAt: 0n, unpaid: 1n }));
    expect(lines).toContain('UNVERIFIED: 0 of 8 steps were drawn, and nobody found one right');
    expect(lines).toContain('3 steps lay outside the tolerance and are not paid');
    expect(lines).toContain('no bond of a provider stood behind 3 of these windows');
    expect(lines.at(-1)).toBe('not final: the audits of 3 windows go on in block 42');
    const one = means((plan) => {
      first({ status: 1n })(plan);
      Object.assign(plan.channels[1] ?? {}, { bondWei: 0n });
    });
    expect(one).toContain('no bond of a provider stood behind 1 of these windows');
    expect(one.at(-1)).toBe('not final: the audit of 1 window goes on in block 42');
  });

  test('steps that cover nothing are not taken for those that do', () => {
    const again = { unit: 0, segment: 1, result: name('x') };
    const line = (verified: bigint, ...more: (typeof again)[]) => means((plan) => {
      plan.channels.forEach(({ windows }) => windows.forEach((window) => Object.assign(window, { verified: 0n })));
      const window = windowOf(plan, 1, 0);
      Object.assign(window, { verified, steps: [...window.steps, ...more] });
    }).find((text) => text.includes('for nothing'));
    const [one, two] = ['1 step of these windows counts', '2 steps of these windows count'];
    const rest = 'for nothing here and may be among those found right';
    expect(line(4n)).toBeUndefined();
    expect(line(2n, again)).toBe(`${one} ${rest}`);
    expect(line(1n, again)).toBe(`UNVERIFIED: ${one} ${rest}`);
    expect(line(3n, again, again)).toBe(`${two} ${rest}`);
    expect(line(2n, again, again)).toBe(`UNVERIFIED: ${two} ${rest}`);
    expect(line(0n, again)).toBeUndefined();
  });

  test('without any window only its customer says something', () => {
    const alone = (kind: number) => means((plan) => {
      Object.assign(plan, { class: kind, channels: [{ windows: [] }] });
      plan.statement = { check: 'none', finding: 'none', checked: '0x0', right: '0x0', ownRatePpm: '0x0' };
    });
    const lines = [
      '0 of 8 steps stand in 0 audited windows of 0 providers',
      'UNVERIFIED for anybody but its customer: 8 steps stand in no audited window',
      'the customer says that it checked nothing itself',
      'final in block 42',
    ];
    expect(alone(1)).toEqual(['class exact: every machine gives the same bytes, or one is wrong', ...lines]);
    expect(alone(5)).toEqual(['class opaque: UNVERIFIED, there is no check for such a result', ...lines]);
  });

  test('the customer says what it looked at in steps', () => {
    const said = (check: string, finding: string) => means((plan) => {
      plan.statement = { check, finding, checked: '0x5', right: '0x4', ownRatePpm: '0x7530' };
    }).at(-2);
    expect(said('sample', 'wrong')).toBe('the customer says: it ran 5 of 8 steps again, 4 are right, and the result is wrong');
    expect(said('checker-program', 'unknown')).toBe(
      "the customer says: the job's checker program looked at 5 of 8 steps, 4 are right, and the rest it could not tell",
    );
  });
});

test('a job of one segment, one unit and one window', () => {
  const report = judge(buildMap({ units: 1, segments: 1, channels: [{ windows: [{ steps: [{ unit: 0, segment: 0 }] }] }] }));
  expect(report.verdict).toBe('proved');
  expect(report.meaning).toContain('1 of 1 steps stand in 1 audited window of 1 provider');
  expect([inputOf(0), stateOf(0, 0), channelId(0)].map((text) => text.length)).toEqual([64, 64, 64]);
});
