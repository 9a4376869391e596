// What a proved certificate of a map means for whoever wants to rely on its results: sentences that claim no more than is proved.
// Spec: specs/0002-proof-bundle.md §12. The same sentences are made in Rust (`chain/proof/src/map/meaning.rs`).

import { drawnUnits, windowStatus } from './audit.js';
import type { MapCertificate } from './map.js';
import type { Carrier, Covered } from './map-value.js';
import { chanceLine, classLine, drawLine, kst, statementLine, unpaidLine } from './meaning.js';

/** The sentences, without full stops. */
export function mapMeaning({ job, statement, block }: MapCertificate, worth: Covered): string[] {
  const { carriers, steps, convicted } = worth;
  const of = `${statement.checked} of ${steps} steps`;
  return [
    ...classLine(job.class, job.outliersPpm),
    ...coveredLines(worth),
    ...drawLines(carriers),
    ...besideLine(worth),
    ...unpaidLine(sum(carriers, 'unpaid'), 'step'),
    ...convictedLine(convicted),
    ...chanceLines(carriers),
    ...bondLines(carriers),
    statementLine(statement, { of, again: of }),
    endLine(carriers, block),
  ];
}

function coveredLines({ steps, covered, carriers }: Covered): string[] {
  const providers = new Set(carriers.map(({ window }) => window.audit.windowProvider)).size;
  const windows = carriers.length === 1 ? '1 audited window' : `${carriers.length} audited windows`;
  const of = providers === 1 ? '1 provider' : `${providers} providers`;
  const lines = [`${covered} of ${steps} steps stand in ${windows} of ${of}`];
  const rest = steps - covered;
  if (rest > 0) {
    const stand = rest === 1 ? '1 step stands' : `${rest} steps stand`;
    lines.push(`UNVERIFIED for anybody but its customer: ${stand} in no audited window`);
  }
  return lines;
}

/** Nothing carries in a class that has no check: the contract opens no window of it. */
function drawLines(carriers: Carrier[]): string[] {
  if (carriers.length === 0) return [];
  const drawn = carriers.reduce((drawn, { window }) => drawn + drawnUnits(window.audit, window.auditId), 0);
  const units = carriers.reduce((units, { steps }) => units + BigInt(steps), 0n);
  return [drawLine({ drawn, units, verified: sum(carriers, 'verified'), checkers: lowest(carriers, 'checkers') }, 'step')];
}

/** Steps that cover nothing are checked as well: who pads a window could have them found right in place of the others. */
function besideLine({ carriers, covered }: Covered): string[] {
  const beside = carriers.reduce((all, { steps }) => all + steps, 0) - covered;
  const verified = sum(carriers, 'verified');
  if (beside === 0 || verified === 0n) return [];
  const steps = beside === 1 ? '1 step of these windows counts' : `${beside} steps of these windows count`;
  const line = `${steps} for nothing here and may be among those found right`;
  return [verified > BigInt(beside) ? line : `UNVERIFIED: ${line}`];
}

function convictedLine(convicted: number): string[] {
  if (convicted === 0) return [];
  return [
    convicted === 1
      ? '1 other window was convicted: nothing of it counts here'
      : `${convicted} other windows were convicted: nothing of them counts here`,
  ];
}

function chanceLines(carriers: Carrier[]): string[] {
  if (carriers.length === 0) return [];
  const [ratePpm, checkers] = [lowest(carriers, 'ratePpm'), lowest(carriers, 'checkers')];
  return [chanceLine({ ratePpm, checkers, segments: 1n }, 'step')];
}

function bondLines(carriers: Carrier[]): string[] {
  if (carriers.length === 0) return [];
  const without = carriers.filter(({ window }) => window.audit.bondWei === 0n).length;
  if (without === 0) return [`at least ${kst(lowest(carriers, 'bondWei'))} of its provider's bond stood behind each window`];
  return [`no bond of a provider stood behind ${without} of these windows`];
}

function endLine(carriers: Carrier[], block: bigint): string {
  const open = carriers.filter(({ window }) => windowStatus(window.audit) === 'open').length;
  if (open === 0) return `final in block ${block}`;
  const go = open === 1 ? 'the audit of 1 window goes' : `the audits of ${open} windows go`;
  return `not final: ${go} on in block ${block}`;
}

function sum(carriers: Carrier[], field: 'unpaid' | 'verified'): bigint {
  return carriers.reduce((sum, { window }) => sum + window.audit[field], 0n);
}

function lowest(carriers: Carrier[], field: 'checkers' | 'ratePpm' | 'bondWei'): bigint {
  const values = carriers.map(({ window }) => window.audit[field]);
  return values.reduce((least, value) => (value < least ? value : least), values[0] ?? 0n);
}
