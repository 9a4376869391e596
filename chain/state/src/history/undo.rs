//! The old values of everything that one block changed, and their record.
//!
//! # Design
//! The record is `count || account* || count || storage*`: an account is its hashed address, a length and the flat record,
//! none if it was absent; a storage is a hashed address, `count`, and slots, each a hash, a length and the flat value,
//! none if it was zero. Counts have four bytes, lengths one; keys ascend.

use crate::{
    error::Error,
    layer::Changes,
    record::{self, AccountRecord, history_key, slot_key},
    state::State,
    tables::{Tables, malformed},
    trie::Range,
};
use alloy_primitives::{B256, U256};
use fjall::OwnedWriteBatch;
use std::collections::BTreeMap;

/// Old values by hashed keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Undo {
    /// Old accounts by hashed address; `None` if there was none.
    pub(crate) accounts: BTreeMap<B256, Option<AccountRecord>>,
    /// Old slots by hashed address and slot; zero if there was none.
    pub(crate) storage: BTreeMap<B256, BTreeMap<B256, U256>>,
}

impl Undo {
    /// What the changes replace in the state before them.
    ///
    /// # Errors
    /// A failure to read that state.
    pub(crate) fn of(before: &State, changes: &Changes) -> Result<Self, Error> {
        let mut accounts = Vec::with_capacity(changes.accounts.len());
        for (address, new) in &changes.accounts {
            let old = before.account(address)?;
            if old != *new {
                accounts.push((*address, old));
            }
        }
        let mut undo = Self { accounts: accounts.into_iter().collect(), ..Self::default() };
        for (address, storage) in &changes.storage {
            let mut slots = BTreeMap::new();
            if storage.wiped {
                for slot in before.base.slots(&before.shared.tables, address, &Range::ALL) {
                    let (slot, old) = slot?;
                    slots.insert(slot, old);
                }
            }
            for (slot, new) in &storage.slots {
                let old = before.slot(address, slot)?;
                if old == *new {
                    slots.remove(slot);
                } else {
                    slots.insert(*slot, old);
                }
            }
            if !slots.is_empty() {
                undo.storage.insert(*address, slots);
            }
        }
        Ok(undo)
    }

    /// Values in it.
    pub(crate) fn len(&self) -> usize {
        let slots = self.storage.values().map(BTreeMap::len).fold(0, usize::saturating_add);
        self.accounts.len().saturating_add(slots)
    }

    /// Takes in the old values of an earlier block: they win. Says how many keys are new.
    pub(crate) fn precede(&mut self, earlier: Self) -> usize {
        let grown = |before: usize, after: usize| after.saturating_sub(before);
        let before = self.accounts.len();
        self.accounts.extend(earlier.accounts);
        let mut new = grown(before, self.accounts.len());
        for (address, slots) in earlier.storage {
            let known = self.storage.entry(address).or_default();
            let before = known.len();
            known.extend(slots);
            new = new.saturating_add(grown(before, known.len()));
        }
        new
    }

    /// Adds the values of block `number` to a batch, by key.
    pub(crate) fn put_by_key(&self, batch: &mut OwnedWriteBatch, tables: &Tables, number: u64) {
        for (address, old) in &self.accounts {
            let old = old.as_ref().map(AccountRecord::encode).unwrap_or_default();
            batch.insert(&tables.account_history, history_key(address.as_slice(), number), old);
        }
        for (address, slots) in &self.storage {
            for (slot, old) in slots {
                let key = history_key(&slot_key(address, slot), number);
                batch.insert(&tables.slot_history, key, record::encode_slot(old));
            }
        }
    }

    /// Removes the values of block `number`.
    pub(crate) fn remove(&self, batch: &mut OwnedWriteBatch, tables: &Tables, number: u64) {
        batch.remove(&tables.undo, number.to_be_bytes());
        for address in self.accounts.keys() {
            batch.remove(&tables.account_history, history_key(address.as_slice(), number));
        }
        for (address, slots) in &self.storage {
            for slot in slots.keys() {
                batch.remove(&tables.slot_history, history_key(&slot_key(address, slot), number));
            }
        }
    }

    /// The record of a block, as a table gave it.
    pub(crate) fn read(tables: &Tables, number: u64, bytes: &[u8]) -> Result<Self, Error> {
        Self::decode(bytes).ok_or_else(|| malformed(&tables.undo, &number.to_be_bytes()))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len().saturating_mul(64).saturating_add(8));
        put_count(&mut out, self.accounts.len());
        for (address, old) in &self.accounts {
            out.extend_from_slice(address.as_slice());
            put_value(&mut out, &old.as_ref().map(AccountRecord::encode).unwrap_or_default());
        }
        put_count(&mut out, self.storage.len());
        for (address, slots) in &self.storage {
            out.extend_from_slice(address.as_slice());
            put_count(&mut out, slots.len());
            for (slot, old) in slots {
                out.extend_from_slice(slot.as_slice());
                put_value(&mut out, &record::encode_slot(old));
            }
        }
        out
    }

    /// `None` unless the bytes are exactly what [`Self::encode`] writes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let accounts = take_map(&mut rest, |rest| match take_value(rest)? {
            [] => Some(None),
            old => Some(Some(AccountRecord::decode(old)?)),
        })?;
        let storage = take_map(&mut rest, |rest| {
            let slots = take_map(rest, |rest| match take_value(rest)? {
                [] => Some(U256::ZERO),
                old => record::decode_slot(old),
            })?;
            (!slots.is_empty()).then_some(slots)
        })?;
        rest.is_empty().then_some(Self { accounts, storage })
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("invariant: gas bounds the changes of a block far below 2^32");
    out.extend_from_slice(&count.to_be_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &[u8]) {
    out.push(u8::try_from(value.len()).expect("invariant: flat records have at most 107 bytes"));
    out.extend_from_slice(value);
}

fn take_value<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (&length, tail) = rest.split_first()?;
    let (value, tail) = tail.split_at_checked(usize::from(length))?;
    *rest = tail;
    Some(value)
}

/// Entries in ascending order. Nothing is allocated ahead: the count is not trusted.
fn take_map<T>(rest: &mut &[u8], mut value: impl FnMut(&mut &[u8]) -> Option<T>) -> Option<BTreeMap<B256, T>> {
    let (count, tail) = rest.split_at_checked(4)?;
    *rest = tail;
    let mut out = BTreeMap::new();
    for _ in 0..u32::from_be_bytes(count.try_into().ok()?) {
        let (key, tail) = rest.split_at_checked(32)?;
        *rest = tail;
        let key = B256::from_slice(key);
        if out.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return None;
        }
        out.insert(key, value(rest)?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, reason = "a test stops where an assumption fails")]

    use super::*;
    use alloy_trie::EMPTY_ROOT_HASH;
    use keystead_types::Account;
    use proptest::{collection::btree_map, prelude::*};

    fn hash() -> impl Strategy<Value = B256> {
        any::<[u8; 32]>().prop_map(B256::new)
    }

    fn undo() -> impl Strategy<Value = Undo> {
        let account = any::<(u64, u64)>().prop_map(|(nonce, balance)| AccountRecord {
            account: Account { nonce, balance: U256::from(balance), ..Account::default() },
            storage_root: EMPTY_ROOT_HASH,
        });
        let slots = btree_map(hash(), any::<u64>().prop_map(U256::from), 1..4);
        let accounts = btree_map(hash(), proptest::option::of(account), 0..4);
        (accounts, btree_map(hash(), slots, 0..3)).prop_map(|(accounts, storage)| Undo { accounts, storage })
    }

    proptest! {
        #[test]
        fn records_round_trip_and_no_prefix_or_extension_of_one_is_read(undo in undo()) {
            let bytes = undo.encode();
            prop_assert_eq!(Undo::decode(&bytes), Some(undo));
            for length in 0..bytes.len() {
                prop_assert_eq!(Undo::decode(&bytes[..length]), None);
            }
            prop_assert_eq!(Undo::decode(&[bytes, vec![0]].concat()), None);
        }

        #[test]
        fn whatever_the_decoder_accepts_is_canonical(undo in undo(), at in any::<usize>(), byte in any::<u8>()) {
            let mut bytes = undo.encode();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let Some(read) = Undo::decode(&bytes) {
                prop_assert_eq!(read.encode(), bytes);
            }
        }
    }

    #[test]
    fn a_count_that_nothing_follows_is_refused_without_allocating_for_it() {
        assert_eq!(Undo::decode(&[0xff; 4]), None);
        assert_eq!(Undo::decode(&[0; 8]), Some(Undo::default()));
    }

    #[test]
    fn the_value_of_the_earlier_block_wins() {
        let key = B256::repeat_byte(1);
        let with = |value: u64| Undo { storage: [(key, [(key, U256::from(value))].into())].into(), ..Undo::default() };
        let mut undo = with(2);
        assert_eq!(undo.precede(with(1)), 0);
        assert_eq!(undo, with(1));
        assert_eq!(undo.len(), 1);
    }
}
