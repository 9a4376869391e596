// Canonical RLP, one level at a time. Spec: specs/0002-proof-bundle.md §4.

/** One item: a string's content, or a list's content and its whole encoding. */
export type Item = { kind: 'text'; content: Uint8Array } | { kind: 'list'; content: Uint8Array; whole: Uint8Array };

/** The items of exactly one list; `undefined` if it is no canonical list. */
export function list(bytes: Uint8Array): Item[] | undefined {
  const first = split(bytes, 0);
  return first?.item.kind === 'list' && first.end === bytes.length ? items(first.item.content) : undefined;
}

/** The items that follow each other in a list's content. */
export function items(content: Uint8Array): Item[] | undefined {
  const out: Item[] = [];
  for (let at = 0; at < content.length; ) {
    const next = split(content, at);
    if (next === undefined) return undefined;
    out.push(next.item);
    at = next.end;
  }
  return out;
}

/** The content of exactly one string. */
export function text(bytes: Uint8Array): Uint8Array | undefined {
  const first = split(bytes, 0);
  return first?.item.kind === 'text' && first.end === bytes.length ? first.item.content : undefined;
}

/** The content of an item that must be a string of exactly this length. */
export function fixed(item: Item | undefined, length: number): Uint8Array | undefined {
  return item?.kind === 'text' && item.content.length === length ? item.content : undefined;
}

/** An unsigned integer without leading zeros of at most `bytesMax` bytes. */
export function integer(item: Item | undefined, bytesMax: number): bigint | undefined {
  if (item?.kind !== 'text' || item.content.length > bytesMax || item.content[0] === 0) return undefined;
  let number = 0n;
  for (const byte of item.content) number = (number << 8n) | BigInt(byte);
  return number;
}

/** The RLP of an unsigned integer. */
export function encodeInteger(number: bigint): Uint8Array {
  if (number === 0n) return Uint8Array.of(0x80);
  const digits: number[] = [];
  for (let left = number; left > 0n; left >>= 8n) digits.unshift(Number(left & 0xffn));
  const single = digits.length === 1 && (digits[0] ?? 0) < 0x80;
  return Uint8Array.from(single ? digits : [0x80 + digits.length, ...digits]);
}

/** Splits the item at `at` off. Refuses every encoding but the shortest. */
function split(bytes: Uint8Array, at: number): { item: Item; end: number } | undefined {
  const first = bytes[at];
  if (first === undefined) return undefined;
  if (first < 0x80) return { item: { kind: 'text', content: bytes.subarray(at, at + 1) }, end: at + 1 };
  const base = first < 0xc0 ? 0x80 : 0xc0;
  let start = at + 1;
  let length = first - base;
  if (length > 55) {
    const width = length - 55;
    // A length of more than four bytes is longer than any input.
    if (width > 4 || bytes[start] === 0 || start + width > bytes.length) return undefined;
    length = 0;
    for (const byte of bytes.subarray(start, start + width)) length = length * 256 + byte;
    if (length < 56) return undefined;
    start += width;
  }
  const end = start + length;
  if (end > bytes.length) return undefined;
  const content = bytes.subarray(start, end);
  if (base === 0xc0) return { item: { kind: 'list', content, whole: bytes.subarray(at, end) }, end };
  if (length === 1 && (content[0] ?? 0) < 0x80) return undefined;
  return { item: { kind: 'text', content }, end };
}
