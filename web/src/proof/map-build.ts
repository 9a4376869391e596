// Certificates of maps made from nothing: a trie, a header, a network and a customer of their own. Only tests use it.
//
// It takes nothing from the verifier but how bytes are written: slots, commitments and what is signed are made here once more.

import { bls12_381 } from '@noble/curves/bls12-381.js';
import { secp256k1 } from '@noble/curves/secp256k1.js';
import { blake3 } from '@noble/hashes/blake3.js';
import { keccak_256 } from '@noble/hashes/sha3.js';
import { ascii, concat, fromHex, toHex } from './bytes.js';

const CHAIN_ID = 0x4b53;
const BLOCK = 42;
export const BLOCK_MS = 1_795_000_000_123;
const DST = 'BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_';
const CHANNEL = '4b53540000000000000000000000000000000006';
const AUDIT = '4b53540000000000000000000000000000000005';

const network = bls12_381.shortSignatures.keygen(new Uint8Array(48).fill(7));
export const networkKey = network.publicKey.toBytes(true);

/** The key of the customer, and the accounts of all. */
const customerKey = new Uint8Array(32).fill(1);
const customer = toHex(keccak_256(secp256k1.getPublicKey(customerKey, false).subarray(1))).slice(26);

/** A step of a window; without more it goes on from the state before. */
export interface StepPlan {
  unit: number;
  segment: number;
  input?: string;
  result?: string;
}

/** A window and what the audit says of it; all has a default. */
export interface WindowPlan {
  steps: StepPlan[];
  kept?: boolean;
  status?: bigint;
  class?: bigint;
  checkers?: bigint;
  ratePpm?: bigint;
  units?: bigint;
  provider?: string;
  customer?: string;
  unpaid?: bigint;
  convicted?: bigint;
  segments?: bigint;
  verified?: bigint;
  named?: bigint;
  drawnAt?: bigint;
  /** In place of what the steps give, and what is written into the file. */
  commitment?: string;
  canary?: string;
}

export interface ChannelPlan {
  windows: WindowPlan[];
  /** The provider, 20 bytes without `0x`. */
  provider?: string;
  customer?: string;
  status?: bigint;
  audited?: bigint;
  announced?: bigint;
  jobHash?: string;
  /** Behind each of its windows. */
  bondWei?: bigint;
}

export interface MapPlan {
  channels: ChannelPlan[];
  class?: number;
  units?: number;
  segments?: number;
  outliersPpm?: number;
  unitsHash?: string;
  statement?: { check: string; finding: string; checked: string; right: string; ownRatePpm: string };
  /** Changes words by their slot in `Channel` and the audit, 64 digits, before the trie is made of them. */
  words?: (channel: Words, audit: Words) => void;
  /** Nodes that no path needs. */
  extraNodes?: string[];
  /** The customer's key. */
  key?: Uint8Array;
}

type Words = Map<string, bigint>;

/** A plan that is good: two channels, four units of two segments, all of them in windows that were closed. */
export function goodPlan(): MapPlan {
  const run = (...steps: [number, number][]) => steps.map(([unit, segment]) => ({ unit, segment }));
  return {
    channels: [
      { windows: [{ steps: run([0, 0], [0, 1], [1, 0]) }, { steps: run([1, 1]) }] },
      { windows: [{ steps: run([2, 0], [3, 0], [2, 1], [3, 1]) }], provider: 'bb'.repeat(20) },
    ],
    units: 4,
    segments: 2,
  };
}

export function name(text: string): string {
  return hex(blake3(ascii(text)));
}

/** In ascending order. */
export function channelId(at: number): string {
  return be(at + 1, 2) + name(`channel ${at}`).slice(4);
}

export function inputOf(unit: number): string {
  return name(`input ${unit}`);
}

export function stateOf(unit: number, segment: number): string {
  return name(`state ${unit} ${segment}`);
}

/** The file as an object, before it is written: tests change it as they like. */
export interface MapFile {
  [field: string]: unknown;
  nodes: string[];
  channels: { channelId: string; windows: { steps: string; results: string; secret: string }[] }[];
}

/** Makes the certificate that a plan says. */
export function buildMap(plan: MapPlan): MapFile {
  const { units = 4, segments = 2 } = plan;
  const range = Array.from({ length: units }, (_, unit) => unit);
  const inputs = range.map(inputOf).join('');
  const results = range.map((unit) => stateOf(unit, segments - 1)).join('');
  const job = jobBytes(plan, inputs);
  const jobHash = keccak(hex(ascii('keystead/job/v2')) + hex(job));
  const [channelWords, auditWords]: [Words, Words] = [new Map(), new Map()];
  const channels = plan.channels.map((channel, at) => {
    const id = channelId(at);
    putChannel(channelWords, id, channel, at + 1, jobHash);
    const windows = channel.windows.map((window, before) => {
      const file = windowFile(window, at, before);
      putWindow(auditWords, { window, channel, number: at + 1, w: before + 1, kind: plan.class ?? 1, file });
      return window.kept === false ? { steps: '0x', results: '0x', secret: '0x' } : prefixed(file);
    });
    return { channelId: `0x${id}`, windows };
  });
  plan.words?.(channelWords, auditWords);
  const { root, nodes } = stateOfWords(channelWords, auditWords);
  const header = headerBytes(root);
  const statement = plan.statement ?? { check: 'sample', finding: 'right', checked: '0x3', right: '0x3', ownRatePpm: '0x7530' };
  return {
    format: 'keystead-map/1',
    chainId: quantity(CHAIN_ID),
    certificate: certify(header),
    headers: [toHex(header)],
    block: quantity(BLOCK),
    nodes: byHash([...nodes, ...(plan.extraNodes ?? [])]).map((node) => `0x${node}`),
    job: toHex(job),
    inputs: `0x${inputs}`,
    results: `0x${results}`,
    channels,
    statement,
    signature: sign(plan.key ?? customerKey, statementHash(jobHash, results, statement)),
  };
}

/** Nodes, without `0x`, in ascending order of their hashes. */
export function byHash(nodes: string[]): string[] {
  return nodes.map((node) => [keccak(node), node] as const).sort(([a], [b]) => (a < b ? -1 : 1)).map(([, node]) => node);
}

function prefixed({ steps, results, secret }: WindowText): WindowText {
  return { steps: `0x${steps}`, results: `0x${results}`, secret: `0x${secret}` };
}

interface WindowText {
  steps: string;
  results: string;
  secret: string;
}

function windowFile({ steps }: WindowPlan, channel: number, window: number): WindowText {
  const inputs = steps.map(({ unit, segment, input }) =>
    input ?? (segment === 0 ? inputOf(unit) : stateOf(unit, segment - 1)),
  );
  return {
    steps: steps.map(({ unit, segment }, at) => be(unit, 4) + be(segment, 4) + inputs[at]).join(''),
    results: steps.map(({ unit, segment, result }) => result ?? stateOf(unit, segment)).join(''),
    secret: name(`secret ${channel} ${window}`),
  };
}

/** The tree of specs/0003-job.md §4 by its definition: level by level, the last one carried. */
export function commitment(results: string, secret: string): string {
  const leaves = (results.match(/.{64}/g) ?? []).map((result, at) =>
    keccak(`00${be(at, 4)}${keccak(secret + be(at, 4))}${result}`),
  );
  const up = (level: string[]): string[] =>
    level.length <= 1
      ? level
      : up(level.flatMap((node, at) => {
          if (at % 2 === 1) return [];
          const right = level[at + 1];
          return [right === undefined ? node : keccak(`01${node}${right}`)];
        }));
  return up(leaves)[0] ?? '';
}

function putChannel(words: Words, id: string, plan: ChannelPlan, number: number, jobHash: string): void {
  const base = BigInt(`0x${keccak(id + be(1, 32))}`);
  const put = (word: bigint, value: bigint) => words.set(slotText(base + word), value);
  const at = (value: number | bigint, byte: number) => BigInt(value) << BigInt(8 * byte);
  put(0n, at(plan.status ?? 3n, 0) | at(plan.audited ?? 1n, 1) | at(1_794_990_000, 2) | at(1_795_990_000, 7) | at(3_600, 22));
  put(3n, address(plan.customer ?? customer) | at(1, 20));
  put(4n, address(plan.provider ?? 'aa'.repeat(20)) | at(plan.announced ?? plan.windows.length, 20));
  put(5n, address('cc'.repeat(20)) | at(number, 20));
  const terms = BigInt(`0x${keccak(id + be(3, 32))}`);
  words.set(slotText(terms), BigInt(`0x${plan.jobHash ?? jobHash}`));
  words.set(slotText(terms + 3n), bondOf(plan));
}

function bondOf(plan: ChannelPlan): bigint {
  return plan.bondWei ?? 12_500_000_000_000_000_000n;
}

interface Announced {
  window: WindowPlan;
  channel: ChannelPlan;
  number: number;
  w: number;
  kind: number;
  file: WindowText;
}

function putWindow(words: Words, { window, channel, number, w, kind, file }: Announced): void {
  const id = keccak(hex(ascii('keystead/window/v1')) + CHANNEL + be(number, 32) + be(w, 8));
  const base = BigInt(`0x${keccak(id + be(0, 32))}`);
  const draw = BigInt(`0x${keccak(be(0, 32) + keccak(id + be(2, 32)))}`);
  const at = (value: number | bigint, bit: number) => BigInt(value) << BigInt(bit);
  // As the contract has it: only behind an open window is something locked, and behind a convicted one nothing.
  const locked = window.status === 1n && window.convicted !== 1n ? bondOf(channel) : 0n;
  const values = [
    address(window.provider ?? channel.provider ?? 'aa'.repeat(20)) | at(window.status ?? 2n, 160) | at(window.class ?? kind, 168) |
      at(window.checkers ?? 1n, 176) | at(1, 184) | at(window.units ?? window.steps.length, 192) | at(window.ratePpm ?? 500_000n, 224),
    address(window.customer ?? channel.customer ?? customer) | at(window.unpaid ?? 0n, 192) | at(window.convicted ?? 0n, 224) |
      at(3_600, 232),
    at(1_000, 0) | at(locked, 128),
    at(77, 0) | at(120, 128) | at(60, 160) | at(window.segments ?? 1n, 192),
    window.verified ?? 1n,
    BigInt(`0x${window.commitment ?? commitment(file.results, file.secret)}`),
    window.named ?? 0n,
    BigInt(`0x${window.canary ?? hex(blake3(bytes(file.steps)))}`),
  ];
  values.forEach((value, word) => words.set(slotText(base + BigInt(word)), value));
  words.set(slotText(draw), at(40, 0) | at(window.drawnAt ?? 1_794_999_000n, 40) | at(1, 80) | at(9, 112));
  words.set(slotText(draw + 1n), BigInt(`0x${name(`randomness ${number} ${w}`)}`));
}

function jobBytes({ class: kind = 1, units = 4, segments = 2, outliersPpm = 0, unitsHash }: MapPlan, inputs: string): Uint8Array {
  const number = (value: number) => (value === 0 ? new Uint8Array() : bytes(even(value.toString(16))));
  const hash = (text: string) => bytes(name(text));
  return rlp([
    number(2), ascii('align'), ascii('wasm/1'), number(kind), hash('program'), hash('common'),
    unitsHash === undefined ? blake3(bytes(inputs)) : bytes(unitsHash), number(units),
    ...[1_000, 1_000, 65_536, 64, 0, 0, 0, 0].map(number), number(segments), new Uint8Array(32),
    ...[0, 0, 0, 0, outliersPpm, 0].map(number),
  ]);
}

function statementHash(jobHash: string, results: string, statement: NonNullable<MapPlan['statement']>): Uint8Array {
  const check = ['none', 'sample', 'checker-program'].indexOf(statement.check);
  const finding = ['none', 'right', 'wrong', 'unknown'].indexOf(statement.finding);
  const numbers = [statement.checked, statement.right, statement.ownRatePpm].map((number) => be(Number(number), 4));
  const text = hex(ascii('keystead/map-statement/v1')) + be(CHAIN_ID, 8) + jobHash + hex(blake3(bytes(results)));
  return keccak_256(bytes(text + be(check, 1) + be(finding, 1) + numbers.join('')));
}

function sign(key: Uint8Array, digest: Uint8Array): string {
  const signed = secp256k1.sign(digest, key, { prehash: false, format: 'recovered' });
  return toHex(concat(signed.subarray(1), Uint8Array.of(27 + (signed[0] ?? 0))));
}

function headerBytes(stateRoot: string): Uint8Array {
  const number = (value: number) => bytes(even(value.toString(16)));
  const zeros = (length: number) => new Uint8Array(length);
  return rlp([
    zeros(32), zeros(32), zeros(20), bytes(stateRoot), zeros(32), zeros(32), zeros(256), zeros(0), number(BLOCK), number(30_000_000),
    zeros(0), number(Math.floor(BLOCK_MS / 1_000)), bytes(be(BLOCK_MS, 8)), zeros(32), zeros(8), number(7), zeros(32), zeros(0),
    zeros(0), zeros(32), zeros(32),
  ]);
}

function certify(header: Uint8Array): Record<string, string> {
  const hash = keccak_256(header);
  const namespace = ascii(`keystead-${CHAIN_ID}_FINALIZE`);
  const message = concat(Uint8Array.of(namespace.length), namespace, Uint8Array.of(3, 57, 55), hash);
  const signature = bls12_381.shortSignatures.sign(bls12_381.G1.hashToCurve(message, { DST }), network.secretKey);
  return {
    epoch: '0x3', view: '0x39', parentView: '0x37', blockHash: toHex(hash),
    signature: toHex(bls12_381.shortSignatures.Signature.toBytes(signature)),
  };
}

// A trie: built from all entries, and of its nodes those that lie on the path of a wanted key.

type Rlp = Uint8Array | Rlp[];
type Entry = [nibbles: string, value: Uint8Array];

interface Trie {
  root: string;
  nodes: Set<string>;
}

/** The state of the two contracts with these words, some accounts beside them, and the nodes that all words need. */
function stateOfWords(channel: Words, audit: Words): Trie {
  const tries = [storage(channel), storage(audit)] as const;
  const accounts = [CHANNEL, AUDIT].map((address, at): Entry => [keccak(address), account(tries[at]?.root ?? '')]);
  const others = Array.from({ length: 20 }, (_, at): Entry => [keccak(be(at + 1, 20)), account(EMPTY)]);
  const state = trie([...accounts, ...others], accounts.map(([key]) => key));
  return { root: state.root, nodes: new Set([...state.nodes, ...tries[0].nodes, ...tries[1].nodes]) };
}

const EMPTY = '56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421';

function account(storageRoot: string): Uint8Array {
  return rlp([Uint8Array.of(1), new Uint8Array(), bytes(storageRoot), new Uint8Array(32)]);
}

function storage(words: Words): Trie {
  const entries = [...words].map(([slot, word]): [string, bigint] => [keccak(slot), word]);
  const present = entries.filter(([, word]) => word !== 0n);
  const noise = Array.from({ length: 40 }, (_, at): Entry => [keccak(be(at + 1_000, 32)), rlp(Uint8Array.of(5))]);
  return trie(
    [...present.map(([key, word]): Entry => [key, rlp(bytes(even(word.toString(16))))]), ...noise],
    entries.map(([key]) => key),
  );
}

function trie(entries: Entry[], wanted: string[]): Trie {
  const nodes = new Set<string>();
  const root = node(entries, '', wanted, nodes);
  const encoded = hex(rlp(root));
  if (wanted.length > 0) nodes.add(encoded);
  return { root: keccak(encoded), nodes };
}

/** The node of the entries below a prefix, which they all have. */
function node(entries: Entry[], prefix: string, wanted: string[], nodes: Set<string>): Rlp {
  const [[key, value] = ['', new Uint8Array()], ...more] = entries;
  if (more.length === 0) return [compact(key.slice(prefix.length), true), value];
  let shared = prefix.length;
  while (entries.every(([other]) => other[shared] === key[shared])) shared++;
  if (shared > prefix.length) {
    return [compact(key.slice(prefix.length, shared), false), child(entries, key.slice(0, shared), wanted, nodes)];
  }
  const children = Array.from({ length: 16 }, (_, nibble): Rlp => {
    const below = prefix + nibble.toString(16);
    const theirs = entries.filter(([other]) => other.startsWith(below));
    return theirs.length === 0 ? new Uint8Array() : child(theirs, below, wanted, nodes);
  });
  return [...children, new Uint8Array()];
}

/** What stands for a node in its parent; the node is wanted if a path comes to it. */
function child(entries: Entry[], prefix: string, wanted: string[], nodes: Set<string>): Rlp {
  const below = node(entries, prefix, wanted, nodes);
  const encoded = rlp(below);
  if (encoded.length < 32) return below;
  if (wanted.some((key) => key.startsWith(prefix))) nodes.add(hex(encoded));
  return keccak_256(encoded);
}

function compact(nibbles: string, isLeaf: boolean): Uint8Array {
  const flag = (isLeaf ? 2 : 0) + (nibbles.length % 2);
  return bytes(flag.toString(16) + (nibbles.length % 2 === 1 ? '' : '0') + nibbles);
}

function rlp(item: Rlp): Uint8Array {
  if (item instanceof Uint8Array) {
    const [first = 0x80] = item;
    return item.length === 1 && first < 0x80 ? item : concat(lengthOf(item.length, 0x80), item);
  }
  const content = concat(...item.map(rlp));
  return concat(lengthOf(content.length, 0xc0), content);
}

function lengthOf(length: number, base: number): Uint8Array {
  if (length < 56) return Uint8Array.of(base + length);
  const digits = bytes(even(length.toString(16)));
  return concat(Uint8Array.of(base + 55 + digits.length), digits);
}

// Text of bytes, without `0x`.

function keccak(text: string): string {
  return hex(keccak_256(bytes(text)));
}

function hex(bytes: Uint8Array): string {
  return toHex(bytes).slice(2);
}

function bytes(text: string): Uint8Array {
  const read = fromHex(`0x${text}`);
  if (read === undefined) throw new Error(`not bytes: ${text}`);
  return read;
}

function be(value: number, length: number): string {
  return value.toString(16).padStart(2 * length, '0');
}

function even(digits: string): string {
  return digits.length % 2 === 0 ? digits : `0${digits}`;
}

function slotText(slot: bigint): string {
  return BigInt.asUintN(256, slot).toString(16).padStart(64, '0');
}

function address(text: string): bigint {
  return BigInt(`0x${text}`);
}

function quantity(value: number): string {
  return `0x${value.toString(16)}`;
}
