// Reading channels and the audits of their windows out of the words of contract storage.
// Spec: specs/0002-proof-bundle.md §12, specs/0009-channel.md §8.

import { keccak_256 } from '@noble/hashes/sha3.js';
import { auditAddress, auditFromWords, auditId, inMapping, slotsOf, type Audit } from './audit.js';
import { fromHex, toBigInt, toHex, toWord } from './bytes.js';
import { Refused } from './json.js';
import type { MapCertificate, MapWindow } from './map.js';
import { Pool } from './trie.js';
import { readAccount, readSlotValue } from './value.js';

/** Where contract `Channel` lives on every Keystead chain. */
export const CHANNEL_ADDRESS = '0x4b53540000000000000000000000000000000006';

const CHANNELS_SLOT = 1n;
const TERMS_SLOT = 3n;
/** The words of a channel that are read: status, customer, provider, signer. */
const CHANNEL_WORDS = [0n, 3n, 4n, 5n] as const;
/** Of the terms of its audit: the job's hash, and the bond behind each window, which forgets it as it is closed. */
const TERMS_WORDS = [0n, 3n] as const;
/** All words of a window of the audit. */
const WINDOW_WORDS = [0n, 1n, 2n, 3n, 4n, 5n, 6n, 7n] as const;

const STATUS_MAX = 5n;

/** What of a channel's words matters here. */
export interface ChannelWords {
  /** 0: there is no such channel. */
  status: bigint;
  isAudited: boolean;
  /** From 1, in the order in which channels were opened. */
  number: bigint;
  /** Windows that were announced. */
  announced: bigint;
  customer: string;
  provider: string;
  jobHash: string;
  /** What is locked behind each window as it is opened, wei. */
  bondWei: bigint;
}

/** What the audit holds of a channel's window. */
export interface WindowWords {
  auditId: Uint8Array;
  audit: Audit;
  commitment: Uint8Array;
  /** The name of the list of steps. */
  canary: Uint8Array;
  /** What the customer kept of it. */
  kept: MapWindow | undefined;
}

/** A channel of a map, as it stands in the block. */
export interface FoundChannel {
  channel: ChannelWords;
  windows: WindowWords[];
}

/** Slots of a channel: four of its words, and two of the terms of its audit. */
export function channelSlots(id: Uint8Array): Uint8Array[] {
  const slots = (mapping: bigint, words: readonly bigint[]) => {
    const begin = toBigInt(inMapping(id, toWord(mapping)));
    return words.map((word) => toWord(BigInt.asUintN(256, begin + word)));
  };
  return [...slots(CHANNELS_SLOT, CHANNEL_WORDS), ...slots(TERMS_SLOT, TERMS_WORDS)];
}

/** What the audit knows a channel's window by. */
export function channelAuditId(number: bigint, window: bigint): Uint8Array {
  return auditId(channelAddress(), number, window);
}

/** Slots of a channel's window in the audit: its eight words, and the two of its first draw. */
export function channelWindowSlots(number: bigint, window: bigint): Uint8Array[] {
  return slotsOf(channelAuditId(number, window), WINDOW_WORDS);
}

/** Reads a channel from the words of `channelSlots`. */
export function channelFromWords(words: readonly bigint[]): ChannelWords {
  const [first = 0n, second = 0n, third = 0n, fourth = 0n, jobHash = 0n, bondWei = 0n] = words;
  const status = first & 0xffn;
  if (status > STATUS_MAX) throw new Refused(`unknown status of a channel: number=${status}`);
  const audited = (first >> 8n) & 0xffn;
  if (audited > 1n) throw new Refused(`unknown audited: number=${audited}`);
  if (first >> 208n !== 0n || [second, third, fourth].some((word) => word >> 224n !== 0n) || bondWei >> 128n !== 0n) {
    throw new Refused('a word of the channel has bits outside the layout');
  }
  return {
    status,
    isAudited: audited === 1n,
    number: fourth >> 160n,
    announced: third >> 160n,
    customer: addressText(second),
    provider: addressText(third),
    jobHash: toHex(toWord(jobHash)),
    bondWei,
  };
}

/** The address in the low bits of a word. */
export function addressText(word: bigint): string {
  return toHex(toWord(word).subarray(12));
}

/** Reads a window's audit from the words of `channelWindowSlots`, and the bond that its channel agreed to. */
export function windowFromWords(
  words: readonly bigint[],
  bondWei: bigint,
): Pick<WindowWords, 'audit' | 'commitment' | 'canary'> {
  // The third has the fee, and the bond for as long as it is locked.
  const [w0 = 0n, w1 = 0n, , w3 = 0n, w4 = 0n, commitment = 0n, w6 = 0n, canary = 0n, ...draw] = words;
  const audit = auditFromWords([w0, w1, w3, w4, w6, ...draw, bondWei]);
  return { audit, commitment: toWord(commitment), canary: toWord(canary) };
}

/** Reads all channels and windows out of the trie of a state. Throws `Refused` if a node is missing or one is not needed. */
export function findMap(stateRoot: Uint8Array, map: MapCertificate): FoundChannel[] {
  const pool = new Pool(map.nodes);
  const storageRoot = (address: Uint8Array, name: string) =>
    fromHex(readAccount(pool.walk(stateRoot, keccak_256(address), name)).storageRoot) ?? new Uint8Array();
  const channels = storageRoot(channelAddress(), 'the account of Channel');
  const audits = storageRoot(auditAddress(), 'the account of Audit');
  const words = (root: Uint8Array, slots: Uint8Array[], name: string) =>
    slots.map((slot, at) => readSlotValue(pool.walk(root, keccak_256(slot), `${name}, slot ${at}`)));
  const found = map.channels.map(({ id, windows }, at) => {
    const channel = channelFromWords(words(channels, channelSlots(id), `channel ${at}`));
    return {
      channel,
      windows: windows.map((kept, before) => {
        const window = BigInt(before) + 1n;
        const slots = channelWindowSlots(channel.number, window);
        const read = windowFromWords(words(audits, slots, `channel ${at}, window ${window}`), channel.bondWei);
        return { auditId: channelAuditId(channel.number, window), kept, ...read };
      }),
    };
  });
  const unused = pool.unused();
  if (unused > 0) throw new Refused(`${unused} of ${map.nodes.length} nodes belong to no path`);
  return found;
}

function channelAddress(): Uint8Array {
  return fromHex(CHANNEL_ADDRESS) ?? new Uint8Array();
}
