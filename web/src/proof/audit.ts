// Reading the audit of an order out of the words of contract storage: its window, its draw, and the bond that was agreed.
// Spec: specs/0002-proof-bundle.md §7, specs/0008-audit.md.

import { keccak_256 } from '@noble/hashes/sha3.js';
import { ascii, concat, fromHex, toBigInt, toHex, toWord } from './bytes.js';
import { Refused, type Fields } from './json.js';
import { marketAddress } from './market.js';

/** Where contract `Audit` lives on every Keystead chain. */
export const AUDIT_ADDRESS = '0x4b53540000000000000000000000000000000005';

/** Slots of the audit's storage that a bundle proves: five words of the window, two of its draw. */
export const WINDOW_SLOTS = 7;

const WINDOWS_SLOT = 0n;
const ROUNDS_SLOT = 2n;
const AUDITS_SLOT = 5n;
/** The words of a window that are proved. */
const WINDOW_WORDS = [0n, 1n, 3n, 4n, 6n] as const;
const BOND_WORD = 1n;
const UNITS_MAX = 65_536n;

/** Where a window stands, by number in the contract. */
export const WINDOW_STATUSES = ['none', 'open', 'closed', 'convicted'] as const;
export type WindowStatus = (typeof WINDOW_STATUSES)[number];

/** The numbers: name, word, lowest bit, width in bits; and the byte strings, which begin at the lowest bit. */
const FIELDS = [
  ['windowStatus', 0, 160, 8],
  ['class', 0, 168, 8],
  ['checkers', 0, 176, 8],
  ['abilities', 0, 184, 8],
  ['windowUnits', 0, 192, 32],
  ['ratePpm', 0, 224, 32],
  ['windowProvider', 0, 'bytes', 160],
  ['windowCustomer', 1, 'bytes', 160],
  ['pending', 1, 160, 32],
  ['unpaid', 1, 192, 32],
  ['convicted', 1, 224, 8],
  ['appealSeconds', 1, 232, 24],
  ['budgetWei', 2, 0, 128],
  ['checkerSeconds', 2, 128, 32],
  ['revealSeconds', 2, 160, 32],
  ['segments', 2, 192, 32],
  ['canaryUnit', 2, 224, 32],
  ['verified', 3, 0, 32],
  ['named', 4, 'bytes', 256],
  ['drawHeight', 5, 0, 40],
  ['drawnAt', 5, 40, 40],
  ['epoch', 5, 80, 32],
  ['places', 5, 112, 32],
  ['randomness', 6, 'bytes', 256],
  ['bondWei', 7, 0, 128],
] as const;

/** Highest numbers that the contract writes. */
const HIGHEST = [['windowStatus', 3n], ['class', 3n], ['convicted', 1n]] as const;

export type AuditField = (typeof FIELDS)[number][0];

/** The audit of an order, or of a channel's window, as the contracts store it: every field as a number. */
export type Audit = Record<AuditField, bigint>;

/** What the audit knows window `window` of a contract's order or channel by (specs/0008-audit.md §5). */
export function auditId(source: Uint8Array, number: bigint, window: bigint): Uint8Array {
  return keccak_256(concat(ascii('keystead/window/v1'), source, toWord(number), toWord(window).subarray(24)));
}

/** The number of an order's window. */
export function windowId(order: bigint): Uint8Array {
  return auditId(marketAddress(), order, 0n);
}

/** Slots of the audit's storage, in the order in which bundles list their paths. */
export function windowSlots(order: bigint): Uint8Array[] {
  return slotsOf(windowId(order), WINDOW_WORDS);
}

/** Slots of some words of a window, then those of its first draw. */
export function slotsOf(id: Uint8Array, words: readonly bigint[]): Uint8Array[] {
  const window = toBigInt(inMapping(id, toWord(WINDOWS_SLOT)));
  const draw = toBigInt(inMapping(toWord(0n), inMapping(id, toWord(ROUNDS_SLOT))));
  const slots = [...words.map((word) => window + word), draw, draw + 1n];
  return slots.map((slot) => toWord(BigInt.asUintN(256, slot)));
}

/** Slot of the market's word that holds the bond agreed for an order. */
export function bondSlot(order: bigint): Uint8Array {
  return toWord(BigInt.asUintN(256, toBigInt(inMapping(toWord(order), toWord(AUDITS_SLOT))) + BOND_WORD));
}

/** Where the value of a key of a mapping begins, by the mapping's own slot. */
export function inMapping(key: Uint8Array, mapping: Uint8Array): Uint8Array {
  return keccak_256(concat(key, mapping));
}

/** Reads an audit from its words: those of `windowSlots`, then that of `bondSlot`. */
export function auditFromWords(words: readonly bigint[]): Audit {
  const left = [...words];
  const take = ([name, word, low, bits]: (typeof FIELDS)[number]): [AuditField, bigint] => {
    const at = low === 'bytes' ? 0n : BigInt(low);
    const value = BigInt.asUintN(bits, (left[word] ?? 0n) >> at);
    left[word] = (left[word] ?? 0n) ^ (value << at);
    return [name, value];
  };
  const audit: Audit = Object.assign({}, ...FIELDS.map(take).map(([name, value]) => ({ [name]: value })));
  for (const [field, highest] of HIGHEST) {
    if (audit[field] > highest) throw new Refused(`unknown ${field}: number=${audit[field]}`);
  }
  const stray = left.findIndex((word) => word !== 0n);
  if (stray >= 0) throw new Refused(`word ${stray} of the audit has bits outside the layout`);
  return audit;
}

/** Reads the fields of a claim about an audit. */
export function readAudit(fields: Fields): Audit {
  const read = ([name, , low, bits]: (typeof FIELDS)[number]) => ({
    [name]: low === 'bytes' ? BigInt(fields.hex(name, bits / 8)) : fields.quantity(name, bits),
  });
  return Object.assign({}, ...FIELDS.map(read));
}

/** Name and both values of the first field in which two audits differ. */
export function auditDifference(a: Audit, b: Audit): [AuditField, string, string] | undefined {
  const field = FIELDS.find(([name]) => a[name] !== b[name]);
  if (field === undefined) return undefined;
  const [name, , low, bits] = field;
  const say = (value: bigint) => (low === 'bytes' ? toHex(toWord(value).subarray(32 - bits / 8)) : value.toString());
  return [name, say(a[name]), say(b[name])];
}

/** Where the window stands. */
export function windowStatus(audit: Audit): WindowStatus {
  return WINDOW_STATUSES[Number(audit.windowStatus)] ?? 'none';
}

/** How many units of the window `id` the draw picked; 0 while nothing is drawn. Costs a hash a unit. */
export function drawnUnits(audit: Audit, id: Uint8Array): number {
  if (audit.drawnAt === 0n) return 0;
  const seed = keccak_256(concat(ascii('keystead/audit/v1'), toWord(audit.randomness), id, Uint8Array.of(0)));
  const units = Number(audit.windowUnits < UNITS_MAX ? audit.windowUnits : UNITS_MAX);
  let drawn = 0;
  for (let unit = 0; unit < units; unit++) {
    const hash = keccak_256(concat(seed, Uint8Array.of(0), toWord(BigInt(unit)).subarray(28)));
    if (toBigInt(hash.subarray(0, 8)) * 1_000_000n < audit.ratePpm << 64n) drawn++;
  }
  return drawn;
}

/** The audit's address as bytes. */
export function auditAddress(): Uint8Array {
  return fromHex(AUDIT_ADDRESS) ?? new Uint8Array();
}
