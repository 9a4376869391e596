// Signatures, keys and seeds of `specs/vectors/certificates.json`: the edges of the encodings.

import { describe, expect, test } from 'vitest';
import file from '../../../specs/vectors/certificates.json';
import bundles from '../../../specs/vectors/proof-bundles.json';
import { fromHex, toHex } from './bytes.js';
import { certificateMessage, decodeKey, seedMessage, verifySignature } from './index.js';

const chainId = BigInt(file.chainId);
const networkKey = bytes(file.networkKey);

function bytes(text: string): Uint8Array {
  return fromHex(text) ?? new Uint8Array();
}

function holds(check: () => void): boolean {
  try {
    check();
    return true;
  } catch {
    return false;
  }
}

describe('certificates', () => {
  test.each(file.certificates)('$name', ({ certificate, message, valid }) => {
    const { epoch, view, parentView, blockHash, signature } = certificate;
    const fields = { epoch: BigInt(epoch), view: BigInt(view), parentView: BigInt(parentView) };
    const signed = certificateMessage({ ...fields, blockHash: bytes(blockHash), signature: bytes(signature) }, chainId);
    expect(toHex(signed)).toBe(message);
    expect(holds(() => verifySignature(signed, bytes(signature), networkKey))).toBe(valid);
  });

  test('a signature or key of another length is refused', () => {
    const [first] = file.certificates;
    const signed = bytes(first?.message ?? '');
    const signature = bytes(first?.certificate.signature ?? '');
    expect(holds(() => verifySignature(signed, signature, networkKey))).toBe(true);
    expect(holds(() => verifySignature(signed, signature.subarray(0, 47), networkKey))).toBe(false);
    expect(holds(() => verifySignature(signed, signature, networkKey.subarray(0, 95)))).toBe(false);
    expect(holds(() => verifySignature(signed, new Uint8Array(), networkKey))).toBe(false);
  });
});

test('a signature that held once says nothing of another message, signature or key', () => {
  const [first, second] = file.certificates;
  const signed = bytes(first?.message ?? '');
  const signature = bytes(first?.certificate.signature ?? '');
  const other = bytes(bundles.otherNetworkKey);
  for (let round = 0; round < 2; round += 1) {
    expect(holds(() => verifySignature(signed, signature, networkKey))).toBe(true);
    expect(holds(() => verifySignature(signed.subarray(1), signature, networkKey))).toBe(false);
    expect(holds(() => verifySignature(bytes(second?.message ?? ''), signature, networkKey))).toBe(false);
    expect(holds(() => verifySignature(signed, bytes(second?.certificate.signature ?? ''), networkKey))).toBe(false);
    expect(holds(() => verifySignature(signed, signature, other))).toBe(false);
  }
});

describe('network keys', () => {
  test.each(file.networkKeys)('$name', ({ key, valid }) => {
    expect(holds(() => decodeKey(bytes(key)))).toBe(valid);
  });
});

describe('seeds', () => {
  test.each(file.seeds)('of epoch $epoch, view $view', ({ epoch, view, message, seed }) => {
    const signed = seedMessage(chainId, BigInt(epoch), BigInt(view));
    expect(toHex(signed)).toBe(message);
    expect(holds(() => verifySignature(signed, bytes(seed), networkKey))).toBe(true);
    const other = seedMessage(chainId, BigInt(epoch), BigInt(view) - 1n);
    expect(holds(() => verifySignature(other, bytes(seed), networkKey))).toBe(false);
  });
});
