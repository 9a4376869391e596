//! Blocks from the genesis up: the chain of hashes, bodies, receipts, indices, wherever a block lies.

use super::{Check, Progress};
use crate::{
    commit,
    error::{Corruption, Error},
    logs::Run,
    receipts, record,
    segment::{Record, Segments},
    tables::{malformed, missing, name},
};
use alloy_consensus::{TxReceipt as _, proofs::calculate_receipt_root};
use alloy_primitives::{B256, Bloom, keccak256};
use fjall::Keyspace;
use keystead_types::{Block, Header, Receipt};

pub(super) fn check(check: &mut Check<'_>, segments: Option<&Segments>) -> Result<(), Error> {
    let mut parent = None;
    // Below it bodies were dropped.
    let oldest = segments.map_or(1, Segments::oldest);
    let mut postings = 0_u64;
    // Below it, a store that began with a snapshot has the genesis block and a few headers without what lies between.
    let base = crate::open::lowest_header(check.tables)?.min(check.head);
    for number in (base > 0).then_some(0).into_iter().chain(base..=check.head) {
        if number == base && base > 1 {
            parent = None;
        }
        let found = header(check, number, parent);
        let Some((header, hash)) = check.note("headers", found)? else {
            parent = None;
            continue;
        };
        parent = Some(hash);
        if number == 0 || number >= oldest {
            let result = body(check, segments, number, &header, hash);
            let (postings_here, segment_ends) = check.note("blocks", result)?.unwrap_or_default();
            postings = postings.saturating_add(postings_here);
            if segment_ends {
                let result = segments.map_or(Ok(()), |segments| index(segments, number, postings));
                check.note("segments", result)?;
                check.out.segments = check.out.segments.saturating_add(1);
                postings = 0;
            }
        }
        check.out.blocks = check.out.blocks.saturating_add(1);
        let total = Some(check.head.saturating_add(1));
        check.tell("blocks", check.out.blocks, total);
    }
    (check.progress)(Progress { part: "blocks", done: check.out.blocks, total: Some(check.out.blocks) });
    Ok(())
}

/// A record that contradicts another one.
fn wrong(table: &Keyspace, number: u64, reason: String) -> Error {
    Corruption::Record { table: name(table), key: number.to_string(), reason }.into()
}

/// The header at a height, its hash, and that both fit the parent and the index of hashes.
fn header(check: &Check<'_>, number: u64, parent: Option<B256>) -> Result<(Header, B256), Error> {
    let (table, key) = (&check.tables.headers, number.to_be_bytes());
    let bytes = check.base.bytes(table, &key)?.ok_or_else(|| missing(table, &key))?;
    let header = record::decode_header(&bytes).ok_or_else(|| malformed(table, &key))?;
    let hash = keccak256(&bytes);
    if header.number != number {
        return Err(wrong(table, number, format!("it is the header of another height: {}", header.number)));
    }
    if let Some(parent) = parent.filter(|parent| *parent != header.parent_hash) {
        let got = header.parent_hash;
        return Err(wrong(table, number, format!("its parent is not the block below: parent={got} below={parent}")));
    }
    let indexed = check.base.read(&check.tables.numbers, hash.as_slice(), record::decode_height)?;
    if indexed != Some(number) {
        return Err(wrong(
            &check.tables.numbers,
            number,
            format!("the hash leads elsewhere: hash={hash} to={indexed:?}"),
        ));
    }
    Ok((header, hash))
}

/// Everything that belongs to a block. Returns the postings of its logs, and whether a sealed file ends with it.
fn body(
    check: &Check<'_>,
    segments: Option<&Segments>,
    number: u64,
    header: &Header,
    hash: B256,
) -> Result<(u64, bool), Error> {
    let tables = check.tables;
    let segment = segments.and_then(|segments| segments.find(number));
    let read = |table: &Keyspace, record: Record| -> Result<Vec<u8>, Error> {
        let bytes = match (segments, &segment) {
            (Some(segments), Some(segment)) => Some(segment.record(segments, number, record)?),
            _ => check.base.bytes(table, &number.to_be_bytes())?.map(|bytes| bytes.to_vec()),
        };
        bytes.ok_or_else(|| missing(table, &number.to_be_bytes()))
    };
    let bytes = read(&tables.blocks, Record::Block)?;
    let block = commit::decode_block(tables, number, hash, &bytes)?;
    let senders = record::decode_senders(&read(&tables.senders, Record::Senders)?);
    let senders = senders.ok_or_else(|| malformed(&tables.senders, &number.to_be_bytes()))?;
    let count = block.transactions().len();
    if senders.len() != count {
        let reason = format!("not one for each transaction: senders={} transactions={count}", senders.len());
        return Err(wrong(&tables.senders, number, reason));
    }
    let bytes = read(&tables.receipts, Record::Receipts)?;
    let receipts = receipts::decode(&bytes).ok_or_else(|| malformed(&tables.receipts, &number.to_be_bytes()))?;
    receipts_fit(check, &block, header, &receipts)?;
    locations(check, &block)?;
    let postings = Run::of(number, 0, &receipts).entries.len() as u64;
    Ok((postings, segment.is_some_and(|segment| segment.last == number)))
}

fn receipts_fit(check: &Check<'_>, block: &Block, header: &Header, receipts: &[Receipt]) -> Result<(), Error> {
    let (table, number) = (&check.tables.receipts, block.number());
    if receipts.len() != block.transactions().len() {
        let reason = format!(
            "not one for each transaction: receipts={} transactions={}",
            receipts.len(),
            block.transactions().len()
        );
        return Err(wrong(table, number, reason));
    }
    let root = calculate_receipt_root(receipts);
    if root != header.receipts_root {
        let reason = format!("another root than in the header: header={} computed={root}", header.receipts_root);
        return Err(wrong(table, number, reason));
    }
    let bloom = receipts.iter().fold(Bloom::ZERO, |bloom, receipt| bloom | receipt.bloom());
    if bloom != header.logs_bloom {
        return Err(wrong(table, number, "another bloom than in the header".to_owned()));
    }
    Ok(())
}

/// The index of transactions leads here.
fn locations(check: &Check<'_>, block: &Block) -> Result<(), Error> {
    let table = &check.tables.transactions;
    for (index, transaction) in block.transactions().iter().enumerate() {
        let hash = transaction.tx_hash();
        let found = check.base.read(table, hash.as_slice(), record::decode_location)?;
        if found != Some((block.number(), index)) {
            let reason = format!("the hash does not lead to its transaction: index={index} hash={hash}");
            return Err(wrong(table, block.number(), reason));
        }
    }
    Ok(())
}

/// Reads the log index of the file that ends at a height, and compares it with the logs of its blocks.
fn index(segments: &Segments, last: u64, postings: u64) -> Result<(), Error> {
    let Some(segment) = segments.find(last) else { return Ok(()) };
    let found = segment.count_postings(segments)?;
    if found == postings && found == segment.postings() {
        return Ok(());
    }
    let reason = format!("its log index is not that of its receipts: postings={found} logs_have={postings}");
    Err(Corruption::Segment { file: segment.name.clone(), reason }.into())
}
