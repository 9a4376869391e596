// What a proved order means for whoever wants to rely on its result, in sentences that claim no more than is proved.
// Spec: specs/0002-proof-bundle.md §11. The same sentences are made in Rust (`chain/proof/src/meaning.rs`).

import { drawnUnits, windowId, windowStatus, type Audit } from './audit.js';
import type { CustomerStatement, Job } from './certificate.js';
import type { Claim } from './claim.js';
import { committedUnits, isFinal, type Order } from './market.js';

/** Share of the seats that is taken to call anything right: a third, parts per million, rounded up. */
const COLLUDING_PPM = 333_334n;
const PPM = 1_000_000n;
const WEI_PER_KST = 1_000_000_000_000_000_000n;

/** The customer's part of a result certificate. */
export interface Beside {
  job: Job;
  /** Whom the customer of a private order named; nobody if the file does not tell. */
  named: readonly string[];
  statement: CustomerStatement;
}

/** The sentences, without full stops; none for claims that are not about an order that exists. */
export function meaning(claim: Claim, beside?: Beside): string[] {
  if (claim.kind !== 'job-result' && claim.kind !== 'job-audit') return [];
  const { order, block } = claim;
  const audit = claim.kind === 'job-audit' ? claim.audit : undefined;
  if (order.status === 'none') return [];
  return [
    ...classLine(beside?.job.class ?? audit?.class ?? 0n, beside?.job.outliersPpm),
    ...partLine(order),
    ...checkLines(order, audit, beside?.named ?? []),
    ...(beside === undefined ? [] : [ownLine(order, beside)]),
    endLine(order, audit, block),
  ];
}

/** What it says of a result that it is right; nothing of a class that is none. */
export function classLine(kind: bigint, outliersPpm: bigint | undefined): string[] {
  switch (kind) {
    case 1n:
      return ['class exact: every machine gives the same bytes, or one is wrong'];
    case 2n:
      return ["class self-checking: the job's own checker program tells right from wrong"];
    case 3n:
      return [toleranceLine(outliersPpm)];
    case 4n:
      return ['class statistical: UNVERIFIED, there is no check for such a result'];
    case 5n:
      return ['class opaque: UNVERIFIED, there is no check for such a result'];
    default:
      return [];
  }
}

/** Of an order that was stopped before all of it was done. */
function partLine(order: Order): string[] {
  const { stopped, resultRoot, units } = order;
  const done = committedUnits(order);
  if (stopped !== 1n || /^0x0+$/.test(resultRoot) || done >= units) return [];
  return [`the customer stopped the order: its result is the first ${done} of ${units} units`];
}

function toleranceLine(outliersPpm: bigint | undefined): string {
  if (outliersPpm === 0n) {
    return 'class tolerance: right means that all elements lie within the tolerance that was ordered';
  }
  const within = 'class tolerance: right means within the tolerance that was ordered; ';
  return outliersPpm === undefined
    ? `${within}the share of elements that the job declares may lie outside`
    : `${within}up to ${percent(outliersPpm)} of the elements of each output may lie outside`;
}

function checkLines(order: Order, audit: Audit | undefined, named: readonly string[]): string[] {
  if (audit !== undefined) {
    if (windowStatus(audit) === 'none') return ['nothing was committed, so nothing was checked'];
    return auditLines(order, audit, named);
  }
  if (order.mode !== 'own') return ['this bundle does not show the audit: ask for one of kind job-audit'];
  if (/^0x0+$/.test(order.resultRoot)) return ['nothing was delivered, so nothing was checked'];
  return ['UNVERIFIED for anybody but its customer: nobody else checked it'];
}

function auditLines(order: Order, audit: Audit, named: readonly string[]): string[] {
  const { windowUnits: units, verified, canaryUnit, bondWei, ratePpm } = audit;
  const probation = ratePpm >= PPM ? ' (probation): every unit was drawn' : '';
  const names = order.mode === 'private' ? namedLine(named) : [];
  const lines = [foundLine(order, audit, units, verified), ...names, ...notPaidLine(order, audit)];
  if (canaryUnit > 0n) lines.push(`unit ${canaryUnit - 1n} was a canary: its customer knew that it is wrong`);
  if (order.mode === 'audited') {
    lines.push(orderChanceLine(audit));
    lines.push(
      bondWei === 0n
        ? `no bond of the provider stood behind it${probation}`
        : `${kst(bondWei)} of the provider's bond stood behind it${audit.convicted === 1n ? ', and are slashed' : ''}`,
    );
  }
  return lines;
}

/** Whom the customer named, if the file tells. */
function namedLine(named: readonly string[]): string[] {
  if (named.length === 0) return [];
  const who = named.length === 1 ? '1 checker was' : `${named.length} checkers were`;
  return [`${who} named: ${named.join(', ')}`];
}

/** What is not paid, and why. */
function notPaidLine(order: Order, { canaryUnit, unpaid }: Audit): string[] {
  if (canaryUnit > 0n) return unpaidCanaryLine(unpaid);
  return order.mode === 'private' ? unpaidPrivateLine(unpaid) : unpaidLine(unpaid, 'unit');
}

function foundLine(order: Order, audit: Audit, units: bigint, verified: bigint): string {
  if (order.mode === 'private') {
    return (
      'UNVERIFIED (private): only the checkers that its customer named saw it; ' +
      `they found ${verified} of ${units} units right`
    );
  }
  if (audit.convicted === 1n) return 'a unit was found wrong: the provider is convicted, and no unit of it is paid';
  if (windowStatus(audit) === 'open') return `the audit goes on: ${verified} units were found right so far`;
  const drawn = drawnUnits(audit, windowId(order.order));
  const beside = audit.canaryUnit > 0n ? ' beside the canary' : '';
  return drawLine({ drawn, units, verified, checkers: audit.checkers }, 'unit', beside);
}

/** What a draw picked and what became of it. */
export interface Draw {
  drawn: number;
  units: bigint;
  verified: bigint;
  checkers: bigint;
}

/** What the lot drew, and what was found, of an audit in which nothing was found wrong but what `beside` names. */
export function drawLine({ drawn, units, verified, checkers }: Draw, piece: string, beside = ''): string {
  const of = `${drawn} of ${units} ${piece}s`;
  if (verified === 0n) return `UNVERIFIED: ${of} were drawn, and nobody found one right`;
  const machines = checkers === 1n ? 'a machine' : `${checkers} machines`;
  const found = `${machines} drawn by lot for each found ${verified} right`;
  return `the lot drew ${of}; ${found}, and none${beside} was found wrong`;
}

/** What is not paid; nothing if there is none. */
export function unpaidLine(unpaid: bigint, piece: string): string[] {
  if (unpaid === 0n) return [];
  return [
    unpaid === 1n
      ? `1 ${piece} lay outside the tolerance and is not paid`
      : `${unpaid} ${piece}s lay outside the tolerance and are not paid`,
  ];
}

/** The same of a private order: what its checkers find wrong is not paid, and goes no further. */
function unpaidPrivateLine(unpaid: bigint): string[] {
  if (unpaid === 0n) return [];
  const how = 'found wrong, or outside the tolerance, by a named checker';
  return [unpaid === 1n ? `1 unit was ${how} and is not paid` : `${unpaid} units were ${how} and are not paid`];
}

/** The same of an order with a canary, which need not be among them: referees may have called it right. */
function unpaidCanaryLine(unpaid: bigint): string[] {
  if (unpaid === 0n) return [];
  return [
    unpaid === 1n
      ? '1 unit is not paid: the canary, or one that its checkers did not find right'
      : `${unpaid} units are not paid: the canary, or ones that their checkers did not find right`,
  ];
}

function orderChanceLine({ ratePpm, checkers, class: kind, segments }: Audit): string {
  // A checker program looks at the whole unit.
  if (kind === 2n || segments <= 1n) return chanceLine({ ratePpm, checkers, segments: 1n }, 'unit');
  return chanceLine({ ratePpm, checkers, segments }, 'segment of a unit');
}

/** What the draw could find: one wrong unit, or one wrong segment of a unit of which one is checked. */
export function chanceLine(terms: { ratePpm: bigint; checkers: bigint; segments: bigint }, piece: string): string {
  const rate = terms.ratePpm < PPM ? terms.ratePpm : PPM;
  const drawn = rate / terms.segments;
  let allCollude = PPM;
  for (let checker = 0n; checker < terms.checkers && checker < 16n; checker++) {
    allCollude = (allCollude * COLLUDING_PPM + PPM - 1n) / PPM;
  }
  const found = (drawn * (PPM - allCollude)) / PPM;
  return (
    `one wrong ${piece} is looked at with a chance of ${percent(drawn)}, and found with ${percent(found)} ` +
    'even if a third of all checkers call it right'
  );
}

function ownLine(order: Order, { job, statement }: Beside): string {
  const of = `${statement.checked} of ${committedUnits(order)} units`;
  return statementLine(statement, { of, again: job.segments === 1n ? of : `a segment of ${of}` });
}

/** What the customer says: `of` is what it looked at, `again` what it ran again. */
export function statementLine(statement: CustomerStatement, { of, again }: { of: string; again: string }): string {
  const { check, finding, right } = statement;
  if (check === 'none') return 'the customer says that it checked nothing itself';
  const how = check === 'sample' ? `it ran ${again} again` : `the job's checker program looked at ${of}`;
  switch (finding) {
    case 'none':
      return `the customer says: ${how}, and it found nothing`;
    case 'right':
      return `the customer says: ${how}, and all of them are right`;
    case 'wrong':
      return `the customer says: ${how}, ${right} are right, and the result is wrong`;
    case 'unknown':
      return `the customer says: ${how}, ${right} are right, and the rest it could not tell`;
  }
}

function endLine(order: Order, audit: Audit | undefined, block: bigint): string {
  const { status, units } = order;
  if (!isFinal(status)) return `not final: the order is ${status} in block ${block}`;
  if (status === 'audited' || status === 'accepted' || status === 'settled') {
    const paid = order.mode !== 'own' || order.stopped === 1n ? order.paidUnits : units;
    return `${paid} of ${units} units are paid: final in block ${block}`;
  }
  if (audit !== undefined && windowStatus(audit) === 'open') {
    return `the order is ${status} and refunded in block ${block}; its audit is not final`;
  }
  return `nothing is paid, the order is ${status}: final in block ${block}`;
}

/** Parts per million as `3 %`, `1.98 %`. */
function percent(ppm: bigint): string {
  return `${trimmed(ppm / 10_000n, (ppm % 10_000n).toString().padStart(4, '0'))} %`;
}

/** Exact, without trailing zeros. */
export function kst(wei: bigint): string {
  return `${trimmed(wei / WEI_PER_KST, (wei % WEI_PER_KST).toString().padStart(18, '0'))} KST`;
}

function trimmed(whole: bigint, digits: string): string {
  const rest = digits.replace(/0+$/, '');
  return rest === '' ? whole.toString() : `${whole}.${rest}`;
}
