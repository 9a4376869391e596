// A beacon value: the network's signature over a height, which proves itself. Spec: specs/0007-beacon.md §2 and §7.

import { keccak_256 } from '@noble/hashes/sha3.js';
import { toHex } from './bytes.js';
import { Refused, wrong, type Fields } from './json.js';
import { beaconMessage, verifySignature } from './signature.js';

/** Value of the field `format`. */
export const BEACON_FORMAT = 'keystead-beacon/1';

/** Largest file in bytes. */
export const BEACON_BYTES_MAX = 1_024;

/** A beacon value that is well formed. Nothing in it is verified. */
export interface Beacon {
  chainId: bigint;
  /** Not zero. */
  height: bigint;
  /** The network's signature, 48 bytes. */
  value: Uint8Array;
  /** What the value is claimed to give: 32 bytes as text. */
  randomness: string;
}

/** What consumers use: keccak256 of the value. */
export function randomness(value: Uint8Array): string {
  return toHex(keccak_256(value));
}

/** Checks the value of a height under a network key of 96 bytes. Throws `Refused`. */
export function verifyBeacon({ chainId, height, value }: Beacon, networkKey: Uint8Array): void {
  verifySignature(beaconMessage(chainId, height), value, networkKey);
}

/** Reads the fields after `format` of a file of this length. Throws `Refused`. */
export function readBeacon(fields: Fields, length: number): Beacon {
  if (length > BEACON_BYTES_MAX) throw new Refused(`too large: got_bytes=${length} max_bytes=${BEACON_BYTES_MAX}`);
  const chainId = fields.number('chainId');
  const height = fields.number('height');
  const value = fields.fixed('value', 48);
  const claimed = fields.hex('randomness', 32);
  if (height === 0n) wrong('height', 'a height from 1 on');
  fields.close();
  return { chainId, height, value, randomness: claimed };
}

/** The claim in words. */
export function describeBeacon({ height, randomness }: Beacon): string {
  return `the beacon of height ${height} gives the randomness ${randomness}`;
}
