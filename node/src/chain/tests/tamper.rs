//! Every way in which a proposer can lie with a block that the types allow to be built.
//!
//! Each entry breaks one rule and keeps all others, so that a refusal can only come from that rule. What no proposer
//! can build, a body under a foreign header, is refused while it is decoded: the tests of `keystead-types` and of the
//! consensus crate send such bytes.

use super::validators::{BURNER, CHAIN_ID, call, sign, signer};
use alloy_consensus::{SignableTransaction as _, TxEip1559};
use alloy_primitives::{Address, B256, Bloom, Bytes, Signature, U256};
use keystead_consensus::BuildRequest;
use keystead_types::{BODY_BYTES_MAX, BeaconValue, Block, BlockParts, Seed, TRANSACTION_BYTES_MAX, Transaction};

/// One lie.
pub(super) struct Tamper {
    pub(super) name: &'static str,
    /// Words of the log line in which an honest validator says which rule is broken.
    pub(super) words: &'static [&'static str],
    /// True if that line also holds the hash of the block.
    pub(super) names_hash: bool,
    /// Changes what the honest builder gets: everything computed from it is right.
    pub(super) request: fn(&mut BuildRequest),
    /// Changes what the honest builder made.
    pub(super) parts: fn(&mut BlockParts),
}

const HOUR_MS: u64 = 3_600_000;
const HONEST: Tamper = Tamper { name: "nothing", words: &[], names_hash: true, request: |_| (), parts: |_| () };

const fn header(name: &'static str, words: &'static [&'static str], parts: fn(&mut BlockParts)) -> Tamper {
    Tamper { name, words, parts, ..HONEST }
}

const fn request(name: &'static str, words: &'static [&'static str], request: fn(&mut BuildRequest)) -> Tamper {
    Tamper { name, words, request, ..HONEST }
}

const fn nameless(tamper: Tamper) -> Tamper {
    Tamper { names_hash: false, ..tamper }
}

/// All lies, in the order in which they are tried.
pub(super) const TAMPERS: &[Tamper] = &[
    header("state root", &["refusing a block", "wrong state root"], |parts| parts.state_root = junk()),
    header("receipts root", &["refusing a block", "wrong receipts root"], |parts| parts.receipts_root = junk()),
    header("logs bloom", &["refusing a block", "wrong logs bloom"], |parts| parts.logs_bloom = Bloom::repeat_byte(1)),
    header("gas used", &["refusing a block", "wrong gas used"], |parts| parts.gas_used += 1),
    header("gas limit", &["refusing a block", "wrong gas limit"], |parts| parts.gas_limit *= 2),
    header("base fee", &["refusing a block", "wrong base fee"], |parts| parts.base_fee += 1),
    header("requests", &["refusing a block", "requests of an unknown type"], |parts| {
        parts.requests = vec![Bytes::from_static(&[0xd1, 1])];
    }),
    header("beacon request", &["refusing a block", "beacon values have the wrong length"], |parts| {
        parts.requests = vec![Bytes::from_static(&[0xb0, 1])];
    }),
    // Of every height below the block's own: the honest builder takes those that come next.
    request("beacon value", &["refusing a block", "wrong beacon value"], |request| {
        request.beacon = (1..=request.parent.number()).map(|height| (height, BeaconValue([0x97; 48]))).collect();
    }),
    nameless(header("parent", &["ParentDigest"], |parts| parts.parent_hash = junk())),
    nameless(header("height", &["err=Height"], |parts| parts.number += 5)),
    request("epoch", &["refusing a block", "wrong consensus context"], |request| request.context.epoch += 1),
    request("leader", &["refusing a block", "wrong consensus context"], |request| request.context.leader[7] ^= 1),
    request("view", &["refusing a block", "wrong consensus context"], |request| {
        request.context.view += 1;
        fit_seeds(request);
    }),
    request("parent view", &["refusing a block", "wrong consensus context"], |request| {
        request.context.parent_view += 1;
        fit_seeds(request);
    }),
    request("seed", &["refusing a block", "wrong seed"], |request| {
        request.context.seeds.last_mut().unwrap().0[9] ^= 1;
    }),
    nameless(request("missing seed", &["failed to decode message", "Seeds { got"], |request| {
        request.context.seeds.pop();
    })),
    request("time that stands still", &["refusing a block", "time does not increase"], |request| {
        request.timestamp_ms = request.parent.timestamp_ms();
    }),
    request("clock an hour behind", &["refusing a block", "time does not increase"], |request| {
        request.timestamp_ms = request.parent.timestamp_ms() - HOUR_MS;
    }),
    request("clock an hour ahead", &["not voting before a block's time"], |request| request.timestamp_ms += HOUR_MS),
    request("end of time", &["not voting before a block's time"], |request| request.timestamp_ms = u64::MAX),
    header("bad signature", &["refusing a block", "invalid signature"], |parts| {
        let signature = Signature::new(U256::MAX, U256::MAX, false);
        parts.transactions.push(call(0, Address::ZERO, 21_000).into_signed(signature).into());
    }),
    header("other chain", &["refusing a block", "invalid chain id"], |parts| {
        parts.transactions.push(liar(TxEip1559 { chain_id: CHAIN_ID + 1, ..call(0, Address::ZERO, 21_000) }));
    }),
    header("nonce gap", &["refusing a block", "nonce too high"], |parts| {
        parts.transactions.push(liar(call(7, Address::ZERO, 21_000)));
    }),
    header("unpaid", &["refusing a block", "insufficient funds"], |parts| {
        parts.transactions.push(sign(&signer(0x77), call(0, Address::ZERO, 21_000)));
    }),
    // Eight transactions burn 134 of the 150 million gas; the ninth asks for more than is left.
    header("too much gas", &["refusing a block", "gas limit reached"], |parts| {
        parts.transactions = (0..9).map(|nonce| liar(call(nonce, BURNER, 16_777_216))).collect();
    }),
    nameless(header("oversized body", &["failed to decode message", "InvalidLength"], fill)),
];

fn junk() -> B256 {
    B256::repeat_byte(0xee)
}

fn liar(transaction: TxEip1559) -> Transaction {
    sign(&signer(3), transaction)
}

/// As many seeds as the views ask for: fewer would not be a context at all.
fn fit_seeds(request: &mut BuildRequest) {
    let count = request.context.seed_count();
    request.context.seeds.resize(count, Seed([9; 48]));
}

/// Fills a block to a few bytes beyond the limit, but not beyond what the connection carries.
fn fill(parts: &mut BlockParts) {
    let transaction = |nonce: u64, bytes: usize| {
        liar(TxEip1559 { input: Bytes::from(vec![1; bytes]), ..call(nonce, BURNER, 16_777_216) })
    };
    let size = |parts: &BlockParts| Block::assemble(parts.clone()).encode().len();
    let target = BODY_BYTES_MAX + 8;
    parts.transactions.clear();
    let room = TRANSACTION_BYTES_MAX - 1_024;
    while size(parts) + room < target {
        parts.transactions.push(transaction(parts.transactions.len() as u64, room - 1_024));
    }
    let nonce = parts.transactions.len() as u64;
    let base = target - size(parts);
    // Framing takes some bytes of the last transaction: take away what is too much.
    parts.transactions.push(transaction(nonce, base));
    let excess = size(parts) - target;
    parts.transactions.pop();
    parts.transactions.push(transaction(nonce, base - excess));
    assert!(size(parts) > BODY_BYTES_MAX, "the body is not oversized: bytes={}", size(parts));
}

/// The parts of a block, to be assembled again.
pub(super) fn parts(block: &Block) -> BlockParts {
    let header = block.header();
    BlockParts {
        parent_hash: header.parent_hash,
        number: header.number,
        timestamp_ms: block.timestamp_ms(),
        beneficiary: header.beneficiary,
        state_root: header.state_root,
        receipts_root: header.receipts_root,
        logs_bloom: header.logs_bloom,
        gas_limit: header.gas_limit,
        gas_used: header.gas_used,
        base_fee: header.base_fee_per_gas.unwrap(),
        transactions: block.transactions().to_vec(),
        context: block.context().clone(),
        requests: block.requests().to_vec(),
    }
}
