//! The flat state against the roots: accounts and slots side by side, both in order of hashed addresses.
//!
//! # Design
//! Roots come from alloy's `HashBuilder`, not from the trie that made them.

use super::Check;
use crate::{
    error::{Corruption, Error},
    record::{self, AccountRecord},
    tables::{TIP, malformed, missing},
};
use alloy_primitives::{B256, KECCAK256_EMPTY, U256, keccak256};
use alloy_trie::{HashBuilder, Nibbles};
use fjall::Readable as _;

pub(super) fn check(check: &mut Check<'_>) -> Result<(), Error> {
    let view = check.tables.database.snapshot();
    let mut slots = Slots::new(&view, check);
    let mut accounts = HashBuilder::default();
    for entry in view.iter(&check.tables.accounts) {
        let (key, bytes) = entry.into_inner()?;
        if key.as_ref() == TIP {
            continue;
        }
        let record = AccountRecord::decode(&bytes).filter(|_| key.len() == 32);
        let Some(record) = record else {
            check.note("accounts", Err::<(), _>(malformed(&check.tables.accounts, &key)))?;
            continue;
        };
        let address = B256::from_slice(&key);
        let root = slots.root_of(check, &address)?;
        if root != record.storage_root {
            let (stored, computed) = (record.storage_root, root);
            check.found(Corruption::StorageRoot { hashed_address: address, stored, computed });
        }
        code(check, &record)?;
        accounts.add_leaf(Nibbles::unpack(address), &record.leaf());
        check.out.accounts = check.out.accounts.saturating_add(1);
        check.tell("accounts", check.out.accounts, None);
    }
    slots.rest(check)?;
    let computed = accounts.root();
    let header = check.base.read(&check.tables.headers, &check.head.to_be_bytes(), record::decode_header)?;
    let key = check.head.to_be_bytes();
    let header = header.ok_or_else(|| missing(&check.tables.headers, &key))?.state_root;
    if computed != header {
        check.found(Corruption::StateRoot { number: check.head, header, computed });
    }
    Ok(())
}

/// The code of an account is there and has its hash.
fn code(check: &mut Check<'_>, record: &AccountRecord) -> Result<(), Error> {
    let hash = record.account.code_hash;
    if hash == KECCAK256_EMPTY {
        return Ok(());
    }
    let table = &check.tables.code;
    match check.base.bytes(table, hash.as_slice())? {
        Some(code) if keccak256(&code) == hash => {}
        Some(_) => drop(check.note("code", Err::<(), _>(malformed(table, hash.as_slice())))?),
        None => drop(check.note("code", Err::<(), _>(missing(table, hash.as_slice())))?),
    }
    Ok(())
}

/// All slots in order, one account after the other.
struct Slots {
    entries: fjall::Iter,
    next: Option<(B256, B256, U256)>,
}

impl Slots {
    fn new(view: &fjall::Snapshot, check: &Check<'_>) -> Self {
        Self { entries: view.iter(&check.tables.storage), next: None }
    }

    /// The next slot, which stays until it is taken.
    fn peek(&mut self, check: &mut Check<'_>) -> Result<Option<(B256, B256, U256)>, Error> {
        while self.next.is_none() {
            let Some(entry) = self.entries.next() else { return Ok(None) };
            let (key, bytes) = entry.into_inner()?;
            if key.as_ref() == TIP {
                continue;
            }
            let value = record::decode_slot(&bytes);
            let read = key.split_at_checked(32).filter(|(_, slot)| slot.len() == 32).zip(value);
            match read {
                Some(((address, slot), value)) => {
                    self.next = Some((B256::from_slice(address), B256::from_slice(slot), value));
                }
                None => drop(check.note("storage", Err::<(), _>(malformed(&check.tables.storage, &key)))?),
            }
        }
        Ok(self.next)
    }

    /// The root of an account's slots; slots before them belong to nobody.
    fn root_of(&mut self, check: &mut Check<'_>, address: &B256) -> Result<B256, Error> {
        let mut trie = HashBuilder::default();
        while let Some((of, slot, value)) = self.peek(check)?.filter(|(of, _, _)| of <= address) {
            self.next = None;
            if of == *address {
                trie.add_leaf(Nibbles::unpack(slot), &record::slot_leaf(&value));
                check.out.slots = check.out.slots.saturating_add(1);
            } else {
                orphan(check, &of, &slot);
            }
        }
        Ok(trie.root())
    }

    /// Slots behind the last account.
    fn rest(&mut self, check: &mut Check<'_>) -> Result<(), Error> {
        while let Some((of, slot, _)) = self.peek(check)? {
            self.next = None;
            orphan(check, &of, &slot);
        }
        Ok(())
    }
}

fn orphan(check: &mut Check<'_>, address: &B256, slot: &B256) {
    let reason = "its account is not there".to_owned();
    check.found(Corruption::Record { table: "storage", key: format!("{address} {slot}"), reason });
}
