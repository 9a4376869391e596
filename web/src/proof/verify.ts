// The seven steps from a bundle's bytes to a verdict. Spec: specs/0002-proof-bundle.md §5 and §6.
//
// Pure: bytes, key and time come in, a report goes out. The same rules are implemented in Rust (`chain/proof`); the vectors
// in `specs/vectors` keep the two equal.

import { keccak_256 } from '@noble/hashes/sha3.js';
import { auditAddress, auditDifference, auditFromWords, bondSlot, windowSlots, windowStatus, type Audit } from './audit.js';
import { BEACON_FORMAT, describeBeacon, randomness, readBeacon, verifyBeacon, type Beacon } from './beacon.js';
import { equal, fromHex, toHex, toWord } from './bytes.js';
import { CERTIFICATE_FORMAT, bindCertificate, orderOf, readCertificate, type ResultCertificate } from './certificate.js';
import { FORMAT, describe, readBundle, type Bundle, type Certified, type Claim, type Path } from './claim.js';
import { bind, link, type Header } from './header.js';
import { BUNDLE_BYTES_MAX, Refused, limit, parse, wrong } from './json.js';
import { mapMeaning } from './map-meaning.js';
import { checkMap } from './map-value.js';
import { findMap } from './map-words.js';
import { MAP_FORMAT, NAME_BYTES, describeMap, readMap, windowCount, type MapCertificate } from './map.js';
import { isFinal, marketAddress, orderDifference, orderFromWords, orderSlots, type Order } from './market.js';
import { meaning, type Beside } from './meaning.js';
import { resultsOfOrder, type Results } from './outputs.js';
import { encodeInteger } from './rlp.js';
import { certificateMessage, verifySignature } from './signature.js';
import { span, utc } from './time.js';
import { EMPTY_ROOT, walk } from './trie.js';
import { readAccount, readReceipt, readSlotValue, type Account, type Receipt } from './value.js';

/** Greatest age of a claim about now, in milliseconds, unless the caller gives another. */
export const AGE_MS_MAX_NOW = 10_000n;

/** How far a block may be ahead of the reader's clock, in milliseconds. */
export const LEAD_MS_MAX = 60_000n;

/** The steps, in order; step number 1 is the first. */
export const STEPS = ['parse', 'headers', 'binding', 'path', 'certificate', 'age', 'value'] as const;

/** The three answers. */
export type Verdict = 'proved' | 'proved false' | 'not proved';

/** What became of one step. */
export interface StepResult {
  /** From 1. */
  step: number;
  name: (typeof STEPS)[number];
  passed: boolean;
  /** One sentence without a full stop. */
  sentence: string;
}

/** The block that a verified certificate stands for. */
export interface BlockFacts {
  number: bigint;
  hash: string;
  /** Unix milliseconds. */
  timeMs: bigint;
  /** Milliseconds ago; 0 for a block ahead of the clock. */
  ageMs: bigint;
}

/** The answer of a verification. */
export interface Report {
  verdict: Verdict;
  /** The step that decided, from 1. */
  step: number;
  /** Why it is not proved, or what contradicts the claim. */
  reason?: string;
  steps: StepResult[];
  /** The claim as parsed, true or not. */
  claim?: Claim;
  /** The beacon value as parsed, true or not, if the file holds one instead of a bundle. */
  beacon?: Beacon;
  /** The certificate of a map as parsed, true or not, if the file is one. */
  map?: MapCertificate;
  /** The claim in words, or what a beacon value or a certificate of a map is about. */
  words?: string;
  /**
   * What a proved claim about an order, or a proved certificate of a map, means for whoever wants to rely on the result:
   * sentences without full stops, empty if it is not proved or about something else.
   */
  meaning: string[];
  /** What the outputs of a proved order or map are, for whoever holds files (`compareResults`); absent if that is not proved, or nothing was delivered. */
  results?: Results;
  /** The block of the claim; absent until its certificate is verified, because before nobody vouches for it. */
  block?: BlockFacts;
}

/** What the reader brings. */
export interface Reader {
  /** The network that the reader trusts: compressed G2 key, 96 bytes. */
  networkKey: Uint8Array;
  /** The reader's clock in Unix milliseconds. */
  nowMs: number | bigint;
  /** Greatest age to accept in milliseconds; without it the default of the kind of claim (§6). */
  maxAgeMs?: number | bigint | null;
}

/** The certified chain contradicts the claim. */
class Contradiction extends Error {}

/** What the paths of a claim lead to. */
type Found =
  | { kind: 'account'; account: Account }
  | { kind: 'slot'; value: string }
  | { kind: 'transaction'; hash: string | undefined }
  | { kind: 'receipt'; hash: string | undefined; receipt: Receipt | undefined }
  | { kind: 'order'; order: Order }
  | { kind: 'audit'; order: Order; audit: Audit };

/** The steps that a beacon value takes (specs/0007-beacon.md §7). */
const BEACON_STEPS = [1, 5, 7];

/** Decides a bundle, a certificate of either kind, or a beacon value's file. It is hostile; nothing is thrown for it. */
export function verify(bundle: Uint8Array, reader: Reader): Report {
  const report: Report = { verdict: 'not proved', step: 1, steps: [], meaning: [] };
  try {
    run(report, bundle, reader);
    report.verdict = 'proved';
  } catch (error) {
    if (!(error instanceof Refused) && !(error instanceof Contradiction)) throw error;
    if (error instanceof Contradiction) report.verdict = 'proved false';
    report.reason = error.message;
    push(report, false, error.message);
  }
  report.step = report.steps.at(-1)?.step ?? 1;
  return report;
}

function push(report: Report, passed: boolean, sentence: string): void {
  const taken = report.steps.length;
  const step = report.beacon === undefined ? taken + 1 : BEACON_STEPS[taken];
  const name = step === undefined ? undefined : STEPS[step - 1];
  if (step !== undefined && name !== undefined) report.steps.push({ step, name, passed, sentence });
}

function run(report: Report, input: Uint8Array, reader: Reader): void {
  const fields = parse(input);
  const format = fields.text('format');
  if (format === MAP_FORMAT) {
    runMap(report, readMap(fields), input, reader);
    return;
  }
  limit(input.length, BUNDLE_BYTES_MAX);
  if (format === BEACON_FORMAT) runBeacon(report, readBeacon(fields, input.length), input.length, reader);
  else if (format === FORMAT) runBundle(report, readBundle(fields), undefined, input, reader);
  else if (format === CERTIFICATE_FORMAT) {
    const certificate = readCertificate(fields);
    runBundle(report, certificate.bundle, certificate, input, reader);
  } else wrong('format', FORMAT);
}

function runBeacon(report: Report, beacon: Beacon, length: number, reader: Reader): void {
  report.beacon = beacon;
  report.words = describeBeacon(beacon);
  push(report, true, `a beacon value in ${length} bytes, chain ${beacon.chainId}`);

  verifyBeacon(beacon, reader.networkKey);
  push(report, true, `the network key signed height ${beacon.height}, which its members do only once it is final`);

  same('randomness', beacon.randomness, randomness(beacon.value));
  push(report, true, 'the randomness is keccak256 of the value, which nobody could predict or choose');
}

function runBundle(
  report: Report,
  bundle: Bundle,
  result: ResultCertificate | undefined,
  input: Uint8Array,
  reader: Reader,
): void {
  const { chainId, claim } = bundle;
  const form = result === undefined ? 'a claim' : 'a result certificate with a claim';
  push(report, true, `${form} of kind ${claim.kind} in ${input.length} bytes, chain ${chainId}`);
  report.claim = claim;
  report.words = describe(claim);

  const header = passHeaders(report, bundle);

  bind(header, claim.block);
  if (result !== undefined) bindCertificate(result);
  const bound = result === undefined ? '' : "; the job is the order's, and its customer signed the statement";
  push(report, true, `the claim is about this block, number ${claim.block}${bound}`);

  const found = find(header, claim);
  push(report, true, `${nodeCount(claim)} trie nodes lead from the header to the value`);

  passCertificate(report, bundle, header, reader);
  passAge(report, header, reader, isAboutNow(found) ? AGE_MS_MAX_NOW : undefined);

  compare(claim, found);
  push(report, true, 'the certified value is the claimed one');
  const beside: Beside | undefined = result && { job: result.job, named: result.named, statement: result.statement };
  report.meaning = meaning(claim, beside);
  const order = orderOf(claim);
  const results = order && resultsOfOrder(order);
  if (results !== undefined) report.results = results;
}

function runMap(report: Report, map: MapCertificate, input: Uint8Array, reader: Reader): void {
  push(report, true, `a certificate of a map in ${input.length} bytes, chain ${map.chainId}`);
  report.map = map;
  report.words = describeMap(map);

  const header = passHeaders(report, map);

  bind(header, map.block);
  push(report, true, `the windows are those of this block, number ${map.block}`);

  const found = findMap(header.stateRoot, map);
  const [channels, windows] = [map.channels.length, windowCount(map.channels)];
  const words = `the words of channels (${channels}) and windows (${windows})`;
  push(report, true, `${map.nodes.length} trie nodes lead from the header to ${words}`);

  passCertificate(report, map, header, reader);
  passAge(report, header, reader, undefined);

  const worth = checkMap(map, found);
  push(report, true, 'job, windows and results belong together, and the customer signed the statement');
  report.meaning = mapMeaning(map, worth);
  report.results = { kind: 'names', outputs: worth.whole.map((isCovered, unit) => ({ name: nameOf(map, unit), isCovered })) };
}

/** Name of the output of a unit. */
function nameOf({ results }: MapCertificate, unit: number): string {
  return toHex(results.subarray(unit * NAME_BYTES, (unit + 1) * NAME_BYTES));
}

function passHeaders(report: Report, { certificate, headers }: Certified): Header {
  const header = link(headers, certificate.blockHash);
  const chain = headers.length === 1
    ? "the certificate names the block's own header"
    : `${headers.length} headers lead from the certified block to its ancestor`;
  push(report, true, chain);
  return header;
}

/** From here on the block is a fact. */
function passCertificate(report: Report, { chainId, certificate }: Certified, header: Header, reader: Reader): void {
  verifySignature(certificateMessage(certificate, chainId), certificate.signature, reader.networkKey);
  push(report, true, `the network key signed it as final in epoch ${certificate.epoch}, view ${certificate.view}`);
  const nowMs = BigInt(reader.nowMs);
  const ageMs = nowMs > header.timeMs ? nowMs - header.timeMs : 0n;
  report.block = { number: header.number, hash: toHex(header.hash), timeMs: header.timeMs, ageMs };
}

function passAge(report: Report, { timeMs }: Header, { nowMs, maxAgeMs }: Reader, otherwiseMs: bigint | undefined): void {
  const maxMs = maxAgeMs === undefined || maxAgeMs === null ? otherwiseMs : BigInt(maxAgeMs);
  push(report, true, checkAge(timeMs, BigInt(nowMs), maxMs));
}

/** True if later blocks may change what was found. */
function isAboutNow(found: Found): boolean {
  if (found.kind === 'order') return !isFinal(found.order.status);
  // An order may end before its window does.
  if (found.kind === 'audit') return !isFinal(found.order.status) || windowStatus(found.audit) === 'open';
  return found.kind === 'account' || found.kind === 'slot';
}

function checkAge(timeMs: bigint, nowMs: bigint, maxMs: bigint | undefined): string {
  const leadMs = timeMs - nowMs;
  const ageMs = leadMs > 0n ? 0n : -leadMs;
  if (leadMs > LEAD_MS_MAX) {
    throw new Refused(`the block is ${span(leadMs)} ahead of this clock, at most ${span(LEAD_MS_MAX)} are allowed`);
  }
  if (maxMs === undefined) return `the block of ${utc(timeMs)} is ${span(ageMs)} old; what it says stays true`;
  if (ageMs > maxMs) throw new Refused(`stale: the block is ${span(ageMs)} old, at most ${span(maxMs)} are allowed`);
  return `the block of ${utc(timeMs)} is ${span(ageMs)} old, ${span(maxMs)} are allowed`;
}

function find(header: Header, claim: Claim): Found {
  switch (claim.kind) {
    case 'account':
      return { kind: 'account', account: findAccount(header, hexBytes(claim.address), claim.accountNodes) };
    case 'storage':
    case 'storage-absent': {
      const account = findAccount(header, hexBytes(claim.address), claim.accountNodes);
      const value = findSlot(account, hexBytes(claim.slot), claim.storageNodes, 'storageNodes');
      return { kind: 'slot', value: toHex(toWord(value)) };
    }
    case 'transaction':
      return { kind: 'transaction', hash: findTransaction(header, claim) };
    case 'receipt':
    case 'log': {
      const hash = findTransaction(header, claim);
      const value = walk(header.receiptsRoot, encodeInteger(claim.transactionIndex), claim.receiptNodes, 'receiptNodes');
      return { kind: 'receipt', hash, receipt: value && readReceipt(value) };
    }
    case 'job-result': {
      const account = findAccount(header, marketAddress(), claim.accountNodes);
      const words = findWords(account, orderSlots(claim.order.order), claim.storageNodes, 'storageNodes');
      return { kind: 'order', order: orderFromWords(claim.order.order, words) };
    }
    case 'job-audit': {
      const number = claim.order.order;
      const market = findAccount(header, marketAddress(), claim.accountNodes);
      const words = findWords(market, [...orderSlots(number), bondSlot(number)], claim.storageNodes, 'storageNodes');
      const bond = words.pop() ?? 0n;
      const order = orderFromWords(number, words);
      const account = findAccount(header, auditAddress(), claim.auditAccountNodes, 'auditAccountNodes');
      const window = findWords(account, windowSlots(number), claim.auditNodes, 'auditNodes');
      return { kind: 'audit', order, audit: auditFromWords([...window, bond]) };
    }
  }
}

function findAccount(header: Header, address: Uint8Array, nodes: Path, name = 'accountNodes'): Account {
  return readAccount(walk(header.stateRoot, keccak_256(address), nodes, name));
}

/** The words of some slots, each by its own path. */
function findWords(account: Account, slots: Uint8Array[], paths: Path[], name: string): bigint[] {
  return slots.map((slot, index) => findSlot(account, slot, paths[index] ?? [], `${name} ${index}`));
}

function findSlot(account: Account, slot: Uint8Array, nodes: Path, name: string): bigint {
  const root = account.storageRootBytes ?? hexBytes(EMPTY_ROOT);
  return readSlotValue(walk(root, keccak_256(slot), nodes, name));
}

function findTransaction(
  header: Header,
  { transactionIndex, transactionNodes }: { transactionIndex: bigint; transactionNodes: Path },
): string | undefined {
  const value = walk(header.transactionsRoot, encodeInteger(transactionIndex), transactionNodes, 'transactionNodes');
  return value && toHex(keccak_256(value));
}

/** Bytes of text that was checked when it was read. */
function hexBytes(text: string): Uint8Array {
  return fromHex(text) ?? new Uint8Array();
}

function compare(claim: Claim, found: Found): void {
  if (claim.kind === 'account' && found.kind === 'account') {
    same('nonce', claim.nonce, found.account.nonce);
    same('balance', claim.balance, found.account.balance);
    same('codeHash', claim.codeHash, found.account.codeHash);
    same('storageRoot', claim.storageRoot, found.account.storageRoot);
  } else if (claim.kind === 'storage' && found.kind === 'slot') {
    same('value', claim.value, found.value);
  } else if (claim.kind === 'storage-absent' && found.kind === 'slot') {
    same('value', toHex(new Uint8Array(32)), found.value);
  } else if (claim.kind === 'transaction' && found.kind === 'transaction') {
    same('transactionHash', claim.transactionHash, present('transaction', found.hash));
  } else if ((claim.kind === 'receipt' || claim.kind === 'log') && found.kind === 'receipt') {
    same('transactionHash', claim.transactionHash, present('transaction', found.hash));
    compareReceipt(claim, present('receipt', found.receipt));
  } else if (claim.kind === 'job-result' && found.kind === 'order') {
    sameOrder(claim.order, found.order);
  } else if (claim.kind === 'job-audit' && found.kind === 'audit') {
    sameOrder(claim.order, found.order);
    const differing = auditDifference(claim.audit, found.audit);
    if (differing !== undefined) same(...differing);
  } else {
    // `find` answers each kind of claim with its own kind of finding.
    throw new Contradiction('the certified value is absent, the claimed one there');
  }
}

function sameOrder(claimed: Order, certified: Order): void {
  const field = orderDifference(claimed, certified);
  if (field !== undefined) same(field, claimed[field], certified[field]);
}

function compareReceipt(claim: Extract<Claim, { kind: 'receipt' | 'log' }>, receipt: Receipt): void {
  if (claim.kind === 'receipt') {
    same('status', Number(claim.succeeded), Number(receipt.succeeded));
    same('cumulativeGasUsed', claim.cumulativeGasUsed, receipt.cumulativeGasUsed);
    return;
  }
  const index = claim.receiptLogIndex;
  const log = present('log', index < BigInt(receipt.logs.length) ? receipt.logs[Number(index)] : undefined);
  same('address', claim.address, log.address);
  same('topics', `[${claim.topics.join(', ')}]`, `[${log.topics.join(', ')}]`);
  if (!equal(claim.data, log.data)) same('data', toHex(claim.data), toHex(log.data));
}

function present<T>(field: string, value: T | undefined): T {
  if (value === undefined) throw new Contradiction(`the certified ${field} is absent, the claimed one there`);
  return value;
}

function same(field: string, claimed: string | number | bigint, certified: string | number | bigint): void {
  if (claimed !== certified) {
    throw new Contradiction(`the certified ${field} is ${certified}, the claimed one ${claimed}`);
  }
}

/** Trie nodes of all paths. */
function nodeCount(claim: Claim): number {
  switch (claim.kind) {
    case 'account':
      return claim.accountNodes.length;
    case 'storage':
    case 'storage-absent':
      return claim.accountNodes.length + claim.storageNodes.length;
    case 'transaction':
      return claim.transactionNodes.length;
    case 'receipt':
    case 'log':
      return claim.transactionNodes.length + claim.receiptNodes.length;
    case 'job-result':
      return claim.accountNodes.length + claim.storageNodes.flat().length;
    case 'job-audit':
      return [claim.accountNodes, claim.auditAccountNodes, ...claim.storageNodes, ...claim.auditNodes].flat().length;
  }
}
