// Every single mutation of a bundle by the rule of specs/0002-proof-bundle.md §9. Only tests use it.
//
// Written a second time in Rust (`chain/proof/tests/proof/mutants.rs`); a digest in the vectors shows that both make the same.

/** A bundle as a tree that keeps the order of fields and allows fields twice. */
type Tree = string | Tree[] | Fields;

class Fields {
  readonly entries: [string, Tree][];

  constructor(entries: [string, Tree][]) {
    this.entries = entries;
  }
}

/** Position of a value: indices from the root. */
type Place = number[];

/** The mutants; between the two lists the rule puts the unchanged text under the other network's key. */
export interface Mutants {
  changed: Iterable<string>;
  truncated: string[];
}

/** All mutants of a bundle's text. `foreign`: the texts of the other bundles, in file order. */
export function mutants(text: string, foreign: string[]): Mutants {
  const tree = read(text);
  const places: Place[] = [];
  visit(tree, [], places);
  return { changed: changed(tree, places, foreign), truncated: [text.slice(0, -1), text.slice(1), ''] };
}

function* changed(tree: Tree, places: Place[], foreign: string[]): Generator<string> {
  const rules: ((value: Tree) => Iterable<Tree>)[] = [leaves, arrays, objects];
  for (const rule of rules) {
    for (const place of places) {
      for (const value of rule(at(tree, place))) yield write(replace(tree, place, value));
    }
  }
  yield* foreignHeaders(tree, foreign);
}

function children(tree: Tree): Tree[] {
  if (typeof tree === 'string') return [];
  return Array.isArray(tree) ? tree : tree.entries.map(([, value]) => value);
}

function visit(tree: Tree, place: Place, places: Place[]): void {
  places.push(place);
  children(tree).forEach((child, index) => visit(child, [...place, index], places));
}

function at(tree: Tree, place: Place): Tree {
  return place.reduce<Tree>((value, index) => children(value)[index] ?? '', tree);
}

/** The tree with another value at a place; the rest is shared. */
function replace(tree: Tree, [index, ...rest]: Place, value: Tree): Tree {
  if (index === undefined) return value;
  if (Array.isArray(tree)) return tree.with(index, replace(tree[index] ?? '', rest, value));
  if (typeof tree === 'string') throw new Error('a string has no children');
  const [name, old] = tree.entries[index] ?? ['', ''];
  return new Fields(tree.entries.with(index, [name, replace(old, rest, value)]));
}

function* leaves(text: Tree): Generator<string> {
  if (typeof text !== 'string') return;
  const put = (index: number, character: string) => text.slice(0, index) + character + text.slice(index + 1);
  if (/^0x[0-9a-f]+$/i.test(text)) {
    const stride = text.length % 2 === 0 ? 2 : 1;
    for (let index = 1 + stride; index < text.length; index += stride) {
      yield put(index, (Number.parseInt(text.charAt(index), 16) ^ 1).toString(16));
    }
  } else {
    for (let index = 0; index < text.length; index++) {
      yield put(index, String.fromCharCode(text.charCodeAt(index) + 1));
    }
  }
  if (text !== '') yield text.slice(0, -1);
  yield `${text}00`;
  yield '';
  if (text.toUpperCase() !== text) yield text.toUpperCase();
}

function* arrays(items: Tree): Generator<Tree> {
  if (!Array.isArray(items)) return;
  const last = items.at(-1);
  if (last !== undefined) {
    yield items.slice(1);
    yield items.slice(0, -1);
    yield [...items, last];
    const reversed = items.toReversed();
    if (write(reversed) !== write(items)) yield reversed;
  }
  yield [...items, '0x80'];
  yield '0x';
}

function* objects(object: Tree): Generator<Tree> {
  if (!(object instanceof Fields)) return;
  const { entries } = object;
  for (const [index, entry] of entries.entries()) {
    yield new Fields(entries.toSpliced(index, 1));
    yield new Fields(entries.toSpliced(index, 0, entry));
    yield new Fields(entries.with(index, [entry[0], []]));
  }
  yield new Fields([...entries, ['x', '0x']]);
}

function* foreignHeaders(tree: Tree, foreign: string[]): Generator<string> {
  const theirs = foreign.map((text) => headersOf(read(text)).headers[0] ?? '');
  const { headers, place } = headersOf(tree);
  for (const [index, own] of headers.entries()) {
    for (const other of theirs) {
      if (other !== own) yield write(replace(tree, [place, index], other));
    }
  }
}

function headersOf(tree: Tree): { headers: Tree[]; place: number } {
  const entries = tree instanceof Fields ? tree.entries : [];
  const place = entries.findIndex(([name]) => name === 'headers');
  const headers = entries[place]?.[1];
  return { headers: Array.isArray(headers) ? headers : [], place };
}

/** Reads the written form of a bundle. The fields become entries, so that one may stand twice. */
function read(text: string): Tree {
  const convert = (value: unknown): Tree => {
    if (typeof value === 'string') return value;
    if (Array.isArray(value)) return value.map(convert);
    return new Fields(Object.entries(value ?? {}).map(([name, field]) => [name, convert(field)]));
  };
  return convert(JSON.parse(text));
}

function write(tree: Tree): string {
  if (typeof tree === 'string') return `"${tree}"`;
  if (Array.isArray(tree)) return `[${tree.map(write).join(',')}]`;
  return `{${tree.entries.map(([name, value]) => `"${name}":${write(value)}`).join(',')}}`;
}
