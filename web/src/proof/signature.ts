// The network's BLS signatures over certificates, seeds and beacon values. Spec: specs/0001-certificate.md §3 to §5,
// specs/0007-beacon.md §2.

import { bls12_381 } from '@noble/curves/bls12-381.js';
import { ascii, concat, equal, toHex } from './bytes.js';
import type { Certificate } from './claim.js';
import { Refused } from './json.js';

/** Domain separation tag of every signature of the network; the library's default is another one. */
const DST = 'BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_';

const scheme = bls12_381.shortSignatures;
type KeyPoint = ReturnType<typeof bls12_381.G2.Point.fromBytes>;

/** The key that was decoded last: its checks cost half as much as a verification, and a reader has one network. */
let lastKey: { text: string; point: KeyPoint } | undefined;

/** Signatures that held, the latest last: what is proved about one block carries one certificate. Key, signature and message in hex. */
const held = new Set<string>();
const HELD_MAX = 8;

/** Forgets which signatures held, so that the next one is verified again; for measuring. */
export function forgetSignatures(): void {
  held.clear();
}

/** The message that a certificate signs on a chain. */
export function certificateMessage(certificate: Certificate, chainId: bigint): Uint8Array {
  const { epoch, view, parentView, blockHash } = certificate;
  return message(chainId, 'FINALIZE', concat(leb128(epoch), leb128(view), leb128(parentView), blockHash));
}

/** The message that the seed of a view signs on a chain. */
export function seedMessage(chainId: bigint, epoch: bigint, view: bigint): Uint8Array {
  return message(chainId, 'SEED', concat(leb128(epoch), leb128(view)));
}

/** The message that the beacon value of a height signs on a chain. */
export function beaconMessage(chainId: bigint, height: bigint): Uint8Array {
  return message(chainId, 'BEACON', leb128(height));
}

/** Checks one signature of 48 bytes under a network key of 96 bytes. Throws `Refused`. */
export function verifySignature(signed: Uint8Array, signature: Uint8Array, networkKey: Uint8Array): void {
  const text = [networkKey, signature, signed].map(toHex).join();
  if (held.has(text)) return;
  const key = decodeKey(networkKey);
  const point = decodeSignature(signature);
  if (!scheme.verify(point, bls12_381.G1.hashToCurve(signed, { DST }), key)) {
    throw new Refused('the network key did not sign this');
  }
  held.add(text);
  const [oldest] = held;
  if (held.size > HELD_MAX && oldest !== undefined) held.delete(oldest);
}

/** Decodes and checks a network key. Throws `Refused`. */
export function decodeKey(bytes: Uint8Array): KeyPoint {
  const text = toHex(bytes);
  if (lastKey?.text === text) return lastKey.point;
  const point = attempt(() => bls12_381.G2.Point.fromBytes(bytes));
  if (bytes.length !== 96 || point === undefined || !equal(point.toBytes(true), bytes)) {
    throw new Refused('the network key is not a compressed G2 point of the group');
  }
  if (point.is0()) throw new Refused('the network key is not in the group');
  lastKey = { text, point };
  return point;
}

function decodeSignature(bytes: Uint8Array) {
  const point = attempt(() => scheme.Signature.fromBytes(bytes));
  if (point === undefined || !equal(scheme.Signature.toBytes(point), bytes)) {
    throw new Refused('the signature is not a compressed G1 point of the group');
  }
  if (point.is0()) throw new Refused('the signature is not in the group');
  return point;
}

/** The library throws for every encoding that is no point of the group. */
function attempt<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch {
    return undefined;
  }
}

function message(chainId: bigint, purpose: string, payload: Uint8Array): Uint8Array {
  const namespace = ascii(`keystead-${chainId}_${purpose}`);
  return concat(leb128(BigInt(namespace.length)), namespace, payload);
}

/** Unsigned LEB128, shortest form. */
function leb128(number: bigint): Uint8Array {
  const out: number[] = [];
  let left = number;
  do {
    const low = Number(left & 0x7fn);
    left >>= 7n;
    out.push(left === 0n ? low : low | 0x80);
  } while (left !== 0n);
  return Uint8Array.from(out);
}
