// What a bundle claims, with the trie paths that decide it. Spec: specs/0002-proof-bundle.md §2 and §3.

import { WINDOW_SLOTS, readAudit, windowStatus, type Audit } from './audit.js';
import { toHex } from './bytes.js';
import { list, text, fixed, wrong, type Fields } from './json.js';
import { isInKst, ORDER_SLOTS, readOrder, type Order } from './market.js';
import { NODES_MAX } from './trie.js';

/** Value of the field `format`. */
export const FORMAT = 'keystead-bundle/1';

/** Most headers from the certified block to the block of the claim. */
export const HEADERS_MAX = 256;

const TOPICS_MAX = 4;

/** Longest log data that is spelled out in words, in bytes. */
const DATA_BYTES_SHOWN = 64;

/** Trie nodes from the root down, as RLP. */
export type Path = Uint8Array[];

/** A finality certificate (specs/0001-certificate.md). */
export interface Certificate {
  epoch: bigint;
  view: bigint;
  parentView: bigint;
  blockHash: Uint8Array;
  signature: Uint8Array;
}

/** That a transaction stands at an index of the block. */
interface InBlock {
  transactionIndex: bigint;
  transactionHash: string;
  transactionNodes: Path;
}

/** A storage slot of an account. */
interface Slot {
  address: string;
  slot: string;
  accountNodes: Path;
  storageNodes: Path;
}

/** A statement about the block number `block`. Hashes, words and addresses are lower-case text; amounts are in wei. */
export type Claim = { block: bigint } & (
  | {
      kind: 'account';
      address: string;
      nonce: bigint;
      balance: bigint;
      codeHash: string;
      storageRoot: string;
      accountNodes: Path;
    }
  | ({ kind: 'storage'; value: string } & Slot)
  | ({ kind: 'storage-absent' } & Slot)
  | ({ kind: 'transaction' } & InBlock)
  | ({ kind: 'receipt'; succeeded: boolean; cumulativeGasUsed: bigint; receiptNodes: Path } & InBlock)
  | ({
      kind: 'log';
      receiptLogIndex: bigint;
      address: string;
      topics: string[];
      data: Uint8Array;
      receiptNodes: Path;
    } & InBlock)
  | { kind: 'job-result'; order: Order; accountNodes: Path; storageNodes: Path[] }
  | {
      kind: 'job-audit';
      order: Order;
      audit: Audit;
      accountNodes: Path;
      /** Of the order's slots, and of the bond's. */
      storageNodes: Path[];
      auditAccountNodes: Path;
      auditNodes: Path[];
    }
);

/** A certificate, and the headers that lead from its block to the one that a file is about. */
export interface Certified {
  chainId: bigint;
  certificate: Certificate;
  headers: Uint8Array[];
}

/** A bundle that is well formed. Nothing in it is verified. */
export interface Bundle extends Certified {
  claim: Claim;
}

/** Reads a bundle that stands in another file. */
export function readNestedBundle(fields: Fields): Bundle {
  if (fields.text('format') !== FORMAT) wrong('format', FORMAT);
  return readBundle(fields);
}

/** Reads the fields of a bundle after `format`. They are hostile; throws `Refused` if they are none. */
export function readBundle(fields: Fields): Bundle {
  const certified = readCertified(fields);
  const inner = fields.object('claim');
  const claim = readClaim(inner);
  inner.close();
  fields.close();
  return { ...certified, claim };
}

/** Reads what says which block is meant: chain, certificate, headers. */
export function readCertified(fields: Fields): Certified {
  const chainId = fields.number('chainId');
  const inner = fields.object('certificate');
  const certificate = {
    epoch: inner.number('epoch'),
    view: inner.number('view'),
    parentView: inner.number('parentView'),
    blockHash: inner.fixed('blockHash', 32),
    signature: inner.fixed('signature', 48),
  };
  inner.close();
  const headers = fields.list('headers', HEADERS_MAX);
  if (headers.length === 0) wrong('headers', 'an array of at least one header');
  return { chainId, certificate, headers };
}

function readClaim(fields: Fields): Claim {
  const kind = fields.text('kind');
  const block = fields.number('block');
  switch (kind) {
    case 'account':
      return {
        kind,
        block,
        address: fields.hex('address', 20),
        nonce: fields.number('nonce'),
        balance: fields.quantity('balance', 256),
        codeHash: fields.hex('codeHash', 32),
        storageRoot: fields.hex('storageRoot', 32),
        accountNodes: fields.list('accountNodes', NODES_MAX),
      };
    case 'storage':
      return { kind, block, ...readSlot(fields), value: nonzero(fields.hex('value', 32)) };
    case 'storage-absent':
      return { kind, block, ...readSlot(fields) };
    case 'transaction':
      return { kind, block, ...readInBlock(fields) };
    case 'receipt':
      return {
        kind,
        block,
        ...readInBlock(fields),
        succeeded: succeeded(fields),
        cumulativeGasUsed: fields.number('cumulativeGasUsed'),
        receiptNodes: fields.list('receiptNodes', NODES_MAX),
      };
    case 'log':
      return {
        kind,
        block,
        ...readInBlock(fields),
        receiptLogIndex: fields.number('receiptLogIndex'),
        address: fields.hex('address', 20),
        topics: fields.array('topics', TOPICS_MAX).map((topic) => word(text(topic, 'topics'), 'topics')),
        data: fields.bytes('data'),
        receiptNodes: fields.list('receiptNodes', NODES_MAX),
      };
    case 'job-result':
      return {
        kind,
        block,
        order: readOrder(fields),
        accountNodes: fields.list('accountNodes', NODES_MAX),
        storageNodes: readPaths(fields, 'storageNodes', ORDER_SLOTS),
      };
    case 'job-audit':
      return {
        kind,
        block,
        order: readAudited(fields),
        audit: readAudit(fields),
        accountNodes: fields.list('accountNodes', NODES_MAX),
        storageNodes: readPaths(fields, 'storageNodes', ORDER_SLOTS + 1),
        auditAccountNodes: fields.list('auditAccountNodes', NODES_MAX),
        auditNodes: readPaths(fields, 'auditNodes', WINDOW_SLOTS),
      };
    default:
      return wrong('kind', 'a kind of claim that this version knows');
  }
}

function readSlot(fields: Fields): Slot {
  return {
    address: fields.hex('address', 20),
    slot: fields.hex('slot', 32),
    accountNodes: fields.list('accountNodes', NODES_MAX),
    storageNodes: fields.list('storageNodes', NODES_MAX),
  };
}

function readInBlock(fields: Fields): InBlock {
  return {
    transactionIndex: fields.number('transactionIndex'),
    transactionHash: fields.hex('transactionHash', 32),
    transactionNodes: fields.list('transactionNodes', NODES_MAX),
  };
}

/** An order with a window: one that the customer checks alone has none. */
function readAudited(fields: Fields): Order {
  const order = readOrder(fields);
  return order.mode === 'own' ? wrong('mode', 'audited or private') : order;
}

function readPaths(fields: Fields, name: string, count: number): Path[] {
  const paths = fields.array(name, count);
  if (paths.length !== count) wrong(name, 'a path for each of the slots');
  return paths.map((path) => list(path, name, NODES_MAX));
}

function succeeded(fields: Fields): boolean {
  const status = fields.number('status');
  return status <= 1n ? status === 1n : wrong('status', '0x0 or 0x1');
}

function nonzero(value: string): string {
  return /^0x0+$/.test(value) ? wrong('value', 'a word that is not zero; zero is claimed by storage-absent') : value;
}

function word(value: string, name: string): string {
  fixed(value, name, 32);
  return value;
}

/** The claim in words, without saying whether it is true. */
export function describe(claim: Claim): string {
  return `in block ${claim.block}, ${describeStatement(claim)}`;
}

function describeStatement(claim: Claim): string {
  switch (claim.kind) {
    case 'account':
      return (
        `account ${claim.address} has nonce ${claim.nonce}, balance ${claim.balance} wei, ` +
        `code hash ${claim.codeHash}, storage root ${claim.storageRoot}`
      );
    case 'storage':
      return `storage slot ${claim.slot} of ${claim.address} holds ${claim.value}`;
    case 'storage-absent':
      return `storage slot ${claim.slot} of ${claim.address} holds nothing`;
    case 'transaction':
      return `the transaction at index ${claim.transactionIndex} is ${claim.transactionHash}`;
    case 'receipt':
      return (
        `transaction ${claim.transactionHash} at index ${claim.transactionIndex} ` +
        `${claim.succeeded ? 'succeeded' : 'failed'}, the block's gas used after it is ${claim.cumulativeGasUsed}`
      );
    case 'log':
      return (
        `transaction ${claim.transactionHash} at index ${claim.transactionIndex} emitted as its log ` +
        `${claim.receiptLogIndex}: address ${claim.address}, topics [${claim.topics.join(', ')}], ` +
        (claim.data.length > DATA_BYTES_SHOWN ? `data of ${claim.data.length} bytes` : `data ${toHex(claim.data)}`)
      );
    case 'job-result':
      return describeOrder(claim.order);
    case 'job-audit':
      return describeOrder(claim.order) + describeAudit(claim.audit);
  }
}

function describeOrder(order: Order): string {
  if (order.status === 'none') return `the market has no order ${order.order}`;
  const reason = order.reason === 'none' ? '' : ` (${order.reason}, evidence ${order.evidenceHash})`;
  return (
    `order ${order.order} of the market is ${order.status}${reason}: job ${order.jobHash}, ` +
    `${order.units} units at ${order.priceWeiPerUnit} ` +
    (isInKst(order) ? 'wei' : `smallest units of the token ${order.token}`) +
    `, customer ${order.customer}, provider ${order.provider}, ` +
    `commitment ${order.commitment}, result root ${order.resultRoot}` +
    describeMode(order)
  );
}

function describeMode({ mode, stopped, paidUnits }: Order): string {
  const paid = `, ${paidUnits} units paid`;
  const stop = stopped === 1n ? ', stopped by the customer' : '';
  if (mode === 'audited') return `${stop}, audited${paid}`;
  if (mode === 'private') return `${stop}, private (checked by nobody that the beacon drew)${paid}`;
  return stop === '' ? '' : stop + paid;
}

function describeAudit(audit: Audit): string {
  const status = windowStatus(audit);
  if (status === 'none') return '; it has no window';
  return (
    `; its window is ${status}: class ${audit.class}, ${audit.windowUnits} units, ${audit.ratePpm} ppm drawn, ` +
    `${audit.checkers} checkers each, ${audit.verified} found right, ${audit.unpaid} unpaid, ` +
    `a bond of ${audit.bondWei} wei was agreed`
  );
}
