// Following a path of Merkle-Patricia nodes from a root to a value or to the proof that there is none.
// Spec: specs/0002-proof-bundle.md §4.

import { keccak_256 } from '@noble/hashes/sha3.js';
import { equal, fromHex, toHex } from './bytes.js';
import { Refused } from './json.js';
import { list, type Item } from './rlp.js';

/** Most nodes in one path. */
export const NODES_MAX = 65;

/** Root of the empty trie. */
export const EMPTY_ROOT = '0x56e81f171bcc55a6ff8345e692c0f86e5b48e01b996cadc001622fb5e363b421';
const EMPTY_ROOT_BYTES = fromHex(EMPTY_ROOT) ?? new Uint8Array();

type Next =
  | { kind: 'done'; value: Uint8Array | undefined }
  | { kind: 'hash'; hash: Uint8Array; skip: number }
  | { kind: 'embedded'; node: Uint8Array; skip: number };

/** Gives the items of the node with a hash, `undefined` if they are none; throws {@link Refused} if there is no such node. */
type Source = (hash: Uint8Array) => Item[] | undefined;

/**
 * Follows `nodes` from `root` along the nibbles of `key`. `undefined` means that the key is proved absent.
 *
 * The nodes are hostile; `root` is what the caller believes in. Throws {@link Refused} if the path proves nothing.
 */
export function walk(root: Uint8Array, key: Uint8Array, nodes: Uint8Array[], name: string): Uint8Array | undefined {
  if (equal(root, EMPTY_ROOT_BYTES)) {
    if (nodes.length > 0) throw unused(name, 0, nodes.length);
    return undefined;
  }
  let used = 0;
  const found = descend(root, key, (hash) => {
    const listed = nodes[used];
    if (listed === undefined) {
      throw new Refused(`${name}: the path ends at node ${used}, before the key is decided`);
    }
    if (!equal(keccak_256(listed), hash)) {
      throw new Refused(`${name}: node ${used} does not have the expected hash`);
    }
    used++;
    return list(listed);
  });
  if (found === undefined) throw new Refused(`${name}: node ${used - 1} is malformed`);
  if (used < nodes.length) throw unused(name, used, nodes.length);
  return found.value;
}

/** A node and its keccak256, one character a byte: so that names are found in a map, and compared as the bytes are. */
export interface NamedNode {
  name: string;
  bytes: Uint8Array;
}

/** A node with its name. Costs its hash. */
export function named(bytes: Uint8Array): NamedNode {
  return { name: nameOf(keccak_256(bytes)), bytes };
}

function nameOf(hash: Uint8Array): string {
  return String.fromCharCode(...hash);
}

/** Nodes of many paths, each of them once, and found by its hash. What a path has in common with another is read once. */
export class Pool {
  private readonly nodes: Map<string, { bytes: Uint8Array; items?: Item[] | undefined; used: boolean }>;

  constructor(nodes: readonly NamedNode[]) {
    this.nodes = new Map(nodes.map(({ name, bytes }) => [name, { bytes, used: false }]));
  }

  /** As {@link walk}, but that no order of nodes is asked for; `name` says what the path is. */
  walk(root: Uint8Array, key: Uint8Array, name: string): Uint8Array | undefined {
    if (equal(root, EMPTY_ROOT_BYTES)) return undefined;
    const found = descend(root, key, (hash) => this.take(hash, name));
    if (found === undefined) throw new Refused(`${name}: a node is malformed`);
    return found.value;
  }

  /** Nodes that no path led through. */
  unused(): number {
    return [...this.nodes.values()].filter(({ used }) => !used).length;
  }

  private take(hash: Uint8Array, name: string): Item[] | undefined {
    const node = this.nodes.get(nameOf(hash));
    if (node === undefined) throw new Refused(`${name}: there is no node with the hash ${toHex(hash)}`);
    if (!node.used) node.items = list(node.bytes);
    node.used = true;
    return node.items;
  }
}

/** Decides a key under the root of a trie that is not empty; `undefined` if a node is malformed. */
function descend(root: Uint8Array, key: Uint8Array, source: Source): { value: Uint8Array | undefined } | undefined {
  let left = nibbles(key);
  let next: Next = { kind: 'hash', hash: root, skip: 0 };
  // Each round but the last takes a nibble at least.
  for (;;) {
    if (next.kind === 'done') return { value: next.value };
    const entered = enter(next.kind === 'embedded' ? list(next.node) : source(next.hash), left);
    if (entered === undefined) return undefined;
    if (entered.kind !== 'done') left = left.subarray(entered.skip);
    next = entered;
  }
}

function unused(name: string, used: number, got: number): Refused {
  return new Refused(`${name}: only ${used} of ${got} nodes belong to the path`);
}

function nibbles(key: Uint8Array): Uint8Array {
  const out = new Uint8Array(key.length * 2);
  key.forEach((byte, at) => {
    out[2 * at] = byte >> 4;
    out[2 * at + 1] = byte & 15;
  });
  return out;
}

/** Decides one node by its items; `undefined` if it is malformed. */
function enter(parts: Item[] | undefined, left: Uint8Array): Next | undefined {
  if (parts?.length === 2) return short(parts, left);
  if (parts?.length !== 17) return undefined;
  const nibble = left[0];
  if (nibble === undefined) {
    const value = parts[16];
    if (value?.kind !== 'text') return undefined;
    return { kind: 'done', value: value.content.length > 0 ? value.content : undefined };
  }
  const child = parts[nibble];
  if (child?.kind === 'text' && child.content.length === 0) return { kind: 'done', value: undefined };
  return follow(child, 1);
}

/** Decides a leaf or an extension. */
function short([path, value]: Item[], left: Uint8Array): Next | undefined {
  if (path?.kind !== 'text') return undefined;
  const flag = path.content[0];
  if (flag === undefined) return undefined;
  const kind = flag >> 4;
  const odd = kind === 1 || kind === 3;
  if (kind > 3 || (!odd && (flag & 15) !== 0)) return undefined;
  const own = nibbles(path.content).subarray(odd ? 1 : 2);
  if (kind >= 2) {
    if (value?.kind !== 'text' || value.content.length === 0) return undefined;
    return { kind: 'done', value: equal(own, left) ? value.content : undefined };
  }
  if (own.length === 0) return undefined;
  const child = follow(value, own.length);
  if (child === undefined) return undefined;
  return equal(own, left.subarray(0, own.length)) ? child : { kind: 'done', value: undefined };
}

/** A reference to a child that exists. */
function follow(child: Item | undefined, skip: number): Next | undefined {
  if (child?.kind === 'text') {
    return child.content.length === 32 ? { kind: 'hash', hash: child.content, skip } : undefined;
  }
  return child !== undefined && child.whole.length < 32 ? { kind: 'embedded', node: child.whole, skip } : undefined;
}
