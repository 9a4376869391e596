// Whether the windows of a map say what its customer shows: the last step of a certificate of a map.
// Spec: specs/0002-proof-bundle.md §12.

import { keccak_256 } from '@noble/hashes/sha3.js';
import { ascii, concat, equal, fromHex, toHex, toWord } from './bytes.js';
import { recover, statementBytes, type CustomerStatement, type Job } from './certificate.js';
import { Refused } from './json.js';
import { hashList, NAME_BYTES, STEP_BYTES, type MapCertificate, type MapWindow } from './map.js';
import { addressText, type ChannelWords, type FoundChannel, type WindowWords } from './map-words.js';

/** A window that carries: a step of it covers something. */
export interface Carrier {
  window: WindowWords;
  /** Steps in it. */
  steps: number;
}

/** What the windows of a map are worth for its results. */
export interface Covered {
  /** Steps of the job, and those that stand in windows. */
  steps: number;
  covered: number;
  /** Of each unit, whether all of its segments are covered. */
  whole: boolean[];
  /** In the order of the file. */
  carriers: Carrier[];
  /** Windows that were convicted, kept or not. */
  convicted: number;
}

/** Checks all of a map against what its block holds. Throws `Refused`. */
export function checkMap(map: MapCertificate, found: FoundChannel[]): Covered {
  const { job, inputs } = map;
  if (job.unitsHash === undefined || !equal(hashList(inputs), job.unitsHash)) {
    throw new Refused("the inputs are not the job's: their hash is another");
  }
  const customer = found[0]?.channel.customer ?? '';
  found.forEach((channel, at) => checkChannel(job, customer, channel, `channel ${at}`));
  const covered = cover(map, found);
  if (recover(map.signature, statementDigest(map)) !== customer) {
    throw new Refused("the statement about the check is not signed by the channels' customer");
  }
  return covered;
}

function checkChannel(job: Job, customer: string, { channel, windows }: FoundChannel, name: string): void {
  if (channel.status === 0n) throw new Refused(`${name} does not exist`);
  if (!channel.isAudited) throw new Refused(`${name} is not audited`);
  same(`job of ${name}`, channel.jobHash, job.hash);
  same(`customer of ${name}`, channel.customer, customer);
  same(`windows of ${name}`, channel.announced, BigInt(windows.length));
  windows.forEach((window, at) => checkWindow(job, channel, window, `window ${at + 1} of ${name}`));
}

function checkWindow(job: Job, channel: ChannelWords, { audit, commitment, canary, kept }: WindowWords, name: string): void {
  if (audit.windowStatus === 0n) throw new Refused(`${name} does not exist`);
  same(`provider of ${name}`, addressText(audit.windowProvider), channel.provider);
  same(`customer of ${name}`, addressText(audit.windowCustomer), channel.customer);
  same(`class of ${name}`, audit.class, job.class);
  same(`segments of ${name}`, audit.segments, 1n);
  if (audit.named !== 0n) throw new Refused(`${name} names its checkers`);
  if (kept === undefined) return;
  same(`steps of ${name}`, audit.windowUnits, BigInt(stepCount(kept)));
  same(`list of steps of ${name}`, toHex(canary), toHex(hashList(kept.steps)));
  same(`commitment of ${name}`, toHex(commitment), toHex(commitmentOf(kept.results, kept.secret)));
  const view = new DataView(kept.steps.buffer, kept.steps.byteOffset, kept.steps.length);
  for (let at = 0; at < kept.steps.length; at += STEP_BYTES) {
    const [unit, segment] = [view.getUint32(at), view.getUint32(at + 4)];
    if (BigInt(unit) >= job.units || BigInt(segment) >= job.segments) {
      throw new Refused(`${name} has a step that the job does not have: unit=${unit} segment=${segment}`);
    }
  }
}

function same(what: string, certified: string | bigint, shown: string | bigint): void {
  if (certified !== shown) throw new Refused(`not what is shown: ${what} certified=${certified} shown=${shown}`);
}

function stepCount(window: MapWindow): number {
  return window.steps.length / STEP_BYTES;
}

/** The commitment over results of 32 bytes each and the salts of a secret (specs/0003-job.md §4). Costs three hashes a result. */
export function commitmentOf(results: Uint8Array, secret: Uint8Array): Uint8Array {
  let level: Uint8Array[] = [];
  for (let at = 0; at < results.length; at += NAME_BYTES) {
    const index = toWord(BigInt(at / NAME_BYTES)).subarray(28);
    const salt = keccak_256(concat(secret, index));
    level.push(keccak_256(concat(Uint8Array.of(0), index, salt, results.subarray(at, at + NAME_BYTES))));
  }
  while (level.length > 1) level = nextLevel(level);
  return level[0] ?? new Uint8Array();
}

/** Pairs neighbours from the left; a last one without a neighbour stays as it is. */
function nextLevel(level: Uint8Array[]): Uint8Array[] {
  const next: Uint8Array[] = [];
  for (let at = 0; at < level.length; at += 2) {
    const [left = new Uint8Array(), right] = level.slice(at, at + 2);
    next.push(right === undefined ? left : keccak_256(concat(Uint8Array.of(1), left, right)));
  }
  return next;
}

/** A step of a window that counts. */
interface Source {
  window: WindowWords;
  /** The name of the state after it. */
  result: Uint8Array;
}

/** Goes through all units from their inputs on, as far as steps cover them. Throws `Refused` if a covered unit ends elsewhere. */
function cover({ job, inputs, results }: MapCertificate, found: FoundChannel[]): Covered {
  const windows = found.flatMap((channel) => channel.windows);
  const steps = stepsByContent(windows);
  const carrying = new Set<WindowWords>();
  const [units, segments] = [Number(job.units), Number(job.segments)];
  let covered = 0;
  const whole: boolean[] = [];
  for (let unit = 0; unit < units; unit++) {
    const at = unit * NAME_BYTES;
    let state = inputs.subarray(at, at + NAME_BYTES);
    let segment = 0;
    for (; segment < segments; segment++) {
      const step = steps.get(contentOf(unit, segment, state));
      if (step === undefined) break;
      carrying.add(step.window);
      state = step.result;
    }
    covered += segment;
    whole.push(segment === segments);
    if (segment === segments && !equal(state, results.subarray(at, at + NAME_BYTES))) {
      throw new Refused(`the result of unit ${unit} is not what its steps came to: ${toHex(state)}`);
    }
  }
  const carriers = windows.flatMap((window) =>
    window.kept !== undefined && carrying.has(window) ? [{ window, steps: stepCount(window.kept) }] : [],
  );
  return { steps: units * segments, covered, whole, carriers, convicted: windows.filter(isConvicted).length };
}

function isConvicted({ audit }: WindowWords): boolean {
  return audit.convicted === 1n;
}

/** The first step of each content in the windows that count: those that were kept and not convicted. */
function stepsByContent(windows: WindowWords[]): Map<string, Source> {
  const steps = new Map<string, Source>();
  for (const window of windows) {
    const { kept } = window;
    if (kept === undefined || isConvicted(window)) continue;
    for (let step = 0; step < stepCount(kept); step++) {
      const content = latin1(kept.steps.subarray(step * STEP_BYTES, (step + 1) * STEP_BYTES));
      if (steps.has(content)) continue;
      steps.set(content, { window, result: kept.results.subarray(step * NAME_BYTES, (step + 1) * NAME_BYTES) });
    }
  }
  return steps;
}

/** A step as it stands in a list (specs/0009-channel.md §6.1), one character a byte. */
function contentOf(unit: number, segment: number, input: Uint8Array): string {
  const head = new Uint8Array(8);
  const view = new DataView(head.buffer);
  view.setUint32(0, unit);
  view.setUint32(4, segment);
  return latin1(head) + latin1(input);
}

function latin1(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}

/** What the customer signs. */
export function statementDigest({ chainId, job, results, statement }: Signed): Uint8Array {
  return keccak_256(
    concat(
      ascii('keystead/map-statement/v1'),
      toWord(chainId).subarray(24),
      fromHex(job.hash) ?? new Uint8Array(),
      hashList(results),
      statementBytes(statement),
    ),
  );
}

/** What a statement about a map says, and about what. */
export interface Signed {
  chainId: bigint;
  job: Job;
  results: Uint8Array;
  statement: CustomerStatement;
}
