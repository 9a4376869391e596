// Reading the small part of JSON that bundles use: objects, arrays and strings without escapes.
//
// Full JSON has corners in which two parsers disagree (duplicate keys, escapes, number precision). None of them exists here,
// so this verifier and the one in Rust cannot disagree either. Spec: specs/0002-proof-bundle.md §2.

import { fromHex } from './bytes.js';

/** Largest bundle in bytes, and largest file of any other format than the certificate of a map. */
export const BUNDLE_BYTES_MAX = 1_048_576;

/** Largest certificate of a map in bytes. */
export const MAP_BYTES_MAX = 16_777_216;

const DEPTH_MAX = 8;

/**
 * Most strings, arrays and objects of a file, so that 16 MiB of brackets do not become a hundred times as much memory. A map's
 * certificate with all that it may have has some 86,000, and no other format has more: above that step 1 refuses anyway.
 */
const VALUES_MAX = 131_072;

/** The input is not what the step asks for. The message is a sentence without a full stop. */
export class Refused extends Error {}

/** A parsed value. */
export type Json = string | Json[] | Fields;

/** The fields of one object, taken out by name until none is left. */
export class Fields {
  private readonly entries: [string, Json][];

  constructor(entries: [string, Json][]) {
    this.entries = entries;
  }

  take(name: string): Json {
    const at = this.entries.findIndex(([field]) => field === name);
    const [entry] = at < 0 ? [] : this.entries.splice(at, 1);
    if (entry === undefined) throw new Refused(`field is missing: field=${name}`);
    return entry[1];
  }

  /** Whether a field is there that nobody took yet. */
  has(name: string): boolean {
    return this.entries.some(([field]) => field === name);
  }

  /** Refuses fields that nobody took, which includes the second of two equal ones. */
  close(): void {
    const [first] = this.entries;
    if (first !== undefined) throw new Refused(`field is unknown or repeated: field=${first[0].slice(0, 40)}`);
  }

  object(name: string): Fields {
    const value = this.take(name);
    return value instanceof Fields ? value : wrong(name, 'an object');
  }

  text(name: string): string {
    return text(this.take(name), name);
  }

  array(name: string, max: number): Json[] {
    return array(this.take(name), name, max);
  }

  /** A quantity of at most `bits` bits, 256 at most. */
  quantity(name: string, bits: number): bigint {
    const value = this.text(name);
    if (value.length > 66 || !/^0x(?:0|[1-9a-f][0-9a-f]*)$/.test(value)) {
      return wrong(name, 'a quantity: 0x and the shortest lower-case hexadecimal');
    }
    const number = BigInt(value);
    if (number >> BigInt(bits) !== 0n) throw new Refused(`number has more than ${bits} bits: field=${name}`);
    return number;
  }

  number(name: string): bigint {
    return this.quantity(name, 64);
  }

  bytes(name: string): Uint8Array {
    return bytes(this.text(name), name);
  }

  fixed(name: string, length: number): Uint8Array {
    return fixed(this.text(name), name, length);
  }

  /** The text of a byte string of exactly this length. */
  hex(name: string, length: number): string {
    const value = this.text(name);
    fixed(value, name, length);
    return value;
  }

  list(name: string, max: number): Uint8Array[] {
    return list(this.take(name), name, max);
  }
}

/** Refuses a field. */
export function wrong(name: string, want: string): never {
  throw new Refused(`field is not ${want}: field=${name}`);
}

/** An array of byte strings. */
export function list(json: Json, name: string, max: number): Uint8Array[] {
  return array(json, name, max).map((item) => bytes(text(item, name), name));
}

/** A string. */
export function text(json: Json, name: string): string {
  return typeof json === 'string' ? json : wrong(name, 'a string');
}

/** The bytes of a string, which must have exactly this many. */
export function fixed(value: string, name: string, length: number): Uint8Array {
  const decoded = bytes(value, name);
  if (decoded.length !== length) {
    throw new Refused(`wrong length: field=${name} got_bytes=${decoded.length} want_bytes=${length}`);
  }
  return decoded;
}

function bytes(value: string, name: string): Uint8Array {
  return fromHex(value) ?? wrong(name, 'bytes: 0x and two lower-case digits per byte');
}

function array(json: Json, name: string, max: number): Json[] {
  if (!Array.isArray(json)) return wrong(name, 'an array');
  if (json.length > max) throw new Refused(`too many items: field=${name} got=${json.length} max=${max}`);
  return json;
}

/** Refuses a file that is longer than its format allows. */
export function limit(length: number, max: number): void {
  if (length > max) throw new Refused(`too large: got_bytes=${length} max_bytes=${max}`);
}

/** Reads exactly one object. The input is hostile, and as long as the longest format may be: the caller looks at its own. */
export function parse(input: Uint8Array): Fields {
  limit(input.length, MAP_BYTES_MAX);
  // One character per byte, whatever the bytes: everything beyond ASCII is refused below.
  const parser = new Parser(new TextDecoder('latin1').decode(input));
  return parser.document();
}

class Parser {
  private at = 0;
  private values = 0;
  private readonly source: string;

  constructor(source: string) {
    this.source = source;
  }

  document(): Fields {
    this.space();
    if (this.source[this.at] !== '{') this.fail('an object');
    const value = this.object(1);
    this.space();
    if (this.at < this.source.length) this.fail('the end');
    return value;
  }

  private fail(expected: string): never {
    throw new Refused(`not a bundle's JSON: expected ${expected} at byte ${this.at}`);
  }

  private space(): void {
    for (;;) {
      const code = this.source.charCodeAt(this.at);
      if (code !== 32 && code !== 9 && code !== 10 && code !== 13) return;
      this.at++;
    }
  }

  private eat(character: string): boolean {
    if (this.source[this.at] !== character) return false;
    this.at++;
    return true;
  }

  private value(depth: number): Json {
    const next = this.source[this.at];
    this.values++;
    if (this.values > VALUES_MAX) throw new Refused(`too many values at byte ${this.at}`);
    if (next === '"') return this.string();
    if (next !== '{' && next !== '[') this.fail('an object, an array or a string');
    if (depth >= DEPTH_MAX) throw new Refused(`nested too deep at byte ${this.at}`);
    return next === '{' ? this.object(depth + 1) : this.items(depth + 1);
  }

  private object(depth: number): Fields {
    this.at++;
    const entries: [string, Json][] = [];
    this.space();
    if (this.eat('}')) return new Fields(entries);
    for (;;) {
      this.space();
      const name = this.string();
      this.space();
      if (!this.eat(':')) this.fail('a colon');
      this.space();
      entries.push([name, this.value(depth)]);
      this.space();
      if (this.eat(',')) continue;
      if (this.eat('}')) return new Fields(entries);
      this.fail('a comma or a closing brace');
    }
  }

  private items(depth: number): Json[] {
    this.at++;
    const items: Json[] = [];
    this.space();
    if (this.eat(']')) return items;
    for (;;) {
      this.space();
      items.push(this.value(depth));
      this.space();
      if (this.eat(',')) continue;
      if (this.eat(']')) return items;
      this.fail('a comma or a closing bracket');
    }
  }

  private string(): string {
    if (!this.eat('"')) this.fail('a quotation mark');
    const start = this.at;
    for (;;) {
      const code = this.source.charCodeAt(this.at);
      if (code === 34) return this.source.slice(start, this.at++);
      if (code === 92) this.fail('a string without backslash');
      if (!(code >= 32 && code <= 126)) this.fail('printable ASCII');
      this.at++;
    }
  }
}
