//! Writes one block with everything that belongs to it, as one batch.

use crate::{
    error::Error,
    layer::Changes,
    receipts,
    record::{encode_certificate, encode_header, encode_location, encode_senders, encode_slot, slot_key},
    tables::{Base, TIP, Tables, malformed},
    trie::Range,
};
use alloy_primitives::{Address, B256};
use fjall::{Keyspace, OwnedWriteBatch, PersistMode};
use keystead_types::{Block, Certificate, Receipt};

/// What is written about a block beside its changes.
pub(crate) struct Bundle<'b> {
    pub(crate) block: &'b Block,
    pub(crate) senders: &'b [Address],
    pub(crate) receipts: &'b [Receipt],
    pub(crate) certificate: Option<&'b Certificate>,
}

/// A batch that is on disk, in the journal, when its commit returns.
///
/// The sync comes before the batch can be read: if it fails, the store looks as before and takes no further writes.
pub(crate) fn batch(tables: &Tables) -> OwnedWriteBatch {
    tables.database.batch().durability(Some(PersistMode::SyncAll))
}

/// Adds a block and makes it the head; returns the bytes of block and receipts.
pub(crate) fn put_block(batch: &mut OwnedWriteBatch, tables: &Tables, bundle: &Bundle<'_>) -> u64 {
    let block = bundle.block;
    let number = block.number().to_be_bytes();
    batch.insert(&tables.headers, number, encode_header(block.header()));
    let (encoded, receipts) = (block.encode(), receipts::encode(block, bundle.receipts));
    let bytes = encoded.len().saturating_add(receipts.len()) as u64;
    batch.insert(&tables.blocks, number, encoded);
    batch.insert(&tables.receipts, number, receipts);
    batch.insert(&tables.senders, number, encode_senders(bundle.senders));
    batch.insert(&tables.numbers, block.hash().as_slice(), number);
    for (index, transaction) in (0..).zip(block.transactions()) {
        batch.insert(&tables.transactions, transaction.tx_hash().as_slice(), encode_location(block.number(), index));
    }
    if let Some(certificate) = bundle.certificate {
        batch.insert(&tables.certificates, number, encode_certificate(certificate));
    }
    put_tip(batch, &tables.all(), block.number());
    bytes
}

/// Says in tables which block is the head.
pub(crate) fn put_tip(batch: &mut OwnedWriteBatch, tables: &[&Keyspace], number: u64) {
    for table in tables {
        batch.insert(table, TIP, number.to_be_bytes());
    }
}

/// Adds the changes of a block; `base` is the state before it, `None` before the genesis.
///
/// # Errors
/// A failure to read the slots of a wiped storage.
pub(crate) fn put_changes(
    batch: &mut OwnedWriteBatch,
    tables: &Tables,
    base: Option<&Base>,
    changes: &Changes,
) -> Result<(), Error> {
    for (address, account) in &changes.accounts {
        match account {
            Some(record) => batch.insert(&tables.accounts, address.as_slice(), record.encode()),
            None => batch.remove(&tables.accounts, address.as_slice()),
        }
    }
    for (address, storage) in &changes.storage {
        if let Some(base) = base.filter(|_| storage.wiped) {
            for slot in base.slots(tables, address, &Range::ALL) {
                let (slot, _) = slot?;
                if !storage.slots.contains_key(&slot) {
                    batch.remove(&tables.storage, slot_key(address, &slot));
                }
            }
        }
        for (slot, value) in &storage.slots {
            if value.is_zero() {
                batch.remove(&tables.storage, slot_key(address, slot));
            } else {
                batch.insert(&tables.storage, slot_key(address, slot), encode_slot(value));
            }
        }
    }
    for (hash, code) in &changes.code {
        batch.insert(&tables.code, hash.as_slice(), code.to_vec());
    }
    Ok(())
}

/// Reads an encoded block and compares it with the hash that its header has.
///
/// # Errors
/// [`crate::Corruption::Record`].
pub(crate) fn decode_block(tables: &Tables, number: u64, hash: B256, bytes: &[u8]) -> Result<Block, Error> {
    let block = Block::decode_stored(bytes).ok().filter(|block| block.hash() == hash && block.number() == number);
    block.ok_or_else(|| malformed(&tables.blocks, &number.to_be_bytes()))
}
