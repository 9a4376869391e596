// The result certificate: a proved order, the job that it names, and what its customer says about its own check.
// Spec: specs/0002-proof-bundle.md §10.

import { secp256k1 } from '@noble/curves/secp256k1.js';
import { keccak_256 } from '@noble/hashes/sha3.js';
import { windowStatus } from './audit.js';
import { ascii, concat, fromHex, toBigInt, toHex, toWord } from './bytes.js';
import { readNestedBundle, type Bundle, type Claim } from './claim.js';
import { Refused, wrong, type Fields } from './json.js';
import type { Order } from './market.js';
import { fixed, integer, list } from './rlp.js';

/** Value of the field `format`. */
export const CERTIFICATE_FORMAT = 'keystead-certificate/2';

/** Most checkers that an order names (specs/0008-audit.md §14). */
const NAMED_MAX = 4;
const JOB_BYTES_MAX = 512;
const JOB_ITEMS = 24;

/** How a customer checked, and what it found. */
export const OWN_CHECKS = ['none', 'sample', 'checker-program'] as const;
export const OWN_FINDINGS = ['none', 'right', 'wrong', 'unknown'] as const;

/** What of a job says how far its results can be trusted. */
export interface Job {
  hash: string;
  /** 1 exact, 2 self-checking, 3 tolerance, 4 statistical, 5 opaque. */
  class: bigint;
  units: bigint;
  segments: bigint;
  /** `hash_list` of the unit inputs' names; absent if the job has anything but 32 bytes there. */
  unitsHash: Uint8Array | undefined;
  /** Elements that may lie outside of the tolerance, parts per million. */
  outliersPpm: bigint;
}

/** The customer's own words about its check. Nothing but its signature stands behind them. */
export interface CustomerStatement {
  check: (typeof OWN_CHECKS)[number];
  finding: (typeof OWN_FINDINGS)[number];
  checked: bigint;
  right: bigint;
  ownRatePpm: bigint;
}

/** A result certificate that is well formed. Nothing in it is verified. */
export interface ResultCertificate {
  bundle: Bundle;
  job: Job;
  /** The checkers that the customer of a private order named, in order; none if the file does not tell. */
  named: string[];
  statement: CustomerStatement;
  /** `r || s || v`. */
  signature: Uint8Array;
}

/** Reads the fields after `format`. */
export function readCertificate(fields: Fields): ResultCertificate {
  const bundle = readNestedBundle(fields.object('bundle'));
  const job = readJob(fields.bytes('job')) ?? wrong('job', 'a job spec as specs/0003-job.md has it');
  const named = fields.has('named') ? readNamed(fields) : [];
  const statement = readStatement(fields.object('statement'));
  const signature = fields.fixed('signature', 65);
  fields.close();
  return { bundle, job, named, statement, signature };
}

/** The optional field `named`: absent rather than empty. */
function readNamed(fields: Fields): string[] {
  const names = fields.list('named', NAMED_MAX);
  if (names.length === 0) return wrong('named', '1 to 4 addresses');
  return names.map((name) => {
    if (name.length !== 20) throw new Refused(`wrong length: field=named got_bytes=${name.length} want_bytes=20`);
    return toHex(name);
  });
}

/** As the contract hashes a list of names: each address as a word (specs/0008-audit.md §13). */
function hashOfNames(named: readonly string[]): bigint {
  return toBigInt(keccak_256(concat(...named.map((name) => toWord(BigInt(name))))));
}

/** Reads the object `statement`. */
export function readStatement(fields: Fields): CustomerStatement {
  const name = <T extends string>(field: string, names: readonly T[]): T => {
    const value = fields.text(field);
    return names.find((known) => known === value) ?? wrong(field, `the name of a ${field}`);
  };
  const statement = {
    check: name('check', OWN_CHECKS),
    finding: name('finding', OWN_FINDINGS),
    checked: fields.quantity('checked', 32),
    right: fields.quantity('right', 32),
    ownRatePpm: fields.quantity('ownRatePpm', 32),
  };
  fields.close();
  return statement;
}

/** Reads a job spec's encoding, as far as it matters here. Its hash decides whether it is an order's. */
export function readJob(encoding: Uint8Array): Job | undefined {
  if (encoding.length > JOB_BYTES_MAX) return undefined;
  const items = list(encoding);
  if (items?.length !== JOB_ITEMS) return undefined;
  const number = (item: number): bigint | undefined => {
    const value = integer(items[item], 8);
    return value !== undefined && value >> 32n === 0n ? value : undefined;
  };
  const [version, kind, units, segments, outliersPpm] = [0, 3, 7, 16, 22].map(number);
  if (version !== 2n || kind === undefined || outliersPpm === undefined) return undefined;
  if (kind < 1n || kind > 5n || !units || !segments) return undefined;
  const hash = toHex(keccak_256(concat(ascii('keystead/job/v2'), encoding)));
  return { hash, class: kind, units, segments, unitsHash: fixed(items[6], 32), outliersPpm };
}

/** The order that a claim is about, if it is about one. */
export function orderOf(claim: Claim): Order | undefined {
  return claim.kind === 'job-result' || claim.kind === 'job-audit' ? claim.order : undefined;
}

/** Throws `Refused` unless job, statement and claim belong together; the claim itself is proved elsewhere. */
export function bindCertificate({ bundle, job, named, statement, signature }: ResultCertificate): void {
  const { claim, chainId } = bundle;
  const order = orderOf(claim);
  if (order === undefined) throw new Refused("the bundle's claim is not about an order");
  if (order.jobHash !== job.hash) {
    throw new Refused(`the job is not the order's: its hash is ${job.hash}, the order has ${order.jobHash}`);
  }
  if (order.units !== job.units) {
    throw new Refused(`the job is not the order's: it has ${job.units} units, the order ${order.units}`);
  }
  if (claim.kind === 'job-audit' && windowStatus(claim.audit) !== 'none') {
    for (const field of ['class', 'segments'] as const) {
      const [got, expected] = [claim.audit[field], job[field]];
      if (got !== expected) throw new Refused(`the audit is not the job's: ${field} is ${got}, the job's ${expected}`);
    }
  }
  if (named.length > 0) {
    const expected = claim.kind === 'job-audit' ? claim.audit.named : 0n;
    const got = hashOfNames(named);
    if (got !== expected) {
      const hash = (word: bigint) => toHex(toWord(word));
      throw new Refused(
        `the named checkers are not the audit's: their hash is ${hash(got)}, the window has ${hash(expected)}`,
      );
    }
  }
  if (recover(signature, statementDigest(statement, chainId, order)) !== order.customer) {
    throw new Refused("the statement about the check is not signed by the order's customer");
  }
}

/** What the customer signs. */
function statementDigest(statement: CustomerStatement, chainId: bigint, order: Order): Uint8Array {
  const hash = (text: string) => fromHex(text) ?? new Uint8Array();
  return keccak_256(
    concat(
      ascii('keystead/statement/v1'),
      toWord(chainId).subarray(24),
      toWord(order.order).subarray(24),
      hash(order.jobHash),
      hash(order.resultRoot),
      statementBytes(statement),
    ),
  );
}

/** The customer's words as they are signed, behind what they are about. */
export function statementBytes({ check, finding, checked, right, ownRatePpm }: CustomerStatement): Uint8Array {
  return concat(
    Uint8Array.of(OWN_CHECKS.indexOf(check), OWN_FINDINGS.indexOf(finding)),
    ...[checked, right, ownRatePpm].map((number) => toWord(number).subarray(28)),
  );
}

/** The address that signed; only one form of each signature is taken. */
export function recover(signature: Uint8Array, digest: Uint8Array): string | undefined {
  const v = signature[64];
  if (v !== 27 && v !== 28) return undefined;
  try {
    const [r, s] = [toBigInt(signature.subarray(0, 32)), toBigInt(signature.subarray(32, 64))];
    const signed = new secp256k1.Signature(r, s, v - 27);
    if (signed.hasHighS()) return undefined;
    const key = signed.recoverPublicKey(digest).toBytes(false);
    return toHex(keccak_256(key.subarray(1)).subarray(12));
  } catch {
    // Numbers that are no signature, or no point of the curve.
    return undefined;
  }
}
