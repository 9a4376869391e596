// Reading an order of the market out of the words of contract storage.
// Spec: specs/0002-proof-bundle.md §7, specs/0004-market.md.

import { keccak_256 } from '@noble/hashes/sha3.js';
import { concat, fromHex, toBigInt, toHex, toWord } from './bytes.js';
import { Refused, wrong, type Fields } from './json.js';

/** Where contract `Market` lives on every Keystead chain. */
export const MARKET_ADDRESS = '0x4b53540000000000000000000000000000000002';

/** Storage slots that one order occupies. */
export const ORDER_SLOTS = 8;

const ORDERS_MAPPING_SLOT = 1n;

/** Names of the statuses by their number in the contract. */
export const ORDER_STATUSES = [
  'none', 'ordered', 'leased', 'committed', 'delivered', 'accepted', 'settled', 'rejected', 'expired', 'declined', 'cancelled',
  'abandoned', 'audited', 'convicted',
] as const;

/** Who finds out whether results are right, by number in the contract. */
export const ORDER_MODES = ['own', 'audited', 'private'] as const;

/** Names of the reasons for a rejection by their number in the contract. */
export const ORDER_REASONS = [
  'none', 'wrong-result', 'commitment-mismatch', 'not-received', 'malformed', 'other',
] as const;

export type OrderStatus = (typeof ORDER_STATUSES)[number];
export type OrderMode = (typeof ORDER_MODES)[number];
export type OrderReason = (typeof ORDER_REASONS)[number];

/** An order as the market stores it: times in Unix seconds, price in wei, hashes and addresses as text. */
export interface Order {
  order: bigint;
  status: OrderStatus;
  reason: OrderReason;
  orderedAt: bigint;
  leasedAt: bigint;
  committedAt: bigint;
  deliveredAt: bigint;
  closedAt: bigint;
  units: bigint;
  leaseSeconds: bigint;
  deliverSeconds: bigint;
  checkSeconds: bigint;
  priceWeiPerUnit: bigint;
  jobHash: string;
  commitment: string;
  resultRoot: string;
  evidenceHash: string;
  customer: string;
  provider: string;
  mode: OrderMode;
  /** 1 if the customer stopped it after the lease. */
  stopped: bigint;
  /** After a stop: units, from the first on, that the provider committed to; zero means all. */
  doneUnits: bigint;
  /** Of a closed order that was audited, private or stopped: units that were paid. */
  paidUnits: bigint;
  /** The ERC-20 of price and escrow; twenty zero bytes mean KST. */
  token: string;
}

/** The numbers packed into words: name, word, lowest bit, width in bits. */
const NUMBERS = [
  ['orderedAt', 0, 16, 40],
  ['leasedAt', 0, 56, 40],
  ['committedAt', 0, 96, 40],
  ['deliveredAt', 0, 136, 40],
  ['closedAt', 0, 176, 40],
  ['units', 1, 128, 32],
  ['leaseSeconds', 1, 160, 32],
  ['deliverSeconds', 1, 192, 32],
  ['checkSeconds', 1, 224, 32],
  ['priceWeiPerUnit', 1, 0, 128],
] as const;

/** The byte strings: name, word, length in bytes. */
const STRINGS = [
  ['jobHash', 2, 32],
  ['commitment', 3, 32],
  ['resultRoot', 4, 32],
  ['evidenceHash', 5, 32],
  ['customer', 6, 20],
  ['provider', 7, 20],
] as const;

/** The numbers that stand only in the claim of an order that was audited, private or stopped. */
const AUDIT_NUMBERS = [
  ['stopped', 0, 224, 8],
  ['doneUnits', 0, 232, 24],
  ['paidUnits', 7, 160, 32],
] as const;

/** Names of an order's fields, in the order of the spec. */
const FIELDS: readonly (keyof Order)[] = [
  'status', 'reason', ...NUMBERS.map(([name]) => name), ...STRINGS.map(([name]) => name), 'mode',
  ...AUDIT_NUMBERS.map(([name]) => name), 'token',
];

const NO_TOKEN = toHex(new Uint8Array(20));

/** True if the market knows no way out of this status, so that a proof of it never grows old. */
export function isFinal(status: OrderStatus): boolean {
  return ORDER_STATUSES.indexOf(status) >= ORDER_STATUSES.indexOf('accepted');
}

/** Storage slots of an order, in the order in which bundles list their paths. */
export function orderSlots(order: bigint): Uint8Array[] {
  const first = toBigInt(keccak_256(concat(toWord(order), toWord(ORDERS_MAPPING_SLOT))));
  return Array.from({ length: ORDER_SLOTS }, (_, index) => toWord(BigInt.asUintN(256, first + BigInt(index))));
}

/** Reads an order from its eight storage words, in slot order. */
export function orderFromWords(order: bigint, words: readonly bigint[]): Order {
  const take = (word: number, low: number, bits: number): bigint =>
    BigInt.asUintN(bits, (words[word] ?? 0n) >> BigInt(low));
  const name = <T>(field: string, names: readonly T[], low: number): T => {
    const number = take(0, low, 8);
    const found = names[Number(number)];
    if (found === undefined) throw new Refused(`unknown ${field}: number=${number}`);
    return found;
  };
  const status = name('status', ORDER_STATUSES, 0);
  const reason = name('reason', ORDER_REASONS, 8);
  const numbers = NUMBERS.map(([field, word, low, bits]) => [field, take(word, low, bits)]);
  const strings = STRINGS.map(([field, word, bytes]) => [
    field,
    toHex(toWord(take(word, 0, bytes * 8)).subarray(32 - bytes)),
  ]);
  const mode = name('mode', ORDER_MODES, 216);
  const audits = AUDIT_NUMBERS.map(([field, word, low, bits]) => [field, take(word, low, bits)] as const);
  const stopped = audits[0]?.[1] ?? 0n;
  if (stopped > 1n) throw new Refused(`unknown stopped: number=${stopped}`);
  // The two parts of the token's address lie in what two words leave over.
  const token = toHex(toWord((take(6, 160, 96) << 64n) | take(7, 192, 64)).subarray(12));
  return { order, status, reason, mode, token, ...Object.fromEntries([...numbers, ...strings, ...audits]) };
}

/** Reads the fields of a claim about an order. */
export function readOrder(fields: Fields): Order {
  const order = fields.number('order');
  const name = <T extends string>(field: string, names: readonly T[]): T => {
    const value = fields.text(field);
    return names.find((known) => known === value) ?? wrong(field, `the name of a ${field}`);
  };
  const status = name('status', ORDER_STATUSES);
  const reason = name('reason', ORDER_REASONS);
  const numbers = NUMBERS.map(([field, , , bits]) => [field, fields.quantity(field, bits)]);
  const strings = STRINGS.map(([field, , bytes]) => [field, fields.hex(field, bytes)]);
  const plain = { mode: 'own', stopped: 0n, doneUnits: 0n, paidUnits: 0n } as const;
  const audit = fields.has('mode') ? readAudit(fields, name('mode', ORDER_MODES)) : plain;
  const token = fields.has('token') ? fields.hex('token', 20) : NO_TOKEN;
  // One order has one claim.
  if (fields.has('token') && token === NO_TOKEN) return wrong('token', 'absent in an order in KST');
  return { order, status, reason, token, ...audit, ...Object.fromEntries([...numbers, ...strings]) };
}

/** Whether an order is paid in KST. */
export function isInKst(order: Order): boolean {
  return order.token === NO_TOKEN;
}

/** Units that its result is of: after a stop the provider may commit to the first ones only. */
export function committedUnits({ units, doneUnits }: Order): bigint {
  return doneUnits === 0n ? units : doneUnits;
}

/** One order has one claim: the fields are there only if one of them says something. */
function readAudit(fields: Fields, mode: OrderMode): Pick<Order, 'mode' | 'stopped' | 'doneUnits' | 'paidUnits'> {
  const stopped = fields.quantity('stopped', 1);
  const doneUnits = fields.quantity('doneUnits', 24);
  const paidUnits = fields.quantity('paidUnits', 32);
  if (mode === 'own' && stopped + doneUnits + paidUnits === 0n) return wrong('mode', 'absent in a plain order');
  return { mode, stopped, doneUnits, paidUnits };
}

/** The first field in which two orders differ. */
export function orderDifference(a: Order, b: Order): keyof Order | undefined {
  return FIELDS.find((field) => a[field] !== b[field]);
}

/** The market's address as bytes. */
export function marketAddress(): Uint8Array {
  return fromHex(MARKET_ADDRESS) ?? new Uint8Array();
}
