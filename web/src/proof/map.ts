// The certificate of a map: windows of audited channels in one block, their steps, and how these make a job's results.
// Spec: specs/0002-proof-bundle.md §12.

import { blake3 } from '@noble/hashes/blake3.js';
import { toHex } from './bytes.js';
import { readJob, readStatement, type CustomerStatement, type Job } from './certificate.js';
import { readCertified, type Certified } from './claim.js';
import { Fields, Refused, wrong } from './json.js';
import { named, type NamedNode } from './trie.js';

/** Value of the field `format`. */
export const MAP_FORMAT = 'keystead-map/1';

/** Most channels, and most windows of all channels together. */
export const MAP_CHANNELS_MAX = 1_024;
export const MAP_WINDOWS_MAX = 4_096;

/** Most trie nodes, and most bytes of one. */
export const MAP_NODES_MAX = 65_536;
const NODE_BYTES_MAX = 1_024;

/** Most steps of a window, and of the job. */
const WINDOW_STEPS_MAX = 65_536;
const JOB_STEPS_MAX = 1_048_576n;

/** Bytes of a step in the list of a window: unit, segment, and what it began with. */
export const STEP_BYTES = 40;
/** Bytes of a blob's name. */
export const NAME_BYTES = 32;

/** A window of a channel as its customer kept it. */
export interface MapWindow {
  /** The list of steps (specs/0009-channel.md §6.1), 40 bytes each. */
  steps: Uint8Array;
  /** Names of the states after the steps, 32 bytes each. */
  results: Uint8Array;
  /** 32 bytes, from which the salts of the commitment follow. */
  secret: Uint8Array;
}

/** A channel by its number, and all windows that were announced in it, in order; `undefined` stands for one that was not kept. */
export interface MapChannel {
  id: Uint8Array;
  windows: (MapWindow | undefined)[];
}

/** The certificate of a map that is well formed. Nothing in it is verified. */
export interface MapCertificate extends Certified {
  /** Number of the block that all of it is about. */
  block: bigint;
  /** Trie nodes in ascending order of their hashes. */
  nodes: NamedNode[];
  job: Job;
  /** Names of the unit inputs in unit order, 32 bytes each; `results` those of the outputs. */
  inputs: Uint8Array;
  results: Uint8Array;
  channels: MapChannel[];
  statement: CustomerStatement;
  /** `r || s || v`. */
  signature: Uint8Array;
}

/** Reads the fields after `format`. They are hostile; throws `Refused` if they are none. Costs a hash a node. */
export function readMap(fields: Fields): MapCertificate {
  const certified = readCertified(fields);
  const block = fields.number('block');
  const job = readJob(fields.bytes('job')) ?? wrong('job', 'a job spec as specs/0003-job.md has it');
  if (job.units * job.segments > JOB_STEPS_MAX) wrong('job', `a job of at most ${JOB_STEPS_MAX} steps`);
  const names = (name: string): Uint8Array => {
    const bytes = fields.bytes(name);
    return bytes.length === Number(job.units) * NAME_BYTES ? bytes : wrong(name, 'a name of 32 bytes for each unit');
  };
  const [inputs, results] = [names('inputs'), names('results')];
  const channels = readChannels(fields);
  const statement = readStatement(fields.object('statement'));
  const signature = fields.fixed('signature', 65);
  const nodes = readNodes(fields);
  fields.close();
  return { ...certified, block, nodes, job, inputs, results, channels, statement, signature };
}

function readChannels(fields: Fields): MapChannel[] {
  const objects = fields.array('channels', MAP_CHANNELS_MAX);
  if (objects.length === 0) wrong('channels', 'an array of at least one channel');
  const channels = objects.map((object) =>
    readChannel(object instanceof Fields ? object : wrong('channels', 'an array of objects')),
  );
  if (windowCount(channels) > MAP_WINDOWS_MAX) wrong('windows', `at most ${MAP_WINDOWS_MAX} windows in all channels`);
  const ids = channels.map(({ id }) => toHex(id));
  // Otherwise one map would have many files.
  const ascend = ids.every((id, at) => at === 0 || (ids[at - 1] ?? id) < id);
  return ascend ? channels : wrong('channels', 'in ascending order of their numbers, none twice');
}

/** Windows of all of them together. */
export function windowCount(channels: MapChannel[]): number {
  return channels.reduce((sum, { windows }) => sum + windows.length, 0);
}

function readChannel(fields: Fields): MapChannel {
  const id = fields.fixed('channelId', 32);
  const windows = fields.array('windows', MAP_WINDOWS_MAX).map((window) =>
    readWindow(window instanceof Fields ? window : wrong('windows', 'an array of objects')),
  );
  fields.close();
  return { id, windows };
}

function readWindow(fields: Fields): MapWindow | undefined {
  const [steps, results, secret] = [fields.bytes('steps'), fields.bytes('results'), fields.bytes('secret')];
  fields.close();
  if (steps.length + results.length + secret.length === 0) return undefined;
  const count = steps.length / STEP_BYTES;
  if (!Number.isInteger(count) || count < 1 || count > WINDOW_STEPS_MAX) {
    wrong('steps', `1 to ${WINDOW_STEPS_MAX} steps of ${STEP_BYTES} bytes`);
  }
  if (results.length !== count * NAME_BYTES) wrong('results', 'a name of 32 bytes for each step');
  if (secret.length !== 32) wrong('secret', '32 bytes');
  return { steps, results, secret };
}

function readNodes(fields: Fields): NamedNode[] {
  const list = fields.list('nodes', MAP_NODES_MAX);
  if (list.length === 0) wrong('nodes', 'an array of at least one node');
  let last = '';
  return list.map((bytes, at) => {
    if (bytes.length === 0 || bytes.length > NODE_BYTES_MAX) wrong('nodes', `nodes of 1 to ${NODE_BYTES_MAX} bytes`);
    const node = named(bytes);
    if (node.name <= last) throw new Refused(`nodes are not in ascending order of their hashes, or one stands twice: node=${at}`);
    last = node.name;
    return node;
  });
}

/** `hash_list` of names that follow each other (specs/0003-job.md §1). */
export function hashList(names: Uint8Array): Uint8Array {
  return blake3(names);
}

/** What it is about, in words, true or not. */
export function describeMap({ block, job, channels }: MapCertificate): string {
  return (
    `in block ${block}, the map of job ${job.hash}: ${job.units} units in ${job.units * job.segments} steps, ` +
    `${channels.length} channels with ${windowCount(channels)} windows`
  );
}
