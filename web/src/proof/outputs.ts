// The link from delivered files to what a proved order, or a proved map, says of its outputs.
// Spec: specs/0002-proof-bundle.md §7 and §13. The same comparison is made in Rust (`chain/proof/src/outputs.rs`).

import { blake3 } from '@noble/hashes/blake3.js';
import { concat, fromHex, toHex } from './bytes.js';
import { committedUnits, type Order } from './market.js';

/** Most units that are compared: the steps of the largest map. */
export const UNITS_MAX = 1_048_576;
/** Bytes of a name. */
const NAME_BYTES = 32;

/** What a proved file says that the outputs of a job are. */
export type Results =
  /** Of an order: one hash over the names of all outputs, and of a job of several segments of the lists of their states. It does not tell one from another. */
  | { kind: 'root'; root: string; units: number }
  /** Of a map: each output, in unit order. */
  | { kind: 'names'; outputs: NamedOutput[] };

/** An output of a map. */
export interface NamedOutput {
  name: string;
  /** Whether all steps that lead to it stand in windows that count. Else nothing but the customer's signature says that it is the result. */
  isCovered: boolean;
}

/** One way in which outputs are not those that are proved. */
export type Difference =
  | { kind: 'missing'; unit: number }
  | { kind: 'output'; unit: number; got: string; expected: string }
  | { kind: 'root'; got: string; expected: string }
  | { kind: 'additional'; got: number; expected: number };

/** What came of a comparison. */
export interface Comparison {
  /** Outputs that are proved. */
  units: number;
  /** Outputs that are known to be equal: of an order all of them or none. */
  equal: number;
  /** Of the equal ones, those that only the customer says are the job's. */
  uncovered: number;
  /** All differences, those of one unit in unit order; empty: every output is the proved one. */
  differences: Difference[];
}

/** Name of one unit output: BLAKE3 of its bytes. */
export function outputName(output: Uint8Array): string {
  return toHex(blake3(output));
}

/**
 * Result root of a job: BLAKE3 of the BLAKE3 hashes of the unit outputs, in unit order. Of a job of several segments the lists of the units' states (32 bytes
 * for the name of each) follow the outputs.
 */
export function resultRoot(outputs: Iterable<Uint8Array>): string {
  return toHex(blake3(concat(...Array.from(outputs, (output) => blake3(output)))));
}

/** What a proved order binds; `undefined` if nothing was delivered. */
export function resultsOfOrder(order: Order): Results | undefined {
  const root = order.resultRoot;
  if (/^0x0+$/.test(root)) return undefined;
  return { kind: 'root', root, units: Number(committedUnits(order)) };
}

/**
 * Holds the names of outputs (`outputName`), in unit order, against what a report proves of them (`Report.results`). `undefined` stands for an output
 * that is not there; outputs behind the end of the list are not there either. Of an order whose job has several segments the names of the lists of states
 * follow, one a unit: without them its outputs are never found equal. Throws `RangeError` above `UNITS_MAX` units.
 */
export function compareResults(results: Results, found: readonly (string | undefined)[]): Comparison {
  const units = results.kind === 'root' ? results.units : results.outputs.length;
  if (units > UNITS_MAX) throw new RangeError(`the job has more units than are compared: got=${units} max=${UNITS_MAX}`);
  if (results.kind === 'root' && isRootWithLists(results, found)) return { units, equal: units, uncovered: 0, differences: [] };
  const comparison = results.kind === 'root' ? compareRoot(results, found) : compareNames(results.outputs, found);
  if (found.length > units) comparison.differences.push({ kind: 'additional', got: found.length, expected: units });
  return comparison;
}

/** Two names in the place of one would give the same root, so there is none of another length. */
function nameBytes(name: string | undefined): Uint8Array | undefined {
  const bytes = name === undefined ? undefined : fromHex(name);
  return bytes?.length === NAME_BYTES ? bytes : undefined;
}

/** Whether the root is that of all outputs and as many lists of states: no root is that of outputs alone, too. */
function isRootWithLists({ root, units }: { root: string; units: number }, found: readonly (string | undefined)[]): boolean {
  if (units === 0 || found.length !== 2 * units) return false;
  const hasher = blake3.create();
  for (const name of found) {
    const bytes = nameBytes(name);
    if (bytes === undefined) return false;
    hasher.update(bytes);
  }
  return toHex(hasher.digest()) === root;
}

function compareRoot({ root, units }: { root: string; units: number }, found: readonly (string | undefined)[]): Comparison {
  const hasher = blake3.create();
  const differences: Difference[] = [];
  for (let unit = 0; unit < units; unit++) {
    const bytes = nameBytes(found[unit]);
    if (bytes === undefined) differences.push({ kind: 'missing', unit });
    else hasher.update(bytes);
  }
  const got = toHex(hasher.digest());
  const isWhole = differences.length === 0;
  if (isWhole && got !== root) differences.push({ kind: 'root', got, expected: root });
  return { units, equal: isWhole && got === root ? units : 0, uncovered: 0, differences };
}

function compareNames(outputs: NamedOutput[], found: readonly (string | undefined)[]): Comparison {
  const comparison: Comparison = { units: outputs.length, equal: 0, uncovered: 0, differences: [] };
  outputs.forEach(({ name, isCovered }, unit) => {
    const got = found[unit];
    if (got === undefined) comparison.differences.push({ kind: 'missing', unit });
    else if (got !== name) comparison.differences.push({ kind: 'output', unit, got, expected: name });
    else {
      comparison.equal += 1;
      if (!isCovered) comparison.uncovered += 1;
    }
  });
  return comparison;
}

/** A difference in words, without a full stop. */
export function describeDifference(difference: Difference): string {
  switch (difference.kind) {
    case 'missing':
      return `the output of unit ${difference.unit} is missing, or not whole`;
    case 'output':
      return `the output of unit ${difference.unit} is another: got=${difference.got} expected=${difference.expected}`;
    case 'root':
      return (
        "at least one output is another, and an order's certificate does not tell which: " +
        `got=${difference.got} expected=${difference.expected}`
      );
    case 'additional':
      return `there are more outputs than units: got=${difference.got} expected=${difference.expected}`;
  }
}
