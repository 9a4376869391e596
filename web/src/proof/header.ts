// Reading the headers of a bundle and linking them. Spec: specs/0002-proof-bundle.md §4 and §5.

import { keccak_256 } from '@noble/hashes/sha3.js';
import { equal, toBigInt, toHex } from './bytes.js';
import { Refused } from './json.js';
import { fixed, integer, list } from './rlp.js';

/** What the verifier needs of a header. */
export interface Header {
  hash: Uint8Array;
  parentHash: Uint8Array;
  stateRoot: Uint8Array;
  transactionsRoot: Uint8Array;
  receiptsRoot: Uint8Array;
  number: bigint;
  /** Unix seconds. */
  timestamp: bigint;
  /** Unix milliseconds. */
  timeMs: bigint;
}

/** The 21 fields: bytes of a string of fixed length, or (negative) most bytes of an integer. */
const FORMS = [32, 32, 20, 32, 32, 32, 256, -32, -8, -8, -8, -8, 8, 32, 8, -8, 32, -8, -8, 32, 32];

/** Reads the headers and checks that each is the parent of the one before. Returns the last. */
export function link(headers: Uint8Array[], certified: Uint8Array): Header {
  let child: Header | undefined;
  headers.forEach((bytes, at) => {
    const header = decode(bytes);
    if (header === undefined) throw new Refused(`header ${at} is malformed`);
    if (child === undefined) {
      if (!equal(header.hash, certified)) {
        throw new Refused(
          `header 0 is not the block of the certificate: hash=${toHex(header.hash)} certified=${toHex(certified)}`,
        );
      }
    } else if (!equal(child.parentHash, header.hash) || header.number + 1n !== child.number) {
      throw new Refused(`header ${at} is not the parent of header ${at - 1}`);
    }
    child = header;
  });
  if (child === undefined) throw new Refused('header 0 is malformed');
  return child;
}

/** Checks that the claim is about this block and that the block has one time. */
export function bind(header: Header, claimed: bigint): void {
  if (header.number !== claimed) {
    throw new Refused(`the claim is about block ${claimed}, the last header is block ${header.number}`);
  }
  if (header.timestamp !== header.timeMs / 1000n) {
    throw new Refused(
      `the header's seconds and milliseconds disagree: timestamp=${header.timestamp} milliseconds=${header.timeMs}`,
    );
  }
}

function decode(bytes: Uint8Array): Header | undefined {
  const items = list(bytes);
  if (items?.length !== FORMS.length) return undefined;
  const formed = FORMS.every((form, at) =>
    form > 0 ? fixed(items[at], form) !== undefined : integer(items[at], -form) !== undefined,
  );
  const [parentHash, stateRoot, transactionsRoot, receiptsRoot] = [0, 3, 4, 5].map((at) => fixed(items[at], 32));
  const number = integer(items[8], 8);
  const timestamp = integer(items[11], 8);
  const time = fixed(items[12], 8);
  if (!formed || parentHash === undefined || stateRoot === undefined || transactionsRoot === undefined) return undefined;
  if (receiptsRoot === undefined || number === undefined || timestamp === undefined || time === undefined) return undefined;
  const hash = keccak_256(bytes);
  return { hash, parentHash, stateRoot, transactionsRoot, receiptsRoot, number, timestamp, timeMs: toBigInt(time) };
}
