// Bytes, hexadecimal text and unsigned integers.

const DIGITS = '0123456789abcdef';

/** Text of the bytes: `0x` and two lower-case digits per byte. */
export function toHex(bytes: Uint8Array): string {
  let out = '0x';
  for (const byte of bytes) out += DIGITS.charAt(byte >> 4) + DIGITS.charAt(byte & 15);
  return out;
}

/** Bytes of such a text; `undefined` for anything else, upper case included. */
export function fromHex(text: string): Uint8Array | undefined {
  if (!text.startsWith('0x') || text.length % 2 !== 0) return undefined;
  const bytes = new Uint8Array(text.length / 2 - 1);
  for (let at = 0; at < bytes.length; at++) {
    const high = digit(text.charCodeAt(2 * at + 2));
    const low = digit(text.charCodeAt(2 * at + 3));
    if (high < 0 || low < 0) return undefined;
    bytes[at] = high * 16 + low;
  }
  return bytes;
}

/** Value of a lower-case hexadecimal digit by its character code, -1 for any other character. */
function digit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  if (code >= 97 && code <= 102) return code - 87;
  return -1;
}

/** True if both have the same length and content. Not constant in time: nothing here is secret. */
export function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}

/** All parts one after the other. */
export function concat(...parts: Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** The bytes of ASCII text. */
export function ascii(text: string): Uint8Array {
  // Counted, not iterated over: that takes a hundredth of the time.
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = text.charCodeAt(at);
  return bytes;
}

/** Big-endian unsigned integer. */
export function toBigInt(bytes: Uint8Array): bigint {
  return bytes.length === 0 ? 0n : BigInt(toHex(bytes));
}

/** A word of 32 bytes, big-endian. */
export function toWord(number: bigint): Uint8Array {
  const bytes = new Uint8Array(32);
  let left = number;
  for (let at = 31; at >= 0; at--) {
    bytes[at] = Number(left & 0xffn);
    left >>= 8n;
  }
  return bytes;
}
