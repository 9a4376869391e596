//! The receipts of a block as they are stored: each can be read alone, with what an answer about its logs needs.
//!
//! # Design
//! The record is `0 || count || end* || receipt*`: counts and ends have four bytes, an end is counted from the first receipt.
//! A receipt is `type || status || gas`, and, if it has logs, the hash of its transaction, the index of its first log in
//! the block, and the RLP list of its logs. The status is 0, 1, or 2 and a state root. Blooms are not stored: they follow
//! from the logs, and are most of what a wire receipt is.
//! Format 1 stored an RLP list of wire receipts, whose first byte is never 0. It is still read.
//!
//! # Invariants
//! [`decode`] refuses what [`encode`] does not write.

use crate::record;
use alloy_consensus::{Eip658Value, Receipt as PlainReceipt, ReceiptWithBloom, TxReceipt as _, TxType, Typed2718 as _};
use alloy_primitives::{B256, Log};
use alloy_rlp::Decodable as _;
use keystead_types::{Block, Receipt};

/// First byte of the record; that of the older form is an RLP list header.
const FORM: u8 = 0;
const POST_STATE: u8 = 2;
/// Bytes before the ends.
const HEAD_BYTES: usize = 1 + 4;

/// A receipt with logs, as far as an answer about its logs needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Logs {
    pub(crate) transaction_hash: B256,
    /// Index in the block of the first log.
    pub(crate) first: u32,
    pub(crate) logs: Vec<Log>,
}

/// The record of a block's receipts.
pub(crate) fn encode(block: &Block, receipts: &[Receipt]) -> Vec<u8> {
    let mut part = Part::default();
    let mut first_log = 0_u32;
    for (receipt, transaction) in receipts.iter().zip(block.transactions()) {
        put(&mut part.bodies, receipt, transaction.tx_hash(), first_log);
        part.add(&[]);
        first_log = first_log.saturating_add(count(receipt.logs().len()));
    }
    part.record()
}

fn count(count: usize) -> u32 {
    u32::try_from(count).expect("invariant: gas bounds the receipts of a block far below 4 GiB")
}

fn put(out: &mut Vec<u8>, receipt: &Receipt, hash: &B256, first_log: u32) {
    out.push(receipt.ty());
    match receipt.status_or_post_state() {
        Eip658Value::Eip658(success) => out.push(u8::from(success)),
        Eip658Value::PostState(root) => {
            out.push(POST_STATE);
            out.extend_from_slice(root.as_slice());
        }
    }
    out.extend_from_slice(&receipt.cumulative_gas_used().to_be_bytes());
    if !receipt.logs().is_empty() {
        out.extend_from_slice(hash.as_slice());
        out.extend_from_slice(&first_log.to_be_bytes());
        alloy_rlp::encode_list(receipt.logs(), out);
    }
}

/// All receipts; of a record of either form.
pub(crate) fn decode(bytes: &[u8]) -> Option<Vec<Receipt>> {
    if bytes.first() != Some(&FORM) {
        return record::decode_receipts(bytes);
    }
    let mut first_log = 0_u32;
    let mut out = Vec::new();
    for body in Bodies::read(bytes)? {
        let (kind, plain, logs) = take(body?)?;
        if logs.is_some_and(|(_, first)| first != first_log) {
            return None;
        }
        first_log = first_log.checked_add(u32::try_from(plain.logs.len()).ok()?)?;
        let logs_bloom = plain.bloom();
        out.push(Receipt::from_typed(kind, ReceiptWithBloom { receipt: plain, logs_bloom }));
    }
    Some(out)
}

/// The record in the newer form; `None` if the bytes are a record of neither.
pub(crate) fn renew(block: &Block, bytes: Vec<u8>) -> Option<Vec<u8>> {
    if bytes.first() == Some(&FORM) { Some(bytes) } else { Some(encode(block, &decode(&bytes)?)) }
}

/// Cuts a record in the newer form into records of some receipts each, with the index of their first; `None` if it is
/// malformed. A part ends when it has `bytes_max`, so a receipt is never cut.
pub(crate) fn split(bytes: &[u8], bytes_max: usize) -> Option<Vec<(u32, Vec<u8>)>> {
    let (mut parts, mut part, mut first) = (Vec::new(), Part::default(), 0_u32);
    for (body, index) in Bodies::read(bytes)?.zip(0_u32..) {
        part.add(body?);
        if part.bodies.len() >= bytes_max {
            parts.push((first, std::mem::take(&mut part).record()));
            first = index.saturating_add(1);
        }
    }
    if !part.ends.is_empty() || parts.is_empty() {
        parts.push((first, part.record()));
    }
    Some(parts)
}

/// Puts records that [`split`] made together again; `None` if one is malformed.
pub(crate) fn join<'b>(parts: impl Iterator<Item = &'b [u8]>) -> Option<Vec<u8>> {
    let mut whole = Part::default();
    for part in parts {
        for body in Bodies::read(part)? {
            whole.add(body?);
        }
    }
    Some(whole.record())
}

/// A record that is being put together.
#[derive(Default)]
struct Part {
    ends: Vec<u8>,
    bodies: Vec<u8>,
}

impl Part {
    fn add(&mut self, body: &[u8]) {
        self.bodies.extend_from_slice(body);
        self.ends.extend_from_slice(&count(self.bodies.len()).to_be_bytes());
    }

    fn record(self) -> Vec<u8> {
        let head = [&[FORM], count(self.ends.len() / 4).to_be_bytes().as_slice()].concat();
        [head, self.ends, self.bodies].concat()
    }
}

/// True for the form that [`logs`] and [`each`] read.
pub(crate) fn is_new(bytes: &[u8]) -> bool {
    bytes.first() == Some(&FORM)
}

/// The logs of the receipt at an index. The outer `None` says that the record is malformed.
pub(crate) fn logs(bytes: &[u8], index: u32) -> Option<Option<Logs>> {
    let mut bodies = Bodies::read(bytes)?;
    match bodies.nth(usize::try_from(index).ok()?) {
        Some(body) => Some(read_logs(body?)?),
        None => Some(None),
    }
}

/// The receipts that have logs, with their indices, in order; `None` among them if the record is malformed.
pub(crate) fn each(bytes: &[u8]) -> impl Iterator<Item = Option<(u32, Logs)>> {
    let bodies = Bodies::read(bytes);
    let broken = bodies.is_none().then_some(None);
    let read = bodies.into_iter().flatten().zip(0_u32..).filter_map(|(body, index)| match body.and_then(read_logs) {
        Some(logs) => logs.map(|logs| Some((index, logs))),
        None => Some(None),
    });
    broken.into_iter().chain(read)
}

/// `None` if malformed.
fn read_logs(body: &[u8]) -> Option<Option<Logs>> {
    let (_, plain, logs) = take(body)?;
    Some(logs.map(|(transaction_hash, first)| Logs { transaction_hash, first, logs: plain.logs }))
}

type Taken = (TxType, PlainReceipt, Option<(B256, u32)>);

fn take(body: &[u8]) -> Option<Taken> {
    let (&kind, rest) = body.split_first()?;
    let (&status, rest) = rest.split_first()?;
    let (status, rest) = match status {
        0 | 1 => (Eip658Value::Eip658(status == 1), rest),
        POST_STATE => {
            let (root, rest) = rest.split_at_checked(32)?;
            (Eip658Value::PostState(B256::from_slice(root)), rest)
        }
        _ => return None,
    };
    let (gas, mut rest) = rest.split_at_checked(8)?;
    let mut plain = PlainReceipt { status, cumulative_gas_used: record::decode_height(gas)?, logs: Vec::new() };
    let kind = TxType::try_from(kind).ok()?;
    if rest.is_empty() {
        return Some((kind, plain, None));
    }
    let (hash, tail) = rest.split_at_checked(32)?;
    let (first, tail) = tail.split_at_checked(4)?;
    rest = tail;
    plain.logs = Vec::<Log>::decode(&mut rest).ok()?;
    let whole = rest.is_empty() && !plain.logs.is_empty();
    whole.then_some((kind, plain, Some((B256::from_slice(hash), u32::from_be_bytes(first.try_into().ok()?)))))
}

/// The bytes of each receipt.
struct Bodies<'b> {
    ends: &'b [u8],
    bodies: &'b [u8],
    at: usize,
}

impl<'b> Bodies<'b> {
    fn read(bytes: &'b [u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
        let (form, count) = head.split_first()?;
        let count = usize::try_from(u32::from_be_bytes(count.try_into().ok()?)).ok()?;
        let (ends, bodies) = rest.split_at_checked(count.checked_mul(4)?)?;
        let last = ends.rchunks_exact(4).next().map_or(Some(0), end)?;
        (*form == FORM && last == bodies.len()).then_some(Self { ends, bodies, at: 0 })
    }
}

fn end(bytes: &[u8]) -> Option<usize> {
    usize::try_from(u32::from_be_bytes(bytes.try_into().ok()?)).ok()
}

impl<'b> Iterator for Bodies<'b> {
    type Item = Option<&'b [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let (next, rest) = self.ends.split_at_checked(4)?;
        let body = end(next).and_then(|end| self.bodies.get(self.at..end).map(|body| (body, end)));
        self.ends = rest;
        Some(body.map(|(body, end)| {
            self.at = end;
            body
        }))
    }

    fn nth(&mut self, index: usize) -> Option<Self::Item> {
        let before = index.checked_sub(1).map_or(Some(0), |before| {
            let at = before.checked_mul(4)?;
            self.ends.get(at..at.checked_add(4)?).and_then(end)
        });
        self.ends = index.checked_mul(4).and_then(|skip| self.ends.get(skip..)).unwrap_or_default();
        self.at = before?;
        self.next()
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        reason = "a test stops where an assumption fails"
    )]

    use super::*;
    use alloy_consensus::{SignableTransaction as _, TxLegacy};
    use alloy_primitives::{Address, Bloom, Bytes, Signature, U256};
    use alloy_trie::EMPTY_ROOT_HASH;
    use keystead_types::{BlockParts, ConsensusContext, Transaction};
    use proptest::{collection::vec, prelude::*};

    fn block(transactions: usize) -> Block {
        let signature = Signature::new(U256::from(1), U256::from(2), false);
        let transaction = |nonce| Transaction::Legacy(TxLegacy { nonce, ..TxLegacy::default() }.into_signed(signature));
        Block::assemble(BlockParts {
            parent_hash: B256::ZERO,
            number: 1,
            timestamp_ms: 1_000,
            beneficiary: Address::ZERO,
            state_root: EMPTY_ROOT_HASH,
            receipts_root: EMPTY_ROOT_HASH,
            logs_bloom: Bloom::ZERO,
            gas_limit: 1,
            gas_used: 0,
            base_fee: 7,
            transactions: (0..transactions as u64).map(transaction).collect(),
            context: ConsensusContext::genesis(),
            requests: Vec::new(),
        })
    }

    fn receipt() -> impl Strategy<Value = Receipt> {
        let log = (any::<[u8; 20]>(), vec(any::<[u8; 32]>(), 0..5), vec(any::<u8>(), 0..40));
        let log = log.prop_map(|(address, topics, data)| {
            Log::new_unchecked(address.into(), topics.into_iter().map(B256::new).collect(), Bytes::from(data))
        });
        let status = prop_oneof![
            any::<bool>().prop_map(Eip658Value::Eip658),
            any::<[u8; 32]>().prop_map(|root| Eip658Value::PostState(B256::new(root)))
        ];
        (0_u8..5, status, any::<u64>(), vec(log, 0..4)).prop_map(|(kind, status, cumulative_gas_used, logs)| {
            let receipt = PlainReceipt { status, cumulative_gas_used, logs };
            let logs_bloom = receipt.bloom_slow();
            Receipt::from_typed(TxType::try_from(kind).unwrap(), ReceiptWithBloom { receipt, logs_bloom })
        })
    }

    proptest! {
        #[test]
        fn receipts_round_trip_in_both_forms_and_each_is_found_alone(receipts in vec(receipt(), 0..6)) {
            let block = block(receipts.len());
            let bytes = encode(&block, &receipts);
            prop_assert_eq!(decode(&bytes), Some(receipts.clone()));
            let old = record::encode_receipts(&receipts);
            // A wire receipt of another type than its transaction's is not written by anybody; the types are kept.
            prop_assert_eq!(decode(&old), Some(receipts.clone()));
            prop_assert_eq!(renew(&block, old), Some(bytes.clone()));
            let mut first = 0;
            let mut with_logs = Vec::new();
            for (index, receipt) in (0_u32..).zip(&receipts) {
                let want = (!receipt.logs().is_empty()).then(|| Logs {
                    transaction_hash: *block.transactions()[index as usize].tx_hash(),
                    first,
                    logs: receipt.logs().to_vec(),
                });
                first += receipt.logs().len() as u32;
                with_logs.extend(want.clone().map(|want| Some((index, want))));
                prop_assert_eq!(logs(&bytes, index), Some(want));
            }
            prop_assert_eq!(each(&bytes).collect::<Vec<_>>(), with_logs);
            prop_assert_eq!(logs(&bytes, receipts.len() as u32), Some(None));
            for bytes_max in [1, 100, 10_000] {
                let parts = split(&bytes, bytes_max).unwrap();
                prop_assert_eq!(join(parts.iter().map(|(_, part)| part.as_slice())), Some(bytes.clone()));
                for (first, part) in parts {
                    prop_assert_eq!(logs(&part, 0).unwrap(), logs(&bytes, first).unwrap());
                }
            }
            for length in 0..bytes.len() {
                prop_assert_eq!(decode(&bytes[..length]), None);
            }
            prop_assert_eq!(decode(&[bytes, vec![0]].concat()), None);
        }

        #[test]
        fn hostile_bytes_are_refused_without_a_panic(bytes in vec(any::<u8>(), 0..200), index in any::<u32>()) {
            let bytes = [vec![FORM], bytes].concat();
            let _ = (decode(&bytes), logs(&bytes, index), each(&bytes).count());
        }
    }
}
