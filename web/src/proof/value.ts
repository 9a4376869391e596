// The meaning of what a path leads to: accounts, slots, receipts. Spec: specs/0002-proof-bundle.md §4.

import { toHex } from './bytes.js';
import { Refused } from './json.js';
import { fixed, integer, items, list, text, type Item } from './rlp.js';
import { EMPTY_ROOT } from './trie.js';

/** keccak256 of no code. */
const EMPTY_CODE = '0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470';
const RECEIPT_TYPE_MAX = 4;
const BLOOM_BYTES = 256;
const TOPICS_MAX = 4;

/** An account as its leaf in the state trie holds it. */
export interface Account {
  nonce: bigint;
  balance: bigint;
  codeHash: string;
  storageRoot: string;
  storageRootBytes: Uint8Array | undefined;
}

/** A log of a receipt. */
export interface Log {
  address: string;
  topics: string[];
  data: Uint8Array;
}

/** What claims need of a receipt. */
export interface Receipt {
  succeeded: boolean;
  cumulativeGasUsed: bigint;
  logs: Log[];
}

/** The account at the end of a path; an absent one is the empty account. */
export function readAccount(value: Uint8Array | undefined): Account {
  if (value === undefined) {
    return { nonce: 0n, balance: 0n, codeHash: EMPTY_CODE, storageRoot: EMPTY_ROOT, storageRootBytes: undefined };
  }
  const parts = list(value);
  const nonce = integer(parts?.[0], 8);
  const balance = integer(parts?.[1], 32);
  const storageRoot = fixed(parts?.[2], 32);
  const codeHash = fixed(parts?.[3], 32);
  const whole = parts?.length === 4 && nonce !== undefined && balance !== undefined;
  if (!whole || storageRoot === undefined || codeHash === undefined) {
    throw new Refused('the certified value is no account');
  }
  return { nonce, balance, codeHash: toHex(codeHash), storageRoot: toHex(storageRoot), storageRootBytes: storageRoot };
}

/** The word at the end of a storage path; zero if absent. */
export function readSlotValue(value: Uint8Array | undefined): bigint {
  if (value === undefined) return 0n;
  const content = text(value);
  const number = content && integer({ kind: 'text', content }, 32);
  if (!number) throw new Refused('the certified value is no storage value');
  return number;
}

/** The receipt at the end of a path, from its EIP-2718 bytes. */
export function readReceipt(value: Uint8Array): Receipt {
  const receipt = decodeReceipt(value);
  if (receipt === undefined) throw new Refused('the certified value is no receipt');
  return receipt;
}

function decodeReceipt(value: Uint8Array): Receipt | undefined {
  const first = value[0] ?? 0;
  const typed = first >= 1 && first <= RECEIPT_TYPE_MAX;
  if (!typed && first < 0xc0) return undefined;
  const parts = list(typed ? value.subarray(1) : value);
  const [status, gas, bloom, entries] = parts ?? [];
  const succeeded = integer(status, 1);
  const cumulativeGasUsed = integer(gas, 8);
  const formed = parts?.length === 4 && fixed(bloom, BLOOM_BYTES) !== undefined;
  if (!formed || succeeded === undefined || succeeded > 1n || cumulativeGasUsed === undefined) return undefined;
  const logs = entries?.kind === 'list' ? all(items(entries.content), decodeLog) : undefined;
  return logs && { succeeded: succeeded === 1n, cumulativeGasUsed, logs };
}

function decodeLog(item: Item): Log | undefined {
  const parts = item.kind === 'list' ? items(item.content) : undefined;
  const [where, entries, data] = parts ?? [];
  const address = fixed(where, 20);
  if (parts?.length !== 3 || address === undefined || entries?.kind !== 'list' || data?.kind !== 'text') return undefined;
  const topics = all(items(entries.content), (topic) => fixed(topic, 32));
  if (topics === undefined || topics.length > TOPICS_MAX) return undefined;
  return { address: toHex(address), topics: topics.map(toHex), data: data.content };
}

/** All items read, or `undefined` if one cannot be. */
function all<T>(list: Item[] | undefined, read: (item: Item) => T | undefined): T[] | undefined {
  const out: T[] = [];
  for (const item of list ?? []) {
    const value = read(item);
    if (value === undefined) return undefined;
    out.push(value);
  }
  return list && out;
}
